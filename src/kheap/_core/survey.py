"""What can still be read of a heap whose chain of chunks is broken.

It owns following the chain from either side and finding where it goes on behind a gap; whether
a chunk knows its neighbour is judged by the checker's own rules I1 and I5.  It looks at each
unit a bounded number of times, and writes nothing to the region.
Not here: what the findings mean (``kheap.dump.diagnosis``).
"""

from __future__ import annotations

from kheap._core._native import Column
from kheap._core.check import HeapWalk

__all__ = ["Survey"]

#: Chunks in a row that must know each other before they count as found.
RUN = 3


class Survey(HeapWalk):
    """Walks over parts of a heap; ``visits`` counts the chunks looked at."""

    def left_of(self, c: int) -> int:
        """LEFT_SIZE of chunk ``c``; -1 outside the heap."""
        return self.heap.chunk_left(c) if 0 <= c <= self.heap.n else -1

    def field_of(self, c: int) -> int:
        """SIZE_AND_USED of chunk ``c``; -1 outside the heap."""
        return self.heap.chunk_field(c) if 0 <= c <= self.heap.n else -1

    def prev_of(self, c: int) -> int:
        """FREE_PREV of chunk ``c``; -1 where no list may lead."""
        return self.heap.free_prev(c) if self.heap.c0 <= c < self.heap.n else -1

    def next_of(self, c: int) -> int:
        """FREE_NEXT of chunk ``c``, which is visited; -1 where no list may lead."""
        self.visits += 1
        return self.heap.free_next(c) if self.heap.c0 <= c < self.heap.n else -1

    def bucket_for(self, units: int) -> int:
        """The bucket of ``units`` units; -1 for an undersized chunk."""
        return self.heap.bucket_of(units) if units >= self.heap.m else -1

    def knows_right(self, c: int) -> bool:
        """Whether chunk ``c`` and the one that its size leads to know each other."""
        self.visits += 1
        fault = self.chunk_fault(c)
        return fault != 1 and fault != 5

    def forward(self, start: int, stop: int) -> int:
        """Follow SIZE from ``start``; the chunk that does not know its right neighbour.

        It is also that whose right neighbour lies beyond ``stop``; ``stop`` if there is none.
        """
        c = start
        while c < stop and self.knows_right(c):
            right = c + (self.heap.chunk_field(c) >> 1)
            if right > stop:
                break
            c = right
        return c

    def back(self, stop: int, least: int) -> int:
        """Follow LEFT_SIZE from ``stop``; the chunk whose left neighbour does not know it."""
        heap = self.heap
        c = stop
        while c > least:
            self.visits += 1
            units = heap.chunk_left(c)
            if units == 0 or units > c - least or heap.chunk_field(c - units) >> 1 != units:
                break
            c -= units
        return c

    def find(self, start: int, stop: int) -> int:
        """The first unit from ``start`` on where chunks follow each other; ``stop`` if none.

        They follow each other for RUN chunks, or up to ``stop`` itself.
        """
        u = start
        while u < stop:
            if self.runs(u, stop):
                return u
            u += 1
        return stop

    def runs(self, start: int, stop: int) -> bool:
        c = start
        left = RUN
        while left:
            if not self.knows_right(c):
                return False
            c += self.heap.chunk_field(c) >> 1
            if c >= stop:
                return c == stop
            left -= 1
        return True

    def fill(self, start: int, stop: int, ids: Column, at: int, room: int) -> int:
        """Write the chunk ids of a chain from ``start`` on, from row ``at``; the rows written.

        The chain is one that :meth:`forward` or :meth:`back` has followed.
        """
        c = start
        rows = 0
        while c < stop and rows < room:
            ids.i64[at + rows] = c
            rows += 1
            c += self.heap.chunk_field(c) >> 1
        return rows

    def length(self, start: int, stop: int) -> int:
        """Chunks of a chain from ``start`` on, which is to be listed."""
        c = start
        rows = 0
        while c < stop:
            rows += 1
            c += self.heap.chunk_field(c) >> 1
        # Now, then by fill() and by states().
        self.visits += 3 * rows
        return rows

    def states(self, ids: Column, rows: int, units: Column, states: Column) -> None:
        """For each chunk id its units, and its state: 0 control, 1 used, 2 free, 3 undersized,
        4 end, 5 used and smaller than any block.
        """
        heap = self.heap
        for i in range(rows):
            c = ids.i64[i]
            field = heap.chunk_field(c)
            units.i64[i] = field >> 1
            if c == 0 or c == heap.n:
                states.u8[i] = 4 if c else 0
            elif field & 1:
                states.u8[i] = 1 if field >> 1 >= heap.m else 5
            else:
                states.u8[i] = 2 if field >> 1 >= heap.m else 3
