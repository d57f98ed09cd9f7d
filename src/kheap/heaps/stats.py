"""The numbers of a heap, each defined once, as field of a frozen record.

Not here: how they are rendered (``kheap.report``), or how chunks are walked
(``kheap._core.check``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

__all__ = ["ChunkSums", "Fragmentation", "HeapStats", "Verdict"]


class ChunkSums(Protocol):
    """The sums over a heap's chunks; a finished ``HeapWalk`` has them."""

    @property
    def used_count(self) -> int:
        """Used chunks."""

    @property
    def used_units(self) -> int:
        """Their units."""

    @property
    def free_count(self) -> int:
        """Listed free chunks."""

    @property
    def free_units(self) -> int:
        """Their units."""

    @property
    def undersized_count(self) -> int:
        """Undersized chunks."""

    @property
    def largest_units(self) -> int:
        """The largest listed free chunk."""

    @property
    def square_sum(self) -> float:
        """The sum of the squares of the free chunks' counted bytes."""


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """External fragmentation by two measures, 0.0 where no byte is free.

    Attributes:
        one_minus_largest_over_free: 1 - largest free chunk / all free bytes: the part of the
            free memory that the largest possible request cannot have.
        one_minus_root_sum_squares: 1 - sqrt(sum of squares of the free chunks) / all free
            bytes; unlike the first it tells one lost crumb from many (umm_malloc's metric).
    """

    one_minus_largest_over_free: float
    one_minus_root_sum_squares: float


@dataclass(frozen=True, slots=True)
class HeapStats:
    """The state of a heap in numbers.

    A chunk's bytes are counted as the profile's release counts them: without header and
    canary, but with the header in 4.2 and 4.3.  Chunk 0, the end marker and undersized chunks
    are in none of the sums.

    Attributes:
        free_bytes: Sum over listed free chunks.
        allocated_bytes: Sum over used chunks.
        max_allocated_bytes: Most allocated bytes at any one time; None where the profile
            keeps no statistics.
        largest_free_bytes: The largest free chunk.
        free_count: Listed free chunks.
        used_count: Used chunks.
        undersized_count: Free chunks too small for any free list.
        heap_bytes: Bytes from the heap start to the end of the end marker's header.
        overhead_bytes: heap_bytes - free_bytes - allocated_bytes: control block, headers,
            canaries, undersized chunks.
        fragmentation: External fragmentation.
    """

    free_bytes: int
    allocated_bytes: int
    max_allocated_bytes: int | None
    largest_free_bytes: int
    free_count: int
    used_count: int
    undersized_count: int
    heap_bytes: int
    overhead_bytes: int
    fragmentation: Fragmentation

    @classmethod
    def from_walk(
        cls, walk: ChunkSums, uncounted: int, heap_bytes: int, max_bytes: int | None
    ) -> HeapStats:
        """The numbers of a finished walk; ``uncounted`` bytes of each chunk do not count."""
        free = 8 * walk.free_units - walk.free_count * uncounted
        allocated = 8 * walk.used_units - walk.used_count * uncounted
        largest = 8 * walk.largest_units - uncounted if walk.free_count else 0
        return cls(
            free_bytes=free,
            allocated_bytes=allocated,
            max_allocated_bytes=max_bytes,
            largest_free_bytes=largest,
            free_count=walk.free_count,
            used_count=walk.used_count,
            undersized_count=walk.undersized_count,
            heap_bytes=heap_bytes,
            overhead_bytes=heap_bytes - free - allocated,
            fragmentation=Fragmentation(
                1 - largest / free if free else 0.0,
                max(0.0, 1 - sqrt(walk.square_sum) / free) if free else 0.0,
            ),
        )


class Verdict(str):
    """What a request meets: one of seven words, with the numbers behind it.

    It is the word itself, so ``heap.why(64) == "fits"`` holds.

    ============ ==================================================================
    fits         a request now would be served
    exhausted    fewer bytes are free than were asked for
    fragmented   enough bytes are free, but no single chunk is large enough
    search_limit a free chunk is large enough, but lies beyond the ALLOC_LOOPS chunks
                 of its bucket that the search looks at
    alignment    without the alignment it would be served: padding makes the difference
    too_big      no state of this heap could serve it; so too a request for 0 bytes,
                 which Zephyr answers with NULL
    faults       before 4.2: the search would read beyond the bucket table
    ============ ==================================================================

    Attributes:
        verdict: The word as a plain string.
        request_bytes: Bytes asked for.
        align: Alignment asked for.
        needed_bytes: Bytes of the chunk the search asked for, header and padding included.
        free_bytes: Bytes in listed free chunks, as :class:`HeapStats` counts them.
        largest_free_bytes: Bytes in the largest of them, counted alike.
        explanation: The verdict in a sentence.
    """

    __slots__ = (
        "align", "explanation", "free_bytes", "largest_free_bytes", "needed_bytes",
        "request_bytes",
    )  # fmt: skip

    align: int
    explanation: str
    free_bytes: int
    largest_free_bytes: int
    needed_bytes: int
    request_bytes: int

    def __new__(
        cls,
        word: str,
        *,
        request_bytes: int,
        align: int,
        needed_bytes: int,
        free_bytes: int,
        largest_free_bytes: int,
    ) -> Verdict:
        """Make a verdict; the explanation is made of the numbers."""
        self = super().__new__(cls, word)
        self.request_bytes = request_bytes
        self.align = align
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.largest_free_bytes = largest_free_bytes
        self.explanation = self._explain()
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, int]]:
        """What makes the verdict again, for pickle and copy."""
        names = ("request_bytes", "align", "needed_bytes", "free_bytes", "largest_free_bytes")
        return (str(self),), {name: getattr(self, name) for name in names}

    @property
    def verdict(self) -> str:
        """The word as a plain string."""
        return str(self)

    def _explain(self) -> str:
        asked = f"{self.request_bytes:,} bytes" + (
            f" aligned to {self.align}" if self.align else ""
        )
        state = f"{self.free_bytes:,} free, largest {self.largest_free_bytes:,}"
        return {
            "fits": f"{asked}: fits ({state})",
            "exhausted": f"{asked}: the heap is exhausted ({state})",
            "fragmented": f"{asked}: free memory is fragmented ({state})",
            "search_limit": f"{asked}: a large enough chunk is free, but beyond the ALLOC_LOOPS"
            f" chunks that the search looks at ({state})",
            "alignment": f"{asked}: fits without the alignment, whose padding asks for a chunk"
            f" of {self.needed_bytes:,} bytes ({state})",
            "too_big": f"{asked}: no state of this heap could serve it ({state})"
            if self.request_bytes
            else "0 bytes: Zephyr answers NULL",
            "faults": f"{asked}: this release would read beyond the bucket table ({state})",
        }[str(self)]
