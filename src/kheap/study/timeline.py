"""A heap over time: every block with its place and its lifetime, and the curves beside them.

It owns turning a replay into columns that can be drawn: it follows the operations once and
notes when each block came, where, and when it went.  Chunk sizes are not computed from the
requests but read off the heap's own statistics, so they are the engine's.  A step is an
operation of this heap, counted from 0; a block that comes at step s and goes at step e is
there after s, ..., e - 1.

The free chunks need no columns.  No two neighbours are both free (invariant I2 of
``kheap._core.chunk``), so whatever lies between used chunks is one free chunk, and an
undersized one if it is too small for any list.

Not here: the replay (``replay.py``), what the sizes cost (``size_costs.py``), drawing
(``kheap.report``).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt

from kheap.heaps.stats import HeapStats
from kheap.heaps.sys_heap import SysHeap
from kheap.study.replay import Failure, HeapReplay, Replay, Timeline
from kheap.study.size_costs import CostMeter, SizeCost
from kheap.trace.model import ALLOC, REALLOC

__all__ = ["Blocks", "HeapTimeline", "heap_timelines", "moment_of", "moment_with"]

#: Operations between two reports of progress.
SLICE = 1 << 16

Progress = Callable[[int, int], object]


def _column() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Blocks:
    """The blocks of a heap in the order they came, as columns of equal length.

    A block that is resized ends, and another begins with the same id.

    Attributes:
        start: The step that it came with.
        end: The step that it went with; the number of steps if it never did.
        chunk: Its chunk's id.
        units: Its chunk's size.
        offset: Its first byte, from the region's first byte.
        request_bytes: What was asked for; -1 where unknown.
        id: Its id in the trace; -1 where it comes from none.
        resized: 1 if a realloc made it, else 0.
        thread, caller: Indices into the trace's names; -1 where unknown.
    """

    start: array[int] = field(default_factory=_column)
    end: array[int] = field(default_factory=_column)
    chunk: array[int] = field(default_factory=_column)
    units: array[int] = field(default_factory=_column)
    offset: array[int] = field(default_factory=_column)
    request_bytes: array[int] = field(default_factory=_column)
    id: array[int] = field(default_factory=_column)
    resized: array[int] = field(default_factory=_column)
    thread: array[int] = field(default_factory=_column)
    caller: array[int] = field(default_factory=_column)

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self.start)


@dataclass(slots=True)
class HeapTimeline:
    """One heap from its initialisation to the next, or the end, or at one moment.

    Attributes:
        name: The heap's name.
        heap: The heap as the operations left it: its geometry, size and address.
        final: Its numbers then.
        op_index: For each step the operation's index in the trace; empty for one moment.
        time_us: For each step its time in microseconds; empty where the trace has no times.
        allocated_bytes, free_bytes, largest_free_bytes: The heap after each step, counted as
            the statistics count.
        one_minus_root_sum_squares: Its fragmentation after each step, by that measure.
        peak_allocated_bytes: The most bytes of used chunks at once, as the statistics have it:
            a resize that moves its block holds both for a moment.
        peak_step: The step that it was reached in.
        blocks: Its blocks.
        failures: The requests that got no memory, in order.
        failure_steps: Their steps.
        costs: What the requested sizes cost, most costly first.
    """

    name: str
    heap: SysHeap
    final: HeapStats
    op_index: array[int] = field(default_factory=_column)
    time_us: array[int] = field(default_factory=_column)
    allocated_bytes: array[int] = field(default_factory=_column)
    free_bytes: array[int] = field(default_factory=_column)
    largest_free_bytes: array[int] = field(default_factory=_column)
    one_minus_root_sum_squares: array[float] = field(default_factory=lambda: array("d"))
    peak_allocated_bytes: int = 0
    peak_step: int = 0
    blocks: Blocks = field(default_factory=Blocks)
    failures: list[Failure] = field(default_factory=list)
    failure_steps: array[int] = field(default_factory=_column)
    costs: list[SizeCost] = field(default_factory=list)

    @property
    def is_moment(self) -> bool:
        """Whether this is a heap at one moment, without operations."""
        return not self.op_index

    @property
    def step_count(self) -> int:
        """Its steps; 1 for one moment."""
        return len(self.allocated_bytes)


def heap_timelines(replay: Replay, progress: Progress | None = None) -> list[HeapTimeline]:
    """For each entry of ``replay.heaps`` its blocks and curves.

    Args:
        replay: A finished replay; the trace is replayed once more for its timeline.
        progress: Called with the operations done and their number, now and then.

    Complexity: O(operations), and for an aligned block O(the bytes skipped before it).
    """
    found: list[HeapTimeline] = []
    done, total = 0, replay.ops

    def report(steps: int) -> None:
        if progress is not None:
            progress(min(done + steps, total), total)

    for part, timeline in zip(replay.heaps, replay.timeline, strict=True):
        if part.ops:
            found.append(_Recorder(replay, part, timeline).record(report))
        else:
            found.append(moment_of(part.heap, part.name))
        done += part.ops
    return found


def moment_of(heap: SysHeap, name: str) -> HeapTimeline:
    """A heap as it is now, as a timeline of one step.

    Raises:
        HeapCorruption: The heap cannot be walked.

    Complexity: O(chunks).
    """
    used = [(c.chunk, c.size_units) for c in heap.chunks() if c.state == "used"]
    chunks, units = (array("q", column) for column in zip(*used, strict=True)) if used else ((), ())
    return moment_with(heap, name, heap.stats(), chunks, units)


def moment_with(
    heap: SysHeap,
    name: str,
    stats: HeapStats,
    chunk: Iterable[int],
    units: Iterable[int],
    caller: Iterable[int] = (),
) -> HeapTimeline:
    """A timeline of one step of a heap whose used chunks are known.

    Args:
        heap: The heap; it is asked for its geometry alone.
        name: Its name.
        stats: Its numbers.
        chunk: The ids of its used chunks, ascending.
        units: Their sizes.
        caller: For each an index into the report's names of call sites, -1 for none.
    """
    moment = HeapTimeline(name, heap, stats, peak_allocated_bytes=stats.allocated_bytes)
    moment.allocated_bytes.append(stats.allocated_bytes)
    moment.free_bytes.append(stats.free_bytes)
    moment.largest_free_bytes.append(stats.largest_free_bytes)
    moment.one_minus_root_sum_squares.append(stats.fragmentation.one_minus_root_sum_squares)
    blocks = moment.blocks
    blocks.chunk.extend(chunk)
    blocks.units.extend(units)
    lead = heap.start + heap.hdr
    blocks.offset.extend(lead + 8 * c for c in blocks.chunk)
    blocks.caller.extend(caller)
    count = len(blocks.chunk)
    for column, value in (
        (blocks.start, 0), (blocks.end, 1), (blocks.resized, 0), (blocks.request_bytes, -1),
        (blocks.id, -1), (blocks.thread, -1), (blocks.caller, -1),
    ):  # fmt: skip
        column.extend(array("q", [value]) * (count - len(column)))
    return moment


class _Recorder:
    """Follows the operations of one heap.

    Lists, and few of them, until the end: the loop over the operations is Python's.
    """

    def __init__(self, replay: Replay, part: HeapReplay, timeline: Timeline) -> None:
        self.trace = replay.trace
        self.offsets = replay.offsets
        self.part = part
        self.heap = part.heap
        self.timeline = timeline
        self.start: list[int] = []
        self.end: list[int] = []
        self.chunk: list[int] = []
        self.units: list[int] = []
        # The operation that made each block.
        self.made_by: list[int] = []
        self.live: dict[int, int] = {}
        self.gaps = _Gaps(part.heap)
        self.meter = CostMeter()
        self.before = 0
        self.peak = (0, 0)

    def record(self, report: Callable[[int], None]) -> HeapTimeline:
        found = HeapTimeline(self.part.name, self.heap, self.part.final)
        own = self._own_ops()
        steps = len(own)
        self._curves(found, own)
        measures = found.one_minus_root_sum_squares
        free_bytes, follow, measure = found.free_bytes, self._follow, self.gaps.measure
        for step, (i, now) in enumerate(zip(own, found.allocated_bytes, strict=True)):
            follow(step, i, now - self.before)
            measures.append(measure(free_bytes[step]))
            self.before = now
            if step % SLICE == 0:
                report(step)
        found.blocks = self._blocks(steps)
        found.peak_allocated_bytes, found.peak_step = self.peak
        found.failures = self.part.failures
        step_of = {i: step for step, i in enumerate(own)} if found.failures else {}
        found.failure_steps.extend(step_of[failure.op_index] for failure in found.failures)
        found.costs = self.meter.costs()
        report(steps)
        return found

    def _own_ops(self) -> range | list[int]:
        part, heap_of = self.part, self.trace.heap
        if part.ops == part.stop - part.start:
            return range(part.start, part.stop)
        return [i for i in range(part.start, part.stop) if heap_of[i] == part.index]

    def _curves(self, found: HeapTimeline, own: range | list[int]) -> None:
        timeline = self.timeline
        found.op_index = array("q", own)
        found.allocated_bytes = _picked(timeline.allocated_bytes, own)
        found.free_bytes = _picked(timeline.free_bytes, own)
        found.largest_free_bytes = _picked(timeline.largest_free_bytes, own)
        if any(self.trace.time):
            found.time_us = array("q", (round(1e6 * self.trace.time[i]) for i in own))

    def _blocks(self, steps: int) -> Blocks:
        trace, made_by = self.trace, self.made_by
        ops = _picked(trace.op, made_by)
        return Blocks(
            start=array("q", self.start),
            end=array("q", (end if end >= 0 else steps for end in self.end)),
            chunk=array("q", self.chunk),
            units=array("q", self.units),
            offset=_picked(self.offsets, made_by),
            request_bytes=_picked(trace.size, made_by),
            id=_picked(trace.id, made_by),
            resized=array("q", map(REALLOC.__eq__, ops)),
            thread=_picked(trace.thread, made_by),
            caller=_picked(trace.caller, made_by),
        )

    def _follow(self, step: int, i: int, change: int) -> None:
        """Note what operation ``i`` did; it changed the allocated bytes by ``change``."""
        id, op, place = self.trace.id[i], self.trace.op[i], self.offsets[i]
        if place < 0:
            # A free, a realloc to 0 bytes, or a failure, which leaves a resized block alone.
            if change:
                old = self.live.pop(id)
                self._close(old, step)
                self.gaps.give(self.chunk[old], self.units[old])
            elif op == ALLOC:
                self.live.pop(id, None)
            return
        old = self.live.get(id, -1) if op == REALLOC else -1
        if old >= 0:
            self._close(old, step)
            change += 8 * self.units[old] - self.heap.uncounted
        chunk = (place - self.heap.hdr - self.heap.start) >> 3
        units = (change + self.heap.uncounted) >> 3
        # A block that moves is placed while its old chunk is still used.
        stays = old >= 0 and self.chunk[old] == chunk
        if stays:
            self.gaps.give(chunk, self.units[old])
        self.gaps.take(chunk, units)
        if old >= 0 and not stays:
            self.gaps.give(self.chunk[old], self.units[old])
        held = self.before + change - (8 * self.units[old] - self.heap.uncounted if stays else 0)
        if held > self.peak[0]:
            self.peak = (held, step)
        self.live[id] = len(self.start)
        self._open(step, i, chunk, units)

    def _open(self, step: int, i: int, chunk: int, units: int) -> None:
        self.start.append(step)
        self.end.append(-1)
        self.chunk.append(chunk)
        self.units.append(units)
        self.made_by.append(i)
        self.meter.add(self.trace.size[i], 8 * units)

    def _close(self, block: int, step: int) -> None:
        self.end[block] = step
        self.meter.remove(self.trace.size[self.made_by[block]], 8 * self.units[block])


def _picked(column: array[int], rows: Sequence[int]) -> array[int]:
    return array("q", map(column.__getitem__, rows))


class _Gaps:
    """The runs of units between used chunks, and the sum of the squares of the listed ones."""

    def __init__(self, heap: SysHeap) -> None:
        self.heap = heap
        self.stop_of = {heap.c0: heap.n}
        self.start_of = {heap.n: heap.c0}
        self.square_sum = self._square(heap.n - heap.c0)

    def measure(self, free_bytes: int) -> float:
        """1 - sqrt(sum of squares) / free, as :class:`~kheap.heaps.stats.Fragmentation` has it."""
        return max(0.0, 1 - sqrt(self.square_sum) / free_bytes) if free_bytes else 0.0

    def take(self, chunk: int, units: int) -> None:
        """A chunk is used from now on."""
        start = chunk if chunk in self.stop_of else next(self._starts_below(chunk))
        stop = self.stop_of.pop(start)
        self.square_sum -= self._square(stop - start)
        if start < chunk:
            self._add(start, chunk)
        if chunk + units < stop:
            self._add(chunk + units, stop)
        else:
            del self.start_of[stop]

    def give(self, chunk: int, units: int) -> None:
        """A chunk is free from now on; it merges with what is free beside it."""
        start, stop = chunk, chunk + units
        if start in self.start_of:
            start = self.start_of.pop(chunk)
            self.square_sum -= self._square(chunk - start)
        if stop in self.stop_of:
            beyond = self.stop_of.pop(stop)
            self.square_sum -= self._square(beyond - stop)
            stop = beyond
        self._add(start, stop)

    def _add(self, start: int, stop: int) -> None:
        self.stop_of[start] = stop
        self.start_of[stop] = start
        self.square_sum += self._square(stop - start)

    def _starts_below(self, chunk: int) -> Iterator[int]:
        """Where an alignment left units free before its block, the gap starts a little below."""
        return (c for c in range(chunk - 1, self.heap.c0 - 1, -1) if c in self.stop_of)

    def _square(self, units: int) -> int:
        counted = 8 * units - self.heap.uncounted
        return counted * counted if units >= self.heap.m else 0
