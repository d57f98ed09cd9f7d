"""Choices side by side, as an aligned table and as JSON: it renders, and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kheap.report.size_text import overhead_text
from kheap.report.terminal import Line, labelled, profile_text
from kheap.study.compare import Comparison, Options, most_saving
from kheap.trace.model import Trace
from kheap.units import format_bytes

__all__ = ["compare_lines", "compare_object"]

GROUPS = {
    "now": "now",
    "release": "release",
    "header": "headers",
    "runtime_stats": "statistics",
    "alloc_loops": "ALLOC_LOOPS",
    "hardening": "hardening",
    "pool": "old pool",
    "split": "two heaps",
}
HEAD = (
    "", "", "smallest", "to now", "safe", "to now", "size/peak", "overhead", "allocated", "failed",
    "fragm.", "",
)  # fmt: skip


def compare_lines(
    trace: Trace, options: Options, rows: Sequence[Comparison], *, is_whole: bool
) -> list[Line]:
    """The text of ``kheap compare``."""
    heap = f", heap {options.heap}" if options.heap else ""
    lines: list[Line] = [
        labelled("trace", f"{trace.path} ({trace.format}), {len(trace):,} ops{heap}"),
        labelled("now", profile_text(options.profile)),
        labelled("overhead", overhead_text(options.overhead, options.profile)),
        labelled("peak", f"{format_bytes(rows[0].peak_request_bytes)} requested at once"),
        labelled("measured", _measured_text(rows)),
        "",
        *_table(rows),
        "",
    ]
    if not is_whole:
        lines.append(labelled("interrupted", "this is a part of the table", "red"))
    return [*lines, labelled("waste", _waste_text(rows)), *_notes(rows)]


def _measured_text(rows: Sequence[Comparison]) -> str:
    size = rows[0].measured_bytes
    if rows[0].failed is None or size is None:
        return "allocated and fragmentation, each in a heap of its safe size"
    return f"allocated, failed and fragmentation, in {format_bytes(size)}"


def _table(rows: Sequence[Comparison]) -> list[Line]:
    cells: list[tuple[str, ...]] = [HEAD]
    for i, row in enumerate(rows):
        first = i == 0 or rows[i - 1].group != row.group
        cells.append(_cells(row, GROUPS[row.group] if first else "", rows[0].measured_bytes))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[Line] = []
    for line in cells:
        words = [
            f"{text:<{width}}" if column in (0, 1, len(HEAD) - 1) else f"{text:>{width}}"
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(words).rstrip())
    return lines


def _cells(row: Comparison, group: str, measured_bytes: int | None) -> tuple[str, ...]:
    smallest = _number(row.smallest_fit_bytes)
    if row.smallest_fit_bytes is not None and not row.is_complete:
        smallest = f"<= {smallest}"
    measure = row.fragmentation
    return (
        group,
        "" if row.group == "now" else row.choice,
        smallest,
        _change(row, row.smallest_more_bytes, row.smallest_fit_bytes),
        _number(row.safe_bytes),
        _change(row, row.safe_more_bytes, row.safe_bytes),
        "-" if row.size_to_peak is None else f"{row.size_to_peak:.3f}",
        _number(row.overhead_bytes),
        _number(row.peak_allocated_bytes),
        _number(row.failed),
        "-" if measure is None else f"{100 * measure.one_minus_largest_over_free:.1f} %",
        _note(row, measured_bytes),
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _change(row: Comparison, more: int | None, size: int | None) -> str:
    """How much more than now, in percent; nothing where it is the same."""
    if more is None or size is None or row.group == "now":
        return ""
    return "=" if more == 0 else f"{100 * more / (size - more):+.1f} %"


def _note(row: Comparison, measured_bytes: int | None) -> str:
    words = [row.note] if row.note else []
    if row.part_bytes and all(row.part_bytes):
        words.append(" + ".join(f"{size:,}" for size in row.part_bytes))
    if row.failed is not None and row.group == "pool" and row.measured_bytes != measured_bytes:
        words.append(f"measured in {row.measured_bytes:,}")
    return "; ".join(words)


def _waste_text(rows: Sequence[Comparison]) -> str:
    now, best = rows[0], most_saving(rows)
    size = now.safe_bytes or now.smallest_fit_bytes
    if size is None or now.overhead_bytes is None:
        return "no size was found that serves the trace now"
    rest = max(size - now.peak_request_bytes - now.overhead_bytes, 0)
    where = (
        f"of {size:,} bytes {now.overhead_bytes:,} are overhead"
        f" and {rest:,} fragmentation and margin to the safe size; "
    )
    if best is None:
        return where + "nothing here needs less than now"
    share = 100 * best.saved_bytes / size
    return where + (
        f"most is saved by {GROUPS[best.group]} {best.choice}:"
        f" {best.saved_bytes:,} bytes ({share:.1f} %)"
    )


def _notes(rows: Sequence[Comparison]) -> list[Line]:
    notes: list[Line] = []
    groups = {row.group for row in rows}
    if not all(row.is_complete for row in rows):
        notes.append(labelled("<=", "not all sizes were tried; --effort normal tries more"))
    if "pool" in groups:
        notes.append(
            labelled(
                "old pool",
                "one block of 64, 256, 1,024 ... bytes, cut into quarters; a resize is played as"
                " malloc, copy and free",
            )
        )
    if "split" in groups:
        notes.append(
            labelled(
                "two heaps",
                "blocks above so many bytes apart from the others; sizes are sums; a resize across"
                " the border moves the block",
            )
        )
    return notes


def compare_object(
    trace: Trace, options: Options, rows: Sequence[Comparison], *, is_whole: bool
) -> dict[str, Any]:
    """``kheap compare --json``; its schema is ``docs/reference/schemas/compare.json``."""
    best = most_saving(rows)
    return {
        "trace": trace.path,
        "format": trace.format,
        "heap": options.heap,
        "profile": asdict(options.profile),
        "base_address": options.base_address,
        "overhead": options.overhead,
        "effort": options.effort,
        "is_whole": is_whole,
        "peak_request_bytes": rows[0].peak_request_bytes,
        "most_saving": None if best is None else [*rows].index(best),
        "rows": [
            asdict(row) | {"size_to_peak": row.size_to_peak, "saved_bytes": row.saved_bytes}
            for row in rows
        ],
    }
