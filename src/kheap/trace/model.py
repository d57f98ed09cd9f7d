"""One trace in memory: columns, one entry a request or free.

What it owns: the columns every reader fills and every replay reads, and the record
of heaps being initialised between them.  What it does not: reading files (one module
a format beside this one) and running operations (``kheap.study.replay``).

The columns are :mod:`array` arrays, so a trace of a million operations takes some
53 MB and holds no Python object per operation.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from kheap.profile import Profile

__all__ = ["ALLOC", "FREE", "OP_NAMES", "REALLOC", "HeapInit", "Trace", "TraceHeap"]

#: Operation codes in the ``op`` column.  An alignment other than 0 makes an alloc Zephyr's
#: ``sys_heap_aligned_alloc`` and a realloc its ``sys_heap_aligned_realloc``.
ALLOC, REALLOC, FREE = 0, 1, 2
OP_NAMES = ("alloc", "realloc", "free")

#: ``result`` of an operation whose answer was not recorded.
NO_RESULT = -1


@dataclass(frozen=True, slots=True)
class HeapInit:
    """A heap was initialised before operation ``op_index``.

    Attributes:
        op_index: Index of the first operation after it.
        heap: Index into :attr:`Trace.heaps`.
        base_address: Address of the region's first byte.
        size_bytes: Bytes of the region.
    """

    op_index: int
    heap: int
    base_address: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TraceHeap:
    """A heap that the trace names.

    Attributes:
        name: Its symbol where the trace knows it, else its address or number as text.
    """

    name: str


@dataclass(slots=True)
class Trace:
    """A recorded list of requests and frees, as columns of equal length.

    Attributes:
        path: Where it was read from.
        format: Name of the format it was read as.
        op: Operation codes: ALLOC, REALLOC or FREE.
        id: Names the block, from 0; an id may name another block once its own is freed.
        size: Requested bytes; 0 for a free.
        align: Alignment in bytes as given to Zephyr (it may hold a rewind bit); 0: none.
        heap: Index into ``heaps``.
        time: Seconds, 0.0 where the format has no time.
        thread: Index into ``threads``, -1 where unknown.
        caller: Index into ``callers`` (the call site), -1 where unknown.
        result: Recorded address of the block, 0 for NULL, -1 where not recorded.
        heaps: The heaps, by index.
        threads: Names of threads, by index.
        callers: Names of call sites, by index.
        inits: Every heap initialisation, in order; empty where the format records none.
        profile: What the trace says of its Zephyr; None where it says nothing.
        skipped: Lines that ``lenient`` reading left out.
        notes: What was read but is no operation here, by reason
            ("free of NULL", "free of a block from before the trace").
    """

    path: str = ""
    format: str = ""
    op: array[int] = field(default_factory=lambda: array("b"))
    id: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("q"))
    align: array[int] = field(default_factory=lambda: array("q"))
    heap: array[int] = field(default_factory=lambda: array("i"))
    time: array[float] = field(default_factory=lambda: array("d"))
    thread: array[int] = field(default_factory=lambda: array("i"))
    caller: array[int] = field(default_factory=lambda: array("i"))
    result: array[int] = field(default_factory=lambda: array("q"))
    heaps: list[TraceHeap] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    inits: list[HeapInit] = field(default_factory=list)
    profile: Profile | None = None
    skipped: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """The number of operations."""
        return len(self.op)

    @property
    def id_count(self) -> int:
        """One more than the largest id; 0 for an empty trace."""
        return max(self.id, default=-1) + 1

    def add(
        self,
        op: int,
        id: int,
        size: int = 0,
        align: int = 0,
        *,
        heap: int = 0,
        time: float = 0.0,
        thread: int = -1,
        caller: int = -1,
        result: int = NO_RESULT,
    ) -> None:
        """Append one operation; the fields are the columns of the same names."""
        self.op.append(op)
        self.id.append(id)
        self.size.append(size)
        self.align.append(align)
        self.heap.append(heap)
        self.time.append(time)
        self.thread.append(thread)
        self.caller.append(caller)
        self.result.append(result)
