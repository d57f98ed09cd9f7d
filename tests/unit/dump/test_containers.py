"""Telling containers apart, packed ones, ELF cores, images, several files at once."""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
import tempfile

import pytest

from helpers.build import real_files
from kheap.dump.formats import containers
from kheap.dump.formats.containers import read_container
from kheap.errors import DumpError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAM = bytes(range(256)) * 8
START = 0x20000000


def core_dump(*blocks, version=1):
    """A core dump of 32-bit ARM with memory blocks, (address, bytes) each."""
    parts = [struct.pack("<2sHHBBI", b"ZE", version, 3, 5, 0, 4)]
    for address, data in blocks:
        parts += [struct.pack("<cHII", b"M", 1, address, address + len(data)), data]
    return b"".join(parts)


def log_of(dump):
    lines = "".join(f"E: #CD:{dump[i : i + 32].hex()}\n" for i in range(0, len(dump), 32))
    return f"boot\nE: #CD:BEGIN#\n{lines}E: #CD:END#\n"


def elf(*segments, bits=32, kind=4, machine=40, order=1, step=None, count=None):
    """An ELF file; segments are (type, virtual address, physical address, bytes, size in file)."""
    word = "I" if bits == 32 else "Q"
    head_size, header = (52, "<IIIIIIII") if bits == 32 else (64, "<IIQQQQQQ")
    step = step or struct.calcsize(header)
    count = len(segments) if count is None else count
    head = b"\x7fELF" + bytes([bits // 32, order, 1]) + bytes(9)
    head += struct.pack(f"<HHI{word}{word}{word}IHHHHHH", kind, machine, 1, 0, head_size, 0, 0,
                        head_size, step, count, 0, 0, 0)  # fmt: skip
    place, table, body = head_size + step * len(segments), b"", b""
    for kind, virtual, physical, data, size in segments:
        size = len(data) if size is None else size
        fields = (place + len(body), virtual, physical, size, size + 16)
        fields = (kind, *fields, 6, 4) if bits == 32 else (kind, 6, *fields, 4)
        table += struct.pack(header, *fields)
        body += data
    return head + table + body


def load(address, data=RAM, size=None, physical=0):
    return (1, address, physical, data, size)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name="file"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


@pytest.fixture
def read(write):
    return lambda content, **options: read_container([write(content)], **options)


@pytest.fixture
def refusal(write):
    def refusal(content, **options):
        with pytest.raises(DumpError) as refused:
            read_container([write(content)], **options)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    return refusal


def pieces(container):
    return [(s.address, bytes(s.data)) for s in container.memory.segments]


CONTENTS = {
    "coredump": core_dump((START, RAM)),
    "coredump log": log_of(core_dump((START, RAM))).encode(),
    "elf core": elf(load(START)),
    "intel hex": b":0400000054455354BC\n:00000001FF\n",
    "srec": b"S107000054455354B8\nS9030000FC\n",
    "text": b"Heap at 0x20000000 contains 62 units in 6 buckets\n",
    "raw": bytes(8) + RAM,
}


class TestRecognition:
    @pytest.mark.parametrize("format", CONTENTS)
    @pytest.mark.parametrize("name", ["ram.bin", "dump.hex", "a.core", "x"])
    def test_by_content_whatever_the_name(self, write, format, name):
        found = read_container([write(CONTENTS[format], name)])
        assert (found.format, found.path) == (format, name)
        assert bool(found.memory.segments) == (format != "text")
        assert (found.console is not None) == (format in ("text", "coredump log"))

    @pytest.mark.parametrize("format", CONTENTS)
    @pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
    def test_packed(self, read, format, pack):
        plain, packed = read(CONTENTS[format]), read(pack(CONTENTS[format]))
        assert packed.format == plain.format
        assert pieces(packed) == pieces(plain)
        assert packed.console == plain.console

    @pytest.mark.parametrize(
        ("content", "format"),
        [
            (b"ZE\x01\x02 begins nearly like a dump", "text"),
            (b"ZE\x01\x00", "raw"),
            (b"ZE\x01\x00\x03\x00\x05\x00\x04\x00\x00", "raw"),
            (b"ZE\x01\x00\x03\x00\x07\x00\x04\x00\x00\x00" + RAM, "raw"),
            (b"ZE\x00\x00\x03\x00\x05\x00\x04\x00\x00\x00" + RAM, "raw"),
            (b"CD" + RAM, "raw"),
            (b"\x1f\x8b" + RAM, "raw"),
            (b"\xff" * 100, "raw"),
            (b"\xaa" * 100, "raw"),
            (b":10", "text"),
            (b"S records are lines\n", "text"),
            ("Stra\u00dfe \u6e29\u5ea6 25 \u00b0C\n".encode(), "text"),
            (b"boot\n" * 20 + "Stra\u00dfe".encode("latin-1"), "text"),
            (b"\x1b[1;31mred\x1b[0m\tand\r\n", "text"),
            (b"\0\0\n*** Booting Zephyr OS ***\n" + b"ready\n" * 40, "text"),
            (b"printable but with zeros\0\0", "raw"),
            (b"mostly" + b"\x01\x02", "raw"),
        ],
    )
    def test_what_is_nearly_another_format(self, read, content, format):
        assert read(content).format == format

    def test_a_text_of_two_bytes_a_character(self, read):
        """As PowerShell writes what a serial terminal prints."""
        text = log_of(core_dump((START, RAM)))
        for encoding in ("utf-16", "utf-16-be"):
            mark = "\ufeff" if encoding.endswith("be") else ""
            found = read((mark + text).encode(encoding))
            assert found.format == "coredump log"
            assert pieces(found) == [(START, RAM)]
        assert read(b"\xff\xfe" + RAM[1:]).format == "raw"
        assert read(b"\xff\xfe").format == "raw"

    def test_an_empty_file(self, refusal):
        assert refusal(b"") == "file: an empty file"
        assert refusal(gzip.compress(b"")) == "file: an empty file"
        with pytest.raises(DumpError, match="an empty file"):
            read_container([os.devnull])

    @pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
    def test_damaged_packing(self, refusal, pack):
        packed = pack(CONTENTS["raw"] * 10)
        for damaged in (packed[:-6], packed[: len(packed) // 2], packed[:9] + b"\xff" * 40):
            assert refusal(damaged).startswith("file: the compressed data is damaged or cut short")

    def test_unpacking_is_bounded(self, refusal, monkeypatch):
        monkeypatch.setattr(containers, "MAX_BYTES", 1 << 22)
        bomb = gzip.compress(bytes((1 << 22) + 1))
        assert len(bomb) < 10_000
        assert refusal(bomb) == "file: expected at most 4,194,304 bytes, found more"

    def test_text_is_bounded(self, refusal, monkeypatch):
        monkeypatch.setattr(containers, "MAX_TEXT_BYTES", 1000)
        assert (
            refusal(b"a line\n" * 200) == "file: expected at most 1,000 bytes of text, found more"
        )

    def test_no_such_file(self, write):
        with pytest.raises(FileNotFoundError):
            read_container(["nowhere"])

    def test_no_paths(self):
        with pytest.raises(ValueError, match="paths is empty"):
            read_container([])

    @pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no names for pipes here")
    def test_a_pipe(self, write):
        end, other = os.pipe()
        with open(other, "wb") as pipe:
            pipe.write(CONTENTS["coredump"])
        found = read_container([f"/dev/fd/{end}"])
        os.close(end)
        assert pieces(found) == [(START, RAM)]


class TestElfCore:
    @pytest.mark.parametrize("bits", [32, 64])
    def test_loadable_segments_are_the_memory(self, read, bits):
        note = (4, 0, 0, b"note", None)
        segments = [note, load(START), load(0x1000, b"more"), load(0x3000, b"")]
        found = read(elf(*segments, bits=bits, machine=183 if bits == 64 else 40))
        assert (found.format, found.bits) == ("elf core", bits)
        assert found.machine == ("arm64" if bits == 64 else "arm")
        assert pieces(found) == [(0x1000, b"more"), (START, RAM)]
        assert found.notes == []

    def test_physical_addresses_where_there_are_no_virtual_ones(self, read):
        assert pieces(read(elf(load(0, physical=START)))) == [(START, RAM)]

    @pytest.mark.parametrize("kept", [1, 100, len(RAM) - 1])
    def test_cut_short(self, read, kept):
        whole = elf(load(START), load(0x30000000))
        found = read(whole[: kept - len(RAM)])
        assert pieces(found) == [(START, RAM), (0x30000000, RAM[:kept])]
        lost = f"{len(RAM) - kept:,} of {len(RAM):,} bytes at 0x30000000"
        assert found.notes == [f"The last {lost} are missing: the file was cut short."]

    def test_a_segment_wholly_behind_the_end(self, read):
        found = read(elf(load(START, b"", 1 << 31)))
        assert pieces(found) == []
        assert found.notes[-1] == "It holds no memory."

    def test_a_segment_behind_the_last_address(self, read):
        found = read(elf(load(0xFFFFFFF0), load(START)))
        assert pieces(found) == [(START, RAM)]
        assert found.notes == [
            "A segment was not read: 2,048 bytes at 0xfffffff0 reach behind the last address."
        ]

    def test_segments_of_the_same_bytes(self, read):
        """A small file that seems to hold gigabytes."""
        content = bytearray(elf(*[load(START + i * 4096) for i in range(3)]))
        for i in range(3):
            struct.pack_into("<I", content, 52 + 32 * i + 4, 0)
            struct.pack_into("<I", content, 52 + 32 * i + 16, len(content))
        found = read(bytes(content))
        assert found.memory.byte_count == len(content)
        assert found.notes == [
            "Only the first 1 segments were read: there are too many, or they overlap."
        ]

    def test_too_many_segments(self, read):
        found = read(elf(*[load(START + 4 * i, b"abc") for i in range(1030)]))
        assert len(found.memory.segments) == 1024
        assert "Only the first 1,024 segments were read" in found.notes[0]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (elf(load(START), kind=2), "an ELF program, not a dump: give it with --elf"),
            (elf(load(START), kind=3), "an ELF program, not a dump: give it with --elf"),
            (elf(kind=1), "an ELF object file, not a dump: give it with --elf"),
            (elf(kind=0xFE00), "an ELF file of type 65024, not a core file"),
            (elf(order=2), "a big-endian ELF file; little-endian memory alone can be read"),
            (elf(order=7), "a big-endian ELF file; little-endian memory alone can be read"),
            (b"\x7fELF\x03\x01" + bytes(60), "damaged ELF header: neither 32 nor 64 bits"),
            (b"\x7fELF", "damaged ELF header: neither 32 nor 64 bits"),
            (elf()[:40], "damaged ELF header: the file ends in it, at byte 40"),
            (
                elf(count=9),
                "damaged ELF header: 9 program headers of 32 bytes at byte 52, "
                "in a file of 52 bytes",
            ),
            (
                elf(load(START), step=19),
                "damaged ELF header: 1 program headers of 19 bytes at byte 52, "
                "in a file of 2,132 bytes",
            ),
        ],
    )
    def test_what_is_no_core_file(self, refusal, content, reason):
        assert refusal(content) == f"file: {reason}"


class TestImage:
    def test_without_an_address(self, read):
        found = read(CONTENTS["raw"])
        assert (found.based, pieces(found)) == (False, [(0, CONTENTS["raw"])])
        assert (found.machine, found.bits, found.notes, found.facts) == (None, None, [], {})

    @pytest.mark.parametrize("base", [START, [START], 0])
    def test_with_an_address(self, read, base):
        found = read(CONTENTS["raw"], base=base)
        start = base if isinstance(base, int) else base[0]
        assert (found.based, pieces(found)) == (True, [(start, CONTENTS["raw"])])

    @pytest.mark.parametrize("text", ["0x20000000", "0X20000000", "536870912", "0536870912"])
    def test_with_an_address_in_its_name(self, write, text):
        found = read_container([f"{write(CONTENTS['raw'])}@{text}"])
        assert (found.based, pieces(found)) == (True, [(START, CONTENTS["raw"])])
        assert found.path == f"file@{text}"

    def test_a_file_of_that_whole_name(self, write):
        found = read_container([write(CONTENTS["raw"], "me@0x20000000")])
        assert (found.based, found.memory.segments[0].address) == (False, 0)

    @pytest.mark.parametrize("text", ["", "here", "0x", "-5", "0x20000000 ", "12ab"])
    def test_what_is_no_address(self, write, text):
        with pytest.raises(FileNotFoundError):
            read_container([f"{write(CONTENTS['raw'])}@{text}"])

    @pytest.mark.parametrize("base", [-1, (1 << 64) - 8])
    def test_outside_of_the_address_space(self, refusal, base):
        reason = f"2,056 bytes at {base:#x} exceed the address space"
        assert refusal(CONTENTS["raw"], base=base) == f"file: {reason}"

    def test_large_ones_are_mapped(self, write, monkeypatch):
        monkeypatch.setattr(containers, "_MAP_BYTES", 1 << 12)
        name = write(bytes(1 << 12) + RAM)
        found = read_container([name], base=START)
        with open(name, "r+b") as file:
            file.seek(1 << 12)
            file.write(b"changed")
        assert bytes(found.memory.read(START + (1 << 12), 7)) == b"changed"
        assert found.memory.segments[0].data.readonly

    def test_large_dumps_are_mapped(self, write, monkeypatch):
        monkeypatch.setattr(containers, "_MAP_BYTES", 1 << 12)
        for format in ("coredump", "elf core"):
            content = CONTENTS[format] + bytes(1 << 12)
            assert pieces(read_container([write(content)])) == [(START, RAM)]

    @pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no files without blocks here")
    def test_what_cannot_be_mapped(self):
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            file.truncate(1 << 62)
            with pytest.raises(DumpError) as refused:
                read_container([file.name])
        assert str(refused.value).startswith(f"{file.name}: cannot be mapped into memory")

    @pytest.mark.parametrize("format", [name for name in CONTENTS if name != "raw"])
    def test_an_address_that_nobody_needs(self, read, format):
        found = read(CONTENTS[format], base=0x1234)
        assert found.notes == [
            f"The address 0x1234 was not used: this file is no image but {format!r}."
        ]

    @pytest.mark.parametrize("base", [START, [START]])
    def test_two_addresses(self, write, base):
        found = read_container([f"{write(RAM)}@0x1000"], base=base)
        assert pieces(found) == [(0x1000, RAM)]
        assert found.notes == ["The address 0x20000000 was not used: its name tells another."]

    def test_an_address_in_the_name_of_a_dump(self, write):
        found = read_container([f"{write(CONTENTS['coredump'])}@0x1000"])
        assert pieces(found) == [(START, RAM)]
        assert "0x1000 was not used" in found.notes[0]


class TestSeveralFiles:
    def test_images_side_by_side(self, write):
        one, two = write(CONTENTS["raw"], "one"), write(RAM, "two")
        found = read_container([f"{one}@0x1000", f"{two}@0x20000000"])
        assert pieces(found) == [(0x1000, CONTENTS["raw"]), (START, RAM)]
        assert (found.path, found.format, found.based) == ("one@0x1000", "raw", True)
        again = read_container([one, two], base=[0x1000, START])
        assert pieces(again) == pieces(found)

    def test_an_image_and_a_core_dump(self, write):
        dump, image = write(CONTENTS["coredump"], "dump"), write(RAM, "image")
        found = read_container([dump, image], base=0x10000)
        assert pieces(found) == [(0x10000, RAM), (START, RAM)]
        assert (found.format, found.machine, found.bits) == ("coredump + raw", "arm", 32)
        assert found.facts["version"] == "1"
        assert (found.notes, found.based) == ([], True)
        assert not read_container([dump, image]).based

    def test_everything_is_put_together(self, write):
        kernel = b"T\x01\x00\x02\x00OK"
        names = [
            write(CONTENTS["text"], "log"),
            write(CONTENTS["coredump log"], "uart"),
            write(core_dump((START, RAM[:100])) + kernel, "dump"),
            write(elf(load(0x8000), machine=3) + b"\0", "core"),
        ]
        found = read_container(names)
        assert found.format == "text + coredump log + coredump + elf core"
        assert found.console.startswith("Heap at 0x20000000")
        assert found.console.endswith("E: #CD:END#\n\n")
        assert found.kernel == b"OK"
        assert pieces(found) == [(0x8000, RAM), (START, RAM)]
        assert found.notes == ["The files are of different machines: arm, x86."]
        assert not found.is_min_dump

    def test_the_earlier_file_counts(self, write):
        one, two = write(RAM, "one"), write(bytes(len(RAM)), "two")
        found = read_container([f"{one}@0x1000", f"{two}@0x1400"])
        start = found.memory.read(0x1000, 3072)
        assert bytes(start) == RAM + bytes(1024)
        assert found.notes == [
            "Memory from 0x1400 to 0x17ff stands there twice with different bytes; "
            "the first ones were kept."
        ]

    def test_notes_name_their_file(self, write):
        cut = write(CONTENTS["coredump"][:-1], "cut")
        image = write(RAM, "image")
        found = read_container([cut, f"{image}@0"])
        assert found.notes[0].startswith("cut: byte 12: The last 1 of 2,048 bytes")

    @pytest.mark.parametrize("base", [None, START])
    def test_two_images_without_an_address(self, write, base):
        names = [write(CONTENTS["coredump"], "dump"), write(RAM, "one"), write(RAM, "two")]
        with pytest.raises(DumpError) as refused:
            read_container(names, base=base)
        reason = "one of several images without an address: write one@ADDRESS"
        assert str(refused.value) == f"one: {reason}"

    def test_not_as_many_addresses_as_files(self, write):
        with pytest.raises(ValueError, match="base has 1 addresses for 2 files"):
            read_container([write(RAM, "one"), write(RAM, "two")], base=[0])


class TestReal:
    @pytest.mark.parametrize("path", real_files("real", "dumps", "native", pattern="*.core.gz"))
    def test_cores_hold_the_heaps(self, path):
        found = read_container([path])
        about_path = path.with_name(path.name.replace(".core.gz", ".json"))
        if not about_path.exists():
            pytest.skip("its heaps were not saved")
        about = json.loads(about_path.read_text())
        assert found.format == "elf core"
        assert found.bits == 8 * about["pointer_bytes"]
        assert found.machine == {"i386": "x86", "i386:x86-64": "x86_64"}[about["arch"]]
        assert found.notes == []
        for heap in about["heaps"]:
            region = path.with_name(heap["file"]).read_bytes()
            assert bytes(found.memory.read(heap["mem"], heap["size"])) == region
            control = bytes.fromhex(heap["sys_heap_bytes_hex"])
            assert bytes(found.memory.read(heap["sys_heap"], len(control))) == control

    @pytest.mark.parametrize("path", real_files("real", "firmware_v440_hci", pattern="*.core"))
    def test_the_core_of_a_firmware(self, path):
        found = read_container([path])
        assert (found.machine, found.bits) == ("arm", 32)
        rams = [path.with_name(f"{name}.ram.bin").read_bytes() for name in ("op30", "op120")]
        assert bytes(found.memory.read(START, 0x8000)) in rams

    @pytest.mark.parametrize("path", real_files("qemu_ram", pattern="*.bin"))
    def test_images_of_ram(self, path):
        found = read_container([f"{path}@{START:#x}"])
        assert (found.format, found.based) == ("raw", True)
        assert pieces(found) == [(START, path.read_bytes())]

    @pytest.mark.parametrize("path", real_files("console_logs", pattern="*"))
    def test_console_logs(self, path):
        found = read_container([path])
        assert (found.format, found.notes) == ("text", [])
        assert found.console == path.read_bytes().decode()
