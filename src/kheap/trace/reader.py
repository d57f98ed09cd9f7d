"""Reading a trace file of any format.

What it owns: the list of formats, telling them apart by what a file begins with, and the
way from a file to a complete :class:`~kheap.trace.model.Trace`.

What it does not: the formats themselves, one module each beside this one (``_rep.py`` is the
shortest); writing traces.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kheap.errors import TraceError
from kheap.trace import (
    _heaptrack,
    _kh,
    _khring,
    _ltrace,
    _memray,
    _mtrace,
    _rep,
    _rows_csv,
    _rows_json,
    _syslog,
    _valgrind,
)
from kheap.trace._columns import Columns
from kheap.trace._lines import Lines, open_lines
from kheap.trace.model import Trace

__all__ = ["FORMATS", "read_trace"]


class _Reader(Protocol):
    """What a format's module gives: takes lines, fills columns."""

    def read(self, first: int, batch: list[bytes]) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Format:
    looks_like: Callable[[bytes], bool]
    reader: Callable[[Lines, Columns], _Reader]
    suffixes: tuple[str, ...] = ()
    #: The file is not one of lines: the reader takes it whole, at the end.
    whole: bool = False


# In the order in which a file is tried: what a format's head excludes comes first.
_FORMATS = {
    "syslog": _Format(_syslog.looks_like, _syslog.Reader, (".sys.jsonl",)),
    "heaptrack": _Format(_heaptrack.looks_like, _heaptrack.Reader, (".heaptrack",)),
    "memray": _Format(_memray.looks_like, _memray.Reader, whole=True),
    "khring": _Format(_khring.looks_like, _khring.Reader, (".khring",), whole=True),
    "rep": _Format(_rep.looks_like, _rep.Reader, (".rep",)),
    "mtrace": _Format(_mtrace.looks_like, _mtrace.Reader, (".mtrace",)),
    "kh": _Format(_kh.looks_like, _kh.Reader, (".kh",)),
    "valgrind": _Format(_valgrind.looks_like, _valgrind.Reader, (".valgrind",)),
    "ltrace": _Format(_ltrace.looks_like, _ltrace.Reader, (".ltrace",)),
    "csv": _Format(_rows_csv.looks_like, _rows_csv.Reader, (".csv",)),
    "jsonl": _Format(_rows_json.looks_like, _rows_json.Reader, (".jsonl", ".ndjson")),
}
#: Endings of packed files.
PACKED_SUFFIXES = (".gz", ".zst")

#: The names that ``format`` takes.
FORMATS = tuple(_FORMATS)


def read_trace(
    path: str | os.PathLike[str], format: str | None = None, *, lenient: bool = False
) -> Trace:
    """Read a trace file.

    The file is opened for reading only and streamed; memory grows with the operations,
    by 53 bytes each. gzip and Zstandard are unpacked on the way.

    Args:
        path: The file.
        format: One of :data:`FORMATS`; None: told by the content, and by the name only
            where the content says nothing.
        lenient: Leave out lines that cannot be read, and count them in
            :attr:`Trace.skipped`.

    Raises:
        OSError: The file cannot be opened or read.
        TraceError: It is no trace of a known format, a line of it is not what it should
            be, its compressed data is damaged, or it holds no operations.

    Complexity: O(lines); about two seconds for a million.
    """
    name = os.fsdecode(path)
    _check_format(name, format)
    with open_lines(name, lenient=lenient) as lines:
        trace = Trace(path=name, format=format or _detect(lines))
        columns = Columns(trace)
        entry = _FORMATS[trace.format]
        reader = entry.reader(lines, columns)
        for first, batch in () if entry.whole else lines.batches():
            reader.read(first, batch)
            columns.flush()
        reader.end()
        columns.finish()
        trace.skipped = lines.skipped
    if not len(trace):
        left_out = f" in the lines that could be read ({trace.skipped} skipped)"
        raise TraceError(f"holds no operations{left_out if trace.skipped else ''}", name)
    return trace


def _check_format(path: str, format: str | None) -> None:
    if format is not None and format not in _FORMATS:
        reason = f"unknown trace format {format!r}: expected one of {', '.join(FORMATS)}"
        raise TraceError(reason, path)


def _detect(lines: Lines) -> str:
    """The format of a file, by its content, else by its name."""
    if not lines.head.strip():
        raise TraceError("holds no operations", lines.path)
    for name, format in _FORMATS.items():
        if format.looks_like(lines.head):
            return name
    told = format_of_name(lines.path)
    if told is None:
        reason = f"the content is of no known trace format: expected one of {', '.join(FORMATS)}"
        raise TraceError(reason, lines.path)
    return told


def format_of_name(path: str) -> str | None:
    """The format that a file's name tells, packed or not."""
    path = path.lower()
    for packed in PACKED_SUFFIXES:
        path = path.removesuffix(packed)
    for name, format in _FORMATS.items():
        if path.endswith(format.suffixes):
            return name
    return None
