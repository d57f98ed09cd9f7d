"""The checker: one walk over all chunks by address, then one over all rings.

It owns the rules I1 to I10 of ``chunk.py`` and the sums that statistics, the printout and
verdicts are made of.  It visits each chunk once by address and each listed free chunk once
more, whatever the region holds, and writes nothing there.
In Zephyr: ``lib/heap/heap_validate.c``, which marks the region and cleans up behind itself.
"""

from __future__ import annotations

from array import array

from kheap._core._native import Column
from kheap._core.heap import ChunkHeap

__all__ = ["HeapWalk"]


class HeapWalk:
    """The walk; after :meth:`chunks` and :meth:`rings` its attributes are the sums.

    Attributes:
        fault: 0, or the number of the first invariant found broken.
        fault_chunk: The chunk that broke it.
        ring, ring_before, ring_at: Where a ring broke: its bucket (-1: no ring did), the chunk
            whose FREE_NEXT was followed (0: the bucket's head), and where that led.
        visits: Chunks looked at.
        used_count, used_units: Used chunks, without chunk 0 and the end marker.
        free_count, free_units: Listed free chunks.
        undersized_count: Undersized chunks.
        largest_units: The largest listed free chunk.
        square_sum: The sum of the squares of the free chunks' counted bytes.
        bucket_count, bucket_largest: For each bucket its chunks, and the units of its largest.
    """

    def __init__(self, heap: ChunkHeap) -> None:
        self.heap = heap
        self.bucket_count = array("q", bytes(8 * 64))
        self.bucket_largest = array("q", bytes(8 * 64))
        self.count_by = Column(self.bucket_count)
        self.largest_by = Column(self.bucket_largest)
        self.mark_bytes = bytearray(heap.n // 8 + 1)
        self.marks = Column(self.mark_bytes)
        self.fault = self.fault_chunk = self.visits = 0
        self.ring = -1
        self.ring_before = self.ring_at = 0
        self.used_count = self.used_units = 0
        self.free_count = self.free_units = self.undersized_count = self.largest_units = 0
        self.square_sum = 0.0

    def chunks(self) -> bool:
        """Walk by address; whether all was well."""
        return self.turn(0, self.heap.n) == self.heap.n

    def rings(self) -> bool:
        """Walk all rings, after :meth:`chunks`; whether all was well."""
        return self.walk_rings() == 0

    def sums(self) -> bool:
        """Compare the statistics that the control block keeps; whether they are the sums.

        The most bytes allocated at once must lie between those allocated now and the heap's.
        """
        heap = self.heap
        free = 8 * self.free_units - self.free_count * heap.uncounted
        used = 8 * self.used_units - self.used_count * heap.uncounted
        if heap.stat_get(0) != free or heap.stat_get(1) != used:
            return self.report(0, 9) == 0
        highest = heap.stat_get(2)
        return used <= highest <= heap.limit or self.report(0, 9) == 0

    def report(self, c: int, invariant: int) -> int:
        self.fault_chunk = c
        self.fault = invariant
        return -1

    def chunk_fault(self, c: int) -> int:
        """The number of the invariant that chunk ``c`` breaks by itself, or 0."""
        heap = self.heap
        field = heap.chunk_field(c)
        units = field >> 1
        if units == 0 or c + units > heap.n:
            return 5
        if heap.chunk_left(c + units) != units:
            return 1
        if field & 1:
            if units < heap.m:
                return 7
            return 10 if heap.trail and not heap.canary_holds(c) else 0
        if c + units < heap.n and not heap.chunk_field(c + units) & 1:
            return 2
        return 0

    def control_fault(self) -> int:
        """6 if the control block is not what the geometry asks for, else 0."""
        return 0 if self.heap.control_holds() else 6

    def turn(self, start: int, stop: int) -> int:
        """Walk from chunk ``start`` to ``stop``; return where it ended."""
        heap = self.heap
        c = start
        if c == 0 and self.control_fault():
            self.report(0, 6)
            return -1
        while c < stop:
            self.visits += 1
            fault = self.chunk_fault(c)
            if fault:
                self.report(c, fault)
                return c
            units = heap.chunk_size(c)
            if c:
                self.count(c, units)
            c += units
        if heap.chunk_field(heap.n) != 1:
            self.report(heap.n, 5)
            return -1
        return c

    def count(self, c: int, units: int) -> None:
        heap = self.heap
        if heap.chunk_field(c) & 1:
            self.used_count += 1
            self.used_units += units
            return
        if units < heap.m:
            self.undersized_count += 1
            return
        self.free_count += 1
        self.free_units += units
        self.square_sum += float(heap.counted(units)) * float(heap.counted(units))
        if units > self.largest_units:
            self.largest_units = units
        b = heap.bucket_of(units)
        self.count_by.i64[b] += 1
        if units > self.largest_by.i64[b]:
            self.largest_by.i64[b] = units
        self.marks.u8[c >> 3] |= 1 << (c & 7)

    def walk_rings(self) -> int:
        heap = self.heap
        if heap.bucket_mask() >> heap.nb:
            return self.report(0, 4)
        for b in range(heap.nb):
            head = heap.bucket_head(b)
            if (head != 0) != (heap.bucket_mask() >> b & 1):
                self.ring, self.ring_before, self.ring_at = b, 0, head
                return self.report(head if heap.c0 <= head < heap.n else 0, 4)
            if head and self.walk_ring(b, head) < 0:
                return -1
        for i in range(heap.n // 8 + 1):
            if self.marks.u8[i]:
                return self.report(8 * i + heap.low_bit(self.marks.u8[i]), 3)
        return 0

    def walk_ring(self, b: int, head: int) -> int:
        """Follow one ring; each chunk of it is marked once, so it ends."""
        heap = self.heap
        c = head
        before = 0
        while True:
            self.visits += 1
            self.ring, self.ring_before, self.ring_at = b, before, c
            if not heap.c0 <= c < heap.n:
                return self.report(before, 8)
            if not self.marks.u8[c >> 3] & (1 << (c & 7)):
                return self.report(before if before else c, 8)
            if heap.bucket_of(heap.chunk_size(c)) != b:
                return self.report(c, 3)
            self.marks.u8[c >> 3] &= ~(1 << (c & 7)) & 255
            if before and heap.free_prev(c) != before:
                return self.report(c, 8)
            before = c
            c = heap.free_next(c)
            if c == head:
                break
        self.ring_before, self.ring_at = before, head
        if heap.free_prev(head) != before:
            return self.report(head, 8)
        self.ring = -1
        return 0
