"""Read-only records of what lies in a heap, and a heap spelled on one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Bucket", "Chunk", "one_line"]

#: How :func:`one_line` marks each state.
MARKS = {"control": "H", "used": "*", "free": "-", "undersized": ".", "end": "F"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk.

    Attributes:
        chunk: Its id: its offset from the heap start in 8-byte units.
        offset: Its first byte (its header), from the region's first byte.
        size_units: Its size, header included; 0 for the end marker.
        state: "control" (chunk 0), "used", "free", "undersized" (free, in no list) or "end".
        left: The id of the chunk before it.
    """

    chunk: int
    offset: int
    size_units: int
    state: str
    left: int

    @property
    def chunk_bytes(self) -> int:
        """Its size in bytes, header included."""
        return 8 * self.size_units


@dataclass(frozen=True, slots=True)
class Bucket:
    """One size class of free chunks.

    Attributes:
        bucket: Its index.
        min_units: The smallest chunk it takes.
        chunks: Ids of its chunks in the order of the ring, head first.
        largest_units: The largest of them; 0 when empty.
    """

    bucket: int
    min_units: int
    chunks: tuple[int, ...]
    largest_units: int


def one_line(chunks: Iterable[Chunk]) -> str:
    """A heap on one line, sizes in units: control block, used, free, undersized, end marker.

    >>> from kheap import Profile, SysHeap
    >>> heap = SysHeap(128, Profile(bits=32, runtime_stats=False))
    >>> heap.free((heap.alloc(5), heap.alloc(12))[0])
    >>> one_line(heap.chunks())
    '|H4 -2 *2 -7 F'
    """
    return "|" + " ".join(
        MARKS[c.state] + (str(c.size_units) if c.size_units else "") for c in chunks
    )
