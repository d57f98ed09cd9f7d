"""A heap over time in Chrome's Trace Event Format, for Perfetto and chrome://tracing.

It owns the spelling of events: a counter track, one async slice for each block, an instant
for each request that failed.  A heap is a process, and a thread of the trace is a thread of
it.  Times are those of the trace, else an operation takes a microsecond.  One event a line,
written as it is made: a million operations are some hundreds of megabytes.

The format: "Trace Event Format" by Google, phases M, C, b, e and i.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from kheap.report.model import HeapModel, ReportModel

__all__ = ["write_chrome_trace"]

Event = dict[str, Any]

_spell = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def write_chrome_trace(report: ReportModel, out: TextIO) -> None:
    """Write the whole report as one JSON object."""
    out.write('{"displayTimeUnit":"ms","otherData":')
    out.write(_spell({"source": report.source, "profile": str(report.profile)}))
    out.write(',"traceEvents":[')
    mark = "\n"
    for number, heap in enumerate(report.heaps):
        for event in _Events(report, heap, number + 1).all():
            out.write(mark)
            out.write(_spell(event))
            mark = ",\n"
    out.write("\n]}\n")


class _Events:
    """The events of one heap."""

    def __init__(self, report: ReportModel, heap: HeapModel, process: int) -> None:
        self.report = report
        self.heap = heap
        self.process = process
        line = heap.timeline
        # The end of a block that never went lies one operation behind the last.
        self.times: Sequence[int] = line.time_us or line.op_index or [0]
        self.end_time = max(self.times) + 1

    def all(self) -> Iterator[Event]:
        yield from self._names()
        yield from self._counters()
        yield from self._slices()
        yield from self._failures()

    def _names(self) -> Iterator[Event]:
        name = f"heap {self.heap.timeline.name}"
        yield self._named("process_name", 0, name)
        yield self._named("thread_name", 0, "unknown thread")
        for i, thread in enumerate(self.report.threads):
            yield self._named("thread_name", i + 1, thread)

    def _named(self, what: str, thread: int, name: str) -> Event:
        return {
            "ph": "M", "name": what, "pid": self.process, "tid": thread, "ts": 0,
            "args": {"name": name},
        }  # fmt: skip

    def _counters(self) -> Iterator[Event]:
        """The curves, wherever they change."""
        line = self.heap.timeline
        before: tuple[int, int, int] | None = None
        rows = zip(line.allocated_bytes, line.free_bytes, line.largest_free_bytes, strict=True)
        for time, row in zip(self.times, rows, strict=True):
            if row != before:
                before = row
                names = ("used bytes", "free bytes", "largest free bytes")
                for name, value in zip(names, row, strict=True):
                    yield {
                        "ph": "C", "name": name, "pid": self.process, "tid": 0, "ts": time,
                        "args": {"bytes": value},
                    }  # fmt: skip

    def _slices(self) -> Iterator[Event]:
        blocks = self.heap.timeline.blocks
        steps = self.heap.timeline.step_count
        for i in range(len(blocks)):
            end = blocks.end[i]
            head = {
                "cat": "block", "id": f"{self.process}.{i}", "name": self._name(i),
                "pid": self.process, "tid": blocks.thread[i] + 1,
            }  # fmt: skip
            begin = self.times[blocks.start[i]]
            stop = self.times[end] if end < steps else self.end_time
            yield {"ph": "b", **head, "ts": begin, "args": self._told(i)}
            # A clock of the trace may have gone backwards.
            yield {"ph": "e", **head, "ts": max(begin, stop)}

    def _name(self, i: int) -> str:
        """A block goes by its call site, so that a track is what one place allocated."""
        blocks = self.heap.timeline.blocks
        if blocks.caller[i] >= 0:
            return self.report.callers[blocks.caller[i]]
        if blocks.request_bytes[i] >= 0:
            return f"{blocks.request_bytes[i]} bytes"
        return "block"

    def _told(self, i: int) -> Event:
        blocks = self.heap.timeline.blocks
        told = {"offset": blocks.offset[i], "chunk_bytes": 8 * blocks.units[i]}
        if blocks.request_bytes[i] >= 0:
            told["request_bytes"] = blocks.request_bytes[i]
        if blocks.id[i] >= 0:
            told["id"] = blocks.id[i]
        return told

    def _failures(self) -> Iterator[Event]:
        steps = self.heap.timeline.failure_steps
        for failure, step in zip(self.heap.failures, steps, strict=True):
            verdict = failure.verdict
            yield {
                "ph": "i", "s": "p", "cat": "failure", "name": f"failed: {verdict.verdict}",
                "pid": self.process, "tid": 0, "ts": self.times[step],
                "args": {
                    "op_index": failure.op_index,
                    "request_bytes": verdict.request_bytes,
                    "free_bytes": verdict.free_bytes,
                    "largest_free_bytes": verdict.largest_free_bytes,
                    "explanation": verdict.explanation,
                },
            }  # fmt: skip
