"""What debug information tells about heaps: structures, and the variables that hold heaps.

What it owns: offsets and sizes of structures, and finding variables whose type is ``k_heap`` or
``sys_heap`` or holds one by value.  A type is read when it is asked for.  What it does not:
units and entries (``_debug_units.py``), and which of the variables are in the image
(``_heap_objects.py``).  Types in units of their own (-fdebug-types-section) are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from elftools.dwarf.die import DIE

from kheap.dump.program._debug_units import (
    FAILURES,
    Unit,
    Units,
    expression,
    number,
    reference,
    text,
)

__all__ = ["MOST_ELEMENTS", "DebugTypes", "HeapPart", "Variable"]

#: The most elements of one array of heaps, and of heaps in one variable, that are told.
MOST_ELEMENTS = 256

_ARRAY, _MEMBER, _SUBRANGE = "DW_TAG_array_type", "DW_TAG_member", "DW_TAG_subrange_type"
_STRUCTURES = frozenset(("DW_TAG_class_type", "DW_TAG_structure_type", "DW_TAG_union_type"))
_TYPEDEF = "DW_TAG_typedef"
_NAMED = _STRUCTURES | {_TYPEDEF}
_ALIASES = frozenset(
    (_TYPEDEF, *(f"DW_TAG_{word}_type" for word in ("const", "volatile", "restrict", "atomic")))
)
_PARTS = frozenset((_MEMBER, "DW_TAG_inheritance"))
_VARIABLES = frozenset(("DW_TAG_variable",))

_HEAPS = ("k_heap", "sys_heap")
#: What gcc calls the unit that it makes when linking (-flto): it has the addresses of variables
#: and refers to the units of the C files for the rest.
_LINKED_UNIT = "<artificial>"
_MOST_LEVELS = 32
_MOST_STRUCTURES = 256


@dataclass(frozen=True, slots=True)
class HeapPart:
    """A heap in a variable: ``path`` is "" for the variable itself, else ".pool", "[2].heap"."""

    path: str
    offset: int
    kind: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that holds heaps; its address is None where only its name is told."""

    name: str
    address: int | None
    size: int
    heaps: tuple[HeapPart, ...]


class DebugTypes:
    """The types of one ELF.

    Attributes:
        failure: The first reason why a part could not be read; None: there was none.
    """

    def __init__(self, units: Units) -> None:
        self._units = units
        self._named: dict[str, DIE | None] = {}
        self._offsets: dict[tuple[str, ...], int | None] = {}
        self._heaps: dict[int, tuple[HeapPart, ...]] = {}
        self.failure: str | None = None

    def offset_of(self, struct: str, *members: str) -> int | None:
        """The offset of a member of a member ... of a structure; None if there is none such.

        Where units define different structures of one name, the first counts.
        """
        key = (struct, *members)
        if key not in self._offsets:
            self._offsets[key] = None
            try:
                self._offsets[key] = self._offset_of(self._find(struct), members)
            except FAILURES as error:
                self._fail(error)
        return self._offsets[key]

    def size_of(self, struct: str) -> int | None:
        """Bytes of a structure; None if there is none such."""
        try:
            found = self._find(struct)
            return None if found is None else self._size(self._peel(found.offset))
        except FAILURES as error:
            self._fail(error)
            return None

    def variables(self) -> Iterator[Variable]:
        """The variables of the program that hold heaps; a damaged unit ends at the damage."""
        for unit in self._units.units_naming((*_HEAPS, _LINKED_UNIT)):
            try:
                yield from self._variables_of(unit)
            except FAILURES as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or self._units.why(error)

    # ------------------------------------------------------------------ variables

    def _variables_of(self, unit: Unit) -> Iterator[Variable]:
        for die, depth in self._units.entries(unit, _VARIABLES, in_functions=True):
            address = _static_address(die)
            if address is None and depth > 1:
                continue
            name, place = self._name_and_type(die)
            heaps = () if name is None or place is None else self._heaps_in(place)
            if heaps and name is not None and place is not None:
                yield Variable(name, address, self._size(self._peel(place)) or 0, heaps)

    def _name_and_type(self, die: DIE) -> tuple[str | None, int | None]:
        """Of a variable, from itself or the entry that it completes."""
        name, place = None, None
        for _ in range(_MOST_LEVELS):
            name = text(die, "DW_AT_name") if name is None else name
            place = reference(die, "DW_AT_type") if place is None else place
            origin = reference(die, "DW_AT_specification")
            origin = reference(die, "DW_AT_abstract_origin") if origin is None else origin
            if origin is None:
                break
            die = self._units.die_at(origin)
        return name, place

    # ------------------------------------------------------------------ types

    def _heaps_in(self, place: int, level: int = 0) -> tuple[HeapPart, ...]:
        """The heaps that a type holds by value."""
        if place not in self._heaps:
            self._heaps[place] = ()  # A type that holds itself is damaged, and holds nothing.
            die = self._peel(place) if level < _MOST_LEVELS else None
            if die is not None and die.tag == _ARRAY:
                found = self._heaps_of_array(die, level)
            elif die is not None and die.tag in _STRUCTURES:
                found = self._heaps_of_structure(die, level)
            else:
                found = ()
            self._heaps[place] = found[:MOST_ELEMENTS]
        return self._heaps[place]

    def _heaps_of_structure(self, die: DIE, level: int) -> tuple[HeapPart, ...]:
        name = text(die, "DW_AT_name")
        if name in _HEAPS:
            return (HeapPart("", 0, name),)
        found: list[HeapPart] = []
        for member in self._units.children(die, _PARTS):
            place, start = reference(member, "DW_AT_type"), _member_offset(member)
            if place is None or start is None or len(found) >= MOST_ELEMENTS:
                continue
            member_name = text(member, "DW_AT_name")
            prefix = f".{member_name}" if member_name else ""
            for heap in self._heaps_in(place, level + 1):
                found.append(HeapPart(prefix + heap.path, start + heap.offset, heap.kind))
        return tuple(found)

    def _heaps_of_array(self, die: DIE, level: int) -> tuple[HeapPart, ...]:
        place = reference(die, "DW_AT_type")
        heaps = () if place is None else self._heaps_in(place, level + 1)
        stride = self._size(self._peel(place)) if heaps and place is not None else None
        if not stride:
            return ()
        counts = [min(count, MOST_ELEMENTS) for count in self._counts(die)]
        found: list[HeapPart] = []
        for position, indices in enumerate(product(*map(range, counts))):
            if len(found) >= MOST_ELEMENTS:
                break
            prefix = "".join(f"[{index}]" for index in indices)
            found += (
                HeapPart(prefix + heap.path, position * stride + heap.offset, heap.kind)
                for heap in heaps
            )
        return tuple(found)

    def _counts(self, die: DIE) -> list[int]:
        return [_count(each) for each in self._units.children(die, frozenset((_SUBRANGE,)))]

    def _size(self, die: DIE | None, level: int = 0) -> int | None:
        if die is None or level > _MOST_LEVELS:
            return None
        size = number(die, "DW_AT_byte_size")
        place = reference(die, "DW_AT_type")
        if size is not None or die.tag != _ARRAY or place is None:
            return size
        size = self._size(self._peel(place), level + 1)
        for count in self._counts(die):
            size = None if size is None else size * count
        return size

    def _peel(self, place: int) -> DIE | None:
        """The type behind typedefs and qualifiers; None for void."""
        for _ in range(_MOST_LEVELS):
            die = self._units.die_at(place)
            if die.tag not in _ALIASES:
                return die
            behind = reference(die, "DW_AT_type")
            if behind is None:
                return None
            place = behind
        return None

    def _find(self, struct: str) -> DIE | None:
        if struct not in self._named:
            self._named[struct] = next(self._definitions(struct), None)
        return self._named[struct]

    def _definitions(self, struct: str) -> Iterator[DIE]:
        for unit in self._units.units_naming((struct,)):
            try:
                for die, _ in self._units.entries(unit, _NAMED):
                    if text(die, "DW_AT_name") == struct and not number(die, "DW_AT_declaration"):
                        yield die
            except FAILURES as error:
                self._fail(error)

    def _offset_of(self, die: DIE | None, members: tuple[str, ...]) -> int | None:
        total = 0
        for name in members:
            structure = None if die is None else self._peel(die.offset)
            found = None if structure is None else self._member(structure, name, set())
            if found is None:
                return None
            total, die = total + found[0], found[1]
        return None if die is None else total

    def _member(self, structure: DIE, name: str, seen: set[int]) -> tuple[int, DIE] | None:
        """A member's offset and type; members of anonymous members are members too.

        ``seen`` has the structures that were searched, at most 256 for one member: damaged ones
        may be in themselves, or in each other without end.
        """
        is_new = structure.offset not in seen and len(seen) < _MOST_STRUCTURES
        if structure.tag not in _STRUCTURES or not is_new:
            return None
        seen.add(structure.offset)
        for member in self._units.children(structure, _PARTS):
            place, offset = reference(member, "DW_AT_type"), _member_offset(member)
            if place is None or offset is None:
                continue
            own_name = text(member, "DW_AT_name")
            if own_name == name:
                return offset, self._units.die_at(place)
            inner = None if own_name else self._peel(place)
            found = None if inner is None else self._member(inner, name, seen)
            if found is not None:
                return offset + found[0], found[1]
        return None


def _static_address(die: DIE) -> int | None:
    """The address of a variable that has one fixed place."""
    steps = expression(die, "DW_AT_location") or []
    names = [step.op_name for step in steps]
    if names[:1] == ["DW_OP_addr"]:
        address: int = steps[0].args[0]
    elif names[:1] == ["DW_OP_addrx"] and "DW_AT_addr_base" in die.cu.get_top_DIE().attributes:
        address = die.dwarfinfo.get_addr(die.cu, steps[0].args[0])
    else:
        return None
    if names[1:] == ["DW_OP_plus_uconst"]:
        return address + int(steps[1].args[0])
    return None if names[1:] else address  # More is computed: thread-local variables, for one.


def _member_offset(member: DIE) -> int | None:
    """Where a member begins, for bit fields the byte; None for static members."""
    if number(member, "DW_AT_declaration"):
        return None
    steps = expression(member, "DW_AT_data_member_location")
    if steps is not None:  # DWARF 2: an expression
        is_sum = bool(steps) and steps[0].op_name == "DW_OP_plus_uconst"
        return int(steps[0].args[0]) if is_sum else None
    offset = number(member, "DW_AT_data_member_location")
    if offset is None:
        return (number(member, "DW_AT_data_bit_offset") or 0) // 8
    return offset


def _count(subrange: DIE) -> int:
    """Elements of an array; 0 where it tells none (``[]``), or -1 as the last (``[0]``)."""
    count = number(subrange, "DW_AT_count")
    if count is None:
        last = number(subrange, "DW_AT_upper_bound")
        count = 0 if last is None else last + 1
    return count if 0 <= count < 1 << 31 else 0
