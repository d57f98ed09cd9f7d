"""Block pools against a model of plain lists, which follows the rules word by word."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kheap
from kheap.heaps.mem_pool import MemPool

POLICIES = ("split_before_defrag", "defrag_before_split", "split_only")
QUAD_SHAPES = [
    (4, 64, 2), (64, 1024, 1), (16, 256, 5), (1, 16, 3), (64, 2048, 2), (16, 1003, 2), (7, 7, 6),
]  # fmt: skip
BUDDY_SHAPES = [(8, 128, 2), (64, 1024, 1), (16, 256, 5), (64, 2048, 2), (12, 192, 3), (20, 20, 6)]


class QuadModel:
    """Sets of ``[start, mask]``, in order."""

    def __init__(self, min_bytes, max_bytes, n_max, policy):
        self.min, self.policy = min_bytes, policy
        self.sizes = [max_bytes]
        while self.sizes[-1] // 4 >= min_bytes:
            self.sizes.append(self.sizes[-1] // 4)
        self.sets = [[] for _ in self.sizes]
        for first in range(0, n_max, 4):
            self.sets[0].append([first * max_bytes, (1 << min(4, n_max - first)) - 1])

    def set_of(self, size):
        i, b = len(self.sizes) - 1, self.min
        while size > b:
            b, i = 4 * b, i - 1
        return i

    def take(self, i):
        for quad in self.sets[i]:
            for k in range(4):
                if quad[1] >> k & 1:
                    quad[1] -= 1 << k
                    return quad[0] + k * self.sizes[i]
        return None

    def give_back(self, i, offset):
        for quad in self.sets[i]:
            for k in range(4):
                if quad[0] + k * self.sizes[i] == offset:
                    quad[1] |= 1 << k
                    return

    def merge(self, t):
        for j in range(len(self.sizes) - 1, t, -1):
            p = 0
            while p < len(self.sets[j]):
                if self.sets[j][p][1] == 15:
                    self.give_back(j - 1, self.sets[j][p][0])
                    last = self.sets[j].pop()
                    if p < len(self.sets[j]):
                        self.sets[j][p] = last
                else:
                    p += 1

    def split(self, s):
        for u in range(s - 1, -1, -1):
            offset = self.take(u)
            if offset is not None:
                for v in range(u + 1, s + 1):
                    self.sets[v].append([offset, 14])
                return offset
        return None

    def alloc(self, size):
        s = self.set_of(size)
        if s < 0:
            return None
        offset = self.take(s)
        if offset is None and self.policy == "defrag_before_split":
            self.merge(s)
            offset = self.take(s)
        if offset is None:
            offset = self.split(s)
        if offset is None and self.policy == "split_before_defrag":
            self.merge(s)
            offset = self.take(s)
        return offset

    def free(self, offset, size):
        self.give_back(self.set_of(size), offset)

    def defrag(self):
        self.merge(0)

    def order(self):
        return [
            [start + k * size for start, mask in quads for k in range(4) if mask >> k & 1]
            for size, quads in zip(self.sizes, self.sets, strict=True)
        ]


class BuddyModel:
    """A list of free offsets for each level."""

    def __init__(self, min_bytes, max_bytes, n_max, _policy):
        self.sizes = [max_bytes]
        while self.sizes[-1] // 4 >= min_bytes:
            self.sizes.append(self.sizes[-1] // 4)
        self.queues = [[] for _ in self.sizes]
        self.queues[0] = list(range(0, n_max * max_bytes, max_bytes))

    def level_of(self, size):
        return max(level for level, block in enumerate(self.sizes) if block >= size)

    def alloc(self, size):
        if size > self.sizes[0]:
            return None
        level = self.level_of(size)
        found = [f for f in range(level + 1) if self.queues[f]]
        if not found:
            return None
        offset = self.queues[found[-1]].pop(0)
        for f in range(found[-1] + 1, level + 1):
            self.queues[f] += [offset + k * self.sizes[f] for k in (1, 2, 3)]
        return offset

    def free(self, offset, size):
        level = self.level_of(size)
        self.queues[level].append(offset)
        while level > 0:
            start = offset - offset % self.sizes[level - 1]
            four = [start + k * self.sizes[level] for k in range(4)]
            if not all(one in self.queues[level] for one in four):
                break
            for one in four:
                self.queues[level].remove(one)
            level, offset = level - 1, start
            self.queues[level].append(offset)

    def defrag(self):
        pass

    def order(self):
        return self.queues


def overlaps(blocks):
    """Whether any two of the ``(offset, bytes)`` overlap."""
    blocks = sorted(blocks)
    pairs = pairwise(blocks)
    return any(offset + size > following for (offset, size), (following, _) in pairs)


def play(model, pool, live, op, number):
    """One operation on both; the same must come of it."""
    if op == "defrag":
        model.defrag()
        pool.defrag()
    elif op == "free" and live:
        offset = sorted(live)[number % len(live)]
        model.free(offset, live.pop(offset))
        pool.free(offset)
    elif op == "alloc":
        size = number % (pool.max_bytes + 2)
        size = size if number % 3 else size // 16
        offset = pool.try_alloc(size)
        assert offset == model.alloc(size), f"{size} bytes"
        if offset is not None:
            assert offset not in live
            live[offset] = size


def assert_error_tells(pool):
    """The numbers of an error, which are kept, are those of a walk."""
    with pytest.raises(kheap.OutOfMemory) as caught:
        pool.alloc(pool.max_bytes + 1)
    stats = pool.stats()
    assert caught.value.free_bytes == stats.free_bytes
    assert caught.value.largest_free_bytes == stats.largest_free_bytes


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["alloc"] * 6 + ["free"] * 5 + ["defrag"]), st.integers(0, 1 << 20)),
    max_size=120,
)
POOLS = st.one_of(
    st.tuples(st.just("quad"), st.sampled_from(QUAD_SHAPES), st.sampled_from(POLICIES)),
    st.tuples(st.just("buddy"), st.sampled_from(BUDDY_SHAPES), st.just(POLICIES[0])),
)


@given(POOLS, OPERATIONS)
def test_a_pool_does_what_the_model_does(made, operations):
    kind, (min_bytes, max_bytes, n_max), policy = made
    pool = MemPool(
        None, min_bytes=min_bytes, max_bytes=max_bytes, n_max=n_max, model=kind, policy=policy
    )
    kinds = {"quad": QuadModel, "buddy": BuddyModel}
    model, live = kinds[kind](min_bytes, max_bytes, n_max, policy), {}
    fresh = pool.blocks()
    for op, number in operations:
        play(model, pool, live, op, number)
        levels = pool.blocks()
        assert [list(one.free) for one in levels] == model.order()
        used = {block.offset: block.request_bytes for one in levels for block in one.used}
        assert used == live
        everything = [(block.offset, one.block_bytes) for one in levels for block in one.used]
        assert all(size >= live[offset] for offset, size in everything)
        everything += [(offset, one.block_bytes) for one in levels for offset in one.free]
        assert not overlaps(everything)
        assert_error_tells(pool)
    for offset in sorted(live):
        pool.free(offset)
    pool.defrag()
    assert sorted(pool.blocks()[0].free) == list(fresh[0].free)
    assert pool.stats().free_bytes == pool.size_bytes
