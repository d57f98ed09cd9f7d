"""Failed requests explained, as text and as JSON: it renders, and computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kheap.report.size_text import overhead_text
from kheap.report.terminal import Line, labelled, profile_text
from kheap.study.explain import Explanation, Holding
from kheap.study.replay import HeapReplay, Replay
from kheap.units import format_bytes

__all__ = ["explain_lines", "explain_object"]


def explain_lines(done: Replay, found: Sequence[Explanation], overhead: str) -> list[Line]:
    """The text of ``kheap explain``."""
    trace = done.trace
    lines: list[Line] = [
        labelled("trace", f"{trace.path} ({trace.format}), {len(trace):,} ops"),
        labelled("profile", profile_text(done.profile)),
    ]
    if overhead != "k_heap":
        lines.append(labelled("overhead", overhead_text(overhead, done.profile)))
    for part in done.heaps:
        lines += _heap_lines(part)
    shown = None
    for explanation in found:
        several = len(done.heaps) > 1
        lines += ["", *_explanation_lines(explanation, shown, several=several)]
        if shown is None or _holdings(shown) != _holdings(explanation):
            shown = explanation
    if done.failed > len(found):
        rest = done.failed - len(found)
        lines += ["", labelled("not shown", f"{rest:,} more; --limit {done.failed} shows all")]
    return lines


def _heap_lines(part: HeapReplay) -> list[Line]:
    place = f"{part.name}: {format_bytes(part.size_bytes)} at {part.base_address:#x}"
    lines: list[Line] = ["", labelled("heap", place)]
    if not part.failures:
        return [*lines, labelled("served", f"all of {part.ops:,} ops; nothing failed", "green")]
    counts = Counter(failure.verdict.verdict for failure in part.failures)
    words = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.most_common())
    return [*lines, labelled("failed", f"{len(part.failures):,} of {part.ops:,} ops: {words}")]


def _explanation_lines(
    found: Explanation, shown: Explanation | None, *, several: bool
) -> list[Line]:
    return [
        labelled(f"op {found.op_index:,}", _request_text(found, several=several), "bold"),
        labelled("why", _why_text(found), "red"),
        *_held_lines(found, shown),
        *_remedy_lines(found),
    ]


def _held_lines(found: Explanation, shown: Explanation | None) -> list[Line]:
    if shown is not None and _holdings(found) == _holdings(shown):
        return [labelled("held", f"as at op {shown.op_index:,}")]
    return [
        labelled("held", _held_text(found.held)),
        *_table("by size", found.by_size),
        *_table("by call site", found.by_caller),
        *_table("by thread", found.by_thread),
    ]


def _holdings(found: Explanation) -> tuple[object, ...]:
    return found.heap, found.held, found.by_size, found.by_caller, found.by_thread


def _request_text(found: Explanation, *, several: bool) -> str:
    words = f"{found.op} of {found.request_bytes:,} bytes"
    if found.align:
        words += f" aligned to {found.align}"
    if found.verdict.request_bytes != found.request_bytes:
        words += f" ({found.verdict.request_bytes:,} for the heap)"
    if found.kept_bytes is not None:
        words += f", for a block of {found.kept_bytes:,}, which stays"
    for preposition, value in (
        ("on heap", found.heap if several else None),
        ("by", found.caller),
        ("in thread", found.thread),
    ):
        if value is not None:
            words += f", {preposition} {value}"
    return words if found.time_s is None else f"{words}, at {found.time_s:,.6g} s"


def _why_text(found: Explanation) -> str:
    verdict = found.verdict
    free = f"{verdict.free_bytes:,} bytes are free"
    largest = f"the largest free chunk has {verdict.largest_free_bytes:,}"
    chunk = f"one with {found.wanted_free_bytes:,} is needed"
    return {
        "exhausted": f"exhausted: only {free}; {largest}, and {chunk}",
        "fragmented": f"fragmented: {free}, but {largest}, and {chunk}",
        "search_limit": f"search limit: {free} and {largest}, which would do; but it lies"
        " beyond the ALLOC_LOOPS chunks that the search looks at",
        "alignment": f"alignment padding: without the alignment it would be served; with it"
        f" {largest}, and {chunk} ({free})",
        "too_big": f"can never fit: no state of a heap of {found.size_bytes:,} bytes serves it"
        if verdict.request_bytes
        else "can never fit: Zephyr answers a request for 0 bytes with NULL",
        "faults": "Zephyr 4.1 and older would have faulted here: its search reads beyond the"
        f" bucket table ({free}, {largest})",
        "fits": "",
    }[verdict.verdict]


def _held_text(held: Holding) -> str:
    return (
        f"{_blocks(held.blocks)}: {held.request_bytes:,} bytes requested,"
        f" {held.chunk_bytes:,} in chunks"
    )


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count:,} blocks"


def _table(label: str, groups: Sequence[Holding]) -> list[Line]:
    if not groups:
        return []
    sized = isinstance(groups[0].key, int)
    if len(groups) == 1 and not sized:
        return [labelled(label, f"all of it: {groups[0].key}")]
    cells = [
        (_key(group), f"{group.blocks:,}", f"{group.request_bytes:,}", f"{group.chunk_bytes:,}")
        for group in groups
    ]
    cells.insert(0, ("", "blocks", "requested", "in chunks"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[Line] = []
    for row, (key, *numbers) in enumerate(cells):
        first = f"{key:>{widths[0]}}" if sized else f"{key:<{widths[0]}}"
        rest = (f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))
        lines.append(labelled(label if row == 0 else "", "  ".join((first, *rest))))
    return lines


def _key(group: Holding) -> str:
    if group.key is None:
        return "others"
    return f"{group.key:,}" if isinstance(group.key, int) else group.key


def _remedy_lines(found: Explanation) -> list[Line]:
    remedies = [_larger_text(found), *_other_remedies(found)]
    return [
        labelled("would serve" if row == 0 else "", words, "green")
        for row, words in enumerate(remedies)
    ]


def _larger_text(found: Explanation) -> str:
    larger = found.larger
    if larger is None:
        known = "no heap does" if not found.verdict.request_bytes else "no larger heap was found"
        return known if found.verdict.request_bytes else f"{known}; ask for 1 byte or more"
    share = 100 * larger.more_bytes / found.size_bytes
    proof = (
        "the smallest that does"
        if larger.is_smallest
        else "not all sizes below were tried, less may do"
    )
    return (
        f"{larger.more_bytes:,} bytes more (+{share:.1f} %): a heap of"
        f" {format_bytes(larger.size_bytes)}, {proof}"
    )


def _other_remedies(found: Explanation) -> list[str]:
    remedies = []
    if found.alloc_loops is not None:
        remedies.append(f"ALLOC_LOOPS {found.alloc_loops}, at this size")
    elif found.verdict == "search_limit":
        remedies.append("no larger ALLOC_LOOPS of those tried (5 to 64)")
    if found.second_heap is not None:
        pair = found.second_heap
        remedies.append(
            f"hint: two heaps serve the whole trace, {pair.size_bytes:,} bytes for blocks of"
            f" {pair.from_request_bytes:,} bytes and more, {pair.rest_bytes:,} for the rest:"
            f" {format_bytes(pair.total_bytes)} together"
        )
    if found.verdict == "faults":
        remedies.append("Zephyr 4.2 or later answers NULL here, and goes on")
    return remedies


# ---------------------------------------------------------------------- JSON


def explain_object(done: Replay, found: Sequence[Explanation], overhead: str) -> dict[str, Any]:
    """``kheap explain --json``; its schema is ``docs/reference/schemas/explain.json``."""
    return {
        "trace": done.trace.path,
        "format": done.trace.format,
        "skipped_lines": done.trace.skipped,
        "profile": asdict(done.profile),
        "overhead": overhead,
        "ops": done.ops,
        "failed": done.failed,
        "failed_by_verdict": dict(Counter(f.verdict.verdict for f in done.failures)),
        "heaps": [
            {
                "name": part.name,
                "size_bytes": part.size_bytes,
                "base_address": part.base_address,
                "ops": part.ops,
                "failed": len(part.failures),
            }
            for part in done.heaps
        ],
        "failures": [_explanation_object(explanation) for explanation in found],
    }


def _explanation_object(found: Explanation) -> dict[str, Any]:
    verdict = found.verdict
    answer = asdict(found)
    answer["verdict"] = verdict.verdict
    answer["explanation"] = verdict.explanation
    answer["needed_bytes"] = verdict.needed_bytes
    answer["free_bytes"] = verdict.free_bytes
    answer["largest_free_bytes"] = verdict.largest_free_bytes
    answer["heap_request_bytes"] = verdict.request_bytes
    del answer["held"]["key"]
    if found.second_heap is not None:
        answer["second_heap"]["total_bytes"] = found.second_heap.total_bytes
    return answer
