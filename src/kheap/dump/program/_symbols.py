"""The symbols of an ELF: by name, by address, and which of them covers an address.

What it owns: reading the table, the ``CONFIG_`` values that Zephyr keeps in it, and which of
several symbols of one place or one name is told.  What it does not: sections, heaps
(``image.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container
from functools import cached_property
from struct import Struct
from typing import NamedTuple

__all__ = ["MOST_SYMBOLS", "Symbol", "Symbols", "name_at"]

MOST_SYMBOLS = 500_000
_MOST_NAME_BYTES = 512

_ROWS = {32: Struct("<IIIBBH"), 64: Struct("<IBBHQQ")}
_ABSOLUTE, _MORE_SECTIONS = 0xFFF1, 0xFFFF
_NO_TYPE, _OBJECT, _FUNCTION, _IFUNC = 0, 1, 2, 10
_KINDS = {_NO_TYPE: "other", _OBJECT: "object", _FUNCTION: "func", _IFUNC: "func"}
_GLOBAL, _WEAK = 1, 2


class Symbol(NamedTuple):
    """A name for a place.

    Attributes:
        name: As in the table.
        address: Of its first byte; for code of Arm without the bit that says Thumb.
        size: Bytes, 0 where none is told.
        kind: "object", "func" or "other".
    """

    name: str
    address: int
    size: int
    kind: str

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + self.size


class Symbols:
    """The table of symbols.

    Args:
        rows: The bytes of the table.
        names: The bytes of its names.
        bits: 32 or 64.
        allocated: Numbers of the sections that are in the target's memory.
        is_arm: Whether bit 0 of a function's address says that it is Thumb code.

    Attributes:
        config: Kconfig names without ``CONFIG_``, and values.
        objects: The sized object symbols by address.

    Where several symbols have one name or one address, sized ones go before others, objects
    and functions before labels, global before weak before local ones.
    """

    def __init__(
        self, rows: bytes, names: bytes, bits: int, allocated: Container[int], *, is_arm: bool
    ) -> None:
        self.config: dict[str, str] = {}
        ranked: list[tuple[tuple[bool, bool, int], Symbol]] = []
        absolute: list[Symbol] = []
        row = _ROWS[bits]
        for fields in row.iter_unpack(rows[: len(rows) // row.size * row.size]):
            if bits == 32:
                place, value, size, info, _, section = fields
            else:
                place, info, _, section, value, size = fields
            name = name_at(names, place)
            if section == _ABSOLUTE and name.startswith("CONFIG_"):
                self.config[name.removeprefix("CONFIG_")] = str(value)
            kind = _KINDS.get(info & 15)
            if kind is None or not name or name[0] == "$":  # "$t" and the like mark kinds of code
                continue
            if section == _ABSOLUTE:
                absolute.append(Symbol(name, value, size, kind))
            elif section in allocated or section == _MORE_SECTIONS:
                address = value & ~1 if is_arm and kind == "func" else value
                binding = {_GLOBAL: 2, _WEAK: 1}.get(info >> 4, 0)
                rank = (size > 0, kind != "other", binding)
                ranked.append((rank, Symbol(name, address, size, kind)))
        ranked.sort()
        placed = [symbol for _, symbol in ranked]  # the one to tell comes last
        self._by_name = {symbol.name: symbol for symbol in (*absolute, *placed)}
        self._by_address = {symbol.address: symbol for symbol in placed}
        self._sized = sorted((s for s in placed if s.size), key=lambda s: (s.address, -s.size))
        self.objects = [symbol for symbol in self._sized if symbol.kind == "object"]
        self._is_arm = is_arm

    def named(self, name: str) -> Symbol | None:
        """The symbol of that name.  Complexity: O(1)."""
        return self._by_name.get(name)

    def at(self, address: int) -> Symbol | None:
        """The symbol that begins there.  Complexity: O(1)."""
        return self._by_address.get(address)

    def text_at(self, address: int) -> str | None:
        """The innermost symbol around an address, as "name" or "name+0x10"; None: there is none.

        A symbol without size covers its first byte alone.  Complexity: O(log n).
        """
        starts, owners = self._spans
        i = bisect_right(starts, address) - 1
        owner = owners[i] if i >= 0 else None
        if owner is None:
            owner = self.at(address)
        if owner is None:
            return None
        distance = address - owner.address
        if self._is_arm and owner.kind == "func":
            distance &= ~1  # A pointer to Thumb code is odd.
        return f"{owner.name}+{distance:#x}" if distance else owner.name

    @cached_property
    def _spans(self) -> tuple[list[int], list[Symbol | None]]:
        """Where the innermost sized symbol changes, and to which."""
        starts: list[int] = []
        owners: list[Symbol | None] = []
        open_ones: list[Symbol] = []

        def close(limit: int | None) -> None:
            while open_ones and (limit is None or open_ones[-1].end <= limit):
                end = open_ones.pop().end
                while open_ones and open_ones[-1].end <= end:
                    open_ones.pop()
                starts.append(end)
                owners.append(open_ones[-1] if open_ones else None)

        for symbol in self._sized:
            close(symbol.address)
            starts.append(symbol.address)
            owners.append(symbol)
            open_ones.append(symbol)
        close(None)
        return starts, owners


def name_at(names: bytes, place: int) -> str:
    """The name at an offset of a table of names, cut after 512 bytes."""
    limit = place + _MOST_NAME_BYTES
    end = names.find(0, place, limit)
    return printable(names[place : limit if end < 0 else end])


def printable(name: bytes) -> str:
    """A name as text that can do nothing to a terminal."""
    text = name.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
