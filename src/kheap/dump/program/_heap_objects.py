"""The heaps that a Zephyr program has, as its ELF file tells them.

What it owns: the objects (``struct k_heap``, ``struct sys_heap``), by this order of trust: the
list that K_HEAP_DEFINE adds to, debug information, symbols; and their names and regions.  What
it does not: reading symbols and debug information (``_symbols.py``, ``_debug_types.py``), and
what the heaps hold (``find.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import gcd
from typing import TYPE_CHECKING

from kheap.dump.program._symbols import Symbol, Symbols

if TYPE_CHECKING:
    from kheap.dump.program._debug_types import DebugTypes, Variable

__all__ = ["HeapObject", "HeapObjects", "Section", "default_offset"]

MOST_OBJECTS = 4096

#: Words in struct k_heap: with an empty spinlock, with one of a word, and the most.
_K_HEAP_WORDS, _MOST_K_HEAP_WORDS = (5, 6), 12
#: In words, the same since 2.6; a wait queue is a list of two words, its head and its tail.
_OFFSETS: dict[tuple[str, ...], int] = {
    ("sys_heap", "heap"): 0,
    ("sys_heap", "init_mem"): 1,
    ("sys_heap", "init_bytes"): 2,
    ("k_heap", "heap"): 0,
    ("k_heap", "wait_q"): 3,
}
_LIST = "the k_heap list"
_BUFFER_PREFIX = "kheap_"  # K_HEAP_DEFINE(name, ...) calls the region of its heap so


@dataclass(frozen=True, slots=True)
class Section:
    """A section that is in the target's memory."""

    name: str
    address: int
    size: int
    writable: bool

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class HeapObject:
    """A heap of the program.

    Attributes:
        name: The variable, "ctx.pool" for its member, "heaps[2]" for its element; where two
            heaps have one name, "@0x20000100" is added.
        address: Of the object.
        kind: "k_heap" or "sys_heap".
        buffer: Address and size of its region, where a symbol tells it.
        how: Who says so: "the k_heap list", "DWARF: struct k_heap", "its symbol".
    """

    name: str
    address: int
    kind: str
    buffer: tuple[int, int] | None
    how: str


def default_offset(bits: int, struct: str, *members: str) -> int | None:
    """The offset of a member of ``sys_heap`` or ``k_heap`` where no debug information tells it.

    >>> default_offset(32, "k_heap", "wait_q")
    12
    """
    words = _OFFSETS.get((struct, *members))
    return None if words is None else words * bits // 8


class HeapObjects:
    """The search for heaps in one program.

    Args:
        symbols: Its symbols.
        sections: What is in memory.
        bits: 32 or 64.
        types: Its debug information; None: it has none.
        notes: Where to say what is not as it should be.
    """

    def __init__(
        self,
        symbols: Symbols,
        sections: list[Section],
        bits: int,
        types: DebugTypes | None,
        notes: list[str],
    ) -> None:
        self._symbols, self._types, self._notes = symbols, types, notes
        self._bits = bits
        self._writable = [section for section in sections if section.writable]
        self._buffers: dict[str, list[Symbol]] = {}
        for symbol in symbols.objects:
            if symbol.name.startswith(_BUFFER_PREFIX):
                name = symbol.name.removeprefix(_BUFFER_PREFIX)
                self._buffers.setdefault(name, []).append(symbol)

    def all(self) -> list[HeapObject]:
        """Every heap that is known, by address; at most 4,096."""
        debug = list(islice(self._from_debug(), MOST_OBJECTS + 1))
        names = {each.address: each.name for each in debug}
        found: dict[int, HeapObject] = {}
        for each in chain(self._from_list(names), debug, self._from_symbols()):
            if self._is_variable(each.address, 3 * self._bits // 8):
                found.setdefault(each.address, each)
        if len(found) > MOST_OBJECTS:
            self._notes.append(f"of more than {MOST_OBJECTS:,} heaps, only so many are told")
        counts = Counter(each.name for each in found.values())
        objects = [
            replace(each, name=f"{each.name}@{each.address:#x}") if counts[each.name] > 1 else each
            for each in found.values()
        ]
        return sorted(objects[:MOST_OBJECTS], key=lambda each: each.address)

    def array(self, count: int) -> tuple[int, int] | None:
        """Address and length of the array of pointers to heaps (CONFIG_SYS_HEAP_ARRAY_SIZE)."""
        size = count * self._bits // 8
        found = [s for s in self._symbols.objects if s.name == "heaps" and s.size == size]
        if len(found) > 1:
            self._notes.append(f"there are {len(found)} arrays 'heaps' of {size} bytes: not used")
        return (found[0].address, count) if count > 0 and len(found) == 1 else None

    # ------------------------------------------------------------------ the list

    def _from_list(self, names: dict[int, str]) -> Iterator[HeapObject]:
        start = self._symbols.named("_k_heap_list_start")
        end = self._symbols.named("_k_heap_list_end")
        if start is None or end is None or end.address <= start.address:
            return
        length = end.address - start.address
        size = self._size_in_list(start.address, end.address)
        if size is None or length // size > MOST_OBJECTS:
            self._notes.append(
                f"the k_heap list at {start.address:#x} is not read: its {length:,} bytes cannot"
                f" be cut into up to {MOST_OBJECTS:,} heaps of one size"
            )
            return
        for address in range(start.address, end.address, size):
            symbol = self._symbols.at(address)
            is_own = symbol is not None and symbol.kind == "object" and symbol.size == size
            name = symbol.name if symbol is not None and is_own else names.get(address)
            name = name or f"k_heap@{address:#x}"
            yield HeapObject(name, address, "k_heap", self._buffer(name), _LIST)

    def _size_in_list(self, start: int, end: int) -> int | None:
        """The size of struct k_heap, which must divide the list."""
        told = self._types.size_of("k_heap") if self._types else None
        if told:
            return told if (end - start) % told == 0 else None
        inside = [s for s in self._symbols.objects if start <= s.address and s.end <= end]
        step = gcd(end - start, *(s.address - start for s in inside))
        if inside and step % inside[0].size == 0 and self._is_k_heap(inside[0]):
            return inside[0].size
        sizes = [words * self._bits // 8 for words in _K_HEAP_WORDS]
        fitting = [size for size in sizes if step % size == 0]
        return fitting[0] if len(fitting) == 1 else None

    def _is_k_heap(self, symbol: Symbol) -> bool:
        """Whether an object has a size that struct k_heap can have."""
        words = symbol.size * 8 // self._bits
        return symbol.kind == "object" and _K_HEAP_WORDS[0] <= words <= _MOST_K_HEAP_WORDS

    # ------------------------------------------------------------------ debug information

    def _from_debug(self) -> Iterator[HeapObject]:
        for variable in self._types.variables() if self._types else ():
            address = self._address_of(variable)
            if address is None:
                continue
            for heap in variable.heaps:
                name = variable.name + heap.path
                place, how = address + heap.offset, f"DWARF: struct {heap.kind}"
                yield HeapObject(name, place, heap.kind, self._buffer(name), how)

    def _address_of(self, variable: Variable) -> int | None:
        """Where a variable lies; None if the linker dropped it."""
        address = variable.address
        if address is None:
            symbol = self._symbols.named(variable.name)
            is_it = symbol and symbol.kind == "object" and symbol.size == variable.size
            address = symbol.address if symbol and is_it else None
        # Linkers give 0 to what they drop; where memory begins at 0, the symbols decide.
        if address is None or (address == 0 and self._symbols.at(0) is None):
            return None
        return address if self._is_variable(address, variable.size) else None

    def _is_variable(self, address: int, size: int) -> bool:
        """Whether so many bytes are in memory that a program may write to."""
        end = address + size
        return any(each.address <= address and end <= each.end for each in self._writable)

    # ------------------------------------------------------------------ symbols

    def _from_symbols(self) -> Iterator[HeapObject]:
        word = self._bits // 8
        for name in {"_system_heap": None, **self._buffers}:
            symbol = self._symbols.named(name)
            if symbol and self._is_k_heap(symbol):
                yield HeapObject(name, symbol.address, "k_heap", self._buffer(name), "its symbol")
        libc = self._symbols.named("z_malloc_heap")
        if libc and libc.kind == "object" and libc.size == 3 * word:
            yield HeapObject(libc.name, libc.address, "sys_heap", None, "its symbol")

    def _buffer(self, name: str) -> tuple[int, int] | None:
        """The region that K_HEAP_DEFINE gave to a heap; None where two have this name."""
        found = self._buffers.get(name, ())
        return (found[0].address, found[0].size) if len(found) == 1 else None
