"""Walking over the debug information of an ELF: pyelftools reads it, bounds are set here.

What it owns: the units, getting from one entry (DIE) to the next, and attributes.  A real image
has megabytes of entries, and to read all of them takes seconds for each megabyte; so a subtree
whose end is told is jumped over, and a unit whose bytes cannot hold the wanted name is not
opened.  What it does not: types and variables (``_debug_types.py``).

The bytes are not trusted.  pyelftools may loop for ever over siblings that lead backwards, and
keeps each entry that it was asked for; so the steps between entries are taken here.  All that
it reads comes from streams that end by :class:`DwarfError` when more was read than sound debug
information asks for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO
from itertools import chain, islice
from struct import error as StructError  # noqa: N812
from typing import NamedTuple

from elftools.common.exceptions import DWARFError, ELFError
from elftools.common.utils import struct_parse
from elftools.construct import ConstructError
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarf_expr import DWARFExprOp, DWARFExprParser
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.structs import DWARFStructs

from kheap.dump.program._symbols import printable

__all__ = [
    "FAILURES", "SECTIONS", "DwarfError", "Units", "expression", "number", "reference", "text",
]  # fmt: skip

#: The sections that are read, by the names that pyelftools has for them.
SECTIONS = {
    f".{name}": f"{name}_sec"
    for name in ("debug_info", "debug_abbrev", "debug_str", "debug_line_str", "debug_str_offsets",
                 "debug_addr", "debug_loclists", "debug_rnglists")
}  # fmt: skip
#: What pyelftools can read too, and what kheap has no need of.
_UNREAD = (
    "debug_aranges_sec", "debug_frame_sec", "eh_frame_sec", "debug_loc_sec", "debug_ranges_sec",
    "debug_line_sec", "debug_pubtypes_sec", "debug_pubnames_sec", "debug_sup_sec",
    "gnu_debugaltlink_sec", "debug_types_sec",
)  # fmt: skip

#: Entries below which variables may stand.
_SCOPES = frozenset(("DW_TAG_lexical_block", "DW_TAG_subprogram", "DW_TAG_namespace"))
_UNIT_REFERENCES = frozenset(f"DW_FORM_ref{kind}" for kind in ("1", "2", "4", "8", "_udata"))
_UNIT_HEADER_BYTES = 12
_VERSIONS = range(2, 6)

_MOST_UNITS = 100_000
#: In all units together: an attribute takes two of them, and much more memory.
_MOST_ABBREVIATION_BYTES = 1 << 21
#: Sound information of 12 MB takes 7 million reads, if each unit may hold heaps.
_MOST_READS, _READS_FOR_A_BYTE, _LEAST_READS = 1 << 24, 8, 1 << 18
_MOST_NUMBER_BYTES = 4096
_MOST_ATTRIBUTES = 256
#: More places than these of one name in .debug_str are not looked for: any unit may use it.
_MOST_NAME_PLACES = 64
_MOST_NAME_BYTES = 512
_OP_ADDR = 0x03
#: With this one, what the expressions begin with that are read: DW_OP_plus_uconst, DW_OP_addrx.
_OPERATIONS = ([_OP_ADDR], [0x23], [0xA1])
#: An address of 8 bytes and a number of 10 are told in so many bytes; longer ones compute.
_MOST_EXPRESSION_BYTES = 20


class DwarfError(Exception):
    """The debug information is damaged, or more than is read."""


#: What reading damaged debug information can raise.
FAILURES = (
    DwarfError, DWARFError, ELFError, ConstructError, StructError, ArithmeticError,
    AssertionError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


class _Allowance:
    """How much may still be read, and what is said when it is used up."""

    def __init__(self, count: int, reason: str) -> None:
        self.left = count
        self.reason = reason

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise DwarfError(self.reason)


class _Stream(BytesIO):
    """The bytes of a section; each read is paid for, and long ones by their length.

    Numbers in LEB128 are read byte by byte and may be of any length, which costs its square.
    """

    def __init__(self, data: bytes, allowance: _Allowance) -> None:
        super().__init__(data)
        self._allowance = allowance
        self._number_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._allowance.left -= 1 + (len(data) >> 6)
        if self._allowance.left < 0:
            raise DwarfError(self._allowance.reason)
        if size != 1 or data < b"\x80":
            self._number_bytes = 0
            return data
        self._number_bytes += 1
        if self._number_bytes > _MOST_NUMBER_BYTES:
            raise DwarfError(f"a number of more than {_MOST_NUMBER_BYTES:,} bytes")
        return data


class Unit(NamedTuple):
    """Where a unit of .debug_info, mostly one C file, begins and ends."""

    start: int
    end: int


class Units:
    """The units of one ELF.

    Args:
        sections: Contents of :data:`SECTIONS` by name; missing ones are empty.
        bits: 32 or 64.

    Attributes:
        units: Those of DWARF 2 to 5 with offsets of 32 bits, up to the first damaged length.

    Raises:
        DwarfError: There are too many units.
    """

    def __init__(self, sections: Mapping[str, bytes], bits: int) -> None:
        info = self._info = sections[".debug_info"]
        self._texts = [sections.get(name, b"") for name in (".debug_str", ".debug_line_str")]
        self._offsets = sections.get(".debug_str_offsets", b"")
        reads, reason = (
            _READS_FOR_A_BYTE * len(info) + _LEAST_READS,
            "refer to each other too often",
        )
        if reads > _MOST_READS:
            reads, reason = _MOST_READS, "are too many: not all were read"
        self._allowance = _Allowance(reads, f"the entries {reason}")
        most = f"more than {_MOST_ABBREVIATION_BYTES:,} bytes of abbreviations"
        self._abbreviations = _Allowance(_MOST_ABBREVIATION_BYTES, most)
        self._stream = _Stream(info, self._allowance)
        self._dwarf = self._dwarf_info(sections, bits)
        self.units = list(islice(self._headers(), _MOST_UNITS + 1))
        if len(self.units) > _MOST_UNITS:
            raise DwarfError(f"more than {_MOST_UNITS:,} units")
        self._starts = [unit.start for unit in self.units]

    def _dwarf_info(self, sections: Mapping[str, bytes], bits: int) -> DWARFInfo:
        """What pyelftools makes of the sections; it takes missing ones badly: they are empty."""
        config = DwarfConfig(little_endian=True, machine_arch="", default_address_size=bits // 8)
        made: dict[str, DebugSectionDescriptor | None] = dict.fromkeys(_UNREAD)
        for name, key in SECTIONS.items():
            data = sections.get(name, b"")
            is_abbreviations = name == ".debug_abbrev"
            stream = _Stream(data, self._abbreviations if is_abbreviations else self._allowance)
            made[key] = DebugSectionDescriptor(stream, name, None, len(data), 0)
        return DWARFInfo(config=config, **made)

    def why(self, error: Exception) -> str:
        """The reason for one of :data:`FAILURES`; pyelftools tells its own of a spent allowance."""
        for allowance in (self._allowance, self._abbreviations):
            if allowance.left < 0:
                return allowance.reason
        return str(error) if isinstance(error, DwarfError) else "its entries are damaged"

    def die_at(self, offset: int) -> DIE:
        """The entry at an offset of .debug_info."""
        return self._read(self._opened(self._unit_at(offset)), offset)

    def children(self, die: DIE, tags: frozenset[str]) -> Iterator[DIE]:
        """The entries directly below one."""
        below = self._scan(self._unit_at(die.offset), die.offset, tags)
        return (child for child, depth in below if depth == 1)

    def entries(
        self, unit: Unit, tags: frozenset[str], *, in_functions: bool = False
    ) -> Iterator[tuple[DIE, int]]:
        """The entries with one of these tags, and their depth below the unit.

        A subtree whose end is told is jumped over, but for functions and the like where they
        may have variables with an address, and are asked for.
        """
        cu = self._opened(unit)
        # Such a variable has an expression: its length and an address.
        mark = bytes((1 + cu["address_size"], _OP_ADDR)) if in_functions else None
        return self._scan(unit, cu.cu_die_offset, tags, mark)

    def _scan(
        self, unit: Unit, position: int, tags: frozenset[str], mark: bytes | None = None
    ) -> Iterator[tuple[DIE, int]]:
        """The entries from the one at ``position`` to its end; scopes with ``mark`` are entered."""
        cu, depth = self._opened(unit), 0
        while position < unit.end:
            die = self._read(cu, position)
            position += die.size
            if die.is_null():
                depth -= 1
                if depth <= 0:
                    return
                continue
            if die.tag in tags:
                yield die, depth
            if die.has_children:
                behind = depth and self._behind(unit, die, depth, mark)
                depth += not behind
                position = behind or position
            elif not depth:
                return

    def _behind(self, unit: Unit, die: DIE, depth: int, mark: bytes | None) -> int:
        """Where the walk goes on behind an entry's children; 0 to go through them."""
        behind = reference(die, "DW_AT_sibling")
        if behind is None:
            return 0
        position = die.offset + die.size
        if not position <= behind <= unit.end:
            raise DwarfError(f"the entry before {position:#x} of .debug_info has no end")
        if mark is None or die.tag not in _SCOPES:
            return behind
        # Deeper scopes are not searched: each byte would be looked at once for each level.
        return behind if depth == 1 and self._info.find(mark, position, behind) < 0 else 0

    def units_naming(self, names: tuple[str, ...]) -> Iterator[Unit]:
        """The units that may use one of these names: others surely do not.

        Names stand in .debug_info itself, or their places in .debug_str do, or the places of
        these places do.
        """
        inline = [name.encode() + b"\0" for name in names]
        places = [place for name in inline for place in self._places(name)]
        if len(places) > _MOST_NAME_PLACES:
            yield from self.units
            return
        needles = [place.to_bytes(4, "little") for place in places]
        for unit in self.units:
            in_unit = (self._info.find(each, *unit) for each in needles + inline)
            if any(found >= 0 for found in in_unit) or self._has_string(unit, needles):
                yield unit

    def _places(self, name: bytes) -> Iterator[int]:
        # Linkers let a name share the end of a longer one.
        found = chain.from_iterable(re.finditer(re.escape(name), each) for each in self._texts)
        return (match.start() for match in islice(found, _MOST_NAME_PLACES + 1))

    def _has_string(self, unit: Unit, needles: list[bytes]) -> bool:
        """Whether one of these places stands in the unit's table of strings, or may."""
        if not self._offsets:
            return False
        try:
            base = number(self._opened(unit).get_top_DIE(), "DW_AT_str_offsets_base")
            if base is None:
                return False
            # The table's header, of 8 bytes, begins with its length.
            length = int.from_bytes(self._offsets[max(base - 8, 0) : base - 4], "little")
            self._allowance.spend(min(length, len(self._offsets)) >> 4)
        except FAILURES:
            return True  # Whoever reads the unit will say what is wrong with it.
        return any(self._offsets.find(each, base, base - 4 + length) >= 0 for each in needles)

    def _headers(self) -> Iterator[Unit]:
        """The units; pyelftools would end at one of a version that it does not know."""
        info, end = self._info, 0
        while end + _UNIT_HEADER_BYTES <= len(info):
            start = end
            length = int.from_bytes(info[start : start + 4], "little")
            end += 4 + length
            if length < _UNIT_HEADER_BYTES - 4 or end > len(info):
                return
            if int.from_bytes(info[start + 4 : start + 6], "little") in _VERSIONS:
                yield Unit(start, end)

    def _unit_at(self, offset: int) -> Unit:
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or offset >= self.units[i].end:
            raise DwarfError(f"no entry can be at {offset:#x} of .debug_info")
        return self.units[i]

    def _opened(self, unit: Unit) -> CompileUnit:
        """The unit, with its first entry, which tells how others are read."""
        cu = self._dwarf.get_CU_at(unit.start)
        self._read(cu, cu.cu_die_offset)
        return cu

    def _read(self, cu: CompileUnit, offset: int) -> DIE:
        """An entry, which is not kept."""
        if offset < cu.cu_die_offset:
            raise DwarfError(f"no entry can be at {offset:#x} of .debug_info")
        code = self._info[offset]
        if code >= 0x80:  # a number of more bytes
            code = struct_parse(cu.structs.the_Dwarf_uleb128, self._stream, offset)
        if code:
            # Many attributes have no bytes that would be paid for.
            count = len(cu.get_abbrev_table().get_abbrev(code)["attr_spec"])
            if count > _MOST_ATTRIBUTES:
                raise DwarfError(f"an entry of more than {_MOST_ATTRIBUTES} attributes")
            self._allowance.spend(count)
        first = cu.get_top_DIE()
        return first if offset == first.offset else DIE(cu, first.stream, offset)


def number(die: DIE, name: str) -> int | None:
    """An attribute that is a constant, a flag or an offset of a section."""
    value = _value(die, name)
    return value if isinstance(value, int) else None


def text(die: DIE, name: str) -> str | None:
    """An attribute that is a string, cut after 512 bytes."""
    value = _value(die, name)
    return printable(value[:_MOST_NAME_BYTES]) if isinstance(value, bytes) else None


def expression(die: DIE, name: str) -> list[DWARFExprOp] | None:
    """What an expression does, as far as addresses and sums; None for what is no expression."""
    value = _value(die, name)
    if not isinstance(value, list):
        return None
    if value[:1] not in _OPERATIONS or len(value) > _MOST_EXPRESSION_BYTES:
        return []
    try:
        return _parser(die.cu.structs).parse_expr(value)
    except KeyError:
        return []  # An operation of a vendor.


def reference(die: DIE, name: str) -> int | None:
    """The offset in .debug_info of the entry that an attribute refers to.

    None for those of other files, and of types in units of their own.
    """
    attribute = die.attributes.get(name)
    if attribute is None:
        return None
    if attribute.form == "DW_FORM_ref_addr":
        return int(attribute.raw_value)
    is_in_unit = attribute.form in _UNIT_REFERENCES
    return die.cu.cu_offset + int(attribute.raw_value) if is_in_unit else None


def _value(die: DIE, name: str) -> object:
    attribute = die.attributes.get(name)
    return None if attribute is None else attribute.value


@cache
def _parser(structs: DWARFStructs) -> DWARFExprParser:
    return DWARFExprParser(structs)
