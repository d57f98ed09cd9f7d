"""glibc mtrace logs.

Source: the GNU C Library manual, "Tracing malloc", and glibc ``malloc/mtrace-impl.c``.  Each
line may begin with the call site, ``@ CALLER ``, and goes on with one of::

    + PTR SIZE     request; PTR is (nil) where it failed
    - PTR          free, or realloc to 0 bytes
    < PTR          realloc of this block ...
    > PTR SIZE     ... gave this one
    ! PTR SIZE     failed realloc of this block

Numbers are hexadecimal with 0x, but 0 is plain 0.  calloc, memalign and the like are
written as malloc, their alignments not at all.  Lines of ``=`` are marks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import UINT64_MAX, Columns, HexNumbers
from kheap.trace._lines import Lines, Refused, shown
from kheap.trace._shape import LOST_EMPTY, joined, plain_names, pointer_calls
from kheap.trace.model import ALLOC, FREE, Trace

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

HOLDS = frozenset({"caller", "result"})
LOST_REALLOC_0 = "reallocs to 0 bytes, written as frees"

_EXPECTED = "'[@ CALLER] + PTR SIZE', '- PTR', '< PTR', '> PTR SIZE' or '! PTR SIZE'"
_WITH_SIZE = frozenset((b"+", b">", b"!"))
_WITHOUT_SIZE = frozenset((b"-", b"<"))
_LINE = re.compile(rb"(?:@ (.*) )?(?:([+>!]) (\S+) (\S+)|([-<]) (\S+))\s*", re.DOTALL)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")
_HEAD = re.compile(rb"= Start|(?:@ .* )?[-<+>!] (?:0x[0-9a-f]|\(nil\))")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is an mtrace log."""
    return _HEAD.match(head.lstrip()) is not None


class Reader:
    """Reads an mtrace log."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._callers = columns.callers
        self._caller = columns.caller
        self._blocks = PointerBlocks(columns)
        self._pointers = HexNumbers()
        self._sizes = HexNumbers(UINT64_MAX)
        self._resized: int | None = None
        self._last_number = 0

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        callers, append_caller = self._callers, self._caller.append
        for number, line in enumerate(batch, first):
            try:
                parts = _parts(line)
                if parts is None:
                    continue
                name, sign, pointer, size = parts
                caller = callers[name]
                if self._add(sign, pointer, size):
                    append_caller(caller)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)
        self._last_number = first + len(batch) - 1

    def end(self) -> None:
        """Check that the last realloc is complete."""
        if self._resized is not None:
            reason = "expected '> PTR SIZE' after '< PTR', found the end of the file"
            self._lines.refuse_because(self._last_number, reason)

    def _add(self, sign: bytes, pointer_text: bytes, size_text: bytes) -> bool:
        """Take one line; returns whether it added an operation."""
        old, self._resized = self._resized, None
        if (old is None) == (sign == b">"):
            raise Refused(
                f"expected '> PTR SIZE' after '< PTR' and only there, found {shown(sign)}"
            )
        pointer = self._pointers[pointer_text]
        if sign == b"+":
            return self._blocks.alloc(pointer, self._sizes[size_text])
        if sign == b"-":
            return self._blocks.free(pointer)
        if sign == b"<":
            self._resized = pointer
            return False
        if old is None:
            return self._blocks.realloc(pointer, 0, self._sizes[size_text])
        return self._blocks.realloc(old, pointer, self._sizes[size_text])


def _parts(line: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Caller, sign, pointer and size; None for a blank line or a mark."""
    fields = line.split()
    if len(fields) == 5 and fields[2] in _WITH_SIZE and fields[0] == b"@":
        return fields[1], fields[2], fields[3], fields[4]
    if len(fields) == 4 and fields[2] in _WITHOUT_SIZE and fields[0] == b"@":
        return fields[1], fields[2], fields[3], b""
    if not fields or fields[0].startswith(b"="):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(line)
    caller, sign, pointer, size, short_sign, short_pointer = match.groups(b"")
    return caller, sign or short_sign, pointer or short_pointer, size


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The text of an mtrace log, some thousand lines at a time."""
    yield b"= Start\n"
    yield from joined(_lines(trace, lost))
    yield b"= End\n"


def _lines(trace: Trace, lost: Counter[str]) -> Iterator[str]:
    callers = plain_names(trace.callers, _BLANKS, "_", lost)
    places = [*(f"@ {caller} " for caller in callers), ""]
    calls = pointer_calls(trace, lost)
    for caller, size, (op, old, new) in zip(trace.caller, trace.size, calls, strict=True):
        place = places[caller]
        if op == ALLOC or (op != FREE and not old):
            yield f"{place}+ {new:#x} {size:#x}\n" if new else f"{place}+ (nil) {size:#x}\n"
        elif op == FREE and not old:
            lost[LOST_EMPTY] += 1
        elif op == FREE:
            yield f"{place}- {old:#x}\n"
        elif new:
            yield f"{place}< {old:#x}\n{place}> {new:#x} {size:#x}\n"
        elif size:
            yield f"{place}! {old:#x} {size:#x}\n"
        else:
            lost[LOST_REALLOC_0] += 1
            yield f"{place}- {old:#x}\n"
