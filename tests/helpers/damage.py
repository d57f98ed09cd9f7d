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
    """A sound heap with blocks full of random bytes, or of zeros, or of text, and holes."""
    heap = kheap.SysHeap(size, profile, BASE)
    live = []
    while (offset := heap.try_alloc(random.randint(1, 160))) is not None:
        live.append(offset)
        view = heap.view(offset)
        fill = random.choice((random.randbytes(len(view)), bytes(len(view)), b"text" * len(view)))
        view[:] = fill[: len(view)]
    random.shuffle(live)
    for offset in live[: random.randint(1, len(live))]:
        heap.free(offset)
    heap.check()
    return heap


class Field:
    """A field of the heap's own: where it lies, and whose it is."""

    def __init__(self, heap: kheap.SysHeap, name: str, chunk: int, at: int, width: int) -> None:
        self.heap, self.name, self.chunk, self.at, self.width = heap, name, chunk, at, width

    def damage(self, region: bytearray, random: Random) -> None:
        """Write another value over it: a near one, a flipped bit, a chunk's id or anything."""
        at = self.heap.start + self.at
        old = int.from_bytes(region[at : at + self.width], "little")
        limit = 1 << 8 * self.width
        new = old
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
