"""Lines of kheap's recorder for firmware, among all other text of a console log.

Source: ``recorder/kheap_recorder_lines.c``.  A line holds one of these; addresses are
hexadecimal with 0x, other numbers decimal, TIME is in microseconds::

    kh i HEAP REGION BYTES TIME THREAD [CALLER]                  heap initialised
    kh a HEAP POINTER BYTES [ALIGN] TIME THREAD [CALLER]         request
    kh x HEAP BYTES [[ALIGN] TIME THREAD [CALLER]]               request that failed
    kh r HEAP OLD POINTER BYTES [ALIGN] TIME THREAD [CALLER]     resize; POINTER 0x0: failed
    kh f HEAP POINTER TIME THREAD [CALLER]                       free
    kh n ADDRESS NAME                                            name of a heap or a thread
    kh v 1 PROFILE                                               which Zephyr; first line

A and F are a and f as a heap's listener heard them.  CALLER needs ALIGN where there is one.
HEAP, THREAD and CALLER may be names as well.

Behind that may stand ``#NUMBER*SUM`` or ``*SUM``: the record's number since boot, and the
CRC-16/XMODEM of all from "kh" to the character before the star, in four hexadecimal digits.
From the first line on that has a sum, all must have one: a line that lost its end may still
read well.

Text before and, with a sum, behind it is passed over, as are ANSI colours; so are lines
without any of these.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from operator import itemgetter

from kheap.trace._columns import UINT64_MAX, Columns, HexNumbers, Numbers
from kheap.trace._kh_records import Record, Records
from kheap.trace._lines import Lines, Refused, shown

__all__ = ["Reader", "looks_like"]

# In the middle of a word, where a console lost a line end, only what goes on as it should.
# Both patterns begin with plain text, which is searched for ten times as fast as anything else.
_BEGIN = re.compile(rb"kh ([aAfFrxinv])(?:(?= [0-9])|(?=\s|$)(?<![0-9A-Za-z_]kh [aAfFrxinv]))")
_SUM = re.compile(rb"\*([0-9a-f]{4})(?![0-9A-Za-z])")
_HEAD = re.compile(
    rb"kh (?:[aAfFri] \S{1,64} (?:0x[0-9a-f]|\(nil\))|x \S{1,64} [0-9]|n 0x[0-9a-f]|v [0-9])"
)
_COLOUR = re.compile(rb"\x1b\[[0-9;?]{0,20}[A-Za-z]")

# What stands behind the kind, in full or with the last or the middle left out.
_WITH_ALIGN = ("time thread", "align time thread", "align time thread caller")
_WITHOUT_ALIGN = ("time thread", "time thread caller")
_SHAPES = {
    b"i": ("heap pointer size", _WITHOUT_ALIGN),
    b"a": ("heap pointer size", _WITH_ALIGN),
    b"A": ("heap pointer size", _WITH_ALIGN),
    b"x": ("heap size", ("", *_WITH_ALIGN)),
    b"r": ("heap old pointer size", _WITH_ALIGN),
    b"f": ("heap pointer", _WITHOUT_ALIGN),
    b"F": ("heap pointer", _WITHOUT_ALIGN),
}
_FIELDS = ("heap", "pointer", "old", "size", "align", "time", "thread", "caller")

_FORMS = {
    b"i": "'kh i HEAP REGION BYTES TIME THREAD'",
    b"a": "'kh a HEAP POINTER BYTES ALIGN TIME THREAD'",
    b"A": "'kh A HEAP POINTER BYTES ALIGN TIME THREAD'",
    b"x": "'kh x HEAP BYTES ALIGN TIME THREAD'",
    b"r": "'kh r HEAP OLD POINTER BYTES ALIGN TIME THREAD'",
    b"f": "'kh f HEAP POINTER TIME THREAD'",
    b"F": "'kh F HEAP POINTER TIME THREAD'",
    b"n": "'kh n ADDRESS NAME'",
    b"v": "'kh v 1 PROFILE'",
}


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a log with lines of the recorder."""
    return _HEAD.search(head) is not None


class Reader:
    """Reads a console log."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._records = Records(columns)
        self._pointers = HexNumbers()
        self._numbers = Numbers()
        self._sizes = Numbers(UINT64_MAX)
        self._sequences = Numbers((1 << 32) - 1)
        self._is_stamped = False

    def read(self, first: int, batch: list[bytes]) -> None:
        """Take some lines, of which the first has this number."""
        for number, line in enumerate(batch, first):
            if b"kh " not in line:
                continue
            if b"\x1b" in line:
                line = _COLOUR.sub(b"", line)
            for kind, text in _records(line):
                try:
                    self._take(kind, text)
                except ValueError as error:
                    self._lines.refuse(number, text, _FORMS[kind], error)

    def end(self) -> None:
        """Complete what the last record began."""
        self._records.end()

    def _take(self, kind: bytes, text: bytes) -> None:
        """Take what begins with "kh"; a number counts only for a record that could be read."""
        found = _SUM.search(text)
        if found is None:
            if self._is_stamped:
                raise Refused("expected a sum at the end, as lines before have: it was cut off")
            self._take_fields(kind, text.split()[2:])
            return
        body = text[: found.start()]
        told = crc_hqx(body, 0)
        if told != int(found[1], 16):
            reason = f"expected the sum {told:04x}, found {found[1].decode()}: it is damaged"
            raise Refused(reason)
        self._is_stamped = True
        fields = body.split()[2:]
        if fields and fields[-1].startswith(b"#"):
            sequence = self._sequences[fields.pop()[1:]]
            self._take_fields(kind, fields, sequence)
        else:
            self._take_fields(kind, fields)

    def _take_fields(self, kind: bytes, fields: list[bytes], sequence: int = -1) -> None:
        records = self._records
        if kind == b"v":
            self._begin(fields)
        elif kind == b"n":
            address, name = fields
            records.name(self._pointers[address], name)
        else:
            record = self._record(kind, fields)
            if sequence >= 0:
                records.count(sequence)
            records.take(record)

    def _begin(self, fields: list[bytes]) -> None:
        version, profile = fields
        if version != b"1":
            raise Refused(f"expected version 1 of the recorder, found {shown(version)}")
        self._records.begin(profile.decode())

    def _record(self, kind: bytes, fields: list[bytes]) -> Record:
        """The record that fields tell.

        Raises:
            ValueError: They tell none.
        """
        pick = _PICKS.get((kind, len(fields)))
        if pick is None:
            raise ValueError(fields)
        fields.append(b"0")
        heap, pointer, old, size, align, time, thread, caller = pick(fields)
        pointers, numbers, records = self._pointers, self._numbers, self._records
        # The heap comes last: a line that is refused must not add one to the trace.
        return Record(
            kind,
            pointers[pointer],
            pointers[old],
            self._sizes[size],
            numbers[align],
            numbers[time] / 1e6,
            records.threads[thread],
            records.callers[caller],
            records.heaps[heap],
        )


def _records(line: bytes) -> list[tuple[bytes, bytes]]:
    """The records in a line, each up to the next: its kind, and its text from "kh" on."""
    begins = list(_BEGIN.finditer(line))
    if len(begins) == 1:
        (begin,) = begins
        return [(begin[1], line[begin.start() :])]
    ends = [*(begin.start() for begin in begins), len(line)][1:]
    return [(begin[1], line[begin.start() : end]) for begin, end in zip(begins, ends, strict=False)]


def _picks() -> Iterator[tuple[tuple[bytes, int], Callable[[list[bytes]], tuple[bytes, ...]]]]:
    """By kind and number of fields: what picks :data:`_FIELDS`, the last for one left out."""
    for kind, (operands, ends) in _SHAPES.items():
        for end in ends:
            names = f"{operands} {end}".split()
            places = [names.index(name) if name in names else -1 for name in _FIELDS]
            yield (kind, len(names)), itemgetter(*places)


_PICKS = dict(_picks())
