"""The benchmark as aligned text, and as one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

from kheap.study.bench_rows import Bench, Row, Target

__all__ = ["bench_lines", "bench_object"]

_HEADS = {
    "pair": "pair: alloc and free of one block from a Python loop; times are of a pair",
    "block": "block: as pair, of whoever hands out an object that owns its memory",
    "mix": "mix: allocs and frees from a Python loop; times are of one operation",
    "threads": "threads: a mix in each of several threads that share; times are of one operation",
    "handover": "handover: threads wake each other in turn; times are of one hand-over",
    "handover_async": "handover_async: tasks wake each other in turn; times are of one hand-over",
    "bulk": "bulk: allocs and frees in a compiled loop; times are of one operation",
}
_CLOCKS = {"cpu": "CPU time", "wall": "wall time"}
_MARKS = {True: "met", False: "NOT MET", None: "not measured"}


def bench_lines(bench: Bench) -> list[str]:
    """The text of ``kheap bench``."""
    build = "compiled" if bench.compiled else "pure build"
    lines = [
        f"kheap {bench.kheap} ({build}), Python {bench.python}",
        bench.machine,
        f"{bench.rounds} round(s), all rows of a table taking turns; times in nanoseconds;"
        " a ratio is the median of the rounds' ratios",
    ]
    for _, rows in groupby(bench.rows, _table_of):
        lines += ["", *_table(list(rows))]
    lines += ["", "targets"]
    return lines + [_target_line(target) for target in bench.targets]


def _table_of(row: Row) -> tuple[str, int, int, str]:
    return row.group, row.threads, row.live_blocks, row.sizes


def _table(rows: list[Row]) -> list[str]:
    first = rows[0]
    cells = [("", "median", "min", "per second", "ratio", "")]
    cells += [
        (
            row.name,
            _number(row.ns_median, ".1f"),
            _number(row.ns_min, ".1f"),
            _number(row.ops_per_second, ",.0f"),
            "1" if row.name == row.ratio_to else _number(row.ratio, ".2f"),
            row.note,
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        _HEADS[first.group],
        f"{_load(first)}; {_CLOCKS[first.clock]}; ratio to {first.ratio_to}",
        *(_aligned(line, widths) for line in cells),
    ]


def _load(row: Row) -> str:
    words = [f"sizes {row.sizes}"]
    if row.group == "threads":
        words.insert(0, f"{row.live_blocks:,} live blocks in each thread")
        words.insert(0, f"{row.threads} thread{'s' if row.threads > 1 else ''}")
    elif row.live_blocks > 1:
        words.insert(0, f"{row.live_blocks:,} live blocks")
    return ", ".join(words)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    name, *numbers, note = cells
    padded = (f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=False))
    return f"  {name:<{widths[0]}}  {'  '.join(padded)}  {note}".rstrip()


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _target_line(target: Target) -> str:
    form = ",.0f" if target.limit > 1000 else ".2f"
    value = _number(target.value, form) or "-"
    limit = f"{target.relation} {target.limit:,g}"
    return f"  {_MARKS[target.met]:<12}  {target.name:<30}  {value:>12}  {limit}"


def bench_object(bench: Bench) -> dict[str, Any]:
    """``kheap bench --json``; its schema is ``docs/reference/schemas/bench.json``."""
    answer = asdict(bench)
    for entry, target in zip(answer["targets"], bench.targets, strict=True):
        entry["met"] = target.met
    return answer
