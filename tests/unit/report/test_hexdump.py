"""Bytes in lines of sixteen."""

from __future__ import annotations

import pytest

from kheap.report.hexdump import hexdump

BYTES = bytes(range(0x30, 0x70))


def test_whole_lines():
    assert list(hexdump(0x2000, BYTES[:32])) == [
        "00002000  30 31 32 33 34 35 36 37  38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|",
        "00002010  40 41 42 43 44 45 46 47  48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|",
    ]


def test_nothing():
    assert list(hexdump(0x2000, b"")) == []
    assert list(hexdump(0x2003, b"", {0x2003: "chunk"}, bad=0x2003)) == []


@pytest.mark.parametrize("lead", range(16))
@pytest.mark.parametrize("count", [1, 15, 16, 17])
def test_lines_begin_at_multiples_of_sixteen(lead, count):
    """All lines are as wide as each other, and each byte stands below its place."""
    lines = list(hexdump(0x2000 + lead, BYTES[:count]))
    assert len(lines) == (lead + count + 15) // 16
    numbers = "".join(line[10:58].replace("  ", "..").replace(" ", "") for line in lines)
    assert [line[:8] for line in lines] == [f"{0x2000 + 16 * i:08x}" for i in range(len(lines))]
    assert {len(line) for line in lines} == {78}
    texts = "".join(line[61:77] for line in lines)
    assert texts == (" " * lead + BYTES[:count].decode()).ljust(16 * len(lines))
    found = bytes.fromhex("".join(line[10:58] for line in lines))
    assert (found, numbers[:1] == ".") == (BYTES[:count], lead > 0)


def test_only_printable_bytes_are_text():
    (line,) = hexdump(0, bytes([0, 31, 32, 126, 127, 128, 255, 0x1B]))
    assert line.endswith("|.. ~....        |")


def test_marks_stand_before_the_line_of_their_byte():
    marks = {0x2008: "chunk 1", 0x2000: "chunk 0", 0x200F: "chunk 2", 0x2010: "chunk 3"}
    assert [line.strip() for line in hexdump(0x2000, BYTES[:17], marks) if "--" in line] == [
        "-- chunk 0",
        "-- chunk 1",
        "-- chunk 2",
        "-- chunk 3",
    ]
    lines = list(hexdump(0x2000, BYTES[:17], marks))
    assert lines[3].startswith("00002000") and lines[5].startswith("00002010")


def test_marks_outside_are_none():
    marks = {0x1FFF: "before", 0x2004: "behind"}
    assert len(list(hexdump(0x2000, BYTES[:4], marks))) == 1


@pytest.mark.parametrize("address", [0x2000, 0xFFFF_8000_0000_2000, 0x1_0000_0000])
@pytest.mark.parametrize("place", range(16))
def test_a_byte_that_is_pointed_at(address, place):
    """Whatever the width of the address."""
    line, arrow = hexdump(address, BYTES[:16], bad=address + place)
    assert line[arrow.index("^^") :][:2] == f"{BYTES[place]:02x}"
    assert arrow.split() == ["^^", "here"]


def test_a_byte_outside_is_not_pointed_at():
    for bad in (0x1FFF, 0x2010, 0):
        assert len(list(hexdump(0x2000, BYTES[:16], bad=bad))) == 1
