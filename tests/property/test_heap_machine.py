"""A machine that does everything with heaps of every kind, and checks all after each step.

Each answer is foretold by :mod:`property.model` from the bytes before the step; after it the
second reader and kheap's own checker must both find the heap sound, every block must hold what
was written to it, and no byte outside the region may have changed.
"""

from __future__ import annotations

import os

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
from helpers import build, spelling
from property.model import Model, build_of
from property.strategies import alignments, profiles, requests

GUARD = 64
EXAMPLES = 200
STEPS = 60

indices = st.integers(0, 1 << 16)


class HeapMachine(RuleBasedStateMachine):
    """One heap, its live blocks, and the events that it announced."""

    def __init__(self):
        super().__init__()
        self.heap = None

    @initialize(
        profile=profiles(),
        size=st.one_of(st.integers(64, 600), st.integers(64, 8192)),
        misalignment=st.integers(0, 7),
        fill=st.integers(0, 255),
        listening=st.booleans(),
    )
    def start(self, profile, size, misalignment, fill, listening):
        self.build, self.address = build_of(profile), 0x20000000 + misalignment
        self.blocks, self.token, self.peak = {}, 0, 0
        self.events, self.heard = [], []
        while self.heap is None:
            self.memory = bytearray([fill]) * (2 * GUARD + size)
            self.memory[:GUARD] = self.memory[-GUARD:] = bytes(range(GUARD))
            self.region = memoryview(self.memory)[GUARD:-GUARD]
            try:
                self.heap = kheap.SysHeap(self.region, profile, self.address)
            except ValueError as error:
                assert size < 128, f"{profile}: {error}"
                size += 8
        self.listening = listening
        if listening:
            self.heap.add_listener(self.hear)

    def hear(self, *event):
        self.heard.append(event)

    # ------------------------------------------------------------------ reading

    def model(self):
        """The heap as its bytes are now."""
        image = spelling.read_heap(self.region, self.build, self.address)
        return Model(image, self.heap.profile, self.address)

    def filling(self, token, count):
        return bytes((token * 37 + i) & 0xFF for i in range(count))

    def write(self, offset, request):
        """Own a block: fill what may be filled of it."""
        self.token += 1
        view = self.heap.view(offset)
        count = min(request, len(view))
        view[:count] = self.filling(self.token, count)
        self.blocks[offset] = self.token, count

    def verify(self, offset, count=None):
        token, written = self.blocks[offset]
        count = written if count is None else min(count, written)
        got = bytes(self.region[offset : offset + count])
        assert got == self.filling(token, count), f"the block at {offset} has changed"

    def pick(self, which):
        return list(self.blocks)[which % len(self.blocks)]

    def pattern_moves(self, old, new, count):
        """A block that has moved, or stayed, still begins as it did."""
        token, written = self.blocks[old]
        count = min(count, written)
        assert self.region[new : new + count] == self.filling(token, count)

    # ------------------------------------------------------------------ operations

    def failed(self, before, model, units):
        """Nothing has changed but the head of the bucket that was searched."""
        want = bytearray(before)
        moved = model.moved_head(units) if units and model.find(units) is None else None
        if moved is not None:
            bucket, head = moved
            place = spelling.field_bytes(model.image, "head", bucket)
            want[place] = head.to_bytes(4, "little")
        assert self.region == want, "a failed request has changed the heap"

    @rule(request=requests(), align=alignments, raising=st.booleans())
    def alloc(self, request, align, raising):
        model, before = self.model(), bytes(self.region)
        want = model.alloc(request, align)
        try:
            call = self.heap.alloc if raising else self.heap.try_alloc
            got = call(request, align=align)
        except kheap.OutOfMemory as error:
            got = None
            assert raising and error.request_bytes == request
            assert error.free_bytes == model.image.state_bytes("free")
            assert error.largest_free_bytes == model.image.largest_free_bytes
        assert got == want, f"alloc({request}, align={align}) gave {got}, not {want}"
        if got is None:
            self.failed(before, model, model.request_units(request, align))
            return
        after = self.model()
        self.peak = max(self.peak, after.image.state_bytes("used"))
        self.events = [("alloc", got, after.event_bytes(got))]
        assert len(self.heap.view(got)) >= request
        self.write(got, request)

    @precondition(lambda self: self.blocks)
    @rule(which=indices)
    def free(self, which):
        offset = self.pick(which)
        self.verify(offset)
        self.events = [("free", offset, self.model().event_bytes(offset))]
        self.heap.free(offset)
        del self.blocks[offset]
        before = bytes(self.region)
        # The free list's links may lie where the header was, and look like one.
        with pytest.raises((kheap.InvalidFree, kheap.HeapCorruption)):
            self.heap.free(offset)
        assert self.region == before, "a wrong free has written"

    @rule(at=indices, far=st.booleans())
    def free_nothing(self, at, far):
        before = bytes(self.region)
        self.heap.free(None)
        outside = len(self.region) + at if far else -at
        with pytest.raises(kheap.InvalidFree):
            self.heap.free(outside)
        assert self.region == before, "a wrong free has written"

    @precondition(lambda self: self.blocks)
    @rule(
        which=indices,
        request=requests(),
        align=st.one_of(st.just(0), st.sampled_from((1, 2, 4, 8, 16, 64, 256))),
    )
    def realloc(self, which, request, align):
        old = self.pick(which)
        if request == 0:
            self.verify(old)
            self.events = [("free", old, self.model().event_bytes(old))]
            assert self.heap.realloc(old, 0, align=align) is None
            del self.blocks[old]
            return
        model, before = self.model(), bytes(self.region)
        units = model.in_place(old, request, align)
        want = model.alloc(request, align) if units is None else old
        try:
            got = self.heap.realloc(old, request, align=align)
        except kheap.OutOfMemory as error:
            assert error.request_bytes == request
            got = None
        assert got == want, f"realloc({old}, {request}, align={align}) gave {got}, not {want}"
        if got is None:
            self.failed(before, model, model.request_units(request, align))
            return
        self.resized(model, old, got, request)

    def resized(self, model, old, new, request):
        """Account for a realloc that was served."""
        after = self.model()
        self.pattern_moves(old, new, min(request, len(self.heap.view(new))))
        if old != new or model.size_of(old) != after.size_of(new):
            self.events = [
                ("alloc", new, after.event_bytes(new)),
                ("free", old, model.event_bytes(old)),
            ]
        both = 0 if old == new else model.image.memory_bytes(model.size_of(old))
        self.peak = max(self.peak, after.image.state_bytes("used") + both)
        assert self.heap.usable_bytes(new) >= request
        if old != new:
            del self.blocks[old]
        self.write(new, request)

    @rule(request=requests(), align=alignments)
    def realloc_of_nothing(self, request, align):
        want = self.model().alloc(request, align)
        try:
            got = self.heap.realloc(None, request, align=align)
        except kheap.OutOfMemory:
            got = None
        assert got == want
        if got is not None:
            after = self.model()
            self.peak = max(self.peak, after.image.state_bytes("used"))
            self.events = [("alloc", got, after.event_bytes(got))]
            self.write(got, request)

    @rule()
    def reset_max(self):
        self.heap.reset_max()
        self.peak = self.heap.stats().allocated_bytes

    @rule(request=requests(), align=alignments)
    def why(self, request, align):
        before = bytes(self.region)
        verdict = self.heap.why(request, align=align)
        assert self.region == before, "why() has written"
        copy = bytearray(before)
        with kheap.SysHeap.open(copy, self.heap.profile, self.address) as other:
            served = other.try_alloc(request, align=align) is not None
        assert (verdict == "fits") == served, f"{request} aligned to {align}: {verdict}"
        assert served == (self.model().alloc(request, align) is not None)

    @rule()
    def reopen(self):
        """A second object on the same bytes takes over."""
        profile = self.heap.profile
        self.heap.close()
        self.heap = kheap.SysHeap.open(self.region, profile, self.address)
        if self.listening:
            self.heap.add_listener(self.hear)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def sound(self):
        if self.heap is None:
            return
        self.heap.check()
        assert spelling.problems(self.region, self.build, self.address) == []
        assert self.memory[:GUARD] == self.memory[-GUARD:] == bytes(range(GUARD))
        if self.listening:
            assert self.heard == self.events
        self.events, self.heard = [], []

    @invariant()
    def blocks_hold(self):
        if self.heap is None:
            return
        model = self.model()
        used = {c.chunk for c in model.image.chunks if c.state == "used"}
        assert used == {model.image.chunk_of(offset) for offset in self.blocks}
        assert len(used) == len(self.blocks), "two blocks in one chunk"
        for offset in self.blocks:
            self.verify(offset)
            assert len(self.heap.view(offset)) == model.room(offset)
            assert self.heap.usable_bytes(offset) == model.usable(offset)

    @invariant()
    def numbers_agree(self):
        if self.heap is None:
            return
        stats, image = self.heap.stats(), self.model().image
        assert stats.free_bytes == image.state_bytes("free")
        assert stats.allocated_bytes == image.state_bytes("used")
        assert stats.largest_free_bytes == image.largest_free_bytes
        assert stats.heap_bytes == 8 * image.end_chunk + image.header_bytes
        total = stats.free_bytes + stats.allocated_bytes + stats.overhead_bytes
        assert total == stats.heap_bytes
        assert stats.max_allocated_bytes == (self.peak if self.build.stats else None)
        chunks = list(self.heap.chunks())
        assert 8 * image.end_chunk == sum(c.chunk_bytes for c in chunks)
        states = [c.state for c in chunks]
        counts = stats.used_count, stats.free_count, stats.undersized_count
        assert counts == tuple(map(states.count, ("used", "free", "undersized")))
        seen = [(c.chunk, c.size_units, c.state) for c in chunks]
        assert seen == [(c.chunk, c.size_units, c.state) for c in image.chunks]
        assert {b.bucket: b.chunks for b in self.heap.buckets() if b.chunks} == image.rings

    def teardown(self):
        if self.heap is not None:
            self.heap.close()


@pytest.mark.slow
def test_heap_machine(scale):
    examples = round(EXAMPLES * scale)
    run_state_machine_as_test(
        HeapMachine, settings=settings(max_examples=examples, stateful_step_count=STEPS)
    )


def test_the_machine_runs_the_share_of_its_build():
    told = os.environ.get(build.TEST_SCALE)
    assert build.scale() == (float(told) if told else 1.0 if kheap.COMPILED else 0.1)
