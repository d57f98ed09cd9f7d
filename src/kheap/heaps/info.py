"""Zephyr's printout of a heap, letter for letter.

In Zephyr: ``sys_heap_print_info()``, ``lib/heap/heap_info.c`` (CONFIG_SYS_HEAP_INFO).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kheap.heaps.stats import HeapStats
from kheap.heaps.view import Bucket, Chunk

__all__ = ["heap_info"]

_TABLE_HEAD = """\
  bucket#    min units        total      largest      largest
             threshold       chunks      (units)      (bytes)
  -----------------------------------------------------------
"""
_MARKS = {"control": "*", "used": "*", "end": "*", "free": "-", "undersized": "."}


def heap_info(
    address: int,
    end_chunk: int,
    buckets: list[Bucket],
    stats: HeapStats,
    largest_less: int,
    chunks: Iterable[Chunk] | None,
) -> str:
    """The text; ``chunks`` adds the chunk dump.

    ``largest_less`` bytes are left out of a bucket's largest chunk: its header, before 4.2.
    """
    parts = [
        f"Heap at 0x{address:x} contains {end_chunk} units in {len(buckets)} buckets\n\n",
        _TABLE_HEAD,
        *(_bucket_line(bucket, largest_less) for bucket in buckets if bucket.chunks),
    ]
    if chunks is not None:
        parts.append("\nChunk dump:\n")
        parts.extend(_chunk_lines(chunks))
    total = stats.heap_bytes
    tenths = (1000 * stats.overhead_bytes + total // 2) // total
    parts.append(
        f"\n{stats.free_bytes} free bytes, {stats.allocated_bytes} allocated bytes,"
        f" overhead = {stats.overhead_bytes} bytes ({tenths // 10}.{tenths % 10}%)\n"
    )
    return "".join(parts)


def _bucket_line(bucket: Bucket, largest_less: int) -> str:
    largest_bytes = 8 * bucket.largest_units - largest_less
    return (
        f"{bucket.bucket:9d} {bucket.min_units:12d} {len(bucket.chunks):12d}"
        f" {bucket.largest_units:12d} {largest_bytes:12d}\n"
    )


def _chunk_lines(chunks: Iterable[Chunk]) -> Iterator[str]:
    for c in chunks:
        right = c.chunk + c.size_units
        yield (
            f"chunk {c.chunk:4d}: [{_MARKS[c.state]}] size={c.size_units:<4d}"
            f" left={c.left:<4d} right={right}\n"
        )
