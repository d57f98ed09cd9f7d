"""What Zephyr's page "Heap" says of k_heap and sys_heap, claim by claim."""

from __future__ import annotations

import random

import pytest

import kheap
from helpers.sleepers import Dormitory, at_once

BASE = 0x20000000


class TestSynchronizedHeap:
    """Synchronized Heap Allocator."""

    def test_a_heap_is_defined_with_a_name_and_a_size(self):
        heap = kheap.Heap(2048, name="my_heap")
        assert (heap.name, heap.size_bytes) == ("my_heap", 2048)
        assert heap.alloc(1000).nbytes == 1000

    def test_a_heap_is_initialised_over_a_region_of_the_applications_own(self):
        region = bytearray(b"\xa5" * 2048)
        heap = kheap.Heap(region)
        block = heap.alloc(100)
        block.view()[:] = b"own" + bytes(97)
        assert region[block.offset : block.offset + 3] == b"own"

    def test_the_region_holds_the_bookkeeping_too(self):
        assert kheap.Heap(2048).stats().free_bytes < 2048

    def test_memory_is_allocated_as_with_malloc(self):
        heap = kheap.Heap(2048)
        block = heap.alloc(100)
        with block.view() as memory:
            memory[:] = bytes(range(100))
            assert bytes(memory) == bytes(range(100))

    def test_null_is_the_answer_where_nothing_fits(self):
        heap = kheap.Heap(2048)
        assert heap.try_alloc(4096) is None
        with pytest.raises(kheap.OutOfMemory):
            heap.alloc(4096)

    def test_k_no_wait_does_not_sleep(self):
        room = Dormitory()
        heap = kheap.Heap(2048, clock=room.clock)
        block = heap.alloc(1500, timeout=0)
        with pytest.raises(kheap.OutOfMemory):
            heap.alloc(1500, timeout=0)
        assert heap.waiters == ()
        block.free()

    def test_a_timeout_sleeps_until_memory_is_free(self):
        room = Dormitory()
        heap = kheap.Heap(2048, clock=room.clock)
        block = heap.alloc(1500)
        sleeper = room.sleep(heap.alloc, 1500, timeout=10.0)
        room.clock.advance(9.0)
        block.free()
        assert room.wake(sleeper).nbytes == 1500

    def test_a_timeout_that_runs_out_gives_no_memory(self):
        room = Dormitory()
        heap = kheap.Heap(2048, clock=room.clock)
        block = heap.alloc(1500)
        sleeper = room.sleep(heap.alloc, 1500, timeout=10.0)
        room.clock.advance(10.0)
        with pytest.raises(kheap.TimedOut):
            room.wake(sleeper)
        assert not block.closed

    def test_k_forever_sleeps_without_end(self):
        room = Dormitory()
        heap = kheap.Heap(2048, clock=room.clock)
        block = heap.alloc(1500)
        sleeper = room.sleep(heap.alloc, 1500, timeout=None)
        room.clock.advance(1e15)
        assert heap.waiters == ((1500, 0),)
        block.free()
        assert room.wake(sleeper).nbytes == 1500

    def test_memory_is_released_with_free(self):
        heap = kheap.Heap(2048)
        fresh = heap.stats().free_bytes
        heap.free(heap.alloc(100))
        heap.alloc(100).free()
        assert heap.stats().free_bytes == fresh

    def test_free_of_null_has_no_effect(self):
        heap = kheap.Heap(2048)
        before = bytes(heap.sys_heap.region)
        heap.free(None)
        assert heap.sys_heap.region == before

    def test_what_is_freed_must_come_from_the_same_heap(self):
        heap, other = kheap.Heap(2048), kheap.Heap(2048)
        block = other.alloc(100)
        with pytest.raises(kheap.InvalidFree):
            heap.free(block)
        other.free(block)

    def test_it_is_safe_to_use_from_many_threads(self):
        heap = kheap.Heap(1 << 15)

        def work(seed):
            rng = random.Random(seed)
            for _ in range(150):
                token = bytes([rng.randrange(256)])
                with heap.alloc(rng.randrange(1, 400)) as block:
                    block.view()[:] = token * block.nbytes
                    assert bytes(block.view()) == token * block.nbytes

        at_once([lambda seed=seed: work(seed) for seed in range(4)])
        heap.check()
        assert heap.stats().used_count == 0

    def test_several_heaps_are_independent(self):
        one, other = kheap.Heap(1024, name="one"), kheap.Heap(1024, name="other")
        one.alloc(500).handle()
        assert other.stats().used_count == 0


class TestLowLevelHeap:
    """Low Level Heap Allocator: sys_heap, which is not synchronised."""

    def test_it_lies_beneath_the_synchronised_heap(self):
        heap = kheap.Heap(2048, base_address=BASE)
        beneath = kheap.SysHeap(2048, base_address=BASE)
        assert isinstance(heap.sys_heap, kheap.SysHeap)
        assert heap.alloc(100).offset == beneath.alloc(100)

    def test_it_is_initialised_over_a_region_and_gives_plain_places(self):
        heap = kheap.SysHeap(bytearray(2048), base_address=BASE)
        place = heap.alloc(100)
        assert type(place) is int
        heap.free(place)
        heap.check()

    @pytest.mark.parametrize("align", [8, 16, 32, 64, 128, 256, 512])
    def test_it_gives_aligned_memory(self, align):
        heap = kheap.SysHeap(4096, base_address=BASE)
        assert (BASE + heap.alloc(100, align=align)) % align == 0
        assert kheap.Heap(4096, base_address=BASE).alloc(9, align=align).address % align == 0

    def test_neither_waits_nor_has_a_timeout(self):
        with pytest.raises(TypeError):
            kheap.SysHeap(2048).alloc(100, timeout=1.0)

    def test_memory_is_never_found_where_none_is(self):
        heap = kheap.SysHeap(2048)
        taken = []
        while (place := heap.try_alloc(100)) is not None:
            taken.append(place)
        assert heap.why(100) == "exhausted"
        for place in taken:
            heap.free(place)
        assert heap.why(1000) == "fits"
