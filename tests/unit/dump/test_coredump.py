"""Core dumps: as bytes and as lines of a log, whole, cut short, damaged, and real ones."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest

from helpers.build import real_data, real_files
from kheap.dump.formats.containers import read_container

RAM = bytes(range(256)) * 40
START = 0x20000000
PREFIX = "[00:00:05.123,456] <err> coredump: "


def header(version=1, target=3, width=5, flags=0, reason=4):
    return struct.pack("<2sHHBBI", b"ZE", version, target, width, flags, reason)


def registers(count=68):
    return struct.pack("<cHH", b"A", 2, count) + bytes(count)


def threads(content):
    return struct.pack("<cHH", b"T", 1, len(content)) + content


def memory(start, content, word="I", end=None):
    end = start + len(content) if end is None else end
    return struct.pack(f"<cH{word}{word}", b"M", 1, start, end) + content


def checksum(before):
    return struct.pack("<cHI", b"C", 1, zlib.crc32(before))


def log_of(blocks, prefix="E: ", end="\n", step=32):
    """The lines that Zephyr prints: each block begins one."""
    lines = ["#CD:BEGIN#"]
    for block in blocks:
        lines += [f"#CD:{block[i : i + step].hex()}" for i in range(0, len(block), step)]
    return [f"{prefix}{line}{end}" for line in [*lines, "#CD:END#"]]


BLOCKS = [header(), registers(), memory(START, RAM)]


@pytest.fixture
def read(tmp_path):
    """Read bytes or lines as a file that has no telling name."""

    def read(content):
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else "".join(content).encode())
        return read_container([path])

    return read


def pieces(container):
    return [(s.address, bytes(s.data)) for s in container.memory.segments]


def pieces_as_one(container):
    start = container.memory.segments[0].address
    return start, bytes(container.memory.read(start, container.memory.extent(start)))


class TestBytes:
    def test_version_1(self, read):
        found = read(b"".join(BLOCKS))
        assert (found.format, found.machine, found.bits) == ("coredump", "arm", 32)
        assert found.facts == {
            "version": "1",
            "target": "ARM Cortex-M",
            "reason": "4 (kernel panic)",
        }
        assert pieces(found) == [(START, RAM)]
        assert (found.notes, found.kernel, found.console) == ([], None, None)

    def test_version_2_of_64_bits_with_kernel_registers_and_checksum(self, read):
        cpu = struct.pack("<cHHIQ", b"F", 1, 16, 1, 0x80001000) + bytes(16)
        blocks = [
            header(version=2, target=6, width=6, flags=1, reason=0),
            registers(),
            threads(b"kernel"),
            cpu,
            memory(0x80000000, RAM, "Q"),
        ]
        body = b"".join(blocks)
        found = read(body + checksum(body))
        assert (found.machine, found.bits, found.kernel) == ("arm64", 64, b"kernel")
        assert found.facts["reason"] == "0 (CPU exception)"
        assert found.facts["checksum"] == "right"
        assert pieces(found) == [(0x80000000, RAM)]
        assert found.notes == []

    def test_wrong_checksum_is_noted(self, read):
        body = b"".join([header(version=2, flags=1), memory(START, RAM)])
        found = read(body + checksum(body + b"more"))
        assert found.facts["checksum"] == "wrong"
        assert pieces(found) == [(START, RAM)]
        right, wrong = zlib.crc32(body), zlib.crc32(body + b"more")
        assert found.notes == [
            f"byte 10,263: The checksum of the dump is {wrong:#010x}, "
            f"but its bytes give {right:#010x}."
        ]

    @pytest.mark.parametrize("kept", [0, 1, 4_000, len(RAM) - 1])
    def test_the_last_block_is_kept_as_far_as_it_goes(self, read, kept):
        blocks = [header(version=2, flags=1), memory(0x10000000, b"flash"), memory(START, RAM)]
        content = b"".join(blocks)
        found = read(content[: len(content) - len(RAM) + kept])
        assert pieces(found) == [(0x10000000, b"flash"), (START, RAM[:kept])][: 1 + (kept > 0)]
        missing = f"{len(RAM) - kept:,} of {len(RAM):,} bytes"
        assert found.notes == [
            f"byte 28: The last {missing} of the memory block 0x20000000 to 0x200027ff are "
            "missing: the dump was cut short.",
            "The checksum that belongs at the end is missing.",
        ]

    def test_cut_within_the_header_of_a_block(self, read):
        found = read(b"".join(BLOCKS) + memory(START, b"")[:9])
        assert pieces(found) == [(START, RAM)]
        assert found.notes == [
            "byte 10,336: The dump was cut short in the header of a block.",
        ]

    def test_cut_within_the_kernel(self, read):
        found = read(header() + threads(b"kernel")[:-2])
        assert found.kernel == b"kern"
        assert found.notes == [
            "byte 12: The last 2 of 6 bytes of block T are missing: the dump was cut short.",
            "It holds no memory.",
        ]

    def test_an_unknown_block_is_skipped(self, read):
        unknown = b"X\x01\x00\x09\x00M\x01\x00 no A\x01\x00"
        blocks = [header(), unknown, memory(START, RAM), memory(0x30000000, b"more")]
        found = read(b"".join(blocks))
        assert pieces(found) == [(START, RAM), (0x30000000, b"more")]
        assert found.notes == [
            f"byte 12: No known block begins here: {len(unknown)} bytes were skipped."
        ]

    def test_an_unknown_block_before_a_checksum(self, read):
        """A checksum is the last block: what looks like one before is none."""
        unknown = b"X" * 99 + b"C\x01\x00 is none"
        body = header(version=2, flags=1) + unknown + memory(START, RAM)
        found = read(body + checksum(body))
        assert pieces(found) == [(START, RAM)]
        assert found.facts["checksum"] == "right"
        assert found.notes == ["byte 12: No known block begins here: 110 bytes were skipped."]

    def test_nothing_sound_behind_an_unknown_block(self, read):
        found = read(b"".join([*BLOCKS, b"X" * 50]))
        assert pieces(found) == [(START, RAM)]
        assert found.notes == [
            "byte 10,336: No known block begins here: the last 50 bytes were not read."
        ]

    def test_a_memory_block_of_another_version_is_unknown(self, read):
        other = b"M\x02" + memory(START, RAM)[2:]
        found = read(header() + other)
        assert pieces(found) == []
        assert "No known block begins here" in found.notes[0]
        assert found.notes[1] == "It holds no memory."

    def test_a_range_that_ends_before_it_begins(self, read):
        blocks = [header(), memory(0, b"abc"), memory(START, b"", end=START - 1), BLOCKS[2]]
        found = read(b"".join(blocks))
        assert pieces(found) == [(0, b"abc")]
        assert found.notes == [
            "byte 26: A memory block ends at 0x1fffffff, before it begins at 0x20000000: "
            "the rest was not read."
        ]

    def test_blocks_that_contradict_each_other(self, read):
        found = read(b"".join([*BLOCKS, memory(START + 8, b"new!"), memory(0, b"x")]))
        assert pieces(found) == [(0, b"x"), (START, RAM)]
        assert found.notes == [
            "Memory from 0x20000008 to 0x2000000b stands there twice with different bytes; "
            "the first ones were kept."
        ]

    def test_too_many_blocks(self, read):
        blocks = [memory(START + 4 * i, b"abc") for i in range(1025)]
        found = read(header() + b"".join(blocks))
        assert len(found.memory.segments) == 1024
        assert found.notes == ["Only the first 1,024 blocks were read: there are too many."]
        assert read(header() + b"".join(blocks[:-1])).notes == []

    def test_too_many_contradictions(self, read):
        one = memory(START, b"a") + memory(START + 2, b"a")
        blocks = [memory(START, b"bbb"), memory(START, b"c")]
        found = read(header() + one + b"".join(blocks * 499))
        assert len(found.memory.overlaps) == 1001
        assert "Only the first" in found.notes[0]

    @pytest.mark.parametrize(
        ("target", "name", "machine"),
        [
            (1, "x86", "x86"),
            (2, "x86-64", "x86_64"),
            (4, "RISC-V", "riscv"),
            (5, "Xtensa", "xtensa"),
            (0, "unknown (0)", None),
            (99, "unknown (99)", None),
        ],
    )
    def test_targets(self, read, target, name, machine):
        found = read(header(target=target) + memory(START, RAM))
        assert (found.facts["target"], found.machine) == (name, machine)

    @pytest.mark.parametrize(
        ("reason", "text"),
        [(3, "3 (kernel oops)"), (5, "5 (unknown)"), (26, "26 (of the architecture)")],
    )
    def test_reasons(self, read, reason, text):
        assert read(header(reason=reason) + memory(START, RAM)).facts["reason"] == text

    def test_a_later_version_is_read_on_trust(self, read):
        found = read(header(version=3) + memory(START, RAM))
        assert pieces(found) == [(START, RAM)]
        assert found.notes == ["Version 3 of the format is not known; it was read like version 2."]

    @pytest.mark.parametrize("erased", [b"\xff", b"\0"])
    def test_a_flash_partition(self, read, erased):
        storage = struct.pack("<2sHIHHi", b"CD", 1, 10_336, 0, 0x1234, 0)
        found = read(storage + b"".join(BLOCKS) + erased * 500)
        assert (found.format, found.notes) == ("coredump", [])
        assert pieces(found) == [(START, RAM)]

    def test_a_flash_partition_with_an_unknown_block(self, read):
        storage = struct.pack("<2sHIHHi", b"CD", 1, 10_336, 0, 0x1234, 0)
        found = read(b"".join([storage, header(), b"X" * 99, BLOCKS[2], b"\xff" * 100_000]))
        assert pieces(found) == [(START, RAM)]
        assert found.notes == ["byte 12: No known block begins here: 99 bytes were skipped."]


class TestLog:
    @pytest.mark.parametrize(
        "prefix", ["", "E: ", PREFIX, "uart:~$ \x1b[8D\x1b[J\x1b[1;31m" + PREFIX]
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\x1b[0m\r\n", " \n", "\r"])
    def test_any_prefix_and_any_line_end(self, read, prefix, end):
        found = read(log_of(BLOCKS, prefix, end))
        assert (found.format, found.machine, found.notes) == ("coredump log", "arm", [])
        assert pieces(found) == [(START, RAM)]

    def test_the_text_is_kept(self, read):
        text = ["*** Booting Zephyr ***\n", *log_of(BLOCKS), "free: 4020 \u00b5\n"]
        assert read(text).console == "".join(text)

    def test_other_lines_between(self, read):
        lines = log_of(BLOCKS)
        for i in range(len(lines) - 1, 0, -7):
            lines.insert(i, "[00:00:01.000,000] <inf> net: 0123456789abcdef\n")
        assert pieces(read(lines)) == [(START, RAM)]

    def test_upper_case(self, read):
        lines = [line.upper() for line in log_of(BLOCKS)]
        assert pieces(read(lines)) == [(START, RAM)]

    @pytest.mark.parametrize("step", [1, 7, 20, 400])
    def test_lines_of_any_length(self, read, step):
        found = read(log_of(BLOCKS, step=step))
        assert (pieces(found), found.notes) == ([(START, RAM)], [])

    def test_lines_that_run_on_over_the_blocks(self, read):
        blocks = [header(), memory(0, b"abc"), memory(8, b"defg"), memory(START, RAM)]
        found = read(log_of([b"".join(blocks)]))
        assert pieces(found) == [(0, b"abc"), (8, b"defg"), (START, RAM)]
        assert found.notes == []

    def test_two_lines_that_run_into_each_other(self, read):
        lines = log_of(BLOCKS)
        lines[30:32] = [lines[30].strip() + lines[31].removeprefix("E: ")]
        assert pieces(read(lines)) == [(START, RAM)]

    def test_no_end(self, read):
        found = read(log_of(BLOCKS)[:-1])
        assert pieces(found) == [(START, RAM)]
        assert found.notes == [
            "line 1: The dump that begins here has no end: the log was cut short."
        ]

    def test_no_beginning(self, read):
        found = read(log_of(BLOCKS)[1:])
        assert (pieces(found), found.notes) == ([(START, RAM)], [])

    def test_the_last_complete_dump_counts(self, read):
        first, second = (log_of([header(), memory(START, text)]) for text in (b"one", b"two"))
        cut = log_of([header(), memory(START, b"three")])[:-1]
        found = read([*first, "\n", *second, *cut])
        assert pieces(found) == [(START, b"two")]
        assert found.notes == [
            "The log holds 3 core dumps; the one that begins in line 6 was read."
        ]

    def test_else_the_last_one(self, read):
        cut = [log_of([header(), memory(START, text)])[:-1] for text in (b"one", b"two")]
        found = read([*cut[0], *cut[1], *log_of([b"no header"])])
        assert pieces(found) == [(START, b"two")]
        assert found.notes == [
            "The log holds 3 core dumps; the one that begins in line 4 was read.",
            "line 4: The dump that begins here has no end: the log was cut short.",
        ]

    @pytest.mark.parametrize(
        ("line", "shown"),
        [
            ("E: #CD:0123456\n", "'0123456'"),
            ("E: #CD:01234x\n", "'01234x'"),
            ("E: #CD:0123[00:01] <inf> cut in\n", "'0123[00:01] <inf> cut in'"),
        ],
    )
    def test_a_damaged_line_ends_the_reading(self, read, line, shown):
        lines = log_of(BLOCKS)
        lines[100] = line  # of the memory: lines 6 with the header, then 32 bytes a line
        found = read(lines)
        kept = (100 - 5) * 32 - 11
        assert pieces(found) == [(START, RAM[:kept])]
        assert found.notes == [
            f"line 101: Expected pairs of hex digits, found {shown}: "
            "the dump was read up to this line only.",
            f"line 6: The last {len(RAM) - kept:,} of 10,240 bytes of the memory block 0x20000000 "
            "to 0x200027ff are missing: the dump was cut short.",
        ]

    def test_a_lost_line_does_not_shift_the_next_block(self, read):
        lines = log_of([*BLOCKS, memory(0x30000000, RAM)])
        del lines[100:102]
        found = read(lines)
        kept = (100 - 5) * 32 - 11
        shifted = RAM[:kept] + RAM[kept + 64 :]
        assert pieces(found) == [(START, shifted), (0x30000000, RAM)]
        assert found.notes == [
            "line 6: 64 of 10,240 bytes of the memory block 0x20000000 to 0x200027ff are "
            "missing, a line was lost: what follows the loss was read at too low an address."
        ]

    def test_a_line_lost_before_the_checksum(self, read):
        body = [header(version=2, flags=1), memory(START, RAM)]
        lines = log_of([*body, checksum(b"".join(body))])
        del lines[50]
        found = read(lines)
        assert [len(data) for _, data in pieces(found)] == [len(RAM) - 32]
        assert found.facts["checksum"] == "wrong"
        assert "a line was lost" in found.notes[0]

    def test_the_target_could_not_dump(self, read):
        lines = log_of(BLOCKS)
        found = read([*lines[:50], "E: #CD:ERROR CANNOT DUMP#\n", lines[-1]])
        assert [len(data) for _, data in pieces(found)] == [45 * 32 - 11]
        assert found.notes[0] == "line 51: The target says that it cannot dump."

    @pytest.mark.parametrize(
        ("lines", "note"),
        [
            (["#CD:ERROR CANNOT DUMP#\n"], "line 1: The target says that it cannot dump."),
            (
                ["\n", "#CD:BEGIN#\n", "#CD:00\n", "#CD:END#\n"],
                "line 2: The core dump that begins here has no header.",
            ),
            (
                ["#CD:00\n", "#CD:END#\n"],
                "line 2: The core dump that begins here has no header.",
            ),
        ],
    )
    def test_a_log_without_a_readable_dump_is_no_error(self, read, lines, note):
        found = read(["free: 10\n", *lines])
        number = int(note[5]) + 1
        assert found.format == "coredump log"
        assert found.notes == [f"line {number}{note[6:]}", "It holds no memory."]
        assert found.console.startswith("free: 10")

    def test_a_text_that_speaks_of_dumps_is_a_text(self, read):
        found = read(["Lines of a dump begin with #CD: and hex digits.\n"])
        assert (found.format, found.notes) == ("text", [])

    @pytest.mark.parametrize("step", [24, 32])
    def test_base64(self, read, step):
        """Lines of whole groups, and lines that end where their bytes end."""
        lines = ["#CD:BEGIN#\n"]
        for block in BLOCKS:
            for i in range(0, len(block), step):
                lines.append(f"#CD:{base64.b64encode(block[i : i + step]).decode()}\n")
        found = read([*lines, "#CD:END#\n"])
        assert (pieces(found), found.notes) == ([(START, RAM)], [])

    def test_base64_cut_anywhere(self, read):
        letters = base64.b64encode(b"".join(BLOCKS)).decode()
        lines = [f"#CD:{letters[i : i + 63]}\n" for i in range(0, len(letters), 63)]
        found = read(["#CD:BEGIN#\n", *lines, "#CD:END#\n"])
        assert (pieces(found), found.notes) == ([(START, RAM)], [])

    def test_damaged_base64(self, read):
        letters = base64.b64encode(b"".join(BLOCKS)).decode()
        found = read(["#CD:BEGIN#\n", f"#CD:{letters[:160]}\n", "#CD:...!\n"])
        assert [len(data) for _, data in pieces(found)] == [120 - 12 - 73 - 11]
        assert found.notes[0].startswith("line 3: Expected Base64, found '...!'")


@pytest.mark.parametrize(
    ("sizes", "is_min"),
    [
        ([160, 1024], True),
        ([160, 4096, 1024], True),
        ([1024], True),
        ([], False),
        ([12288], False),
        ([2048, 10240], False),
        ([160, 1024, 160, 1024], False),
        ([160, 65536], False),
    ],
)
def test_the_dump_of_one_thread_is_told_from_others(read, sizes, is_min):
    blocks = [memory(START + 0x100000 * i, bytes(size)) for i, size in enumerate(sizes)]
    whole = header() + b"".join(blocks)
    assert read(whole).is_min_dump == is_min
    if sizes:
        assert read(whole[:-20]).is_min_dump == is_min, "what was lost counts as well"


class TestReal:
    @pytest.mark.parametrize("path", real_files("coredumps", pattern="cd_v1.bin"))
    def test_bytes_and_log_are_the_same(self, path):
        found, log = read_container([path]), read_container([path.with_suffix(".log")])
        (segment,) = found.memory.segments
        assert (segment.address, len(segment.data)) == (START, 0x3000)
        assert path.read_bytes().endswith(segment.data)
        assert pieces(log) == pieces(found)
        assert found.notes == log.notes == []
        assert (log.machine, log.bits, log.facts) == ("arm", 32, found.facts)

    @pytest.mark.parametrize("path", real_files("coredumps", pattern="cd_v2*"))
    def test_of_the_ram_of_an_emulator(self, path):
        found = read_container([path])
        start, data = pieces_as_one(found)
        ram = real_data("qemu_ram", "ram_02.bin").read_bytes()
        assert (start, data) == (START, ram[: len(data)])
        assert found.kernel is not None
        if "truncated" in path.name:
            assert len(data) == 0x800 + 4053
            assert len(found.notes) == 3
        else:
            assert len(data) == len(ram)
            assert found.notes == []
            assert found.facts["checksum"] == "right"
        assert not found.is_min_dump

    @pytest.mark.parametrize("path", real_files("real", "coredump", pattern="lvgl_arm.uart.txt"))
    def test_a_program_seen_in_three_ways(self, path):
        """The stacks and the log's buffer went on until gdb read the RAM; the heaps did not."""
        found = read_container([path])
        assert pieces(found) == pieces(read_container([path.with_name("lvgl_arm.coredump.bin")]))
        start, data = pieces_as_one(found)
        ram = path.with_name("lvgl_arm.ram.bin").read_bytes()
        assert (start, len(data)) == (START, len(ram))
        symbols = json.loads(path.with_name("lvgl_arm.symbols.json").read_text())
        for symbol in symbols:
            if "heap" in symbol["name"]:
                offset = symbol["addr"] - START
                assert data[offset:][: symbol["size"]] == ram[offset:][: symbol["size"]]
        assert found.notes == []
        assert not found.is_min_dump
        assert "uart:~$ kernel heap" in found.console

    @pytest.mark.parametrize(
        "name", ["real/coredump/coredump_test_arm_min.uart.txt", "coredumps/cd_min_noheap.bin"]
    )
    def test_the_dump_of_one_thread(self, name):
        if real_data() is None:
            pytest.skip("KHEAP_TEST_DATA is unset")
        found = read_container([real_data(*name.split("/"))])
        assert found.is_min_dump
        assert found.notes == []

    @pytest.mark.parametrize(
        "path", real_files("real", "firmware_v440_hci", pattern="hci_v440.coredump*")
    )
    def test_of_a_released_firmware(self, path):
        found = read_container([path])
        start, data = pieces_as_one(found)
        rams = [path.with_name(f"{name}.ram.bin").read_bytes() for name in ("op30", "op120")]
        assert start == START
        assert len(data) == 0x6400
        assert any(ram.startswith(data) for ram in rams)
        assert found.notes == []
        assert (found.kernel is not None) == ("_T" in path.name)
