"""Zephyr's core dump as its logging backend prints it: lines of hex digits behind ``#CD:``.

Source: zephyr ``include/zephyr/debug/coredump.h`` and ``scripts/coredump``.  A dump stands
between ``#CD:BEGIN#`` and ``#CD:END#``; a line holds up to 32 bytes, and ends early where a
block ends.  Lines may have any prefix (a log's time and level), colours, and other lines
between them.  A variant writes the same bytes as Base64.

It owns the way from text to the bytes of one dump.  Not here: what the bytes mean
(``_coredump.py``).
"""

from __future__ import annotations

import re
from array import array
from binascii import Error as BadDigits
from binascii import a2b_base64, unhexlify
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from kheap.dump.formats import _coredump

if TYPE_CHECKING:
    from kheap.dump.formats.containers import Container

__all__ = ["looks_like", "read"]

_MARK = b"#CD:"
_BEGIN = b"BEGIN#"
_END = b"END#"
_ERROR = b"ERROR CANNOT DUMP#"
_HEADER_AS_BASE64 = b"WkU"  # hex digits never begin so
# Of version 1 to 15; where it stands alone, the line with the beginning was lost.
_HEADER_AS_HEX = re.compile(rb"5[aA]450[1-9a-fA-F]00")
_SURE = re.compile(rb"#CD:(?:BEGIN#|END#|ERROR CANNOT DUMP#|5[aA]450[1-9a-fA-F]00)")
_COLOUR = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_BLANKS = b" \t\r\n\0"
_SHOWN_CHARACTERS = 40


@dataclass(slots=True)
class _Dump:
    """One dump of a log, as far as its lines could be read.

    Attributes:
        line: Number of its first line.
        data: Its bytes.
        starts: The place in ``data`` where each line's bytes begin.
        numbers: Each line's number.
        has_end: Whether it has the line that ends it.
        damage: Why reading it ended before that, as a sentence; empty if it did not.
        is_base64: Whether its lines are Base64.
        rest: Letters of Base64 that wait for the next line, since four are a group.
    """

    line: int
    data: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("I"))
    numbers: array[int] = field(default_factory=lambda: array("I"))
    has_end: bool = False
    damage: str = ""
    is_base64: bool = False
    rest: bytes = b""

    @property
    def fault(self) -> str:
        """Why it is not complete, as a sentence; empty if it is."""
        if self.damage or self.has_end:
            return self.damage
        return f"line {self.line}: The dump that begins here has no end: the log was cut short."

    def add(self, digits: bytes, number: int) -> None:
        """Add what a line holds; from the first line on that cannot be read, nothing."""
        if self.damage or not digits:
            return
        if not self.data:
            self.is_base64 = digits.startswith(_HEADER_AS_BASE64)
        try:
            content = self._from_base64(digits) if self.is_base64 else unhexlify(digits)
        except BadDigits:
            kind = "Base64" if self.is_base64 else "pairs of hex digits"
            found = ascii(digits[:_SHOWN_CHARACTERS])[1:]
            self.damage = (
                f"line {number}: Expected {kind}, found {found}: "
                "the dump was read up to this line only."
            )
            return
        self.starts.append(len(self.data))
        self.numbers.append(number)
        self.data += content

    def _from_base64(self, digits: bytes) -> bytes:
        letters = self.rest + digits
        count = len(letters) // 4 * 4
        self.rest = letters[count:]
        return a2b_base64(letters[:count], strict_mode=True)


class _Log:
    """The dumps of a log.

    Attributes:
        count: How many there are.
        best: The last complete one that has a header, else the last one that has.
        last: The last one of all.
    """

    def __init__(self) -> None:
        self.count = 0
        self.best: _Dump | None = None
        self.last: _Dump | None = None
        self._open: _Dump | None = None

    def take(self, payload: bytes, number: int) -> None:
        """What stands behind the mark in a line."""
        if payload.startswith(_BEGIN):
            self.close()
            self._opened(number)
        elif payload.startswith(_END):
            self._opened(number).has_end = True
            self.close()
        elif payload.startswith(_ERROR):
            self._opened(number).damage = f"line {number}: The target says that it cannot dump."
        elif self._open is not None or _HEADER_AS_HEX.match(payload):
            self._opened(number).add(payload, number)

    def close(self) -> None:
        """The dump that is open ends here, if one is."""
        dump, self._open = self._open, None
        if dump is None:
            return
        self.count += 1
        self.last = dump
        is_no_worse = self.best is None or self.best.fault or not dump.fault
        if _coredump.looks_like(dump.data) and is_no_worse:
            self.best = dump

    def _opened(self, number: int) -> _Dump:
        if self._open is None:
            self._open = _Dump(number)
        return self._open


def looks_like(text: bytes) -> bool:
    """Whether a text has lines of a core dump, or one that says that there is none."""
    return _SURE.search(text) is not None


def read(text: bytes, container: Container) -> None:
    """Read the last complete dump of a log into a container, else the last one.

    It never fails: what is missing or damaged becomes a note with the line's number.

    Args:
        text: The log.
        container: What is filled.

    Complexity: O(bytes), and what reading the dump itself takes.
    """
    log = _Log()
    for number, line in enumerate(BytesIO(text), 1):
        place = line.find(_MARK)
        while place >= 0:
            start = place + len(_MARK)
            place = line.find(_MARK, start)
            log.take(_payload(line[start : place if place >= 0 else None]), number)
    log.close()
    _take(log, container)


def _payload(part: bytes) -> bytes:
    """What follows the mark, without colours and line ends."""
    if b"\x1b" in part:
        part = _COLOUR.sub(b"", part)
    return part.strip(_BLANKS).split(b"\r", 1)[0]


def _take(log: _Log, container: Container) -> None:
    dump, notes = log.best, container.notes
    if dump is None:
        if log.last is not None:
            where = f"line {log.last.line}: The core dump that begins here has no header."
            notes.append(log.last.damage or where)
        return
    if log.count > 1:
        notes.append(
            f"The log holds {log.count} core dumps; the one that begins in line {dump.line} "
            "was read."
        )
    if dump.fault:
        notes.append(dump.fault)
    lines = _coredump.Lines(dump.starts, dump.numbers)
    _coredump.read(memoryview(dump.data).toreadonly(), container, lines)
