"""Blocks that carry one hidden word: what ``k_malloc()`` makes of a ``SysHeap``'s blocks.

::

  ... | chunk header | gap | heap address (W bytes) | the user's bytes ...
                           ^ what the SysHeap gave  ^ what the user holds, and what is aligned

It owns the word: making room for it, writing it, and comparing it before a block is freed.
Not here: locking, and the checks of arguments (``system_heap.py``).
"""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING

from kheap.errors import InvalidFree, OutOfMemory
from kheap.heaps.stats import HeapStats
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["WordBlocks"]

#: More than any heap holds; so large an alignment is never served, and neither is a larger one.
_HUGE_ALIGN = 1 << 61


class WordBlocks:
    """Blocks of a SysHeap, each with ``heap_address`` in the word below it.

    Offsets are the user's, sizes the user's bytes; None is no memory.
    """

    def __init__(
        self,
        region: Buffer | int,
        profile: Profile,
        base_address: int | None,
        heap_address: int,
    ) -> None:
        self.word_bytes = profile.bits // 8
        self.size_limit = 1 << profile.bits
        if not 0 <= heap_address < self.size_limit:
            raise ValueError(
                f"heap_address {heap_address:#x} is not an address of {profile.bits} bits"
            )
        self._word = heap_address.to_bytes(self.word_bytes, sys.byteorder)
        self.heap = SysHeap(region, profile, base_address)

    def malloc(self, request_bytes: int) -> int | None:
        """A block at the alignment that the heap gives anyway."""
        return self._place(request_bytes, 0)

    def aligned_alloc(self, align: int, request_bytes: int) -> int | None:
        """A block aligned for the user; ValueError for what the release asserts against."""
        if align < 0 or align & (align - 1):
            raise ValueError(f"align {align} is neither 0 nor a power of two")
        old = self.heap.profile.version < (4, 2)
        if old and align % self.word_bytes:
            raise ValueError(
                f"align {align} is no multiple of the word, {self.word_bytes} bytes:"
                " so it must be before Zephyr 4.2"
            )
        # The word is the rewind: the place behind it is what is aligned.  Below the word's
        # size the roles change, and the user's offset is aligned to `align` alone.
        return self._place(request_bytes, min(align, _HUGE_ALIGN) | self.word_bytes)

    def _place(self, request_bytes: int, align: int) -> int | None:
        whole_bytes = request_bytes + self.word_bytes
        if whole_bytes >= self.size_limit:
            return None
        place = self.heap.try_alloc(whole_bytes, align=align)
        if place is None:
            return None
        offset = place + self.word_bytes
        self.heap.region[place:offset] = self._word
        return offset

    def realloc(self, offset: int, request_bytes: int) -> int | None:
        """The block with another size; where it moves, the word goes with the bytes."""
        place = self._place_of(offset)
        whole_bytes = request_bytes + self.word_bytes
        if whole_bytes >= self.size_limit:
            return None
        try:
            moved = self.heap.realloc(place, whole_bytes)
        except OutOfMemory:
            return None
        return None if moved is None else moved + self.word_bytes

    def free(self, offset: int) -> None:
        """Free it, if the word below it is this heap's."""
        self.heap.free(self._place_of(offset))

    def clear(self, offset: int, count: int) -> None:
        """Zero ``count`` bytes."""
        self.heap.region[offset : offset + count] = bytes(count)

    def usable_bytes(self, offset: int) -> int:
        """The user's bytes, as the release computes them."""
        return self.heap.usable_bytes(self._place_of(offset)) - self.word_bytes

    def view(self, offset: int) -> memoryview:
        """The user's bytes, never beyond the chunk."""
        return self.heap.view(self._place_of(offset))[self.word_bytes :]

    def stats(self) -> HeapStats:
        """The heap in numbers; hidden words count as allocated."""
        return self.heap.stats()

    def close(self) -> None:
        """Give the region's buffer back."""
        self.heap.close()

    def _place_of(self, offset: int) -> int:
        """What the heap gave for the user's ``offset``; refused before the first write."""
        heap = self.heap
        place = operator.index(offset) - self.word_bytes
        c = heap._chunk_of(place)
        if c < 0:
            self._refuse(c, offset, place)
        found = heap.region[place : place + self.word_bytes]
        if found != self._word:
            raise InvalidFree(
                f"the word below offset {offset} is {_hex(bytes(found))}, not this heap's"
                f" {_hex(self._word)}: a block of another heap, or written over",
                offset,
            )
        return place

    def _refuse(self, code: int, offset: int, place: int) -> None:
        try:
            self.heap._refuse_free(code, place)
        except InvalidFree as error:
            raise InvalidFree(
                f"offset {offset} is none that malloc gave: below its word, {error}", offset
            ) from None


def _hex(word: bytes) -> str:
    return hex(int.from_bytes(word, sys.byteorder))
