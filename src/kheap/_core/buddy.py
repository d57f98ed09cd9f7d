"""The pool of Zephyr 1.8 to 2.4: a queue of free blocks for each level.

It owns the order of the queues, the choice of a block, and recombining on every free; what a
block is stands in ``block_tree.py``.  A block is taken from the head of a queue; what becomes free
goes to the tail.

 P5  The queue of a level holds all its free blocks, each once.
 P6  Below level 0 no quad-block has four free blocks.

Not here: exceptions, waiting (``kheap.heaps.mem_pool``).
In Zephyr: ``kernel/mempool.c`` (1.8 on), ``lib/os/mempool.c`` (1.14 on).
"""

from __future__ import annotations

from kheap._core._native import Column
from kheap._core.block_tree import BlockTree

__all__ = ["BuddyPool"]


class BuddyPool(BlockTree):
    """A pool of 1.8 to 2.4, all free.

    Args:
        sizes, n_max: As for a tree; every size is a quarter of the one before.
    """

    def __init__(self, sizes: tuple[int, ...], n_max: int) -> None:
        self.ahead = self.behind = Column(bytearray())
        super().__init__(sizes, n_max)
        self.head = Column(bytearray(b"\xff") * (8 * self.levels))
        self.tail = Column(bytearray(b"\xff") * (8 * self.levels))
        for block in range(n_max):
            self.queue_add(block, 0)

    def grow(self) -> None:
        """Make room for more quad-blocks."""
        super().grow()
        self.ahead = self.widened(self.ahead, 4 * self.room)
        self.behind = self.widened(self.behind, 4 * self.room)

    def take(self, request_bytes: int) -> int:
        """Allocate; the block's offset, or -1."""
        self.reserve()
        level = self.levels - 1
        while level >= 0 and self.size.i64[level] < request_bytes:
            level -= 1
        found = level
        while found >= 0 and self.head.i64[found] < 0:
            found -= 1
        if found < 0:
            return -1
        block = self.head.i64[found]
        self.queue_remove(block, found)
        self.unmark_free(block)
        while found < level:
            found += 1
            block = 4 * self.cut(block, 14)
            self.queue_add(block + 1, found)
            self.queue_add(block + 2, found)
            self.queue_add(block + 3, found)
        return self.use(block, request_bytes)

    def give(self, offset: int) -> int:
        """Free the used block at ``offset``: 0, or -1 if there is none."""
        block = self.locate(offset)
        if block < 0:
            return -1
        q = block >> 2
        level = self.level.i64[q]
        self.used_bytes -= self.size.i64[level]
        self.mark_free(block)
        self.queue_add(block, level)
        while level > 0 and self.mask.i64[q] == 15:
            block = self.quad_recombine(q, level)
            q = block >> 2
            level -= 1
            self.mark_free(block)
            self.queue_add(block, level)
        return 0

    def quad_recombine(self, q: int, level: int) -> int:
        """Take the four blocks of ``q`` out of the queue; the block that they make."""
        k = 0
        while k < 4:
            self.queue_remove(4 * q + k, level)
            k += 1
        self.count.i64[level] -= 4
        block = self.up.i64[q]
        self.quad_drop(q)
        return block

    def queue_add(self, block: int, level: int) -> None:
        """Put a block at the tail."""
        last = self.tail.i64[level]
        self.behind.i64[block] = last
        self.ahead.i64[block] = -1
        self.tail.i64[level] = block
        if last < 0:
            self.head.i64[level] = block
        else:
            self.ahead.i64[last] = block

    def queue_remove(self, block: int, level: int) -> None:
        """Take a block out, wherever it is."""
        before = self.behind.i64[block]
        after = self.ahead.i64[block]
        if before < 0:
            self.head.i64[level] = after
        else:
            self.ahead.i64[before] = after
        if after < 0:
            self.tail.i64[level] = before
        else:
            self.behind.i64[after] = before

    def free_after(self, level: int, block: int) -> int:
        """The free block that is taken after ``block``, -1 for none; -1 gives the first."""
        return self.head.i64[level] if block < 0 else self.ahead.i64[block]
