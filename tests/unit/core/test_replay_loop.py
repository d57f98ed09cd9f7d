"""Bulk replay: columns in, offsets and a timeline out, as if each operation were called."""

from __future__ import annotations

from array import array
from random import Random

import pytest

import kheap
from kheap._core._native import Column, run
from kheap._core.replay import OpColumns, ReplayLoop
from property.broken import PROFILES, name_of

BASE = 0x20000000
ALLOC, REALLOC, FREE = 0, 1, 2
NONE = -1
DEFAULT = kheap.Profile()


class Player:
    """A replay loop with the columns that it works on.

    ``ops`` are tuples ``(op, id, size, align, heap)``; what is left out is 0.
    """

    def __init__(self, ops, *, profile=DEFAULT, size=1024, only=-1, timed=True, ids=0):
        rows = [(*op, 0, 0, 0)[:5] for op in ops]
        columns = list(zip(*rows, strict=True)) or [()] * 5
        self.count = len(rows)
        self.heap = kheap.SysHeap(bytearray(size), profile, BASE)
        self.blocks = array("q", bytes(8 * max(ids, 1 + max(columns[1], default=0))))
        self.offsets = array("q", [NONE] * self.count or [0])
        self.timeline = [array("q", bytes(8 * self.count or 8)) for _ in range(3)]
        types = "bqqqi"
        self.loop = ReplayLoop(
            self.heap,
            OpColumns(
                *(
                    Column(array(kind, column or [0]))
                    for kind, column in zip(types, columns, strict=True)
                ),
                Column(self.offsets),
            ),
            only,
            Column(self.blocks),
            tuple(map(Column, self.timeline)) if timed else None,
        )

    def run(self, start=0, stop=None):
        return run(self.loop, start, self.count if stop is None else stop)

    def run_through(self):
        """All operations, past those that fail; returns the indices of those."""
        failed, at = [], 0
        while (at := self.run(at)) < self.count:
            failed.append(at)
            at += 1
        return failed


def test_blocks_are_placed_freed_and_named():
    player = Player([(ALLOC, 0, 40), (ALLOC, 1, 40, 64), (FREE, 0), (ALLOC, 0, 20), (FREE, 1)])
    assert player.run() == 5
    assert player.loop.answer > 0
    heap = kheap.SysHeap(1024, base_address=BASE)
    first, second = heap.alloc(40), heap.alloc(40, align=64)
    heap.free(first)
    again = heap.alloc(20)
    assert list(player.offsets) == [first, second, NONE, again, NONE]
    assert list(player.blocks) == [again, 0]
    assert (player.loop.failed, player.loop.peak_end) == (0, second + 40)


def test_an_empty_run_says_that_all_went_well():
    player = Player([])
    assert player.run() == 0
    assert player.loop.answer > 0
    assert (player.loop.failed, player.loop.peak_end) == (0, 0)


def test_a_failure_stops_the_run_and_can_be_passed():
    player = Player([(ALLOC, 0, 40), (ALLOC, 1, 5000), (ALLOC, 2, 40), (ALLOC, 3, 0), (FREE, 2)])
    assert player.run() == 1
    assert (player.loop.answer, player.loop.failed) == (0, 1)
    assert player.run(2) == 3
    assert (player.loop.answer, player.loop.failed) == (0, 2)
    assert player.run(4) == 5
    assert (player.loop.answer > 0, player.loop.failed) == (True, 2)
    assert [offset > 0 for offset in player.offsets] == [True, False, True, False, False]
    assert list(player.blocks)[1:] == [0, 0, 0]


def test_a_refusal_is_no_failure():
    player = Player([(ALLOC, 0, -5), (ALLOC, 0, 5, 7), (ALLOC, 0, 5), (REALLOC, 0, 5, 3)])
    assert player.run() == 0
    assert player.loop.answer == -3
    assert player.run(1) == 1
    assert player.loop.answer == -4
    assert player.run(2) == 3
    assert player.loop.answer == -4
    assert player.loop.failed == 0


def test_a_free_that_is_refused_keeps_the_block():
    """Nothing writes between the operations of a replay but the heap; this is for its sake."""
    player = Player([(ALLOC, 0, 40), (ALLOC, 1, 40), (FREE, 0), (FREE, 1)])
    assert player.run(0, 2) == 2
    block = player.blocks[0]
    player.heap.region[block + 40] ^= 0xFF
    assert player.run(2) == 2
    assert (player.loop.answer, player.loop.failed) == (-1, 0)
    assert player.blocks[0] == block
    player.heap.region[block + 40] ^= 0xFF
    assert player.run(2) == 4


def test_a_failed_request_leaves_its_id_without_a_block():
    player = Player([(ALLOC, 0, 40), (ALLOC, 0, 5000), (FREE, 0)])
    assert player.run_through() == [1]
    assert list(player.blocks) == [0]
    assert player.heap.stats().used_count == 1, "the first block is lost, not freed"


def test_a_failed_realloc_leaves_its_block():
    player = Player([(ALLOC, 0, 40), (ALLOC, 1, 8), (REALLOC, 0, 5000), (FREE, 0)])
    assert player.run_through() == [2]
    assert player.heap.stats().used_count == 1
    assert player.offsets[2] == NONE


def test_realloc_moves_resizes_frees_and_allocates():
    player = Player(
        [(ALLOC, 0, 40), (ALLOC, 1, 8), (REALLOC, 0, 38), (REALLOC, 0, 100), (REALLOC, 0, 0),
         (REALLOC, 0, 30), (REALLOC, 2, 0)]
    )  # fmt: skip
    assert player.run_through() == [6], "realloc of nothing to nothing gives nothing"
    heap = kheap.SysHeap(1024, base_address=BASE)
    block, _ = heap.alloc(40), heap.alloc(8)
    moved = heap.realloc(block, 100)
    heap.free(moved)
    assert list(player.offsets) == [
        block, _, block, moved, NONE, heap.realloc(None, 30), NONE,
    ]  # fmt: skip
    assert player.blocks[0] == player.offsets[5]
    assert player.heap.region == heap.region


def test_freeing_nothing_does_nothing():
    player = Player([(FREE, 0), (ALLOC, 0, 8), (FREE, 0), (FREE, 0)])
    assert player.run() == 4
    assert player.heap.stats().used_count == 0


@pytest.mark.parametrize("timed", [False, True])
def test_operations_of_other_heaps_are_passed_over(timed):
    ops = [(ALLOC, 0, 40, 0, 0), (ALLOC, 1, 50, 0, 1), (ALLOC, 2, 9000, 0, 1), (FREE, 0, 0, 0, 0)]
    player = Player(ops, only=0, timed=timed)
    assert player.run() == 4
    assert [offset > 0 for offset in player.offsets] == [True, False, False, False]
    assert player.timeline[0][1:3].tolist() == [0, 0]
    player = Player(ops, only=1, timed=timed)
    assert player.run_through() == [2]
    assert [offset > 0 for offset in player.offsets] == [False, True, False, False]
    player = Player(ops, only=7, timed=timed)
    assert player.run() == 4
    assert player.loop.answer > 0


def random_ops(random, count, ids):
    """Operations that fill a heap, fail now and then, and empty it."""
    for _ in range(count):
        op = random.choice((ALLOC, ALLOC, REALLOC, FREE))
        align = random.choice((0, 0, 0, 16, 64))
        size = 0 if op == FREE else random.choice((0, random.randint(1, 120), 700))
        yield op, random.randrange(ids), size, align


def called(heap, blocks, op, id_, size=0, align=0):
    """The same operation as calls of the heap: the offset column's value, and whether it failed."""
    try:
        if op == FREE:
            heap.free(blocks.pop(id_, None))
            return NONE, False
        if op == REALLOC:
            block = heap.realloc(blocks.get(id_), size, align=align)
        else:
            blocks.pop(id_, None)
            block = heap.alloc(size, align=align)
    except kheap.OutOfMemory:
        return NONE, True
    blocks.pop(id_, None)
    if block is not None:
        blocks[id_] = block
    return block or NONE, False


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
@pytest.mark.parametrize("far", [False, True])
def test_a_replay_does_what_calls_do(profile, far):
    """Offsets, failures, bytes, the timeline and both peaks; ``far`` is a table of many ids."""
    random = Random(f"replay/{name_of(profile)}")
    ops = list(random_ops(random, 120, 20))
    player = Player(ops, profile=profile, ids=20_000 if far else 0)
    failed = player.run_through()
    heap, blocks = kheap.SysHeap(1024, profile, BASE), {}
    peak_end = peak_bytes = 0
    for at, op in enumerate(ops):
        offset, fails = called(heap, blocks, *op)
        assert (player.offsets[at], at in failed) == (offset, fails), f"{at}: {op}"
        stats = heap.stats()
        row = tuple(column[at] for column in player.timeline)
        assert row == (stats.allocated_bytes, stats.free_bytes, stats.largest_free_bytes)
        used = [c for c in heap.chunks() if c.state == "used"]
        peak_end = max([peak_end, *(c.offset + c.chunk_bytes for c in used)])
        peak_bytes = max(peak_bytes, stats.allocated_bytes)
    assert player.heap.region == heap.region
    assert player.loop.failed == len(failed) > 0
    assert player.loop.peak_end == peak_end
    assert player.heap._stat(2) >= peak_bytes
    player.heap.check()


@pytest.mark.parametrize("step", [1, 7, 50])
def test_slices_make_no_difference(step):
    ops = [op for op in random_ops(Random("slices"), 200, 20) if op[2] != 700]
    whole, sliced = Player(ops, timed=False), Player(ops, ids=20_000)
    failed = whole.run_through()
    at, sliced_failed = 0, []
    while at < sliced.count:
        stop = min(at + step, sliced.count)
        reached = sliced.run(at, stop)
        if sliced.loop.answer <= 0:
            sliced_failed.append(reached)
            reached += 1
        at = reached
    assert sliced_failed == failed
    assert sliced.offsets == whole.offsets
    assert sliced.heap.region == whole.heap.region
    assert sliced.loop.peak_end == whole.loop.peak_end


def test_a_run_stops_where_it_is_told_to():
    player = Player([(ALLOC, id_, 8) for id_ in range(5)])
    assert player.run(0, 2) == 2
    assert player.offsets.tolist()[2:] == [NONE] * 3
    assert player.run(2, 2) == 2
    assert player.run(2, 5) == 5


def test_the_timeline_counts_even_where_the_profile_does_not():
    player = Player([(ALLOC, 0, 40), (FREE, 0)], profile=kheap.Profile(runtime_stats=False))
    free = player.heap.stats().free_bytes
    assert player.run() == 2
    assert [column.tolist() for column in player.timeline] == [
        [40, 0], [free - 48, free], [free - 48, free]
    ]  # fmt: skip


def test_the_peak_is_an_end_of_a_chunk():
    """A small request in a far place counts to the end of its chunk; later ones lie below it."""
    player = Player([(ALLOC, 0, 200), (ALLOC, 1, 1), (FREE, 0), (ALLOC, 0, 1)])
    assert player.run() == 4
    assert player.loop.peak_end == player.offsets[1] + 8
