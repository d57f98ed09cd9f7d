"""What the system heap, the pools and the multi-heaps are not to be upset by."""

from __future__ import annotations

import threading

import pytest

import kheap
from kheap.heaps import multi_heap
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.multi_heap import MultiHeap
from kheap.heaps.shared_multi_heap import SharedMultiHeap
from kheap.heaps.system_heap import SystemHeap
from kheap.heaps.waiting import VirtualClock

MODELS = ["quad", "buddy"]
LOW, HIGH = 0x20000000, 0x90000000


def pool_of(model, cls=MemPool, **more):
    return cls(None, min_bytes=64, max_bytes=1024, n_max=1, model=model, **more)


def constant(_multi, _cfg, _align, _size):
    return LOW + 100


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize("model", MODELS)
def test_numbers_of_a_pool_are_whole(model):
    for arguments in ({"base_address": 4.0}, {"bits": 32.0}, {"align": 4.0}):
        with pytest.raises(TypeError):
            pool_of(model, **arguments)
    with pytest.raises(ValueError, match="0x10000000000000000 is no address"):
        pool_of(model, base_address=1 << 64)
    assert pool_of(model, base_address=(1 << 64) - 4).base_address == (1 << 64) - 4


@pytest.mark.parametrize("implementation", ["sys_heap", *MODELS])
def test_the_address_of_a_system_heap_is_whole(implementation):
    with pytest.raises(TypeError):
        SystemHeap(1024, implementation=implementation, heap_address=4.0)


def test_numbers_of_a_multi_heap_are_whole():
    multi = MultiHeap(constant)
    multi.add(kheap.SysHeap(1024, base_address=LOW))
    for call in (multi.owner, multi.free, lambda n: multi.alloc(None, n)):
        with pytest.raises(TypeError):
            call(1.5)
    with pytest.raises(TypeError):
        multi.owner(None)


def test_a_multi_heap_holds_open_heaps_alone():
    multi, closed = MultiHeap(constant), kheap.SysHeap(1024)
    closed.close()
    with pytest.raises(ValueError, match="the heap is closed"):
        multi.add(closed)
    for wrong in (kheap.Heap(1024), 5):
        with pytest.raises(TypeError, match=f"a SysHeap is wanted, not {type(wrong).__name__}"):
            multi.add(wrong)
    assert multi.heaps == ()


# ---------------------------------------------------------------------- threads and interrupts


def test_an_address_is_found_while_another_thread_adds_a_heap(monkeypatch):
    multi = MultiHeap(constant)
    for address in (LOW, HIGH):
        multi.add(kheap.SysHeap(1024, base_address=address))
    plain, spare = multi_heap._first, [kheap.SysHeap(256, base_address=0x1000)]

    def slow(record):
        if spare:
            multi.add(spare.pop())
        return plain(record)

    monkeypatch.setattr(multi_heap, "_first", slow)
    assert multi.owner(HIGH + 5).base_address == HIGH
    assert len(multi.heaps) == 3


def test_a_region_that_a_listener_adds_is_free_again():
    shared, region, errors = SharedMultiHeap(), bytearray(1024), []
    heap = shared.add(1024, 0)

    def listener(*_):
        try:
            shared.add(region, 0)
        except RuntimeError as error:
            errors.append(str(error).partition(":")[0])

    heap.add_listener(listener)
    shared.alloc(0, 8)
    assert errors == ["the heap is called while this thread is busy with it"]
    region.append(0)
    assert shared.heaps == (heap,)


class InterruptedPool(MemPool):
    """A pool whose first attempt for a waiter is interrupted, as by Ctrl-C."""

    interrupts = 0

    def _attempt(self, waiter):
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return super()._attempt(waiter)


@pytest.mark.parametrize("model", MODELS)
def test_an_interrupted_free_serves_all_who_wait(model):
    clock, got = VirtualClock(), []
    pool = pool_of(model, InterruptedPool, clock=clock)
    held = pool.alloc(1000)
    threads = [
        threading.Thread(target=lambda: got.append(pool.alloc(200, timeout=None)), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    clock.wait_for_sleepers(2)
    pool.interrupts = 1
    with pytest.raises(KeyboardInterrupt):
        pool.free(held)
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [0, 256]
    assert pool.stats().used_count == 2
