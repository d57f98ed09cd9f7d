"""A Zephyr program as an ELF file: configuration, symbols, layouts, initial memory and heaps.

It owns what can be known without the target's memory, in one object.  What it does not: how the
heaps of a program are found (``_heap_objects.py``), sections, symbols and debug information
(``_elf_sections.py``, ``_symbols.py``, ``_debug_types.py``), and what the heaps hold
(``find.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kheap.dump.memory import Memory
from kheap.dump.program._heap_objects import HeapObject, HeapObjects, Section, default_offset
from kheap.dump.program._symbols import MOST_SYMBOLS, Symbol, Symbols
from kheap.errors import DumpError
from kheap.profile import Profile, banner_release, profile_of_options

if TYPE_CHECKING:
    from kheap.dump.program._debug_types import DebugTypes
    from kheap.dump.program._elf_sections import ElfProgram

__all__ = ["HeapObject", "Image", "Section", "Symbol", "default_offset", "read_image"]

#: No firmware's file is larger, nor its debug information when it is decompressed.
MOST_BYTES = 1 << 28


class Image:
    """A program; :func:`read_image` makes it.

    Attributes:
        path: Of the file.
        bits: 32 or 64.
        machine: "arm", "arm64", "riscv", "x86", "x86_64", "xtensa" ..., else ELF's
            name for it without "EM_", in small letters, or its number.
        config: Kconfig names without ``CONFIG_``, and values; values that are texts are not
            in an ELF.
        profile: Which Zephyr; None where the file has no ``CONFIG_`` symbols.
        knows_release: Whether the image names its release; else the profile's is a guess.
        notes: What is missing or not as it should be, a line each.
        sections: What is in the target's memory, with or without contents, by address.
        memory: The contents of these (code, constants, initial data) where the program runs.
        objects: Every heap that is known, by address.
        heap_array: Address and length of Zephyr's array of pointers to all heaps
            (CONFIG_SYS_HEAP_ARRAY_SIZE); it is filled when the program runs.
    """

    def __init__(self, path: str, content: bytes) -> None:
        from kheap.dump.program._elf_sections import ElfProgram  # Loads pyelftools.

        self.path = path
        self.notes: list[str] = []
        self.knows_release = False
        program = ElfProgram(path, content)
        self.bits, self.machine = program.bits, program.machine
        self.sections: list[Section] = []
        self.memory = Memory()
        self._read_memory(program, len(content))
        self._symbols = self._read_symbols(program)
        self.config = self._symbols.config
        self.profile = self._read_profile(content)
        self._types = self._read_types(program)
        search = HeapObjects(self._symbols, self.sections, self.bits, self._types, self.notes)
        self.objects: list[HeapObject] = search.all()
        self.heap_array = search.array(int(self.config.get("SYS_HEAP_ARRAY_SIZE", "0")))
        if self._types is not None and self._types.failure is not None:
            self.notes.append(f"debug information cannot be read: {self._types.failure}")

    def symbol_at(self, address: int) -> str | None:
        """What lies at an address: "g_ctx", "g_ctx+0x10", None outside all symbols.

        Symbols without size cover their first byte alone.  Complexity: O(log symbols).
        """
        return self._symbols.text_at(address)

    def exact_symbol(self, address: int) -> Symbol | None:
        """The symbol that begins at an address; of several, sized ones go first."""
        return self._symbols.at(address)

    def symbol(self, name: str) -> Symbol | None:
        """The symbol of a name; of several, sized and then global ones go first."""
        return self._symbols.named(name)

    def overlapping(self, start: int, end: int) -> list[Section | Symbol]:
        """The sections and sized objects that share bytes with [start, end).

        The largest goes first.  Complexity: O(symbols).
        """
        everything: list[Section | Symbol] = [*self.sections, *self._symbols.objects]
        found = [each for each in everything if each.address < end and start < each.end]
        return sorted(found, key=lambda each: (-each.size, each.name))

    def offset_of(self, struct: str, *members: str) -> int | None:
        """The offset of a member (of a member ...) of a structure, in bytes.

        Members of anonymous members count as members.  None where there is no debug
        information, or no such member; :func:`default_offset` knows those of heaps then.

        Complexity: a search through the debug information, once for each structure.
        """
        return None if self._types is None else self._types.offset_of(struct, *members)

    def size_of(self, struct: str) -> int | None:
        """Bytes of a structure; None as for :meth:`offset_of`."""
        return None if self._types is None else self._types.size_of(struct)

    # ------------------------------------------------------------------ reading

    def _read_memory(self, program: ElfProgram, bytes_left: int) -> None:
        for each in program.sections:
            if not each.is_in_memory or not each.size:
                continue
            self.sections.append(Section(each.name, each.address, each.size, each.is_writable))
            data = program.content(each)
            bytes_left -= len(data)
            if bytes_left < 0:
                raise DumpError(f"{self.path}: not a readable ELF file: its sections overlap")
            self.memory.add(each.address, data, f"section {each.name} of {self.path}")
        self.sections.sort(key=lambda section: section.address)

    def _read_symbols(self, program: ElfProgram) -> Symbols:
        sections = program.sections
        allocated = {i for i, each in enumerate(sections) if each.is_allocated}
        table = next((each for each in sections if each.is_symbol_table), None)
        rows, names = b"", b""
        if table is None or table.link >= len(sections):
            self.notes.append("no symbols: the file is stripped")
        else:
            rows = program.plain(table, MOST_SYMBOLS * (16 if self.bits == 32 else 24))
            names = program.plain(sections[table.link], MOST_BYTES)
        return Symbols(rows, names, self.bits, allocated, is_arm=self.machine == "arm")

    def _read_profile(self, content: bytes) -> Profile | None:
        if not self.config:
            self.notes.append("no CONFIG_ symbols: not a Zephyr ELF, or stripped")
            return None
        release = banner_release(content)
        self.knows_release = release is not None
        if release is None:
            self.notes.append("no boot banner tells the Zephyr release: taken to be 4.4")
        try:
            return profile_of_options(self.config, release or "4.4", bits=self.bits)
        except ValueError as error:
            self.notes.append(f"its configuration is none that heaps can have: {error}")
            return None

    def _read_types(self, program: ElfProgram) -> DebugTypes | None:
        from kheap.dump.program._debug_types import DebugTypes
        from kheap.dump.program._debug_units import FAILURES, SECTIONS, Units

        wanted = [each for each in program.sections if each.name in SECTIONS]
        if not any(each.name == ".debug_info" for each in wanted):
            self.notes.append("no debug information: heaps are known by their symbols alone")
            return None
        contents: dict[str, bytes] = {}
        bytes_left = MOST_BYTES
        try:
            for each in wanted:
                contents[each.name] = program.plain(each, bytes_left)
                bytes_left -= len(contents[each.name])
            return DebugTypes(Units(contents, self.bits))
        except (DumpError, *FAILURES) as error:
            reason = str(error).removeprefix(f"{self.path}: not a readable ELF file: ")
            self.notes.append(f"debug information cannot be read: {reason}")
            return None


def read_image(path: str | Path) -> Image:
    """Read the ELF of a Zephyr program, of up to 256 MiB.

    Raises:
        DumpError: It is no readable little-endian ELF of a linked program.
        OSError: The file cannot be opened or read.

    Complexity: O(symbols log symbols + debug information); damaged debug information costs
    no more, and what is sound before the damage counts.
    """
    with open(path, "rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DumpError(f"{path}: more than the {MOST_BYTES:,} bytes that a program may have")
    return Image(str(path), content)
