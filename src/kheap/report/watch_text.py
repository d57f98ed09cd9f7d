"""A watched heap, drawn: its map, what changed in it, its numbers, its history.

What it owns: lines for the live screen, and the one line a sample where there is no terminal.
It renders, and computes no number of its own.  What it does not: the screen and its keys
(``watch_screen.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from textwrap import wrap
from typing import NamedTuple

from rich.text import Text

from kheap.dump.chunk_table import CONTROL, DAMAGED, UNREAD, USED
from kheap.dump.heap_image import HeapImage
from kheap.dump.inspection import HeapInspection
from kheap.dump.target.live import MOST_TAKES, Change, Sample, UsedChunk
from kheap.report.heap_map import heap_map

__all__ = ["DARK", "LEGEND", "LIGHT", "Inks", "Point", "panel_lines", "points_of", "sample_line"]

LEGEND = (
    "█ in use  ▓▒░ partly  · free  ! corrupt  + new  - freed;  fragmentation: 1 - largest / free"
)
BARS = "▁▂▃▄▅▆▇█"
CAME, GONE, BOTH = "+", "-", "±"

#: Characters of a label, of a number, between two columns of them; of a history's span.
LABEL, NUMBER, GAP, SPAN = 14, 9, 3, 24


@dataclass(frozen=True, slots=True)
class Inks:
    """Styles; every other block has the second ink, so that blocks can be told apart."""

    used: str
    other_used: str
    free: str
    bad: str
    wait: str
    muted: str


DARK = Inks("#6cb0f5", "#3f7fc4", "#4fc99f", "bold #ff7b72", "bold #ffa657", "#9aa7b7")
LIGHT = Inks("#1f5fa8", "#5b97d6", "#1b8f6a", "bold #c4262e", "bold #b4481e", "#566273")


class Point(NamedTuple):
    """What the history keeps of a heap in one sample, in bytes."""

    allocated: int
    largest: int


def points_of(sample: Sample) -> dict[str, Point]:
    """What the history keeps of a sample, by the heap's name."""
    return {
        heap.image.name: Point(
            heap.image.stats.allocated_bytes, heap.image.stats.largest_free_bytes
        )
        for heap in sample.heaps
    }


# ---------------------------------------------------------------------- one line


def sample_line(sample: Sample) -> str:
    """A sample on one line, for a pipe or a log."""
    heaps = "; ".join(
        _heap_words(heap, sample.changes.get(heap.image.name)) for heap in sample.heaps
    )
    words = heaps or "; ".join(sample.inspection.dump.notes) or "no heap found"
    return f"{sample.t:10.3f} s  {words}{takes_words(sample)}"


def takes_words(sample: Sample) -> str:
    """How often the sample was taken, where that was more than once."""
    if sample.takes == 1:
        return ""
    outcome = "corrupt each time" if sample.takes == MOST_TAKES else "met in a change before"
    return f" (read {sample.takes} times: {outcome})"


def _heap_words(found: HeapInspection, change: Change | None) -> str:
    heap, stats = found.image, found.image.stats
    if heap.corruption is not None:
        return f"{heap.name}: corrupt: {heap.corruption.message}"
    words = (
        f"{heap.name}: {stats.free_bytes:,} bytes free, largest {stats.largest_free_bytes:,},"
        f" {stats.allocated_bytes:,} allocated in {_blocks(stats.used_count)}"
    )
    if change is not None:
        words += f", {change.allocated_bytes:+,} bytes"
        words += f", {len(change.came):,} allocated and {len(change.gone):,} freed"
    if found.waiters:
        words += f", waiting: {_waiter_words(found)}"
    return words


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count:,} blocks"


def _waiter_words(found: HeapInspection) -> str:
    return ", ".join(
        waiter.name + ("" if waiter.priority is None else f" (priority {waiter.priority})")
        for waiter in found.waiters
    )


# ---------------------------------------------------------------------- a panel


def panel_lines(
    found: HeapInspection,
    change: Change | None,
    history: Sequence[Point],
    width: int,
    inks: Inks,
) -> list[Text]:
    """A heap in lines of up to ``width`` characters.

    Args:
        found: The heap.
        change: What changed in it; None for a first sample.
        history: Its samples up to this one, oldest first.
        width: Characters in a line.
        inks: Its colours.
    """
    heap = found.image
    row, cells = _map(heap, width, inks)
    lines = [
        row,
        _changes(change, heap.heap.n, cells, width, inks),
        *_number_lines(heap, change, width, inks),
        _history("allocated", [point.allocated for point in history], width, inks.used, inks),
        _history("largest free", [point.largest for point in history], width, inks.free, inks),
        *_words("waiting", _waiter_words(found), width, inks.wait),
        *_corruption_lines(heap, width, inks),
    ]
    for line in lines:
        line.truncate(width)
    return lines


def _words(label: str, words: str, width: int, ink: str) -> Iterator[Text]:
    for i, line in enumerate(wrap(words, max(10, width - LABEL))):
        yield Text.assemble((f"{'' if i else label:<{LABEL}}", "bold"), (line, ink))


def _corruption_lines(heap: HeapImage, width: int, inks: Inks) -> Iterator[Text]:
    if heap.corruption is not None:
        culprit = heap.corruption.culprit
        words = f"{heap.corruption.message}; the numbers are of what can be read"
        yield from _words("corrupt", words, width, inks.bad)
        yield from _words("likely", f"{culprit.kind}: {culprit.message}", width, "")


# ---------------------------------------------------------------------- its map


def _map(heap: HeapImage, width: int, inks: Inks) -> tuple[Text, int]:
    """The map on one row, and how many pieces of the heap it tells apart."""
    table, units = heap.chunks, heap.heap.n
    counts = bytes(int(code in (CONTROL, USED, DAMAGED)) for code in range(256))
    is_used = table.state.translate(counts)
    used = map(int.__mul__, table.units, is_used)
    marks = heap_map(table.chunk, used, units, bad=_bad(heap), width=width, lines=1)[0]
    number = list(accumulate(is_used))
    row = Text()
    for i in _stretched(len(marks), width):
        at = bisect_right(table.chunk, i * units // len(marks)) - 1
        row.append(marks[i], _ink(marks[i], number[at], inks))
    return row, len(marks)


def _bad(heap: HeapImage) -> Iterator[tuple[int, int]]:
    """First and end unit of each stretch that is corrupt."""
    if heap.corruption is not None:
        yield heap.corruption.chunk, heap.corruption.chunk + 1
        for c, size, state in heap.rows():
            if state in (DAMAGED, UNREAD):
                yield c, c + max(1, size)


def _stretched(count: int, width: int) -> Iterator[int]:
    """For each character of the row the one of ``count`` that it shows: it fills the row."""
    return (i * count // width for i in range(width))


def _ink(mark: str, number: int, inks: Inks) -> str:
    if mark == "!":
        return inks.bad
    if mark == "·":
        return inks.free
    return inks.used if number % 2 else inks.other_used


def _changes(change: Change | None, units: int, cells: int, width: int, inks: Inks) -> Text:
    """Under the map: where blocks came and went."""
    marks = [" "] * cells
    for chunks, mark in ((change.came, CAME), (change.gone, GONE)) if change else ():
        for cell in _cells(chunks, units, cells):
            marks[cell] = mark if marks[cell] in (" ", mark) else BOTH
    row = Text()
    for i in _stretched(cells, width):
        row.append(marks[i], {CAME: inks.used, GONE: inks.free}.get(marks[i], inks.muted))
    return row


def _cells(chunks: Iterable[UsedChunk], units: int, cells: int) -> Iterator[int]:
    """The characters of the map that these chunks lie in."""
    bounds = [i * units // cells for i in range(cells)]
    for c, size in chunks:
        yield from range(
            max(0, bisect_right(bounds, c) - 1),
            min(cells, bisect_right(bounds, c + size - 1)),
        )


# ---------------------------------------------------------------------- its numbers


def _number_lines(heap: HeapImage, change: Change | None, width: int, inks: Inks) -> list[Text]:
    """The numbers, in as many columns as there is room for, read downwards."""
    cells = _numbers(heap, change)
    for count in (3, 2, 1):
        rows = -(-len(cells) // count)
        columns = [cells[i : i + rows] for i in range(0, len(cells), rows)]
        widths = [max(map(_width, each)) for each in columns]
        if sum(widths) + GAP * (count - 1) <= width:
            break
    lines = []
    for i in range(rows):
        line = Text()
        at = 0
        for column, cell_width in zip(columns, widths, strict=True):
            if i < len(column):
                label, value, beside = column[i]
                line.append(" " * (at - len(line)) + f"{label:<{LABEL}}", inks.muted)
                line.append(f"{value:>{NUMBER}}", "bold").append(beside, inks.muted)
            at += cell_width + GAP
        lines.append(line)
    return lines


def _width(cell: tuple[str, str, str]) -> int:
    return LABEL + max(NUMBER, len(cell[1])) + len(cell[2])


def _numbers(heap: HeapImage, change: Change | None) -> list[tuple[str, str, str]]:
    """Label, value, and what stands beside it."""
    stats = heap.stats
    highest = stats.max_allocated_bytes
    shares = stats.fragmentation.one_minus_largest_over_free
    return [
        ("free", f"{stats.free_bytes:,}", _share(stats.free_bytes, heap.size_bytes)),
        ("allocated", f"{stats.allocated_bytes:,}", _share(stats.allocated_bytes, heap.size_bytes)),
        ("max allocated", "not kept" if highest is None else f"{highest:,}",
         "" if highest is None else _share(highest, heap.size_bytes)),
        ("largest free", f"{stats.largest_free_bytes:,}", " B"),
        ("fragmentation", f"{100 * shares:.1f}", " %"),
        ("rate", _rate(change, change.allocated_bytes if change else 0), " B/s"),
        ("blocks", f"{stats.used_count:,}", ""),
        ("new blocks", _rate(change, len(change.came) if change else 0), " /s"),
        ("freed blocks", _rate(change, -len(change.gone) if change else 0), " /s"),
    ]  # fmt: skip


def _share(part: int, whole: int) -> str:
    return f" B {100 * part / whole:3.0f} %"


def _rate(change: Change | None, count: int) -> str:
    rate = None if change is None else change.per_second(count)
    if rate is None:
        return "-"
    if rate == 0:
        return "0"
    return f"{rate:+,.0f}" if abs(rate) >= 10 else f"{rate:+,.1f}"


# ---------------------------------------------------------------------- its history


def _history(label: str, values: Sequence[int], width: int, ink: str, inks: Inks) -> Text:
    """The last samples as bars between the least and the most of them."""
    shown = values[-max(1, width - LABEL - SPAN) :]
    low, high = min(shown, default=0), max(shown, default=0)
    bars = "".join(BARS[(len(BARS) - 1) * (value - low) // max(1, high - low)] for value in shown)
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return Text.assemble(
        (f"{label:<{LABEL}}", inks.muted), (bars, ink), (f"  {span} B", inks.muted)
    )
