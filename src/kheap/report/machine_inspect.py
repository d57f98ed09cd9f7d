"""Heaps of a dump as one JSON object: the names and numbers of the text, by their schema."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kheap.dump.chunk_table import STATES
from kheap.dump.culprit import Corruption
from kheap.dump.inspection import HeapInspection, Inspection
from kheap.heaps.stats import Verdict
from kheap.report.console_text import console_object

__all__ = ["heap_object", "inspect_object"]


def inspect_object(
    found: Inspection, verdicts: list[Verdict | str] | None = None
) -> dict[str, Any]:
    """``kheap inspect --json``; its schema is ``docs/reference/schemas/inspect.json``."""
    dump = found.dump
    return {
        "dump": dump.path,
        "format": dump.format,
        "machine": dump.container.machine,
        "elf": dump.image.path if dump.image else None,
        "facts": dump.container.facts,
        "notes": dump.notes,
        "heaps": [
            heap_object(heap, verdicts[i] if verdicts else None)
            for i, heap in enumerate(found.heaps)
        ],
        "console": console_object(dump.console),
    }


def heap_object(found: HeapInspection, verdict: Verdict | str | None = None) -> dict[str, Any]:
    """One heap."""
    heap, stats = found.image, found.image.stats
    answer: dict[str, Any] = {
        "name": heap.name,
        "kind": heap.kind or None,
        "address": heap.address,
        "object_address": heap.object_address,
        "size_bytes": heap.size_bytes,
        "held_bytes": heap.held_bytes,
        "found": heap.how,
        "profile": asdict(heap.profile),
        "free_bytes": stats.free_bytes,
        "allocated_bytes": stats.allocated_bytes,
        "max_allocated_bytes": stats.max_allocated_bytes,
        "largest_free_bytes": stats.largest_free_bytes,
        "overhead_bytes": stats.overhead_bytes,
        "fragmentation": asdict(stats.fragmentation),
        "chunks": _chunks(found),
        "waiters": [asdict(waiter) for waiter in found.waiters],
        "unreached_blocks": found.unreached,
        "corruption": _corruption_object(heap.corruption),
        "notes": found.notes,
    }
    if verdict is not None:
        answer["would_fit"] = verdict == "fits"
        answer["verdict"] = str(verdict)
    return answer


def _chunks(found: HeapInspection) -> list[dict[str, Any]]:
    first = found.image.first_address
    return [
        {"address": first + 8 * c, "state": STATES[state], "bytes": 8 * units, "owner": owner}
        for (c, units, state), owner in zip(found.image.rows(), found.row_owners(), strict=True)
    ]


def _corruption_object(corruption: Corruption | None) -> dict[str, Any] | None:
    if corruption is None:
        return None
    fields = asdict(corruption)
    fields["edge"] = corruption.edge.hex()
    fields["unread"] = [list(stretch) for stretch in corruption.unread]
    return fields
