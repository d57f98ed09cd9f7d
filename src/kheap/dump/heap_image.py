"""One heap as it lies in a dump: opened, checked, and its chunks listed.

A heap found in a dump is a :class:`kheap.SysHeap` over a copy of its bytes, so everything that
a live heap answers it answers too, and allocating from it tells what would have happened.
Not here: finding it (``find.py``), who owns its blocks (``owners.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from kheap.dump.chunk_table import FREE, UNDERSIZED, USED, Blocks, ChunkTable
from kheap.dump.culprit import Corruption, corruption_of
from kheap.dump.diagnosis import Diagnosis
from kheap.heaps.stats import HeapStats
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

__all__ = ["HeapImage"]


@dataclass(frozen=True, slots=True)
class _Sums:
    """The sums over a chunk table, as those of a finished walk."""

    used_count: int
    used_units: int
    free_count: int
    free_units: int
    undersized_count: int
    largest_units: int
    square_sum: float


@dataclass
class HeapImage:
    """A heap in a dump.

    Attributes:
        name: Its variable's name, or ``heap@0x...`` where none is known.
        heap: The heap, over a private copy of its bytes. Its control block may be damaged:
            look at :attr:`corruption` before you trust what it answers.
        how: How it was found, and how sure that is.
        kind: "k_heap", "sys_heap", or "" where its object was not found.
        object_address: Of its ``struct k_heap`` or ``struct sys_heap``; None if not found.
        held_bytes: How much of its region the dump holds.
        diagnosis: What is wrong, and the chunks.
        notes: What is to be said besides, a sentence each.
        has_contents: Whether the bytes of its blocks are known; not so where the heap was
            rebuilt from a printout.
    """

    name: str
    heap: SysHeap
    diagnosis: Diagnosis
    how: str
    kind: str = ""
    object_address: int | None = None
    held_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    has_contents: bool = True

    @property
    def address(self) -> int:
        """The address of the region's first byte."""
        return self.heap.base_address

    @property
    def size_bytes(self) -> int:
        """Bytes of the region."""
        return self.heap.size_bytes

    @property
    def profile(self) -> Profile:
        """Which Zephyr the heap is of."""
        return self.heap.profile

    @property
    def first_address(self) -> int:
        """The address of chunk 0: of the ``struct z_heap``."""
        return self.heap.base_address + self.heap.start

    @property
    def is_partial(self) -> bool:
        """Whether the dump holds only a part of it."""
        return self.held_bytes < self.size_bytes

    @property
    def chunks(self) -> ChunkTable:
        """All chunks, with the stretches that cannot be read."""
        return self.diagnosis.table

    def rows(self, low: int = 0, high: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Id, units and state of each row that begins in units ``low`` to ``high``."""
        table = self.chunks
        first = bisect_left(table.chunk, low)
        stop = len(table) if high is None else bisect_left(table.chunk, high)
        return zip(
            table.chunk[first:stop], table.units[first:stop], table.state[first:stop], strict=True
        )

    @cached_property
    def corruption(self) -> Corruption | None:
        """What is wrong with it; None for a sound heap."""
        return corruption_of(self.heap, self.diagnosis)

    @cached_property
    def blocks(self) -> Blocks:
        """The used blocks by address."""
        heap = self.heap
        return self.chunks.blocks(self.first_address, heap.hdr, heap.hdr + 8 * heap.trail)

    @cached_property
    def stats(self) -> HeapStats:
        """The heap in numbers, over the chunks that can be read.

        ``max_allocated_bytes`` is None too where what the heap says of it cannot be, or where
        the heap was rebuilt from a printout.
        """
        heap = self.heap
        highest = heap._stat(2) if heap.profile.runtime_stats and self.has_contents else None
        if self.corruption is None and not self.is_partial:
            return replace(heap.stats(), max_allocated_bytes=highest)
        sums = HeapStats.from_walk(self._sums(), heap.uncounted, 8 * heap.n + heap.hdr, highest)
        is_likely = highest is None or sums.allocated_bytes <= highest <= 8 * heap.n
        return sums if is_likely else replace(sums, max_allocated_bytes=None)

    def _sums(self) -> _Sums:
        table = self.chunks
        used, free = table.sizes(USED), table.sizes(FREE)
        counted = (8 * units - self.heap.uncounted for units in free)
        return _Sums(
            len(used),
            sum(used),
            len(free),
            sum(free),
            table.count(UNDERSIZED),
            max(free, default=0),
            float(sum(count * count for count in counted)),
        )
