"""What a pool is and what lies in it: the part of ``MemPool`` that only looks.

It owns the shape, the region's buffer and the lock, and the views of blocks.  The records are
in ``pool_view.py``.  Not here: alloc, free and waiting (``mem_pool.py``).
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import Latch, Pin
from kheap.errors import InvalidFree, OutOfMemory
from kheap.heaps.pool_shape import Model, Policy, PoolShape
from kheap.heaps.pool_view import Level, PoolStats, UsedBlock

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PoolBase", "raise_no_block"]

_SIMULATED_ADDRESS = 0x20000000
_ADDRESS_LIMIT = 1 << 64


class PoolBase:
    """A pool, seen from outside.

    Args:
        region: As for ``MemPool``.
        shape: Its other arguments, checked.
        base_address: As for ``MemPool``.
    """

    __slots__ = ("_base_address", "_engine", "_latch", "_open", "_pin", "_region", "_shape")

    def __init__(self, region: Buffer | None, shape: PoolShape, base_address: int | None) -> None:
        if base_address is not None:
            base_address = operator.index(base_address)
            if not 0 <= base_address < _ADDRESS_LIMIT or base_address % shape.align:
                raise ValueError(
                    f"base_address {base_address:#x} is no address aligned to {shape.align}"
                )
        self._shape = shape
        self._engine = shape.engine()
        self._latch = Latch()
        self._pin = Pin()
        self._region: memoryview | None = None
        real_address = _SIMULATED_ADDRESS if region is None else self._take_region(region)
        self._base_address = real_address if base_address is None else base_address
        self._open = True

    def _take_region(self, region: Buffer) -> int:
        """Hold the region's buffer; its address."""
        size_bytes = self._shape.size_bytes
        self._pin._hold(region)
        if self._pin.size_bytes < size_bytes:
            given = self._pin.size_bytes
            self._pin._let_go()
            raise ValueError(f"a region of {given} bytes: the pool needs {size_bytes}")
        self._region = memoryview(region).cast("B")[:size_bytes]
        return self._pin.real_address()

    # ------------------------------------------------------------------ what it is

    @property
    def region(self) -> memoryview | None:
        """The pool's memory, None if it has none."""
        return self._region

    @property
    def base_address(self) -> int:
        """The address that offset 0 is said to lie at."""
        return self._base_address

    @property
    def min_bytes(self) -> int:
        """The smallest block, as the pool was defined."""
        return self._shape.min_bytes

    @property
    def max_bytes(self) -> int:
        """Size of a maximum block."""
        return self._shape.max_bytes

    @property
    def n_max(self) -> int:
        """How many maximum blocks there are."""
        return self._shape.n_max

    @property
    def align(self) -> int:
        """What the memory is aligned to."""
        return self._shape.align

    @property
    def model(self) -> Model:
        """The kind of pool: "quad" or "buddy"."""
        return self._shape.model

    @property
    def policy(self) -> Policy:
        """What a quad pool does before it gives up."""
        return self._shape.policy

    @property
    def bits(self) -> int:
        """Word size of the firmware."""
        return self._shape.bits

    @property
    def size_bytes(self) -> int:
        """All bytes of the pool: ``n_max * max_bytes``."""
        return self._shape.size_bytes

    @property
    def max_request_bytes(self) -> int:
        """The largest request that is ever served; in odd "quad" pools below ``max_bytes``."""
        return self._shape.max_request_bytes

    def __repr__(self) -> str:
        """The pool in a few words."""
        shape = self._shape
        closed = "" if self._open else ", closed"
        return (
            f"<MemPool {shape.model} of {shape.n_max} x {shape.max_bytes} bytes down to"
            f" {shape.sizes[-1]}, at {self._base_address:#x}{closed}>"
        )

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a second object would hand out the same blocks."""
        raise TypeError("a MemPool cannot be copied or pickled")

    # ------------------------------------------------------------------ looking inside

    def view(self, offset: int) -> memoryview:
        """The memory of the block at ``offset``, all of it.

        Raises:
            InvalidFree: No live block begins there.
            ValueError: The pool is closed, or has no memory.
        """
        with self._latch:
            level = self._engine.level_of(self._block(offset))
            if self._region is None:
                raise ValueError("the pool has no memory: it was made with region None")
            return self._region[offset : offset + self._shape.sizes[level]]

    def block_of(self, offset: int) -> tuple[int, int]:
        """Level and number of the block at ``offset``, which a buddy descriptor holds.

        The number counts blocks of that size from the start of the pool.

        Raises:
            InvalidFree: No live block begins there.
            ValueError: The pool is closed.
        """
        with self._latch:
            level = self._engine.level_of(self._block(offset))
            return level, offset // self._shape.sizes[level]

    def free_blocks(self) -> dict[int, list[int]]:
        """The offsets of all free blocks by block size, largest size first.

        Raises:
            ValueError: The pool is closed.

        Complexity: O(blocks).
        """
        with self._latch:
            self._require_open()
            sizes = enumerate(self._shape.sizes)
            return {size: sorted(self._free_offsets(level)) for level, size in sizes}

    def blocks(self) -> tuple[Level, ...]:
        """All blocks, level by level, largest size first.

        Raises:
            ValueError: The pool is closed.

        Complexity: O(blocks).

        >>> from kheap.heaps.mem_pool import MemPool
        >>> pool = MemPool(None, min_bytes=64, max_bytes=256, n_max=1)
        >>> pool.alloc(20)
        0
        >>> pool.blocks()[1].used
        (UsedBlock(offset=0, request_bytes=20),)
        """
        with self._latch:
            self._require_open()
            return self._levels()

    def stats(self) -> PoolStats:
        """The pool in numbers.

        Raises:
            ValueError: The pool is closed.

        Complexity: O(blocks).
        """
        with self._latch:
            self._require_open()
            peak = self._engine.peak_bytes
            return PoolStats.from_levels(self._levels(), self._shape.size_bytes, peak)

    def _levels(self) -> tuple[Level, ...]:
        used: list[list[UsedBlock]] = [[] for _ in self._shape.sizes]
        block = self._engine.block_after(-1)
        while block >= 0:
            request_bytes = self._engine.held_by(block)
            if request_bytes >= 0:
                record = UsedBlock(self._engine.place(block), request_bytes)
                used[self._engine.level_of(block)].append(record)
            block = self._engine.block_after(block)
        return tuple(
            Level(level, size, tuple(self._free_offsets(level)), tuple(used[level]))
            for level, size in enumerate(self._shape.sizes)
        )

    def _free_offsets(self, level: int) -> list[int]:
        """In the order in which they will be handed out."""
        offsets = []
        block = self._engine.free_after(level, -1)
        while block >= 0:
            offsets.append(self._engine.place(block))
            block = self._engine.free_after(level, block)
        return offsets

    # ------------------------------------------------------------------ refusals

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError("the pool is closed")

    def _place(self, offset: int) -> int:
        """The offset as the engine can take it; -1 for what is outside the pool."""
        place = operator.index(offset)
        return place if 0 <= place < self._shape.size_bytes else -1

    def _block(self, offset: int) -> int:
        """The live block at ``offset``."""
        self._require_open()
        block = self._engine.locate(self._place(offset))
        if block < 0:
            raise_no_block(offset)
        return block

    def _raise_out_of_memory(self, request_bytes: int) -> NoReturn:
        free, largest = 0, 0
        for level, size in reversed(list(enumerate(self._shape.sizes))):
            count = self._engine.free_count(level)
            free += count * size
            largest = size if count else largest
        most = self._shape.max_request_bytes
        if request_bytes > most:
            reason = f"it can never fit, the pool serves up to {most}"
        else:
            reason = f"{free} free, largest {largest}"
        raise OutOfMemory(
            f"no block for {request_bytes} bytes: {reason}", request_bytes, free, largest
        )


def raise_no_block(offset: int) -> NoReturn:
    """Refuse an offset."""
    raise InvalidFree(f"no live block at offset {offset}: not handed out, or freed twice", offset)
