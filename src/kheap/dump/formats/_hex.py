"""Intel HEX and Motorola S-records: memory as lines of hexadecimal digits, each with a checksum.

Source: Intel's "Hexadecimal Object File Format Specification", revision A; Motorola's
"M68000 Family Programmer's Reference Manual", appendix "S-record output format".

It owns both kinds of lines, and joining what they hold to few pieces.  Not here: telling these
files from others (``containers.py``).
"""

from __future__ import annotations

import re
from binascii import Error as BadDigits
from binascii import unhexlify
from collections.abc import Iterator
from io import BytesIO
from operator import itemgetter
from typing import TYPE_CHECKING

from kheap.errors import DumpError

if TYPE_CHECKING:
    from kheap.dump.formats.containers import Container

__all__ = ["is_intel_hex", "is_srec", "read_intel_hex", "read_srec"]

#: The most pieces with gaps between them.
MAX_PIECES = 65_536
#: The most overlaps that are noted.
MAX_OVERLAPS = 1000

_INTEL_HEX = re.compile(rb"\s*:[0-9A-Fa-f]{10}")
_SREC = re.compile(rb"\s*S[0-9][0-9A-Fa-f]{8}")
_ADDRESS_SPACE = 1 << 32
_SEGMENT_BYTES = 1 << 16
_SHOWN_CHARACTERS = 40

_Piece = tuple[int, bytearray]


class _Bad(ValueError):
    """A record that cannot be; its text is the reason."""


def is_intel_hex(head: bytes) -> bool:
    """Whether a text that begins so is Intel HEX."""
    return _INTEL_HEX.match(head) is not None


def is_srec(head: bytes) -> bool:
    """Whether a text that begins so is made of S-records."""
    return _SREC.match(head) is not None


def read_intel_hex(data: bytes, container: Container) -> None:
    """Read Intel HEX, record types 0 to 5, into a container.

    Args:
        data: The text.
        container: What is filled; its path stands in errors.

    Raises:
        DumpError: A record is damaged, or there are more than ``MAX_PIECES``.

    Complexity: O(bytes); O(records * log(records)) where they are out of order.
    """
    _read(data, container, _IntelHex())


def read_srec(data: bytes, container: Container) -> None:
    """Read S-records, types 0 to 9, into a container; as :func:`read_intel_hex` otherwise."""
    _read(data, container, _SRecords())


class _IntelHex:
    """Reads one record after the other; what they hold has the base that came last."""

    def __init__(self) -> None:
        self.is_ended = False
        self._base = 0
        self._is_segment = False

    def record(self, line: bytes) -> tuple[int, bytes] | None:
        """The address and the bytes that a line gives, if it gives any."""
        raw = _digits(line, b":")
        if len(raw) < 5 or len(raw) != raw[0] + 5:
            raise _Bad(f"expected a record of {raw[:1].hex() or 'no'} (hex) bytes: {_shown(line)}")
        if sum(raw) & 0xFF:
            raise _Bad(f"checksum {raw[-1]:#04x}, but expected {-sum(raw[:-1]) & 0xFF:#04x}")
        kind, offset = raw[3], raw[1] << 8 | raw[2]
        if kind == 0:
            if self._is_segment and offset + raw[0] > _SEGMENT_BYTES:
                raise _Bad("a record that reaches behind the end of its segment")
            return self._base + offset, raw[4:-1]
        self._turn(kind, raw)
        return None

    def _turn(self, kind: int, raw: bytes) -> None:
        """A record without data: the end, another base, or where the program starts."""
        if kind == 1:
            self.is_ended = True
        elif kind in (2, 4):
            if raw[0] != 2:
                raise _Bad(f"expected 2 bytes of address in a record of type {kind}")
            self._is_segment = kind == 2
            self._base = (raw[4] << 8 | raw[5]) << (4 if kind == 2 else 16)
        elif kind not in (3, 5):
            raise _Bad(f"record type {kind}, but there are 0 to 5 alone")


class _SRecords:
    """Reads one S-record after the other."""

    def __init__(self) -> None:
        self.is_ended = False

    def record(self, line: bytes) -> tuple[int, bytes] | None:
        """The address and the bytes that a line gives, if it gives any."""
        kind = line[1:2] if line[1:2].isdigit() else b"0"
        raw = _digits(line, b"S" + kind)
        if len(raw) < 4 or len(raw) != raw[0] + 1:
            raise _Bad(f"expected a record of {raw[:1].hex() or 'no'} (hex) bytes: {_shown(line)}")
        if sum(raw) & 0xFF != 0xFF:
            raise _Bad(f"checksum {raw[-1]:#04x}, but expected {~sum(raw[:-1]) & 0xFF:#04x}")
        if kind in b"123":
            address_end = 2 + int(kind)
            if address_end >= len(raw):
                raise _Bad(f"expected an address of {1 + int(kind)} bytes, found {_shown(line)}")
            return int.from_bytes(raw[1:address_end], "big"), raw[address_end:-1]
        if kind not in b"056789":  # a title, counts of records, the end
            raise _Bad("record type S4, which is reserved")
        self.is_ended = kind in b"789"
        return None


def _read(data: bytes, container: Container, reader: _IntelHex | _SRecords) -> None:
    pieces: list[_Piece] = []
    end = -1
    for address, content in _records(data, container, reader):
        if address == end:
            pieces[-1][1].extend(content)
        else:
            if len(pieces) == 2 * MAX_PIECES:
                pieces = _joined(pieces, container)
            pieces.append((address, bytearray(content)))
        end = address + len(content)
    for address, joined in _joined(pieces, container):
        container.memory.add(address, joined, container.path)


def _records(
    data: bytes, container: Container, reader: _IntelHex | _SRecords
) -> Iterator[tuple[int, bytes]]:
    """What the lines give, one after the other."""
    for number, line in enumerate(BytesIO(data), 1):
        try:
            found = reader.record(line.strip()) if not line.isspace() else None
            if found is not None and found[0] + len(found[1]) > _ADDRESS_SPACE:
                raise _Bad(f"{len(found[1])} bytes at {found[0]:#x} reach behind the last address")
        except _Bad as error:
            raise DumpError(f"{container.path}:{number}: {error}") from None
        if found is not None:
            yield found
        if reader.is_ended:
            return
    container.notes.append("There is no end record: the file may have been cut short.")


def _joined(pieces: list[_Piece], container: Container) -> list[_Piece]:
    """The pieces by address, those that touch as one; where two overlap, the lower one stays.

    For any number of pieces in any order; :meth:`Memory.add` would take them one by one.
    """
    joined: list[_Piece] = []
    overlaps = container.memory.overlaps
    end = -1
    for address, content in sorted(pieces, key=itemgetter(0)):
        if not joined or address > end:
            joined.append((address, content))
            end = address + len(content)
            continue
        start, held = joined[-1]
        common = min(end - address, len(content))
        is_equal = held[address - start : address - start + common] == content[:common]
        if not is_equal and len(overlaps) < MAX_OVERLAPS:
            overlaps.append((address, address + common - 1))
        held += content[common:]
        end = start + len(held)
    if len(joined) > MAX_PIECES:
        reason = f"expected at most {MAX_PIECES:,} pieces with gaps between them, found more"
        raise DumpError(f"{container.path}: {reason}")
    return joined


def _digits(line: bytes, mark: bytes) -> bytes:
    """The bytes that a line gives behind its mark."""
    if line.startswith(mark):
        try:
            return unhexlify(line[len(mark) :])
        except BadDigits:
            pass
    raise _Bad(f"expected {mark.decode()!r} and an even number of hex digits, found {_shown(line)}")


def _shown(line: bytes) -> str:
    text = ascii(line)[1:]
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
