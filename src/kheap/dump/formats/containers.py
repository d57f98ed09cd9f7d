"""Files that hold a target's memory, whatever their format.

It owns telling the formats apart, by content alone; unpacking gzip (RFC 1952) and Zstandard
(RFC 8878); images without addresses; and making one :class:`Memory` of several files.  What
each format says: ``_coredump.py``, ``_coredump_log.py``, ``_elf_core.py``, ``_hex.py``, and
for readers of the documentation ``docs/reference/dump-formats.md``.

Not here: heaps.  Next: ``memory.py``.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import stat
import sys
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from kheap.dump.formats import _coredump, _coredump_log, _elf_core, _hex
from kheap.dump.memory import Memory
from kheap.errors import DumpError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["MAX_BYTES", "MAX_TEXT_BYTES", "Container", "read_container"]

#: The most bytes that a file may have when it is unpacked, or that cannot be mapped.
MAX_BYTES = 1 << 30
#: The most bytes of a text: a console log, Intel HEX, S-records.
MAX_TEXT_BYTES = 1 << 27

_MAP_BYTES = 1 << 24  # from here on a file is mapped: only what is looked at is read
_BLOCK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_DAMAGE = (gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError)
_ADDRESS_SPACE = 1 << 64
_NAME_AND_ADDRESS = re.compile(r"(.+)@(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})", re.DOTALL)

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SAMPLE_BYTES = 1 << 16
_PRINTABLE_SHARE = 0.9
_ZERO_SHARE = 0.01
_WHITE = frozenset("\t\n\v\f\r\b\a\x1b")

# What the dump of one thread has at most: its k_thread, its stack, and with user mode the
# stack that the kernel uses for it.
_THREAD_BLOCKS = 3
_K_THREAD_BYTES = 1024
_THREAD_BYTES = 1 << 16


@dataclass(slots=True)
class Container:
    """What one file, or several of one target, hold.

    Attributes:
        path: The first file, as the caller named it.
        format: "coredump", "coredump log", "elf core", "intel hex", "srec", "raw" or "text";
            of several files each that occurs, joined by " + ".
        memory: The memory; empty for a text without any.
        machine: "arm", "arm64", "riscv", "x86", "x86_64" or "xtensa"; None where nothing tells.
        bits: Width of an address, 32 or 64; None where nothing tells.
        facts: What else the file says of the target: "version" of the format, "target",
            "reason" of the dump, whether its "checksum" is right or wrong.
        notes: What is missing, damaged or doubtful, as sentences for people.
        console: The text, where the file is a console log, with a core dump or without.
        kernel: The bytes of ``struct z_kernel``, where a core dump has them.
        based: False for an image whose address nobody told; it lies at 0.
        block_bytes: Sizes of a core dump's memory blocks, as the blocks themselves say.
    """

    path: str
    format: str
    memory: Memory
    machine: str | None = None
    bits: int | None = None
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    console: str | None = None
    kernel: bytes | None = None
    based: bool = True
    block_bytes: list[int] = field(default_factory=list)

    @property
    def is_min_dump(self) -> bool:
        """Whether this seems to be a core dump of one thread (CONFIG_..._MEMORY_DUMP_MIN).

        Such a dump has no heap: its blocks are the thread's ``struct k_thread`` and its stack,
        with user mode a second stack.  So it is one to three blocks, the first one of at most
        1,024 bytes, of less than 64 KiB together.  All RAM in one block is larger than that.
        """
        return (
            self.format in ("coredump", "coredump log")
            and 1 <= len(self.block_bytes) <= _THREAD_BLOCKS
            and self.block_bytes[0] <= _K_THREAD_BYTES
            and sum(self.block_bytes) < _THREAD_BYTES
        )


def read_container(
    paths: Sequence[str | Path], *, base: int | Sequence[int | None] | None = None
) -> Container:
    """Read files that hold memory of one target, as far as they can be read.

    Each file may have any format; content tells which.  Where files overlap, the earlier one
    counts.  Large files are mapped, and stay so while their memory is in use.

    Args:
        paths: The files.  ``FILE@ADDRESS`` is an image and the address of its first byte,
            decimal or hexadecimal, unless a file has that whole name.
        base: The address of the one image without ``@ADDRESS`` among them; or an address or
            None for each file.

    Returns:
        A container; what could not be read is in its notes.

    Raises:
        DumpError: A file is empty, cannot be unpacked, is larger than ``MAX_BYTES`` unpacked
            or ``MAX_TEXT_BYTES`` as a text, is no dump (an ELF program), or has a damaged
            record; several images have no address.
        OSError: A file cannot be opened or read.
        ValueError: There are no ``paths``, or not as many addresses as paths.

    Complexity: O(bytes); O(1) for an image of 16 MiB or more that is not packed.
    """
    if not paths:
        raise ValueError("paths is empty: expected at least one file")
    each = [None] * len(paths) if base is None or isinstance(base, int) else list(base)
    if len(each) != len(paths):
        raise ValueError(f"base has {len(each)} addresses for {len(paths)} files")
    files = [_File(os.fspath(path)) for path in paths]
    for file, address in zip(files, each, strict=True):
        file.tell(address)
    images = [file for file in files if file.image is not None and file.address is None]
    if len(images) > 1:
        name = images[0].container.path
        raise DumpError(f"{name}: one of several images without an address: write {name}@ADDRESS")
    if isinstance(base, int):
        (images or files)[0].tell(base)
    for file in files:
        file.place()
    containers = [file.container for file in files]
    return containers[0] if len(containers) == 1 else _merged(containers)


class _File:
    """A file that was read: a container, and where that is an image, bytes without an address.

    Attributes:
        address: Of the first byte, as far as it was told.
    """

    def __init__(self, name: str) -> None:
        path, address = _split(name)
        data = _load(path, name)
        if not data:
            raise DumpError(f"{name}: an empty file")
        self.container = Container(name, "raw", Memory())
        self.image = None if _recognise(data, self.container) else data
        self.address: int | None = None
        self.tell(address)

    def tell(self, address: int | None) -> None:
        """Give an image its address; whatever has one already keeps it."""
        if address is None:
            return
        if self.image is not None and self.address is None:
            self.address = address
            return
        reason = "its name tells another"
        if self.image is None:
            reason = f"this file is no image but {self.container.format!r}"
        self.container.notes.append(f"The address {address:#x} was not used: {reason}.")

    def place(self) -> None:
        """Put an image at its address, and say what is doubtful."""
        container = self.container
        if self.image is not None:
            container.based = self.address is not None
            start = self.address or 0
            if not 0 <= start <= _ADDRESS_SPACE - len(self.image):
                reason = f"{len(self.image):,} bytes at {start:#x} exceed the address space"
                raise DumpError(f"{container.path}: {reason}")
            container.memory.add(start, self.image, container.path)
        elif not container.memory.segments and container.format != "text":
            container.notes.append("It holds no memory.")
        _note_overlaps(container)


def _split(name: str) -> tuple[str, int | None]:
    """The file that a name means, and the address behind it."""
    match = _NAME_AND_ADDRESS.fullmatch(name)
    if match is None or os.path.exists(name):
        return name, None
    path, digits = match.groups()
    return path, int(digits, 16 if digits[:2] in ("0x", "0X") else 10)


def _recognise(data: memoryview, container: Container) -> bool:
    """Read a file whose format its content tells; False for an image of memory."""
    head = bytes(data[:_SAMPLE_BYTES])
    if _elf_core.looks_like(head):
        container.format = "elf core"
        _elf_core.read(data, container)
        return True
    start = _coredump.find(head)
    if start is not None:
        container.format = "coredump"
        _coredump.read(data[start:], container)
        return True
    text = _text(data, head, container.path)
    if text is not None:
        _read_text(text, container)
    return text is not None


def _read_text(text: bytes, container: Container) -> None:
    if _hex.is_intel_hex(text):
        container.format = "intel hex"
        _hex.read_intel_hex(text, container)
    elif _hex.is_srec(text):
        container.format = "srec"
        _hex.read_srec(text, container)
    else:
        container.format = "text"
        container.console = text.decode("utf-8", "replace")
        if _coredump_log.looks_like(text):
            container.format = "coredump log"
            _coredump_log.read(text, container)


def _text(data: memoryview, head: bytes, name: str) -> bytes | None:
    """A text as UTF-8; None for what is none.

    A text is UTF-8, or UTF-16 with its mark; of its first 64 KiB at least 90 in 100 characters
    are printable or white, and of all its bytes (of UTF-8) at most 1 in 100 are zero, as a
    serial line may give when the target is reset.
    """
    is_utf16 = head.startswith(_UTF16_MARKS)
    sample = head.decode("utf-16" if is_utf16 else "utf-8", "replace")
    good = sum((c.isprintable() and c != "\ufffd") or c in _WHITE for c in sample)
    if not good or good < _PRINTABLE_SHARE * len(sample):
        return None
    if len(data) > MAX_TEXT_BYTES:
        raise DumpError(f"{name}: expected at most {MAX_TEXT_BYTES:,} bytes of text, found more")
    text = bytes(data)
    if is_utf16:
        text = text.decode("utf-16", "replace").encode()
    return text.removeprefix(_UTF8_MARK) if text.count(0) <= _ZERO_SHARE * len(text) else None


def _load(path: str, name: str) -> memoryview:
    """The unpacked content of a file; of a large one that is not packed, without reading it."""
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        stream: IO[bytes] = file
        magic = file.peek(len(_ZSTD_MAGIC))
        if magic.startswith(_GZIP_MAGIC):
            stream = cast("IO[bytes]", stack.enter_context(gzip.open(file, "rb")))
        elif magic.startswith(_ZSTD_MAGIC):
            stream = cast("IO[bytes]", stack.enter_context(zstd.open(file, "rb")))
        else:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size >= _MAP_BYTES:
                return _mapped(file, name)
        return memoryview(_all(stream, name)).toreadonly()


def _mapped(file: IO[bytes], name: str) -> memoryview:
    """A file without reading it; it is unmapped when the last view of it is gone."""
    try:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, OverflowError) as error:
        raise DumpError(f"{name}: cannot be mapped into memory ({error})") from None


def _all(stream: IO[bytes], name: str) -> bytearray:
    content = bytearray()
    try:
        while block := stream.read(_BLOCK_BYTES):
            content += block
            if len(content) > MAX_BYTES:
                raise DumpError(f"{name}: expected at most {MAX_BYTES:,} bytes, found more")
    except _DAMAGE as error:
        reason = f"the compressed data is damaged or cut short ({error})"
        raise DumpError(f"{name}: {reason}") from None
    return content


def _merged(containers: list[Container]) -> Container:
    """One container for all; where they say different things, the first that says one counts."""
    first = containers[0]
    formats = dict.fromkeys(container.format for container in containers)
    merged = Container(first.path, " + ".join(formats), Memory())
    for container in containers:
        for segment in container.memory.segments:
            merged.memory.add(segment.address, segment.data, segment.source)
        merged.machine = merged.machine or container.machine
        merged.bits = merged.bits or container.bits
        merged.facts = container.facts | merged.facts
        merged.notes += [f"{container.path}: {note}" for note in container.notes]
        if container.console is not None:
            merged.console = f"{merged.console or ''}{container.console}\n"
        if merged.kernel is None:
            merged.kernel = container.kernel
        merged.based = merged.based and container.based
        merged.block_bytes += container.block_bytes
    machines = dict.fromkeys(c.machine for c in containers if c.machine)
    if len(machines) > 1:
        merged.notes.append(f"The files are of different machines: {', '.join(machines)}.")
    _note_overlaps(merged)
    return merged


def _note_overlaps(container: Container) -> None:
    """Say where bytes were found twice that are not the same."""
    overlaps = container.memory.overlaps
    if overlaps:
        first, last = overlaps[0]
        more = f" and {len(overlaps) - 1:,} other places" if len(overlaps) > 1 else ""
        container.notes.append(
            f"Memory from {first:#x} to {last:#x}{more} stands there twice with different bytes; "
            "the first ones were kept."
        )
