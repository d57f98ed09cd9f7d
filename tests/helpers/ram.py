"""The RAM of a made-up target: heaps of kheap's own engine, and words placed by hand."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import NamedTuple

from kheap import Profile, SysHeap
from kheap.dump.memory import Memory

RAM = 0x20000000


class Columns(NamedTuple):
    """The used blocks of a heap."""

    address: array
    usable: array


@dataclass
class PlacedHeap:
    """A heap in the RAM, as ``find_owners`` wants one."""

    ram: Ram
    heap: SysHeap
    name: str
    kind: str
    object_address: int | None

    @property
    def address(self):
        return self.heap.base_address

    @property
    def size_bytes(self):
        return self.heap.size_bytes

    @property
    def blocks(self):
        width = self.heap.geometry.header_bytes
        used = [chunk for chunk in self.heap.chunks() if chunk.state == "used"]
        return Columns(
            array("q", [self.address + chunk.offset + width for chunk in used]),
            array("q", [chunk.chunk_bytes - width for chunk in used]),
        )

    def alloc(self, size, align=0):
        """The address of a new block."""
        return self.address + self.heap.alloc(size, align=align)

    def k_malloc(self, size, align=0):
        """As ``k_malloc()`` or, with an alignment, ``k_aligned_alloc()``; the user's pointer."""
        width = self.ram.width
        block = self.alloc(size + width, align | width if align else 0)
        self.ram.put(block, self.object_address)
        return block + width

    def free(self, address):
        self.heap.free(address - self.address)


class Ram:
    """``size`` bytes from :data:`RAM` on; a k_heap's object may be had at any address."""

    def __init__(self, *, bits=32, size=0x4000):
        self.bits, self.width = bits, bits // 8
        self.bytes = bytearray(size)
        self.heaps = []

    def heap(self, name, address, size, *, kind="k_heap", at=None, **profile):
        """Make a heap there; with ``at`` its object lies there and names its region."""
        region = memoryview(self.bytes)[address - RAM :][:size]
        profile.setdefault("runtime_stats", False)
        made = SysHeap(region, Profile(bits=self.bits, **profile), base_address=address)
        self.heaps.append(PlacedHeap(self, made, name, kind, at))
        if at is not None:
            queue = at + 3 * self.width
            self.put(at, address, address, size, queue, queue)
        return self.heaps[-1]

    def put(self, address, *words):
        """Write words."""
        for i, word in enumerate(words):
            self.write(address + i * self.width, word.to_bytes(self.width, "little"))

    def write(self, address, data):
        """Write bytes."""
        self.bytes[address - RAM : address - RAM + len(data)] = data

    def memory(self, address=RAM, size=None):
        """All of it, or a part."""
        start = address - RAM
        memory = Memory()
        memory.add(address, bytes(self.bytes[start : None if size is None else start + size]))
        return memory
