"""Listeners of a ``Heap``, and whatever else may run while it is locked."""

from __future__ import annotations

import gc
import random
import sys
import threading

import pytest

import kheap
from helpers.sleepers import PATIENCE_S, Dormitory, Sleeper
from kheap._core.synced import Locked

PROFILES = [kheap.Profile(), kheap.Profile(hardening="extreme"), kheap.Profile("3.7", 32)]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_events_are_those_of_the_heap_beneath(profile):
    heap, model = kheap.Heap(4096, profile=profile), kheap.SysHeap(4096, profile)
    heard, want = [], []
    heap.add_listener(lambda *event: heard.append(event))
    model.add_listener(lambda *event: want.append(event))
    rng, live = random.Random(2), []
    for _ in range(300):
        size, align = rng.randrange(1, 300), rng.choice((0, 0, 16))
        kind = rng.randrange(4) if live else 0
        block = live[rng.randrange(len(live))] if live else None
        if kind == 0:
            block, offset = heap.try_alloc(size, align=align), model.try_alloc(size, align=align)
            assert (block and block.offset) == offset
            if block:
                live.append(block)
        elif kind == 1:
            model.free(block.offset)
            live.remove(block)
            block.free()
        elif kind == 2:
            model.free(block.offset)
            live.remove(block)
            del block
        else:
            try:
                model.realloc(block.offset, size, align=align)
            except kheap.OutOfMemory:
                with pytest.raises(kheap.OutOfMemory):
                    block.realloc(size, align=align)
            else:
                block.realloc(size, align=align)
        block = None
        assert heard == want
    assert len(heard) > 200


def test_a_block_that_is_granted_is_told_of():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block = heap.alloc(800)
    heard = []
    heap.add_listener(lambda *event: heard.append(event[0]))
    sleeper = room.sleep(heap.alloc, 500, timeout=None)
    block.free()
    granted = room.wake(sleeper)
    assert heard == ["free", "alloc"]
    granted.realloc(600)
    assert heard[2:] == ["alloc", "free"]


CALLS = {
    "alloc": lambda heap, block: heap.alloc(8),
    "alloc waiting": lambda heap, block: heap.alloc(8, timeout=None),
    "try_alloc": lambda heap, block: heap.try_alloc(8),
    "calloc": lambda heap, block: heap.calloc(8, 1),
    "array": lambda heap, block: heap.array(8),
    "free": lambda heap, block: heap.free(block),
    "Block.free": lambda heap, block: block.free(),
    "realloc": lambda heap, block: heap.realloc(block, 50),
    "realloc to 0": lambda heap, block: block.realloc(0),
    "realloc of None": lambda heap, block: heap.realloc(None, 8),
    "handle": lambda heap, block: block.handle(),
    "adopt": lambda heap, block: heap.adopt(heap.spare),
    "usable_bytes": lambda heap, block: block.usable_bytes,
    "stats": lambda heap, block: heap.stats(),
    "chunks": lambda heap, block: heap.chunks(),
    "buckets": lambda heap, block: heap.buckets(),
    "check": lambda heap, block: heap.check(),
    "why": lambda heap, block: heap.why(8),
    "print_info": lambda heap, block: heap.print_info(),
    "reset_max": lambda heap, block: heap.reset_max(),
    "waiters": lambda heap, block: heap.waiters,
    "add_listener": lambda heap, block: heap.add_listener(print),
    "remove_listener": lambda heap, block: heap.remove_listener(print),
    "close": lambda heap, block: heap.close(),
    "alloc_async": lambda heap, block: heap.alloc_async(8, timeout=0).send(None),
}


class Spare(kheap.Heap):
    """A heap with a handle at hand."""

    spare = b""


@pytest.mark.parametrize("name", CALLS)
def test_calling_the_heap_from_a_listener_is_refused(name):
    heap = Spare(4096)
    block, heap.spare = heap.alloc(40), heap.alloc(8).handle()
    outcomes = []

    def listener(*_):
        try:
            outcomes.append(CALLS[name](heap, block))
        except RuntimeError as error:
            outcomes.append(error)

    heap.add_listener(listener)
    heap.alloc(8).free()
    heap.remove_listener(listener)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]
    assert not block.closed
    assert heap.adopt(heap.spare).nbytes == 8
    block.free()
    heap.check()
    heap.close()


def test_what_needs_no_lock_may_be_asked_in_a_listener():
    heap = kheap.Heap(4096, base_address=64)
    block = heap.alloc(8)
    told = []
    heap.add_listener(lambda *_: told.append((repr(heap), block.address, bytes(block.view()))))
    heap.free(None)
    heap.alloc(8)
    assert len(told) == 2
    heap.free(None)


def test_another_thread_just_waits():
    heap = kheap.Heap(4096)
    inside, out, entered = threading.Event(), threading.Event(), []

    def listener(kind, *_):
        if not entered:
            entered.append(kind)
            inside.set()
            assert out.wait(PATIENCE_S)

    heap.add_listener(listener)
    first = Sleeper(lambda: heap.alloc(8), [], "first")
    first.start()
    assert inside.wait(PATIENCE_S)
    others = [Sleeper(lambda: heap.alloc(8), [], i) for i in range(3)]
    for other in others:
        other.start()
    assert all(other.is_alive() for other in others)
    out.set()
    blocks = [thread.end() for thread in (first, *others)]
    assert len({block.offset for block in blocks}) == 4


def test_a_block_dropped_while_another_thread_has_the_lock_is_freed_by_it():
    heap = kheap.Heap(4096)
    blocks = [heap.alloc(8) for _ in range(3)]
    with Locked(heap):
        thread = Sleeper(blocks.clear, [], "dropping")
        thread.start()
        thread.end()
        assert len(heap._dropped) == 3, "it did not wait"
    assert heap._dropped == []
    assert heap.stats().used_count == 0
    heap.close()


@pytest.mark.parametrize("call", ["alloc", "try_alloc", "close"])
def test_what_was_dropped_counts_at_once(call):
    """Also where whoever held the lock has not yet come to freeing it."""
    heap = kheap.Heap(1024)
    block = heap.alloc(900)
    offset = block.offset
    block.handle()
    heap._live += 1
    heap._dropped.append(offset)
    if call == "close":
        heap.close()
    else:
        assert getattr(heap, call)(900).offset == offset


class Cycle:
    """Goes only with the garbage collector."""

    def __init__(self, thing):
        self.me, self.thing = self, thing


def test_blocks_collected_in_a_listener_go_when_it_is_over():
    heap = kheap.Heap(8192)
    dropped = []

    def listener(kind, *_):
        if kind == "alloc" and len(dropped) < 5:
            dropped.append(kind)
            Cycle(spare.pop())
            gc.collect()

    spare = [heap.alloc(16) for _ in range(5)]
    heap.add_listener(listener)
    for _ in range(5):
        heap.alloc(8).free()
    assert not spare
    heap.remove_listener(listener)
    assert heap.stats().used_count == 0
    heap.check()
    heap.close()


def test_the_collector_may_run_at_every_moment():
    heap = kheap.Heap(1 << 16)
    room = Dormitory()
    heap._clock = room.clock
    threshold = gc.get_threshold()
    rng, live = random.Random(4), []
    wall = heap.alloc(40000)
    sleeper = room.sleep(heap.alloc, 40000, timeout=None)
    listener = lambda *event: [Cycle(event)]  # noqa: E731
    try:
        gc.set_threshold(1, 1, 1)
        for turn in range(300):
            if turn == 150:
                heap.add_listener(listener)
            Cycle(heap.try_alloc(rng.randrange(1, 60)))
            if live and rng.random() < 0.5:
                Cycle(live.pop(rng.randrange(len(live))))
            block = heap.try_alloc(rng.randrange(1, 100))
            if block:
                with block.view() as view:
                    view[:] = bytes([turn & 0xFF]) * len(view)
                live.append(block)
                block.realloc(rng.randrange(1, 100))
            del block
    finally:
        gc.set_threshold(*threshold)
    heap.remove_listener(listener)
    del wall
    live.clear()
    gc.collect()
    assert room.wake(sleeper).nbytes == 40000
    heap.check()
    assert heap.stats().used_count == 0
    heap.close()


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt, SystemExit])
def test_whatever_a_listener_raises_leaves_the_heap_in_order(kind, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda report: None)
    heap = kheap.Heap(4096)
    block, other, dropped = heap.alloc(40), heap.alloc(8), heap.alloc(8)
    moving, wall = heap.alloc(40), heap.alloc(8)

    def listener(*_):
        raise kind

    def attempt(call):
        try:
            return call()
        except kind:
            return None

    heap.add_listener(listener)
    attempt(block.free)
    assert block.closed, "it was freed before the listener was told"
    attempt(lambda: heap.free(other))
    assert other.closed
    attempt(lambda: moving.realloc(500))
    assert (moving.closed, moving.nbytes) == (False, 500), "it was moved before"
    attempt(lambda: heap.alloc(8) and None)
    attempt(lambda: heap.try_alloc(8) and None)
    attempt(lambda: heap.calloc(8, 1) and None)
    del dropped
    heap.remove_listener(listener)
    gc.collect()
    assert heap.stats().used_count == 2
    moving.view()[:] = bytes(500)
    moving.free()
    wall.free()
    heap.check()
    heap.close()


def test_an_interrupt_before_the_free_leaves_the_block_open(monkeypatch):
    heap = kheap.Heap(4096)
    block = heap.alloc(40)
    heap.add_listener(lambda *_: None)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(heap.sys_heap), "_event_bytes", lambda self, _: interrupt(_))
    with pytest.raises(KeyboardInterrupt):
        block.free()
    monkeypatch.undo()
    assert not block.closed
    block.free()
    heap.close()


def test_listeners_are_told_by_the_thread_that_calls():
    heap, threads = kheap.Heap(4096), []
    heap.add_listener(lambda *_: threads.append(threading.get_ident()))
    thread = Sleeper(lambda: heap.alloc(8), [], "alloc")
    thread.start()
    block = thread.end()
    block.free()
    assert threads == [thread.ident, threading.get_ident()]


def test_a_listener_may_drop_many_blocks_at_once():
    heap = kheap.Heap(1 << 20)
    blocks = [heap.alloc(8) for _ in range(3000)]

    def listener(*_):
        blocks.clear()

    heap.add_listener(listener)
    heap.alloc(8).free()
    assert heap.stats().used_count == 0
    assert sys.getrefcount(heap) < 10
    heap.check()
