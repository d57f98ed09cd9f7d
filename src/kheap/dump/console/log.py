"""A console log: what a device printed about its heaps.

It owns :func:`read_console`, which finds in a log the outputs of ``sys_heap_print_info()``, the
answers of the shell's ``kernel heap`` and ``heaptrace``, failed checks, and the boot banner.  A
heap whose chunks were printed can be made again: :meth:`PrintedHeap.rebuild`.

Not here: traces of requests in a log (``kheap.read_trace``), core dumps in a log, and the
parsers: next read ``_printed_reader.py``, ``_faults.py``, ``_heaptrace.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from kheap.dump.console._console_lines import Lines, Notes
from kheap.dump.console._faults import Fault, Faults
from kheap.dump.console._heaptrace import (
    Heaptrace,
    HeaptraceReader,
)
from kheap.dump.console._printed_heap import PrintedHeap
from kheap.dump.console._printed_reader import PrintedHeaps
from kheap.profile import nearest_release

__all__ = ["ConsoleLog", "KernelHeap", "read_console"]


@dataclass(frozen=True, slots=True)
class KernelHeap:
    """A heap's statistics as the log has them, without its chunks.

    Attributes:
        line: Number of the first line, from 1.
        free_bytes, allocated_bytes, max_allocated_bytes: As printed.
        address: Of the ``struct sys_heap``, where the line names it; the shell's ``kernel heap``
            speaks of the system heap and does not.
        heap_bytes: Size of the region, where the line names it.
    """

    line: int
    free_bytes: int
    allocated_bytes: int
    max_allocated_bytes: int
    address: int | None = None
    heap_bytes: int | None = None


@dataclass(slots=True)
class ConsoleLog:
    """What a log tells of heaps.

    Attributes:
        heaps: Outputs of ``sys_heap_print_info()``, in order.
        totals: Answers of ``kernel heap``, in order, and lines of Zephyr's sample of heaps.
        heaptrace: What heaptrace told, and per-thread lines; None without any.
        faults: Failed checks, in order.
        notes: What could not be placed, with line numbers.
        release: The release that the last boot banner named, as in
            :data:`kheap.profile.RELEASES`; None without one.
    """

    heaps: list[PrintedHeap]
    totals: list[KernelHeap]
    heaptrace: Heaptrace | None
    faults: list[Fault]
    notes: list[str]
    release: str | None


_BANNER = re.compile(
    r"Zephyr (?:OS(?: build| version)?|version) +(?:zephyr-)?v?(\d{1,3})\.(\d{1,3})"
)
_DROPPED = re.compile(r"-{2,} (\d{1,10}) messages dropped")
_SHELL_ROW = re.compile(r"(?:^|[\s>])(max\. allocated|allocated|free): +(\d{1,20})\s*$")
_SAMPLE_ROW = re.compile(
    r"(?:address (?:0x)?([0-9a-fA-F]{1,16}) +)?allocated (\d{1,20}), free (\d{1,20}),"
    r" max allocated (\d{1,20})(?:, heap size (\d{1,20}))?"
)
_SHELL_ROWS = ("free", "allocated", "max. allocated")
#: The three lines of an answer are at most so far apart.
_NEAR_LINES = 8


def read_console(text: str, source: str = "") -> ConsoleLog:
    """Find in a log what it tells of heaps.

    Lines may have anything before them: times, names of modules, a shell's prompt, colours.
    Other lines may stand between them; what is missing or does not agree is noted.

    Args:
        text: Up to 256 Mi characters; of each line the first 4096 are looked at.
        source: What errors name as the place, a file say.

    Raises:
        DumpError: The text is longer, or has more than 1 Mi records (lines of chunk dumps,
            blocks, faults; a heap counts as 16).

    Complexity: O(characters).

    >>> log = read_console("[00:00:01] <err> os: heap corruption (double free?) at 0x20000840")
    >>> log.faults[0].kind, hex(log.faults[0].address)
    ('double free', '0x20000840')
    """
    lines = Lines(text, source)
    boot = _Boot()
    heaps, faults, trace = PrintedHeaps(lines), Faults(lines), HeaptraceReader(lines)
    totals = _Totals(lines)
    readers: tuple[_Reader, ...] = (heaps, totals, trace, faults)
    number = 0
    for number, line in lines:
        if boot.take(number, line):
            heaps.boot(number, boot.release)
            continue
        for reader in readers:
            if reader.take(number, line):
                break
    heaps.end(number)
    trace.end()
    notes = boot.notes.texts + heaps.notes.texts
    return ConsoleLog(heaps.heaps, totals.found, trace.found, faults.faults, notes, boot.release)


class _Reader(Protocol):
    def take(self, number: int, line: str) -> bool:
        """Whether the line was of that kind."""


class _Boot:
    """The boot banner, and messages that the device says it dropped."""

    def __init__(self) -> None:
        self.release: str | None = None
        self.notes = Notes()

    def take(self, number: int, line: str) -> bool:
        """Whether the line is a banner."""
        if "messages dropped" in line and (dropped := _DROPPED.search(line)):
            self.notes.add(number, f"the device dropped {dropped[1]} messages here")
        if "Zephyr" in line and (banner := _BANNER.search(line)):
            self.release = nearest_release(int(banner[1]), int(banner[2]))
            return True
        return "*** Booting " in line


class _Totals:
    """Answers of ``kernel heap``, and the lines of ``samples/basic/sys_heap``."""

    def __init__(self, lines: Lines) -> None:
        self.found: list[KernelHeap] = []
        self._lines = lines
        self._values: list[int] = []
        self._first_line = 0

    def take(self, number: int, line: str) -> bool:
        """Whether the line is part of such an answer."""
        if "free" not in line and "allocated" not in line:
            return False
        if (row := _SHELL_ROW.search(line)) is not None:
            self._row(number, row[1], int(row[2]))
            return True
        if (found := _SAMPLE_ROW.search(line)) is None:
            return False
        allocated, free, highest = map(int, found.group(2, 3, 4))
        address = int(found[1], 16) if found[1] else None
        size = int(found[5]) if found[5] else None
        self._add(KernelHeap(number, free, allocated, highest, address, size))
        return True

    def _row(self, number: int, name: str, value: int) -> None:
        """Take one of the three lines, if it is the one that comes next."""
        place = _SHELL_ROWS.index(name)
        if place == 0:
            self._values, self._first_line = [], number
        if place != len(self._values) or number - self._first_line > _NEAR_LINES:
            self._values = []
            return
        self._values.append(value)
        if len(self._values) == len(_SHELL_ROWS):
            self._add(KernelHeap(self._first_line, *self._values))
            self._values = []

    def _add(self, total: KernelHeap) -> None:
        self._lines.count(total.line)
        self.found.append(total)
