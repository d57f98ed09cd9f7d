"""The container of a program: an ELF file's header and its sections.

pyelftools reads it; what it says is checked here against the file before it is used, so that
damaged files are refused with one line.  What it does not: core files (``_elf_core.py``), and
what sections hold (``_symbols.py``, ``_debug_units.py``).
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import NamedTuple

from elftools.common.exceptions import ELFError, ELFParseError
from elftools.common.utils import struct_parse
from elftools.construct.lib.container import Container
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from kheap.dump.program._symbols import name_at
from kheap.errors import DumpError

__all__ = ["ElfProgram", "ElfSection"]

#: A firmware has about a hundred.
MOST_SECTIONS = 10_000

_KINDS = {"ET_REL": "an object file, which is not linked",
          "ET_CORE": "a core file: give it as the dump"}  # fmt: skip
_PROGRAMS = ("ET_EXEC", "ET_DYN")
_NO_CONTENT, _SYMBOL_TABLE, _ZLIB = "SHT_NOBITS", "SHT_SYMTAB", "ELFCOMPRESS_ZLIB"
#: Words for machines, where they are not those of pyelftools without "EM_".
_MACHINES = {"EM_386": "x86", "EM_AARCH64": "arm64", "EM_ARC_COMPACT2": "arc", 253: "arc",
             255: "arc"}  # fmt: skip


class ElfSection(NamedTuple):
    """A section: its name, and its header as pyelftools tells it."""

    name: str
    header: Container

    @property
    def address(self) -> int:
        """Where it lies in the target's memory."""
        return int(self.header["sh_addr"])

    @property
    def size(self) -> int:
        """Bytes, in the file or, where it is only reserved, in memory."""
        return int(self.header["sh_size"])

    @property
    def link(self) -> int:
        """The number of the section that this one needs, as symbols need their names."""
        return int(self.header["sh_link"])

    @property
    def is_symbol_table(self) -> bool:
        """Whether it holds the symbols of the program."""
        return bool(self.header["sh_type"] == _SYMBOL_TABLE)

    @property
    def is_in_memory(self) -> bool:
        """Whether it is in the target's memory, at one address."""
        flags = self.header["sh_flags"]
        return bool(flags & SH_FLAGS.SHF_ALLOC and not flags & SH_FLAGS.SHF_TLS)

    @property
    def is_allocated(self) -> bool:
        """Whether it is in memory, be it once for each thread."""
        return bool(self.header["sh_flags"] & SH_FLAGS.SHF_ALLOC)

    @property
    def is_writable(self) -> bool:
        """Whether a program may write to it."""
        return bool(self.header["sh_flags"] & SH_FLAGS.SHF_WRITE)


class ElfProgram:
    """A linked little-endian program.

    Attributes:
        bits: 32 or 64.
        machine: "arm", "riscv" ..., or the number where pyelftools has no name for it.
        sections: In the file's order, at most 10,000.

    Raises:
        DumpError: The bytes are no such program, or its headers are damaged.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self._path = path
        self._content = memoryview(content)
        try:
            self._file = ELFFile(BytesIO(content))
        except ELFParseError:
            raise self._error(f"it ends in its header, at byte {len(content)}") from None
        except (ELFError, AssertionError, ValueError) as error:
            raise self._error(f"its header: {error}") from None
        if not self._file.little_endian:
            raise self._error("big-endian; little-endian programs alone can be read")
        kind, machine = self._file["e_type"], self._file["e_machine"]
        if kind not in _PROGRAMS:
            raise self._error(_KINDS.get(kind, f"of type {kind}, not a program"))
        self.bits = self._file.elfclass
        self.machine = _MACHINES.get(machine, str(machine).removeprefix("EM_").lower())
        try:
            self.sections = self._read_sections()
        except ELFError as error:
            raise self._error(f"its section headers: {error}") from None

    def content(self, section: ElfSection) -> memoryview:
        """A section's bytes, as they are in the file.

        Raises:
            DumpError: The file does not have them.
        """
        if section.header["sh_type"] == _NO_CONTENT:
            return self._content[:0]
        start = section.header["sh_offset"]
        end = start + section.size
        if end > len(self._content):
            raise self._error(
                f"its section {section.name} ends at byte {end:,} of {len(self._content):,}:"
                " it was cut short"
            )
        return self._content[start:end]

    def plain(self, section: ElfSection, most_bytes: int) -> bytes:
        """A section's bytes, decompressed if need be.

        Raises:
            DumpError: The file does not have them, they cannot be decompressed, or there are
                more than ``most_bytes``.
        """
        data, where = self.content(section), f"its section {section.name}"
        try:
            made = Section(section.header, section.name, self._file)
            if made.data_size > most_bytes:
                reason = f"has {made.data_size:,} bytes of the {most_bytes:,} that are read"
                raise self._error(f"{where} {reason}")
            if not made.compressed or not data:
                return bytes(data)
            head = struct_parse(self._file.structs.Elf_Chdr, BytesIO(data[:64]))
            if head["ch_type"] != _ZLIB:
                raise self._error(f"{where} is compressed, but not with zlib")
            # To zlib, 0 bytes at most are bytes without end.
            return made.data() if made.data_size else b""
        except (ELFError, zlib.error) as error:
            raise self._error(f"{where} is damaged: {error}") from None

    def _read_sections(self) -> list[ElfSection]:
        file, row = self._file, self._file.structs.Elf_Shdr
        place, step = file["e_shoff"], file["e_shentsize"]
        count = file.num_sections()
        if not place or not count:
            raise self._error("it has no sections")
        if (
            step < row.sizeof()
            or place + step * count > len(self._content)
            or (count > MOST_SECTIONS)
        ):
            reason = f"{count:,} section headers of {step} bytes at byte {place:,}"
            raise self._error(f"damaged: {reason}, in a file of {len(self._content):,} bytes")
        headers = [struct_parse(row, file.stream, place + step * i) for i in range(count)]
        named_by = file.get_shstrndx()
        # A name is cut: pyelftools would read one to its end, for each section again.
        names = self.content(ElfSection("", headers[named_by])) if named_by < count else b""
        table = bytes(names)
        return [ElfSection(name_at(table, header["sh_name"]), header) for header in headers]

    def _error(self, reason: str) -> DumpError:
        return DumpError(f"{self._path}: not a readable ELF file: {reason}")
