"""Finding control blocks in memory without symbols.

It owns the search: an address is a candidate if its first words can be a control block's, and
a heap if both its ends agree on where it lies.  Not here: judging its chunks
(``recognise.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from kheap._core.chunk import Layout, geometry_of
from kheap.dump.memory import Memory, Segment
from kheap.dump.recognise import ALL_FACTS, facts_that_hold, likely_profiles

__all__ = ["Interval", "candidates"]

#: Chunk 0 of any layout is so many units large: 3 to 22.
_CHUNK0_FIELDS = [2 * units + 1 for units in range(3, 23)]
#: LEFT_SIZE 0 and chunk 0's SIZE_AND_USED: four bytes of a small heap, eight of a big one.
_SMALL = frozenset(field << 16 for field in _CHUNK0_FIELDS)
_BIG = frozenset(field << 32 for field in _CHUNK0_FIELDS)
_LOW = 0xFFFFFFFF
#: A heap found by scanning has all facts but one on its side.
ENOUGH = ALL_FACTS - 1
#: Places that can be a control block's, of which few are; what lies behind so many is not searched.
MOST_PLACES = 1 << 16
#: Words looked at in one go; such a piece of what is known is passed over.
SLAB_WORDS = 4096

#: From the first address to the one behind the last.
Interval = tuple[int, int]


def candidates(
    memory: Memory, known: list[Interval], bits: int | None, *, aligned: bool = True
) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each heap that seems to lie in memory, by address.

    Args:
        memory: Where to look.
        known: (first, end) addresses of what need not be looked at; the caller may add to it
            between two answers.
        bits: Word size, if known.
        aligned: False where addresses are not the target's, so that 4 may be a multiple of 8.

    Complexity: O(bytes held and not known), of up to 65,536 likely places.
    """
    layouts = [profile.layout() for profile in likely_profiles(bits)]
    places = MOST_PLACES
    for segment in memory.runs():
        for lead in (-segment.address % 8,) if aligned else (0, 4):
            for at in islice(_likely_offsets(segment, lead, known), places):
                places -= 1
                size = _size_of(segment.data[at:], layouts)
                if size:
                    yield segment.address + at, size


def _likely_offsets(segment: Segment, lead: int, known: list[Interval]) -> Iterator[int]:
    """Bytes of the segment where a control block may begin."""
    data = segment.data[lead:]
    words = data[: len(data) - len(data) % 8].cast("Q")
    for first in range(0, len(words), SLAB_WORDS):
        slab = words[first : first + SLAB_WORDS]
        start = segment.address + lead + 8 * first
        if any(low <= start and start + 8 * len(slab) <= end for low, end in known):
            continue
        for i in [i for i, word in enumerate(slab) if word in _BIG or word & _LOW in _SMALL]:
            if not any(low <= start + 8 * i < end for low, end in known):
                yield lead + 8 * (first + i)


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
