"""Rows of kheap's own trace formats, CSV and JSON Lines.

A row has these columns; ``op`` and ``id`` are required, ``size`` too for alloc and realloc:

======= ===================================================================
op      alloc, realloc or free
id      the block, any whole number; each heap has ids of its own
size    requested bytes
align   alignment in bytes; 0 or nothing: none
heap    name or number of the heap; nothing: the heap called "heap"
time    seconds, any finite number; nothing: 0
thread  name or number of the thread
caller  name or number of the call site
result  address of the block that a request was given, 0 if it failed; nothing: not recorded
======= ===================================================================

Where no result tells, a request may have failed when it was recorded, so a free of an id
without a block is that of NULL, and a realloc of one is a request.

What it owns: the way from checked rows to operations, and from operations to the texts of
rows.  What it does not: the rows themselves (``_rows_csv.py``, ``_rows_json.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

from kheap.trace._blocks import IdBlocks
from kheap.trace._columns import Columns
from kheap.trace._lines import Lines, Refused, shown
from kheap.trace.model import ALLOC, FREE, NO_RESULT, OP_NAMES, REALLOC, Trace

ROW_COLUMNS = ("op", "id", "size", "align", "heap", "time", "thread", "caller", "result")
OPS = dict(zip(OP_NAMES, (ALLOC, REALLOC, FREE), strict=True))

#: The size of a row that has none, as a free may.
NO_SIZE = -1

#: What these formats cannot hold is only how heaps were initialised, and the Zephyr.
HOLDS = frozenset(ROW_COLUMNS)


class Batch(NamedTuple):
    """Some rows, column by column, as numbers in range."""

    lines: Sequence[int]
    op: list[int]
    id: list[int]
    size: list[int]
    align: list[int]
    heap: list[int]
    time: list[float]
    thread: list[int]
    caller: list[int]
    result: list[int]


class NameTexts(NamedTuple):
    """The names of heaps, threads and call sites as a format writes them, by index.

    The last text of threads and callers stands for the index -1: not recorded.
    """

    heaps: list[str]
    threads: list[str]
    callers: list[str]


def texts(trace: Trace, part: slice, names: NameTexts) -> dict[str, list[str]]:
    """Some operations column by column, each as text; an empty text: nothing to say."""
    ops = trace.op[part]
    sizes, results = trace.size[part], trace.result[part]
    return {
        "op": [OP_NAMES[op] for op in ops],
        "id": [str(id) for id in trace.id[part]],
        "size": ["" if op == FREE else str(size) for op, size in zip(ops, sizes, strict=True)],
        "align": [str(align) if align else "" for align in trace.align[part]],
        "heap": [names.heaps[heap] for heap in trace.heap[part]],
        "time": [repr(time) if time else "" for time in trace.time[part]],
        "thread": [names.threads[thread] for thread in trace.thread[part]],
        "caller": [names.callers[caller] for caller in trace.caller[part]],
        "result": [
            "" if op == FREE or result < 0 else str(result)
            for op, result in zip(ops, results, strict=True)
        ],
    }


class Rows:
    """Takes rows, some at a time: column by column is three times as fast as row by row."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        blocks = IdBlocks(columns, strict=False)
        self._calls = (blocks.alloc, blocks.realloc, blocks.free)

    def take(self, batch: Batch) -> None:
        """Take rows; refuse those whose id still holds a block, and requests of no size."""
        calls = self._calls
        added: list[bool] = []
        for line, op, key, size, heap, result in zip(
            batch.lines, batch.op, batch.id, batch.size, batch.heap, batch.result, strict=True
        ):
            try:
                if size < 0 and op != FREE:
                    raise Refused(f"expected a size for {OP_NAMES[op]}, found nothing")
                added.append(calls[op](key, size, heap, line, result))
            except Refused as error:
                added.append(False)
                self._lines.refuse_because(line, str(error))
        columns = self._columns
        columns.align.extend(compress(batch.align, added))
        columns.heap.extend(compress(batch.heap, added))
        columns.time.extend(compress(batch.time, added))
        columns.thread.extend(compress(batch.thread, added))
        columns.caller.extend(compress(batch.caller, added))
        columns.result.extend(compress(batch.result, added))


def results_of(ops: list[int], results: list[int]) -> list[int]:
    """The answers of some rows: a free has none, whatever its row says."""
    if max(results, default=NO_RESULT) == NO_RESULT:
        return results
    return [NO_RESULT if op == FREE else result for op, result in zip(ops, results, strict=True)]


def not_an_op(found: object) -> Refused:
    """The error of a word that should have been an op."""
    return Refused(f"expected alloc, realloc or free as 'op', found {shown(found)}")


def not_seconds(found: object) -> Refused:
    """The error of a value that should have been a time."""
    return Refused(f"expected a finite number of seconds as 'time', found {shown(found)}")
