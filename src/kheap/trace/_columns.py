"""The columns of a trace while a file is read.

What it owns: the way from a line's text to a column's number, checked and fast: lists that
are packed into the trace's arrays once a batch (an append to an array costs four times that
to a list), names by index, and numbers that are converted once and remembered.

What it does not: which id a block has (``_blocks.py``).
"""

from __future__ import annotations

import re
from array import array
from struct import pack
from typing import TypeVar

from kheap.trace._lines import Refused, shown
from kheap.trace.model import NO_RESULT, Trace, TraceHeap

INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1

#: The name of the one heap of a trace that names none.
DEFAULT_HEAP = "heap"

#: The index of a thread or call site that the file does not name.
NOT_RECORDED = -1

NOTE_USABLE_SIZE = "usable_size"

_REMEMBERED_NUMBERS = 1 << 15
_HEX = re.compile(rb"0[xX][0-9a-fA-F]+")
_Number = TypeVar("_Number", int, float)


class Columns:
    """Operations that are not in the trace yet, and the tables of names.

    Readers append to the lists of the columns that their format has, a whole operation
    or nothing.  The lists op, id and size always grow; a format that fills one of the
    others fills it for every operation.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.notes = trace.notes
        self.heaps = Names()
        self.threads = Names(empty=NOT_RECORDED)
        self.callers = Names(empty=NOT_RECORDED)
        self.op: list[int] = []
        self.id: list[int] = []
        self.size: list[int] = []
        self.align: list[int] = []
        self.heap: list[int] = []
        self.time: list[float] = []
        self.thread: list[int] = []
        self.caller: list[int] = []
        self.result: list[int] = []

    def __len__(self) -> int:
        """The number of operations, those in the trace included."""
        return len(self.trace) + len(self.op)

    def flush(self) -> None:
        """Move what the lists hold into the trace."""
        trace = self.trace
        _move(self.op, trace.op)
        _move(self.id, trace.id)
        _move(self.size, trace.size)
        _move(self.align, trace.align)
        _move(self.heap, trace.heap)
        _move(self.time, trace.time)
        _move(self.thread, trace.thread)
        _move(self.caller, trace.caller)
        _move(self.result, trace.result)

    def finish(self) -> None:
        """Complete the trace: names, and the columns that the format does not have."""
        self.flush()
        trace = self.trace
        count = len(trace)
        _fill(trace.align, 0, count)
        _fill(trace.heap, 0, count)
        _fill(trace.time, 0.0, count)
        _fill(trace.thread, NOT_RECORDED, count)
        _fill(trace.caller, NOT_RECORDED, count)
        _fill(trace.result, NO_RESULT, count)
        trace.heaps = [TraceHeap(name) for name in self.heaps.names or [DEFAULT_HEAP]]
        trace.threads = self.threads.names
        trace.callers = self.callers.names


class Names(dict[bytes | str, int]):
    """``names[name]``: the index of a name, given at its first use.

    Attributes:
        names: The names by index.

    Raises:
        Refused: The name is not plain UTF-8 text.
    """

    def __init__(self, *, empty: int | None = None) -> None:
        super().__init__()
        self.names: list[str] = []
        if empty is not None:
            self[b""] = self[""] = empty

    def __missing__(self, key: bytes | str) -> int:
        """Add a name; an empty one that has no index yet stands for the default heap."""
        if key:
            number = len(self.names)
            self.names.append(_text(key))
        else:
            number = self[DEFAULT_HEAP.encode() if isinstance(key, bytes) else DEFAULT_HEAP]
        self[key] = number
        return number


class Numbers(dict[bytes, int]):
    """``numbers[text]``: a whole number from 0 to ``limit``, in digits alone.

    Most numbers of a trace recur soon, and looking one up costs a third of converting
    it; hence a dictionary, which is emptied when it grows large.

    Raises:
        Refused: The number is above the limit.
        ValueError: The text is not such a number.
    """

    def __init__(self, limit: int = INT64_MAX) -> None:
        super().__init__()
        self.limit = limit

    def __missing__(self, text: bytes) -> int:
        """Convert a number, and remember it."""
        number = self.convert(text)
        if number > self.limit:
            raise Refused(f"expected numbers up to {self.limit:,}, found {shown(text)}")
        if len(self) >= _REMEMBERED_NUMBERS:
            self.clear()
        self[text] = number
        return number

    def convert(self, text: bytes) -> int:
        """The number, whatever its size."""
        if not text.isdigit():
            raise ValueError(text)
        return int(text)


class HexNumbers(Numbers):
    """Numbers as C writes them with ``%p`` and ``%#x``: 0x4a44040, (nil), 0."""

    def convert(self, text: bytes) -> int:
        """The number, whatever its size."""
        if _HEX.fullmatch(text):
            return int(text, 16)
        if text in (b"(nil)", b"0"):
            return 0
        raise ValueError(text)


def _text(name: bytes | str) -> str:
    try:
        text = name.decode() if isinstance(name, bytes) else name
        text.encode()
    except UnicodeError:
        raise Refused(f"expected a name in UTF-8, found {shown(name)}") from None
    if "\0" in text:
        raise Refused(f"expected a name without NUL characters, found {shown(name)}")
    return text


def _move(source: list[_Number], column: array[_Number]) -> None:
    # struct packs a list in a fifth of the time that array.extend takes.
    column.frombytes(pack(f"{len(source)}{column.typecode}", *source))
    source.clear()


def _fill(column: array[_Number], value: _Number, count: int) -> None:
    if not column:
        column.extend(array(column.typecode, [value]) * count)
