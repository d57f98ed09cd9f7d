"""The pool of Zephyr 1.6 and 1.7: quad-blocks in lists whose order is part of the state.

It owns the order of the lists, the choice of a block, and recombining on demand; what a block
is stands in ``block_tree.py``.  Each level has a list of quad-blocks.  A block is looked for from
the front; a new quad-block is appended; one that is recombined is replaced by the last of the
list.  Freeing only marks the block free.

 P5  The list of a level holds all its quad-blocks; ``order`` grows from front to back.
 P6  Every quad-block before ``first`` has mask 0; without ``first`` all have.
 P7  ``whole`` counts the quad-blocks of the level all of whose blocks are free.

The original keeps arrays and searches all of them; links, ``first`` and ``whole`` give the
same answers without walking past what is used up.

Not here: exceptions, waiting (``kheap.heaps.mem_pool``).
In Zephyr: ``kernel/unified/mem_pool.c`` (1.6), ``kernel/mem_pool.c`` (1.7).
"""

from __future__ import annotations

from kheap._core._native import Column
from kheap._core.block_tree import BlockTree

__all__ = ["QuadPool"]


class QuadPool(BlockTree):
    """A pool of 1.6 and 1.7, all free.

    Args:
        sizes, n_max: As for a tree.
        min_bytes: What the pool was defined with; it decides which level serves a request.
        policy: 0 split before defrag, 1 defrag before split, 2 split only.
    """

    def __init__(self, sizes: tuple[int, ...], n_max: int, min_bytes: int, policy: int) -> None:
        self.ahead = self.behind = self.order = Column(bytearray())
        super().__init__(sizes, n_max)
        self.min_bytes = min_bytes
        self.policy = policy
        self.stamp = 0
        self.head = Column(bytearray(b"\xff") * (8 * self.levels))
        self.tail = Column(bytearray(b"\xff") * (8 * self.levels))
        self.first = Column(bytearray(b"\xff") * (8 * self.levels))
        self.whole = Column(bytearray(8 * self.levels))
        for q in range(self.roots):
            self.list_add(q, 0)

    def grow(self) -> None:
        """Make room for more quad-blocks."""
        super().grow()
        self.ahead = self.widened(self.ahead, self.room)
        self.behind = self.widened(self.behind, self.room)
        self.order = self.widened(self.order, self.room)

    def take(self, request_bytes: int) -> int:
        """Allocate; the block's offset, or -1."""
        self.reserve()
        level = self.level_for(request_bytes)
        if level < 0:
            return -1
        block = self.find(level)
        if block < 0:
            return -1
        return self.use(block, request_bytes)

    def give(self, offset: int) -> int:
        """Free the used block at ``offset``: 0, or -1 if there is none."""
        block = self.locate(offset)
        if block < 0:
            return -1
        self.used_bytes -= self.size.i64[self.level.i64[block >> 2]]
        self.give_back(block)
        return 0

    def level_for(self, request_bytes: int) -> int:
        """The level that serves a request, below 0 if none does.

        It goes by fourfolds of ``min_bytes``, not by the sizes: where these differ, a request
        may get a larger block than it needs, or none though the maximum block would do.
        """
        level = self.levels - 1
        bound = self.min_bytes
        while level >= 0 and request_bytes > bound:
            bound *= 4
            level -= 1
        return level

    def find(self, level: int) -> int:
        """A block of the level, no longer marked free, or -1; by what the policy says."""
        block = self.pick(level)
        if block < 0 and self.policy == 1:
            self.recombine(level)
            block = self.pick(level)
        if block < 0:
            block = self.break_for(level)
        if block < 0 and self.policy == 0:
            self.recombine(level)
            block = self.pick(level)
        return block

    def pick(self, level: int) -> int:
        """The lowest free block of the first quad-block in the list that has one, or -1."""
        q = self.first.i64[level]
        while q >= 0 and self.mask.i64[q] == 0:
            q = self.ahead.i64[q]
        self.first.i64[level] = q
        if q < 0:
            return -1
        mask = self.mask.i64[q]
        self.whole.i64[level] -= mask == 15
        block = 4 * q
        while not mask & 1:
            mask >>= 1
            block += 1
        self.unmark_free(block)
        return block

    def break_for(self, level: int) -> int:
        """The lowest part of a larger block, cut as often as needed, or -1."""
        above = level - 1
        block = -1
        while above >= 0 and block < 0:
            block = self.pick(above)
            above -= 1
        if block < 0:
            return -1
        above += 1
        while above < level:
            above += 1
            q = self.cut(block, 14)
            self.list_add(q, above)
            block = 4 * q
        return block

    def give_back(self, block: int) -> None:
        """Mark a block free; nothing is recombined."""
        q = block >> 2
        level = self.level.i64[q]
        self.mark_free(block)
        self.whole.i64[level] += self.mask.i64[q] == 15
        first = self.first.i64[level]
        if first < 0 or self.order.i64[q] < self.order.i64[first]:
            self.first.i64[level] = q

    def recombine(self, level: int) -> None:
        """Recombine blocks, smallest first, until none below ``level`` is whole."""
        below = self.levels - 1
        while below > level:
            q = self.head.i64[below]
            while q >= 0 and self.whole.i64[below] > 0:
                if self.mask.i64[q] == 15:
                    q = self.quad_recombine(q, below)
                else:
                    q = self.ahead.i64[q]
            below -= 1

    def quad_recombine(self, q: int, level: int) -> int:
        """Make one block of the four of ``q``; the quad-block that takes its place, or -1."""
        block = self.up.i64[q]
        self.whole.i64[level] -= 1
        self.count.i64[level] -= 4
        moved = self.list_remove(q, level)
        self.quad_drop(q)
        self.give_back(block)
        return moved

    def list_add(self, q: int, level: int) -> None:
        """Append a quad-block, some of whose blocks are free."""
        last = self.tail.i64[level]
        self.stamp += 1
        self.order.i64[q] = self.stamp
        self.behind.i64[q] = last
        self.ahead.i64[q] = -1
        self.tail.i64[level] = q
        if last < 0:
            self.head.i64[level] = q
        else:
            self.ahead.i64[last] = q
        if self.first.i64[level] < 0:
            self.first.i64[level] = q
        self.whole.i64[level] += self.mask.i64[q] == 15

    def list_remove(self, q: int, level: int) -> int:
        """Let the last quad-block of the list take the place of ``q``; -1 if ``q`` is the last."""
        last = self.tail.i64[level]
        self.link(self.behind.i64[last], -1, level)
        if last == q:
            if self.first.i64[level] == q:
                self.first.i64[level] = -1
            return -1
        self.order.i64[last] = self.order.i64[q]
        before = self.behind.i64[q]
        after = self.ahead.i64[q]
        self.link(before, last, level)
        self.link(last, after, level)
        if self.first.i64[level] == q:
            self.first.i64[level] = last
        return last

    def link(self, before: int, after: int, level: int) -> None:
        """Let ``after`` follow ``before``; -1 is the list's end on either side."""
        if before < 0:
            self.head.i64[level] = after
        else:
            self.ahead.i64[before] = after
        if after < 0:
            self.tail.i64[level] = before
        else:
            self.behind.i64[after] = before

    def quad_after(self, level: int, q: int) -> int:
        """The quad-block behind ``q`` in its list, -1 for none; -1 gives the first."""
        return self.head.i64[level] if q < 0 else self.ahead.i64[q]

    def mask_of(self, q: int) -> int:
        return self.mask.i64[q]

    def free_after(self, level: int, block: int) -> int:
        """The free block that is taken after ``block``, -1 for none; -1 gives the first."""
        q = block >> 2
        k = (block & 3) + 1
        if block < 0:
            q = self.head.i64[level]
            k = 0
        while q >= 0:
            while k < 4:
                if (self.mask.i64[q] >> k) & 1:
                    return 4 * q + k
                k += 1
            q = self.ahead.i64[q]
            k = 0
        return -1
