"""The ring of kheap's recorder for firmware, as it lay in the device's memory.

Source: ``struct kheap_ring`` of ``recorder/kheap_recorder.h``.  It describes itself, its byte
order and pointer width included, and holds the last records of those that were made.  It may
lie anywhere in an image of the memory; the first one counts.

What it owns: finding the ring, and its layout.  What it does not: what records mean
(``_kh_records.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from kheap.errors import TraceError
from kheap.trace._columns import INT64_MAX, Columns
from kheap.trace._kh_records import Record, Records
from kheap.trace._lines import Lines, Refused

__all__ = ["Reader", "looks_like"]

_MAGIC = b"KHRING"
_VERSION = 1
_BEGIN = re.compile(rb"KHRING\x01[\x04\x08]")
_BYTE_ORDER = 0x01020304
_PROFILE_BYTES = 96
_NAME_BYTES = 24
_SEQUENCES = 1 << 32
_MOST_BYTES = 1 << 28  # no device with such a recorder has more memory
_KINDS = frozenset(b"iarfAF")


class _Ring(NamedTuple):
    """A ring's layout: fields as in C, and how to read its structures."""

    start: int
    header_bytes: int
    record_bytes: int
    record_count: int
    name_count: int
    written: int
    profile: bytes
    name: Struct
    record: Struct

    @property
    def end(self) -> int:
        """Where the ring ends in the file."""
        return self.start + self.header_bytes + self.record_bytes * self.record_count


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a ring, or an image of memory with one near its start."""
    return head.startswith(_MAGIC) or _BEGIN.search(head) is not None


class Reader:
    """Reads a ring, out of the whole file: it has no lines."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._records = Records(columns)

    def read(self, first: int, batch: list[bytes]) -> None:
        """There is nothing to be had from lines."""

    def end(self) -> None:
        """Read the whole ring."""
        content = self._lines.content(_MOST_BYTES)
        if not content.strip():
            return
        ring = self._find(content)
        if len(content) < ring.end:
            wanted = f"{ring.end:,} bytes with a ring of {ring.record_count:,} records"
            reason = f"expected {wanted}, found {len(content):,}: it was cut short"
            raise TraceError(reason, self._lines.path)
        records = self._records
        records.begin(ring.profile.partition(b"\0")[0].decode("ascii", "replace"))
        for number, values in _kept(ring, content):
            try:
                self._take(number, values)
            except Refused as error:
                self._lines.refuse_because(None, f"record {number}: {error}")
        for address, text in _names(ring, content):
            name = text.partition(b"\0")[0]
            if address and name:
                records.name(address, name.decode("utf-8", "replace").encode())
        records.end()

    def _find(self, content: bytes) -> _Ring:
        """The first ring whose header is sound."""
        reason = f"expected the ring of a recorder, {_MAGIC.decode()!r}, and found none"
        for begin in re.finditer(_MAGIC, content):
            try:
                return _header(content, begin.start())
            except Refused as error:
                reason = str(error)
        raise TraceError(reason, self._lines.path)

    def _take(self, number: int, values: tuple[int, ...]) -> None:
        sequence, op, low, high, heap, pointer, old, size, align, thread, caller = values
        if sequence != number:
            raise Refused(f"expected its number in the slot, found {sequence}")
        if op not in _KINDS:
            raise Refused(f"expected one of i, a, r, f, A, F as its kind, found {op}")
        if max(pointer, old, align) > INT64_MAX:
            raise Refused(f"expected numbers up to {INT64_MAX:,}, found {max(pointer, old, align)}")
        records = self._records
        record = Record(
            bytes((op,)),
            pointer=pointer,
            old=old,
            size=size,
            align=align,
            time=(high << 32 | low) / 1e6,
            thread=records.threads[b"%#x" % thread],
            caller=records.callers[b"%#x" % caller],
            heap=records.heaps[b"%#x" % heap],
        )
        records.count(number)
        records.take(record)


def _header(content: bytes, start: int) -> _Ring:
    """The header at a place.

    Raises:
        Refused: It is none.
    """
    version, width = content[start + 6 : start + 8].ljust(2, b"\0")
    if version != _VERSION or width not in (4, 8):
        raise Refused(f"expected version 1 of the ring, with pointers of 4 or 8 bytes, found "
                      f"version {version} with {width}")  # fmt: skip
    order = "<" if content[start + 8 : start + 12] == _BYTE_ORDER.to_bytes(4, "little") else ">"
    word = "I" if width == 4 else "Q"
    fixed = Struct(f"{order}8s6I{_PROFILE_BYTES}s")
    record = Struct(f"{order}4I7{word}")
    name = Struct(f"{order}{word}{_NAME_BYTES}s")
    if len(content) < start + fixed.size:
        raise Refused(f"expected a header of {fixed.size} bytes, found {len(content) - start}")
    _, mark, header_bytes, record_bytes, *counts, profile = fixed.unpack_from(content, start)
    record_count, name_count, written = counts
    if (
        mark != _BYTE_ORDER
        or record_bytes != record.size
        or header_bytes != fixed.size + name_count * name.size
        or not record_count
        or record_count & (record_count - 1)
    ):
        raise Refused("the header of the ring is damaged")
    return _Ring(
        start, header_bytes, record_bytes, record_count, name_count, written, profile, name, record
    )


def _kept(ring: _Ring, content: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The records in the ring, oldest first: the number that each should have, and its fields.

    The oldest may just be being overwritten; then it is as if it were so already.
    """
    count = min(ring.written, ring.record_count)
    base = ring.start + ring.header_bytes
    for number in range(ring.written - count, ring.written):
        place = base + number % ring.record_count * ring.record_bytes
        values = ring.record.unpack_from(content, place)
        is_oldest = count == ring.record_count and number == ring.written - count
        if is_oldest and values[0] == ~ring.written % _SEQUENCES:
            continue
        yield number, values


def _names(ring: _Ring, content: bytes) -> Iterator[tuple[int, bytes]]:
    place = ring.start + ring.header_bytes - ring.name_count * ring.name.size
    for slot in range(ring.name_count):
        yield ring.name.unpack_from(content, place + slot * ring.name.size)
