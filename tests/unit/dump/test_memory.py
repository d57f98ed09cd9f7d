"""Memory: pieces that touch, overlap, and are fetched when asked for."""

from __future__ import annotations

import pytest

from kheap.dump.memory import Memory


def test_reads_over_the_border_of_two_pieces():
    memory = Memory()
    memory.add(0x108, b"89abcdef")
    memory.add(0x100, b"01234567")
    assert bytes(memory.read(0x106, 4)) == b"6789"
    assert memory.word(0x100, 2) == 0x3130
    assert memory.extent(0x104) == 12


@pytest.mark.parametrize(("address", "count"), [(0xFF, 1), (0x10F, 2), (0x0, 4), (-4, 4)])
def test_what_is_not_held_whole_is_unknown(address, count):
    memory = Memory()
    memory.add(0x100, bytes(16))
    assert memory.read(address, count) is None


def test_the_earlier_piece_stays_and_the_difference_is_noted():
    memory = Memory()
    memory.add(0x104, b"XXXX")
    memory.add(0x100, b"aaaabbbbcccc")
    assert bytes(memory.read(0x100, 12)) == b"aaaaXXXXcccc"
    assert memory.overlaps == [(0x104, 0x107)]
    assert [segment.address for segment in memory.segments] == [0x100, 0x104, 0x108]


def test_an_equal_overlap_is_no_conflict():
    memory = Memory()
    memory.add(0x100, b"abcdefgh")
    memory.add(0x102, b"cdef")
    assert memory.overlaps == []
    assert memory.byte_count == 8


def test_pieces_that_touch_are_one_run():
    memory = Memory()
    for address in (0x108, 0x100, 0x120):
        memory.add(address, bytes([address & 0xFF] * 8))
    runs = [(run.address, bytes(run.data)) for run in memory.runs()]
    assert runs == [(0x100, b"\x00" * 8 + b"\x08" * 8), (0x120, b"\x20" * 8)]


def test_text_ends_with_a_zero_and_is_printable():
    memory = Memory()
    memory.add(0, b"idle\0\x01x\0" + b"y" * 80)
    assert memory.text(0) == "idle"
    assert memory.text(4) is None
    assert memory.text(5) is None
    assert memory.text(8) is None


def test_a_live_target_is_asked_once_for_each_page():
    asked = []

    def fetch(address, count):
        asked.append((address, count))
        return bytes(count) if address + count <= 0x20001000 else None

    memory = Memory(fetch)
    assert memory.word(0x20000010, 4) == 0
    assert memory.word(0x20000020, 4) == 0
    assert asked == [(0x20000000, 1024)]
    assert memory.read(0x20000FFC, 8) is None
    assert bytes(memory.read(0x200003F0, 0x20)) == bytes(0x20)
