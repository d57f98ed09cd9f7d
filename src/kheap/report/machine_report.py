"""The JSON object of ``kheap report``; its schema is ``docs/reference/schemas/report.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kheap._core._native import COMPILED
from kheap.report.model import HeapModel, ReportModel

__all__ = ["report_object"]


def report_object(report: ReportModel, written: Sequence[tuple[str, str, int]]) -> dict[str, Any]:
    """What was written, and the key numbers of what it shows.

    Args:
        report: What is shown.
        written: For each file what it is, its path and its bytes.
    """
    return {
        "trace": report.source,
        "format": report.source_format,
        "profile": asdict(report.profile),
        "compiled": COMPILED,
        "written": [{"kind": kind, "path": path, "bytes": size} for kind, path, size in written],
        "ops": report.op_count,
        "blocks": report.block_count,
        "failed": report.failure_count,
        "heaps": [_heap_object(heap) for heap in report.heaps],
    }


def _heap_object(heap: HeapModel) -> dict[str, Any]:
    line = heap.timeline
    return {
        "name": line.name,
        "size_bytes": line.heap.size_bytes,
        "base_address": line.heap.base_address,
        "ops": heap.op_count,
        "blocks": len(line.blocks),
        "failed": len(heap.failures),
        "first_failure_op_index": heap.failures[0].op_index if heap.failures else None,
        "peak_allocated_bytes": line.peak_allocated_bytes,
        "peak_op_index": None if line.is_moment else line.op_index[line.peak_step],
        "peak_offset_bytes": heap.peak_offset_bytes,
        "free_bytes": line.final.free_bytes,
        "largest_free_bytes": line.final.largest_free_bytes,
        "fragmentation": asdict(line.final.fragmentation),
    }
