"""What heaptrack records, raw or interpreted.

Source: files that heaptrack 1.4 writes, and the descriptions of its format; numbers are
hexadecimal without 0x, indices count from 1 where 0 stands for none.  A line is a letter and
its fields::

    v VERSION FORMAT          the first line
    s LENGTH TEXT             a string; LENGTH from format 3 on
    i IP MODULE [FUNCTION FILE LINE ...]   an instruction pointer; the names are strings
    t IP PARENT               a frame; IP is the index of an i line, or in raw files itself
    a SIZE FRAME              requests of one size from one place, counted from 0
    + A                       a request of the kind that line A tells ...
    - A                       ... and a free of one of these blocks
    + SIZE FRAME ADDRESS      raw files: a request
    - ADDRESS                 raw files: a free
    c MILLISECONDS            what follows happened then

Interpreted files do not tell which of several blocks of one kind is freed; taken is the
latest.  A realloc is written as a free and a request, a request that failed not at all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable

from kheap.trace._blocks import NOTE_FREE_UNKNOWN, IdBlocks, PointerBlocks
from kheap.trace._columns import INT64_MAX, NOT_RECORDED, UINT64_MAX, Columns, Numbers
from kheap.trace._lines import Lines, Refused, shown

__all__ = ["Reader", "looks_like"]

_EXPECTED = "a line of heaptrack's, such as '+ 1f' or 'a 64 8'"
_NEWEST = 3
_BEFORE_FORMATS = 0x10200
_HEAD = re.compile(rb"v [0-9a-f]{5,6}(?: [0-9a-f]{1,4})?\r?\n")
_HEX = re.compile(rb"[0-9a-f]+")
_PASSED_OVER = frozenset(b"XxIRmAS#")

#: An instruction pointer: itself, module, function, file and line; all but the first and the
#: last are indices of strings.
_Place = tuple[int, int, int, int, int]


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is one of heaptrack's."""
    return _HEAD.match(head) is not None


class _Hex(Numbers):
    """Numbers as heaptrack writes them: 1f."""

    def convert(self, text: bytes) -> int:
        """The number, whatever its size."""
        if _HEX.fullmatch(text) is None:
            raise ValueError(text)
        return int(text, 16)


class Reader:
    """Reads a heaptrack file."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._numbers = _Hex()
        self._sizes = _Hex(UINT64_MAX)
        self._places = _Places(self._numbers)
        self._blocks: _Kinds | _Addresses | None = None
        self._kinds: list[tuple[int, int]] = []
        self._time = 0.0
        self._calls: dict[bytes, Callable[[list[bytes]], None]] = {
            b"+": self._request,
            b"-": self._free,
            b"a": self._kind,
            b"c": self._clock,
            b"v": self._version,
            b"t": self._places.add_frame,
            b"i": self._places.add,
        }

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        calls = self._calls
        for number, line in enumerate(batch, first):
            try:
                fields = line.split()
                call = calls.get(fields[0]) if fields else None
                if call is not None:
                    call(fields)
                elif fields:
                    self._other(fields[0], line)
            except ValueError as error:
                self._lines.refuse(number, line, _EXPECTED, error)

    def end(self) -> None:
        """Nothing is open at the end of a file."""

    def _other(self, letter: bytes, line: bytes) -> None:
        if letter == b"s":
            self._places.add_string(line)
        elif letter[0] not in _PASSED_OVER:
            raise ValueError(letter)

    def _version(self, fields: list[bytes]) -> None:
        version = self._numbers[fields[1]] if len(fields) > 1 else 0
        format = int(version == _BEFORE_FORMATS)
        if len(fields) > 2:
            format = self._numbers[fields[2]]
        if format > _NEWEST:
            raise Refused(f"expected a format of heaptrack up to {_NEWEST}, found {format}")
        self._places.strings_have_lengths = format >= 3

    def _clock(self, fields: list[bytes]) -> None:
        (milliseconds,) = fields[1:]
        self._time = self._numbers[milliseconds] / 1000

    def _kind(self, fields: list[bytes]) -> None:
        size, frame = fields[1:]
        self._kinds.append((self._sizes[size], self._places.caller_of(self._numbers[frame])))

    def _request(self, fields: list[bytes]) -> None:
        if self._blocks is None:
            columns = self._columns
            self._blocks = _Kinds(columns) if len(fields) == 2 else _Addresses(columns)
        if isinstance(self._blocks, _Kinds):
            (kind_text,) = fields[1:]
            kind = self._numbers[kind_text]
            if kind >= len(self._kinds):
                raise Refused(f"expected one of {len(self._kinds)} 'a' lines, found {kind}")
            size, place = self._kinds[kind]
            key = kind
        else:
            size_text, frame, address = fields[1:]
            size, key = self._sizes[size_text], self._numbers[address]
            place = self._places.caller_of(self._numbers[frame])
        caller = self._columns.callers[self._places.name(place)]
        self._blocks.alloc(key, size)
        self._end_of_op(caller)

    def _free(self, fields: list[bytes]) -> None:
        (key,) = fields[1:]
        number = self._numbers[key]
        if self._blocks is None:
            self._columns.notes[NOTE_FREE_UNKNOWN] += 1
        elif self._blocks.free(number):
            self._end_of_op(NOT_RECORDED)

    def _end_of_op(self, caller: int) -> None:
        self._columns.time.append(self._time)
        self._columns.caller.append(caller)


class _Addresses:
    """The blocks of a raw file."""

    def __init__(self, columns: Columns) -> None:
        self._blocks = PointerBlocks(columns)

    def alloc(self, address: int, size: int) -> None:
        self._blocks.alloc(address, size)

    def free(self, address: int) -> bool:
        return self._blocks.free(address)


class _Kinds:
    """The blocks of an interpreted file, by size and place; the latest is freed first."""

    def __init__(self, columns: Columns) -> None:
        self._notes = columns.notes
        self._blocks = IdBlocks(columns, strict=False)
        self._live: defaultdict[int, list[int]] = defaultdict(list)
        self._count = 0

    def alloc(self, kind: int, size: int) -> None:
        if size > INT64_MAX:
            raise Refused(f"expected sizes below 2**63, found {shown(size)}")
        self._count += 1
        self._blocks.alloc(self._count, size)
        self._live[kind].append(self._count)

    def free(self, kind: int) -> bool:
        live = self._live[kind]
        if not live:
            self._notes[NOTE_FREE_UNKNOWN] += 1
            return False
        return self._blocks.free(live.pop())


class _Places:
    """Where requests came from: strings, instruction pointers and frames."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._strings: list[bytes] = [b""]
        self._pointers: list[_Place] = []
        self._frames: list[int] = [0]
        self._names: dict[int, bytes] = {0: b""}
        self.strings_have_lengths = False

    def add_string(self, line: bytes) -> None:
        """Take an ``s`` line."""
        text = line.rstrip(b"\r")[2:]
        if self.strings_have_lengths:
            length, _, text = text.partition(b" ")
            self._numbers.convert(length)
        self._strings.append(text)

    def add(self, fields: list[bytes]) -> None:
        """Take an ``i`` line."""
        numbers = list(map(self._numbers.__getitem__, fields[1:6]))
        if len(numbers) < 2:
            raise ValueError(fields)
        pointer, module, function, file, line = [*numbers, 0, 0, 0][:5]
        if max(module, function, file) >= len(self._strings):
            raise Refused(f"expected indices of {len(self._strings) - 1} strings, found another")
        self._pointers.append((pointer, module, function, file, line))

    def add_frame(self, fields: list[bytes]) -> None:
        """Take a ``t`` line."""
        pointer, _ = fields[1:]
        self._frames.append(self._numbers[pointer])

    def caller_of(self, frame: int) -> int:
        """The instruction pointer of a frame, or its index."""
        if frame >= len(self._frames):
            raise Refused(f"expected one of {len(self._frames) - 1} 't' lines, found {frame}")
        return self._frames[frame]

    def name(self, pointer: int) -> bytes:
        """The call site as text: file, line and function, as far as they are known."""
        name = self._names.get(pointer)
        if name is None:
            name = self._names[pointer] = self._new_name(pointer)
        return name

    def _new_name(self, pointer: int) -> bytes:
        if not self._pointers:
            return b"%#x" % pointer
        if pointer > len(self._pointers):
            raise Refused(f"expected one of {len(self._pointers)} 'i' lines, found {pointer}")
        address, module, function, file, line = self._pointers[pointer - 1]
        if function:
            place = b"%b:%d:" % (self._strings[file], line) if file else b""
            return place + self._strings[function]
        return b"%b:[%#x]" % (self._strings[module], address)
