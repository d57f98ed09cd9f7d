"""ELF core files, as gdb's ``generate-core-file`` and QEMU's ``dump-guest-memory`` write them.

Source: the System V ABI, "Object Files"; the loadable segments are the memory.  Registers
and whatever else the notes hold are not read.

It reads the program headers itself, since a file may be cut short or damaged: each number is
checked against the file before it is used.  Not here: programs (ELF files with symbols).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from kheap.errors import DumpError

if TYPE_CHECKING:
    from kheap.dump.formats.containers import Container

__all__ = ["looks_like", "read"]

#: The most segments with bytes in the file that are read.
MAX_SEGMENTS = 1024
#: The most places where segments may hold different bytes; then no more are read.
MAX_OVERLAPS = 1000

_MAGIC = b"\x7fELF"
_LITTLE_ENDIAN = 1
_CORE = 4
_OTHER_KINDS = {1: "object file", 2: "program", 3: "program"}
_LOADABLE = 1
_MACHINES = {
    3: "x86",
    40: "arm",
    62: "x86_64",
    94: "xtensa",
    183: "arm64",
    243: "riscv",
}


class _Layout(NamedTuple):
    """How files of one class are read.

    ``header`` gives type, machine, and of the program headers: place, size, count.  ``segment``
    gives of one of them: type, place, virtual and physical address, bytes in the file.
    """

    bits: int
    header: Struct
    segment: Struct


_LAYOUTS = {
    1: _Layout(32, Struct("<16xHH8xI10xHH"), Struct("<5I")),
    2: _Layout(64, Struct("<16xHH12xQ14xHH"), Struct("<I4x4Q")),
}


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is an ELF file, of whatever kind."""
    return head.startswith(_MAGIC)


def read(data: memoryview, container: Container) -> None:
    """Read a core file into a container; a segment that is cut short is kept as far as it goes.

    Args:
        data: The file; :func:`looks_like` holds for it.
        container: What is filled.

    Raises:
        DumpError: It is no core file, is big-endian, or its headers are damaged.

    Complexity: O(segments * pieces of memory), for at most ``MAX_SEGMENTS``; nothing is copied.
    Segments together hold no more bytes than the file has.
    """
    path = container.path
    layout = _layout(data, path)
    kind, machine, table, step, count = layout.header.unpack_from(data)
    if kind in _OTHER_KINDS:
        reason = f"an ELF {_OTHER_KINDS[kind]}, not a dump: give it with --elf"
        raise DumpError(f"{path}: {reason}")
    if kind != _CORE:
        raise DumpError(f"{path}: an ELF file of type {kind}, not a core file")
    if step < layout.segment.size or table + step * count > len(data):
        reason = f"{count:,} program headers of {step} bytes at byte {table:,}"
        raise DumpError(f"{path}: damaged ELF header: {reason}, in a file of {len(data):,} bytes")
    container.machine, container.bits = _MACHINES.get(machine), layout.bits
    headers = (layout.segment.unpack_from(data, table + step * i) for i in range(count))
    _take_all(
        (fields for fields in headers if fields[0] == _LOADABLE and fields[4]), data, container
    )


def _layout(data: memoryview, path: str) -> _Layout:
    if len(data) < 6 or data[4] not in _LAYOUTS:
        raise DumpError(f"{path}: damaged ELF header: neither 32 nor 64 bits")
    if data[5] != _LITTLE_ENDIAN:
        raise DumpError(f"{path}: a big-endian ELF file; little-endian memory alone can be read")
    layout = _LAYOUTS[data[4]]
    if len(data) < layout.header.size:
        raise DumpError(f"{path}: damaged ELF header: the file ends in it, at byte {len(data)}")
    return layout


def _take_all(segments: Iterator[tuple[int, ...]], data: memoryview, container: Container) -> None:
    """Keep the bytes that the file has of segments; those that it only reserves are unknown."""
    memory = container.memory
    bytes_left = len(data)
    for index, (_, start, virtual, physical, count) in enumerate(segments):
        content = data[min(start, len(data)) :][:count]
        address = virtual or physical  # QEMU may leave the virtual one at 0
        bytes_left -= len(content)
        if index == MAX_SEGMENTS or len(memory.overlaps) > MAX_OVERLAPS or bytes_left < 0:
            container.notes.append(f"Only the first {index:,} segments were read: there are too "
                                   "many, or they overlap.")  # fmt: skip
            return
        if address + count > 1 << (container.bits or 64):
            reason = f"{count:,} bytes at {address:#x} reach behind the last address"
            container.notes.append(f"A segment was not read: {reason}.")
            continue
        if len(content) < count:
            lost = f"{count - len(content):,} of {count:,} bytes at {address:#x}"
            container.notes.append(f"The last {lost} are missing: the file was cut short.")
        memory.add(address, content, container.path)
