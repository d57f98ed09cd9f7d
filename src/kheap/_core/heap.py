"""The engine: Zephyr's ``sys_heap``, operating on the bytes of one region.

It owns the buckets, alloc and free, step by step as the original does them, so that
placement and bytes are the same; ``aligned.py`` beside it adds aligned alloc and realloc,
``calls.py`` what Python calls.  It speaks integers: chunk ids (``c``), bucket indices
(``b``), units, and offsets in bytes from the region's first byte.  The layout and the
invariants I1 to I10 stand at the head of ``chunk.py``; read that first.

Each operation has two halves.  The first reads and checks: every chunk id that comes from
the region is known to lie within it before it is followed, and nothing is written, so a
corrupt heap is reported and left as it was.  The second writes, and cannot fail: all that
it reads was checked by the first half, or written by itself.

Answers are numbers: above 0 an offset or a chunk, 0 no memory, below 0 a refusal:

   -1  corrupt: the chunk is in ``fault_chunk``, the invariant's number in ``fault``
   -2  no live block: ``fault`` is 1 out of range, 2 misaligned, 3 not marked used
   -3  a negative size      -4  an impossible alignment      -5  the heap is not open

Not here: walks over all chunks (``check.py``), traces (``replay.py``), exceptions,
listeners and printing (``kheap.heaps``).
In Zephyr: ``lib/heap/heap.c``.
"""

from __future__ import annotations

from kheap._core._native import Region
from kheap._core.chunk import CANARY_SALT, Geometry, Layout

__all__ = ["ChunkHeap"]


class ChunkHeap(Region):
    """A heap over a held region; see the module's head."""

    def _place(self, layout: Layout, geometry: Geometry, base_address: int) -> None:
        """Take a layout and a geometry on; the region is only looked at."""
        stat_bytes = 3 * layout.word_bytes if layout.stats else 0
        first, end = geometry.chunk0_units, geometry.end_chunk
        self.aim(geometry.start, geometry.big, first, end, stat_bytes)
        self.start = geometry.start
        self.n = geometry.end_chunk
        self.c0 = geometry.chunk0_units
        self.m = geometry.min_units
        self.nb = geometry.buckets
        self.hdr = geometry.header_bytes
        self.table = layout.table_byte >> 2
        self.trail = layout.trailer_units
        self.loops = layout.alloc_loops
        self.checks = layout.checks
        self.clamps = layout.clamps
        self.uncounted = 0 if layout.counts_header else self.hdr + 8 * self.trail
        self.event_gap = layout.event_gap
        self.gap_counts = layout.big_gap or not self.big
        self.padding = self.hdr + 7 + 8 * self.trail
        self.limit = 8 * self.n
        self.address = (base_address + self.start) & 0xFFFFFFFFFFFFFFFF
        self.phase = self.address & 0x3FFFFFFFFFFFFFFF
        self.ones = (1 << 64) - 1
        self.salt = CANARY_SALT
        self.poison = 0xDEADBEEFDEADBEEF
        self.grain = 1
        self.turned = 0
        self.watched = False
        self.ended = False
        self.state = 1

    def chunk_size(self, c: int) -> int:
        return self.chunk_field(c) >> 1

    def counted(self, units: int) -> int:
        """Bytes of a chunk as this release's statistics count them."""
        return 8 * units - self.uncounted

    def counted_free(self, units: int) -> int:
        """As :meth:`counted`; 0 for an undersized chunk, which is in no statistic."""
        return 8 * units - self.uncounted if units >= self.m else 0

    def canary(self, c: int, units: int) -> int:
        return ((self.address + 8 * c) & self.ones) ^ units ^ self.salt

    def canary_write(self, c: int, units: int) -> None:
        self.quad_set(self.start + 8 * (c + units - 1), self.canary(c, units))

    def canary_holds(self, c: int) -> int:
        """Whether chunk ``c``, whose size is known to fit, has its canary."""
        units = self.chunk_size(c)
        return self.quad_get(self.start + 8 * (c + units - 1)) == self.canary(c, units)

    def corrupt(self, c: int, invariant: int) -> int:
        self.fault_chunk = c
        self.fault = invariant
        self.turned = 0
        return -1

    def no_block(self, reason: int) -> int:
        self.fault = reason
        return -2

    def ring_holds(self, units: int) -> int:
        """Whether a chunk of that size may be added to the ring of its bucket."""
        if units < self.m:
            return 1
        b = self.bucket_of(units)
        head = self.u32[self.table + b]
        if self.turned and self.turned_bucket == b:
            head = self.turned
        return head == 0 or (self.inside(head) and self.inside(self.free_prev(head)))

    def sides_hold(self, c: int, units: int) -> int:
        """Whether both neighbours of ``c`` know it, where ``c + units`` is within the heap."""
        left = c - self.chunk_left(c)
        if left < 0 or left == c:
            return 0
        return self.chunk_size(left) == c - left and self.chunk_left(c + units) == units

    def free_holds(self, c: int, units: int) -> int:
        """1 if free chunk ``c`` may be taken out of its ring, else a refusal."""
        if units == 0 or c + units > self.n:
            return self.corrupt(c, 5)
        if units >= self.m and not (
            self.inside(self.free_next(c)) and self.inside(self.free_prev(c))
        ):
            return self.corrupt(c, 8)
        if self.checks >= 2:
            return self.free_holds_well(c, units)
        return 1

    def free_holds_well(self, c: int, units: int) -> int:
        """What hardening from "moderate" on asks of a free chunk, besides :meth:`free_holds`."""
        if units >= self.m:
            following, previous = self.free_next(c), self.free_prev(c)
            if self.free_prev(following) != c or self.free_next(previous) != c:
                return self.corrupt(c, 8)
        if not self.sides_hold(c, units):
            return self.corrupt(c, 1)
        left = c - self.chunk_left(c)
        if not self.chunk_field(left) & 1:
            return self.corrupt(left, 2)
        if self.trail and not self.canary_holds(left):
            return self.corrupt(left, 10)
        return 1

    def locate(self, offset: int) -> int:
        """The used chunk whose block begins at ``offset``, or a refusal."""
        if self.state != 1:
            return -5
        rest = offset - self.start - self.hdr
        c = rest >> 3
        if not self.inside(c):
            return self.no_block(1)
        if rest & (self.grain - 1):
            return self.no_block(2)
        field = self.chunk_field(c)
        if not field & 1:
            return self.no_block(3)
        units = field >> 1
        if units < self.m:
            return self.corrupt(c, 7)
        if c + units > self.n:
            return self.corrupt(c, 5)
        if (rest & 7) + self.hdr >= 8 * (units - self.trail):
            return self.no_block(2)
        if not self.sides_hold(c, units):
            return self.corrupt(c, 1)
        if self.trail and not self.canary_holds(c):
            return self.corrupt(c, 10)
        return c

    def bucket_head(self, b: int) -> int:
        return self.u32[self.table + b]

    def bucket_mask(self) -> int:
        return self.u32[3]

    def control_holds(self) -> int:
        """Whether the control block is the one that the geometry asks for."""
        field = 2 * self.c0 + 1
        return self.chunk_left(0) == 0 and self.chunk_field(0) == field and self.u32[2] == self.n

    def bucket_of(self, units: int) -> int:
        return self.top_bit(units - self.m + 1)

    def bucket_find(self, units: int) -> int:
        """A free chunk of at least ``units`` units, 0 for none, or a refusal.

        The first bucket may hold chunks that are too small: ``loops`` of them are looked
        at, and its head is to stay where the search ended, found or not.  The new head goes
        to ``turned``, for the writing half.
        """
        b = self.bucket_of(units)
        head = self.u32[self.table + b]
        if head:
            c = head
            tries = self.loops
            while True:
                if not self.inside(c):
                    return self.corrupt(c, 8)
                if self.chunk_field(c) >= 2 * units:
                    return self.found(c)
                c = self.free_next(c)
                tries -= 1
                if tries == 0 or c == head:
                    break
            if not self.inside(c):
                return self.corrupt(c, 8)
            self.turned = c
            self.turned_bucket = b
        return self.bucket_above(b, units)

    def bucket_above(self, b: int, units: int) -> int:
        """The head of the lowest ring above bucket ``b``, 0 for none, or a refusal."""
        above = self.u32[3] >> (b + 1)
        if above == 0:
            return 0
        b += 1 + self.low_bit(above)
        if b >= self.nb:
            return self.corrupt(0, 4)
        c = self.u32[self.table + b]
        if not self.inside(c):
            return self.corrupt(0, 8 if c else 4)
        if self.chunk_field(c) < 2 * units:
            return self.corrupt(c, 8)
        return self.found(c)

    def found(self, c: int) -> int:
        """Chunk ``c`` if it may be taken, else a refusal."""
        field = self.chunk_field(c)
        if field & 1:
            return self.corrupt(c, 8)
        return c if self.free_holds(c, field >> 1) > 0 else -1

    def bucket_turn(self) -> None:
        """Let the last search's first bucket begin where the search ended."""
        if self.turned:
            self.u32[self.table + self.turned_bucket] = self.turned
            self.turned = 0

    def bucket_remove(self, c: int, units: int) -> None:
        """Take ``c`` out of its ring; its successor becomes the head, whatever the head was."""
        if units < self.m:
            return
        b = self.bucket_of(units)
        following = self.free_next(c)
        if following == c:
            self.u32[self.table + b] = 0
            self.u32[3] = self.u32[3] & ~(1 << b)
            return
        previous = self.free_prev(c)
        self.u32[self.table + b] = following
        self.set_next(previous, following)
        self.set_prev(following, previous)

    def bucket_add(self, c: int, units: int) -> None:
        """Put ``c`` into its ring just before the head: at the tail."""
        if units < self.m:
            return
        b = self.bucket_of(units)
        head = self.u32[self.table + b]
        if head == 0:
            self.u32[self.table + b] = c
            self.u32[3] = self.u32[3] | (1 << b)
            self.set_prev(c, c)
            self.set_next(c, c)
            return
        tail = self.free_prev(head)
        self.set_prev(c, tail)
        self.set_next(c, head)
        self.set_next(tail, c)
        self.set_prev(head, c)

    def bucket_replace(self, c: int, units: int, other: int, other_units: int) -> None:
        """Take ``c`` out of its ring and put ``other`` into its own.

        Where both are the only chunk of the same ring, which is so while one large chunk is
        cut and mended, the ring stays and only its chunk changes.
        """
        if units >= self.m and other_units >= self.m and self.free_next(c) == c:
            b = self.bucket_of(units)
            if b == self.bucket_of(other_units):
                self.u32[self.table + b] = other
                self.u32[3] = self.u32[3] | (1 << b)
                self.set_prev(other, other)
                self.set_next(other, other)
                return
        self.bucket_remove(c, units)
        self.bucket_add(other, other_units)

    def chunk_split(self, c: int, right: int, end: int) -> None:
        """Cut ``c``, which ends at ``end``, into two free chunks; the second is ``right``."""
        self.set_size(c, right - c, 0)
        self.set_left(right, right - c)
        self.set_size(right, end - right, 0)
        self.set_left(end, end - right)

    def chunk_use(self, c: int, units: int, freed: int) -> None:
        """Mark ``c`` used; ``freed`` bytes were added to the free ones on the way."""
        self.set_size(c, units, 1)
        if self.trail:
            self.canary_write(c, units)
        self.stat_change(freed, self.counted(units))

    def units_for(self, request_bytes: int, extra_bytes: int) -> int:
        """Units of a chunk for a request, 0 where this release answers NULL at once.

        Before 4.2 a request is refused by its bytes alone, so padding could lead beyond
        the bucket table: undefined there, no memory here.
        """
        if request_bytes >= self.limit and not self.clamps:
            return 0
        if request_bytes > self.limit or extra_bytes > self.limit:
            units = self.n + self.limit
        else:
            units = (request_bytes + extra_bytes + self.padding) >> 3
        if units <= self.n:
            return units
        if self.clamps:
            return self.n
        return units if self.bucket_of(units) < self.nb else 0

    def take(self, request_bytes: int, align: int) -> int:
        """Allocate; the block's offset, 0 for no memory, or a refusal."""
        if self.state != 1:
            return -5
        if align != 0:
            return self.take_aligned(request_bytes, align)
        return self.take_plain(request_bytes)

    def take_plain(self, request_bytes: int) -> int:
        if request_bytes <= 0:
            return -3 if request_bytes else 0
        units = self.units_for(request_bytes, 0)
        if units == 0:
            return 0
        c = self.bucket_find(units)
        if c < 0:
            return c
        if c == 0:
            self.bucket_turn()
            return 0
        size = self.chunk_size(c)
        rest = size - units
        if rest and not self.ring_holds(rest):
            return self.corrupt(c, 8)
        self.bucket_turn()
        if rest:
            self.bucket_replace(c, size, c + units, rest)
            self.chunk_split(c, c + units, c + size)
        else:
            self.bucket_remove(c, size)
        self.chunk_use(c, units, self.counted_free(rest) - self.counted(size))
        return self.start + 8 * c + self.hdr

    def take_aligned(self, request_bytes: int, align: int) -> int:
        """As :meth:`take`, for ``align`` other than 0; ``aligned.py`` has it."""
        return -4

    def give(self, offset: int) -> int:
        """Free the block at ``offset``; its chunk, or a refusal."""
        c = self.locate(offset)
        if c < 0:
            return c
        return self.release(c, 1)

    def release(self, c: int, write: int) -> int:
        """Free located chunk ``c`` and merge it with its free neighbours, the right one first.

        Its answer is above 0, or a refusal; without ``write`` it does the reading half only.
        """
        units = self.chunk_size(c)
        right = c + units
        field = self.chunk_field(right)
        right_units = 0 if field & 1 else field >> 1
        if not field & 1 and self.free_holds(right, right_units) < 0:
            return -1
        left_units = self.chunk_left(c)
        left = c - left_units
        if self.chunk_field(left) & 1:
            left_units = 0
            if self.trail and not self.canary_holds(left):
                return self.corrupt(left, 10)
        elif self.free_holds(left, left_units) < 0:
            return -1
        if not self.ring_holds(left_units + units + right_units):
            return self.corrupt(c, 8)
        if write:
            self.chunk_merge(c, units, left_units, right_units)
        return c

    def chunk_merge(self, c: int, units: int, left_units: int, right_units: int) -> None:
        """The writing half of :meth:`release`; a neighbour that stays out has 0 units."""
        right = c + units
        start = c - left_units
        total = left_units + units + right_units
        if self.trail:
            self.quad_set(self.start + 8 * (right - 1), self.poison)
        self.set_size(c, units + right_units, 0)
        if left_units:
            if right_units:
                self.bucket_remove(right, right_units)
            self.bucket_replace(start, left_units, start, total)
            self.set_size(start, total, 0)
        elif right_units:
            self.bucket_replace(right, right_units, start, total)
        else:
            self.bucket_add(start, total)
        self.set_left(start + total, total)
        taken = self.counted_free(right_units) + self.counted_free(left_units)
        self.stat_change(self.counted(total) - taken, -self.counted(units))
