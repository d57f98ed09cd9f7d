"""Realloc, sizes, views and statistics of a sound heap, step by step."""

from __future__ import annotations

import pytest

import kheap
from property.broken import name_of

BASE = 0x20000000
BIG = kheap.Profile()
SMALL = kheap.Profile(bits=32, header="small")
CANARIES = kheap.Profile(hardening="full")


def make(profile=BIG, size=1024):
    return kheap.SysHeap(bytearray(size), profile, BASE)


def line(heap):
    """The sizes and states of all chunks but the control block, such as ``*3 -20``."""
    marks = {"used": "*", "free": "-", "undersized": "."}
    return " ".join(f"{marks[c.state]}{c.size_units}" for c in heap.chunks() if c.state in marks)


# ---------------------------------------------------------------------- realloc


def test_realloc_of_nothing_allocates():
    heap = make()
    assert heap.realloc(None, 100) == 80
    assert heap.realloc(None, 100, align=64) % 64 == 0
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(None, 0)
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(None, 0, align=64)


def test_realloc_to_nothing_frees():
    heap = make()
    block = heap.alloc(100)
    assert heap.realloc(block, 0) is None
    assert heap.stats().used_count == 0
    with pytest.raises(kheap.InvalidFree):
        heap.realloc(block, 0)


@pytest.mark.parametrize("profile", [BIG, SMALL, CANARIES], ids=name_of)
def test_the_same_units_stay(profile):
    heap = make(profile)
    block = heap.alloc(100)
    before = bytes(heap.region)
    for request_bytes in range(heap.usable_bytes(block) - 7, heap.usable_bytes(block) + 1):
        assert heap.realloc(block, request_bytes) == block
    assert heap.region == before


def test_a_shrink_splits_even_by_one_unit():
    heap = make()
    block, _ = heap.alloc(40), heap.alloc(40)
    assert line(heap).startswith("*6 *6 -")
    assert heap.realloc(block, 32) == block
    assert line(heap).startswith("*5 .1 *6 -"), "one unit of a big heap is in no list"
    assert heap.realloc(block, 16) == block
    assert line(heap).startswith("*3 -3 *6 -"), "the suffix takes in its free neighbour"


def test_a_shrink_next_to_free_memory_gives_to_it():
    heap = make()
    block = heap.alloc(100)
    free_units = list(heap.chunks())[-2].size_units
    assert heap.realloc(block, 50) == block
    assert line(heap) == f"*8 -{free_units + 6}"


def test_growth_takes_what_it_needs_from_the_right():
    heap = make()
    block = heap.alloc(40)
    free_units = list(heap.chunks())[-2].size_units
    assert heap.realloc(block, 80) == block
    assert line(heap) == f"*11 -{free_units - 5}"
    everything = heap.usable_bytes(block) + 8 * (free_units - 5)
    assert heap.realloc(block, everything) == block
    assert line(heap) == f"*{free_units + 6}"


def test_growth_may_leave_an_undersized_rest():
    heap = make()
    block, hole, _ = heap.alloc(40), heap.alloc(16), heap.alloc(8)
    heap.free(hole)
    assert heap.realloc(block, 56) == block
    assert line(heap).startswith("*8 .1 *2")
    assert heap.realloc(block, 64) == block, "an undersized neighbour can be taken, too"
    assert line(heap).startswith("*9 *2")


@pytest.mark.parametrize("profile", [BIG, SMALL, CANARIES], ids=name_of)
def test_what_cannot_grow_moves_with_its_bytes(profile):
    heap = make(profile)
    block, _ = heap.alloc(40), heap.alloc(8)
    view = heap.view(block)
    view[:] = bytes(range(len(view)))
    moved = heap.realloc(block, 200)
    assert moved != block
    assert heap.view(moved)[: len(view)] == bytes(range(len(view)))
    heap.check()
    with pytest.raises((kheap.InvalidFree, kheap.HeapCorruption)):
        heap.free(block)


def test_growth_to_the_left_never_happens():
    heap = make(size=400)
    first, second, _ = heap.alloc(100), heap.alloc(40), heap.alloc(130)
    heap.free(first)
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(second, 130)
    assert heap.usable_bytes(second) == 40


def test_a_block_that_is_not_aligned_moves_even_if_it_had_room():
    heap = make()
    heap.alloc(8)
    block = heap.alloc(100)
    assert (BASE + block) % 64
    moved = heap.realloc(block, 50, align=64)
    assert (BASE + moved) % 64 == 0
    assert heap.realloc(moved, 40, align=64) == moved
    assert heap.realloc(moved, 40, align=8) == moved


def test_a_release_before_4_2_refuses_by_bytes_alone():
    heap = make(kheap.Profile(release="3.7"), size=520)
    block = heap.alloc(8)
    before = bytes(heap.region)
    assert heap.n == 64
    for request_bytes in (8 * 64 - 1, 8 * 64, 2**64):
        with pytest.raises(kheap.OutOfMemory):
            heap.realloc(block, request_bytes)
        with pytest.raises(kheap.OutOfMemory):
            heap.alloc(request_bytes)
    assert heap.region == before


def test_padding_may_ask_for_more_than_all_units():
    """Before 4.2 such a request is searched for in the last bucket, where nothing fits."""
    heap = make(kheap.Profile(release="3.7"), size=1000)
    assert heap.n == 124
    before = bytes(heap.region)
    assert heap.try_alloc(900, align=128) is None
    assert heap.region == before


# ---------------------------------------------------------------------- sizes and views


@pytest.mark.parametrize(
    "profile", [BIG, SMALL, CANARIES, kheap.Profile(release="3.7")], ids=name_of
)
def test_a_view_is_the_chunk_without_its_ends(profile):
    heap = make(profile)
    for request_bytes in range(1, 40):
        block = heap.alloc(request_bytes)
        view = heap.view(block)
        assert len(view) == heap.usable_bytes(block) >= request_bytes
        assert len(view) < request_bytes + 8
        view[:] = b"\xff" * len(view)
        heap.check()
        heap.free(block)


@pytest.mark.parametrize("rewind", [1, 2, 4])
def test_4_4_forgets_the_gap_of_a_rewind_on_big_heaps(rewind):
    """Usable bytes answer as the original does; a view never reaches past its chunk."""
    new, old = make(), make(kheap.Profile(release="4.3"))
    for heap in (new, old):
        block = heap.alloc(20, align=16 | rewind)
        gap = (block - 8 - heap.start) % 8
        assert gap == 8 - rewind
        true_bytes = len(heap.view(block))
        heap.view(block)[:] = b"\xff" * true_bytes
        heap.check()
        assert heap.usable_bytes(block) == true_bytes + (gap if heap is new else 0)


def test_small_heaps_know_their_gap():
    heap = make(SMALL)
    block = heap.alloc(20, align=8)
    assert (block - 4) % 8 == 4
    assert heap.usable_bytes(block) == len(heap.view(block))


# ---------------------------------------------------------------------- statistics


@pytest.mark.parametrize("release", ["3.0", "3.7", "4.1", "4.2", "4.3", "4.4", "main"])
@pytest.mark.parametrize("bits", [32, 64])
def test_statistics_count_as_the_release_does(release, bits):
    profile = kheap.Profile(release=release, bits=bits, header="auto")
    heap = make(profile)
    header = 8 if bits == 64 else 4
    counted = header if release in ("4.2", "4.3") else 0
    free_units = list(heap.chunks())[1].size_units
    heap.alloc(40)
    stats = heap.stats()
    used_units = (40 + header + 7) // 8
    assert stats.allocated_bytes == 8 * used_units - header + counted
    assert stats.free_bytes == 8 * (free_units - used_units) - header + counted
    assert stats.largest_free_bytes == stats.free_bytes
    assert stats.max_allocated_bytes == stats.allocated_bytes
    heap.check()


def test_the_maximum_is_kept_until_it_is_reset():
    heap = make()
    first, second = heap.alloc(100), heap.alloc(200)
    assert heap.stats().max_allocated_bytes == 304
    heap.free(second)
    assert (heap.stats().allocated_bytes, heap.stats().max_allocated_bytes) == (104, 304)
    heap.reset_max()
    assert heap.stats().max_allocated_bytes == 104
    heap.free(first)
    heap.alloc(50)
    assert heap.stats().max_allocated_bytes == 104


def test_a_move_counts_both_copies_at_once():
    heap = make()
    block, _ = heap.alloc(40), heap.alloc(8)
    heap.realloc(block, 100)
    assert heap.stats().max_allocated_bytes == 40 + 8 + 104
    assert heap.stats().allocated_bytes == 104 + 8


def test_without_statistics_there_is_no_maximum():
    heap = make(kheap.Profile(runtime_stats=False))
    heap.alloc(100)
    before = bytes(heap.region)
    heap.reset_max()
    assert heap.stats().max_allocated_bytes is None
    assert heap.stats().allocated_bytes == 104
    assert heap.region == before
