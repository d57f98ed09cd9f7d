"""Hardening: what each level finds, and when; canaries byte by byte."""

from __future__ import annotations

import struct

import pytest

import kheap
from helpers import spelling
from kheap.profile import HARDENING_LEVELS
from property.broken import name_of
from property.model import build_of

BASE = 0x20000000
KINDS = [(32, "small"), (32, "big"), (64, "auto")]
CANARIES = [
    kheap.Profile(bits=bits, header=header, runtime_stats=stats, hardening=hardening)
    for bits, header in KINDS
    for stats in (False, True)
    for hardening in ("full", "extreme")
]


def make(profile, size=1024):
    return kheap.SysHeap(size, profile, BASE)


def corrupt(heap, call, invariant=None):
    """The call reports corruption and has written nothing."""
    before = bytes(heap.region)
    with pytest.raises(kheap.HeapCorruption) as caught:
        call()
    assert heap.region == before, "written before the error"
    assert invariant in (None, caught.value.invariant)
    return caught.value


@pytest.mark.parametrize("level", HARDENING_LEVELS)
@pytest.mark.parametrize(("bits", "header"), KINDS)
def test_every_level_finds_a_double_free_and_an_overflow(bits, header, level):
    """Checks of what is followed cost next to nothing; they are made at every level."""
    heap = make(kheap.Profile(bits=bits, header=header, hardening=level))
    first, second, third = (heap.alloc(40) for _ in range(3))
    heap.free(second)
    with pytest.raises(kheap.InvalidFree, match="double free"):
        heap.free(second)
    end = first + len(heap.view(first))
    heap.region[end : end + 24] = b"x" * 24
    corrupt(heap, lambda: heap.free(first))
    corrupt(heap, lambda: heap.free(third))


def written_after_free(level):
    """A ring of three whose middle chunk's links were written over, with ids of the heap."""
    heap = make(kheap.Profile(hardening=level))
    blocks = [heap.alloc(40) for _ in range(8)]
    for block in blocks[1:6:2]:
        heap.free(block)
    heap.region[blocks[3] : blocks[3] + 8] = struct.pack("=2I", *(b // 8 for b in blocks[4:6]))
    return heap, blocks


@pytest.mark.parametrize("level", HARDENING_LEVELS)
def test_moderate_asks_the_list_neighbours(level):
    heap, blocks = written_after_free(level)
    if level in ("none", "basic"):
        heap.free(blocks[2])
        corrupt(heap, heap.check)
        return
    for call in (lambda: heap.free(blocks[2]), lambda: heap.free(blocks[4])):
        assert "written after free?" in str(corrupt(heap, call, "I8"))


@pytest.mark.parametrize("level", ["none", "basic", "moderate"])
def test_moderate_asks_the_neighbours_of_a_free_chunk(level):
    heap = make(kheap.Profile(hardening=level))
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.free(block)
    left = slice(block + 40, block + 44)
    heap.region[left] = (9).to_bytes(4, "little")
    if level == "moderate":
        corrupt(heap, lambda: heap.alloc(40), "I1")
    else:
        assert heap.alloc(40) == block


@pytest.mark.parametrize("level", ["moderate", "full", "extreme"])
def test_a_free_chunk_with_a_free_neighbour_is_not_taken(level):
    heap = make(kheap.Profile(hardening=level))
    first, second, _ = heap.alloc(40), heap.alloc(40), heap.alloc(40)
    heap.free(second)
    heap.region[first - 4] &= 0xFE
    corrupt(heap, lambda: heap.alloc(40), "I2")


@pytest.mark.parametrize("level", ["none", "basic", "moderate", "full"])
def test_a_marked_chunk_in_a_ring_is_not_taken(level):
    heap = make(kheap.Profile(hardening=level))
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.free(block)
    heap.region[block - 4] |= 1
    corrupt(heap, lambda: heap.alloc(40), "I8")


# ---------------------------------------------------------------------- canaries


def canary_place(heap, block):
    """Where the canary of a block lies: the last unit of its chunk."""
    end = block + len(heap.view(block))
    return slice(end, end + 8)


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_a_canary_is_made_of_address_and_size(profile):
    heap = make(profile)
    block = heap.alloc(40)
    chunk = (block - heap.hdr) // 8
    for request_bytes in (40, 30, 90):
        heap.realloc(block, request_bytes)
        units = heap._units_of(chunk)
        place = canary_place(heap, block)
        wanted = spelling.canary(BASE + 8 * chunk, units)
        assert int.from_bytes(heap.region[place], "little") == wanted
    assert spelling.problems(heap.region, build_of(profile), BASE) == []


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_one_byte_too_many_is_found_by_whoever_comes_near(profile):
    heap = make(profile)
    left, block, right = heap.alloc(40), heap.alloc(40), heap.alloc(40)
    heap.region[canary_place(heap, block).start] ^= 0xFF
    chunk = (block - heap.hdr) // 8
    for call in (
        lambda: heap.free(block),
        lambda: heap.realloc(block, 20),
        lambda: heap.realloc(block, 0),
        lambda: heap.usable_bytes(block),
        lambda: heap.view(block),
        lambda: heap.free(right),
        heap.check,
        lambda: heap.alloc(40) if profile.hardening == "extreme" else heap.check(),
    ):
        error = corrupt(heap, call, "I10")
        assert error.chunk == chunk
        assert "canary" in str(error)
    if profile.hardening == "full":
        heap.free(left)
        assert heap.usable_bytes(right) == 40 if heap.hdr == 8 else 44


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_one_byte_too_many_is_found_before_the_next_chunk_is_taken(profile):
    heap = make(profile)
    block, hole, _ = heap.alloc(40), heap.alloc(40), heap.alloc(40)
    heap.free(hole)
    heap.region[canary_place(heap, block).start] ^= 0xFF
    for align in (0, 8, 0x14):
        assert corrupt(heap, lambda a=align: heap.alloc(20, align=a), "I10")
    assert corrupt(heap, lambda: heap.alloc(40), "I10")


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_one_byte_too_many_is_found_across_a_free_neighbour(profile):
    """Freeing looks at the chunk left of a free left neighbour."""
    heap = make(profile)
    block, hole, last = heap.alloc(40), heap.alloc(40), heap.alloc(40)
    heap.free(hole)
    heap.region[canary_place(heap, block).start] ^= 0xFF
    assert corrupt(heap, lambda: heap.free(last), "I10").chunk == (block - heap.hdr) // 8


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_the_control_block_has_a_canary(profile):
    heap = make(profile)
    block = heap.alloc(40)
    heap.region[8 * heap.c0 - 1] ^= 0xFF
    assert corrupt(heap, lambda: heap.free(block), "I10").chunk == 0
    assert corrupt(heap, heap.check, "I10").chunk == 0


@pytest.mark.parametrize("profile", CANARIES, ids=name_of)
def test_a_freed_canary_is_poisoned(profile):
    heap = make(profile)
    block, _ = heap.alloc(40), heap.alloc(40)
    place = canary_place(heap, block)
    heap.free(block)
    assert int.from_bytes(heap.region[place], "little") == 0xDEADBEEFDEADBEEF
    with pytest.raises(kheap.InvalidFree, match="double free"):
        heap.free(block)
    heap.region[block - heap.hdr // 2] |= 1
    corrupt(heap, lambda: heap.free(block))


def test_the_address_is_part_of_a_canary():
    """So a heap with canaries cannot be opened at another address."""
    profile = kheap.Profile(hardening="full")
    heap = make(profile)
    moved = kheap.SysHeap.open(heap.region, profile, BASE + 64)
    assert corrupt(moved, moved.check, "I10").chunk == 0


# ---------------------------------------------------------------------- extreme


@pytest.mark.parametrize("level", ["full", "extreme"])
def test_extreme_validates_everything_before_each_operation(level):
    heap = make(kheap.Profile(hardening=level))
    far, _, near, _ = (heap.alloc(40) for _ in range(4))
    heap.region[canary_place(heap, far)] = bytes(8)
    calls = [
        lambda: heap.alloc(10),
        lambda: heap.alloc(10, align=64),
        lambda: heap.try_alloc(5000),
        lambda: heap.realloc(near, 10),
        lambda: heap.realloc(None, 10),
        lambda: heap.free(near),
    ]
    for call in calls:
        if level == "extreme":
            assert corrupt(heap, call, "I10").chunk == (far - heap.hdr) // 8
        else:
            call()


def test_extreme_compares_the_statistics():
    heap = make(kheap.Profile(hardening="extreme"))
    heap.region[16] ^= 1
    corrupt(heap, lambda: heap.alloc(8), "I9")
    heap = make(kheap.Profile(hardening="extreme", runtime_stats=False))
    heap.alloc(8)


def test_extreme_tells_its_listeners_all_the_same():
    heap = make(kheap.Profile(hardening="extreme"))
    events = []
    heap.add_listener(lambda *event: events.append(event))
    heap.remove_listener(heap._listeners[0])
    heap.add_listener(lambda *event: events.append(event))
    heap.free(heap.alloc(8))
    assert [event[0] for event in events] == ["alloc", "free"]
