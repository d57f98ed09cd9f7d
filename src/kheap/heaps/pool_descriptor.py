"""Blocks that carry a hidden descriptor: what ``k_malloc()`` made of a pool's blocks.

A pool forgets what it gave; so the descriptor that ``k_mem_pool_free()`` wants is kept in the
block's first bytes, as 32-bit words::

  quad, 16    | pool address | block address | data address | bytes asked for, these 16 too |
  buddy, 8                                   | data address | block id |
  buddy, 4                                                  | block id |
                                                                       ^ what the user holds

A block id packs, from the lowest bit on, the pool's number (8 bits, 0 here as the system heap's
is the only pool), the level (4) and the block's number on that level (20).

It owns the descriptor: making room for it, writing it, and comparing it before a block is freed.
Not here: the pools (``mem_pool.py``), locking, and the checks of arguments (``system_heap.py``).
"""

from __future__ import annotations

import operator
import struct
from typing import TYPE_CHECKING

from kheap.errors import InvalidFree
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.pool_shape import Model, Policy
from kheap.heaps.pool_view import PoolStats

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PoolBlocks"]

_MIN_BYTES = 64
_MOST_BLOCKS = 1 << 20
_WORD_MASK = 0xFFFFFFFF
_DESCRIPTOR_BYTES = {"quad": (16,), "buddy": (4, 8)}


class PoolBlocks:
    """Blocks of the pool that ``k_malloc()`` had: one block as large as the region, cut up.

    Offsets are the user's, sizes the user's bytes; None is no memory.
    """

    size_limit = 1 << 32

    def __init__(
        self,
        region: Buffer | int,
        *,
        model: Model,
        policy: Policy,
        descriptor_bytes: int | None,
        base_address: int | None,
        heap_address: int,
    ) -> None:
        allowed = _DESCRIPTOR_BYTES[model]
        self._descriptor_bytes = allowed[0] if descriptor_bytes is None else descriptor_bytes
        if self._descriptor_bytes not in allowed:
            known = " or ".join(map(str, allowed))
            raise ValueError(f"descriptor_bytes of a {model} pool is {known}")
        if not 0 <= heap_address <= _WORD_MASK:
            raise ValueError(f"heap_address {heap_address:#x} is not an address of 32 bits")
        size_bytes = region if isinstance(region, int) else memoryview(region).nbytes
        # Differs from Zephyr: there the one block would be smaller than what it is given for.
        if size_bytes < _MIN_BYTES:
            raise ValueError(f"a pool of {size_bytes} bytes: the smallest block has {_MIN_BYTES}")
        if model == "buddy" and size_bytes // _MIN_BYTES > _MOST_BLOCKS:
            raise ValueError(
                f"a pool of {size_bytes} bytes: its smallest blocks are numbered in 20 bits,"
                f" which {_MOST_BLOCKS * _MIN_BYTES} bytes fill"
            )
        self.heap = MemPool(
            bytearray(region) if isinstance(region, int) else region,
            min_bytes=_MIN_BYTES,
            max_bytes=size_bytes,
            n_max=1,
            model=model,
            policy=policy,
            base_address=base_address,
        )
        self._model = model
        self._heap_address = heap_address
        self._live: dict[int, bytes] = {}

    def malloc(self, request_bytes: int) -> int | None:
        """A block, its descriptor filled in."""
        whole_bytes = request_bytes + self._descriptor_bytes
        if whole_bytes >= self.size_limit:
            # Differs from Zephyr: up to 1.11 the sum wraps around and gives too small a block.
            return None
        # Differs from Zephyr: above 2**30 bytes 1.6 and 1.7 never return, or give 64 bytes.
        block = self.heap.try_alloc(whole_bytes)
        if block is None:
            return None
        descriptor = self._descriptor(block, whole_bytes)
        self.heap.view(block)[: len(descriptor)] = descriptor
        self._live[block] = descriptor
        return block + self._descriptor_bytes

    def free(self, offset: int) -> None:
        """Free it, if its descriptor is as it was."""
        block = self._block_of(offset)
        self.heap.free(block)
        del self._live[block]

    def clear(self, offset: int, count: int) -> None:
        """Zero ``count`` bytes."""
        self.view(offset)[:count] = bytes(count)

    def usable_bytes(self, offset: int) -> int:
        """The user's bytes: the whole block but for the descriptor."""
        return self.view(offset).nbytes

    def view(self, offset: int) -> memoryview:
        """The user's bytes."""
        return self.heap.view(self._block_of(offset))[self._descriptor_bytes :]

    def stats(self) -> PoolStats:
        """The pool in numbers; descriptors count as requested."""
        return self.heap.stats()

    def close(self) -> None:
        """Give the region's buffer back."""
        self.heap.close()

    def _descriptor(self, block: int, whole_bytes: int) -> bytes:
        address = (self.heap.base_address + block) & _WORD_MASK
        if self._model == "quad":
            return struct.pack("=4I", self._heap_address, address, address, whole_bytes)
        level, number = self.heap.block_of(block)
        packed = struct.pack("=I", level << 8 | number << 12)
        return packed if self._descriptor_bytes == 4 else struct.pack("=I", address) + packed

    def _block_of(self, offset: int) -> int:
        """What the pool gave for the user's ``offset``; refused before the first write."""
        block = operator.index(offset) - self._descriptor_bytes
        descriptor = self._live.get(block)
        if descriptor is None:
            raise InvalidFree(f"no live block of this heap at offset {offset}", offset)
        found = bytes(self.heap.view(block)[: len(descriptor)])
        if found != descriptor:
            raise InvalidFree(
                f"the descriptor below offset {offset} was written over: it is {found.hex(' ', 4)},"
                f" not {descriptor.hex(' ', 4)}",
                offset,
            )
        return block
