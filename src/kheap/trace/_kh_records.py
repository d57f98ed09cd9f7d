"""What kheap's recorder for firmware records, whichever way it left the device.

What it owns: the way from records to operations.  Records are of these kinds, as the file
``recorder/kheap_recorder.h`` says:

====  ==========================================================================
i     a heap was initialised
a, x  a request that was served, or not
r     a request to resize
f     a free
A, F  what a listener of the heap heard: sizes are those that the heap rounded
====  ==========================================================================

A listener hears of a resize in place as a request that is answered with a live block, and
then a free of it; other recorders on listeners print the same, so it is understood for all
kinds.

What it does not: text (``_kh.py``) and the ring of records in RAM (``_khring.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kheap.profile import Profile, nearest_release
from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import (
    INT64_MAX,
    NOT_RECORDED,
    UINT64_MAX,
    Columns,
    HexNumbers,
    Names,
)
from kheap.trace._lines import Refused, shown
from kheap.trace.model import HeapInit

NOTE_MISSING = "record missing (overwritten in the ring, or lost on the way)"
NOTE_RESTART = "restart of the recorder"
NOTE_HEARD = "size as the heap rounded it (from a listener)"
NOTE_PROFILE = "description of a Zephyr that is not known"

_HEARD = frozenset((b"A", b"F"))
_FREES = frozenset((b"f", b"F"))
_SEQUENCES = 1 << 32
_RELEASE = re.compile(r"release=([0-9]{1,4})\.([0-9]{1,4})")


class Record(NamedTuple):
    """One record; ``heap``, ``thread`` and ``caller`` are indices."""

    kind: bytes
    pointer: int
    old: int
    size: int
    align: int
    time: float
    thread: int
    caller: int
    heap: int


class Records:
    """Takes records in the order in which they were made.

    Attributes:
        heaps: ``heaps[text]``: the index of a heap by its address or name, as bytes.
        threads: The same for threads.
        callers: The same for call sites.
    """

    def __init__(self, columns: Columns) -> None:
        self.heaps = _Things(columns.heaps, {0: "libc"})
        self.threads = _Things(columns.threads, {0: "", 1: "interrupt", 2: "boot"})
        self.callers = _Things(columns.callers, {0: ""})
        self._columns = columns
        self._notes = columns.notes
        self._blocks = PointerBlocks(columns)
        self._names: dict[str, str] = {}
        self._waiting: dict[int, Record] = {}
        self._next = 0

    def count(self, sequence: int) -> None:
        """Take a record's number, and note how many are missing before it."""
        missing = (sequence - self._next) % _SEQUENCES
        if missing:
            if missing >= _SEQUENCES // 2:
                self._notes[NOTE_RESTART] += 1
                missing = sequence
            self._notes[NOTE_MISSING] += missing
        self._next = (sequence + 1) % _SEQUENCES

    def begin(self, profile: str) -> None:
        """A recorder began, on the Zephyr that this describes; numbers are from 0 again."""
        if len(self._columns):
            self._notes[NOTE_RESTART] += 1
        self._next = 0
        try:
            self._columns.trace.profile = Profile.parse(_RELEASE.sub(_known_release, profile))
        except ValueError:
            self._notes[NOTE_PROFILE] += 1

    def name(self, address: int, name: bytes) -> None:
        """Name the heap or thread at an address, in what was recorded before as well."""
        try:
            self._names[f"{address:#x}"] = name.decode()
        except UnicodeError:
            raise Refused(f"expected a name in UTF-8, found {shown(name)}") from None

    def take(self, record: Record) -> None:
        """Take a record; what may be refused comes before the first append."""
        kind, heap, pointer = record.kind, record.heap, record.pointer
        if record.size > INT64_MAX and pointer:
            raise Refused(f"expected sizes below 2**63, found {record.size}")
        waiting = self._waiting.pop(heap, None) if self._waiting else None
        if kind in _HEARD:
            self._notes[NOTE_HEARD] += 1
        if waiting is not None:
            if kind in _FREES and pointer == waiting.pointer:
                resized = self._blocks.realloc(pointer, pointer, waiting.size, heap)
                self._complete(waiting._replace(time=record.time), resized)
                return
            self._request(waiting)
        if kind in _FREES:
            self._complete(record, self._blocks.free(pointer, heap))
        elif kind == b"r":
            added = self._blocks.realloc(record.old, pointer, record.size, heap)
            self._complete(record, added)
        elif kind == b"i":
            self._init(record)
        elif pointer and self._blocks.holds(pointer, heap):
            self._waiting[heap] = record
        else:
            self._request(record)

    def end(self) -> None:
        """Take what was waiting for the next record, and give the names."""
        for record in self._waiting.values():
            self._request(record)
        self.heaps.rename(self._names)
        self.threads.rename(self._names)

    def _request(self, record: Record) -> None:
        self._complete(record, self._blocks.alloc(record.pointer, record.size, record.heap))

    def _init(self, record: Record) -> None:
        self._blocks.forget(record.heap)
        inits = self._columns.trace.inits
        inits.append(HeapInit(len(self._columns), record.heap, record.pointer, record.size))

    def _complete(self, record: Record, added: bool) -> None:
        if added:
            columns = self._columns
            columns.align.append(record.align)
            columns.time.append(record.time)
            columns.thread.append(record.thread)
            columns.caller.append(record.caller)


class _Things(dict[bytes, int]):
    """Things that records name by address or by name, such as threads: ``things[text]``.

    Args:
        table: Where their names go.
        words: Names for numbers that are no address; an empty one: not recorded.

    Raises:
        ValueError: The text is neither an address nor a name.
    """

    def __init__(self, table: Names, words: dict[int, str]) -> None:
        super().__init__()
        self._table = table
        self._words = words
        self._addresses = HexNumbers(UINT64_MAX)

    def __missing__(self, text: bytes) -> int:
        """Add a thing."""
        name: str | bytes = text
        if text[:1].isdigit() or text == b"(nil)":
            address = self._addresses[text]
            name = self._words.get(address, f"{address:#x}")
        self[text] = index = self._table[name] if name else NOT_RECORDED
        return index

    def rename(self, given: Mapping[str, str]) -> None:
        """Give names to things that are known by their address."""
        names = self._table.names
        taken = set(names)
        for index, address in enumerate(names):
            name = given.get(address)
            if name is not None:
                names[index] = f"{name}@{address}" if name in taken else name
                taken.add(names[index])


def _known_release(match: re.Match[str]) -> str:
    """A release that a profile can have: one after the last is main."""
    return f"release={nearest_release(int(match[1]), int(match[2]))}"
