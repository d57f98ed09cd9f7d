"""What valgrind prints with ``--trace-malloc=yes``, among all other text.

Source: the Valgrind user manual, "Debugging options", and valgrind
``coregrind/m_replacemalloc/vg_replace_malloc.c``.  A call is one line::

    --PID-- malloc(100) = 0x4A44040
    --PID-- realloc(0x4A44040,300) = 0x4A441D0
    --PID-- memalign(al 64, size 1000) = 0x4A44380
    --PID-- free(0x4A441D0)

C++ operators appear by their mangled names (_Znwm, _ZdlPv); ``--time-stamp=yes`` puts a time
before the process number.  Each process has its own heap, named by its number.

Valgrind prints a call when it begins and its answer when it ends, so that a line may hold
several: ``realloc(0x0,40)malloc(40) = 0x4A40040``, ``realloc(0x4A40040,0)free(0x4A40040)``, a
calloc whose product overflows and then the next call.  An answer may also stand alone, after
a warning about the call.
"""

from __future__ import annotations

import re

from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import NOTE_USABLE_SIZE, UINT64_MAX, Columns, HexNumbers, Numbers
from kheap.trace._lines import Lines

__all__ = ["Reader", "looks_like"]

NOTE_NO_ANSWER = "call without an answer"

_EXPECTED = "a call and its answer, such as '--PID-- malloc(100) = 0x4A44040'"
_BEGIN = rb"--(?:([0-9]{1,4}(?:[:.][0-9]{1,4}){1,5}) )?([0-9]{1,10})-- "
_NAME = (
    rb"malloc|calloc|realloc|free|cfree|memalign|posix_memalign|aligned_alloc|valloc"
    rb"|malloc_usable_size|_Z(?:n[aw]|d[al])[A-Za-z0-9_]*"
)
_CALL = re.compile(rb"(" + _NAME + rb")\(([^()]*)\)(?: = ([0-9a-fA-Fx]+))?")
_LINE = re.compile(_BEGIN + _CALL.pattern + rb"\s*")
_BEGUN = re.compile(_BEGIN + rb"(?= = |(?:" + _NAME + rb")\()")
_HEAD = re.compile(rb"^==(?:[0-9:.]{1,30} )?[0-9]{1,10}== |" + _BEGUN.pattern, re.MULTILINE)
_ALIGNED = re.compile(rb"al ([0-9]+), size ([0-9]+)|size ([0-9]+), al ([0-9]+)")

#: One call as printed: name, arguments, answer.
_Call = tuple[bytes, bytes, bytes | None]


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so holds what valgrind prints."""
    return _HEAD.search(head) is not None


class Reader:
    """Reads the text of one run of valgrind."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._blocks = PointerBlocks(columns)
        self._pointers = HexNumbers()
        self._sizes = Numbers(UINT64_MAX)
        self._aligns = Numbers()
        self._waiting: dict[int, tuple[bytes, bytes]] = {}
        self._prefix = b"\n"  # no line has one
        self._heap = 0
        self._align = columns.align
        self._time = columns.time

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        malloc_or_free = self._malloc_or_free
        for number, line in enumerate(batch, first):
            try:
                if malloc_or_free(line):
                    continue
                match = _LINE.fullmatch(line)
                if match is not None:
                    time, process, name, arguments, answer = match.groups()
                    self._switch(process)
                    self._call(time, name, arguments, answer)
                elif b"-- " in line:
                    self._unusual(line)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)

    def end(self) -> None:
        """Count the calls that never ended."""
        if self._waiting:
            self._columns.notes[NOTE_NO_ANSWER] += len(self._waiting)

    def _switch(self, process: bytes) -> None:
        """Turn to the heap of a process."""
        self._prefix = b"--%b-- " % process
        self._heap = self._columns.heaps[process]

    def _malloc_or_free(self, line: bytes) -> bool:
        """Take the two commonest calls of the same process, in half the time of a pattern."""
        if not line.startswith(self._prefix):
            return False
        name, _, rest = line[len(self._prefix) :].partition(b"(")
        arguments, _, answer = rest.partition(b") = ")
        if name == b"malloc" and arguments.isdigit():
            pointer = self._pointers[answer.rstrip()]
            added = self._blocks.alloc(pointer, self._sizes[arguments], self._heap)
        elif name == b"free" and rest.endswith(b")"):
            added = self._blocks.free(self._pointers[rest[:-1]], self._heap)
        else:
            return False
        if added:
            self._align.append(0)
            self._time.append(0.0)
        return True

    def _unusual(self, line: bytes) -> None:
        """Take a line that is more than one call and its answer, or other text."""
        begun = _BEGUN.search(line)
        if begun is None:
            return
        time, process = begun.groups()
        self._switch(process)
        text = line[begun.end() :]
        if text.startswith(b" = "):
            waiting = self._waiting.pop(self._heap, None)
            if waiting is not None:
                self._call(time, *waiting, text[3:].strip())
            return
        for name, arguments, answer in _calls(text):
            self._call(time, name, arguments, answer)

    def _call(
        self, time: bytes | None, name: bytes, arguments: bytes, answer: bytes | None
    ) -> None:
        """Take one call of the process at hand; what may be refused comes first."""
        blocks, heap = self._blocks, self._heap
        align, seconds = 0, _seconds(time) if time else 0.0
        if name.startswith((b"free", b"cfree", b"_Zd")):
            added = blocks.free(self._pointers[arguments.partition(b",")[0]], heap)
        elif name == b"malloc_usable_size":
            self._columns.notes[NOTE_USABLE_SIZE] += 1
            return
        elif answer is None:
            self._wait(name, arguments)
            return
        elif name == b"realloc":
            old, _, size = arguments.partition(b",")
            pointer = self._pointers[answer]
            added = blocks.realloc(self._pointers[old], pointer, self._sizes[size], heap)
        else:
            size_bytes, align = self._request(name, arguments)
            added = blocks.alloc(self._pointers[answer], size_bytes, heap)
        if added:
            self._align.append(align)
            self._time.append(seconds)

    def _wait(self, name: bytes, arguments: bytes) -> None:
        """Keep a call until its answer comes in a line of its own."""
        if self._heap in self._waiting:
            self._columns.notes[NOTE_NO_ANSWER] += 1
        self._waiting[self._heap] = (name, arguments)

    def _request(self, name: bytes, arguments: bytes) -> tuple[int, int]:
        """Size and alignment that a call asks for: ``100``, ``3,50``, ``al 64, size 100``."""
        if name == b"calloc":
            count, _, size = arguments.partition(b",")
            return self._sizes[count] * self._sizes[size], 0
        match = _ALIGNED.fullmatch(arguments)
        if match is not None:
            align, size, size_first, align_second = match.groups()
            return self._sizes[size or size_first], self._aligns[align or align_second]
        return self._sizes[arguments], 0


def _calls(text: bytes) -> list[_Call]:
    """The calls that a line holds; only the last may still wait for its answer."""
    calls: list[_Call] = []
    end = 0
    while match := _CALL.match(text, end):
        name, arguments, answer = match.groups()
        calls.append((name, arguments, answer))
        end = match.end()
    rest = text[end:].strip()
    # Behind a call without its answer there may be a warning about it.
    if not calls or (rest and (calls[-1][2] is not None or rest.startswith(b"="))):
        raise ValueError(text)
    return [*_answered(calls[:-1], calls[1:]), calls[-1]]


def _answered(calls: list[_Call], following: list[_Call]) -> list[_Call]:
    """Calls that another call follows before their answer, with the answer that this implies."""
    answered: list[_Call] = []
    for (name, arguments, answer), (next_name, _, _) in zip(calls, following, strict=True):
        if answer is not None:
            raise ValueError(name)
        if name == b"calloc":
            answered.append((name, arguments, b"0x0"))
        elif name == b"realloc" and next_name == b"malloc" and arguments.startswith(b"0x0,"):
            pass  # the malloc is what it comes to
        elif name == b"realloc" and next_name == b"free" and arguments.endswith(b",0"):
            pass  # the free is what it comes to
        else:
            raise ValueError(name)
    return answered


def _seconds(time: bytes) -> float:
    """The seconds of a time stamp: days:hours:minutes:seconds.milliseconds."""
    days, hours, minutes, seconds = map(float, time.split(b":"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
