"""Reading what may be no dump: random bytes, and dumps cut short or written over.

It is read, or refused with one line; what was read lies where addresses can be, and is no more
than the file held.
"""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kheap.dump.formats.containers import read_container
from kheap.errors import DumpError

RAM = bytes(range(256))
START = 0x20000000


def block(address, data):
    return struct.pack("<cHII", b"M", 1, address, address + len(data)) + data


def core_dump():
    blocks = [
        struct.pack("<2sHHBBI", b"ZE", 2, 3, 5, 1, 4),
        b"A\x02\x00\x10\x00" + bytes(16),
        b"T\x01\x00\x04\x00kern",
        b"F\x01\x00\x04\x00" + bytes(8) + b"regs",
        block(START, RAM),
        block(START + 0x100, RAM[:40]),
        block(0, RAM[:5]),
    ]
    body = b"".join(blocks)
    return [*blocks, struct.pack("<cHI", b"C", 1, zlib.crc32(body))]


def log_of(blocks):
    lines = ["boot", "#CD:BEGIN#"]
    for content in blocks:
        lines += [f"#CD:{content[i : i + 32].hex()}" for i in range(0, len(content), 32)]
    return "\r\n".join([*lines, "#CD:END#", ""]).encode()


def elf():
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    head += struct.pack("<HHIIIIIHHHHHH", 4, 40, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    segments = [(116, START, 256), (372, START + 0x100, 100)]
    head += b"".join(
        struct.pack("<8I", 1, place, address, 0, size, size, 6, 4)
        for place, address, size in segments
    )
    return head + RAM + RAM[:100]


def intel_hex():
    lines = []
    for i in range(0, 256, 16):
        body = bytes([16, 0, i, 0]) + RAM[i : i + 16]
        lines.append(f":{body.hex()}{-sum(body) & 0xFF:02x}")
    return "\n".join([":020000042000DA", *lines, ":00000001FF", ""]).encode()


def srec():
    lines = []
    for i in range(0, 256, 16):
        body = bytes([21]) + (START + i).to_bytes(4, "big") + RAM[i : i + 16]
        lines.append(f"S3{body.hex().upper()}{~sum(body) & 0xFF:02X}")
    return "\n".join(["S00600004844521B", *lines, "S70500000000FA", ""]).encode()


SEEDS = {
    "coredump": b"".join(core_dump()),
    "coredump log": log_of(core_dump()),
    "elf core": elf(),
    "intel hex": intel_hex(),
    "srec": srec(),
    "text": b"Heap at 0x20000000 contains 62 units in 6 buckets\n\n  bucket#\n" * 3,
    "raw": bytes(40) + RAM,
}
PACKED = {"coredump": gzip.compress(SEEDS["coredump"], mtime=0)}
#: What damage likes to turn into.
MARKS = [
    *(b"ZE\x01\x00", b"M\x01\x00", b"A\x01\x00\x00\x00", b"C\x01\x00", b"CD", b"\x7fELF"),
    *(b"#CD:", b"#CD:BEGIN#", b"#CD:END#", b"#CD:ERROR CANNOT DUMP#", b"WkUB", b"\x1b[0m"),
    *(b"\n", b"\r", b"\0", b"\xff" * 4, b":00000001FF\n", b"S9030000FC\n", b"\xff\xfe"),
]
PIECES = st.one_of(
    st.binary(max_size=8),
    st.integers(0, (1 << 32) - 1).map(lambda number: number.to_bytes(4, "little")),
    st.sampled_from(MARKS),
)
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), PIECES, st.booleans()), min_size=1, max_size=5
)
FUZZ = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Read a file with this content and see that all is well; the container, if there is one."""
    monkeypatch.chdir(tmp_path)

    def check(content):
        (tmp_path / "file").write_bytes(content)
        try:
            found = read_container(["file"])
        except DumpError as error:
            assert str(error).startswith("file:"), error
            assert "\n" not in str(error)
            return None
        addresses = [(s.address, s.end) for s in found.memory.segments]
        assert all(0 <= start < end <= 1 << 64 for start, end in addresses)
        assert found.memory.byte_count <= max(len(content), len(SEEDS["coredump"]))
        assert all("\n" not in note and note.endswith(".") for note in found.notes)
        assert found.is_min_dump in (True, False)
        return found

    return check


def edited(content, edits):
    """The content with bytes replaced by others, or others put between."""
    for share, count, piece, replaces in edits:
        place = int(share * len(content))
        content = content[:place] + piece + content[place + (count if replaces else 0) :]
    return content


@pytest.mark.slow
@FUZZ
@given(content=st.binary(max_size=300))
def test_random_bytes(check, content):
    check(content)


@pytest.mark.slow
@FUZZ
@given(content=st.text(max_size=300))
def test_random_text(check, content):
    check(content.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@FUZZ
@given(start=st.sampled_from([seed[:12] for seed in SEEDS.values()]), rest=st.binary(max_size=200))
def test_random_bytes_behind_a_sound_beginning(check, start, rest):
    check(start + rest)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@FUZZ
@given(edits=EDITS)
def test_written_over(check, seed, edits):
    check(edited(SEEDS[seed], edits))


@pytest.mark.slow
@pytest.mark.parametrize("seed", PACKED)
@FUZZ
@given(edits=EDITS)
def test_packed_and_written_over(check, seed, edits):
    check(edited(PACKED[seed], edits))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_cut_short_anywhere(check, seed):
    """Of all formats but the images, what was read is a part of what the whole file gives."""
    whole = SEEDS[seed]
    memory = check(whole).memory
    formats = set()
    for length in range(0, len(whole), 1 if len(whole) < 1000 else 3):
        found = check(whole[:length])
        if found is None or found.format != seed or seed == "raw":
            continue
        formats.add(found.format)
        for segment in found.memory.segments:
            assert memory.read(segment.address, len(segment.data)) == segment.data
    assert formats == {seed} - {"raw"}


def test_the_seeds_are_sound(check):
    for seed, content in SEEDS.items():
        found = check(content)
        assert found.format == seed
        assert found.notes == []


class TestMean:
    """Small files that would take long, or much memory, if they were believed."""

    @pytest.mark.slow
    def test_blocks_that_never_end_well(self, check):
        """Each of them begins a chain that leads to the same wrong end."""
        content = SEEDS["coredump"][:12] + b"?" + b"A\x01\x00\x00\x00" * 200_000 + b"?"
        found = check(content)
        assert "bytes were not read" in found.notes[0]

    def test_lines_that_never_end_well(self, check):
        found = check(log_of([SEEDS["coredump"][:12], b"A\x01\x00\x01\x00" * 60_000]))
        assert found.memory.byte_count == 0

    def test_lengths_of_gigabytes(self, check):
        found = check(SEEDS["coredump"][:12] + b"M\x01\x00" + bytes(4) + b"\xff" * 4 + RAM)
        assert found.memory.byte_count == len(RAM)

    def test_many_marks_in_one_line(self, check):
        assert check(b"#CD:BEGIN#" + b"#CD:" * 100_000).memory.byte_count == 0

    def test_many_dumps_in_one_log(self, check):
        one = log_of([SEEDS["coredump"][:12], block(START, b"x")])
        found = check(one * 2000)
        assert "The log holds 2000 core dumps" in found.notes[0]
