"""``open_dump``: all heaps of a dump.

It owns putting the parts together: the container's memory, the program, the heaps found, and
what a console log says besides.  Read next: ``containers.py`` (file formats), ``image.py`` (the
program), ``find.py`` (the heaps), ``heap_image.py`` (one of them), ``console.py`` (texts).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kheap.dump.console import ConsoleLog, read_console
from kheap.dump.console._printed_heap import PrintedHeap
from kheap.dump.diagnosis import diagnose
from kheap.dump.find import Finder
from kheap.dump.formats.containers import Container, read_container
from kheap.dump.heap_image import HeapImage
from kheap.dump.memory import Memory
from kheap.dump.program.image import Image, read_image
from kheap.errors import DumpError
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

__all__ = ["Dump", "open_dump"]

#: The most bytes that are rebuilt from one log; a few lines of text can claim any size.
REBUILT_BYTES = 256 << 20

_MIN_DUMP = (
    "it seems to hold one thread only: CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_MIN keeps no heap;"
    " CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_LINKER_RAM does"
)


@dataclass(slots=True)
class Dump:
    """A dump, opened.

    Attributes:
        container: What its files hold, by format; its path, machine and facts.
        heaps: Every heap found, by address.
        image: The program, if one was given.
        console: What its text says, where it is a console log.
        notes: What was not found or is doubtful, a sentence each.
    """

    container: Container
    heaps: list[HeapImage] = field(default_factory=list)
    image: Image | None = None
    console: ConsoleLog | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The first file, as it was named."""
        return self.container.path

    @property
    def format(self) -> str:
        """Of the files."""
        return self.container.format

    @property
    def memory(self) -> Memory:
        """What is known of the target's memory."""
        return self.container.memory

    def heap(self, name: str) -> HeapImage:
        """The heap of that name, or at that address ("0x20000718").

        Raises:
            DumpError: There is none; the text names those that are there.
        """
        address = None
        with suppress(ValueError):
            address = int(name, 16 if name[:2] in ("0x", "0X") else 10)
        for heap in self.heaps:
            if name == heap.name or address in (heap.address, heap.first_address):
                return heap
        names = ", ".join(heap.name for heap in self.heaps) or "none"
        raise DumpError(f"{self.path}: no heap is called {name!r}; there are: {names}")


def open_dump(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    elf: str | os.PathLike[str] | None = None,
    base: int | None = None,
    profile: Profile | None = None,
) -> Dump:
    """Open a dump and find every heap in it; no file is changed.

    Args:
        path: A Zephyr core dump (binary, or the ``#CD:`` lines of a console log), an ELF core, a
            RAM image, Intel HEX, S-records, or a console log with ``sys_heap_print_info()``
            output; packed with gzip or zstd or not. Several: parts of one target's memory.
        elf: The program, ``zephyr.elf``: names, layouts and configuration come from it. None:
            memory is scanned for heaps.
        base: The address of a RAM image's first byte.
        profile: Which Zephyr; None: as the program says, else as the bytes say.

    Raises:
        DumpError: A file cannot be read as any of these.
        OSError: A file cannot be opened.

    Complexity: O(bytes).
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    container = read_container([Path(p) if not isinstance(p, str) else p for p in paths], base=base)
    image = read_image(Path(elf)) if elf is not None else None
    dump = Dump(container, image=image, notes=list(container.notes))
    if image is not None:
        dump.notes += image.notes
    if container.console is not None:
        dump.console = read_console(container.console, container.path)
        dump.notes += dump.console.notes
    _find_heaps(dump, profile)
    _rebuild_heaps(dump)
    if not dump.heaps and container.is_min_dump:
        dump.notes.append(_MIN_DUMP)
    return dump


def _find_heaps(dump: Dump, profile: Profile | None) -> None:
    container = dump.container
    finder = _searched(dump, profile)
    base = finder.told_base
    if base is not None and base >= 0 and len(container.memory.segments) == 1:
        _move(container, base)
        finder = _searched(dump, profile)
        dump.notes.append(f"by the canaries of its heaps the image lies at {base:#x}")
    elif not container.based:
        dump.notes.append("addresses count from the file's first byte: --base tells its address")
    dump.heaps = finder.heaps
    dump.notes += finder.notes


def _searched(dump: Dump, profile: Profile | None) -> Finder:
    container = dump.container
    finder = Finder(
        container.memory,
        dump.image,
        profile,
        bits=container.bits,
        release=dump.console.release if dump.console else None,
        is_based=container.based,
    )
    finder.look()
    return finder


def _move(container: Container, base: int) -> None:
    """Place an image whose address nobody told."""
    memory = Memory()
    for segment in container.memory.segments:
        memory.add(base + segment.address, segment.data, segment.source)
    container.memory, container.based = memory, True


def _rebuild_heaps(dump: Dump) -> None:
    """Add the heaps that a console log prints whole and whose memory the dump does not hold."""
    if dump.console is None:
        return
    known = {heap.first_address for heap in dump.heaps}
    left = REBUILT_BYTES
    for printed in reversed(dump.console.heaps):
        if printed.address in known or 8 * printed.end_chunk > left:
            continue
        region = printed.rebuild()
        if region is not None:
            known.add(printed.address)
            left -= len(region)
            dump.heaps.append(_rebuilt(printed, region))
    dump.heaps.sort(key=lambda heap: heap.address)


def _rebuilt(printed: PrintedHeap, region: bytes) -> HeapImage:
    heap = SysHeap.open(bytearray(region), printed.profile(), printed.address)
    how = (
        f"rebuilt from the chunk dump at line {printed.line}; what the blocks hold and the order"
        " of the free lists are not known"
    )
    name = f"heap@{printed.address:#x}"
    return HeapImage(name, heap, diagnose(heap), how, held_bytes=len(region), has_contents=False)
