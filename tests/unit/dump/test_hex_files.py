"""Intel HEX and S-records: bases, gaps, order, damage."""

from __future__ import annotations

import random

import pytest

from kheap.dump.formats import _hex
from kheap.dump.formats.containers import read_container
from kheap.errors import DumpError

RAM = bytes(range(256)) * 20
START = 0x2000FF80


def intel(kind, data, offset=0):
    body = bytes([len(data), offset >> 8, offset & 0xFF, kind]) + data
    return f":{(body + bytes([-sum(body) & 0xFF])).hex().upper()}\n"


END = intel(1, b"")


def intel_lines(start, data, step=16):
    """The records that a linker writes: a new base for each 64 KiB."""
    lines, base, place = [], None, 0
    while place < len(data):
        address = start + place
        if address >> 16 != base:
            base = address >> 16
            lines.append(intel(4, base.to_bytes(2, "big")))
        count = min(step, len(data) - place, 0x10000 - (address & 0xFFFF))
        lines.append(intel(0, data[place : place + count], address & 0xFFFF))
        place += count
    return lines


def srec(kind, address, data=b"", width=None):
    width = width or {"1": 2, "2": 3, "3": 4, "7": 4, "8": 3}.get(kind, 2)
    body = address.to_bytes(width, "big") + data
    body = bytes([len(body) + 1]) + body
    return f"S{kind}{(body + bytes([~sum(body) & 0xFF])).hex().upper()}\n"


def srec_lines(kind, start, data, step=32):
    return [srec(kind, start + i, data[i : i + step]) for i in range(0, len(data), step)]


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(lines):
        (tmp_path / "file").write_bytes("".join(lines).encode())
        return read_container(["file"])

    return read


def pieces(container):
    return [(s.address, bytes(s.data)) for s in container.memory.segments]


class TestIntelHex:
    def test_one_piece_over_a_new_base(self, read):
        found = read([*intel_lines(START, RAM), END])
        assert (found.format, found.console, found.bits) == ("intel hex", None, None)
        assert (pieces(found), found.notes) == ([(START, RAM)], [])

    def test_gaps_are_pieces(self, read):
        found = read([*intel_lines(0, b"vectors"), *intel_lines(8, b"next"), END])
        assert pieces(found) == [(0, b"vectors"), (8, b"next")]

    def test_records_in_any_order(self, read):
        lines = [intel(0, RAM[i : i + 16], i) for i in range(0, len(RAM), 16)]
        random.Random(1).shuffle(lines)
        found = read([intel(4, b"\x20\x00"), *lines, END])
        assert (pieces(found), found.notes) == ([(0x20000000, RAM)], [])

    def test_segments_of_16_bits(self, read):
        lines = [intel(2, b"\xf0\x00"), intel(0, b"far", 0xFFF0), intel(3, bytes(4)), END]
        assert pieces(read(lines)) == [(0xFFFF0, b"far")]

    def test_the_last_bytes_of_the_address_space(self, read):
        found = read([intel(4, b"\xff\xff"), intel(0, b"last", 0xFFFC), intel(5, bytes(4)), END])
        assert pieces(found) == [(0xFFFFFFFC, b"last")]

    def test_lower_case_blank_lines_and_carriage_returns(self, read):
        lines = [line.lower().replace("\n", "\r\n") for line in intel_lines(START, RAM)]
        assert pieces(read(["\ufeff", "\r\n", *lines, "\r\n", END])) == [(START, RAM)]

    def test_nothing_is_read_behind_the_end(self, read):
        found = read([intel(0, b"one"), END, "whatever\n"])
        assert (pieces(found), found.notes) == ([(0, b"one")], [])

    def test_no_end_is_noted(self, read):
        found = read(intel_lines(START, RAM))
        assert pieces(found) == [(START, RAM)]
        assert found.notes == ["There is no end record: the file may have been cut short."]

    def test_bytes_given_twice(self, read):
        lines = [intel(0, b"abcd", 4), intel(0, b"xxcdef", 4), intel(0, b"0123", 2), END]
        found = read(lines)
        assert pieces(found) == [(2, b"0123cdef")]
        assert found.memory.overlaps == [(4, 5), (4, 7)]
        assert "stands there twice" in found.notes[0]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (":0100000041BF\n", "checksum 0xbf, but expected 0xbe"),
            (":0200000041BE\n", "expected a record of 02 (hex) bytes: ':0200000041BE'"),
            (":00\n", "expected a record of 00 (hex) bytes: ':00'"),
            (":\n", "expected a record of no (hex) bytes: ':'"),
            (":0100000041B\n", "expected ':' and an even number of hex digits, found ':01000000"),
            (":01000000zzBE\n", "expected ':' and an even number of hex digits, found ':0100000"),
            ("Rubbish\n", "expected ':' and an even number of hex digits, found 'Rubbish'"),
            ("x" * 100, "found 'xxxxxxxxxx"),
            (intel(6, b""), "record type 6, but there are 0 to 5 alone"),
            (intel(4, b"\x20"), "expected 2 bytes of address in a record of type 4"),
            (
                intel(2, b"\x10\x00") + intel(0, b"ab", 0xFFFF),
                "a record that reaches behind the end of its segment",
            ),
            (
                intel(4, b"\xff\xff") + intel(0, b"ab", 0xFFFF),
                "2 bytes at 0xffffffff reach behind the last address",
            ),
        ],
    )
    def test_damage_is_refused_with_its_line(self, read, line, reason):
        with pytest.raises(DumpError) as refused:
            read([*intel_lines(0, b"fine"), line, END])
        number = 2 + line.count("\n") if line.endswith("\n") else 3
        assert str(refused.value).startswith(f"file:{number}: ")
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 150


class TestSRecords:
    @pytest.mark.parametrize(
        ("kind", "end", "start"), [("1", "9", 0x1000), ("2", "8", 0x101000), ("3", "7", START)]
    )
    def test_addresses_of_all_widths(self, read, kind, end, start):
        lines = [srec("0", 0, b"title"), *srec_lines(kind, start, RAM), srec("5", 160)]
        found = read([*lines, srec(end, start), "whatever"])
        assert (found.format, found.console) == ("srec", None)
        assert (pieces(found), found.notes) == ([(start, RAM)], [])

    def test_gaps_are_pieces(self, read):
        lines = [*srec_lines("3", START, RAM), *srec_lines("1", 0, b"low"), srec("9", 0)]
        assert pieces(read(lines)) == [(0, b"low"), (START, RAM)]

    def test_no_end_is_noted(self, read):
        assert "no end record" in read(srec_lines("3", START, RAM)).notes[0]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("S1050000414278\n", "checksum 0x78, but expected 0x77"),
            ("S1060000414277\n", "expected a record of 06 (hex) bytes: 'S1060000414277'"),
            ("S1\n", "expected a record of no (hex) bytes: 'S1'"),
            ("S105000041427\n", "expected 'S1' and an even number of hex digits, found "),
            (":0100000041BE\n", "an even number of hex digits, found ':0100000041BE'"),
            ("\xe9\xe9\n", "an even number of hex digits, found '\\xc3\\xa9\\xc3\\xa9'"),
            (srec("4", 0, b"x"), "record type S4, which is reserved"),
            (srec("x", 0, b"x"), "an even number of hex digits"),
            (srec("3", 0, b"x", 1), "expected an address of 4 bytes, found 'S303"),
            (srec("3", 0xFFFFFFFF, b"ab"), "2 bytes at 0xffffffff reach behind the last address"),
        ],
    )
    def test_damage_is_refused_with_its_line(self, read, line, reason):
        with pytest.raises(DumpError) as refused:
            read([*srec_lines("3", START, b"fine"), line, srec("7", 0)])
        assert str(refused.value).startswith("file:2: ")
        assert reason in str(refused.value)
        assert "\n" not in str(refused.value)


def test_too_many_pieces(read, monkeypatch):
    monkeypatch.setattr(_hex, "MAX_PIECES", 100)
    lines = [intel(0, b"x", 2 * i) for i in range(350)]
    random.Random(2).shuffle(lines)
    assert len(pieces(read([*lines[:100], END]))) == 100
    for count in (101, 250, 350):
        with pytest.raises(DumpError, match="file: expected at most 100 pieces with gaps"):
            read([*lines[:count], END])
    fill = [intel(0, b"y", 2 * i + 1) for i in range(350)]
    random.Random(3).shuffle(fill)
    together = [line for pair in zip(lines, fill, strict=True) for line in pair]
    assert pieces(read([*sorted(together, key=lambda line: line[3:7]), END])) == [(0, b"xy" * 350)]
