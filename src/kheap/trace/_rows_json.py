"""kheap's own traces as JSON Lines, one object a line; ``_rows.py`` has the keys.

Keys of other names are passed over and noted; null stands for a key that is not there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from math import isfinite
from typing import Any

from kheap.trace._columns import DEFAULT_HEAP, INT64_MAX, Columns, Names
from kheap.trace._json import first_object, not_whole, parse_objects
from kheap.trace._lines import Lines, Refused, shown
from kheap.trace._rows import (
    HOLDS,
    NO_SIZE,
    OPS,
    ROW_COLUMNS,
    Batch,
    NameTexts,
    Rows,
    not_an_op,
    not_seconds,
    results_of,
    texts,
)
from kheap.trace._shape import parts
from kheap.trace.model import NO_RESULT, Trace, TraceHeap

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

NOTE_OTHER_KEY = "row with a key that is not read"

_EXPECTED = "a JSON object with 'op', 'id' and, unless it is a free, 'size'"
_KEYS = frozenset(ROW_COLUMNS)
_NONE = type(None)


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so has objects with an op and an id."""
    line = first_object(head)
    return b'"op"' in line and b'"id"' in line


class Reader:
    """Reads a JSON Lines file."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._rows = Rows(lines, columns)

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number.

        Where one of them cannot be read, they are taken each by itself.
        """
        try:
            rows = self._convert(first, parse_objects(batch))
        except ValueError as error:
            if len(batch) == 1:
                self._lines.refuse(first, batch[0], _EXPECTED, error)
                return
            for number, line in enumerate(batch, first):
                if line and not line.isspace():
                    self.read(number, [line])
        else:
            self._rows.take(rows)

    def end(self) -> None:
        """Nothing is open at the end of a file."""

    def _convert(self, first: int, rows: list[dict[str, Any]]) -> Batch:
        """The columns of some rows."""
        columns = self._columns
        ops = _ops([row.get("op") for row in rows])
        results = _whole("result", [row.get("result") for row in rows], NO_RESULT)
        batch = Batch(
            lines=range(first, first + len(rows)),
            op=ops,
            id=_whole("id", [row.get("id") for row in rows]),
            size=_whole("size", [row.get("size") for row in rows], NO_SIZE),
            align=_whole("align", [row.get("align") for row in rows], 0),
            time=_seconds([row.get("time") for row in rows]),
            heap=_indices("heap", [row.get("heap") for row in rows], columns.heaps),
            thread=_indices("thread", [row.get("thread") for row in rows], columns.threads),
            caller=_indices("caller", [row.get("caller") for row in rows], columns.callers),
            result=results_of(ops, results),
        )
        if not _KEYS.issuperset(set().union(*rows)):
            columns.notes[NOTE_OTHER_KEY] += sum(not row.keys() <= _KEYS for row in rows)
        return batch


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The text of a JSON Lines file, some thousand rows at a time; no key without a value."""
    alone = trace.heaps in ([], [TraceHeap(DEFAULT_HEAP)])
    names = NameTexts(
        [""] if alone else [json.dumps(entry.name) for entry in trace.heaps],
        [*map(json.dumps, trace.threads), ""],
        [*map(json.dumps, trace.callers), ""],
    )
    for part in parts(trace):
        columns = texts(trace, part, names)
        pieces = [
            [f'{{"op": "{op}", "id": ' for op in columns.pop("op")],
            columns.pop("id"),
            *(
                [f', "{key}": {text}' if text else "" for text in column]
                for key, column in columns.items()
                if any(column)
            ),
        ]
        yield "".join(map("".join, zip(*pieces, repeat("}\n")))).encode()


def _ops(names: list[Any]) -> list[int]:
    try:
        return [OPS[name] for name in names]
    except (KeyError, TypeError):
        raise not_an_op(names[0]) from None


def _whole(key: str, values: list[Any], default: int | None = None) -> list[int]:
    """Numbers from 0 to 2**63 - 1, or the default where there is none."""
    if default is not None and None in values:
        present = [value for value in values if value is not None]
        _whole(key, present)
        return [default if value is None else value for value in values]
    if values and (
        set(map(type, values)) != {int} or not 0 <= min(values) <= max(values) <= INT64_MAX
    ):
        raise not_whole(key, values[0])
    return values


def _seconds(values: list[Any]) -> list[float]:
    types = set(map(type, values))
    if types == {_NONE}:
        return [0.0] * len(values)
    if not types <= {float, int, _NONE}:
        raise not_seconds(values[0])
    try:
        seconds = [0.0 if value is None else float(value) for value in values]
    except OverflowError:
        raise not_seconds(values[0]) from None
    if not all(map(isfinite, seconds)):
        raise not_seconds(values[0])
    return seconds


def _indices(key: str, names: list[Any], table: Names) -> list[int]:
    """The numbers of names, which may themselves be written as numbers."""
    types = set(map(type, names))
    if types == {str}:
        return [table[name] for name in names]
    if types == {_NONE}:
        return [table[""]] * len(names)
    if not types <= {str, int, _NONE}:
        raise Refused(f"expected a name or a number as {key!r}, found {shown(names[0])}")
    return [table["" if name is None else str(name)] for name in names]
