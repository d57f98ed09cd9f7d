"""A model of placement: where the next block will lie, told from a region's bytes alone.

It takes a :class:`helpers.spelling.HeapImage`, read before an operation, and a profile, and
says what the operation will do.  It is written from the allocator's description, one function
a paragraph, and shares no code with kheap.  Rings are not modelled: the next image shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import kheap
from helpers.spelling import Build, HeapImage


def build_of(profile: kheap.Profile) -> Build:
    """What the second reader must know of a profile."""
    return Build(
        word_bytes=profile.bits // 8,
        stats=profile.runtime_stats,
        trailer_units=int(profile.hardening in ("full", "extreme")),
        header=profile.header,
        counts_header=(4, 2) <= profile.version < (4, 4),
    )


@dataclass(frozen=True)
class Model:
    """One state of a heap, and what operations will make of it.

    Attributes:
        image: The heap as read from its bytes.
        profile: The Zephyr that it belongs to.
        address: Where the region's first byte is said to lie.
    """

    image: HeapImage
    profile: kheap.Profile
    address: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", {c.chunk: c.size_units for c in self.image.chunks})
        object.__setattr__(self, "free", {c.chunk for c in self.image.chunks if not c.used})

    # ------------------------------------------------------------------ sizes

    def gap(self, offset: int) -> int:
        """Bytes between a chunk's header and its block."""
        return (offset - self.image.start - self.image.header_bytes) % 8

    def told_gap(self, offset: int) -> int:
        """The gap as the release knows it: 4.4 takes it for 0 on big heaps."""
        forgotten = self.profile.version >= (4, 4) and self.image.header_bytes == 8
        return 0 if forgotten else self.gap(offset)

    def size_of(self, offset: int) -> int:
        """Units of the chunk that holds a block."""
        return self.sizes[self.image.chunk_of(offset)]

    def room(self, offset: int) -> int:
        """Bytes that a block really has."""
        image = self.image
        whole = 8 * (self.size_of(offset) - image.build.trailer_units) - image.header_bytes
        return whole - self.gap(offset)

    def usable(self, offset: int) -> int:
        """Bytes that the release says it has."""
        return self.room(offset) + self.gap(offset) - self.told_gap(offset)

    def event_bytes(self, offset: int) -> int:
        """Bytes that the release tells a listener."""
        if self.profile.version >= (4, 4):
            return self.usable(offset)
        return self.image.memory_bytes(self.size_of(offset))

    # ------------------------------------------------------------------ searching

    def bucket(self, units: int) -> int:
        """The size class of a chunk."""
        return (units - self.image.min_units + 1).bit_length() - 1

    def units(self, request: int, extra: int) -> int | None:
        """Units to search for; None where the release refuses without a search."""
        image = self.image
        units = -(-(request + extra + image.header_bytes) // 8) + image.build.trailer_units
        if self.profile.version >= (4, 2):
            return min(units, image.end_chunk)
        refused = request // 8 >= image.end_chunk or self.bucket(units) >= image.bucket_count
        return None if refused else units

    def find(self, units: int) -> int | None:
        """The chunk that a search takes."""
        rings, first = self.image.rings, self.bucket(units)
        for chunk in rings.get(first, ())[: self.profile.alloc_loops]:
            if self.sizes[chunk] >= units:
                return chunk
        above = [bucket for bucket in rings if bucket > first]
        return rings[min(above)][0] if above else None

    def moved_head(self, units: int) -> tuple[int, int] | None:
        """The bucket whose head a failed search moves, and to which chunk."""
        ring = self.image.rings.get(self.bucket(units), ())
        loops = self.profile.alloc_loops
        return (self.bucket(units), ring[loops]) if len(ring) > loops else None

    # ------------------------------------------------------------------ operations

    def request_units(self, request: int, align: int) -> int | None:
        """Units that an alloc searches for; None for no search."""
        header = self.image.header_bytes
        rewind = align & -align
        if align == rewind:
            rewind, step, align = 0, header, max(align, header)
        else:
            align, step = align - rewind, min(rewind, header)
        return self.units(request, align - step) if request else None

    def alloc(self, request: int, align: int) -> int | None:
        """The offset of the block that an alloc gives."""
        units = self.request_units(request, align)
        found = self.find(units) if units else None
        if found is None:
            return None
        rewind = align & -align
        if align == rewind:
            rewind = 0
        align = max(1, align - rewind)
        if rewind == 0 and align <= self.image.header_bytes:
            align = 1
        place = self.address + self.image.byte(found) + self.image.header_bytes
        return -(-(place + rewind) // align) * align - rewind - self.address

    def in_place(self, offset: int, request: int, align: int) -> int | None:
        """Units that a realloc in place leaves a block with; None if it must move."""
        if align and (self.address + offset) % align:
            return None
        units = self.units(request, self.told_gap(offset))
        chunk, size = self.image.chunk_of(offset), self.size_of(offset)
        right = self.sizes[chunk + size] if chunk + size in self.free else 0
        return units if units and units <= size + right else None
