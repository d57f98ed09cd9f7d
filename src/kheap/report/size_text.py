"""The answer to "which size?", as text and as JSON: it renders, and computes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kheap.profile import Profile
from kheap.report.terminal import Line, labelled, profile_text
from kheap.study.size import SizeAnswer
from kheap.units import format_bytes

__all__ = ["config_line", "overhead_text", "size_lines", "size_object", "sizes_object"]

_MOST_RANGES = 8


def size_lines(answer: SizeAnswer) -> list[Line]:
    """The answer in lines."""
    heap = f", heap {answer.heap}" if answer.heap else ""
    lines: list[Line] = [
        labelled("trace", f"{answer.trace.path}, {len(answer.trace):,} ops{heap}"),
        labelled("profile", profile_text(answer.profile)),
        labelled("overhead", overhead_text(answer.overhead, answer.profile)),
        labelled(
            "peak",
            f"{answer.peak_request_bytes:,} bytes requested at once;"
            f" {answer.peak_chunk_bytes:,} in chunks",
        ),
    ]
    if answer.smallest_fit_bytes is None:
        known = "no size serves it" if answer.is_complete else "no size was found that serves it"
        return [*lines, labelled("smallest", known), labelled("tested", _tested(answer))]
    lines += [
        "",
        labelled(
            "smallest", f"{format_bytes(answer.smallest_fit_bytes)}: the least that serves it"
        ),
        *_failing(answer),
    ]
    if answer.safe_bytes is None:
        return [*lines, labelled("safe", "not known"), labelled("tested", _tested(answer))]
    lines += [
        labelled("safe", f"{format_bytes(answer.safe_bytes)}: every size from here on, proved"),
        labelled(
            "recommended",
            f"{format_bytes(answer.recommended_bytes or 0)}: safe plus {answer.margin_percent:g} %",
        ),
        labelled("put", config_line(answer.config_bytes or 0, answer.overhead)),
        "",
        *_arithmetic(answer),
        labelled("tested", _tested(answer)),
    ]
    return lines


def overhead_text(overhead: str, profile: Profile) -> str:
    """What the calls above the heap add, in words."""
    word = profile.bits // 8
    return {
        "k_heap": "k_heap: nothing is added to a request",
        "k_malloc": f"k_malloc: a word of {word} bytes below each block",
        "malloc": f"malloc of Zephyr's common libc: blocks aligned to {2 * word}",
    }[overhead]


def config_line(config_bytes: int, overhead: str) -> str:
    """The line to paste."""
    return {
        "k_heap": f"K_HEAP_DEFINE(name, {config_bytes})",
        "k_malloc": f"CONFIG_HEAP_MEM_POOL_SIZE={config_bytes}",
        "malloc": f"CONFIG_COMMON_LIBC_MALLOC_ARENA_SIZE={config_bytes}",
    }[overhead]


def _failing(answer: SizeAnswer) -> list[Line]:
    ranges = answer.failing_above_smallest
    if not ranges:
        return []
    count = sum((last - first) // 8 + 1 for first, last in ranges)
    shown = ", ".join(
        f"{first:,}" if first == last else f"{first:,} to {last:,}"
        for first, last in ranges[:_MOST_RANGES]
    )
    more = f", and {len(ranges) - _MOST_RANGES:,} more ranges" if len(ranges) > _MOST_RANGES else ""
    return [labelled("but not", f"{count:,} larger sizes fail: {shown}{more}")]


def _arithmetic(answer: SizeAnswer) -> list[Line]:
    parts = [(name, size) for name, size in answer.arithmetic() if size]
    width = max(len(f"{size:,}") for _, size in parts)
    lines = [f"{size:>{width},}  {name}" for name, size in parts]
    total = f"{answer.recommended_bytes or 0:>{width},}  recommended"
    return [
        labelled("sum" if number == 0 else "", line) for number, line in enumerate([*lines, total])
    ]


def _tested(answer: SizeAnswer) -> str:
    text = f"{answer.tested_sizes:,} sizes, by {answer.replays:,} replays"
    if answer.is_complete:
        return f"{text}; all others from there on are proved"
    untested = sum((last - first) // 8 + 1 for first, last in answer.untested)
    return f"{text}; the search ended before {untested:,} sizes were tested: smaller ones may do"


def size_object(answer: SizeAnswer) -> dict[str, Any]:
    """``kheap size --json`` for one heap; its schema is ``docs/reference/schemas/size.json``."""
    return {
        "trace": answer.trace.path,
        "heap": answer.heap or None,
        "ops": len(answer.trace),
        "profile": asdict(answer.profile),
        "base_address": answer.base_address,
        "overhead": answer.overhead,
        "peak_request_bytes": answer.peak_request_bytes,
        "peak_chunk_bytes": answer.peak_chunk_bytes,
        "smallest_fit_bytes": answer.smallest_fit_bytes,
        "safe_bytes": answer.safe_bytes,
        "safe_is_proved": answer.safe_is_proved,
        "failing_above_smallest": [list(pair) for pair in answer.failing_above_smallest],
        "is_complete": answer.is_complete,
        "untested": [list(pair) for pair in answer.untested],
        "tested_sizes": answer.tested_sizes,
        "replays": answer.replays,
        "recommended_bytes": answer.recommended_bytes,
        "margin_percent": answer.margin_percent,
        "config_bytes": answer.config_bytes,
        "config": None
        if answer.config_bytes is None
        else config_line(answer.config_bytes, answer.overhead),
        "arithmetic": [{"part": name, "bytes": size} for name, size in answer.arithmetic()],
    }


def sizes_object(answers: list[SizeAnswer], together: SizeAnswer | None) -> dict[str, Any]:
    """The same for several heaps or traces; ``together``: one after the other on one heap."""
    return {
        "answers": [size_object(answer) for answer in answers],
        "together": None if together is None else size_object(together),
    }
