"""Reports for machines: one JSON object a command, by the schemas of the documentation."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from kheap._core._native import COMPILED
from kheap.heaps.stats import HeapStats
from kheap.study.replay import Failure, HeapReplay, Replay

__all__ = ["replay_object"]


def replay_object(replay: Replay) -> dict[str, Any]:
    """``kheap replay --json``; its schema is ``docs/reference/schemas/replay.json``.

    What has no single value for several heaps is null there, and told heap by heap.
    """
    parts = [_heap_object(part) for part in replay.heaps]
    alone = parts[0] if len(parts) == 1 else {}
    failures = replay.failures
    return {
        "trace": replay.trace.path,
        "format": replay.trace.format,
        "skipped_lines": replay.trace.skipped,
        "notes": dict(replay.trace.notes),
        "profile": asdict(replay.profile),
        "compiled": COMPILED,
        "size_bytes": sum(part.size_bytes for part in replay.heaps),
        "base_address": alone.get("base_address"),
        "ops": replay.ops,
        "failed": len(failures),
        "failed_by_verdict": dict(Counter(f.verdict.verdict for f in failures)),
        "first_failure": _failure_object(failures[0]) if failures else None,
        "peak_allocated_bytes": alone.get("peak_allocated_bytes"),
        "peak_offset_bytes": alone.get("peak_offset_bytes"),
        "final": alone.get("final"),
        "fragmentation": alone.get("fragmentation"),
        "ops_per_second": round(replay.ops_per_second, 1),
        "heaps": parts,
    }


def _heap_object(part: HeapReplay) -> dict[str, Any]:
    return {
        "name": part.name,
        "size_bytes": part.size_bytes,
        "base_address": part.base_address,
        "ops": part.ops,
        "failed": len(part.failures),
        "first_failure": _failure_object(part.failures[0]) if part.failures else None,
        "peak_allocated_bytes": part.peak_allocated_bytes,
        "peak_offset_bytes": part.peak_offset_bytes,
        "final": _stats_object(part.final),
        "fragmentation": asdict(part.final.fragmentation),
    }


def _stats_object(stats: HeapStats) -> dict[str, Any]:
    fields = asdict(stats)
    del fields["fragmentation"]
    return fields


def _failure_object(failure: Failure) -> dict[str, Any]:
    verdict = failure.verdict
    return {
        "op_index": failure.op_index,
        "op": failure.op,
        "id": failure.id,
        "request_bytes": verdict.request_bytes,
        "align": verdict.align,
        "verdict": verdict.verdict,
        "needed_bytes": verdict.needed_bytes,
        "free_bytes": verdict.free_bytes,
        "largest_free_bytes": verdict.largest_free_bytes,
        "explanation": verdict.explanation,
    }
