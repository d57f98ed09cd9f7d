"""Reports for people at a terminal; the same text, uncoloured, when it is piped.

The one module that uses rich, always with markup off: ``[*]`` and ``[free]`` are data here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from kheap._core._native import COMPILED
from kheap.heaps.stats import HeapStats
from kheap.profile import Profile
from kheap.report.heap_map import heap_map
from kheap.study.replay import HeapReplay, Replay
from kheap.trace.model import Trace
from kheap.units import format_bytes

__all__ = [
    "Line",
    "fragmentation_words",
    "labelled",
    "map_lines",
    "print_lines",
    "profile_text",
    "progress_bar",
    "replay_lines",
    "stats_words",
]

LABEL_WIDTH = 14
#: Seconds of work before a progress bar appears.
PATIENCE_S = 1.0

Line = Text | str


def print_lines(lines: list[Line]) -> None:
    """Print lines as they are: no wrapping, no markup, colours on a terminal only."""
    console = Console(file=sys.stdout, markup=False, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function to report progress to; on a terminal a bar appears after a second.

    >>> with progress_bar("replaying") as report:
    ...     report(1, 2)
    """
    console = Console(file=sys.stderr, markup=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(label, total=None)
    began = bar.get_time()

    def report(done: int, total: int) -> None:
        if not bar.live.is_started and bar.get_time() - began > PATIENCE_S:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()


def replay_lines(replay: Replay, *, ascii_only: bool = False) -> list[Line]:
    """The text of ``kheap replay``."""
    lines: list[Line] = [labelled("trace", _trace_words(replay.trace))]
    lines += [labelled("note", f"{count:,} x {note}") for note, count in replay.trace.notes.items()]
    if replay.trace.skipped:
        lines.append(labelled("skipped", _count(replay.trace.skipped, "malformed line")))
    lines.append(labelled("profile", profile_text(replay.profile)))
    for part in replay.heaps:
        lines += ["", *_heap_lines(part, ascii_only)]
    speed = f"{replay.ops:,} ops in {replay.elapsed_s:.3g} s, {replay.ops_per_second:,.0f} ops/s"
    build = (
        "" if COMPILED else "; pure build: install with a C compiler for about a hundred times that"
    )
    return [*lines, "", labelled("speed", speed + build)]


def labelled(label: str, words: str, style: str = "") -> Text:
    """A line with its label in the first column."""
    return Text.assemble((f"{label:<{LABEL_WIDTH}}", "bold"), (words, style))


def _trace_words(trace: Trace) -> str:
    heaps = _count(max(len(trace.heaps), 1), "heap")
    return f"{trace.path} ({trace.format}), {len(trace):,} ops, {heaps}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def profile_text(profile: Profile) -> str:
    """A profile in words."""
    return (
        f"Zephyr {profile.release}, {profile.bits} bit, {profile.header} headers,"
        f" runtime statistics {'on' if profile.runtime_stats else 'off'},"
        f" ALLOC_LOOPS {profile.alloc_loops}, hardening {profile.hardening}"
    )


def _heap_lines(part: HeapReplay, ascii_only: bool) -> list[Line]:
    return [
        labelled("heap", f"{part.name}: {format_bytes(part.size_bytes)} at {part.base_address:#x}"),
        *_outcome_lines(part),
        labelled("peak", _peak_words(part)),
        *_final_lines(part.final),
        *_map_lines(part, ascii_only),
    ]


def _outcome_lines(part: HeapReplay) -> list[Line]:
    if not part.failures:
        return [labelled("served", f"all of {part.ops:,} ops", "green")]
    counts = Counter(failure.verdict.verdict for failure in part.failures)
    words = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
    first = part.failures[0]
    return [
        labelled("failed", f"{len(part.failures):,} of {part.ops:,} ops: {words}", "red"),
        labelled(
            "first failure", f"op {first.op_index:,}, {first.op} of {first.verdict.explanation}"
        ),
    ]


def _peak_words(part: HeapReplay) -> str:
    highest = 100 * part.peak_offset_bytes / part.size_bytes
    return (
        f"{format_bytes(part.peak_allocated_bytes)} allocated at once; highest byte in use"
        f" {part.peak_offset_bytes:,} of {part.size_bytes:,} ({highest:.1f} %)"
    )


def stats_words(stats: HeapStats) -> str:
    """A heap's numbers in a line."""
    return (
        f"{stats.allocated_bytes:,} bytes allocated in {stats.used_count:,} chunks,"
        f" {stats.free_bytes:,} free in {stats.free_count:,},"
        f" largest {stats.largest_free_bytes:,}, overhead {stats.overhead_bytes:,}"
    )


def fragmentation_words(stats: HeapStats) -> str:
    """Both measures of external fragmentation, with their formulas."""
    shares = stats.fragmentation
    return (
        f"{100 * shares.one_minus_largest_over_free:.1f} % (1 - largest / free),"
        f" {100 * shares.one_minus_root_sum_squares:.1f} % (1 - sqrt(sum of squares) / free)"
    )


def _final_lines(stats: HeapStats) -> list[Line]:
    return [
        labelled("at the end", stats_words(stats)),
        labelled("fragmentation", fragmentation_words(stats)),
    ]


def _map_lines(part: HeapReplay, ascii_only: bool) -> list[Line]:
    chunks = list(part.heap.chunks())
    used = (c.size_units if c.state in ("control", "used") else 0 for c in chunks)
    rows = heap_map([c.chunk for c in chunks], used, part.heap.n, ascii_only=ascii_only)
    return map_lines(rows)


def map_lines(rows: list[str]) -> list[Line]:
    """A map's rows, labelled."""
    return [labelled("map" if i == 0 else "", row) for i, row in enumerate(rows)]
