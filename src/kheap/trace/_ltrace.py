"""What ltrace prints of calls into the C library, among all other calls.

Source: ltrace(1), and what ltrace 0.7 prints.  A call is one line, or two where another
thread's came in between::

    program->malloc(100)                         = 0x55f85899c2a0
    14795 1795334678.401108 [0x555f539f41ae] malloc(10 <unfinished ...>
    14795 1795334678.402009 [0x555f539f41ae] <... malloc resumed> ) = 0x7ff8f0000b70
    [pid 14795] 12:34:56.401108 program->free(0x7ff8f0000b70) = <void>

Process or thread (-f), time (-tt, -ttt) and call site (-i) may stand in front.  ltrace shows
more arguments than a function has; the first ones count.  It does not show the address that
posix_memalign gives, nor the size that strdup asks for: these are left out, and noted.
"""

from __future__ import annotations

import re

from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import NOT_RECORDED, UINT64_MAX, Columns, HexNumbers, Numbers
from kheap.trace._lines import Lines

__all__ = ["Reader", "looks_like"]

NOTE_UNSEEN = "request whose address or size is not shown (posix_memalign, strdup)"
NOTE_NO_ANSWER = "call without an answer"

_EXPECTED = "a call and its answer, such as 'malloc(100) = 0x55f85899c2a0'"
_BEGIN = (
    rb"(?:(?:\[pid ([0-9]{1,10})\]|([0-9]{1,10})) +)?"
    rb"(?:([0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?|[0-9]{1,12}\.[0-9]{1,9}) )?"
    rb"(?:\[(0x[0-9a-f]{1,16})\] )?"
)
_NAME = (
    rb"malloc|calloc|realloc|free|cfree|memalign|aligned_alloc|valloc|posix_memalign"
    rb"|strn?dup|_Z(?:n[aw]|d[al])[A-Za-z0-9_]{1,60}"
)
_CALL = rb"(?:[^\s()]{1,200}->)?(" + _NAME + rb")\("
_LINE = re.compile(
    _BEGIN
    + rb"(?:"
    + _CALL
    + rb"(.*?)(?: <unfinished \.\.\.>|\) += (\S+))|<\.\.\. ("
    + _NAME
    + rb") resumed> ?.*?\) += (\S+))\s*"
)
_BEGUN = re.compile(_BEGIN + _CALL)
_ANSWERED = rb"[^()\n]*(?: <unfinished \.\.\.>|\) += (?:0x[0-9a-f]+|0|<void>))\s*$"
_HEAD = re.compile(rb"^" + _BEGIN + _CALL + _ANSWERED, re.MULTILINE)
_UNSEEN = (b"posix_memalign", b"strdup", b"strndup")
_FREES = (b"free", b"cfree", b"_Zd")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so holds what ltrace prints."""
    return _HEAD.search(head) is not None


class Reader:
    """Reads what one run of ltrace printed."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._blocks = PointerBlocks(columns)
        self._pointers = HexNumbers()
        self._sizes = Numbers(UINT64_MAX)
        self._aligns = Numbers()
        self._waiting: dict[bytes, tuple[bytes, bytes]] = {}

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        for number, line in enumerate(batch, first):
            if b"(" not in line and b"resumed" not in line:
                continue
            match = _LINE.fullmatch(line)
            try:
                if match is not None:
                    self._take(match)
                elif _BEGUN.match(line):
                    raise ValueError(line)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)

    def end(self) -> None:
        """Count the calls that never ended."""
        if self._waiting:
            self._columns.notes[NOTE_NO_ANSWER] += len(self._waiting)

    def _take(self, match: re.Match[bytes]) -> None:
        """Take a line: a whole call, its beginning or its end."""
        in_brackets, bare, time, place, name, arguments, answer, resumed, late = match.groups()
        process = in_brackets or bare or b""
        if resumed is not None:
            waiting = self._waiting.pop(process, None)
            if waiting is None:
                return
            name, arguments = waiting
            answer = late
        elif answer is None and not name.startswith(_FREES):
            self._waiting[process] = (name, arguments)
            return
        seconds = _seconds(time) if time else 0.0
        align = self._call(name, arguments.split(b", "), answer)
        if align is not None:
            columns = self._columns
            columns.align.append(align)
            columns.time.append(seconds)
            columns.thread.append(columns.threads[process] if process else NOT_RECORDED)
            columns.caller.append(columns.callers[place] if place else NOT_RECORDED)

    def _call(self, name: bytes, arguments: list[bytes], answer: bytes | None) -> int | None:
        """Take a call; its alignment, or None where it is no operation."""
        blocks = self._blocks
        if name.startswith(_FREES):
            return 0 if blocks.free(self._pointers[arguments[0]]) else None
        if name in _UNSEEN or answer is None:
            self._columns.notes[NOTE_UNSEEN] += 1
            return None
        pointer = self._pointers[answer]
        if name == b"realloc":
            old, size, *_ = arguments
            return 0 if blocks.realloc(self._pointers[old], pointer, self._sizes[size]) else None
        size_bytes, align = self._request(name, arguments)
        blocks.alloc(pointer, size_bytes)
        return align

    def _request(self, name: bytes, arguments: list[bytes]) -> tuple[int, int]:
        """Size and alignment that a call asks for."""
        if name == b"calloc":
            count, size, *_ = arguments
            return self._sizes[count] * self._sizes[size], 0
        if name in (b"memalign", b"aligned_alloc"):
            align, size, *_ = arguments
            return self._sizes[size], self._aligns[align]
        return self._sizes[arguments[0]], 0


def _seconds(time: bytes) -> float:
    """The seconds of a time, since midnight or since 1970."""
    seconds = 0.0
    for part in time.split(b":"):
        seconds = seconds * 60 + float(part)
    return seconds
