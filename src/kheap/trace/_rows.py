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
======= ===================================================================

A request may have failed when it was recorded, so a free of an id without a block is that of
NULL, and a realloc of one is a request.

What it owns: the way from checked rows to operations.  What it does not: text
(``_rows_csv.py``, ``_rows_json.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

from kheap.trace._blocks import IdBlocks
from kheap.trace._columns import Columns
from kheap.trace._lines import Lines, Refused, shown
from kheap.trace.model import ALLOC, FREE, OP_NAMES, REALLOC

ROW_COLUMNS = ("op", "id", "size", "align", "heap", "time", "thread", "caller")
OPS = dict(zip(OP_NAMES, (ALLOC, REALLOC, FREE), strict=True))

#: The size of a row that has none, as a free may.
NO_SIZE = -1


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
        for line, op, key, size, heap in zip(
            batch.lines, batch.op, batch.id, batch.size, batch.heap, strict=True
        ):
            try:
                if size < 0 and op != FREE:
                    raise Refused(f"expected a size for {OP_NAMES[op]}, found nothing")
                added.append(calls[op](key, size, heap, line))
            except Refused as error:
                added.append(False)
                self._lines.refuse_because(line, str(error))
        columns = self._columns
        columns.align.extend(compress(batch.align, added))
        columns.heap.extend(compress(batch.heap, added))
        columns.time.extend(compress(batch.time, added))
        columns.thread.extend(compress(batch.thread, added))
        columns.caller.extend(compress(batch.caller, added))


def not_an_op(found: object) -> Refused:
    """The error of a word that should have been an op."""
    return Refused(f"expected alloc, realloc or free as 'op', found {shown(found)}")


def not_seconds(found: object) -> Refused:
    """The error of a value that should have been a time."""
    return Refused(f"expected a finite number of seconds as 'time', found {shown(found)}")
