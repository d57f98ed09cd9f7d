"""Read-only records of what lies in a block pool, and its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from kheap.heaps.stats import Fragmentation

__all__ = ["Level", "PoolStats", "UsedBlock"]


@dataclass(frozen=True, slots=True)
class UsedBlock:
    """One block that is in use.

    Attributes:
        offset: Its first byte, from the region's first byte.
        request_bytes: What was asked for.
    """

    offset: int
    request_bytes: int


@dataclass(frozen=True, slots=True)
class Level:
    """The blocks of one size.

    Attributes:
        level: Its number, 0 for the maximum blocks.
        block_bytes: The size of its blocks.
        free: Offsets of the free blocks, in the order in which they will be handed out.
        used: The used blocks by offset.
    """

    level: int
    block_bytes: int
    free: tuple[int, ...]
    used: tuple[UsedBlock, ...]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The state of a block pool in numbers.

    size_bytes = free_bytes + allocated_bytes + lost_bytes.

    Attributes:
        size_bytes: All of the pool.
        free_bytes: Sum over free blocks.
        allocated_bytes: Sum over used blocks, each with its whole size.
        max_allocated_bytes: Most allocated bytes at any one time.
        requested_bytes: What was asked for of the used blocks; allocated_bytes minus this is
            the internal fragmentation.
        largest_free_bytes: The largest free block, 0 for none.
        free_count: Free blocks.
        used_count: Used blocks.
        lost_bytes: What is left over where blocks are cut whose size does not divide by four.
        fragmentation: External fragmentation.
    """

    size_bytes: int
    free_bytes: int
    allocated_bytes: int
    max_allocated_bytes: int
    requested_bytes: int
    largest_free_bytes: int
    free_count: int
    used_count: int
    lost_bytes: int
    fragmentation: Fragmentation

    @classmethod
    def from_levels(
        cls, levels: Iterable[Level], size_bytes: int, max_allocated_bytes: int
    ) -> PoolStats:
        """The numbers of all levels of a pool."""
        free = [one.block_bytes for one in levels for _ in one.free]
        used = [(one.block_bytes, block.request_bytes) for one in levels for block in one.used]
        free_bytes, largest = sum(free), max(free, default=0)
        allocated = sum(block_bytes for block_bytes, _ in used)
        squares = sum(block_bytes * block_bytes for block_bytes in free)
        return cls(
            size_bytes=size_bytes,
            free_bytes=free_bytes,
            allocated_bytes=allocated,
            max_allocated_bytes=max_allocated_bytes,
            requested_bytes=sum(request_bytes for _, request_bytes in used),
            largest_free_bytes=largest,
            free_count=len(free),
            used_count=len(used),
            lost_bytes=size_bytes - free_bytes - allocated,
            fragmentation=Fragmentation(
                1 - largest / free_bytes if free else 0.0,
                max(0.0, 1 - sqrt(squares) / free_bytes) if free else 0.0,
            ),
        )
