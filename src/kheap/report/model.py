"""What the page of ``kheap report`` shows, as numbers and names; nothing is drawn here.

It owns the choice of what a report says: facts for the summary, rows of tables, columns for
the map and the curves.  A report is of a replay, or of heaps at one moment.  Not here:
computing them (``kheap.study.timeline``), the page (``html.py``, ``page/``).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kheap.heaps.stats import Verdict
from kheap.profile import Profile
from kheap.report.columns import Column
from kheap.study.replay import Failure, Replay
from kheap.study.size_costs import SizeCost
from kheap.study.timeline import HeapTimeline

__all__ = ["HeapModel", "ReportModel", "moment_report", "replay_report"]

#: Steps of the second measure of fragmentation, as the page has it: hundredths of a percent.
SHARE_STEPS = 10_000

#: The verdicts on failed requests, as the page numbers them, with what they mean.
VERDICTS = {
    "exhausted": "fewer bytes were free than were asked for",
    "fragmented": "enough bytes were free, but no single chunk was large enough",
    "search_limit": "a free chunk was large enough, but beyond the ALLOC_LOOPS chunks of its"
    " bucket that the search looks at",
    "alignment": "it would have fitted without the alignment, whose padding asks for a larger"
    " chunk",
    "too_big": "no state of this heap could serve it",
    "faults": "this release would have read beyond its bucket table",
}


@dataclass(frozen=True, slots=True)
class HeapModel:
    """One heap over time, or at one moment.

    Attributes:
        timeline: Its numbers.
        peak_offset_bytes: Highest end of a used chunk, where known.
        corruption: What is wrong with it; None for a sound heap.
    """

    timeline: HeapTimeline
    peak_offset_bytes: int | None = None
    corruption: str | None = None

    @property
    def op_count(self) -> int:
        """Its requests and frees."""
        return len(self.timeline.op_index)

    @property
    def failures(self) -> Sequence[Failure]:
        """The requests that got no memory."""
        return self.timeline.failures

    @property
    def costs(self) -> Sequence[SizeCost]:
        """What the sizes cost."""
        return self.timeline.costs

    def facts(self) -> dict[str, Any]:
        """What the page's scripts need besides the columns."""
        heap = self.timeline.heap
        return {
            "name": self.timeline.name,
            "moment": self.timeline.is_moment,
            "steps": self.timeline.step_count,
            "size_bytes": heap.size_bytes,
            "base_address": heap.base_address,
            "start_byte": heap.start,
            "end_chunk": heap.n,
            "control_units": heap.c0,
            "min_units": heap.m,
            "header_bytes": heap.hdr,
            "uncounted_bytes": heap.uncounted,
            "peak_step": self.timeline.peak_step,
        }

    def columns(self) -> list[Column]:
        """The curves, the blocks and the failures."""
        return [*self._curves(), *self._blocks(), *self._failures()]

    def _curves(self) -> Iterable[Column]:
        line = self.timeline
        allocated, free = line.allocated_bytes, line.free_bytes
        shares = array(
            "q", (round(SHARE_STEPS * share) for share in line.one_minus_root_sum_squares)
        )
        yield Column("op_index", line.op_index, True)
        yield Column("time_us", line.time_us, True)
        yield Column("allocated", allocated, True)
        # What one gains the other loses, but for headers: their sum hardly changes.
        yield Column("counted", array("q", map(int.__add__, allocated, free)), True)
        yield Column("largest", line.largest_free_bytes, True)
        yield Column("root_share", shares, True)

    def _blocks(self) -> Iterable[Column]:
        blocks, heap = self.timeline.blocks, self.timeline.heap
        steps = self.timeline.step_count
        # 0 for a block that never went, so that such blocks do not make the column wide.
        lives = (0 if e == steps else e - s for s, e in zip(blocks.start, blocks.end, strict=True))
        leads = (
            offset - heap.start - 8 * chunk
            for offset, chunk in zip(blocks.offset, blocks.chunk, strict=True)
        )
        yield Column("start", blocks.start, True)
        yield Column("life", array("q", lives))
        yield Column("chunk", blocks.chunk)
        yield Column("units", blocks.units)
        yield Column("lead", array("q", leads))
        yield Column("request", blocks.request_bytes)
        yield Column("id", blocks.id, True)
        yield Column("resized", blocks.resized)
        yield Column("thread", blocks.thread)
        yield Column("caller", blocks.caller)

    def _failures(self) -> Iterable[Column]:
        codes = {word: code for code, word in enumerate(VERDICTS)}
        verdicts: list[Verdict] = [failure.verdict for failure in self.failures]
        yield Column("failure_step", self.timeline.failure_steps, True)
        yield Column("failure_request", array("q", (v.request_bytes for v in verdicts)))
        yield Column("failure_align", array("q", (v.align for v in verdicts)))
        yield Column("failure_verdict", array("q", (codes[v.verdict] for v in verdicts)))


@dataclass(frozen=True, slots=True)
class ReportModel:
    """A whole report.

    Attributes:
        source: The file that it is about, as it was named.
        source_format: The format it was read as.
        profile: The Zephyr of its heaps.
        heaps: One entry for each lifetime of each heap; those without operations, where
            others have some, are left out.
        threads, callers: Names, by index.
        notes: What is to be said besides, a sentence each.
        caller_word: What a caller is called: blocks of a trace have call sites, those of a dump
            owners.
    """

    source: str
    source_format: str
    profile: Profile
    heaps: list[HeapModel]
    threads: list[str] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    caller_word: str = "call site"

    @property
    def op_count(self) -> int:
        """Requests and frees of all heaps."""
        return sum(heap.op_count for heap in self.heaps)

    @property
    def failure_count(self) -> int:
        """Requests that got no memory, of all heaps."""
        return sum(len(heap.failures) for heap in self.heaps)

    @property
    def block_count(self) -> int:
        """Blocks of all heaps."""
        return sum(len(heap.timeline.blocks) for heap in self.heaps)


def replay_report(replay: Replay, timelines: Sequence[HeapTimeline]) -> ReportModel:
    """The report of a replay, whose heaps over time are ``timelines``."""
    trace = replay.trace
    found = [
        HeapModel(timeline, part.peak_offset_bytes)
        for part, timeline in zip(replay.heaps, timelines, strict=True)
    ]
    busy = [heap for heap in found if not heap.timeline.is_moment]
    notes = [f"{count:,} x {note}" for note, count in trace.notes.items()]
    if trace.skipped:
        notes.append(f"malformed lines left out: {trace.skipped:,}")
    if busy and len(busy) < len(found):
        notes.append(f"heaps without any operation, not shown: {len(found) - len(busy):,}")
    return ReportModel(
        trace.path,
        trace.format,
        replay.profile,
        busy or found,
        trace.threads,
        trace.callers,
        notes,
    )


def moment_report(
    source: str, source_format: str, profile: Profile, moments: Iterable[HeapTimeline]
) -> ReportModel:
    """The report of heaps as they are at one moment, as in a dump."""
    return ReportModel(source, source_format, profile, [HeapModel(m) for m in moments])
