"""kheap's own traces as CSV; ``_rows.py`` has the columns.

The first row names the columns, in any order; columns of other names are passed over and
noted.  Fields may be quoted, with ``""`` for a quote.  A field holds no line break, so that a
row is a line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from math import isfinite

from kheap.errors import TraceError
from kheap.trace._columns import Columns, Names, Numbers
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
from kheap.trace._shape import parts, plain_names
from kheap.trace.model import NO_RESULT, Trace

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

_OPS = {name.encode(): op for name, op in OPS.items()}
_UNFIT = re.compile(r"[\x00-\x1f\x7f]+")
_SPECIAL = frozenset(',"')
_Fields = tuple[bytes, ...]


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so has a row of column names."""
    try:
        return {"op", "id"} <= set(_names(head.lstrip().partition(b"\n")[0]))
    except ValueError:
        return False


class Reader:
    """Reads a CSV file."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._rows = Rows(lines, columns)
        self._numbers = Numbers()
        self._names: list[str] = []
        self._expected = ""

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        while not self._names:
            if not batch:
                return
            if batch[0].strip():
                self._set_header(first, batch[0])
            first += 1
            batch = batch[1:]
        if batch:
            self._take(first, batch)

    def end(self) -> None:
        """Nothing is open at the end of a file."""

    def _take(self, first: int, batch: list[bytes]) -> None:
        """Take some rows; where one of them cannot be read, each by itself."""
        try:
            rows = self._convert(first, batch)
        except ValueError as error:
            if len(batch) == 1:
                self._lines.refuse(first, batch[0], self._expected, error)
                return
            for number, line in enumerate(batch, first):
                if line and not line.isspace():
                    self._take(number, [line])
        else:
            self._rows.take(rows)

    def _convert(self, first: int, batch: list[bytes]) -> Batch:
        """The columns of some rows."""
        rows = _split_all(batch)
        if set(map(len, rows)) != {len(self._names)}:
            raise ValueError(batch[0])
        columns = dict(zip(self._names, zip(*rows, strict=True), strict=True))
        empty = (b"",) * len(rows)
        numbers = self._numbers
        sizes = columns.get("size", empty)
        aligns = columns.get("align", empty)
        ops = _ops(columns["op"])
        results = columns.get("result", empty)
        return Batch(
            lines=range(first, first + len(rows)),
            op=ops,
            id=list(map(numbers.__getitem__, columns["id"])),
            size=[numbers[text] if text else NO_SIZE for text in sizes],
            align=[numbers[text] if text else 0 for text in aligns],
            time=_seconds(columns.get("time", empty)),
            heap=_indices(self._columns.heaps, columns.get("heap", empty)),
            thread=_indices(self._columns.threads, columns.get("thread", empty)),
            caller=_indices(self._columns.callers, columns.get("caller", empty)),
            result=results_of(ops, [numbers[text] if text else NO_RESULT for text in results]),
        )

    def _set_header(self, number: int, line: bytes) -> None:
        """Take the first row.  Without it nothing can be read, however lenient."""
        try:
            names = _names(line)
        except ValueError:
            names = []
        if len(set(names)) < len(names) or not {"op", "id"} <= set(names):
            reason = f"expected a row of column names, among them op and id, found {shown(line)}"
            raise TraceError(reason, self._lines.path, number)
        for name in names:
            if name not in ROW_COLUMNS:
                self._columns.notes[f"column {shown(name)} is not read"] += 1
        self._names = names
        self._expected = f"a row of {shown(','.join(names))} in whole numbers"


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The text of a CSV file, some thousand rows at a time; all columns, in a fixed order."""
    yield ",".join(ROW_COLUMNS).encode() + b"\n"
    heaps = [entry.name for entry in trace.heaps]
    names = NameTexts(
        _quoted(heaps, lost),
        [*_quoted(trace.threads, lost), ""],
        [*_quoted(trace.callers, lost), ""],
    )
    for part in parts(trace):
        columns = texts(trace, part, names)
        rows = map(",".join, zip(*(columns[name] for name in ROW_COLUMNS), strict=True))
        yield ("\n".join(rows) + "\n").encode()


def _quoted(names: list[str], lost: Counter[str]) -> list[str]:
    """Names as fields; the reader strips blanks around them, and a field is on one line."""
    plain = plain_names(names, _UNFIT, " ", lost)
    return ['"' + name.replace('"', '""') + '"' if _SPECIAL & set(name) else name for name in plain]


def _names(line: bytes) -> list[str]:
    return [field.decode().lower() for field in _split(line)]


def _split_all(lines: list[bytes]) -> list[list[bytes]]:
    """The fields of each line, in the quickest way that serves them all."""
    text = b"".join(lines)
    if any(special in text for special in (b'"', b" ", b"\t", b"\r")):
        return [_split(line) for line in lines]
    return [line.split(b",") for line in lines]


def _split(line: bytes) -> list[bytes]:
    """The fields of a line, without quotes and without blanks around them."""
    if b'"' not in line:
        return [field.strip() for field in line.split(b",")]
    try:
        row = next(csv.reader([line.decode().strip()], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise Refused(f"expected a row of CSV, found a fault in it ({error})") from None
    return [field.strip().encode() for field in row]


def _ops(names: _Fields) -> list[int]:
    try:
        return [_OPS[name] for name in names]
    except KeyError as error:
        raise not_an_op(error.args[0]) from None


def _seconds(texts: _Fields) -> list[float]:
    try:
        seconds = [float(text) if text else 0.0 for text in texts]
    except ValueError:
        raise not_seconds(texts[0]) from None
    if b"_" in b"".join(texts) or not all(map(isfinite, seconds)):
        raise not_seconds(texts[0])
    return seconds


def _indices(table: Names, names: _Fields) -> list[int]:
    return list(map(table.__getitem__, names))
