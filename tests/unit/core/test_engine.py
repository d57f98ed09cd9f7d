"""Corners of the engine that the heap's face does not show."""

from __future__ import annotations

from array import array

import pytest

import kheap
from kheap._core._native import Column, Loop, Pin, Region, run
from kheap._core.calls import HeapCalls
from kheap._core.heap import ChunkHeap

BASE = 0x20000000


# ---------------------------------------------------------------------- pinned memory


def test_a_pin_holds_one_buffer_at_a_time():
    pin, buffer = Pin(), bytearray(16)
    pin._hold(buffer)
    assert pin.size_bytes == 16
    with pytest.raises(ValueError, match="already holds"):
        pin._hold(bytearray(8))
    with pytest.raises(BufferError):
        buffer.append(0)
    pin._let_go()
    pin._let_go()
    assert pin.size_bytes == 0
    buffer.append(0)
    pin._hold(buffer)


def test_a_pin_knows_its_address():
    pin = Pin()
    pin._hold(array("q", [1, 2]))
    assert pin.real_address() % 8 == 0


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8, 12])
def test_a_column_may_have_any_length(size):
    assert Column(bytearray(size)).size_bytes == size


@pytest.mark.parametrize("value", [-5, 0, 7, 2**62])
def test_whole_numbers_are_kept_within_64_bits(value):
    """Seen through an operation: larger numbers are as good as the largest."""
    heap = kheap.SysHeap(512)
    assert heap._chunk_of(value) < 0
    assert heap._chunk_of(value + (1 << 70)) < 0


def test_a_loop_without_work_stays_where_it_is():
    assert run(Loop(), 3, 10) == 3


# ---------------------------------------------------------------------- layers below the face


def test_each_layer_is_a_region():
    assert issubclass(kheap.SysHeap, HeapCalls)
    assert issubclass(HeapCalls, ChunkHeap)
    assert issubclass(ChunkHeap, Region)


class Faceless(HeapCalls):
    """The calls without exceptions, listeners and a life of their own."""

    def __init__(self, size):
        self.bytes = bytearray(size)
        self._hold(self.bytes)
        self.profile = kheap.Profile()
        with kheap.SysHeap(self.bytes, self.profile, BASE) as heap:
            geometry = heap.geometry
        self._place(self.profile.layout(), geometry, BASE)


def test_without_a_face_refusals_have_no_exception():
    heap = Faceless(512)
    assert heap.alloc(8) > 0
    for call in (
        lambda: heap.alloc(0),
        lambda: heap.try_alloc(-1),
        lambda: heap.free(0),
        lambda: heap.usable_bytes(0),
    ):
        with pytest.raises(NotImplementedError):
            call()
    heap._watch_calls(True)
    for call in (
        lambda: heap.alloc(8),
        lambda: heap.free(8),
        lambda: heap.realloc(8, 8),
    ):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.skipif(kheap.COMPILED, reason="calls within the engine are C calls")
def test_without_the_layer_above_there_is_no_alignment():
    assert ChunkHeap().take_aligned(8, 64) == -4


def test_answers_are_numbers():
    heap = kheap.SysHeap(512, base_address=BASE)
    block = heap._plain_alloc(40, 0)
    assert heap._plain_alloc(0, 0) == heap._plain_alloc(5000, 0) == 0
    assert heap._plain_alloc(-1, 0) == heap._plain_realloc(block, -1, 0) == -3
    assert heap._plain_alloc(8, 7) == heap._plain_realloc(block, 8, 7) == -4
    assert heap._plain_realloc(block, 8, -1) == heap._plain_alloc(8, -1) == -4
    assert heap._plain_free(block + 1) == heap._plain_realloc(block + 1, 8, 0) == -2
    assert heap.fault == 2
    assert heap._plain_realloc(block, 0, 0) == 0
    assert heap._plain_free(block) == -2
    assert heap.fault == 3
    assert heap._chunk_of(4096) == -2
    assert heap.fault == 1
    heap.close()
    assert heap._plain_alloc(8, 0) == heap._plain_free(8) == heap._plain_realloc(8, 8, 0) == -5


def test_a_probe_asks_for_nothing_where_there_is_nothing_to_ask():
    heap = kheap.SysHeap(512, base_address=BASE)
    before = bytes(heap.region)
    assert heap._probe(0, 0) == 0
    assert heap.sought == 0
    assert heap._probe(40, 0) == heap.c0
    assert heap.sought == 6
    assert heap._probe(40, 7) == -4
    assert heap.region == before


def test_the_largest_free_chunk_is_in_the_top_ring():
    heap = kheap.SysHeap(2048, base_address=BASE)
    blocks = [heap.alloc(count) for count in (40, 8, 56, 8, 48, 8)]
    heap.alloc(heap.stats().largest_free_bytes)
    assert heap._largest_free_bytes() == heap.stats().largest_free_bytes == 0
    for block in blocks[::2]:
        heap.free(block)
        assert heap._largest_free_bytes() == heap.stats().largest_free_bytes
    assert heap._largest_free_bytes() == 56


# ---------------------------------------------------------------------- broken on purpose


def ring_of_two(hardening="basic", **options):
    """Two free chunks of 6 units in one ring, and their blocks' offsets."""
    heap = kheap.SysHeap(1024, kheap.Profile(hardening=hardening, **options), BASE)
    blocks = [heap.alloc(40) for _ in range(8)]
    for block in blocks[1], blocks[3]:
        heap.free(block)
    return heap, blocks


def refused(heap, call, invariant):
    before = bytes(heap.region)
    with pytest.raises(kheap.HeapCorruption) as caught:
        call()
    assert heap.region == before
    assert caught.value.invariant == invariant
    return caught.value.chunk


def put(heap, byte, value):
    heap.region[byte : byte + 4] = value.to_bytes(4, "little")


def test_a_search_led_out_of_the_heap():
    heap, blocks = ring_of_two()
    put(heap, blocks[1] + 4, heap.n)
    refused(heap, lambda: heap.alloc(56), "I8")
    heap, blocks = ring_of_two(alloc_loops=1)
    put(heap, blocks[1] + 4, heap.n)
    refused(heap, lambda: heap.alloc(56), "I8")


def test_a_head_that_leads_out_of_the_heap():
    heap, _ = ring_of_two()
    put(heap, 40 + 4 * 2, heap.n)
    refused(heap, lambda: heap.alloc(40), "I8")
    refused(heap, lambda: heap.alloc(8), "I8")


def test_a_bit_without_a_ring():
    heap, _ = ring_of_two()
    put(heap, 40 + 4 * 2, 0)
    assert refused(heap, lambda: heap.alloc(8), "I4") == 0


def test_a_bit_beyond_the_table():
    heap, _ = ring_of_two()
    put(heap, 12, 1 << 31)
    assert refused(heap, lambda: heap.alloc(8), "I4") == 0


def test_a_small_chunk_in_a_high_ring():
    heap, blocks = ring_of_two()
    top = next(b.bucket for b in heap.buckets() if b.chunks and b.bucket > 2)
    put(heap, 40 + 4 * top, blocks[1] // 8 - 1)
    assert refused(heap, lambda: heap.alloc(200), "I8") == blocks[1] // 8 - 1


def test_a_free_chunk_that_ends_nowhere():
    heap, blocks = ring_of_two()
    put(heap, blocks[1] - 4, 2 * heap.n)
    refused(heap, lambda: heap.alloc(40), "I5")
    refused(heap, lambda: heap.free(blocks[0]), "I5")
    refused(heap, lambda: heap.realloc(blocks[0], 60), "I5")
