"""What changed between two dumps as one JSON object: all of it, by its schema."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kheap.dump.diff import DumpDiff, Growth, HeapDiff

__all__ = ["diff_object"]


def diff_object(found: DumpDiff) -> dict[str, Any]:
    """``kheap diff --json``; its schema is ``docs/reference/schemas/diff.json``."""
    return {
        "before": found.before,
        "after": found.after,
        "clean": found.is_clean,
        "notes": list(found.notes),
        "heaps": [_heap_object(heap) for heap in found.heaps],
        "only_before": [asdict(totals) for totals in found.only_before],
        "only_after": [asdict(totals) for totals in found.only_after],
    }


def _heap_object(heap: HeapDiff) -> dict[str, Any]:
    return {
        "name": heap.after.name,
        "before": asdict(heap.before),
        "after": asdict(heap.after),
        "change_bytes": heap.change_bytes,
        "stayed_count": heap.stayed_count,
        "stayed_bytes": heap.stayed_bytes,
        "appeared": [asdict(block) for block in heap.appeared],
        "went": [asdict(block) for block in heap.went],
        "suspects": None if heap.suspects is None else [asdict(block) for block in heap.suspects],
        "by_size": [_growth_object(row) for row in heap.by_size],
        "by_owner": [_growth_object(row) for row in heap.by_owner],
        "by_signature": [_growth_object(row) for row in heap.by_signature],
    }


def _growth_object(row: Growth) -> dict[str, Any]:
    return {**asdict(row), "change_count": row.change_count, "change_bytes": row.change_bytes}
