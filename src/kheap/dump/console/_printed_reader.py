"""Finding the outputs of ``sys_heap_print_info()`` between the other lines of a log.

Source: ``lib/heap/heap_info.c`` of Zephyr (CONFIG_SYS_HEAP_INFO); the same text comes from the
shell's ``lvgl stats memory -c``.  Lines may have anything before them, other lines may stand
between them, and some may be missing or there twice.

What it owns: the state of the heap being read, and its notes.  What it does not: cutting lines
(``_console_lines.py``), the records (``_printed_heap.py``).
"""

from __future__ import annotations

import re

from kheap.dump.console._console_lines import Lines, Notes
from kheap.dump.console._printed_heap import LastLine, PrintedBucket, PrintedChunk, PrintedHeap
from kheap.dump.console._printed_layout import best_guess

__all__ = ["PrintedHeaps"]

# Counts are bounded, so that no line makes a pattern try for long.
_FIRST = re.compile(
    r"Heap at (?:0x)?([0-9a-fA-F]{1,16}) contains (\d{1,10}) units in (\d{1,4}) buckets"
)
_ROW = re.compile(r"(?<![\d.])(\d{1,4}) +(\d{1,10}) +(\d{1,10}) +(\d{1,10}) +(\d{1,11})\s*$")
_CHUNK = re.compile(
    r"chunk +(\d{1,10}): \[([*.-])\] size=(-?\d{1,10}) +left=(-?\d{1,10}) +right=(-?\d{1,10})"
)
_LAST = re.compile(
    r"(\d{1,11}) free bytes, (\d{1,11}) allocated bytes, overhead = (\d{1,11}) bytes"
)

#: A heap is as costly to judge as so many records are to keep.
_RECORDS_A_HEAP = 16
_MOST_UNITS = 0x7FFFFFFF


class PrintedHeaps:
    """Takes the lines of a log, one after another.

    Attributes:
        heaps: What was found, in order; complete after :meth:`end`.
        notes: Lines that belong to no heap.
    """

    def __init__(self, lines: Lines) -> None:
        self.heaps: list[PrintedHeap] = []
        self.notes = Notes()
        self._lines = lines
        self._heap: PrintedHeap | None = None
        self._notes: list[Notes] = []
        self._chunks: dict[int, PrintedChunk] = {}
        self._is_stray = False
        self._release: str | None = None

    def take(self, number: int, line: str) -> bool:
        """Whether the line is part of a printout."""
        if "Heap at " in line and (found := _FIRST.search(line)):
            self._begin(number, int(found[1], 16), int(found[2]), int(found[3]))
            return True
        if "left=" in line and (found := _CHUNK.search(line)):
            self._chunk(number, found)
            return True
        if " free bytes, " in line and (found := _LAST.search(line)):
            self._finish(number, found)
            return True
        if self._heap is None:
            return False
        if "Chunk dump:" in line:
            self._begin_dump(self._heap)
            return True
        found = _ROW.search(line) if self._heap.chunks is None else None
        return found is not None and self._row(number, *map(int, found.groups()))

    def boot(self, number: int, release: str | None) -> None:
        """The device boots, as far as its banner tells with this release."""
        self._cut(number, "the device boots")
        self._release = release

    def _cut(self, number: int, reason: str) -> None:
        """End the heap being read, which has no last line."""
        if self._heap is not None:
            self._notes[-1].add(number, f"{reason} before the last line of the printout")
            self._close()

    def end(self, number: int) -> None:
        """End the log, and judge all heaps; those before the first banner are of its build too."""
        self._cut(number, "the log ends")
        for heap, notes in zip(self.heaps, self._notes, strict=True):
            heap.release = heap.release or self._release
            _judge(heap, notes)

    def _begin(self, number: int, address: int, units: int, buckets: int) -> None:
        if (heap := self._heap) is not None and heap.buckets == [] and heap.chunks is None:
            known = (heap.address, heap.end_chunk, heap.bucket_count)
            if known == (address, units, buckets):
                self._twice(number, "the first line", heap.line)
                return
        self._cut(number, "another printout begins")
        self._lines.count(number, _RECORDS_A_HEAP)
        self._is_stray = False
        if not 0 < units <= _MOST_UNITS:
            self.notes.add(number, f"a heap of {units} units cannot be")
            return
        notes = Notes()
        self._heap = PrintedHeap(number, address, units, buckets, notes=notes.texts)
        self._heap.release = self._release
        self.heaps.append(self._heap)
        self._notes.append(notes)

    def _row(self, number: int, *values: int) -> bool:
        assert self._heap is not None
        row = PrintedBucket(number, *values)
        if not _is_row(row, self._heap):
            return False
        known = next((r for r in self._heap.buckets if r.bucket == row.bucket), None)
        if known is None:
            self._heap.buckets.append(row)
        else:
            self._twice(number, f"bucket {row.bucket}", known.line, known == row)
        return True

    def _begin_dump(self, heap: PrintedHeap) -> None:
        if heap.chunks is None:
            heap.chunks = []

    def _chunk(self, number: int, found: re.Match[str]) -> None:
        if self._heap is None:
            self._stray(number)
            return
        self._begin_dump(self._heap)
        size, left, right = map(int, found.group(3, 4, 5))
        chunk = PrintedChunk(int(found[1]), found[2], size, left, right, number)
        if chunk.id > self._heap.end_chunk:
            self._notes[-1].add(number, f"chunk {chunk.id} would lie behind the end of the heap")
        elif (known := self._chunks.get(chunk.id)) is not None:
            self._twice(number, f"chunk {chunk.id}", known.line, known[:-1] == chunk[:-1])
        else:
            self._lines.count(number)
            self._chunks[chunk.id] = chunk

    def _twice(self, number: int, name: str, first: int, is_same: bool = True) -> None:
        how = "" if is_same else ", with other numbers, which are left out"
        self._notes[-1].add(number, f"{name} is there already, in line {first}{how}")

    def _stray(self, number: int) -> None:
        if not self._is_stray:
            self.notes.add(number, "part of a printout whose first line is missing")
        self._is_stray = True

    def _finish(self, number: int, found: re.Match[str]) -> None:
        last = LastLine(number, *map(int, found.groups()))
        if self._heap is not None:
            self._heap.last = last
            self._close()
            return
        before = self.heaps[-1].last if self.heaps else None
        if before is not None and before[1:] == last[1:] and not self._is_stray:
            self._twice(number, "the last line", before.line)
        else:
            self._stray(number)
            self._is_stray = False

    def _close(self) -> None:
        assert self._heap is not None
        if self._heap.chunks is not None:
            self._heap.chunks = [self._chunks[c] for c in sorted(self._chunks)]
        self._heap = None
        self._chunks = {}


def _is_row(row: PrintedBucket, heap: PrintedHeap) -> bool:
    """Whether five numbers can be a row of this heap's table."""
    if row.bucket >= min(heap.bucket_count, 32) or row.count < 1:
        return False
    return 0 <= row.min_units - (1 << row.bucket) <= 2 and row.largest_units >= row.min_units


def _judge(heap: PrintedHeap, notes: Notes) -> None:
    """Note what is missing in a printout, and what does not agree in it."""
    for first, behind in heap.holes:
        notes.add(heap.line, f"the chunk dump has no chunk at units {first} to {behind - 1}")
    for line, reason in heap.contradictions():
        notes.add(line, reason)
    guess = best_guess(heap)
    if guess is None:
        notes.add(heap.line, f"no heap has {heap.end_chunk} units in {heap.bucket_count} buckets")
        return
    for line, reason in guess.complaints:
        notes.add(line, reason)
    if heap.address % 8:
        notes.add(heap.line, f"no heap starts at {heap.address:#x}, which is no multiple of 8")
    if heap.release is not None and heap.release not in guess.releases:
        counted = " to ".join(dict.fromkeys((guess.releases[0], guess.releases[-1])))
        notes.add(heap.line, f"the banner says {heap.release}, the numbers are those of {counted}")
