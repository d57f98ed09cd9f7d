"""The page of ``kheap inspect``: the heaps of a dump as a report of one moment."""

from __future__ import annotations

from itertools import compress

from kheap.dump.chunk_table import DAMAGED, STATES, UNREAD, USED
from kheap.dump.inspection import HeapInspection, Inspection
from kheap.profile import Profile
from kheap.report.model import HeapModel, ReportModel
from kheap.study.timeline import moment_with

__all__ = ["dump_report"]

#: Rows that are drawn as blocks: whatever is not free.
_DRAWN = bytes(int(code in (USED, DAMAGED, UNREAD)) for code in range(256))


def dump_report(found: Inspection) -> ReportModel:
    """What the page shows of the heaps that were chosen. Complexity: O(chunks)."""
    names: dict[str, int] = {}
    heaps = [_heap_model(heap, names) for heap in found.heaps]
    dump = found.dump
    notes = [*dump.notes, *(f"{h.image.name}: {note}" for h in found.heaps for note in h.notes)]
    for heap in found.heaps:
        notes += [f"{heap.image.name}: {waiter.name} waits for memory" for waiter in heap.waiters]
    profile = found.heaps[0].image.profile if found.heaps else Profile()
    return ReportModel(
        dump.path,
        dump.format,
        profile,
        heaps,
        callers=list(names),
        notes=notes,
        caller_word="owner",
    )


def _heap_model(found: HeapInspection, names: dict[str, int]) -> HeapModel:
    heap, table = found.image, found.image.chunks
    drawn = table.state.translate(_DRAWN)
    states = compress(table.state, drawn)
    owners = compress(found.row_owners(), drawn)
    words = (
        owner if state == USED else STATES[state]
        for state, owner in zip(states, owners, strict=True)
    )
    callers = (-1 if word is None else names.setdefault(word, len(names)) for word in words)
    moment = moment_with(
        heap.heap,
        heap.name,
        heap.stats,
        compress(table.chunk, drawn),
        compress(table.units, drawn),
        callers,
    )
    if heap.corruption is None:
        return HeapModel(moment)
    culprit = heap.corruption.culprit
    return HeapModel(
        moment, corruption=f"{heap.corruption.message}; likely {culprit.kind}: {culprit.message}"
    )
