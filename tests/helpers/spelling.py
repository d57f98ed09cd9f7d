"""A second reader of heaps: what the bytes of a region say, without kheap.

Everything here follows from the layout's description alone (a control block, chunks with a
header, rings of free chunks) and from a :class:`Build`: word size, statistics, trailer units
and the rule for headers.  Tests hold kheap's answers against it.

* :func:`read_heap` reads a region; it checks each size and link before it follows it, and
  raises :class:`Unreadable` where they lead nowhere.
* :func:`spell` says a heap on one line: ``|H6 *4 -10 *2 .1 F`` is metadata, a used, a free, a
  used and an undersized chunk and the footer, with their sizes in units.
* :func:`spell_rings` says the free lists: ``2:7 4:16,33`` is ``bucket:head,next,...``.
* :func:`problems` lists every broken invariant, :func:`masked` blanks what a caller may have
  written, :func:`field_bytes` tells where one field lies so that a test can corrupt it.

Regions may be any buffer; ``address`` is where their first byte is said to lie.  Only its
remainder by 8 matters, but for canaries.  Not here: allocating; big-endian regions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

UNIT = 8
SMALL_MAX_UNITS = 0x7FFF
CANARY_KEY = 0x5A6B7C8D9EAFB0C1

Region = bytes | bytearray | memoryview


class Unreadable(ValueError):
    """The bytes are no heap: a size or a link leads outside, or nowhere."""


class Build(NamedTuple):
    """What must be known of a Zephyr build to read its heaps.

    Attributes:
        word_bytes: Bytes of a pointer: 4 or 8.
        stats: Whether the control block holds runtime statistics.
        trailer_units: Units of canary behind a used chunk: 0 or 1.
        header: "auto", "small" or "big"; builds with 8-byte words are always big.
        counts_header: Whether statistics count a chunk's header in, as 4.2 and 4.3 do.
    """

    word_bytes: int = 8
    stats: bool = True
    trailer_units: int = 0
    header: str = "auto"
    counts_header: bool = False

    def header_bytes(self, end_chunk: int) -> int:
        """Bytes of a chunk header in a heap of so many units: 8 or 4."""
        if self.word_bytes == 8 or self.header == "big":
            return 8
        return 8 if self.header == "auto" and end_chunk > SMALL_MAX_UNITS else 4

    @property
    def table_byte(self) -> int:
        """Where the bucket heads begin, from the heap's start."""
        return 16 + (3 * self.word_bytes if self.stats else 0)


class Chunk(NamedTuple):
    """A chunk as its header says: its id, its size and its left neighbour's, in units."""

    chunk: int
    size_units: int
    left_units: int
    used: bool
    state: str  # "control" | "used" | "free" | "undersized" | "end"


@dataclass(frozen=True)
class HeapImage:
    """A heap as read from its bytes.

    Attributes:
        build: What it was read as.
        start: Byte of the heap's start, from the region's first byte.
        end_chunk: Number of units; id of the end marker.
        header_bytes: 4 or 8.
        min_units: The smallest chunk that is listed when free.
        mask: Bit b is set where bucket b is not empty.
        stats: Free, allocated and most allocated bytes as stored; None without statistics.
        chunks: All chunks in order, chunk 0 and the end marker included.
        rings: Bucket to its members from the head on; empty buckets are left out.
    """

    build: Build
    start: int
    end_chunk: int
    header_bytes: int
    min_units: int
    mask: int
    stats: tuple[int, int, int] | None
    chunks: tuple[Chunk, ...]
    rings: dict[int, tuple[int, ...]]

    @property
    def bucket_count(self) -> int:
        """Number of bucket heads in the control block."""
        return (self.end_chunk - self.min_units + 1).bit_length()

    def byte(self, chunk: int) -> int:
        """The first byte of a chunk, counted from the region's first byte."""
        return self.start + UNIT * chunk

    def chunk_of(self, offset: int) -> int:
        """The id of the chunk that a block at ``offset`` of the region lies in."""
        return (offset - self.header_bytes - self.start) // UNIT

    def memory_bytes(self, size_units: int) -> int:
        """A chunk's bytes as statistics count them: without header and trailer."""
        if self.build.counts_header:
            return UNIT * size_units
        return UNIT * (size_units - self.build.trailer_units) - self.header_bytes

    def state_bytes(self, state: str) -> int:
        """The sum of :meth:`memory_bytes` over the chunks in one state."""
        return sum(self.memory_bytes(c.size_units) for c in self.chunks if c.state == state)

    @property
    def largest_free_bytes(self) -> int:
        """Bytes of the largest listed free chunk; 0 where there is none."""
        sizes = [c.size_units for c in self.chunks if c.state == "free"]
        return self.memory_bytes(max(sizes)) if sizes else 0


def read_heap(region: Region, build: Build, address: int = 0) -> HeapImage:
    """Read the heap in ``region``.

    Raises:
        Unreadable: A size does not lead to the end marker, or a ring does not close.
    """
    return _Reader(region, build, -address % UNIT).image()


def spell(region: Region, build: Build, address: int = 0) -> str:
    """The heap on one line, such as ``|H6 *4 -10 *2 .1 F``.

    Raises:
        Unreadable: As :func:`read_heap`.
    """
    return spell_chunks(read_heap(region, build, address))


def spell_chunks(image: HeapImage) -> str:
    """The chunks of a heap on one line, as :func:`spell` writes them."""
    marks = {"control": "|H", "used": "*", "free": "-", "undersized": "."}
    words = [f"{marks[c.state]}{c.size_units}" for c in image.chunks[:-1]]
    return " ".join([*words, "F"])


def spell_rings(image: HeapImage) -> str:
    """The free lists as ``bucket:head,next,...``, empty buckets left out."""
    return " ".join(f"{b}:{','.join(map(str, ring))}" for b, ring in image.rings.items())


def masked(region: Region, image: HeapImage) -> bytes:
    """The region with everything zeroed that is neither metadata nor outside the heap.

    Kept are the control block, the headers, the links of listed chunks, and the bytes before
    the heap's start and behind the end marker's header.
    """
    out = bytearray(region)
    for chunk in image.chunks[1:-1]:
        kept = image.header_bytes * (2 if chunk.state == "free" else 1)
        first, end = image.byte(chunk.chunk) + kept, image.byte(chunk.chunk + chunk.size_units)
        out[first:end] = bytes(end - first)
    return bytes(out)


def canary(chunk_address: int, size_units: int) -> int:
    """The canary of a used chunk of 4.4: its last eight bytes."""
    return chunk_address ^ size_units ^ CANARY_KEY


def problems(region: Region, build: Build, address: int = 0) -> list[str]:
    """Every broken invariant, in words; empty for a sound heap."""
    try:
        image = read_heap(region, build, address)
    except Unreadable as error:
        return [str(error)]
    found = [*_chunk_problems(image), *_ring_problems(image), *_sum_problems(image)]
    if build.trailer_units:
        found += _canary_problems(region, image, address)
    return found


def field_bytes(image: HeapImage, name: str, which: int = 0) -> slice:
    """Where one field lies in the region, for tests that corrupt it.

    Args:
        name: "left", "size" (its lowest bit is the used flag), "prev" or "next" of chunk
            ``which``; "head" of bucket ``which``; "end_chunk" or "mask"; "free", "allocated"
            or "max_allocated" of the stored statistics; "canary" of used chunk ``which``.
        which: Chunk id, or bucket.
    """
    half, word = image.header_bytes // 2, image.build.word_bytes
    if name in ("left", "size", "prev", "next"):
        first, width = image.byte(which), half
        first += half * ("left", "size", "prev", "next").index(name)
    elif name in ("free", "allocated", "max_allocated"):
        first, width = image.start + 16, word
        first += word * ("free", "allocated", "max_allocated").index(name)
    elif name == "canary":
        sizes = {c.chunk: c.size_units for c in image.chunks}
        first, width = image.byte(which + sizes[which] - 1), UNIT
    else:
        byte = {"end_chunk": 8, "mask": 12, "head": image.build.table_byte + 4 * which}[name]
        first, width = image.start + byte, 4
    return slice(first, first + width)


class _Reader:
    """Reads one region; every id is checked before it is followed."""

    def __init__(self, region: Region, build: Build, start: int) -> None:
        self.region, self.build, self.start = region, build, start
        if start + 16 > len(region):
            raise Unreadable(f"{len(region)} bytes hold no control block")
        self.end_chunk, self.mask = self.numbers("<2I", 8)
        self.header_bytes = build.header_bytes(self.end_chunk)
        if start + UNIT * self.end_chunk + self.header_bytes > len(region):
            raise Unreadable(f"end marker {self.end_chunk} lies outside {len(region)} bytes")
        self.min_units = (2 if self.header_bytes == 8 else 1) + build.trailer_units
        self.pair = "<2I" if self.header_bytes == 8 else "<2H"

    def numbers(self, form: str, byte: int) -> tuple[int, ...]:
        """Numbers at a byte of the heap."""
        return struct.unpack_from(form, self.region, self.start + byte)

    def image(self) -> HeapImage:
        word = "<3Q" if self.build.word_bytes == 8 else "<3I"
        stats = self.numbers(word, 16) if self.build.stats else None
        return HeapImage(
            build=self.build,
            start=self.start,
            end_chunk=self.end_chunk,
            header_bytes=self.header_bytes,
            min_units=self.min_units,
            mask=self.mask,
            stats=stats,
            chunks=tuple(self.chunks()),
            rings=self.rings(),
        )

    def chunks(self) -> Iterator[Chunk]:
        chunk = 0
        while chunk < self.end_chunk:
            left, size_and_used = self.numbers(self.pair, UNIT * chunk)
            size, used = size_and_used >> 1, bool(size_and_used & 1)
            if size == 0 or chunk + size > self.end_chunk:
                raise Unreadable(f"chunk {chunk}: size {size} leads nowhere")
            yield Chunk(chunk, size, left, used, self.state(chunk, size, used))
            chunk += size
        left, size_and_used = self.numbers(self.pair, UNIT * chunk)
        yield Chunk(chunk, size_and_used >> 1, left, bool(size_and_used & 1), "end")

    def state(self, chunk: int, size: int, used: bool) -> str:
        if chunk == 0:
            return "control"
        if used:
            return "used"
        return "free" if size >= self.min_units else "undersized"

    def rings(self) -> dict[int, tuple[int, ...]]:
        count = (self.end_chunk - self.min_units + 1).bit_length()
        if self.build.table_byte + 4 * count > UNIT * self.end_chunk:
            raise Unreadable(f"{self.end_chunk} units do not hold {count} bucket heads")
        heads = self.numbers(f"<{count}I", self.build.table_byte)
        return {b: self.ring(b, head) for b, head in enumerate(heads) if head}

    def ring(self, bucket: int, head: int) -> tuple[int, ...]:
        members = [head]
        seen = {head}
        while True:
            following = self.links(bucket, members[-1])[1]
            if self.links(bucket, following)[0] != members[-1]:
                raise Unreadable(f"ring {bucket}: chunk {following} does not point back")
            if following == head:
                return tuple(members)
            if following in seen:
                raise Unreadable(f"ring {bucket} comes back to {following}, not to its head")
            seen.add(following)
            members.append(following)

    def links(self, bucket: int, chunk: int) -> tuple[int, ...]:
        if not 0 < chunk < self.end_chunk:
            raise Unreadable(f"ring {bucket} leads to chunk {chunk} of {self.end_chunk}")
        return self.numbers(self.pair, UNIT * chunk + self.header_bytes)


def _chunk_problems(image: HeapImage) -> Iterator[str]:
    first, end = image.chunks[0], image.chunks[-1]
    table_units = -(-(image.build.table_byte + 4 * image.bucket_count) // UNIT)
    if first.size_units != table_units + image.build.trailer_units:
        yield f"chunk 0 has {first.size_units} units for a table of {table_units}"
    if not first.used or first.left_units:
        yield "chunk 0 is not used, or has a left neighbour"
    if not end.used or end.size_units:
        yield "the end marker is not used, or has a size"
    for left, right in zip(image.chunks, image.chunks[1:], strict=False):
        if right.left_units != left.size_units:
            yield f"chunk {right.chunk}: left size {right.left_units}, not {left.size_units}"
        if not left.used and not right.used:
            yield f"chunks {left.chunk} and {right.chunk} are both free"
        if left.state == "used" and left.size_units < image.min_units:
            yield f"chunk {left.chunk} is used with {left.size_units} units"


def _ring_problems(image: HeapImage) -> Iterator[str]:
    free = {c.chunk: c.size_units for c in image.chunks if c.state == "free"}
    listed = [chunk for ring in image.rings.values() for chunk in ring]
    if sorted(listed) != sorted(free):
        yield f"free chunks {sorted(free)}, listed chunks {sorted(listed)}"
    if image.mask != sum(1 << bucket for bucket in image.rings):
        yield f"mask {image.mask:#x} for buckets {sorted(image.rings)}"
    for bucket, ring in image.rings.items():
        for chunk in ring:
            size = free.get(chunk)
            if size is not None and (size - image.min_units + 1).bit_length() - 1 != bucket:
                yield f"chunk {chunk} of {size} units is in bucket {bucket}"


def _sum_problems(image: HeapImage) -> Iterator[str]:
    if image.stats is None:
        return
    sums = image.state_bytes("free"), image.state_bytes("used")
    if image.stats[:2] != sums:
        yield f"statistics {image.stats[:2]}, sums over the chunks {sums}"
    if image.stats[2] < image.stats[1]:
        yield f"most allocated bytes {image.stats[2]} below allocated bytes {image.stats[1]}"


def _canary_problems(region: Region, image: HeapImage, address: int) -> Iterator[str]:
    for chunk in image.chunks[:-1]:
        if not chunk.used:
            continue
        found = int.from_bytes(region[field_bytes(image, "canary", chunk.chunk)], "little")
        wanted = canary(address + image.byte(chunk.chunk), chunk.size_units)
        if found != wanted:
            yield f"chunk {chunk.chunk}: canary {found:#x}, not {wanted:#x}"
