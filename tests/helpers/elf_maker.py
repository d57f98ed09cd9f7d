"""ELF programs: small ones written byte by byte, and real ones from the C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from struct import pack
from typing import NamedTuple

import pytest

MACHINES = {"x86": 3, "arm": 40, "x86_64": 62, "xtensa": 94, "arm64": 183, "riscv": 243}
KINDS = {"other": 0, "object": 1, "func": 2, "section": 3, "file": 4, "tls": 6}
BINDINGS = {"local": 0, "global": 1, "weak": 2}
PROGBITS, SYMTAB, STRTAB, NOBITS = 1, 2, 3, 8
ABSOLUTE = 0xFFF1
HEADER_BYTES, SECTION_BYTES = {32: 52, 64: 64}, {32: 40, 64: 64}

#: What a compiled source may begin with: the heap objects as Zephyr 4.4 declares them.
HEAP_TYPES = """
typedef __SIZE_TYPE__ size_t;
struct z_heap;
struct sys_heap { struct z_heap *heap; void *init_mem; size_t init_bytes; };
typedef struct _dnode { struct _dnode *head, *tail; } sys_dlist_t;
typedef struct { sys_dlist_t waitq; } _wait_q_t;
struct k_spinlock {};
struct k_heap { struct sys_heap heap; _wait_q_t wait_q; struct k_spinlock lock; };
"""


class Symbol(NamedTuple):
    """A symbol of the section around its address; ``is_absolute``: of none."""

    name: str
    address: int
    size: int = 0
    kind: str = "object"
    binding: str = "global"
    is_absolute: bool = False


class Section(NamedTuple):
    """A section; ``data`` is its bytes, or how many of them are only reserved.

    One without an address is not in the target's memory.
    """

    name: str
    address: int | None
    data: bytes | int
    writable: bool = True
    flags: int = 0


def make_elf(
    path, *, bits=32, machine="arm", symbols=(), sections=(), config=None, kind=2, order="<"
):
    """Write an ELF program and return its path.

    Args:
        path: Where.
        bits: 32 or 64.
        machine: A key of ``MACHINES``.
        symbols: ``Symbol`` tuples; None: no table of symbols.
        sections: ``Section`` tuples.
        config: Kconfig names (without ``CONFIG_``) and numbers: they become absolute symbols.
        kind: 1 object file, 2 program, 4 core file.
        order: "<" or ">".
    """
    rows = [(each, section_bytes(each)) for each in sections]
    if symbols is not None:
        made = [Symbol(f"CONFIG_{name}", value, is_absolute=True)
                for name, value in (config or {}).items()]  # fmt: skip
        table, names = symbol_table([*symbols, *made], sections, bits, order)
        rows.append((Section(".symtab", None, b""), (SYMTAB, table)))
        rows.append((Section(".strtab", None, b""), (STRTAB, names)))
    name_table = b"\0" + b"".join(each.name.encode() + b"\0" for each, _ in rows) + b".shstrtab\0"
    rows.append((Section(".shstrtab", None, b""), (STRTAB, name_table)))
    body, headers, name_at = b"", bytes(SECTION_BYTES[bits]), 1
    for number, (section, (section_kind, data)) in enumerate(rows, 1):
        flags = section.flags
        if section.address is not None:
            flags |= 2 | section.writable
        place, size = HEADER_BYTES[bits] + len(body), len(data)
        if section_kind == NOBITS:
            size = section.data
        link, row = (number + 1, 16 if bits == 32 else 24) if section_kind == SYMTAB else (0, 0)
        form = f"{order}10I" if bits == 32 else f"{order}IIQQQQIIQQ"
        fields = (name_at, section_kind, flags, section.address or 0, place, size, link, 1, 1, row)
        headers += pack(form, *fields)
        name_at += len(section.name) + 1
        body += data
    word = "I" if bits == 32 else "Q"
    sizes = (HEADER_BYTES[bits], 0, 0, SECTION_BYTES[bits], len(rows) + 1, len(rows))
    identity = b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1)) + bytes(9)
    form = f"{order}HHI3{word}I6H"
    end = HEADER_BYTES[bits] + len(body)
    head = pack(form, kind, MACHINES[machine], 1, 0, 0, end, 0, *sizes)
    Path(path).write_bytes(identity + head + body + headers)
    return Path(path)


def section_bytes(section):
    """A section's kind and the bytes that it has in the file."""
    if isinstance(section.data, int):
        return NOBITS, b""
    return PROGBITS, section.data


def symbol_table(symbols, sections, bits, order):
    """The bytes of a table of symbols, and of their names."""
    table, names = bytes(16 if bits == 32 else 24), b"\0"
    for each in symbols:
        info = BINDINGS[each.binding] << 4 | KINDS[each.kind]
        place = ABSOLUTE if each.is_absolute else section_around(each.address, sections)
        if bits == 32:
            table += pack(f"{order}IIIBBH", len(names), each.address, each.size, info, 0, place)
        else:
            table += pack(f"{order}IBBHQQ", len(names), info, 0, place, each.address, each.size)
        names += each.name.encode() + b"\0"
    return table, names


def section_around(address, sections):
    """The number of the section that holds an address or ends there; 0 if none does."""
    for number, section in enumerate(sections, 1):
        size = section.data if isinstance(section.data, int) else len(section.data)
        if section.address is not None and section.address <= address <= section.address + size:
            return number
    return 0


def compile_elf(folder, *sources, bits=64, compiler="cc", flags=(), name="program"):
    """Compile and link C sources with debug information, without any library.

    ``_start`` is the entry.  The test is skipped where the compiler is not to be had, or
    does not serve these bits.
    """
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    files = [f"{name}{number}.c" for number in range(len(sources))]
    for file, source in zip(files, sources, strict=True):
        Path(folder, file).write_text(source, encoding="utf-8")
    width = ["-m32"] if bits == 32 and compiler == "cc" else []
    # The folder's name does not get in, so that the same source gives the same bytes.
    command = [compiler, *width, "-g", "-nostdlib", "-static", "-ffreestanding", *flags]
    command += [f"-fdebug-prefix-map={folder}=.", "-o", name, *files]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode and width:
        pytest.skip(f"{compiler} does not make 32-bit programs here")
    assert run.returncode == 0, run.stderr
    return Path(folder, name)
