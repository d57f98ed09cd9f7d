"""CS:APP malloc-lab traces (``.rep``).

Source: the malloc lab of Bryant and O'Hallaron, "Computer Systems: A Programmer's
Perspective", and the traces handed out with it.  A header of numbers, one a line (heap size,
ids, operations, weight; or ids and operations), then::

    a ID SIZE      request
    r ID SIZE      resize
    f ID           free

The header is known to lie, so nothing is taken from it but a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from kheap.trace._blocks import IdBlocks
from kheap.trace._columns import Columns, Numbers
from kheap.trace._lines import Lines
from kheap.trace._shape import PART, keyed_calls
from kheap.trace.model import ALLOC, REALLOC, Trace

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

HOLDS: frozenset[str] = frozenset()

NOTE_HEADER = "header with another number of operations"

_EXPECTED = "'a ID SIZE', 'r ID SIZE' or 'f ID'"
_EXPECTED_HEADER = "a header of 2 or 4 numbers, one a line"
_HEAD = re.compile(rb"(?:[0-9]+\s+){0,4}(?:[ar] +[0-9]+ +[0-9]|f +[0-9]|\Z)")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a .rep trace."""
    return _HEAD.match(head.lstrip()) is not None


class Reader:
    """Reads a .rep file."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._blocks = IdBlocks(columns, strict=True)
        self._numbers = Numbers()
        self._header: list[int] = []
        self._header_end = 1

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        numbers, blocks = self._numbers, self._blocks
        for number, line in enumerate(batch, first):
            fields = line.split()
            try:
                if len(fields) == 3:
                    kind, key, size = fields
                    if kind == b"a":
                        blocks.alloc(numbers[key], numbers[size], 0, number)
                    elif kind == b"r":
                        blocks.realloc(numbers[key], numbers[size], 0, number)
                    else:
                        raise ValueError(kind)
                elif len(fields) == 2 and fields[0] == b"f":
                    blocks.free(numbers[fields[1]])
                elif fields:
                    self._add_header(fields, number)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)

    def end(self) -> None:
        """Look at the header, now that all operations are known."""
        header = self._header
        if len(header) not in (0, 2, 4):
            found = f"expected {_EXPECTED_HEADER}, found {len(header)}"
            self._lines.refuse_because(self._header_end, found)
        elif header and header[-2 if len(header) == 4 else -1] != len(self._columns):
            self._columns.notes[NOTE_HEADER] += 1

    def _add_header(self, fields: list[bytes], number: int) -> None:
        if len(fields) > 1 or len(self._header) == 4 or len(self._columns):
            raise ValueError(fields)
        self._header.append(self._numbers[fields[0]])
        self._header_end = number


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The text of a .rep file: a header of four numbers, then the operations.

    The first number, a heap's size, only hints at what the operations need: the most bytes
    that are requested at once.
    """
    lines: list[str] = []
    sizes: dict[int, int] = {}
    live = peak = key_count = 0
    for op, key, size in keyed_calls(trace, lost):
        live += size - sizes.get(key, 0)
        sizes[key] = size
        peak = max(peak, live)
        key_count = max(key_count, key + 1)
        if op == ALLOC:
            lines.append(f"a {key} {size}\n")
        else:
            lines.append(f"r {key} {size}\n" if op == REALLOC else f"f {key}\n")
    yield f"{peak}\n{key_count}\n{len(lines)}\n1\n".encode()
    for start in range(0, len(lines), PART):
        yield "".join(lines[start : start + PART]).encode()
