"""What the heap is measured against: calls that do nothing, and the C library's heap.

It owns the two things of ``kheap bench`` that must be compiled exactly as the heap is, so
that only the work differs.  Not here: what is timed, and how (``kheap.study.bench``).
"""

from __future__ import annotations

from kheap._core._native import Column, Libc, Loop

__all__ = ["LibcLoop", "Yardstick"]


class Yardstick:
    """Calls that do nothing, declared as the heap's are: what an alloc and a free begin with."""

    def __init__(self) -> None:
        self.held = 0

    def take(self, number: int) -> int:
        """Take a number as the heap takes one, and return one as it does."""
        self.held = number
        return self.held

    def give(self, number: int) -> None:
        """Take a number as the heap takes one."""
        self.held = number


class LibcLoop(Loop):
    """Allocs and frees on the C library's heap; the twin of ``kheap._core.replay.ReplayLoop``.

    Args:
        op, id, size: The columns of a trace; an op other than 2 (free) is an alloc.
        blocks: For each id the address of its block, 0 for none.
    """

    def __init__(self, op: Column, id: Column, size: Column, blocks: Column) -> None:
        self.op, self.id, self.size, self.blocks = op, id, size, blocks
        self.libc = Libc()

    def turn(self, start: int, stop: int) -> int:
        """Do operations ``start`` to ``stop``; return the one that failed, or ``stop``."""
        i = start
        while i < stop:
            block = self.id.i64[i]
            if self.op.i8[i] == 2:
                self.libc.give_back(self.blocks.i64[block])
                self.blocks.i64[block] = 0
            else:
                self.blocks.i64[block] = self.libc.obtain(self.size.i64[i])
                if self.blocks.i64[block] == 0:
                    return i
            i += 1
        return i

    def give_all_back(self) -> int:
        """Free what is live; return how many blocks that were."""
        count = 0
        for block in range(self.blocks.size_bytes >> 3):
            if self.blocks.i64[block]:
                self.libc.give_back(self.blocks.i64[block])
                self.blocks.i64[block] = 0
                count += 1
        return count
