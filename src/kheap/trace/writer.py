"""Writing a trace file, in any format that can hold what a trace is.

What it owns: the formats that can be written, choosing one by the file's name, the account of
what a format does not hold, and the way of a file to its place: whole or not at all.

What it does not: the formats themselves (``write`` in each one's module), reading
(``reader.py``).
"""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from kheap.trace import _kh_write, _mtrace, _rep, _rows_csv, _rows_json, _syslog, _valgrind
from kheap.trace._columns import DEFAULT_HEAP
from kheap.trace._shape import one_heap, with_frees_for_inits
from kheap.trace.model import FREE, NO_RESULT, Trace
from kheap.trace.reader import format_of_name

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["WRITABLE", "write_stream", "write_trace"]

_Write = Callable[[Trace, Counter[str]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class _Target:
    holds: frozenset[str]
    write: _Write


_TARGETS = {
    "syslog": _Target(_syslog.HOLDS, _syslog.write),
    "rep": _Target(_rep.HOLDS, _rep.write),
    "mtrace": _Target(_mtrace.HOLDS, _mtrace.write),
    "kh": _Target(_kh_write.HOLDS, _kh_write.write),
    "valgrind": _Target(_valgrind.HOLDS, _valgrind.write),
    "csv": _Target(_rows_csv.HOLDS | {"heaps"}, _rows_csv.write),
    "jsonl": _Target(_rows_json.HOLDS | {"heaps"}, _rows_json.write),
}

#: The formats that can be written.
WRITABLE = tuple(_TARGETS)

LOST_ALIGN = "alignments"
LOST_TIME = "times"
LOST_THREAD = "threads"
LOST_CALLER = "call sites"
LOST_RESULT = "addresses, and which requests failed"
LOST_HEAPS = "names of heaps"
LOST_INITS = "sizes and addresses of heaps"
LOST_PROFILE = "the profile"


def write_trace(
    trace: Trace,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    heap: str | None = None,
    overwrite: bool = False,
) -> Counter[str]:
    """Write a trace to a file, whole or not at all.

    The text goes to a new file beside the path, which takes the name at the end.  A name that
    ends in ``.gz`` or ``.zst`` is packed so.

    Args:
        trace: From :func:`kheap.read_trace`, or made by a program.
        path: The file.
        format: One of :data:`WRITABLE`; None: told by the name's ending.
        heap: Write only the operations of this heap.
        overwrite: Replace an existing file.

    Returns:
        What the format does not hold, and how often the trace has it; empty: nothing is lost.

    Raises:
        FileExistsError: The file exists, and is not to be replaced.
        OSError: The file cannot be written.
        ValueError: A format that cannot be written, no such heap, several heaps in a format
            that holds one, or a trace without operations.

    Complexity: O(operations); about two seconds for a million, four where addresses are written.

    >>> trace = Trace()
    >>> trace.add(0, id=0, size=100, time=1.5)
    >>> write_trace(trace, os.devnull, "rep")
    Counter({'times': 1})
    """
    name = os.fsdecode(path)
    format = format or format_of_name(name)
    if format is None:
        raise ValueError(f"{name}: the name tells no format: expected one of {_choices()}")
    _check_format(format)
    with _new_file(name, overwrite=overwrite) as file, _packed(file, name) as stream:
        return write_stream(trace, stream, format, heap=heap)


def write_stream(
    trace: Trace, stream: IO[bytes], format: str, *, heap: str | None = None
) -> Counter[str]:
    """Write a trace to an open stream; otherwise as :func:`write_trace`."""
    _check_format(format)
    target = _TARGETS[format]
    if heap is not None:
        trace = one_heap(trace, heap)
    if not len(trace):
        raise ValueError("the trace holds no operations")
    lost: Counter[str] = Counter()
    if "heaps" not in target.holds:
        _check_one_heap(trace, format)
    _count_lost(trace, target.holds, lost)
    if "inits" not in target.holds:
        trace = with_frees_for_inits(trace, lost)
    for text in target.write(trace, lost):
        stream.write(text)
    return lost


def _choices() -> str:
    return ", ".join(WRITABLE)


def _check_format(format: str) -> None:
    if format not in _TARGETS:
        raise ValueError(f"{format!r} cannot be written: expected one of {_choices()}")


def _check_one_heap(trace: Trace, format: str) -> None:
    used = [trace.heaps[i].name for i in sorted(set(trace.heap)) if i < len(trace.heaps)]
    if len(used) > 1:
        raise ValueError(f"{format} holds one heap: name one of {', '.join(used)}")


def _count_lost(trace: Trace, holds: frozenset[str], lost: Counter[str]) -> None:
    """Count what the trace has and the format does not hold."""
    counts = {
        "align": (
            LOST_ALIGN,
            sum(a > 0 for a, op in zip(trace.align, trace.op, strict=True) if op != FREE),
        ),
        "time": (LOST_TIME, sum(time != 0 for time in trace.time)),
        "thread": (LOST_THREAD, sum(thread >= 0 for thread in trace.thread)),
        "caller": (LOST_CALLER, sum(caller >= 0 for caller in trace.caller)),
        "result": (LOST_RESULT, len(trace) - trace.result.count(NO_RESULT)),
        "heaps": (LOST_HEAPS, sum(entry.name != DEFAULT_HEAP for entry in trace.heaps)),
        "inits": (LOST_INITS, len(trace.inits)),
        "profile": (LOST_PROFILE, int(trace.profile is not None)),
    }
    for name, (reason, count) in counts.items():
        if count and name not in holds:
            lost[reason] += count


@contextmanager
def _packed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The stream to write to: gzip or Zstandard, as the name says; gzip without a date."""
    if name.lower().endswith(".gz"):
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as stream:
            yield cast("IO[bytes]", stream)
    elif name.lower().endswith(".zst"):
        with zstd.open(file, "wb") as stream:
            yield cast("IO[bytes]", stream)
    else:
        yield file


@contextmanager
def _new_file(name: str, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file to write to, which stands under its name only once it is complete.

    What is no regular file (a pipe, a device) is written as it is.
    """
    if os.path.exists(name) and not os.path.isfile(name):
        with open(name, "wb") as file:
            yield file
        return
    target = os.path.realpath(name)
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    part = os.path.join(os.path.dirname(target), f".kheap-{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            yield file
        _publish(part, target, overwrite=overwrite)
    finally:
        if os.path.lexists(part):
            os.unlink(part)


def _publish(part: str, target: str, *, overwrite: bool) -> None:
    """Give a complete file its name; another one that came meanwhile is not replaced."""
    if not overwrite:
        try:
            os.link(part, target)
        except FileExistsError:
            raise
        except OSError:
            pass  # This file system has no hard links.
        else:
            return
    os.replace(part, target)
