"""Aligned alloc and realloc, on top of the engine in ``heap.py``.

It owns what needs more than a plain search: blocks at an alignment, with or without a
rewind, and resizing, in place or by moving.  As there, each operation first reads and
checks, then writes.
In Zephyr: ``sys_heap_aligned_alloc()``, ``sys_heap_realloc()``.
"""

from __future__ import annotations

from kheap._core.heap import ChunkHeap

__all__ = ["AlignedHeap"]


class AlignedHeap(ChunkHeap):
    """A heap with all of the original's operations, in numbers."""

    def take_aligned(self, request_bytes: int, align: int) -> int:
        """As :meth:`take`, for ``align`` other than 0."""
        found = self.seek(request_bytes, align)
        if found > 0:
            self.grain = min(self.grain, self.sought_step)
            return self.place_aligned(found, request_bytes, self.sought_align, self.sought_rewind)
        if found == 0:
            self.bucket_turn()
        return found

    def seek(self, request_bytes: int, align: int) -> int:
        """The free chunk that a request would be cut from, 0 for none, or a refusal.

        It writes nothing.  The alignment without its rewind, the rewind, and the units that
        the search asked for go to ``sought_align``, ``sought_rewind`` and ``sought``; no
        units at all mean that no search was made.
        """
        self.sought = 0
        if self.state != 1:
            return -5
        if request_bytes < 0:
            return -3
        if align < 0:
            return -4
        rewind = align & -align
        if align == rewind:
            rewind = 0
            if align <= self.hdr:
                align = 1
        align -= rewind
        if align & (align - 1):
            return -4
        self.sought_align = align
        self.sought_rewind = rewind
        step = self.hdr if rewind == 0 or rewind > self.hdr else rewind
        if request_bytes:
            self.sought = self.units_for(request_bytes, align - step if align > step else 0)
        if self.sought == 0:
            return 0
        self.sought_step = step
        return self.bucket_find(self.sought)

    def place_aligned(self, found: int, request_bytes: int, align: int, rewind: int) -> int:
        """Put a block into free chunk ``found``: cut off what lies before and behind it."""
        size = self.chunk_size(found)
        memory = 8 * found + self.hdr
        place = memory + (-(self.phase + memory + rewind) & (align - 1))
        c = (place - self.hdr) >> 3
        end = ((place + request_bytes + 7) >> 3) + self.trail
        stop = found + size
        if not (self.ring_holds(c - found) and self.ring_holds(stop - end)):
            return self.corrupt(found, 8)
        self.bucket_turn()
        self.bucket_remove(found, size)
        freed = -self.counted(size)
        if c > found:
            self.chunk_split(found, c, stop)
            self.bucket_add(found, c - found)
            freed += self.counted_free(c - found)
        if stop > end:
            self.chunk_split(c, end, stop)
            self.bucket_add(end, stop - end)
            freed += self.counted_free(stop - end)
        self.chunk_use(c, (end if stop > end else stop) - c, freed)
        return self.start + place

    # ------------------------------------------------------------------ realloc

    def gap(self, offset: int) -> int:
        """Bytes that alignment left between a chunk's header and its block, as the release sees it.

        From 4.4 on it is taken for 0 on big heaps, where a rewind can make it up to 7.
        """
        return (offset - self.start - self.hdr) & 7 if self.gap_counts else 0

    def usable(self, c: int, offset: int) -> int:
        """Bytes of the block at ``offset`` in used chunk ``c``, as the release computes them."""
        return 8 * (self.chunk_size(c) - self.trail) - self.hdr - self.gap(offset)

    def resize(self, offset: int, request_bytes: int, align: int) -> int:
        """Realloc a block; its offset, 0 for no memory or for a request of 0, or a refusal."""
        if self.state != 1:
            return -5
        if request_bytes < 0:
            return -3
        if request_bytes == 0:
            freed = self.give(offset)
            return freed if freed < 0 else 0
        if align < 0 or align & (align - 1):
            return -4
        c = self.locate(offset)
        if c < 0:
            return c
        units = self.units_for(request_bytes, self.gap(offset))
        if units and not (self.phase + offset - self.start) & (align - 1 if align else 0):
            answer = self.resize_in_place(c, units)
            if answer:
                return offset if answer > 0 else answer
        return self.move(c, offset, request_bytes, align)

    def resize_in_place(self, c: int, units: int) -> int:
        """1 if used chunk ``c`` now has ``units`` units, 0 if it cannot, or a refusal."""
        size = self.chunk_size(c)
        if size == units:
            return 1
        right = c + size
        right_size = 0
        if not self.chunk_field(right) & 1:
            right_size = self.chunk_size(right)
            if self.free_holds(right, right_size) < 0:
                return -1
        if size + right_size < units:
            return 0
        if not self.ring_holds(size + right_size - units):
            return self.corrupt(c, 8)
        if size > units:
            self.shrink(c, size, units, right_size)
        else:
            self.grow(c, size, units, right_size)
        return 1

    def shrink(self, c: int, size: int, units: int, right_size: int) -> None:
        """Cut used ``c`` down; the suffix takes in a free right neighbour of ``right_size``."""
        suffix = c + units
        end = c + size
        self.chunk_split(c, suffix, end)
        self.set_size(c, units, 1)
        if self.trail:
            self.canary_write(c, units)
        if right_size:
            self.bucket_remove(end, right_size)
            end += right_size
            self.set_size(suffix, end - suffix, 0)
            self.set_left(end, end - suffix)
        self.bucket_add(suffix, end - suffix)
        freed = self.counted_free(end - suffix) - self.counted_free(right_size)
        self.stat_change(freed, 8 * (units - size))

    def grow(self, c: int, size: int, units: int, right_size: int) -> None:
        """Let used ``c`` take what it needs from its free right neighbour."""
        right = c + size
        end = right + right_size
        rest = end - c - units
        self.bucket_remove(right, right_size)
        if rest:
            self.chunk_split(right, c + units, end)
            self.bucket_add(c + units, rest)
        self.set_left(c + units, units)
        self.set_size(c, units, 1)
        if self.trail:
            self.canary_write(c, units)
        freed = self.counted_free(rest) - self.counted_free(right_size)
        self.stat_change(freed, 8 * (units - size))

    def move(self, c: int, offset: int, request_bytes: int, align: int) -> int:
        """Allocate elsewhere, copy, free; nothing has changed where that fails."""
        if self.release(c, 0) < 0:
            return -1
        # In a corrupt heap a list may lead into the very block that is to be moved.
        found = self.seek(request_bytes, align)
        if found < 0:
            return found
        self.turned = 0
        if found < c + self.chunk_size(c) and c < found + self.chunk_size(found):
            return self.corrupt(found, 8)
        held = self.usable(c, offset)
        moved = self.take(request_bytes, align)
        if moved > 0:
            self.copy(moved, offset, held if held < request_bytes else request_bytes)
            # In a corrupt heap the new block's links may have changed the old one's header.
            self.give(offset)
        return moved

    # ------------------------------------------------------------------ for replay

    def block_end(self, offset: int) -> int:
        """Where the chunk of the block at ``offset`` ends."""
        c = (offset - self.start - self.hdr) >> 3
        return self.start + 8 * (c + self.chunk_size(c))

    def prefetch_sides(self, offset: int) -> None:
        """Ask for the headers of the neighbours of the block at ``offset``, of chunk 0's if 0."""
        c = (offset - self.start - self.hdr) >> 3
        c = c if c > 0 else 0
        self.prefetch(self.start + 8 * (c + self.chunk_size(c)))
        self.prefetch(self.start + 8 * (c - self.chunk_left(c)))

    def largest_free(self) -> int:
        """Counted bytes of the largest listed free chunk, 0 for none: a look at the top ring."""
        if self.bucket_mask() == 0:
            return 0
        head = self.bucket_head(self.top_bit(self.bucket_mask()))
        c = head
        largest = self.chunk_size(c)
        c = self.free_next(c)
        while c != head:
            if self.chunk_size(c) > largest:
                largest = self.chunk_size(c)
            c = self.free_next(c)
        return self.counted(largest)
