"""The memory of a target, as far as it is known: pieces of bytes, each at its address.

It owns reading over the borders of pieces, and what is known where two of them overlap.
Dumps fill it at once; a live target fetches what is asked for and keeps it, so that one
:class:`Memory` is one moment.  Not here: file formats (``containers.py``).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

__all__ = ["Memory", "Segment"]

#: Bytes that one call of ``fetch`` is asked for: reads nearby are then answered at once.
PAGE_BYTES = 1024

Fetch = Callable[[int, int], bytes | None]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A piece of memory.

    Attributes:
        address: Of its first byte.
        data: Its bytes.
        source: Where it was read from, for people.
    """

    address: int
    data: memoryview = field(compare=False)
    source: str = field(default="", compare=False)

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + len(self.data)


class Memory:
    """Bytes by address.

    Args:
        fetch: Called with an address and a count for what is not held; gives so many bytes,
            or None where there is no such memory.

    Attributes:
        segments: The pieces by address; no two overlap.
        overlaps: (first, last) addresses that a later piece held as well, with other bytes;
            the earlier one stays.
    """

    def __init__(self, fetch: Fetch | None = None) -> None:
        self.segments: list[Segment] = []
        self.overlaps: list[tuple[int, int]] = []
        self._fetch = fetch

    @property
    def byte_count(self) -> int:
        """Bytes held."""
        return sum(len(segment.data) for segment in self.segments)

    def add(self, address: int, data: bytes | bytearray | memoryview, source: str = "") -> None:
        """Hold ``data`` at ``address``; where bytes are held already, those stay.

        Complexity: O(pieces).
        """
        start, view = address, memoryview(data).cast("B")
        for other in list(self._overlapping(address, address + len(view))):
            self._note_overlap(other, address, view)
            if start < other.address:
                self._keep(Segment(start, view[start - address : other.address - address], source))
            start = max(start, other.end)
        if start - address < len(view):
            self._keep(Segment(start, view[start - address :], source))

    def read(self, address: int, count: int) -> memoryview | None:
        """``count`` bytes from ``address`` on; None unless all of them are known."""
        if address < 0 or count < 0:
            return None
        segment = self._segment_at(address)
        if segment is not None and address + count <= segment.end:
            return segment.data[address - segment.address :][:count]
        parts = self._parts(address, count)
        return None if parts is None else memoryview(b"".join(parts))

    def word(self, address: int, width: int) -> int | None:
        """The little-endian unsigned number of ``width`` bytes there; None if unknown."""
        found = self.read(address, width)
        return None if found is None else int.from_bytes(found, "little")

    def text(self, address: int, limit: int = 64) -> str | None:
        """The printable text that ends with a zero byte there; None if there is none.

        ``limit`` is the most characters that are looked at.
        """
        characters = bytearray()
        while len(characters) < limit:
            byte = self.word(address + len(characters), 1)
            if byte is None or (byte and not 32 <= byte < 127):
                return None
            if not byte:
                return characters.decode("ascii") or None
            characters.append(byte)
        return None

    def runs(self) -> Iterator[Segment]:
        """The pieces, those that touch as one. Complexity: O(bytes) where any touch."""
        run: list[Segment] = []
        for segment in self.segments:
            if run and run[-1].end != segment.address:
                yield _joined(run)
                run = []
            run.append(segment)
        if run:
            yield _joined(run)

    def extent(self, address: int) -> int:
        """How many bytes are held from ``address`` on without a gap; fetches nothing."""
        start = address
        while (segment := self._segment_at(address)) is not None:
            address = segment.end
        return address - start

    def _segment_at(self, address: int) -> Segment | None:
        i = bisect_right(self.segments, address, key=_address_of) - 1
        if i >= 0 and address < self.segments[i].end:
            return self.segments[i]
        return None

    def _overlapping(self, start: int, end: int) -> list[Segment]:
        first = max(0, bisect_right(self.segments, start, key=_address_of) - 1)
        stop = bisect_right(self.segments, end - 1, key=_address_of)
        return [segment for segment in self.segments[first:stop] if segment.end > start]

    def _keep(self, segment: Segment) -> None:
        if len(segment.data):
            insort(self.segments, segment)

    def _note_overlap(self, other: Segment, address: int, view: memoryview) -> None:
        start, end = max(address, other.address), min(address + len(view), other.end)
        ours, theirs = view[start - address : end - address], other.data[start - other.address :]
        if ours != theirs[: end - start]:
            self.overlaps.append((start, end - 1))

    def _parts(self, address: int, count: int) -> list[memoryview] | None:
        parts, end = [], address + count
        while address < end:
            segment = self._segment_at(address)
            if segment is None and self._fetch is not None:
                self._fetch_around(address, end)
                segment = self._segment_at(address)
            if segment is None:
                return None
            part = segment.data[address - segment.address :][: end - address]
            parts.append(part)
            address += len(part)
        return parts

    def _fetch_around(self, address: int, end: int) -> None:
        """Fetch a whole page if that works, else just what is wanted."""
        assert self._fetch is not None
        start = address - address % PAGE_BYTES
        count = max(end - start, PAGE_BYTES)
        data = self._fetch(start, count)
        if data is None:
            start, data = address, self._fetch(address, end - address)
        if data:
            self.add(start, data, "target")


def _joined(run: list[Segment]) -> Segment:
    if len(run) == 1:
        return run[0]
    data = b"".join(segment.data for segment in run)
    return Segment(run[0].address, memoryview(data), run[0].source)


def _address_of(segment: Segment) -> int:
    return segment.address
