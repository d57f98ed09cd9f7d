"""A machine that does everything with system heaps of every kind, and checks all after each step.

Where a block will lie is foretold by :mod:`property.model` for the request that k_malloc makes
of the heap beneath; after each step the second reader must find the heap sound, the word below
every block must be the heap's address, and every block must hold what was written to it.
"""

from __future__ import annotations

import sys

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
from helpers import spelling
from kheap.heaps.system_heap import SystemHeap
from property.model import Model, build_of
from property.strategies import profiles, requests

EXAMPLES = 150
STEPS = 50

indices = st.integers(0, 1 << 16)
counts = st.one_of(st.integers(0, 20), st.sampled_from((1 << 16, 1 << 31, 1 << 32, 1 << 63)))


class SystemHeapMachine(RuleBasedStateMachine):
    """One system heap and its live blocks."""

    @initialize(
        profile=profiles(),
        size=st.one_of(st.integers(128, 700), st.integers(128, 8192)),
        misalignment=st.integers(0, 7),
        fill=st.integers(0, 255),
        address=st.integers(0, (1 << 32) - 1),
    )
    def start(self, profile, size, misalignment, fill, address):
        self.profile, self.build = profile, build_of(profile)
        self.width = profile.bits // 8
        self.address = 0x20000000 + misalignment
        self.region = bytearray([fill]) * size
        self.word = address.to_bytes(self.width, sys.byteorder)
        self.heap = SystemHeap(
            self.region, profile=profile, base_address=self.address, heap_address=address
        )
        self.blocks, self.token = {}, 0

    # ------------------------------------------------------------------ reading

    def model(self):
        """The heap as its bytes are now."""
        image = spelling.read_heap(self.region, self.build, self.address)
        return Model(image, self.profile, self.address)

    def foretold(self, size, align=0):
        """Where a block for the user will lie."""
        if size + self.width >= 1 << self.profile.bits:
            return None
        place = self.model().alloc(size + self.width, align)
        return None if place is None else place + self.width

    def filling(self, token, count):
        return bytes((token * 37 + i) & 0xFF for i in range(count))

    def write(self, offset, size):
        """Own a block: fill what may be filled of it."""
        self.token += 1
        view = self.heap.view(offset)
        count = min(size, len(view))
        view[:count] = self.filling(self.token, count)
        self.blocks[offset] = self.token, count

    def verify(self, offset):
        token, count = self.blocks[offset]
        got = bytes(self.region[offset : offset + count])
        assert got == self.filling(token, count), f"the block at {offset} has changed"

    def pick(self, which):
        return list(self.blocks)[which % len(self.blocks)]

    # ------------------------------------------------------------------ operations

    @rule(size=requests())
    def malloc(self, size):
        want = self.foretold(size)
        got = self.heap.malloc(size)
        assert got == want, f"malloc({size}) gave {got}, not {want}"
        if got is None:
            return
        small = self.model().image.header_bytes == 4
        assert (self.address + got) % 8 == (4 if self.width == 4 and not small else 0)
        assert len(self.heap.view(got)) >= size
        self.write(got, size)

    @rule(size=requests(), align=st.sampled_from((0, *(1 << i for i in range(10)))))
    def aligned_alloc(self, size, align):
        if self.profile.version < (4, 2) and align % self.width:
            with pytest.raises(ValueError, match="no multiple of the word"):
                self.heap.aligned_alloc(align, size)
            return
        want = self.foretold(size, align | self.width)
        got = self.heap.aligned_alloc(align, size)
        assert got == want, f"aligned_alloc({align}, {size}) gave {got}, not {want}"
        if got is not None:
            assert (self.address + got) % max(align, 1) == 0
            self.write(got, size)

    @rule(count=counts, size=counts)
    def calloc(self, count, size):
        product = count * size
        want = self.foretold(product) if product < 1 << self.profile.bits else None
        got = self.heap.calloc(count, size)
        assert got == want, f"calloc({count}, {size}) gave {got}, not {want}"
        if got is not None:
            assert not any(self.region[got : got + product])
            self.write(got, product)

    @precondition(lambda self: self.blocks)
    @rule(which=indices, size=requests())
    def realloc(self, which, size):
        old = self.pick(which)
        if size == 0:
            self.free(which, by_realloc=True)
            return
        whole, model = size + self.width, self.model()
        if whole >= 1 << self.profile.bits:
            before = bytes(self.region)
            assert self.heap.realloc(old, size) is None
            assert self.region == before
            return
        stays = model.in_place(old - self.width, whole, 0) is not None
        want = old if stays else self.foretold(size)
        got = self.heap.realloc(old, size)
        assert got == want, f"realloc({old}, {size}) gave {got}, not {want}"
        if got is None:
            return
        token, count = self.blocks.pop(old)
        count = min(count, len(self.heap.view(got)), size)
        assert self.region[got : got + count] == self.filling(token, count)
        self.write(got, size)

    @rule(size=requests())
    def realloc_of_nothing(self, size):
        before = bytes(self.region)
        if size == 0:
            assert self.heap.realloc(None, 0) is None
            assert self.region == before
            return
        want = self.foretold(size)
        got = self.heap.realloc(None, size)
        assert got == want
        if got is not None:
            self.write(got, size)

    @precondition(lambda self: self.blocks)
    @rule(which=indices)
    def free(self, which, by_realloc=False):
        offset = self.pick(which)
        self.verify(offset)
        if by_realloc:
            assert self.heap.realloc(offset, 0) is None
        else:
            self.heap.free(offset)
        del self.blocks[offset]
        before = bytes(self.region)
        with pytest.raises((kheap.InvalidFree, kheap.HeapCorruption)):
            self.heap.free(offset)
        assert self.region == before, "a wrong free has written"

    @precondition(lambda self: self.blocks)
    @rule(which=indices, at=st.integers(1, 8), flip=st.integers(1, 255))
    def written_over(self, which, at, flip):
        """A word that is not the heap's is refused, and set right again."""
        offset = self.pick(which)
        byte = offset - 1 - at % self.width
        self.region[byte] ^= flip
        before = bytes(self.region)
        for call in (self.heap.free, lambda p: self.heap.realloc(p, 0), self.heap.view):
            with pytest.raises(kheap.InvalidFree):
                call(offset)
        assert self.region == before, "a wrong free has written"
        self.region[byte] ^= flip

    @rule(at=indices, far=st.booleans())
    def free_nothing(self, at, far):
        before = bytes(self.region)
        self.heap.free(None)
        with pytest.raises(kheap.InvalidFree):
            self.heap.free(len(self.region) + self.width + at if far else -at)
        assert self.region == before, "a wrong free has written"

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def sound(self):
        self.heap.heap.check()
        assert spelling.problems(self.region, self.build, self.address) == []

    @invariant()
    def blocks_hold(self):
        model = self.model()
        used = {c.chunk for c in model.image.chunks if c.state == "used"}
        assert used == {model.image.chunk_of(offset - self.width) for offset in self.blocks}
        for offset in self.blocks:
            self.verify(offset)
            place = offset - self.width
            assert self.region[place:offset] == self.word
            assert len(self.heap.view(offset)) == model.room(place) - self.width
            assert self.heap.usable_bytes(offset) == model.usable(place) - self.width


@pytest.mark.slow
def test_system_heap_machine(scale):
    examples = round(EXAMPLES * scale)
    run_state_machine_as_test(
        SystemHeapMachine, settings=settings(max_examples=examples, stateful_step_count=STEPS)
    )
