"""Records of chunks and buckets, and a heap on one line."""

from __future__ import annotations

import dataclasses

import pytest

import kheap
from kheap.heaps.view import one_line

BASE = 0x20000000
SMALL = kheap.Profile(bits=32, header="small", runtime_stats=False)


def small():
    """The worked example of the layout: 128 bytes, alloc 5, alloc 12, free the first."""
    heap = kheap.SysHeap(128, SMALL, BASE)
    heap.free((heap.alloc(5), heap.alloc(12))[0])
    return heap


def test_chunks_by_address():
    assert list(small().chunks()) == [
        kheap.Chunk(0, 0, 4, "control", 0),
        kheap.Chunk(4, 32, 2, "free", 0),
        kheap.Chunk(6, 48, 2, "used", 4),
        kheap.Chunk(8, 64, 7, "free", 6),
        kheap.Chunk(15, 120, 0, "end", 8),
    ]


def test_offsets_count_from_the_region_not_from_the_heap():
    heap = kheap.SysHeap(136, SMALL, BASE + 5)
    block = heap.alloc(8)
    chunk = list(heap.chunks())[1]
    assert (chunk.offset, chunk.chunk_bytes) == (block - 4, 16)
    assert chunk.offset == 3 + 8 * chunk.chunk


def test_undersized_chunks():
    heap = kheap.SysHeap(512, kheap.Profile(), BASE)
    block, _ = heap.alloc(40), heap.alloc(8)
    heap.realloc(block, 32)
    states = [(c.size_units, c.state) for c in heap.chunks()]
    assert states[1:4] == [(5, "used"), (1, "undersized"), (2, "used")]
    assert one_line(heap.chunks()).startswith("|H8 *5 .1 *2 -")


def test_one_line():
    assert one_line(small().chunks()) == "|H4 -2 *2 -7 F"
    assert one_line([]) == "|"


def test_buckets_smallest_first():
    assert list(small().buckets()) == [
        kheap.Bucket(0, 1, (), 0),
        kheap.Bucket(1, 2, (4,), 2),
        kheap.Bucket(2, 4, (8,), 7),
        kheap.Bucket(3, 8, (), 0),
    ]


def test_a_ring_is_told_from_its_head_on():
    heap = kheap.SysHeap(1024, kheap.Profile(), BASE)
    blocks = [heap.alloc(40) for _ in range(9)]
    for block in blocks[5], blocks[1], blocks[3]:
        heap.free(block)
    ring = next(b for b in heap.buckets() if len(b.chunks) == 3)
    assert ring.chunks == tuple(blocks[i] // 8 - 1 for i in (5, 1, 3))
    assert ring.largest_units == 6
    assert ring.min_units == 5
    assert ring.bucket == 2
    heap.try_alloc(56)
    assert heap.alloc(40) == blocks[5], "the first of the ring is taken"
    ring = next(b for b in heap.buckets() if len(b.chunks) == 2)
    assert ring.chunks == tuple(blocks[i] // 8 - 1 for i in (1, 3))


def test_records_are_frozen():
    heap = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        next(heap.chunks()).size_units = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        next(heap.buckets()).chunks = ()


def test_chunks_before_a_fault_are_told():
    heap = kheap.SysHeap(512, kheap.Profile(), BASE)
    first, second, _ = (heap.alloc(40) for _ in range(3))
    heap.region[second - 4] = 0
    told = []
    with pytest.raises(kheap.HeapCorruption) as caught:
        for chunk in heap.chunks():
            told.append(chunk.chunk)
    assert told == [0, first // 8 - 1]
    assert caught.value.chunk == second // 8 - 1


def test_a_fault_in_the_control_block_is_told_first():
    heap = small()
    heap.region[0] = 1
    with pytest.raises(kheap.HeapCorruption) as caught:
        next(heap.chunks())
    assert (caught.value.chunk, caught.value.invariant) == (0, "I6")


def test_buckets_of_a_broken_heap():
    heap = small()
    heap.region[12] ^= 1
    with pytest.raises(kheap.HeapCorruption) as caught:
        list(heap.buckets())
    assert caught.value.invariant == "I4"
    assert len(list(heap.chunks())) == 5, "the chunks themselves are sound"
