"""A heap made of its printout: a region with the chunks that a chunk dump names.

What it owns: writing those headers, free lists and statistics, into a region that
:class:`kheap.SysHeap` has laid out.  What it does not: the layout (``kheap._core.chunk``, read
its picture first), which one it is (``_printed_layout.py``).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kheap.heaps.sys_heap import SysHeap

if TYPE_CHECKING:
    from kheap.dump.console._printed_heap import PrintedChunk, PrintedHeap
    from kheap.dump.console._printed_layout import Guess

__all__ = ["obstacle", "region_of"]

#: The largest heap that is made again: a few lines of text can name one of 16 GiB.
MOST_REGION_BYTES = 1 << 28


def obstacle(heap: PrintedHeap, guess: Guess | None) -> str | None:
    """Why no heap can be made of this printout; None if one can."""
    if heap.chunks is None:
        return "no chunk dump was printed"
    if heap.holes:
        return _missing(heap.holes)
    for line, reason in heap.contradictions():
        return f"line {line}: {reason}"
    if guess is None:
        return f"no heap has {heap.end_chunk} units"
    if heap.address % 8 or heap.address >> guess.profile.bits:
        return f"no heap starts at {heap.address:#x}"
    if 8 * heap.end_chunk > MOST_REGION_BYTES:
        return f"the heap has more than {MOST_REGION_BYTES >> 20} MiB"
    return _misfit(heap.chunks, guess)


def _missing(holes: list[tuple[int, int]]) -> str:
    names = [f"{first} to {behind - 1}" for first, behind in holes[:3]]
    more = f" and {len(holes) - 3:,} more runs" if len(holes) > 3 else ""
    return f"the chunk dump has no chunks at units {', '.join(names)}{more}"


def _misfit(chunks: list[PrintedChunk], guess: Guess) -> str | None:
    """The first chunk that no heap of this layout can have."""
    geometry = guess.geometry
    if chunks[0].size != geometry.chunk0_units:
        return f"line {chunks[0].line}: no layout has a chunk 0 of {chunks[0].size} units"
    for chunk in chunks[1:-1]:
        if (chunk.size < geometry.min_units) != (chunk.mark == "."):
            return f"line {chunk.line}: no chunk of {chunk.size} units is marked {chunk.mark}"
    return None


def region_of(heap: PrintedHeap, guess: Guess) -> bytes:
    """The region, where :func:`obstacle` finds nothing in the way."""
    assert heap.chunks is not None
    geometry = guess.geometry
    region = bytearray(8 * geometry.end_chunk + geometry.header_bytes)
    SysHeap(region, guess.profile, heap.address).close()
    _Writer(region, heap, guess).write(heap.chunks)
    return bytes(region)


class _Writer:
    """Writes into a region with a fresh heap, whose one free chunk is written over."""

    def __init__(self, region: bytearray, heap: PrintedHeap, guess: Guess) -> None:
        self._region = region
        self._geometry = guess.geometry
        self._guess = guess
        self._address = heap.address
        self._field_bytes = guess.geometry.header_bytes // 2
        # Chunk 0 has its canary, which is (address ^ units) ^ a constant of the release.
        c0 = guess.geometry.chunk0_units
        canary = int.from_bytes(region[8 * c0 - 8 : 8 * c0], sys.byteorder)
        self._salt = canary ^ heap.address ^ c0

    def write(self, chunks: list[PrintedChunk]) -> None:
        first, free_header = 8 * self._geometry.chunk0_units, 4 * self._field_bytes
        self._region[first : first + free_header] = bytes(free_header)
        left_units = chunks[0].size
        for chunk in chunks[1:]:
            self._header(chunk, left_units)
            left_units = chunk.size
        self._rings([chunk for chunk in chunks if chunk.mark == "-"])
        self._statistics(chunks[1:-1])

    def _put(self, place: int, value: int, width: int) -> None:
        self._region[place : place + width] = value.to_bytes(width, sys.byteorder)

    def _header(self, chunk: PrintedChunk, left_units: int) -> None:
        place, width = 8 * chunk.id, self._field_bytes
        is_used = chunk.mark == "*"
        self._put(place, left_units, width)
        self._put(place + width, 2 * chunk.size + is_used, width)
        if is_used and chunk.size and self._guess.trailer_units:
            address = self._address + 8 * chunk.id
            self._put(8 * chunk.right - 8, address ^ chunk.size ^ self._salt, 8)

    def _rings(self, listed: list[PrintedChunk]) -> None:
        """Hang the free chunks into their buckets, by address."""
        rings: dict[int, list[int]] = {}
        for chunk in listed:
            bucket = (chunk.size - self._geometry.min_units + 1).bit_length() - 1
            rings.setdefault(bucket, []).append(chunk.id)
        table = self._guess.profile.layout().table_byte
        for bucket in range(self._geometry.buckets):
            ring = rings.get(bucket, [])
            self._put(table + 4 * bucket, ring[0] if ring else 0, 4)
            for i, c in enumerate(ring):
                links = 8 * c + 2 * self._field_bytes
                self._put(links, ring[i - 1], self._field_bytes)
                self._put(links + self._field_bytes, ring[(i + 1) % len(ring)], self._field_bytes)
        self._put(12, sum(1 << bucket for bucket in rings), 4)

    def _statistics(self, chunks: list[PrintedChunk]) -> None:
        layout = self._guess.profile.layout()
        if not layout.stats:
            return
        free, allocated = (
            sum(8 * chunk.size - self._guess.uncounted for chunk in chunks if chunk.mark == mark)
            for mark in "-*"
        )
        for i, value in enumerate((free, allocated, allocated)):
            self._put(16 + i * layout.word_bytes, value, layout.word_bytes)
