"""Where a heap with canaries lies, when nobody told its address.

A canary is the address of its chunk, mixed with the chunk's size; so an image of memory whose
address is not known tells it, as far as most canaries of a heap agree.  Not here: whether
each of them holds (``kheap._core.check``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from kheap._core.chunk import CANARY_SALT
from kheap.dump.chunk_table import CONTROL, USED, ChunkTable
from kheap.dump.diagnosis import diagnose
from kheap.dump.recognise import ENOUGH_FACTS, fitting
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

__all__ = ["address_by_canaries", "notes_of_canaries"]

#: Rows of a heap's chunks that are asked; from the first on.
MOST_ROWS = 1000


def address_by_canaries(
    data: bytearray, profiles: Iterable[Profile], *, whole: bool = True
) -> int | None:
    """The address of a region's first byte that most canaries of a heap in it agree on.

    Args:
        data: The region, which begins with the heap.
        profiles: Those to try; those without canaries tell nothing.
        whole: Whether the region's size is known to be the heap's.

    Complexity: O(chunks) for each profile with canaries.
    """
    with_canaries = [profile for profile in profiles if profile.layout().trailer_units]
    ways = fitting(memoryview(data), 0, len(data), with_canaries, whole)
    for facts, profile, geometry in ways:
        if facts >= ENOUGH_FACTS:
            heap = SysHeap._opened_as(data, profile, geometry, 0)
            told = _told_address(heap, diagnose(heap).table)
            if told is not None:
                return told
    return None


def notes_of_canaries(heap: SysHeap, profiles: Iterable[Profile], *, whole: bool) -> list[str]:
    """What is to be said of a broken heap whose canaries are those of another address."""
    region = bytearray(heap.region[heap.start :])
    told = address_by_canaries(region, profiles, whole=whole)
    if told in (None, heap.base_address + heap.start):
        return []
    return [f"its canaries are those of a heap at {told:#x}: is the dump's address right?"]


def _told_address(heap: SysHeap, table: ChunkTable) -> int | None:
    votes: Counter[int] = Counter()
    count = 0
    rows = zip(table.chunk, table.units, table.state, strict=True)
    for c, units, state in islice(rows, MOST_ROWS):
        if state in (CONTROL, USED):
            end = heap.start + 8 * (c + units)
            canary = int.from_bytes(heap.region[end - 8 : end], "little")
            address = (canary ^ units ^ CANARY_SALT) - 8 * c
            # What is no canary tells no address.
            votes[address] += _is_address(address, heap)
            count += 1
    address, most = votes.most_common(1)[0] if votes else (0, 0)
    return address if most and 2 * most >= count else None


def _is_address(address: int, heap: SysHeap) -> bool:
    """Whether such a heap may lie there; of 64 bits the upper 16 are all 0 or all 1."""
    limit = (1 << heap.profile.bits) - 8 * heap.n
    return 0 < address <= limit and address % 8 == 0 and address >> 48 in (0, 0xFFFF)
