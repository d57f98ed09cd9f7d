"""Does a trace fit, and in which larger heaps would all go just the same?

It owns the replay that a size search makes: it stops at the first request that gets no memory,
and learns on the way by how many units the heap could be larger without anything else changing.
Not here: which sizes to try, and what the answers prove (``kheap.study.size``).

Of two heaps that differ in size alone, only the *last chunk* differs, the free one that ends at
the end marker.  Placement depends on it in few ways, and each gives a bound (in units):

* Its bucket.  As long as it stays in the same one, every ring is the same.  And where it is alone
  in its ring, and no ring above holds a chunk, it may grow into any bucket: it is taken only
  where nothing else fits, now as then.
* A search that looked at it and found it too small: it must stay so.
* A resize of its left neighbour that found it too small: it must stay so.
* Where it is missing, or too small for any ring: it must stay so.

The least of these bounds over all operations is the *slack*: a heap larger by so many units
places every block alike, and serves or fails the same operation.  ``ANY`` slack at the end of a
trace that was served proves all larger heaps of the same geometry.
"""

from __future__ import annotations

from kheap._core._native import Column
from kheap._core.aligned import AlignedHeap
from kheap._core.replay import OpColumns, ReplayLoop

__all__ = ["FitLoop"]

ANY = 1 << 40


class FitLoop(ReplayLoop):
    """A replay that learns its slack; see the module's head.

    Attributes:
        slack: Units that the heap could be larger with the same outcome.
    """

    def __init__(self, heap: AlignedHeap, columns: OpColumns, only: int, blocks: Column) -> None:
        super().__init__(heap, columns, only, blocks, None)
        self.slack = ANY
        self.last_units = 0
        self.look()

    def turn(self, start: int, stop: int) -> int:
        """Do operations ``start`` to ``stop``; return the one that failed, or ``stop``."""
        i = start
        self.answer = 1
        while i < stop:
            if self.only >= 0 and self.heap_of.i32[i] != self.only:
                i += 1
                continue
            op = self.op.i8[i]
            block = self.id.i64[i]
            old = self.blocks.i64[block]
            if op == 1 and old:
                self.bound_resize(i, old)
            self.answer = self.step(i, op, block)
            if op != 2 and (self.answer <= 0 or self.answer != old):
                self.bound_search(i)
            if self.answer <= 0:
                return i
            self.look()
            i += 1
        return i

    def look(self) -> None:
        """Look at the last chunk, as it is between two operations."""
        units = self.heap.chunk_left(self.heap.n)
        last = self.heap.n - units
        if self.heap.chunk_field(last) & 1:
            self.last_units = 0
            self.bound(0)
            return
        self.last_units = units
        if units < self.heap.m:
            self.bound(self.heap.m - 1 - units)
            return
        b = self.heap.bucket_of(units)
        if self.heap.free_next(last) != last or self.heap.bucket_mask() >> (b + 1):
            self.bound(self.heap.m - 2 + (2 << b) - units)

    def bound(self, units: int) -> None:
        """The slack is no more than ``units``."""
        if units < self.slack:
            self.slack = units

    def bound_search(self, i: int) -> None:
        """Bound by the search that request ``i`` has made."""
        if self.size.i64[i] == 0:
            return
        wanted = self.heap.sought if self.align.i64[i] else self.heap.units_for(self.size.i64[i], 0)
        if wanted == 0:
            self.bound(0)
        elif wanted > self.last_units:
            self.bound(wanted - self.last_units - 1)

    def bound_resize(self, i: int, offset: int) -> None:
        """Bound by the resize of the last chunk's left neighbour that is about to be tried."""
        align = self.align.i64[i]
        if align and (self.heap.phase + offset - self.heap.start) & (align - 1):
            return
        c = (offset - self.heap.start - self.heap.hdr) >> 3
        units = self.heap.chunk_size(c)
        if c + units + self.last_units != self.heap.n:
            return
        wanted = self.heap.units_for(self.size.i64[i], self.heap.gap(offset))
        if wanted == 0:
            self.bound(0)
        elif wanted > units + self.last_units:
            self.bound(wanted - units - self.last_units - 1)
