"""What changed between two dumps, as text: it renders, and computes nothing.

Read next: ``machine_diff.py`` (the same as JSON), ``kheap.dump.diff`` (the numbers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kheap.dump.diff import BlockChange, DumpDiff, Growth, HeapDiff, HeapTotals
from kheap.report.terminal import Line, labelled
from kheap.units import format_bytes

__all__ = ["diff_lines"]

_HEADINGS = ("", "before", "after", "change", "bytes")


def diff_lines(found: DumpDiff, most: int = 10) -> list[Line]:
    """The text of ``kheap diff``; of each table the first ``most`` rows."""
    lines: list[Line] = [labelled("before", found.before), labelled("after", found.after)]
    lines += [labelled("note", note) for note in found.notes]
    for heap in found.heaps:
        lines += ["", *_heap_lines(heap, most)]
    for label, only in (("only before", found.only_before), ("only after", found.only_after)):
        for totals in only:
            words = f"{totals.name}: {_place(totals)}, {_state(totals)}"
            lines += ["", labelled(label, words)]
    return [*lines, "", _answer_line(found)]


def _answer_line(found: DumpDiff) -> Line:
    if found.is_clean:
        unknown = any(heap.suspects is None for heap in found.heaps)
        doubt = "; leak suspects are not known, see the note" if unknown else ""
        return labelled("answer", f"no heap grew{doubt}", "" if unknown else "green")
    grown = [heap for heap in found.heaps if heap.change_bytes > 0]
    suspects = sum(len(heap.suspects or ()) for heap in found.heaps)
    broken = sum(heap.after.corruption is not None for heap in found.heaps)
    broken_before = sum(heap.before.corruption is not None for heap in found.heaps)
    words = [
        _count(len(grown), "heap") + f" grew by {sum(h.change_bytes for h in grown):,} bytes",
        _count(suspects, "leak suspect"),
        _count(broken, "corrupt heap"),
        _count(broken_before, "heap") + " corrupt before",
    ]
    is_so = (grown, suspects, broken, broken_before)
    told = (word for word, so in zip(words, is_so, strict=True) if so)
    return labelled("answer", ", ".join(told), "red")


def _heap_lines(heap: HeapDiff, most: int) -> list[Line]:
    moved = (
        f", before {_place(heap.before)}"
        if (heap.before.address, heap.before.size_bytes)
        != (heap.after.address, heap.after.size_bytes)
        else ""
    )
    return [
        labelled("heap", f"{heap.after.name}: {_place(heap.after)}{moved}", "bold"),
        *_state_lines("before", heap.before),
        *_state_lines("after", heap.after),
        _change_line(heap),
        *_table("by size", heap.by_size, most),
        *_table("by owner", heap.by_owner, most),
        *_signature_table(heap, most),
        *_suspect_lines(heap.suspects, most),
    ]


def _place(totals: HeapTotals) -> str:
    return f"{format_bytes(totals.size_bytes)} at {totals.address:#x}"


def _state(totals: HeapTotals) -> str:
    words = (
        f"{_count(totals.used_count, 'block')} in {totals.used_bytes:,} bytes of chunks,"
        f" {totals.free_bytes:,} free, largest {totals.largest_free_bytes:,}"
    )
    if totals.unreached_count:
        words += (
            f"; nothing points to {totals.unreached_count:,}"
            f" ({totals.unreached_bytes:,} bytes of chunks)"
        )
    return words


def _state_lines(label: str, totals: HeapTotals) -> Iterator[Line]:
    yield labelled(label, _state(totals))
    if totals.corruption is not None:
        yield labelled("", f"corrupt: {totals.corruption}", "red")


def _change_line(heap: HeapDiff) -> Line:
    appeared, went = (sum(b.chunk_bytes for b in part) for part in (heap.appeared, heap.went))
    words = (
        f"{heap.change_bytes:+,} bytes: {_count(len(heap.appeared), 'block')} appeared"
        f" ({appeared:,}), {len(heap.went):,} went ({went:,}),"
        f" {heap.stayed_count:,} stayed ({heap.stayed_bytes:,})"
    )
    return labelled("change", words, "red" if heap.change_bytes > 0 else "")


def _signature_table(heap: HeapDiff, most: int) -> list[Line]:
    """The growth by signature, where it says more than that by owner."""
    is_told = any(row.key is not None for row in heap.by_signature)
    return _table("by signature", heap.by_signature, most) if is_told else []


def _table(label: str, rows: Sequence[Growth], most: int) -> list[Line]:
    if not rows:
        return []
    cells = [_HEADINGS, *(_cells(_key(row.key), row) for row in rows[:most])]
    if len(rows) > most:
        cells.append(_rest(rows[most:]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_size = isinstance(rows[0].key, int)
    lines: list[Line] = []
    for key, *numbers in cells:
        first = f"{key:>{widths[0]}}" if is_size else f"{key:<{widths[0]}}"
        rest = (f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))
        lines.append(labelled("" if lines else label, "  ".join((first, *rest))))
    return lines


def _cells(key: str, row: Growth) -> tuple[str, ...]:
    return (
        key,
        f"{row.before_count:,}",
        f"{row.after_count:,}",
        f"{row.change_count:+,}",
        f"{row.change_bytes:+,}",
    )


def _rest(rows: Sequence[Growth]) -> tuple[str, ...]:
    numbers = zip(
        *((row.before_count, row.after_count, row.before_bytes, row.after_bytes) for row in rows),
        strict=True,
    )
    return _cells(f"{len(rows):,} more", Growth(None, *map(sum, numbers)))


def _key(key: int | str | None) -> str:
    return f"{key:,}" if isinstance(key, int) else "not known" if key is None else key


def _suspect_lines(suspects: Sequence[BlockChange] | None, most: int) -> list[Line]:
    if not suspects:
        return []
    size = sum(block.chunk_bytes for block in suspects)
    count = _count(len(suspects), "block")
    words = f"{count} appeared that nothing points to: {size:,} bytes of chunks"
    lines: list[Line] = [labelled("suspects", words, "red")]
    for block in suspects[:most]:
        facts = (f"{block.address:#x}", f"{block.chunk_bytes:,} bytes", block.call, block.signature)
        lines.append(labelled("", ", ".join(fact for fact in facts if fact)))
    if len(suspects) > most:
        lines.append(
            labelled("", f"{len(suspects) - most:,} more; --most {len(suspects)} shows all")
        )
    return lines


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
