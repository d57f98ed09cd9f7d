"""Call logs of sys_heap: every outermost call of a running Zephyr program, as JSON Lines.

Source: recorded under Zephyr's own samples and tests.  The first line may be a header with
"kind": "header", "zephyr", "pointer_bytes", "config", "heaps" and "threads"; each other line
is a call with "op", "heap" (address of the struct sys_heap) and, as the op has them, "ptr",
"size", "align", "result", "mem", "thread", "caller", "tick".  A log of several layers has a
"layer" in each row, and "inside": the functions that the call was made from.

Rows of other layers, and calls that sys_heap makes to itself, are no operations.  Ticks become
seconds where the header's configuration tells their rate; the time is 0.0 otherwise, since a
sequence number ("t") is none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import NOT_RECORDED, NOTE_USABLE_SIZE, UINT64_MAX, Columns
from kheap.trace._json import first_object, parse_each, parse_object, whole_number
from kheap.trace._lines import Lines, Refused, shown
from kheap.trace._shape import LOST_EMPTY, joined, pointer_calls
from kheap.trace._syslog_header import Header, WrittenHeader, written_header
from kheap.trace.model import ALLOC, FREE, OP_NAMES, HeapInit, Trace

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

HOLDS = frozenset({"align", "time", "thread", "caller", "result", "heaps", "inits", "profile"})

NOTE_OTHER_LAYER = "row of another layer"
NOTE_NESTED = "call from inside another sys_heap call"

_EXPECTED = "a JSON object with 'op' and 'heap', or a header"


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a log of sys_heap calls."""
    line = b"".join(first_object(head).split())
    keys = (b'"mem":', b'"ptr":', b'"result":', b'"layer":')
    is_row = b'"op":' in line and b'"id":' not in line and any(key in line for key in keys)
    return b'"kind":"header"' in line or is_row


class Reader:
    """Reads a log of sys_heap calls."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._blocks = PointerBlocks(columns)
        self._header = Header()
        self._heaps: dict[int, int] = {}
        self._threads: dict[int, int] = {}
        self._calls: dict[object, Callable[[dict[str, Any], int], bool]] = {
            "init": self._init,
            "alloc": self._alloc,
            "aligned_alloc": self._alloc,
            "realloc": self._realloc,
            "aligned_realloc": self._realloc,
            "free": self._free,
            "usable_size": self._usable_size,
        }

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        for number, line, row in parse_each(batch, first):
            try:
                self._row(parse_object(line) if row is None else row)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)

    def end(self) -> None:
        """Nothing is open at the end of a log."""

    def _row(self, row: dict[str, Any]) -> None:
        if row.get("kind") == "header":
            self._header = Header(row)
            self._columns.trace.profile = self._header.profile
            return
        if row.get("layer", "sys") != "sys":
            self._columns.notes[NOTE_OTHER_LAYER] += 1
        elif "inside" in row and _is_nested(row["inside"]):
            self._columns.notes[NOTE_NESTED] += 1
        else:
            self._outermost(row)

    def _outermost(self, row: dict[str, Any]) -> None:
        """Take a call; whatever may be refused comes before the first append."""
        columns = self._columns
        op = row.get("op")
        call = self._calls.get(op) if type(op) is str else None
        if call is None:
            raise Refused(f"expected a call of sys_heap as 'op', found {shown(op)}")
        align = 0 if row.get("align") is None else whole_number(row, "align")
        time = self._header.seconds(row)
        thread = self._thread(row)
        caller = self._caller(row)
        if call(row, self._heap(row)):
            columns.align.append(align)
            columns.time.append(time)
            columns.thread.append(thread)
            columns.caller.append(caller)

    def _init(self, row: dict[str, Any], heap: int) -> bool:
        mem, size = whole_number(row, "mem"), whole_number(row, "size")
        self._blocks.forget(heap)
        inits = self._columns.trace.inits
        inits.append(HeapInit(len(self._columns), heap, mem, size))
        return False

    def _alloc(self, row: dict[str, Any], heap: int) -> bool:
        size = whole_number(row, "size", UINT64_MAX)
        return self._blocks.alloc(whole_number(row, "result"), size, heap)

    def _realloc(self, row: dict[str, Any], heap: int) -> bool:
        size = whole_number(row, "size", UINT64_MAX)
        result = whole_number(row, "result")
        return self._blocks.realloc(whole_number(row, "ptr"), result, size, heap)

    def _free(self, row: dict[str, Any], heap: int) -> bool:
        return self._blocks.free(whole_number(row, "ptr"), heap)

    def _usable_size(self, row: dict[str, Any], heap: int) -> bool:
        self._columns.notes[NOTE_USABLE_SIZE] += 1
        return False

    def _heap(self, row: dict[str, Any]) -> int:
        address = whole_number(row, "heap", UINT64_MAX)
        heap = self._heaps.get(address)
        if heap is None:
            heaps = self._columns.heaps
            heap = heaps[self._header.heap_name(address, row.get("heap_sym"), heaps)]
            self._heaps[address] = heap
        return heap

    def _thread(self, row: dict[str, Any]) -> int:
        if row.get("thread") is None:
            return NOT_RECORDED
        address = whole_number(row, "thread", UINT64_MAX)
        thread = self._threads.get(address)
        if thread is None:
            threads = self._columns.threads
            thread = self._threads[address] = threads[self._header.thread_name(address, threads)]
        return thread

    def _caller(self, row: dict[str, Any]) -> int:
        caller = row.get("caller")
        return self._columns.callers[caller] if type(caller) is str else NOT_RECORDED


def _is_nested(inside: object) -> bool:
    if type(inside) is not list:
        raise Refused(f"expected a list as 'inside', found {shown(inside)}")
    return any(type(name) is str and name.startswith("sys_heap_") for name in inside)


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The text of a call log, some thousand lines at a time.

    A trace does not know where the structs of heaps and threads lay, so their addresses are
    made up; the header has the names.
    """
    header = written_header(trace, lost)
    yield header.line.encode()
    yield from joined(_lines(trace, header, lost))


def _lines(trace: Trace, header: WrittenHeader, lost: Counter[str]) -> Iterator[str]:
    ends = _RowEnds(trace, header)
    inits = trace.inits[::-1]
    heaps = header.heaps
    rows = zip(trace.heap, trace.size, trace.align, pointer_calls(trace, lost), strict=True)
    for i, (heap, size, align, (op, old, new)) in enumerate(rows):
        while inits and inits[-1].op_index <= i:
            yield _init_line(inits.pop(), heaps)
        if op == FREE:
            if old:
                yield f'{{"op": "free", "heap": {heaps[heap]}, "ptr": {old}{ends[i]}'
            else:
                lost[LOST_EMPTY] += 1
            continue
        name = f"aligned_{OP_NAMES[op]}" if align else OP_NAMES[op]
        pointer = f'"ptr": {old}, ' if op != ALLOC else ""
        yield (
            f'{{"op": "{name}", "heap": {heaps[heap]}, {pointer}"size": {size}, '
            f'"result": {new}{ends[i]}'
        )
    for init in reversed(inits):
        yield _init_line(init, heaps)


def _init_line(init: HeapInit, heaps: list[int]) -> str:
    row = {"op": "init", "heap": heaps[init.heap], "mem": init.base_address}
    return json.dumps(row | {"size": init.size_bytes}) + "\n"


class _RowEnds:
    """``ends[i]``: the keys behind those that every row of an op has, and the row's end."""

    def __init__(self, trace: Trace, header: WrittenHeader) -> None:
        self._trace = trace
        self._ticks = header.ticks
        self._threads = [*(f', "thread": {address}' for address in header.threads), ""]
        self._callers = [*(f', "caller": {json.dumps(name)}' for name in trace.callers), ""]

    def __getitem__(self, i: int) -> str:
        trace = self._trace
        align = f', "align": {trace.align[i]}' if trace.align[i] else ""
        tick = f', "tick": {self._ticks(trace.time[i])}' if self._ticks else ""
        return f"{align}{self._threads[trace.thread[i]]}{tick}{self._callers[trace.caller[i]]}}}\n"
