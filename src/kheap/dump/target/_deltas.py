"""What changed in memory from one moment to the next.

What it owns: memory as pieces with gaps between them, which a recording keeps of a sample, and
their differences.  What it does not: how those are written (``recording.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from kheap.dump.memory import Memory

__all__ = ["Piece", "changes", "pieces_of", "put", "ranges_of"]

#: What differs is told in steps of so many bytes.
STEP_BYTES = 64

#: An address, and the bytes there; pieces are kept by address.
Piece = tuple[int, bytearray]


def pieces_of(memory: Memory) -> list[Piece]:
    """A copy of what a memory holds."""
    return [(run.address, bytearray(run.data)) for run in memory.runs()]


def ranges_of(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Where the pieces lie: address and size of each."""
    return [(address, len(data)) for address, data in pieces]


def _overlapping(pieces: list[Piece], address: int, end: int) -> Iterator[Piece]:
    i = max(0, bisect_right(pieces, address, key=_address) - 1)
    while i < len(pieces) and pieces[i][0] < end:
        if pieces[i][0] + len(pieces[i][1]) > address:
            yield pieces[i]
        i += 1


def _address(piece: Piece) -> int:
    return piece[0]


def put(pieces: list[Piece], address: int, data: bytes | bytearray) -> None:
    """Write ``data`` where there are pieces to take it."""
    for start, into in _overlapping(pieces, address, address + len(data)):
        first, last = max(start, address), min(start + len(into), address + len(data))
        into[first - start : last - start] = data[first - address : last - address]


def changes(old: list[Piece], new: list[Piece]) -> Iterator[tuple[int, bytearray]]:
    """What must be written over ``old`` to have ``new``."""
    for address, data in new:
        at, end = address, address + len(data)
        for start, before in _overlapping(old, address, end):
            first, last = max(start, address), min(start + len(before), end)
            if at < first:
                yield at, data[at - address : first - address]
            was, now = before[first - start : last - start], data[first - address : last - address]
            yield from _differences(first, was, now)
            at = last
        if at < end:
            yield at, data[at - address :]


def _differences(address: int, was: bytearray, now: bytearray) -> Iterator[tuple[int, bytearray]]:
    """The runs of steps that differ, in two pieces of equal length."""
    begin = -1
    # One step beyond the end, where nothing differs, ends the last run.
    for i in range(0, len(now) + STEP_BYTES, STEP_BYTES):
        differs = was[i : i + STEP_BYTES] != now[i : i + STEP_BYTES]
        if differs and begin < 0:
            begin = i
        elif begin >= 0 and not differs:
            yield address + begin, now[begin:i]
            begin = -1
