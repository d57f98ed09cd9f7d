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
from collections import Counter
from collections.abc import Iterator

from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import (
    DEFAULT_HEAP,
    NOTE_USABLE_SIZE,
    UINT64_MAX,
    Columns,
    HexNumbers,
    Numbers,
)
from kheap.trace._lines import Lines
from kheap.trace._shape import LOST_EMPTY, LOST_FINE_TIMES, clock_start, joined, pointer_calls
from kheap.trace.model import ALLOC, FREE, Trace

__all__ = ["HOLDS", "Reader", "looks_like", "write"]

HOLDS = frozenset({"align", "time", "result", "heaps"})
LOST_REALLOC_ALIGN = "alignments of reallocs"
LOST_HEAP_NAMES = "names of heaps, written as process numbers"

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
_MS_PER_DAY = 86_400_000
_MOST_DAYS = 10_000
_PROCESS = re.compile(r"[0-9]{1,10}")
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
    days, hours, minutes, seconds = time.split(b":")
    whole, _, part = seconds.partition(b".")
    whole_s = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(whole)
    # In one conversion: a sum of two floats would not be the nearest to what is written.
    return float(b"%d.%b" % (whole_s, part or b"0"))


def write(trace: Trace, lost: Counter[str]) -> Iterator[bytes]:
    """The calls as valgrind prints them, some thousand lines at a time."""
    yield from joined(_lines(trace, lost))


def _lines(trace: Trace, lost: Counter[str]) -> Iterator[str]:
    processes = _processes(trace, lost)
    start = clock_start(trace, _MOST_DAYS * _MS_PER_DAY / 1000, lost)
    calls = pointer_calls(trace, lost)
    for heap, time, size, align, (op, old, new) in zip(
        trace.heap, trace.time, trace.size, trace.align, calls, strict=True
    ):
        call = _written(op, old, new, size, align, lost)
        if call:
            stamp = "" if start is None else _stamp(time - start, lost)
            yield f"--{stamp}{processes[heap]}-- {call}\n"


def _written(op: int, old: int, new: int, size: int, align: int, lost: Counter[str]) -> str:
    """One call and its answer; nothing for a free that frees nothing."""
    if op == FREE:
        if not old:
            lost[LOST_EMPTY] += 1
        return f"free(0x{old:X})" if old else ""
    if op != ALLOC and old:
        if align:
            lost[LOST_REALLOC_ALIGN] += 1
        return f"realloc(0x{old:X},{size}) = 0x{new:X}"
    if align:
        return f"memalign(al {align}, size {size}) = 0x{new:X}"
    return f"malloc({size}) = 0x{new:X}"


def _processes(trace: Trace, lost: Counter[str]) -> list[str]:
    """A process number for each heap: its name where that is one."""
    names = [entry.name for entry in trace.heaps]
    taken = set(names)
    numbers: list[str] = []
    for name in names:
        number = 1
        while str(number) in taken:
            number += 1
        fits = _PROCESS.fullmatch(name) is not None
        if not fits and name != DEFAULT_HEAP:
            lost[LOST_HEAP_NAMES] += 1
        numbers.append(name if fits else str(number))
        taken.add(numbers[-1])
    return numbers


def _stamp(seconds: float, lost: Counter[str]) -> str:
    """A time stamp: days:hours:minutes:seconds.milliseconds."""
    milliseconds = round(seconds * 1000)
    if milliseconds / 1000 != seconds:
        lost[LOST_FINE_TIMES] += 1
    milliseconds = min(milliseconds, _MOST_DAYS * _MS_PER_DAY - 1)
    rest, thousandths = divmod(milliseconds, 1000)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days:02}:{hour:02}:{minute:02}:{second:02}.{thousandths:03} "
