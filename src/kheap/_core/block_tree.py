"""The blocks of a pool: which are free, used or cut, and where each lies.

It owns the tree that both pools of Zephyr cut their memory into; ``quad.py`` (1.6 and 1.7)
and ``buddy.py`` (1.8 to 2.4) say in which order blocks are taken, cut and recombined.

A *quad-block* stands for four blocks of one level that lie side by side.  The maximum blocks,
level 0, lie in the first quad-blocks; every other quad-block stands for one block of the
level above that has been cut.  ``q`` is a quad-block's number; block k of it is named by
``4 * q + k``, so maximum block i is named i::

   quad-block q of level 1            up[q] = 1: it is maximum block 1, cut
   +-----------+-----------+-----------+-----------+
   |   4q      |   4q + 1  |   4q + 2  |   4q + 3  |    mask[q] = 1100: the last two are free
   +-----------+-----------+-----------+-----------+
     held: cut   held: used   free        free

 P1  held[block] is -1 if it is free, -2 - q if it is cut and quad-block q stands for it, else
     the bytes that were requested.
 P2  Bit k of mask[q] is set if and only if block 4q + k exists and is free.
 P3  count[level] is the number of bits set in all masks of the level.
 P4  free blocks + used blocks + bytes lost in cuts that do not divide = the pool.

Only blocks that exist have a place here, so a pool costs what it is cut into, not what it
could be.  Nothing is written into the pool's memory: the originals keep links there in part,
which nobody may rely on.
In Zephyr: ``kernel/mem_pool.c`` (1.6, 1.7); ``kernel/mempool.c``, ``lib/os/mempool.c``.
"""

from __future__ import annotations

from array import array

from kheap._core._native import Column

__all__ = ["BlockTree"]


class BlockTree:
    """The blocks of one pool, all free and none cut; see the module's head.

    Args:
        sizes: The block size of each level, largest first.
        n_max: Maximum blocks.

    Attributes:
        levels: How many levels there are.
        used_bytes: Bytes of all used blocks; ``peak_bytes`` the most at any one time.
    """

    def __init__(self, sizes: tuple[int, ...], n_max: int) -> None:
        self.levels = len(sizes)
        self.n_max = n_max
        self.roots = (n_max + 3) >> 2
        self.end = n_max * sizes[0]
        self.size = Column(array("q", sizes))
        self.count = Column(bytearray(8 * self.levels))
        self.used_bytes = self.peak_bytes = 0
        self.spare = -1
        self.made = self.room = 0
        self.start = self.level = self.mask = self.up = self.held = Column(bytearray())
        self.grow()
        for q in range(self.roots):
            self.quad_add(0, 4 * q * sizes[0], -1, (1 << min(4, n_max - 4 * q)) - 1)

    def grow(self) -> None:
        """Make room for twice as many quad-blocks, and for as many as one request can add."""
        self.room += self.room + self.roots + self.levels
        self.start = self.widened(self.start, self.room)
        self.level = self.widened(self.level, self.room)
        self.mask = self.widened(self.mask, self.room)
        self.up = self.widened(self.up, self.room)
        self.held = self.widened(self.held, 4 * self.room)

    def widened(self, column: Column, count: int) -> Column:
        """A column of ``count`` numbers that begins as ``column``; the rest is 0."""
        wider = Column(bytearray(8 * count))
        i = 0
        while i < column.size_bytes >> 3:
            wider.i64[i] = column.i64[i]
            i += 1
        return wider

    def reserve(self) -> None:
        """Make room for what one request can add; MemoryError is raised here or never."""
        if self.room - self.made < self.levels:
            self.grow()

    def quad_add(self, level: int, start: int, up: int, mask: int) -> int:
        """A new quad-block, for which there is room."""
        q = self.spare
        if q >= 0:
            self.spare = self.up.i64[q]
        else:
            q = self.made
            self.made = q + 1
        self.start.i64[q] = start
        self.level.i64[q] = level
        self.up.i64[q] = up
        self.mask.i64[q] = mask
        k = 0
        while k < 4:
            self.held.i64[4 * q + k] = -1
            self.count.i64[level] += (mask >> k) & 1
            k += 1
        return q

    def quad_drop(self, q: int) -> None:
        """Forget quad-block ``q``, none of whose blocks is marked free any more."""
        self.up.i64[q] = self.spare
        self.spare = q

    def cut(self, block: int, mask: int) -> int:
        """Cut a block that is not marked free; the quad-block that stands for it."""
        q = self.quad_add(self.level.i64[block >> 2] + 1, self.place(block), block, mask)
        self.held.i64[block] = -2 - q
        return q

    def mark_free(self, block: int) -> None:
        q = block >> 2
        self.held.i64[block] = -1
        self.mask.i64[q] |= 1 << (block & 3)
        self.count.i64[self.level.i64[q]] += 1

    def unmark_free(self, block: int) -> None:
        q = block >> 2
        self.mask.i64[q] &= ~(1 << (block & 3))
        self.count.i64[self.level.i64[q]] -= 1

    def use(self, block: int, request_bytes: int) -> int:
        """Let a block that is not marked free be used; its offset."""
        self.held.i64[block] = request_bytes
        self.used_bytes += self.size.i64[self.level.i64[block >> 2]]
        if self.used_bytes > self.peak_bytes:
            self.peak_bytes = self.used_bytes
        return self.place(block)

    def place(self, block: int) -> int:
        """The offset of a block."""
        q = block >> 2
        return self.start.i64[q] + (block & 3) * self.size.i64[self.level.i64[q]]

    def locate(self, offset: int) -> int:
        """The used block at ``offset``, -1 if none begins there.

        Where a size does not divide, a cut loses the last bytes, which belong to no quarter.
        """
        if offset < 0 or offset >= self.end:
            return -1
        block = offset // self.size.i64[0]
        rest = offset - block * self.size.i64[0]
        while self.held.i64[block] < -1:
            q = -2 - self.held.i64[block]
            size = self.size.i64[self.level.i64[q]]
            k = rest // size
            if k > 3:
                return -1
            rest -= k * size
            block = 4 * q + k
        return block if rest == 0 and self.held.i64[block] >= 0 else -1

    def block_after(self, block: int) -> int:
        """The free or used block behind ``block`` by address, -1 for none; -1 gives the first."""
        while block & 3 == 3 and block >> 2 >= self.roots:
            block = self.up.i64[block >> 2]
        if block + 1 >= self.n_max and block >> 2 < self.roots:
            return -1
        block += 1
        while self.held.i64[block] < -1:
            block = 4 * (-2 - self.held.i64[block])
        return block

    def held_by(self, block: int) -> int:
        """The bytes that were requested of a block, -1 if it is free."""
        return self.held.i64[block]

    def level_of(self, block: int) -> int:
        return self.level.i64[block >> 2]

    def free_count(self, level: int) -> int:
        """How many blocks of a level are free."""
        return self.count.i64[level]
