"""Everything that is to be said of the heaps of a dump, worked out once for all reports.

It owns the choice of heaps and the cost of it: who owns the blocks is looked for where that
takes seconds at most, or where it is asked for.  Not here: rendering (``kheap.report``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress

from kheap.dump.chunk_table import USED
from kheap.dump.dump import Dump
from kheap.dump.heap_image import HeapImage
from kheap.dump.names import UNNAMED
from kheap.dump.owners import Group, HeapOwners, find_owners, grouped
from kheap.dump.waiters import Threads, Waiter

__all__ = ["HeapInspection", "Inspection", "inspect"]

#: Blocks whose owners are looked for without being asked to.
OWNED_BLOCKS = 50_000


@dataclass
class HeapInspection:
    """One heap, with its owners and waiters.

    Attributes:
        image: The heap.
        waiters: The threads that wait for it, in the order in which they are served.
        groups: Its blocks by owner, those with most bytes first; empty where not looked for.
        unreached: Its leak suspects: blocks that nothing points to; None where not known.
        notes: What is to be said besides.
    """

    image: HeapImage
    waiters: tuple[Waiter, ...] = ()
    groups: list[Group] = field(default_factory=list)
    unreached: int | None = None
    notes: list[str] = field(default_factory=list)
    owners: list[str | None] | None = None

    def row_owners(self) -> Iterator[str | None]:
        """For each row of the chunk table its owner in a word or two, None for none."""
        owners = iter(self.owners or ())
        for state in self.image.chunks.state:
            yield next(owners, None) if state == USED else None

    def take_owners(self, owners: HeapOwners) -> None:
        """Keep what is known of the owners."""
        self.owners = [owners.text(i) for i in range(len(owners))]
        table = self.image.chunks
        is_used = (state == USED for state in table.state)
        chunk_bytes = (8 * units for units in compress(table.units, is_used))
        # A variable counts as a whole; where no name is known its address tells more.
        whole = map(owners.group, range(len(owners)))
        keys = (
            text if group is not None and group.endswith(UNNAMED) else group
            for text, group in zip(self.owners, whole, strict=True)
        )
        self.groups = grouped(keys, chunk_bytes)
        reached = [owners.is_reached(i) for i in range(len(owners))]
        self.unreached = None if None in reached else reached.count(False)


@dataclass
class Inspection:
    """The chosen heaps of a dump."""

    dump: Dump
    heaps: list[HeapInspection]

    @property
    def is_sound(self) -> bool:
        """Whether there is a heap, and no corruption in any."""
        return bool(self.heaps) and all(heap.image.corruption is None for heap in self.heaps)


def inspect(dump: Dump, name: str | None = None, *, owners: bool | None = None) -> Inspection:
    """Work out what there is to say.

    Args:
        dump: The dump.
        name: Only the heap of that name or address.
        owners: Whether to look for the owners of the blocks; None: up to 50,000 blocks.

    Raises:
        DumpError: No heap has that name.

    Complexity: O(bytes) with owners, else O(chunks).
    """
    chosen = dump.heaps if name is None else [dump.heap(name)]
    found = [HeapInspection(heap, notes=list(heap.notes)) for heap in chosen]
    for heap in found:
        _add_waiters(dump, heap)
    block_count = sum(heap.image.chunks.count(USED) for heap in found)
    if owners or (owners is None and block_count <= OWNED_BLOCKS):
        _add_owners(dump, found)
    elif owners is None:
        for heap in found:
            heap.notes.append(
                f"{block_count:,} blocks are many: who owns them is worked out with --owners"
            )
    return Inspection(dump, found)


def _word_bytes(heap: HeapImage) -> int:
    return heap.profile.bits // 8


def _add_waiters(dump: Dump, found: HeapInspection) -> None:
    heap = found.image
    if heap.kind != "k_heap" or heap.object_address is None:
        return
    queue = Threads(dump.memory, _word_bytes(heap), dump.image).waiting_for(heap.object_address)
    found.waiters = queue.waiters
    if queue.note is not None:
        found.notes.append(queue.note)


def _add_owners(dump: Dump, chosen: list[HeapInspection]) -> None:
    heaps = [heap for heap in dump.heaps if heap.has_contents]
    if not heaps:
        return
    width = dump.image.bits // 8 if dump.image else _word_bytes(heaps[0])
    owners = find_owners(
        dump.memory,
        heaps,
        word_bytes=width,
        image=dump.image,
        is_based=dump.container.based,
    )
    by_heap = {id(heap): known for heap, known in zip(heaps, owners.heaps, strict=True)}
    for found in chosen:
        if id(found.image) in by_heap:
            found.take_owners(by_heap[id(found.image)])
            if owners.note is not None:
                found.notes.append(owners.note)
            if found.unreached:
                found.notes.append(
                    f"nothing points to {found.unreached:,} of its blocks: leak suspects"
                )
