"""One size tried: the replay of a trace on a heap of a given geometry, and what it covers.

It owns the simulated heap that is planted again and again, and the arithmetic between region
sizes and geometries.  Not here: which sizes to try (``kheap.study.size``), and how a replay learns
its slack (``kheap._core.fit``).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from kheap._core._native import Column, run
from kheap._core.calls import HeapCalls
from kheap._core.chunk import Geometry, Layout, plan
from kheap._core.fit import ANY, FitLoop
from kheap._core.replay import OpColumns
from kheap.study.replay import SLICE
from kheap.trace.model import ALLOC, FREE, Trace

__all__ = ["STEP", "Demand", "Outcome", "Peak", "SizeClass", "Sizes", "Stage", "without_nothing"]

STEP = 8


class Peak(NamedTuple):
    """How much a trace has live at most.

    Attributes:
        most_request_bytes: Most bytes that were asked for at once, at any time.
        units: Most units that live chunks took at once; the rest tells of that moment.
        blocks: Live blocks.
        request_bytes: What the program asked for them.
        heap_request_bytes: What the heap was asked for them.
    """

    most_request_bytes: int
    units: int
    blocks: int
    request_bytes: int
    heap_request_bytes: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a trace asks of one heap.

    Attributes:
        trace: Where it comes from.
        columns: ``op``, ``id``, ``size``, ``align`` and ``heap`` as the heap sees them.
        only: Index of the heap, -1 where the trace has one alone.
        spans: First operation of each lifetime of the heap, and the one behind its last.
        layout: Of the heap.
        base_address: Of its region.
    """

    trace: Trace
    columns: tuple[array[int], ...]
    only: int
    spans: tuple[tuple[int, int], ...]
    layout: Layout
    base_address: int

    @property
    def ops(self) -> int:
        """Operations of one replay, at most."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def is_wide(self) -> bool:
        """Whether anything is aligned to more than a unit: then chunk ids matter."""
        return any(align > STEP for align in self.columns[3])

    def peak(self, header_bytes: int) -> Peak:
        """The moment at which live chunks with such headers take most, alignment left out."""
        trail = self.layout.trailer_units
        least = (2 if header_bytes == 8 else 1) + trail
        op, ids, sizes, _, heaps = self.columns
        asked_for = self.trace.size
        peak, most_asked = Peak(0, 0, 0, 0, 0), 0
        for start, stop in self.spans:
            live: dict[int, tuple[int, int, int]] = {}
            asked = heap_asked = units = 0
            for i in range(start, stop):
                if self.only >= 0 and heaps[i] != self.only:
                    continue
                old = live.pop(ids[i], None)
                if old is not None:
                    asked, heap_asked, units = asked - old[0], heap_asked - old[1], units - old[2]
                if op[i] == FREE or not sizes[i]:
                    continue
                need = max((sizes[i] + header_bytes + 7) // 8 + trail, least)
                live[ids[i]] = asked_for[i], sizes[i], need
                asked, heap_asked, units = (
                    asked + asked_for[i],
                    heap_asked + sizes[i],
                    units + need,
                )
                most_asked = max(most_asked, asked)
                if units > peak.units:
                    peak = Peak(0, units, len(live), asked, heap_asked)
        return peak._replace(most_request_bytes=most_asked)


class Outcome(NamedTuple):
    """What a replay at one size has shown.

    Attributes:
        served: Whether every request got memory.
        slack: Units that the heap could be larger with the same outcome; ``ANY``: all.
    """

    served: bool
    slack: int


class SizeClass(NamedTuple):
    """Sizes of one geometry, ``first`` to ``last`` in steps of 8, which a proof may cover.

    Attributes:
        first, last: The sizes.
        geometry: That of ``first``.
    """

    first: int
    last: int
    geometry: Geometry


class Sizes:
    """Region sizes in multiples of 8, and the heaps that they make.

    Args:
        layout: Of the heap.
        base_address: Of the region.
        wide: Whether the size of chunk 0 matters to placement: it moves all chunks.
    """

    def __init__(self, layout: Layout, base_address: int, wide: bool) -> None:
        self.layout = layout
        self.base_address = base_address
        self.wide = wide
        self.first = self._least()
        self.last = self._largest()

    def geometry(self, size: int) -> Geometry:
        """The heap in a region of so many bytes; ValueError where there is none."""
        return plan(self.layout, self.base_address, size)

    def units(self, size: int) -> int:
        """The units that are not chunk 0."""
        geometry = self.geometry(size)
        return geometry.end_chunk - geometry.chunk0_units

    def least_with(self, units: int) -> int:
        """The smallest size with so many units, or the last one."""
        return self._first_where(lambda size: self.units(size) >= units, self.first, self.last)

    def reach(self, size: int, slack: int, last: int) -> int:
        """The largest size up to ``last`` that has no more than ``slack`` units more."""
        most = self.units(size) + slack
        if self.units(last) <= most:
            return last
        beyond = self._first_where(lambda size: self.units(size) > most, size, last)
        return beyond - STEP

    def classes(self, size: int) -> Iterator[SizeClass]:
        """The classes from ``size`` on."""
        while size <= self.last:
            kind = self._kind(size)
            last = self.last
            if self._kind(last) != kind:
                last = self._first_where(partial(self._is_other, kind), size, last) - STEP
            yield SizeClass(size, last, self.geometry(size))
            size = last + STEP

    def _is_other(self, kind: tuple[bool, int], size: int) -> bool:
        return self._kind(size) != kind

    def _kind(self, size: int) -> tuple[bool, int]:
        geometry = self.geometry(size)
        return geometry.big, geometry.chunk0_units if self.wide else 0

    def _least(self) -> int:
        size = STEP
        while True:
            try:
                self.geometry(size)
            except ValueError:
                size += STEP
            else:
                return size

    def _largest(self) -> int:
        # Units are counted in 15 or 31 bits.
        size = (1 << (18 if self.layout.header == "small" else 34)) + 2 * STEP
        while True:
            try:
                self.geometry(size)
            except ValueError:
                size -= STEP
            else:
                return size

    @staticmethod
    def _first_where(holds: Callable[[int], bool], first: int, last: int) -> int:
        """The first size for which ``holds``; it does for ``last``, and from where it does on."""
        low, high = first // STEP, last // STEP
        while low < high:
            middle = (low + high) // 2
            if holds(middle * STEP):
                high = middle
            else:
                low = middle + 1
        return high * STEP


def without_nothing(columns: tuple[array[int], ...]) -> tuple[array[int], ...]:
    """The columns without requests for 0 bytes, which no heap serves: each frees its id instead."""
    op, ids, sizes, aligns, heaps = columns
    if all(size or kind != ALLOC for kind, size in zip(op, sizes, strict=True)):
        return columns
    kinds = array("b", op)
    for i, size in enumerate(sizes):
        if not size and kinds[i] == ALLOC:
            kinds[i] = FREE
    return kinds, ids, sizes, aligns, heaps


class Stage:
    """A heap on which one trace is replayed again and again; one a thread.

    Attributes:
        ops: Operations replayed so far.
    """

    def __init__(self, demand: Demand, stopped: Callable[[], bool]) -> None:
        self.ops = 0
        self._demand = demand
        self._stopped = stopped
        self._region = bytearray()
        offsets = array("q", bytes(8 * len(demand.trace)))
        self._columns = OpColumns(*map(Column, (*demand.columns, offsets)))
        self._no_blocks = bytes(8 * demand.trace.id_count)

    def outcome(self, geometry: Geometry) -> Outcome | None:
        """Replay on a heap of this geometry; None if told to stop meanwhile."""
        slack = ANY
        for start, stop in self._demand.spans:
            loop = self._loop(geometry)
            at = start
            while at < stop:
                if self._stopped():
                    return None
                began, at = at, run(loop, at, min(at + SLICE, stop))
                self.ops += at - began
                if loop.answer == 0:
                    return Outcome(False, loop.slack)
                if loop.answer < 0:
                    raise ValueError(f"op {at} is none that Zephyr's assertions let pass")
            slack = min(slack, loop.slack)
        return Outcome(True, slack)

    def _loop(self, geometry: Geometry) -> FitLoop:
        # What the region holds from the last replay matters as little as on the device.
        needed = geometry.start + STEP * (geometry.end_chunk + 1)
        if len(self._region) < needed:
            self._region = bytearray(needed)
        heap = HeapCalls()
        heap._hold(self._region)
        heap._place(self._demand.layout, geometry, self._demand.base_address)
        heap._plant()
        blocks = Column(array("q", self._no_blocks))
        return FitLoop(heap, self._columns, self._demand.only, blocks)
