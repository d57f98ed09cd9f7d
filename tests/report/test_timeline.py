"""Blocks and curves over time are those of the heap itself at every moment."""

from __future__ import annotations

from random import Random

import pytest

from kheap import Profile, SysHeap, replay
from kheap.study.size_costs import SizeCost
from kheap.study.timeline import heap_timelines, moment_of
from kheap.trace import FREE, HeapInit, Trace, TraceHeap
from report.workloads import SMALL, first_ops, random_trace

PROFILES = [
    Profile(),
    SMALL,
    Profile(hardening="full"),
    Profile(release="4.3", bits=32),
    Profile(release="2.6"),
]


def used_after(timeline, step):
    blocks = timeline.blocks
    return sorted(
        (blocks.chunk[i], blocks.units[i])
        for i in range(len(blocks))
        if blocks.start[i] <= step < blocks.end[i]
    )


def heap_after(trace, step, size, profile):
    return replay(first_ops(trace, step + 1), size, profile=profile).heaps[0].heap


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: f"{p.release}-{p.bits}-{p.hardening}")
@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_and_curves_are_those_of_the_heap(profile, seed):
    trace = random_trace(300, seed, aligns=(0, 0, 8, 16, 64, 256))
    done = replay(trace, 12288, profile=profile)
    timeline = heap_timelines(done)[0]
    assert timeline.peak_allocated_bytes == done.heaps[0].peak_allocated_bytes
    for step in [*Random(seed).sample(range(300), 8), 0, 299]:
        heap = heap_after(trace, step, 12288, profile)
        used = [(c.chunk, c.size_units) for c in heap.chunks() if c.state == "used"]
        assert used_after(timeline, step) == used
        stats = heap.stats()
        assert timeline.allocated_bytes[step] == stats.allocated_bytes
        assert timeline.free_bytes[step] == stats.free_bytes
        assert timeline.largest_free_bytes[step] == stats.largest_free_bytes
        share = timeline.one_minus_root_sum_squares[step]
        assert share == pytest.approx(stats.fragmentation.one_minus_root_sum_squares)


def test_columns_of_a_block():
    trace = Trace(heaps=[TraceHeap("heap")], threads=["main"], callers=["parse"])
    trace.add(0, 5, 20, thread=0, caller=0)
    trace.add(1, 5, 200)
    trace.add(2, 5)
    timeline = heap_timelines(replay(trace, 1024, profile=SMALL))[0]
    blocks = timeline.blocks
    assert len(blocks) == 2
    assert [*blocks.start] == [0, 1]
    assert [*blocks.end] == [1, 2]
    assert [*blocks.request_bytes] == [20, 200]
    assert [*blocks.resized] == [0, 1]
    assert [*blocks.id] == [5, 5]
    assert ([*blocks.thread], [*blocks.caller]) == ([0, -1], [0, -1])
    assert blocks.offset[0] == 8 * blocks.chunk[0] + 4
    assert timeline.costs == [SizeCost(200, 1, 1, 208), SizeCost(20, 1, 1, 24)]
    assert timeline.costs[0].peak_overhead_bytes == 8


def test_a_failed_resize_leaves_its_block_and_a_failed_alloc_forgets_its_id():
    trace = Trace(heaps=[TraceHeap("heap")])
    trace.add(0, 0, 100)
    trace.add(1, 0, 5000)
    trace.add(0, 0, 5000)
    trace.add(FREE, 0)
    timeline = heap_timelines(replay(trace, 1024, profile=SMALL))[0]
    assert [*timeline.failure_steps] == [1, 2]
    assert [*timeline.blocks.end] == [4]


def test_heaps_have_steps_of_their_own():
    trace = Trace(
        heaps=[TraceHeap("a"), TraceHeap("b"), TraceHeap("idle")],
        inits=[HeapInit(0, i, 0x1000 * i, 1024) for i in range(3)],
    )
    for i in range(6):
        trace.add(0, i, 10 if i else 5000, heap=i % 2)
    first, second, idle = heap_timelines(replay(trace, profile=SMALL))
    assert [*first.op_index] == [0, 2, 4]
    assert [*second.op_index] == [1, 3, 5]
    assert [*first.failure_steps] == [0]
    assert len(second.blocks) == 3
    assert (idle.is_moment, idle.step_count, len(idle.blocks)) == (True, 1, 0)


def test_times_are_microseconds():
    trace = random_trace(5, 1)
    assert [*heap_timelines(replay(trace, 4096))[0].time_us] == [0, 1000, 2000, 3000, 4000]


def test_one_moment():
    heap = SysHeap(1024, SMALL)
    kept = [heap.alloc(100), heap.alloc(30)][1]
    heap.free(heap.alloc(8))
    moment = moment_of(heap, "found")
    assert (moment.is_moment, moment.step_count) == (True, 1)
    used = [(c.chunk, c.size_units) for c in heap.chunks() if c.state == "used"]
    assert used_after(moment, 0) == used
    assert moment.blocks.offset[1] == kept
    assert moment.free_bytes[0] == heap.stats().free_bytes
    assert {*moment.blocks.request_bytes} == {-1}


def test_progress_ends_with_all():
    told = []
    done = replay(random_trace(50, 3), 4096)
    heap_timelines(done, lambda *now: told.append(now))
    assert told[-1] == (50, 50)
