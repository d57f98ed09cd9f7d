"""Heaps of a dump, as text: it renders, and computes no number of its own.

Read next: ``machine_inspect.py`` (the same as JSON), ``dump_model.py`` (the same as a page).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import mul

from kheap.dump.chunk_table import CONTROL, DAMAGED, STATES, UNREAD, USED
from kheap.dump.culprit import Corruption
from kheap.dump.heap_image import HeapImage
from kheap.dump.inspection import HeapInspection, Inspection
from kheap.dump.waiters import Waiter
from kheap.heaps.stats import Verdict
from kheap.report.console_text import console_lines
from kheap.report.heap_map import heap_map
from kheap.report.hexdump import hexdump
from kheap.report.terminal import (
    Line,
    fragmentation_words,
    labelled,
    map_lines,
    profile_text,
    stats_words,
)
from kheap.units import format_bytes

__all__ = ["chunk_lines", "hexdump_lines", "inspect_lines", "verdict_lines"]

#: Rows of a table; what is beyond them is summed up in one.
MOST_ROWS = 8


def inspect_lines(found: Inspection, *, ascii_only: bool = False) -> list[Line]:
    """The text of ``kheap inspect``."""
    dump = found.dump
    lines: list[Line] = [labelled("dump", f"{dump.path} ({_kind_words(found)})")]
    if dump.image is not None:
        lines.append(labelled("program", f"{dump.image.path} ({dump.image.machine})"))
    lines += [labelled("note", note) for note in dump.notes]
    if not found.heaps:
        lines.append(labelled("heaps", "none found", "red"))
    for heap in found.heaps:
        lines += ["", *heap_lines(heap, ascii_only=ascii_only)]
    if dump.console is not None:
        lines += console_lines(dump.console)
    return lines


def _kind_words(found: Inspection) -> str:
    dump = found.dump
    words = [dump.format, *(f"{key} {value}" for key, value in dump.container.facts.items())]
    if dump.memory.byte_count:
        words.append(f"{format_bytes(dump.memory.byte_count)} of memory")
    return ", ".join(words)


def heap_lines(found: HeapInspection, *, ascii_only: bool = False) -> list[Line]:
    """One heap."""
    heap = found.image
    kind = f" ({heap.kind} at {heap.object_address:#x})" if heap.object_address else ""
    place = f"{heap.name}: {format_bytes(heap.size_bytes)} at {heap.address:#x}{kind}"
    lines: list[Line] = [
        labelled("heap", place, "bold"),
        labelled("found", heap.how),
        labelled("profile", profile_text(heap.profile)),
        *_state_lines(heap),
        *map_lines(_map_rows(heap, ascii_only=ascii_only)),
        *_size_lines(heap),
        *_owner_lines(found),
        *(labelled("waits", _waiter_words(waiter)) for waiter in found.waiters),
        *(labelled("note", note) for note in found.notes),
    ]
    if heap.corruption is not None:
        lines += _corruption_lines(heap, heap.corruption)
    return lines


def _state_lines(heap: HeapImage) -> list[Line]:
    stats = heap.stats
    sound = heap.corruption is None
    words = "sound" if sound else "corrupt; the numbers are of what can be read"
    if stats.max_allocated_bytes is not None:
        words += f"; at most {format_bytes(stats.max_allocated_bytes)} were allocated at once"
    return [
        labelled("state", words, "green" if sound else "red"),
        labelled("now", stats_words(stats)),
        labelled("fragmentation", fragmentation_words(stats)),
    ]


def _map_rows(heap: HeapImage, *, ascii_only: bool) -> list[str]:
    table = heap.chunks
    counts = bytes(int(code in (CONTROL, USED, DAMAGED)) for code in range(256))
    used = map(mul, table.units, table.state.translate(counts))
    bad: list[tuple[int, int]] = []
    unknown: list[tuple[int, int]] = []
    if heap.corruption is not None or heap.is_partial:
        for c, units, state in heap.rows():
            if state in (DAMAGED, UNREAD):
                # The last stretch of a heap that is partly there is only not known.
                is_end = heap.is_partial and state == UNREAD and c + units == heap.heap.n
                (unknown if is_end else bad).append((c, c + max(1, units)))
    if heap.corruption is not None:
        bad.append((heap.corruption.chunk, heap.corruption.chunk + 1))
    return heap_map(table.chunk, used, heap.heap.n, bad=bad, unknown=unknown, ascii_only=ascii_only)


def _size_lines(heap: HeapImage) -> list[Line]:
    counts = Counter(heap.chunks.sizes(USED))
    rows = sorted(((8 * units, n) for units, n in counts.items()), key=lambda r: -r[0] * r[1])
    table = [(f"{size:,} bytes", n, size * n) for size, n in rows]
    return list(_table("by chunk size", table))


def _owner_lines(found: HeapInspection) -> list[Line]:
    rows = [
        (str(group.key or "not known"), group.count, group.chunk_bytes) for group in found.groups
    ]
    # Owners that all differ tell nothing in a table.
    tells = any(group.key and group.count > 1 for group in found.groups)
    return list(_table("by owner", rows)) if tells else []


def _table(name: str, rows: list[tuple[str, int, int]]) -> Iterator[Line]:
    """Rows of a name, a count and bytes, the largest first; the rest in one."""
    if not rows:
        return
    shown = rows[:MOST_ROWS]
    rest = rows[MOST_ROWS:]
    if rest:
        count, total = sum(row[1] for row in rest), sum(row[2] for row in rest)
        shown = [*shown, (f"{len(rest):,} more", count, total)]
    width = max(len(row[0]) for row in shown)
    yield labelled(name, f"{'':{width}}   blocks       bytes")
    for text, count, total in shown:
        yield labelled("", f"{text:{width}} {count:8,} {total:11,}")


def _waiter_words(waiter: Waiter) -> str:
    rank = "" if waiter.priority is None else f", priority {waiter.priority}"
    return f"thread {waiter.name} at {waiter.address:#x}{rank}"


def _corruption_lines(heap: HeapImage, corruption: Corruption) -> list[Line]:
    lines: list[Line] = [
        labelled("corrupt", corruption.message, "red"),
        labelled("likely", f"{corruption.culprit.kind}: {corruption.culprit.message}"),
    ]
    marks = _marks(heap, corruption.edge_address, len(corruption.edge))
    dump = hexdump(corruption.edge_address, corruption.edge, marks, bad=corruption.field_address)
    lines += [labelled("bytes" if i == 0 else "", row) for i, row in enumerate(dump)]
    lines += [
        labelled("unread", f"{format_bytes(size)} at {address:#x} cannot be read as chunks")
        for address, size in islice(corruption.unread, MOST_ROWS)
    ]
    if len(corruption.unread) > MOST_ROWS:
        lines.append(labelled("", f"{len(corruption.unread) - MOST_ROWS:,} more such stretches"))
    return lines


def _marks(heap: HeapImage, address: int, count: int) -> dict[int, str]:
    """What begins where in a stretch of memory."""
    first = heap.first_address
    low, high = (address - first) // 8, (address + count - first + 7) // 8
    return {
        first + 8 * c: f"chunk {c}, {STATES[state]}, {8 * units} bytes"
        for c, units, state in heap.rows(low, high)
    }


# ---------------------------------------------------------------------- what is asked for


def verdict_lines(heap: HeapImage, verdict: Verdict | str) -> list[Line]:
    """Whether a request would fit."""
    if isinstance(verdict, Verdict):
        return [labelled("would fit", f"{heap.name}: {verdict.explanation}")]
    return [labelled("would fit", f"{heap.name}: {verdict}")]


def chunk_lines(found: HeapInspection) -> Iterator[str]:
    """Every chunk of a heap, a line each."""
    heap = found.image
    yield f"{'chunk':>8}  {'address':>12}  {'state':<10}  {'bytes':>10}  owner"
    for (c, units, state), owner in zip(heap.rows(), found.row_owners(), strict=True):
        address = heap.first_address + 8 * c
        line = f"{c:8}  {address:#12x}  {STATES[state]:<10}  {8 * units:10,}  {owner or ''}"
        yield line.rstrip()


def hexdump_lines(heaps: Iterable[HeapImage], address: int, data: bytes) -> Iterator[str]:
    """Bytes of memory, with the chunks that begin in them."""
    marks: dict[int, str] = {}
    for heap in heaps:
        if heap.address < address + len(data) and address < heap.address + heap.size_bytes:
            marks.update(_marks(heap, address, len(data)))
    yield from hexdump(address, data, marks)
