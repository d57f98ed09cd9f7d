"""Handles: a block's ownership as bytes."""

from __future__ import annotations

import os
import random

import pytest

import kheap
from helpers.sleepers import at_once


@pytest.fixture
def heap():
    return kheap.Heap(4096)


def test_a_handle_carries_a_block(heap):
    block = heap.alloc(21)
    block.view()[:] = bytes(range(21))
    offset = block.offset
    handle = block.handle()
    assert type(handle) is bytes
    assert block.closed
    del block
    assert heap.stats().used_count == 1, "the memory is the handle's"
    again = heap.adopt(handle)
    assert (again.offset, again.nbytes, again.closed) == (offset, 21, False)
    assert bytes(again.view()) == bytes(range(21))
    again.free()
    assert heap.stats().used_count == 0


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_adopted(heap, kind):
    assert heap.adopt(kind(heap.alloc(8).handle())).nbytes == 8


def test_a_block_that_was_handed_on_is_closed(heap):
    block = heap.alloc(8)
    block.handle()
    for call in (block.free, block.handle, lambda: block.realloc(9), lambda: heap.free(block)):
        with pytest.raises(kheap.InvalidFree):
            call()
    with pytest.raises(BufferError):
        block.view()


def test_no_handle_while_views_live(heap):
    block = heap.alloc(8)
    view = block.view()
    with pytest.raises(BufferError):
        block.handle()
    assert not block.closed
    view.release()
    heap.adopt(block.handle())


def test_a_handle_is_adopted_once(heap):
    handle = heap.alloc(8).handle()
    block = heap.adopt(handle)
    with pytest.raises(kheap.InvalidFree) as caught:
        heap.adopt(handle)
    assert caught.value.offset == block.offset
    block.free()
    with pytest.raises(kheap.InvalidFree):
        heap.adopt(handle)


def test_an_old_handle_is_not_that_of_the_block_that_lies_there_now(heap):
    old = heap.alloc(8).handle()
    heap.adopt(old).free()
    new = heap.alloc(8).handle()
    assert old != new
    with pytest.raises(kheap.InvalidFree):
        heap.adopt(old)
    heap.adopt(new)


def test_a_block_may_be_handed_on_and_on(heap):
    handle = heap.alloc(8).handle()
    for _ in range(10):
        handle = heap.adopt(handle).handle()
    heap.adopt(handle).free()


def test_another_heap_refuses(heap):
    handle = heap.alloc(8).handle()
    other = kheap.Heap(4096)
    other.alloc(8).handle()
    with pytest.raises(kheap.InvalidFree, match="another heap"):
        other.adopt(handle)
    heap.adopt(handle)


@pytest.mark.parametrize("garbage", [b"", b"x", b"KHB1", bytes(44), b"KHB1" * 11, b"x" * 1000])
def test_garbage_is_no_handle(heap, garbage):
    heap.alloc(8).handle()
    with pytest.raises((ValueError, kheap.InvalidFree)):
        heap.adopt(garbage)


@pytest.mark.parametrize("thing", [None, "text", 5, [1, 2]])
def test_what_is_not_bytes_is_refused(heap, thing):
    with pytest.raises(TypeError):
        heap.adopt(thing)


def test_a_handle_with_any_bit_changed_is_refused(heap):
    """The size too: it would be a view beyond the block."""
    handle = heap.alloc(8).handle()
    for bit in range(8 * len(handle)):
        forged = bytearray(handle)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ValueError, kheap.InvalidFree)):
            heap.adopt(forged)
    rng = random.Random(1)
    for _ in range(500):
        with pytest.raises((ValueError, kheap.InvalidFree)):
            heap.adopt(handle[:4] + rng.randbytes(len(handle) - 4))
    heap.adopt(handle)


def test_a_closed_heap_adopts_nothing(heap):
    handle = heap.alloc(8).handle()
    heap.close()
    with pytest.raises(ValueError, match="closed"):
        heap.adopt(handle)


def test_many_threads_adopt_once(heap):
    for _ in range(20):
        handle = heap.alloc(8).handle()

        def adopt(handle=handle):
            try:
                return heap.adopt(handle)
            except kheap.InvalidFree:
                return None

        assert len([b for b in at_once([adopt] * 4) if b is not None]) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_refuses_its_parents_handles(heap):
    handle, kept = heap.alloc(8).handle(), heap.alloc(100)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                heap.adopt(handle)
            except kheap.InvalidFree:
                kept.free()
                own = heap.alloc(16).handle()
                code = 0 if heap.adopt(own).nbytes == 16 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not kept.closed
    assert heap.adopt(handle).nbytes == 8
