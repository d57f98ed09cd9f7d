"""Bulk replay: columns of operations run on a heap, offsets and a timeline out.

It owns the loop over operations and nothing else: no Python object is touched per
operation, and the compiled build runs it with the GIL released.  ``kheap.study.replay``
drives it in slices, so that an interrupt is honoured and progress can be shown, and turns
what it finds into a report.
"""

from __future__ import annotations

from typing import NamedTuple

from kheap._core._native import Column, Loop
from kheap._core.aligned import AlignedHeap

__all__ = ["OpColumns", "ReplayLoop"]


class OpColumns(NamedTuple):
    """The columns of a trace that a replay reads, and the one it writes.

    Attributes:
        op: 0 alloc, 1 realloc, 2 free.
        id: Names the block.
        size: Requested bytes.
        align: Alignment, 0 for none.
        heap: The heap's index.
        offsets: Written: the offset of the operation's block after it, -1 for none.
    """

    op: Column
    id: Column
    size: Column
    align: Column
    heap: Column
    offsets: Column


class ReplayLoop(Loop):
    """Operations on one heap; see the module's head.

    Args:
        heap: The heap, planted.
        columns: The trace.
        only: Operations of other heaps than this index are passed over; -1: all are done.
        blocks: For each id the offset of its block, 0 for none.
        timeline: Written: for each operation allocated, free and largest free bytes after
            it; None: not asked for, which is faster.

    Attributes:
        answer: Above 0 if :meth:`turn` went through; else why it stopped: 0 no memory, below
            0 a refusal.
        peak_end: Highest end of a used chunk so far, in bytes from the region's first byte.
        failed: Requests that got no memory.
    """

    def __init__(
        self,
        heap: AlignedHeap,
        columns: OpColumns,
        only: int,
        blocks: Column,
        timeline: tuple[Column, Column, Column] | None,
    ) -> None:
        self.heap = heap
        self.op, self.id, self.size, self.align, self.heap_of, self.offsets = columns
        self.only = only
        self.blocks = blocks
        self.timed = timeline is not None
        if timeline is not None:
            self.allocated, self.free, self.largest = timeline
        self.far = blocks.size_bytes > 1 << 17
        self.answer = 0
        self.peak_end = self.failed = 0

    def turn(self, start: int, stop: int) -> int:
        """Do operations ``start`` to ``stop``; return the one that failed, or ``stop``."""
        i = start
        self.answer = 1
        while i < stop:
            if self.far and i + 12 < stop:
                self.look_ahead(i)
            if self.only >= 0 and self.heap_of.i32[i] != self.only:
                i += 1
                continue
            self.answer = self.step(i, self.op.i8[i], self.id.i64[i])
            if self.timed:
                self.note(i)
            if self.answer <= 0:
                self.failed += self.answer == 0
                return i
            i += 1
        return i

    def look_ahead(self, i: int) -> None:
        """Ask for the cache lines that the operations behind ``i`` will read."""
        self.heap.prefetch(self.blocks.i64[self.id.i64[i + 12]])
        self.heap.prefetch_sides(self.blocks.i64[self.id.i64[i + 5]])

    def step(self, i: int, op: int, id: int) -> int:
        """Do one operation; above 0 if it was served."""
        old = self.blocks.i64[id]
        if op == 2:
            if old == 0:
                return 1
            answer = self.heap.give(old)
            if answer > 0:
                self.blocks.i64[id] = 0
            return answer
        size = self.size.i64[i]
        if op == 1 and old:
            place = self.heap.resize(old, size, self.align.i64[i])
            if place == 0 and size == 0:
                self.blocks.i64[id] = 0
                return 1
        else:
            place = self.heap.take(size, self.align.i64[i])
            if place == 0:
                self.blocks.i64[id] = 0
        if place > 0:
            self.blocks.i64[id] = place
            self.offsets.i64[i] = place
            if place + size + 32 > self.peak_end:
                self.peak_end = max(self.peak_end, self.heap.block_end(place))
        return place

    def note(self, i: int) -> None:
        """Write the timeline's entry for operation ``i``."""
        self.allocated.i64[i] = self.heap.stat_get(1)
        self.free.i64[i] = self.heap.stat_get(0)
        self.largest.i64[i] = self.heap.largest_free()
