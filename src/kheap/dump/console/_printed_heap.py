"""A heap as ``sys_heap_print_info()`` printed it: its table, its chunks, its last line.

What it owns: the records, and whether the chunks that were printed lie side by side.  What it
does not: reading them from text (``_printed_reader.py``), what they tell of the build
(``_printed_layout.py``), making a heap of them again (``_rebuild.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kheap.dump.console._printed_layout import PrintedLayout, best_guess, layout_facts
from kheap.dump.console._rebuild import obstacle, region_of
from kheap.profile import Profile

__all__ = ["LastLine", "PrintedBucket", "PrintedChunk", "PrintedHeap"]


@dataclass(frozen=True, slots=True)
class PrintedBucket:
    """A row of the table: one bucket that is not empty.

    Attributes:
        line: Number of its line; rows that differ in it alone are equal.
        bucket: Its index.
        min_units: The smallest chunk it takes.
        count: Its free chunks.
        largest_units, largest_bytes: The largest of them; releases count the bytes differently.
    """

    line: int = field(compare=False)
    bucket: int
    min_units: int
    count: int
    largest_units: int
    largest_bytes: int


class PrintedChunk(NamedTuple):
    """A line of the chunk dump.

    Attributes:
        id: Its offset from the heap start in units.
        mark: "*" used, "-" free and listed, "." free and undersized.
        size: Units, header included; 0 for the end marker.
        left, right: Ids of its neighbours, as printed.
        line: Number of its line.
    """

    id: int
    mark: str
    size: int
    left: int
    right: int
    line: int


class LastLine(NamedTuple):
    """The last line of the printout, in bytes, and its number."""

    line: int
    free_bytes: int
    allocated_bytes: int
    overhead_bytes: int


@dataclass(slots=True)
class PrintedHeap:
    """One output of ``sys_heap_print_info()``, as far as the log has it.

    Attributes:
        line: Number of its first line, from 1.
        address: Of the heap start.
        end_chunk: Its units: the id of its end marker.
        bucket_count: Its buckets, empty ones included.
        buckets: The rows of its table.
        chunks: The lines of its chunk dump by id, each id once; None where none was printed.
        last: Its last line; None where the log does not have it.
        release: What the boot banner named as Zephyr's release, as :data:`kheap.profile.RELEASES`
            has it; None without one.
        notes: What is missing or does not agree, with line numbers.
    """

    line: int
    address: int
    end_chunk: int
    bucket_count: int
    buckets: list[PrintedBucket] = field(default_factory=list)
    chunks: list[PrintedChunk] | None = None
    last: LastLine | None = None
    release: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def free_bytes(self) -> int | None:
        """Free bytes as printed; None where the last line is missing."""
        return None if self.last is None else self.last.free_bytes

    @property
    def allocated_bytes(self) -> int | None:
        """Allocated bytes as printed; None where the last line is missing."""
        return None if self.last is None else self.last.allocated_bytes

    @property
    def overhead_bytes(self) -> int | None:
        """All other bytes of the heap as printed; None where the last line is missing."""
        return None if self.last is None else self.last.overhead_bytes

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Runs of units that no line of the chunk dump tells of: first id, and first behind.

        The end marker counts as one unit.  Complexity: O(chunks).
        """
        holes, expected, last = [], 0, -1
        for chunk in self.chunks or []:
            if chunk.id > expected:
                holes.append((expected, chunk.id))
            last, expected = chunk.id, max(expected, chunk.id + chunk.size)
        if self.chunks is not None and last < self.end_chunk:
            holes.append((expected, self.end_chunk + 1))
        return holes

    def contradictions(self) -> Iterator[tuple[int, str]]:
        """Lines of the chunk dump that do not agree with others: number and reason.

        On a device this is what a header that was written over looks like.
        Complexity: O(chunks).
        """
        before: PrintedChunk | None = None
        for chunk in self.chunks or []:
            yield from self._alone(chunk)
            if before is not None:
                yield from _side_by_side(before, chunk)
            before = chunk

    def layout(self) -> PrintedLayout:
        """What the numbers tell of the build. Complexity: O(chunks)."""
        return layout_facts(self)

    def profile(self) -> Profile:
        """The profile that explains the numbers best.

        Where they leave a choice it is the release of the boot banner, else 4.4, then 3.7,
        then 4.3; no statistics; 32 bits.  A heap with fewer units than any heap has gets the
        default of 32 bits.

        Complexity: O(chunks).
        """
        guess = best_guess(self)
        return Profile(bits=32) if guess is None else guess.profile

    def obstacle(self) -> str | None:
        """Why :meth:`rebuild` gives None; None if nothing is in its way.

        Complexity: O(chunks).
        """
        return obstacle(self, best_guess(self))

    def rebuild(self) -> bytes | None:
        """The bytes of a heap with these chunks, from the heap start to the end marker.

        ``kheap.SysHeap.open(bytearray(region), heap.profile(), heap.address)`` opens them.  What
        a printout does not have is filled in: free lists are in the order of addresses,
        blocks are zero, and the most bytes that were ever allocated are those allocated now.

        Returns:
            None where chunks are missing or do not agree, and where the region would be
            larger than 256 MiB: :meth:`obstacle` has the reason.

        Complexity: O(chunks), and the bytes of the heap.
        """
        guess = best_guess(self)
        if guess is None or obstacle(self, guess) is not None:
            return None
        return region_of(self, guess)

    def _alone(self, chunk: PrintedChunk) -> Iterator[tuple[int, str]]:
        """What is wrong with a chunk, whatever its neighbours are."""
        name = f"chunk {chunk.id}"
        end = chunk.id + chunk.size
        if chunk.right != end:
            yield chunk.line, f"{name} of {chunk.size} units ends at {end}, not at {chunk.right}"
        if chunk.id == self.end_chunk:
            if chunk.size or chunk.mark != "*":
                yield chunk.line, f"{name}, the end marker, should have size 0 and be used"
        elif chunk.size < 1 or end > self.end_chunk:
            yield chunk.line, f"{name} of {chunk.size} units does not end within the heap"
        if chunk.id == 0 and (chunk.left or chunk.mark != "*"):
            yield chunk.line, "chunk 0 should be used and have nothing to its left"


def _side_by_side(a: PrintedChunk, b: PrintedChunk) -> Iterator[tuple[int, str]]:
    """What is wrong with two chunks that follow each other in the dump."""
    end = a.id + a.size
    if end > b.id:
        yield b.line, f"chunk {b.id} lies within chunk {a.id} of {a.size} units"
    elif end == b.id:
        if b.left != a.id:
            yield b.line, f"chunk {b.id} has chunk {b.left} at its left, not chunk {a.id}"
        if a.mark != "*" and b.mark != "*":
            yield b.line, f"chunks {a.id} and {b.id} are both free, and were not merged"
    elif not end <= b.left < b.id:
        yield b.line, f"chunk {b.id} has chunk {b.left} at its left, which is not missing"
