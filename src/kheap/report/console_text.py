"""What a console log says besides its heaps: totals, printouts, messages, heaptrace's lines.

Read next: ``inspect_text.py`` and ``machine_inspect.py``, which this is a part of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from kheap.dump.console import ConsoleLog, Heaptrace
from kheap.dump.owners import grouped
from kheap.report.terminal import Line, labelled

__all__ = ["console_lines", "console_object"]

#: Threads that are told of.
MOST_THREADS = 16


def console_lines(log: ConsoleLog) -> Iterator[Line]:
    """A console log as text."""
    for total in log.totals:
        yield labelled(
            "kernel heap",
            f"line {total.line}: {total.free_bytes:,} bytes free, {total.allocated_bytes:,}"
            f" allocated, at most {total.max_allocated_bytes:,}",
        )
    for printed in log.heaps:
        yield labelled(
            "printed",
            f"line {printed.line}: heap at {printed.address:#x}, {printed.end_chunk:,} units,"
            + _printed_words(printed.free_bytes, printed.allocated_bytes),
        )
    if log.heaptrace is not None:
        yield from _heaptrace_lines(log.heaptrace)
    for fault in log.faults:
        yield labelled("message", f"line {fault.line}: {fault.text}", "red")
        yield labelled("", fault.explanation)


def _printed_words(free: int | None, allocated: int | None) -> str:
    if free is None or allocated is None:
        return " its last line is missing"
    return f" {free:,} bytes free, {allocated:,} allocated"


def _heaptrace_lines(trace: Heaptrace) -> Iterator[Line]:
    sizes = [block.size_bytes for block in trace.blocks]
    if sizes:
        yield labelled("heaptrace", f"{len(sizes):,} blocks outstanding, {sum(sizes):,} bytes")
    by_thread = grouped((block.thread for block in trace.blocks), sizes)
    for group in by_thread[:MOST_THREADS]:
        yield labelled("", f"thread {group.key}: {group.count:,}, {group.chunk_bytes:,} bytes")
    for use in trace.threads[:MOST_THREADS]:
        yield labelled(
            "heaptrace", f"line {use.line}: {use.thread}: {use.allocated_bytes:,} bytes allocated"
        )
    for note in trace.notes:
        yield labelled("note", note)


def console_object(log: ConsoleLog | None) -> dict[str, Any] | None:
    """A console log as JSON; None where the dump is none."""
    if log is None:
        return None
    return {
        "release": log.release,
        "totals": [asdict(total) for total in log.totals],
        "printed": [
            {
                "line": printed.line,
                "address": printed.address,
                "end_chunk": printed.end_chunk,
                "free_bytes": printed.free_bytes,
                "allocated_bytes": printed.allocated_bytes,
                "overhead_bytes": printed.overhead_bytes,
            }
            for printed in log.heaps
        ],
        "messages": [
            {"line": fault.line, "text": fault.text, "explanation": fault.explanation}
            for fault in log.faults
        ],
        "heaptrace": None
        if log.heaptrace is None
        else [
            {"address": block.address, "bytes": block.size_bytes, "heap": block.heap,
             "thread": block.thread, "time_ms": block.time_ms,
             "backtrace": list(block.backtrace)}
            for block in log.heaptrace.blocks
        ],
    }  # fmt: skip
