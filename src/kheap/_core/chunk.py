"""The layout of a heap in its region: the picture, the invariants, the arithmetic.

A region is cut into 8-byte units, counted from the heap start (the first address in the
region that is a multiple of 8).  A chunk is a run of units, named by its first unit: its
chunk id.  Chunks tile the heap without gaps::

 chunk 0          chunk c                                            chunk n, the end marker
 +---------------+-----------+------------------+-- - - - - - - - --+-----------+-----+
 | control block | LEFT_SIZE | SIZE_AND_USED    | memory            | LEFT_SIZE | 0|1 |
 +---------------+-----------+------------------+-- - - - - - - - --+-----------+-----+
                               used bit is bit 0  ^ listed free chunks keep
                                                    FREE_PREV, FREE_NEXT here

* LEFT_SIZE and SIZE count units; fields are 2 bytes wide in a small heap and 4 in a big
  one, so the header takes H = 4 or 8 bytes.  SIZE counts the header in.
* LEFT_SIZE comes first, so the word just below a block's memory is its own size and the
  word just above its end is its right neighbour's LEFT_SIZE: an overflow meets that first.
* Free chunks hang in rings, one ring (bucket) for each power of two of sizes; chunks
  below the least size m are *undersized*: free, but in no ring and in no statistic.
* With canaries, the last unit of each used chunk (the trailer, T = 1) holds one.

The control block is chunk 0's memory::

  byte 0   chunk 0's header           16  free, allocated, largest allocated bytes: three
       8   end_chunk: n, 4 bytes          words of W bytes, only with runtime statistics
      12   bit i: bucket i is not      S  bucket heads, 4 bytes each: a chunk id, 0 = empty
           empty, 4 bytes

Invariants; the checker, the errors and the tests use these names:

  I1   left(right(c)) == c for every chunk but the end marker.
  I2   No two neighbours are both free.
  I3   A free chunk is in the ring of its bucket exactly once, unless it is undersized.
  I4   Bucket bit b is set if and only if ring b is not empty.
  I5   Chunks tile: every size is at least 1, and the last chunk ends at the end marker,
       which has size 0 and is used.
  I6   Chunk 0 is used, has LEFT_SIZE 0 and the size that its region gives it; so has n.
  I7   A used chunk has at least m units.
  I8   A ring holds free chunks of its bucket only, and FREE_PREV(FREE_NEXT(c)) == c.
  I9   The statistics are the sums over the chunks, and the most allocated lie above them.
  I10  A used chunk's canary is intact.

The accounting identity: 8 * n = 8 * (units of chunk 0) + sum of 8 * SIZE over all others.

This module computes where things lie; ``heap.py`` beside it reads and writes them.
In Zephyr: ``lib/heap/heap.h``.  Not here: which release does what (``kheap.profile``).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CANARY_SALT", "INVARIANTS", "Geometry", "Layout", "geometry_of", "plan"]

INVARIANTS = {
    "I1": "left(right(c)) is not c",
    "I2": "two free neighbours",
    "I3": "a free chunk is not in the ring of its bucket exactly once",
    "I4": "a bucket's bit does not tell whether its ring is empty",
    "I5": "a size does not lead to the end marker",
    "I6": "the control block does not fit its region",
    "I7": "a used chunk is smaller than any allocation",
    "I8": "a free-list link is broken",
    "I9": "the statistics are not the sums over the chunks",
    "I10": "a canary is broken",
}

SMALL_MAX_UNITS = 0x7FFF
BIG_MAX_UNITS = 0x7FFFFFFF

#: A chunk's canary is its address, its units and this, combined by exclusive or.
CANARY_SALT = 0x5A6B7C8D9EAFB0C1


class Layout(NamedTuple):
    """What a Zephyr build fixes for all its heaps; :meth:`kheap.Profile.layout` makes one.

    Attributes:
        word_bytes: Bytes of a pointer (W), 4 or 8.
        header: "small", "big", or "auto": big above 0x7fff units.
        stats: Whether the control block keeps runtime statistics.
        trailer_units: Units of canary behind each used chunk (T), 0 or 1.
        alloc_loops: Chunks looked at in the first bucket (CONFIG_SYS_HEAP_ALLOC_LOOPS).
        checks: Hardening level, 0 (none) to 4 (extreme).
        clamps: Oversized requests are clamped to n units (4.2 on); before, a request just
            below the heap's size could read beyond the bucket table.
        counts_header: Statistics and events count a chunk's header in (4.2 and 4.3).
        big_gap: The bytes that alignment leaves in front of a block are subtracted from
            its usable size on big heaps too (before 4.4).
        event_gap: Events subtract them (4.4 on).
    """

    word_bytes: int
    header: str
    stats: bool
    trailer_units: int
    alloc_loops: int
    checks: int
    clamps: bool
    counts_header: bool
    big_gap: bool
    event_gap: bool

    @property
    def table_byte(self) -> int:
        """Byte of the first bucket head in the control block (S)."""
        return 16 + (3 * self.word_bytes if self.stats else 0)


class Geometry(NamedTuple):
    """Where a heap lies in one region.

    Attributes:
        start: Byte of the heap start, from the region's first byte.
        end_chunk: Number of units; the id of the end marker (n).
        big: Whether headers are 8 bytes wide.
        buckets: Number of buckets.
        chunk0_units: Size of chunk 0, the control block.
        min_units: The smallest chunk that can be allocated or listed (m).
    """

    start: int
    end_chunk: int
    big: bool
    buckets: int
    chunk0_units: int
    min_units: int

    @property
    def header_bytes(self) -> int:
        """Bytes of a chunk header (H): 8 if big, else 4."""
        return 8 if self.big else 4


def plan(layout: Layout, address: int, size_bytes: int) -> Geometry:
    """Lay a heap out in ``size_bytes`` bytes at ``address``.

    The footer's width follows the raw byte count and the header's the units that remain,
    so an automatic 32-bit heap of 262,144 to 262,151 aligned bytes has an 8-byte footer
    and small headers: so it is in Zephyr.

    Raises:
        ValueError: The region is too small, or too big for its headers. Zephyr asserts.
    """
    units = size_bytes >> 3
    if units > (SMALL_MAX_UNITS if layout.header == "small" else BIG_MAX_UNITS):
        raise ValueError(f"region of {size_bytes} bytes is too big for {layout.header} headers")
    footer = 8 if _is_big(layout, units) else 4
    start = -address % 8
    end_chunk = (size_bytes - footer + (address & 7)) // 8 - (1 if start else 0)
    if size_bytes <= footer or end_chunk <= (layout.table_byte + 7) // 8:
        raise ValueError(f"region of {size_bytes} bytes is too small for a heap")
    geometry = geometry_of(layout, start, end_chunk)
    if geometry is None:
        raise ValueError(f"region of {size_bytes} bytes is too small for a heap")
    return geometry


def geometry_of(layout: Layout, start: int, end_chunk: int) -> Geometry | None:
    """The geometry of a heap of ``end_chunk`` units; None where no heap has so few, or many."""
    big = _is_big(layout, end_chunk)
    min_units = (2 if big else 1) + layout.trailer_units
    if not min_units <= end_chunk <= (BIG_MAX_UNITS if big else SMALL_MAX_UNITS):
        return None
    buckets = (end_chunk - min_units + 1).bit_length()
    chunk0_units = (layout.table_byte + 4 * buckets + 7) // 8 + layout.trailer_units
    if chunk0_units + min_units > end_chunk:
        return None
    return Geometry(start, end_chunk, big, buckets, chunk0_units, min_units)


def _is_big(layout: Layout, units: int) -> bool:
    if layout.header == "auto":
        return layout.word_bytes == 8 or units > SMALL_MAX_UNITS
    return layout.header == "big"
