"""Traces one after the other, as one: what one heap meets that serves several programs in turn."""

from __future__ import annotations

from collections.abc import Sequence

from kheap.trace.model import NO_RESULT, Trace

__all__ = ["joined"]


def joined(traces: Sequence[Trace]) -> Trace:
    """All operations in order, on one heap; ids of different traces name different blocks.

    What a trace leaves allocated stays so.  The profile is the first one that a trace tells.

    Raises:
        ValueError: A trace has several heaps.
    """
    whole = Trace(path=" + ".join(trace.path for trace in traces), format="joined")
    whole.profile = next((trace.profile for trace in traces if trace.profile), None)
    for trace in traces:
        if len(trace.heaps) > 1:
            raise ValueError(f"{trace.path}: several heaps cannot be put one after the other")
        first = whole.id_count
        for op, id, size, align in zip(trace.op, trace.id, trace.size, trace.align, strict=True):
            whole.add(op, first + id, size, align, result=NO_RESULT)
    return whole
