"""Replay: a recorded trace run on the very heap that the firmware will run.

It owns the driving of the compiled loop (``kheap._core.replay``) through the lifetimes of
the trace's heaps, the verdict on each request that failed, and the record of what happened.
Not here: reading traces (``kheap.trace``), printing (``kheap.report``).
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter

from kheap._core._native import COMPILED, Column, run
from kheap._core.chunk import plan as plan_heap
from kheap._core.replay import OpColumns, ReplayLoop
from kheap.heaps.stats import HeapStats, Verdict
from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.why import judge
from kheap.profile import Profile
from kheap.trace.model import NO_RESULT, OP_NAMES, Trace

__all__ = ["Failure", "HeapReplay", "Replay", "Timeline", "replay", "simulated_region"]

#: Where a simulated region is said to lie, so that answers do not depend on Python's memory.
SIMULATED_ADDRESS = 0x20000000

#: Operations between two looks at signals and two reports of progress.
SLICE = 1 << 18 if COMPILED else 1 << 12

#: Regions from here on are asked for in huge pages: the headers of a large heap lie far apart.
HUGE_PAGE = 1 << 21

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no memory.

    Attributes:
        op_index: Its index in the trace.
        op: "alloc" or "realloc".
        id: The block's id.
        verdict: Why; with the request, free and largest free bytes as attributes.
    """

    op_index: int
    op: str
    id: int
    verdict: Verdict


@dataclass(slots=True)
class Timeline:
    """A heap after each operation, in columns as long as the trace; other heaps' rows are 0.

    Attributes:
        allocated_bytes: Bytes of used chunks, as the statistics count them.
        free_bytes: Bytes of listed free chunks.
        largest_free_bytes: Bytes of the largest of them.
    """

    allocated_bytes: array[int]
    free_bytes: array[int]
    largest_free_bytes: array[int]


@dataclass(slots=True)
class HeapReplay:
    """What happened on one heap between its initialisation and the next, or the end.

    Attributes:
        name: The heap's name; "#2" and so on behind it for its later lifetimes.
        heap: The heap as the trace left it.
        index: The heap's index in the trace.
        start, stop: Indices of its first operation and the one behind its last.
        ops: Its requests and frees.
        failures: The requests that got no memory, in order.
        peak_allocated_bytes: Most bytes of used chunks at once, as the statistics count them.
        peak_offset_bytes: Highest end of a used chunk, from the region's first byte.
        final: The heap's numbers at the end.
    """

    name: str
    heap: SysHeap
    index: int
    start: int
    stop: int
    ops: int = 0
    failures: list[Failure] = field(default_factory=list)
    peak_allocated_bytes: int = 0
    peak_offset_bytes: int = 0
    final: HeapStats = field(init=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of the region."""
        return self.heap.size_bytes

    @property
    def base_address(self) -> int:
        """Address of the region's first byte."""
        return self.heap.base_address


@dataclass
class Replay:
    """The record of a replay.

    Attributes:
        trace: What was replayed.
        profile: The Zephyr it was replayed on.
        heaps: One entry for each lifetime of each heap, by heap, then by time.
        offsets: For each operation its block's offset after it, -1 for none.
        elapsed_s: Seconds that the operations took, verdicts included.
        timeline_of: Replays once more, with a timeline; see :attr:`timeline`.
    """

    trace: Trace
    profile: Profile
    heaps: list[HeapReplay]
    offsets: array[int]
    elapsed_s: float
    timeline_of: Callable[[], list[Timeline]] = field(repr=False)

    @property
    def ops(self) -> int:
        """Requests and frees replayed."""
        return sum(heap.ops for heap in self.heaps)

    @property
    def ops_per_second(self) -> float:
        """Operations a second, verdicts included."""
        return self.ops / self.elapsed_s if self.elapsed_s else 0.0

    @cached_property
    def failures(self) -> list[Failure]:
        """The requests that got no memory, in the order of the trace."""
        return sorted((f for h in self.heaps for f in h.failures), key=lambda f: f.op_index)

    @property
    def failed(self) -> int:
        """How many requests got no memory."""
        return sum(len(heap.failures) for heap in self.heaps)

    @cached_property
    def timeline(self) -> list[Timeline]:
        """For each entry of ``heaps`` its timeline; the trace is replayed once more for it."""
        return self.timeline_of()

    def first_difference(self) -> int | None:
        """The first operation whose address is not the recorded one; None for none."""
        differences = [self._difference(part) for part in self.heaps]
        return min((i for i in differences if i is not None), default=None)

    def _difference(self, part: HeapReplay) -> int | None:
        trace, base = self.trace, part.base_address
        for i in range(part.start, part.stop):
            result, offset = trace.result[i], self.offsets[i]
            address = base + offset if offset >= 0 else 0
            if trace.heap[i] == part.index and result not in (NO_RESULT, address):
                return i
        return None


def replay(
    trace: Trace,
    size: int | None = None,
    *,
    profile: Profile | None = None,
    heap: str | None = None,
    base_address: int = SIMULATED_ADDRESS,
    progress: Progress | None = None,
) -> Replay:
    """Run a trace on simulated heaps.

    An id holds nothing after a failed alloc, and its old block after a failed realloc; a
    free of nothing does nothing.  A request for 0 bytes gets no memory, as in Zephyr.

    Args:
        trace: From :func:`kheap.read_trace`.
        size: Bytes of the region. None: every heap as the trace recorded it, at the size
            and the address of its initialisation.
        profile: Which Zephyr. None: what the trace says, else ``Profile()``.
        heap: With ``size``, the heap to replay, where the trace has several.
        base_address: With ``size``, the address of the region's first byte.
        progress: Called with the operations done and their number, now and then.

    Raises:
        ValueError: No such heap, several where one is to be named, no size where none was
            recorded, a region no heap fits in, or an alignment that Zephyr's assertion
            refuses.

    Complexity: O(operations).
    """
    chosen = profile or trace.profile or Profile()
    plans = _lifetimes(trace, size, heap, base_address)
    driver = _Driver(trace, chosen, plans, progress)
    began = perf_counter()
    driver.run(None)
    elapsed = perf_counter() - began
    for part in driver.parts:
        part.final = part.heap.stats()

    def timeline_of() -> list[Timeline]:
        again = _Driver(trace, chosen, plans, None)
        timelines = [_empty_timeline(len(trace)) for _ in plans]
        again.run(timelines)
        return timelines

    return Replay(trace, chosen, driver.parts, driver.offsets, elapsed, timeline_of)


@dataclass(frozen=True, slots=True)
class _Lifetime:
    """A heap to be made, and the operations it lives through."""

    name: str
    index: int
    start: int
    stop: int
    size_bytes: int
    base_address: int


def _lifetimes(
    trace: Trace, size: int | None, heap: str | None, base_address: int
) -> list[_Lifetime]:
    indices = range(max(len(trace.heaps), 1))
    if heap is not None or size is not None:
        indices = range(*_one_heap(trace, heap))
    plans = [plan for i in indices for plan in _lifetimes_of(trace, i, size, base_address)]
    if not plans:
        raise ValueError("the trace records no heap's size: give one")
    return plans


def _one_heap(trace: Trace, heap: str | None) -> tuple[int, int]:
    names = [entry.name for entry in trace.heaps]
    if heap is None:
        if len(names) > 1:
            raise ValueError(f"the trace has several heaps: name one of {', '.join(names)}")
        return 0, 1
    if heap not in names:
        raise ValueError(f"no heap {heap!r} in the trace: it has {', '.join(names) or 'no names'}")
    return names.index(heap), names.index(heap) + 1


def _lifetimes_of(
    trace: Trace, index: int, size: int | None, base_address: int
) -> Iterator[_Lifetime]:
    inits = [init for init in trace.inits if init.heap == index]
    name = trace.heaps[index].name if index < len(trace.heaps) else "heap"
    starts = [init.op_index for init in inits]
    if size is not None and not inits:
        yield _Lifetime(name, index, 0, len(trace), size, base_address)
    for i, init in enumerate(inits):
        yield _Lifetime(
            name if i == 0 else f"{name} #{i + 1}",
            index,
            init.op_index if i else 0,
            starts[i + 1] if i + 1 < len(inits) else len(trace),
            init.size_bytes if size is None else size,
            init.base_address if size is None else base_address,
        )


def _empty_timeline(count: int) -> Timeline:
    return Timeline(*(array("q", bytes(8 * count)) for _ in range(3)))


class _Driver:
    """Runs the compiled loop over each lifetime, and stops with it at each failure."""

    def __init__(
        self,
        trace: Trace,
        profile: Profile,
        plans: Sequence[_Lifetime],
        progress: Progress | None,
    ) -> None:
        self.trace = trace
        self.progress = progress
        self.offsets = array("q", b"\xff" * (8 * len(trace)))
        self.parts = [
            HeapReplay(plan.name, _simulated(plan, profile), plan.index, plan.start, plan.stop)
            for plan in plans
        ]
        self.total = sum(plan.stop - plan.start for plan in plans)
        self.done = 0

    def run(self, timelines: list[Timeline] | None) -> None:
        if not len(self.trace):
            return
        trace = self.trace
        columns = OpColumns(
            Column(trace.op),
            Column(trace.id),
            Column(trace.size),
            Column(trace.align),
            Column(trace.heap),
            Column(self.offsets),
        )
        many = len(trace.heaps) > 1
        for i, part in enumerate(self.parts):
            timeline = timelines[i] if timelines else None
            self._run_part(part, columns, part.index if many else -1, timeline)

    def _run_part(
        self, part: HeapReplay, columns: OpColumns, only: int, timeline: Timeline | None
    ) -> None:
        blocks = array("q", bytes(8 * self.trace.id_count))
        times = None
        if timeline is not None:
            times = (
                Column(timeline.allocated_bytes),
                Column(timeline.free_bytes),
                Column(timeline.largest_free_bytes),
            )
        loop = ReplayLoop(part.heap, columns, only, Column(blocks), times)
        i = part.start
        while i < part.stop:
            reached = run(loop, i, min(i + SLICE, part.stop))
            self.done += reached - i
            i = reached
            if loop.answer <= 0:
                self._failed(part, i, loop.answer)
                i += 1
            if self.progress is not None:
                self.progress(self.done, self.total)
        heap_column = self.trace.heap[part.start : part.stop]
        part.ops = len(heap_column) if only < 0 else heap_column.count(only)
        part.peak_allocated_bytes = part.heap._stat(2)
        part.peak_offset_bytes = loop.peak_end

    def _failed(self, part: HeapReplay, i: int, answer: int) -> None:
        trace, heap = self.trace, part.heap
        size, align = trace.size[i], trace.align[i]
        if answer < 0:
            raise ValueError(
                f"op {i}: align {align} is none that Zephyr's assertion lets pass"
                if answer == -4
                else f"op {i}: size {size} cannot be asked for"
            )
        verdict = judge(
            heap,
            size,
            align,
            free_bytes=heap._stat(0),
            largest_free_bytes=heap._largest_free_bytes(),
            refused=True,
        )
        part.failures.append(Failure(i, OP_NAMES[trace.op[i]], trace.id[i], verdict))


def _simulated(plan: _Lifetime, profile: Profile) -> SysHeap:
    plan_heap(profile.layout(), plan.base_address, plan.size_bytes)
    if plan.size_bytes < HUGE_PAGE:
        return SysHeap(plan.size_bytes, profile, plan.base_address)
    try:
        region = simulated_region(plan.size_bytes)
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"no memory to simulate {plan.size_bytes} bytes: {error}") from None
    return SysHeap(region, profile, plan.base_address)


def simulated_region(size_bytes: int) -> mmap.mmap:
    """Fresh memory for a large region, in huge pages where the system has them."""
    # Private: a shared mapping would get no huge pages.
    region = mmap.mmap(-1, size_bytes, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # A kernel may be built without them.
            region.madvise(mmap.MADV_HUGEPAGE)
    return region
