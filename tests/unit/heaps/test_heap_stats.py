"""The numbers of a heap, and what they mean together."""

from __future__ import annotations

import dataclasses
from math import isclose, sqrt

import pytest

import kheap
from kheap.heaps.stats import Fragmentation
from property.broken import PROFILES, name_of

BASE = 0x20000000


def test_the_worked_example():
    heap = kheap.SysHeap(128, kheap.Profile(bits=32, header="small", runtime_stats=False), BASE)
    heap.free((heap.alloc(5), heap.alloc(12))[0])
    stats = heap.stats()
    assert dataclasses.asdict(stats) == {
        "free_bytes": 64,
        "allocated_bytes": 12,
        "max_allocated_bytes": None,
        "largest_free_bytes": 52,
        "free_count": 2,
        "used_count": 1,
        "undersized_count": 0,
        "heap_bytes": 124,
        "overhead_bytes": 48,
        "fragmentation": {
            "one_minus_largest_over_free": 1 - 52 / 64,
            "one_minus_root_sum_squares": 1 - sqrt(52**2 + 12**2) / 64,
        },
    }


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_identities(profile):
    heap = kheap.SysHeap(2048, profile, BASE + 3)
    blocks = []
    while (block := heap.try_alloc(17 + 8 * (len(blocks) % 5))) is not None:
        blocks.append(block)
    for block in blocks[::3]:
        heap.free(block)
    stats, chunks = heap.stats(), list(heap.chunks())
    assert sum(c.chunk_bytes for c in chunks) == 8 * heap.n
    assert stats.heap_bytes == 8 * heap.n + heap.hdr
    assert stats.free_bytes + stats.allocated_bytes + stats.overhead_bytes == stats.heap_bytes
    headers = 0 if profile.version in ((4, 2), (4, 3)) else heap.hdr + 8 * heap.trail
    for state, bytes_, count in (
        ("used", stats.allocated_bytes, stats.used_count),
        ("free", stats.free_bytes, stats.free_count),
    ):
        sizes = [c.chunk_bytes - headers for c in chunks if c.state == state]
        assert (sum(sizes), len(sizes)) == (bytes_, count)
    assert stats.largest_free_bytes == max(
        c.chunk_bytes - headers for c in chunks if c.state == "free"
    )
    undersized = [c.chunk_bytes for c in chunks if c.state == "undersized"]
    assert stats.undersized_count == len(undersized)
    control = chunks[0].chunk_bytes + heap.hdr
    counted = stats.used_count + stats.free_count
    assert stats.overhead_bytes == control + sum(undersized) + counted * headers
    if profile.runtime_stats:
        assert stats.max_allocated_bytes >= stats.allocated_bytes
    assert 0 < stats.fragmentation.one_minus_largest_over_free < 1
    assert 0 < stats.fragmentation.one_minus_root_sum_squares < 1


def test_one_free_chunk_is_not_fragmented():
    heap = kheap.SysHeap(1024)
    heap.alloc(100)
    assert heap.stats().fragmentation == Fragmentation(0.0, 0.0)


def test_no_free_chunk_is_not_fragmented():
    heap = kheap.SysHeap(1024)
    heap.alloc(heap.stats().largest_free_bytes)
    stats = heap.stats()
    assert (stats.free_bytes, stats.largest_free_bytes, stats.free_count) == (0, 0, 0)
    assert stats.fragmentation == Fragmentation(0.0, 0.0)


def test_equal_chunks():
    """Of n equal chunks the first measure says 1 - 1/n, the second 1 - 1/sqrt(n)."""
    heap = kheap.SysHeap(1024)
    blocks = []
    while (block := heap.try_alloc(40)) is not None:
        blocks.append(block)
    while heap.try_alloc(1) is not None:
        pass
    for count, block in enumerate(blocks[: 2 * 9 : 2], 1):
        heap.free(block)
        fragmentation = heap.stats().fragmentation
        assert isclose(fragmentation.one_minus_largest_over_free, 1 - 1 / count, abs_tol=1e-12)
        assert isclose(fragmentation.one_minus_root_sum_squares, 1 - count**-0.5, abs_tol=1e-12)


def test_stats_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        kheap.SysHeap(512).stats().free_bytes = 0


def test_a_heap_that_cannot_be_walked_has_no_numbers():
    heap = kheap.SysHeap(512)
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.region[block + 40] ^= 0xFF
    with pytest.raises(kheap.HeapCorruption):
        heap.stats()
