"""Finding control blocks in memory without symbols.

It owns the search: an address is a candidate if its first words can be a control block's, and
a heap if both its ends agree on where it lies.  Not here: judging its chunks
(``recognise.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

from kheap._core.chunk import Layout, geometry_of
from kheap.dump.memory import Memory, Segment
from kheap.dump.recognise import ALL_FACTS, facts_that_hold, likely_profiles

__all__ = ["candidates"]

#: Chunk 0 of any layout is so many units large: 3 to 22.
_CHUNK0_FIELDS = [2 * units + 1 for units in range(3, 23)]
#: The first word of a small heap: LEFT_SIZE 0 and chunk 0's SIZE_AND_USED; that of a big heap is 0.
_SMALL = frozenset(field << 16 for field in _CHUNK0_FIELDS)
_BIG = frozenset(_CHUNK0_FIELDS)
#: A heap found by scanning has all facts but one on its side.
ENOUGH = ALL_FACTS - 1


def candidates(
    memory: Memory, known: list[tuple[int, int]], bits: int | None, *, aligned: bool = True
) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each heap that seems to lie in memory, by address.

    Args:
        memory: Where to look.
        known: (first, end) of what need not be looked at.
        bits: Word size, if known.
        aligned: False where addresses are not the target's, so that 4 may be a multiple of 8.

    Complexity: O(bytes held). A heap within a block of another is found too.
    """
    layouts = [profile.layout() for profile in likely_profiles(bits)]
    for segment in memory.runs():
        for lead in ((-segment.address % 8,) if aligned else (0, 4)):
            for at in _likely_offsets(segment, lead):
                address = segment.address + at
                if any(first <= address < end for first, end in known):
                    continue
                size = _size_of(segment.data[at:], layouts)
                if size:
                    yield address, size


def _likely_offsets(segment: Segment, lead: int) -> Iterator[int]:
    data = segment.data[lead:]
    words = data[: len(data) - len(data) % 8].cast("I")
    return (
        lead + 8 * i
        for i, (low, high) in enumerate(zip(words[::2], words[1::2], strict=True))
        if low in _SMALL or (not low and high in _BIG)
    )


def _size_of(data: memoryview, layouts: list[Layout]) -> int:
    """The bytes of the heap that ``data`` begins with; 0 if none does."""
    end_chunk = int.from_bytes(data[8:12], "little")
    best, size = ENOUGH - 1, 0
    for layout in layouts:
        geometry = geometry_of(layout, 0, end_chunk)
        if geometry is None or 8 * end_chunk + geometry.header_bytes > len(data):
            continue
        facts = facts_that_hold(data, geometry)
        if facts > best:
            # Regions are multiples of 8 but for odd ones; of these the same heap uses less.
            best, size = facts, min(8 * end_chunk + 8, len(data))
    return size
