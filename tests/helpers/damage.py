"""Heaps in use, and one of their own fields written over, with the chunk that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import kheap

BASE = 0x20000100

PROFILES = (
    kheap.Profile(bits=32),
    kheap.Profile(bits=32, header="big"),
    kheap.Profile(bits=64),
    kheap.Profile(bits=32, runtime_stats=False),
    kheap.Profile(bits=64, runtime_stats=False),
    kheap.Profile(bits=64, hardening="full"),
    kheap.Profile(bits=32, hardening="full", runtime_stats=False),
    kheap.Profile(release="4.3", bits=32),
    kheap.Profile(release="3.7", bits=32, runtime_stats=False),
)


def used_heap(profile: kheap.Profile, random: Random, size: int = 2048) -> kheap.SysHeap:
    """A sound heap after some rounds of filling it and making holes.

    Blocks hold random bytes, or zeros, or text; free memory what was there before, among it
    the headers and links of chunks that are no more.
    """
    heap = kheap.SysHeap(size, profile, BASE)
    live: list[int] = []
    for _ in range(random.randint(1, 4)):
        fill(heap, live, random)
        random.shuffle(live)
        for _ in range(random.randint(1, len(live))):
            heap.free(live.pop())
    heap.check()
    return heap


def fill(heap: kheap.SysHeap, live: list[int], random: Random) -> None:
    """Allocate and write until nothing fits."""
    align = random.choice((0, 0, 16, 64))
    while (offset := heap.try_alloc(random.randint(1, 160), align=align)) is not None:
        live.append(offset)
        view = heap.view(offset)
        data = random.choice((random.randbytes(len(view)), bytes(len(view)), b"text" * len(view)))
        view[:] = data[: len(view)]


class Named:
    """A heap made by hand, whose chunks are known by name::

        |H *a -b *c .crumb *d *e *f -tail F

    A small heap has no undersized chunks; there the crumb is a free chunk like others.

    Attributes:
        at, size: The chunk id, and the units, of each name.
    """

    def __init__(self, profile: kheap.Profile) -> None:
        self.heap = kheap.SysHeap(1024, profile, BASE)
        blocks = [self.heap.alloc(40) for _ in range(6)]
        self.heap.free(blocks[2])
        assert self.heap.alloc(32) == blocks[2]
        self.heap.free(blocks[1])
        self.chunks = list(self.heap.chunks())
        names = ("control", "a", "b", "c", "crumb", "d", "e", "f", "tail", "end")
        self.at = {name: c.chunk for name, c in zip(names, self.chunks, strict=True)}
        self.size = {name: c.size_units for name, c in zip(names, self.chunks, strict=True)}
        self.width = self.heap.hdr // 2

    def write(self, c: int, number: int, *values: int) -> None:
        """Write the fields of the chunk at unit ``c`` from a number on: 0 is LEFT_SIZE."""
        at = self.heap.start + 8 * c + number * self.width
        data = b"".join(value.to_bytes(self.width, "little") for value in values)
        self.heap.region[at : at + len(data)] = data

    def header(self, c: int, left: int, units: int, used: int = 1) -> None:
        """Write a header."""
        self.write(c, 0, left, 2 * units + used)


class Field:
    """A field of the heap's own: where it lies, and whose it is."""

    def __init__(self, heap: kheap.SysHeap, name: str, chunk: int, at: int, width: int) -> None:
        self.heap, self.name, self.chunk, self.at, self.width = heap, name, chunk, at, width
        self.old = int.from_bytes(heap.region[heap.start + at :][:width], "little")
        self.new = self.old

    def __repr__(self) -> str:
        """What was written over what."""
        return f"{self.name} of chunk {self.chunk}, {self.old:#x} to {self.new:#x}"

    def damage(self, region: bytearray, random: Random) -> None:
        """Write another value over it: a near one, a flipped bit, a chunk's id or anything."""
        at = self.heap.start + self.at
        limit = 1 << 8 * self.width
        new = old = self.old
        while new == old:
            new = random.choice((
                old + random.randint(-9, 9),
                old ^ 1 << random.randrange(8 * self.width),
                random.randrange(self.heap.n + 1),
                2 * random.randrange(self.heap.n + 1) + random.randint(0, 1),
                random.randrange(limit),
                0,
                0x41414141414141414141 % limit,
            )) % limit  # fmt: skip
        self.new = new
        region[at : at + self.width] = new.to_bytes(self.width, "little")


def fields(heap: kheap.SysHeap) -> Iterator[Field]:
    """Every field that the heap's rules speak of."""
    width = heap.hdr // 2
    word = heap.profile.bits // 8
    for c in heap.chunks():
        at = 8 * c.chunk
        yield Field(heap, "LEFT_SIZE", c.chunk, at, width)
        yield Field(heap, "SIZE_AND_USED", c.chunk, at + width, width)
        if c.state == "free":
            yield Field(heap, "FREE_PREV", c.chunk, at + 2 * width, width)
            yield Field(heap, "FREE_NEXT", c.chunk, at + 3 * width, width)
        if heap.trail and c.state in ("used", "control"):
            yield Field(heap, "canary", c.chunk, at + 8 * c.size_units - 8, 8)
    yield Field(heap, "end_chunk", 0, 8, 4)
    yield Field(heap, "avail_buckets", 0, 12, 4)
    if heap.profile.runtime_stats:
        for i in range(3):
            yield Field(heap, "statistics", 0, 16 + i * word, word)
    for b in range(heap.nb):
        yield Field(heap, "bucket", 0, heap.profile.layout().table_byte + 4 * b, 4)


RAM_BASE = 0x20000000
OBJECT_BYTE = 0x40


def ram_with_object(heap: kheap.SysHeap, region: bytes) -> tuple[int, bytes]:
    """RAM from its address on: a ``struct k_heap`` of the heap, then its region at ``BASE``."""
    word = heap.profile.bits // 8
    queue = RAM_BASE + OBJECT_BYTE + 3 * word
    words = (heap.base_address + heap.start, heap.base_address, len(region), queue, queue)
    record = b"".join(number.to_bytes(word, "little") for number in words)
    ram = bytes(OBJECT_BYTE) + record
    return RAM_BASE, ram + bytes(heap.base_address - RAM_BASE - len(ram)) + region + bytes(64)
