"""Zephyr's binary core dump: a file header and a chain of blocks, each with its own header.

Source: zephyr ``include/zephyr/debug/coredump.h`` and ``scripts/coredump``.  Numbers are
little-endian, nothing is padded; an address has 4 or 8 bytes, as the file header says::

    header  'Z' 'E'  u16 version  u16 target  u8 log2 of the word's bits  u8 flags  u32 reason
    A       'A'  u16 version  u16 n                                 n bytes of registers
    T       'T'  u16 version  u16 n                                 n bytes of struct z_kernel
    F       'F'  u16 version  u16 n  u32 cpu  address of a thread   n bytes of registers
    M       'M'  u16 version  first address  address behind it      the memory between them
    C       'C'  u16 version  u32 CRC-32 of all bytes before it     the last block

It owns the chain, and what is read where it is broken.  Not here: console logs, which carry
the same bytes as text (``_coredump_log.py``).
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kheap.dump.formats.containers import Container

__all__ = ["Lines", "find", "looks_like", "read"]

#: The most blocks that are read; a dump of one thread has three, one of 100 threads some 200.
MAX_BLOCKS = 1024
#: The most places where blocks may hold different bytes; then no more blocks are read.
MAX_OVERLAPS = 1000

_HEADER = Struct("<2sHHBBI")
_ADDRESS_FORMATS = {5: "I", 6: "Q"}
_LATEST_VERSION = 2
_LATEST_LIKELY_VERSION = 15
_HAS_CRC = 1
_TARGETS: dict[int, tuple[str, str | None]] = {
    1: ("x86", "x86"),
    2: ("x86-64", "x86_64"),
    3: ("ARM Cortex-M", "arm"),
    4: ("RISC-V", "riscv"),
    5: ("Xtensa", "xtensa"),
    6: ("ARM64", "arm64"),
}
_REASONS = {
    0: "CPU exception",
    1: "spurious interrupt",
    2: "stack check failed",
    3: "kernel oops",
    4: "kernel panic",
}
_FIRST_REASON_OF_ARCH = 16
_BLOCK_BEGIN = re.compile(rb"[ATFMC][\x01-\x0f]\0")
# The flash backend's own header begins with "CD" and has 16 to 24 bytes, padded for the flash.
_STORAGE_MARK = b"CD"
_STORAGE_BYTES = 64
# Headers looked at in search of a sound chain: a second or two, however mean the file.
_SEARCH_STEPS = 1 << 19
_STEP_BYTES = 1 << 16


class Lines(NamedTuple):
    """The lines of a log that a dump came from; none where it came as bytes.

    Attributes:
        starts: The place in the dump of each line's first byte, ascending.
        numbers: Each line's number in the log, from 1.
    """

    starts: Sequence[int] = ()
    numbers: Sequence[int] = ()

    def where(self, place: int) -> str:
        """A place in the dump, for people."""
        if not self.starts:
            return f"byte {place:,}"
        return f"line {self.numbers[max(0, bisect_right(self.starts, place) - 1)]}"

    def begins_at(self, place: int) -> bool:
        """Whether a line begins there."""
        i = bisect_left(self.starts, place)
        return i < len(self.starts) and self.starts[i] == place

    def between(self, first: int, end: int) -> Sequence[int]:
        """The places behind ``first`` and before ``end`` where lines begin, the last one first."""
        inside = self.starts[bisect_right(self.starts, first) : bisect_left(self.starts, end)]
        return inside[::-1]


NO_LINES = Lines()


class _Block(NamedTuple):
    """A block: its letter; first address (M) or checksum (C); where its bytes begin and end.

    The end is what the header says: it may lie behind the dump, or before the begin.
    """

    kind: str
    value: int
    start: int
    end: int

    @property
    def name(self) -> str:
        """The block, for people."""
        if self.kind != "M":
            return f"block {self.kind}"
        return f"the memory block {self.value:#x} to {self.value + self.end - self.start - 1:#x}"


def looks_like(head: bytes | bytearray | memoryview) -> bool:
    """Whether bytes that begin so are a core dump."""
    if len(head) < _HEADER.size:
        return False
    mark, version, _, width, _, _ = _HEADER.unpack_from(head)
    is_likely = mark == b"ZE" and width in _ADDRESS_FORMATS
    return is_likely and 1 <= version <= _LATEST_LIKELY_VERSION


def find(head: bytes) -> int | None:
    """Where in a file that begins so its core dump begins; None if it is none.

    That is not always at 0: a flash partition begins with a header of the flash backend.
    """
    places = range(_STORAGE_BYTES) if head.startswith(_STORAGE_MARK) else (0,)
    return next((place for place in places if looks_like(head[place : place + _HEADER.size])), None)


def read(data: memoryview, container: Container, lines: Lines = NO_LINES) -> None:
    """Read a core dump into a container, as far as it goes.

    It never fails: what is wrong behind the file header becomes a note.  Memory is not copied.

    Args:
        data: The dump; :func:`looks_like` holds for it.
        container: What is filled.
        lines: The lines that ``data`` came from.

    Complexity: O(bytes + blocks * pieces of memory), for at most ``MAX_BLOCKS`` blocks.
    """
    _, version, target, width, flags, reason = _HEADER.unpack_from(data)
    machine_name, machine = _TARGETS.get(target, (f"unknown ({target})", None))
    default = "of the architecture" if reason >= _FIRST_REASON_OF_ARCH else "unknown"
    container.machine, container.bits = machine, 1 << width
    container.facts |= {
        "version": str(version),
        "target": machine_name,
        "reason": f"{reason} ({_REASONS.get(reason, default)})",
    }
    if version > _LATEST_VERSION:
        text = f"Version {version} of the format is not known; it was read like version 2."
        container.notes.append(text)
    has_checksum = _Reader(_Chain(data, width), container, lines).read()
    if flags & _HAS_CRC and not has_checksum:
        container.notes.append("The checksum that belongs at the end is missing.")


class _Chain:
    """The blocks of a dump by their places."""

    def __init__(self, data: memoryview, width: int) -> None:
        self.data = data
        self.steps_left = _SEARCH_STEPS
        self._used = _used(data)
        address = _ADDRESS_FORMATS[width]
        self.layouts = {
            "A": Struct("<xHH"),
            "T": Struct("<xHH"),
            "F": Struct(f"<xHHI{address}"),
            "M": Struct(f"<xH{address}{address}"),
            "C": Struct("<xHI"),
        }

    def at(self, place: int) -> _Block | None:
        """The block that begins at a place; None where no known one does."""
        kind = chr(self.data[place])
        layout = self.layouts.get(kind)
        if layout is None or place + layout.size > len(self.data):
            return None
        version, *fields = layout.unpack_from(self.data, place)
        start = place + layout.size
        if kind in "MC" and version != 1:
            return None  # its header may be another one, and then its length is unknown
        if kind == "M":
            return _Block(kind, fields[0], start, start + fields[1] - fields[0])
        if kind == "C":
            return _Block(kind, fields[0], start, start)
        return _Block(kind, 0, start, start + fields[0])

    def is_cut_at(self, place: int) -> bool:
        """Whether the dump ends within the header of the block that begins there."""
        layout = self.layouts.get(chr(self.data[place]))
        return layout is not None and place + layout.size > len(self.data)

    def is_end(self, place: int) -> bool:
        """Whether nothing follows a place, or what is left of a flash partition."""
        return self._used <= place <= len(self.data)

    def is_sound_from(self, place: int) -> bool:
        """Whether known blocks follow each other from a place to the end of the dump."""
        while place < self._used and self.steps_left:
            self.steps_left -= 1
            block = self.at(place)
            if block is None or block.end < block.start:
                return False
            place = block.end
            if block.kind == "C":
                break
        return self.is_end(place)

    def next_sound(self, place: int) -> int | None:
        """The first place behind one from which the chain is sound."""
        for found in _BLOCK_BEGIN.finditer(self.data, place + 1):
            if self.is_sound_from(found.start()):
                return found.start()
            if not self.steps_left:
                break
        return None


def _used(data: memoryview) -> int:
    """Where the bytes of an erased flash begin that a dump may end with, all ones or all zeros."""
    erased = bytes(data[-1:])
    end = len(data)
    while end and erased in (b"\xff", b"\0"):
        start = max(0, end - _STEP_BYTES)
        rest = bytes(data[start:end]).rstrip(erased)
        if rest:
            return start + len(rest)
        end = start
    return end


class _Reader:
    """Takes the blocks of a dump, one after the other, and says what is wrong with them."""

    def __init__(self, chain: _Chain, container: Container, lines: Lines) -> None:
        self._chain = chain
        self._data = chain.data
        self._container = container
        self._lines = lines
        self._count = 0
        self._rest_is_sound = False

    def read(self) -> bool:
        """Read all blocks; whether there is a checksum at the end."""
        place: int | None = _HEADER.size
        while place is not None and place < len(self._data):
            block = self._chain.at(place)
            if block is None:
                place = self._behind_unknown(place)
            elif block.end < block.start:
                last = block.value + block.end - block.start
                reason = f"ends at {last:#x}, before it begins at {block.value:#x}"
                self._note(f"A memory block {reason}: the rest was not read.", place)
                place = None
            elif block.kind == "C":
                self._check(block, place)
                return True
            else:
                end = self._true_end(block, place)
                place = end if self._take(block, end) else None
        return False

    def _take(self, block: _Block, end: int) -> bool:
        """Keep what a block holds; False where that was the last one that may be read."""
        content, container = self._data[block.start : end], self._container
        if block.kind == "T":
            container.kernel = bytes(content)
        elif block.kind == "M":
            container.block_bytes.append(block.end - block.start)
            container.memory.add(block.value, content, container.path)
        self._count += 1
        if self._count < MAX_BLOCKS and len(container.memory.overlaps) <= MAX_OVERLAPS:
            return True
        if end < len(self._data):
            self._note(f"Only the first {self._count:,} blocks were read: there are too many.")
        return False

    def _true_end(self, block: _Block, place: int) -> int:
        """Where the bytes of a block really end; if that is too early, a note says so."""
        end = min(block.end, len(self._data))
        if not self._ends_well(block):
            lines = self._lines.between(block.start, end)
            end = next((line for line in lines if self._begins_rest(line)), end)
        if end < block.end:
            loss = f"{block.end - end:,} of {block.end - block.start:,} bytes of {block.name}"
            if end == len(self._data):
                self._note(f"The last {loss} are missing: the dump was cut short.", place)
            else:
                self._note(f"{loss} are missing, a line was lost: what follows the loss "
                           "was read at too low an address.", place)  # fmt: skip
        return end

    def _ends_well(self, block: _Block) -> bool:
        """Whether the end of a block is sure: in a log Zephyr ends a line there.

        Other software may print on without a break; then sound blocks follow anyway.
        """
        if not self._lines.starts or self._chain.is_end(block.end):
            return True
        if block.end > len(self._data):
            return False
        if self._lines.begins_at(block.end) and self._chain.at(block.end) is not None:
            return True
        if not self._rest_is_sound:
            self._rest_is_sound = self._chain.is_sound_from(block.end)
        return self._rest_is_sound

    def _begins_rest(self, place: int) -> bool:
        return self._chain.at(place) is not None and self._chain.is_sound_from(place)

    def _behind_unknown(self, place: int) -> int | None:
        """The next place from which sound blocks follow; None if there is none."""
        if self._chain.is_end(place):
            return None
        if self._chain.is_cut_at(place):
            self._note("The dump was cut short in the header of a block.", place)
            return None
        following = self._chain.next_sound(place)
        if following is None:
            rest = len(self._data) - place
            self._note(f"No known block begins here: the last {rest:,} bytes were not read.", place)
        else:
            skipped = following - place
            self._note(f"No known block begins here: {skipped:,} bytes were skipped.", place)
        return following

    def _check(self, block: _Block, place: int) -> None:
        computed = zlib.crc32(self._data[:place])
        is_right = computed == block.value
        self._container.facts["checksum"] = "right" if is_right else "wrong"
        if not is_right:
            numbers = f"{block.value:#010x}, but its bytes give {computed:#010x}"
            self._note(f"The checksum of the dump is {numbers}.", place)

    def _note(self, text: str, place: int | None = None) -> None:
        prefix = "" if place is None else f"{self._lines.where(place)}: "
        self._container.notes.append(prefix + text)
