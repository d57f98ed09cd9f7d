"""Writing the lines that kheap's recorder for firmware prints; ``_kh.py`` has their forms.

Heaps and threads get addresses that only tell them apart, and their names by ``kh n`` lines.
Records have no numbers and no sums, since nothing can get lost between here and the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from kheap.profile import Profile
from kheap.trace._columns import INT64_MAX
from kheap.trace._shape import (
    LOST_EMPTY,
    LOST_FINE_TIMES,
    clock_start,
    joined,
    plain_names,
    pointer_calls,
)
from kheap.trace.model import ALLOC, FREE, HeapInit, Trace

__all__ = ["HOLDS", "write"]

HOLDS = frozenset({"align", "time", "thread", "caller", "result", "heaps", "inits", "profile"})

_FIRST_HEAP, _FIRST_THREAD, _STRIDE = 0x7E000000, 0x7F000000, 0x100
_US_PER_S = 1e6
# A star begins a record's sum.
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f*#]+")
# A call site that begins with a digit is an address, and must be one.
_UNFIT_CALLER = re.compile(_UNFIT.pattern + r"|^\(nil\)$|^(?=[0-9])(?!0x[1-9a-f][0-9a-f]{0,15}$)")


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The lines of a trace, some thousand at a time."""
    yield from joined(_lines(trace, lost))


def _lines(trace: Trace, lost: Counter[str]) -> Iterator[str]:
    if trace.profile is not None:
        yield f"kh v 1 {_profile_text(trace.profile)}\n"
    names = plain_names([entry.name for entry in trace.heaps], _UNFIT, "_", lost)
    heaps = [f"{_FIRST_HEAP + _STRIDE * i:#x}" for i in range(len(names))]
    threads = [f"{_FIRST_THREAD + _STRIDE * i:#x}" for i in range(len(trace.threads))]
    names += plain_names(trace.threads, _UNFIT, "_", lost)
    yield from map("kh n {} {}\n".format, [*heaps, *threads], names)
    ends = _RecordEnds(trace, threads, lost)
    inits = trace.inits[::-1]
    rows = zip(trace.heap, trace.size, trace.align, pointer_calls(trace, lost), strict=True)
    for i, (heap, size, align, (op, old, new)) in enumerate(rows):
        while inits and inits[-1].op_index <= i:
            yield _init_line(inits.pop(), heaps)
        record = _record(op, old, new, size, align)
        if record is None:
            lost[LOST_EMPTY] += 1
        else:
            letter, operands = record
            yield f"kh {letter} {heaps[heap]} {operands}{ends[i]}\n"
    for init in reversed(inits):
        yield _init_line(init, heaps)


def _record(op: int, old: int, new: int, size: int, align: int) -> tuple[str, str] | None:
    """A record's letter and what stands behind the heap; None: it would free nothing."""
    if op == FREE:
        return ("f", f"{old:#x}") if old else None
    if op != ALLOC and old:
        return "r", f"{old:#x} {new:#x} {size} {align}"
    if new:
        return "a", f"{new:#x} {size} {align}"
    return "x", f"{size} {align}"


def _init_line(init: HeapInit, heaps: list[str]) -> str:
    return f"kh i {heaps[init.heap]} {init.base_address:#x} {init.size_bytes} 0 0\n"


class _RecordEnds:
    """``ends[i]``: time, thread and call site of an operation."""

    def __init__(self, trace: Trace, threads: list[str], lost: Counter[str]) -> None:
        self._trace = trace
        self._start = clock_start(trace, INT64_MAX / _US_PER_S, lost)
        self._threads = [*threads, "0"]
        callers = plain_names(trace.callers, _UNFIT_CALLER, "_", lost)
        self._callers = [*(f" {caller}" for caller in callers), ""]
        self._lost = lost

    def __getitem__(self, i: int) -> str:
        trace = self._trace
        time = 0
        if self._start is not None:
            seconds = trace.time[i] - self._start
            time = min(round(seconds * _US_PER_S), INT64_MAX)
            if time / _US_PER_S != seconds:
                self._lost[LOST_FINE_TIMES] += 1
        return f" {time} {self._threads[trace.thread[i]]}{self._callers[trace.caller[i]]}"


def _profile_text(profile: Profile) -> str:
    return ",".join(f"{name}={str(value).lower()}" for name, value in asdict(profile).items())
