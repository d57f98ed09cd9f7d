"""A machine that waits: ``Heap`` beside a ``SysHeap`` that does the same in the specified order.

The model is a queue kept sorted by priority and arrival, walked once by each operation that
gives memory back, and a plain heap that makes every attempt of it.  Whoever waits here is no
thread but an entry with a bell, so that each step is done when it returns.
"""

from __future__ import annotations

from bisect import insort

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import kheap
from kheap._core.synced import Locked
from kheap.heaps.queued_heap import UNTRIED, last_attempt
from kheap.heaps.waiting import ThreadBell, Waiter, abandon, conclude
from property.strategies import profiles, requests

BASE = 0x20000000
EXAMPLES = 60
STEPS = 60

indices = st.integers(0, 1 << 16)
aligns = st.sampled_from((0, 0, 0, 8, 16, 64))
priorities = st.integers(-2, 2)


class Request:
    """One who waits, in the model."""

    def __init__(self, waiter, size, align, priority, arrival):
        self.waiter, self.size, self.align = waiter, size, align
        self.place = priority, arrival


class KHeapMachine(RuleBasedStateMachine):
    """A heap, its model, the live blocks with what was written to them, and the queue."""

    @initialize(
        profile=profiles(),
        size=st.integers(200, 3000),
        original_waits=st.booleans(),
        listening=st.booleans(),
    )
    def start(self, profile, size, original_waits, listening):
        self.heap = kheap.Heap(
            bytearray(size), profile=profile, base_address=BASE, original_waits=original_waits
        )
        self.model = kheap.SysHeap(size, profile, BASE)
        self.blocks, self.queue, self.arrivals, self.token = [], [], 0, 0
        self.heard, self.told = [], []
        if listening:
            self.heap.add_listener(lambda *event: self.heard.append(event))
            self.model.add_listener(lambda *event: self.told.append(event))

    # ------------------------------------------------------------------ the model

    def own(self, block, offset):
        assert block.offset == offset
        self.token += 1
        block.view()[:] = self.filling(self.token, block.nbytes)
        self.blocks.append((block, self.token))

    def filling(self, token, count):
        return bytes((token * 37 + i) & 0xFF for i in range(count))

    def verified(self, which):
        block, token = self.blocks.pop(which % len(self.blocks))
        assert bytes(block.view()) == self.filling(token, block.nbytes)
        return block

    def serve(self):
        """Walk the queue once; the heap has done so already."""
        left, served = [], []
        for request in self.queue:
            offset = self.model.try_alloc(request.size, align=request.align)
            if offset is None:
                left.append(request)
            else:
                served.append((request.waiter, offset))
        self.queue = left
        for waiter, offset in served:
            assert waiter.bell.listen(0), "he was woken"
            self.own(conclude(waiter, self.heap._queue, Locked(self.heap), None), offset)
            waiter.answer = None

    # ------------------------------------------------------------------ operations

    @rule(size=requests(), align=aligns)
    def try_alloc(self, size, align):
        want = self.model.try_alloc(size, align=align)
        block = self.heap.try_alloc(size, align=align)
        assert (None if block is None else block.offset) == want
        if block is not None:
            self.own(block, want)

    @rule(size=requests(), align=aligns, priority=priorities)
    def alloc_that_waits(self, size, align, priority):
        want = self.model.try_alloc(size, align=align)
        try:
            with Locked(self.heap):
                answer = self.heap._alloc_or_queue(UNTRIED, size, align, None, priority)
        except kheap.OutOfMemory:
            assert not self.heap.original_waits and want is None
            empty = kheap.SysHeap(self.heap.size_bytes, self.heap.profile, BASE)
            assert empty.try_alloc(size, align=align) is None, "it could have been had some day"
            return
        if want is not None:
            self.own(answer, want)
            return
        assert isinstance(answer, Waiter) and isinstance(answer.bell, ThreadBell)
        self.arrivals += 1
        request = Request(answer, size, align, priority, self.arrivals)
        insort(self.queue, request, key=lambda queued: queued.place)

    @precondition(lambda self: self.blocks)
    @rule(which=indices, way=st.sampled_from(("free", "drop", "handle", "resize")))
    def give_back(self, which, way):
        block = self.verified(which)
        self.model.free(block.offset)
        if way == "free":
            block.free()
        elif way == "handle":
            self.heap.adopt(block.handle()).free()
        elif way == "resize":
            assert block.realloc(0) is None
        del block
        self.serve()

    @precondition(lambda self: self.blocks)
    @rule(which=indices, size=requests(), align=aligns)
    def realloc(self, which, size, align):
        block = self.verified(which)
        old, room, kept = block.offset, block.usable_bytes, min(block.nbytes, size)
        token = self.token
        before = bytes(block.view()[:kept])
        if size == 0:
            self.blocks.append((block, token))
            block.view()[:] = self.filling(token, block.nbytes)
            return
        try:
            want = self.model.realloc(old, size, align=align)
        except kheap.OutOfMemory:
            with pytest.raises(kheap.OutOfMemory):
                block.realloc(size, align=align)
            self.own(block, old)
            return
        gives = want != old or self.model.usable_bytes(want) < room
        assert block.realloc(size, align=align) is block
        assert bytes(block.view()[:kept]) == before
        self.own(block, want)
        if gives and not self.heap.original_waits:
            self.serve()

    @precondition(lambda self: self.queue)
    @rule(which=indices)
    def time_is_up(self, which):
        request = self.queue.pop(which % len(self.queue))
        want = self.model.try_alloc(request.size, align=request.align)
        if want is None:
            want = self.model.try_alloc(request.size, align=request.align)
        block = conclude(request.waiter, self.heap._queue, Locked(self.heap), last_attempt)
        assert (None if block is None else block.offset) == want
        if block is not None:
            self.own(block, want)
            request.waiter.answer = None

    @precondition(lambda self: self.queue)
    @rule(which=indices)
    def cancelled(self, which):
        request = self.queue.pop(which % len(self.queue))
        abandon(request.waiter, self.heap._queue, Locked(self.heap), kheap.Block.free)

    @precondition(lambda self: self.blocks and self.queue)
    @rule(which=indices)
    def cancelled_when_served(self, which):
        """The first to be served goes away before he knows: it is offered to the next."""
        block = self.verified(which)
        self.model.free(block.offset)
        block.free()
        del block
        served = next((request for request in self.queue if not request.waiter.waits), None)
        if served is None:
            self.serve()
            return
        self.serve()
        at = next(i for i, (b, _) in enumerate(self.blocks) if b.nbytes == served.size)
        block = self.verified(at)
        self.model.free(block.offset)
        served.waiter.answer = block
        del block
        abandon(served.waiter, self.heap._queue, Locked(self.heap), kheap.Block.free)
        self.serve()

    @rule()
    def nothing(self):
        self.heap.free(None)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def same(self):
        self.heap.check()
        assert list(self.heap.chunks()) == list(self.model.chunks())
        assert list(self.heap.buckets()) == list(self.model.buckets())
        assert self.heap.stats() == self.model.stats()
        queue = tuple((request.size, request.place[0]) for request in self.queue)
        assert self.heap.waiters == queue
        assert self.heard == self.told
        assert self.heap.stats().used_count == len(self.blocks)
        for block, token in self.blocks:
            assert bytes(block.view()) == self.filling(token, block.nbytes)

    def teardown(self):
        if hasattr(self, "blocks"):
            self.blocks.clear()
            self.queue.clear()


@pytest.mark.slow
def test_k_heap_machine(scale):
    examples = round(EXAMPLES * scale)
    run_state_machine_as_test(
        KHeapMachine, settings=settings(max_examples=examples, stateful_step_count=STEPS)
    )
