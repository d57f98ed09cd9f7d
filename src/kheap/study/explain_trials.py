"""What would have served a request that failed: other heaps, tried one by one.

It owns the trials: larger heaps, larger ALLOC_LOOPS, and a second heap for some of the sizes.
A trial plays the operations before the request, those that fail there too, and the request
itself, since a heap that is larger places all earlier blocks otherwise as well.

Not here: what happened on the heap at hand (``explain.py``), and the sizes that serve a whole
trace (``size.py``).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from kheap._core._native import COMPILED, Column, run
from kheap._core.calls import HeapCalls
from kheap._core.chunk import Geometry
from kheap._core.fit import FitLoop
from kheap._core.replay import OpColumns
from kheap.profile import Profile
from kheap.study.fit_stage import STEP, Demand, SizeClass, Sizes, Stage
from kheap.study.replay import SLICE
from kheap.trace.model import ALLOC, FREE, REALLOC, Trace

__all__ = [
    "LOOPS_TRIED",
    "LargerHeap",
    "SecondHeap",
    "Trials",
    "borders",
    "own_part",
    "part_of_trace",
    "smallest_fit",
]

#: Values of ALLOC_LOOPS that are tried, as far as they are more than the profile's.
LOOPS_TRIED = (5, 8, 16, 32, 64)

#: Operations that the search for larger heaps may play; the pure build is much slower.
BUDGET_OPS = 100_000_000 if COMPILED else 1_000_000

#: Heaps of more bytes than this, and than four times what is live at once, are not tried.
LEAST_BOUND = 1 << 16


@dataclass(frozen=True, slots=True)
class LargerHeap:
    """A larger heap in which the request is served.

    Attributes:
        size_bytes: Bytes of its region.
        more_bytes: How many that is more than now.
        is_smallest: Whether no size between the two serves the request; if not, the search
            was given up, and less may do.
    """

    size_bytes: int
    more_bytes: int
    is_smallest: bool


@dataclass(frozen=True, slots=True)
class SecondHeap:
    """Two heaps that together serve the whole trace, the large blocks apart from the small.

    Attributes:
        from_request_bytes: Requests of so many bytes and more go to the second heap.
        size_bytes: A size of the second heap that serves them.
        rest_bytes: A size of the first heap that serves the others.
    """

    from_request_bytes: int
    size_bytes: int
    rest_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of both."""
        return self.size_bytes + self.rest_bytes


class Trials:
    """Trials for requests that failed within one lifetime of one heap.

    Args:
        demand: The trace as the heap sees it, and that lifetime as its only span.
        profile: Which Zephyr.
        size_bytes: Of the region in which the requests failed.
        watched: Indices of the requests.
        progress: Called with the requests that are settled and their number.
    """

    def __init__(
        self,
        demand: Demand,
        profile: Profile,
        size_bytes: int,
        watched: Collection[int],
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._demand = demand
        self._profile = profile
        self._size = size_bytes
        self._watched = frozenset(watched)
        self._progress = progress
        self._start = demand.spans[0][0]
        self._ops = 0
        offsets = array("q", bytes(8 * len(demand.trace)))
        self._columns = OpColumns(*map(Column, (*demand.columns, offsets)))
        self._sizes = Sizes(demand.layout, demand.base_address, demand.is_wide)
        self._least: dict[int, int] = {}

    # ------------------------------------------------------------------ larger heaps

    def larger_heaps(self) -> dict[int, LargerHeap]:
        """For each request the smallest larger heap that serves it, where one was found."""
        self._bracket()
        reached = self._sweep()
        return {
            i: self._larger(size, is_smallest=size <= reached) for i, size in self._least.items()
        }

    def _larger(self, size: int, *, is_smallest: bool) -> LargerHeap:
        exact = self._to_the_byte(size)
        return LargerHeap(exact, exact - self._size, is_smallest)

    def _to_the_byte(self, size: int) -> int:
        """The smallest region with the same heap in it: the footer may end between multiples."""
        geometry = self._sizes.geometry(size)
        while size - 1 > self._size and self._sizes.geometry(size - 1) == geometry:
            size -= 1
        return size

    def _bracket(self) -> None:
        """Find for each request a larger heap that serves it, not necessarily the smallest."""
        most = self._most()
        step, size = STEP, self._next_size(self._size)
        open_ops = set(self._watched)
        tried = size - STEP
        while open_ops and tried < most:
            tried = min(size, most)
            open_ops -= self._try_size(tried, max(open_ops))[0]
            size, step = size + step, 2 * step
        # What lies between is not monotone; but each answer is of a trial, and bounds the sweep.
        for op_index in sorted(self._least):
            low, high = self._next_size(self._size), self._least[op_index]
            while low < high and self._ops <= BUDGET_OPS:
                middle = STEP * ((low + high) // (2 * STEP))
                if op_index in self._try_size(middle, op_index)[0]:
                    high = middle
                else:
                    low = middle + STEP

    def _sweep(self) -> int:
        """Try every size up to the largest that is needed; the last one that was tried."""
        reached = self._next_size(self._size) - STEP
        for kind in self._sizes.classes(reached + STEP):
            size = kind.first
            while size <= kind.last:
                pending = [i for i, least in self._least.items() if least > reached]
                self._report(pending)
                if not pending or self._ops > BUDGET_OPS:
                    return reached
                _, slack = self._try_size(size, max(pending))
                reached = self._sizes.reach(size, slack, kind.last)
                size = reached + STEP
        return reached

    def _report(self, pending: Collection[int]) -> None:
        if self._progress is not None:
            self._progress(len(self._least) - len(pending), len(self._watched))

    def _try_size(self, size: int, last: int) -> tuple[set[int], int]:
        """The requests up to ``last`` that a region of this size serves, and the slack."""
        served, slack = self._play(self._sizes.geometry(size), self._demand, last)
        for i in served:
            self._least[i] = min(size, self._least.get(i, size))
        return served, slack

    def _most(self) -> int:
        """The largest size that is tried."""
        peak = STEP * self._demand.peak(8).units
        return min(self._sizes.last, STEP * (max(4 * peak, self._size, LEAST_BOUND) // STEP + 1))

    def _next_size(self, size: int) -> int:
        """The next size that is a multiple of 8, and holds a heap."""
        return max(STEP * (size // STEP + 1), self._sizes.first)

    # ------------------------------------------------------------------ ALLOC_LOOPS

    def alloc_loops(self) -> dict[int, int]:
        """For each request the smallest of the ALLOC_LOOPS tried that serves it here."""
        found: dict[int, int] = {}
        geometry = self._sizes.geometry(self._size)
        for loops in LOOPS_TRIED:
            open_ops = self._watched - found.keys()
            if loops <= self._profile.alloc_loops or not open_ops:
                continue
            layout = replace(self._profile, alloc_loops=loops).layout()
            demand = replace(self._demand, layout=layout)
            for i in self._play(geometry, demand, max(open_ops))[0]:
                found.setdefault(i, loops)
        return found

    # ------------------------------------------------------------------ one trial

    def _play(self, geometry: Geometry, demand: Demand, last: int) -> tuple[set[int], int]:
        """Play up to request ``last``: the watched ones that were served, and the slack."""
        heap = HeapCalls()
        heap._hold(bytearray(geometry.start + STEP * (geometry.end_chunk + 1)))
        heap._place(demand.layout, geometry, demand.base_address)
        heap._plant()
        blocks = Column(array("q", bytes(8 * demand.trace.id_count)))
        loop = FitLoop(heap, self._columns, demand.only, blocks)
        served = {i for i in self._watched if i <= last}
        at = self._start
        while at <= last:
            began, at = at, run(loop, at, min(at + SLICE, last + 1))
            if loop.answer <= 0:
                # A request that fails leaves the blocks as they are: the slack holds on.
                served.discard(at)
                at += 1
            self._ops += at - began
        return served, loop.slack


# ---------------------------------------------------------------------- a second heap


def own_part(trace: Trace, start: int, stop: int, heap: int) -> Trace:
    """The operations of one lifetime of one heap, as a trace of one heap."""
    own = Trace()
    several = len(trace.heaps) > 1
    for i in range(start, stop):
        if not several or trace.heap[i] == heap:
            own.add(trace.op[i], trace.id[i], trace.size[i], trace.align[i])
    return own


def borders(trace: Trace, most: int) -> list[int]:
    """Up to ``most`` requested sizes, spread over the sizes there are; not the smallest one."""
    sizes = sorted(set(trace.size) - {0})[1:]
    if len(sizes) <= most:
        return sizes
    return [sizes[(len(sizes) - 1) * i // (most - 1)] for i in range(most)]


def part_of_trace(trace: Trace, least: int, below: int | None = None) -> Trace:
    """Of a trace of one heap the requests from ``least`` bytes on, and what becomes of them.

    Those of ``below`` bytes and more are left out.
    A resize across the border is a request on one side and a free on the other.
    """
    part = Trace(profile=trace.profile)
    held: set[int] = set()
    inits = {init.op_index: init for init in trace.inits}
    for i in range(len(trace)):
        if i in inits:
            part.inits.append(replace(inits[i], op_index=len(part)))
            held.clear()
        id, size = trace.id[i], trace.size[i]
        if trace.op[i] != FREE and least <= size and (below is None or size < below):
            op = REALLOC if trace.op[i] == REALLOC and id in held else ALLOC
            part.add(op, id, size, trace.align[i])
            held.add(id)
        elif id in held:
            part.add(FREE, id)
            held.discard(id)
    return part


def smallest_fit(demand: Demand, most: int, budget_ops: int = BUDGET_OPS) -> int | None:
    """The smallest region up to ``most`` bytes that serves everything; None if none was found."""
    sizes = Sizes(demand.layout, demand.base_address, demand.is_wide)
    header = sizes.geometry(sizes.first).header_bytes
    least = sizes.least_with(demand.peak(header).units)
    stage = Stage(demand, lambda: False)
    for kind in sizes.classes(least):
        for size in _served_in(stage, sizes, kind, most):
            if size is not None:
                return size
            if stage.ops > budget_ops:
                return None
        if kind.last >= most:
            return None
    return None


def _served_in(stage: Stage, sizes: Sizes, kind: SizeClass, most: int) -> Iterator[int | None]:
    """Try the sizes of a class: None for those that fail, then the one that serves."""
    size = kind.first
    while size <= min(kind.last, most):
        outcome = stage.outcome(sizes.geometry(size))
        if outcome is not None and outcome.served:
            yield size
            return
        yield None
        slack = 0 if outcome is None else outcome.slack
        size = sizes.reach(size, slack, kind.last) + STEP
