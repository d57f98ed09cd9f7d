"""What typed Python cannot say, said in pure Python: the twin of ``_native.pyx``.

It owns memory access (pinning a buffer and reading it at several widths), bit counting,
and the one place where the compiled build lets the GIL go.  Where the compiled build is
installed, the extension module of the same name takes this module's place.
"""

from __future__ import annotations

import ctypes
import operator
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["COMPILED", "Column", "Libc", "Loop", "Pin", "Region", "run"]

COMPILED = False

_LIMIT = 0x8000000000000000


class Pin:
    """A writable buffer, held in place until :meth:`_let_go`; ``u8`` are its bytes."""

    size_bytes = 0
    u8: memoryview

    def _hold(self, buffer: Buffer) -> None:
        """Hold ``buffer``; TypeError or BufferError if it is not writable and contiguous."""
        if self.size_bytes:
            raise ValueError("already holds a buffer")
        view = memoryview(buffer)
        if view.readonly:
            view.release()
            raise BufferError("the buffer is not writable")
        self.u8 = view.cast("B")
        self.size_bytes = self.u8.nbytes

    def _let_go(self) -> None:
        """Give the buffer back; nothing happens when none is held."""
        if self.size_bytes:
            self.size_bytes = 0
            self.u8.release()

    def real_address(self) -> int:
        """The address of the first byte, 0 where there is none."""
        if not self.size_bytes:
            return 0
        return ctypes.addressof(ctypes.c_char.from_buffer(self.u8))


class Column(Pin):
    """A column of numbers, read as 8-, 32- or 64-bit integers."""

    def __init__(self, buffer: Buffer) -> None:
        self._hold(buffer)
        self.i8 = self.u8.cast("b")
        if self.size_bytes % 4 == 0:
            self.i32 = self.u8.cast("i")
        if self.size_bytes % 8 == 0:
            self.i64 = self.u8.cast("q")


class Region(Pin):
    """The memory of one heap, read at the widths of its fields from the heap start on."""

    u16: memoryview
    u32: memoryview
    _stats: memoryview
    _aimed = False
    state = 0

    def aim(self, start: int, big: bool, first: int, end: int, stat_bytes: int) -> None:
        """Let ``u16`` and ``u32`` begin at byte ``start``, and find the statistics.

        ``big`` chooses the width of chunk fields; ``first`` and ``end`` are the chunk ids
        between which lists may lead, ``end`` left out.  ``stat_bytes`` is the size of the
        statistics in the control block; with 0 they are kept beside the region, so that a
        simulation can draw curves whatever the profile keeps.
        """
        self.big = big
        self.first, self.span = first, end - first
        self._stat_mask = 0xFFFFFFFF if stat_bytes == 12 else 0xFFFFFFFFFFFFFFFF
        heap = self.u8[start : self.size_bytes - (self.size_bytes - start) % 4]
        self.u16, self.u32 = heap.cast("H"), heap.cast("I")
        if stat_bytes:
            self._stats = heap[16 : 16 + stat_bytes].cast("I" if stat_bytes == 12 else "Q")
        else:
            self._stats = memoryview(bytearray(24)).cast("Q")
        self._aimed = True

    def unaim(self) -> None:
        """Let the views go, so that the buffer can be given back."""
        if self._aimed:
            self._aimed = False
            for view in (self.u16, self.u32, self._stats):
                view.release()

    def inside(self, c: int) -> bool:
        """Whether a list may lead to chunk ``c``: it is behind chunk 0 and before the end."""
        return 0 <= c - self.first < self.span

    def chunk_left(self, c: int) -> int:
        """LEFT_SIZE of chunk ``c``, in units."""
        return self.u32[2 * c] if self.big else self.u16[4 * c]

    def chunk_field(self, c: int) -> int:
        """SIZE_AND_USED of chunk ``c``: twice its units, plus 1 if used."""
        return self.u32[2 * c + 1] if self.big else self.u16[4 * c + 1]

    def free_prev(self, c: int) -> int:
        """FREE_PREV of a listed chunk."""
        return self.u32[2 * c + 2] if self.big else self.u16[4 * c + 2]

    def free_next(self, c: int) -> int:
        """FREE_NEXT of a listed chunk."""
        return self.u32[2 * c + 3] if self.big else self.u16[4 * c + 3]

    def set_left(self, c: int, units: int) -> None:
        """Set LEFT_SIZE."""
        if self.big:
            self.u32[2 * c] = units
        else:
            self.u16[4 * c] = units

    def set_size(self, c: int, units: int, used: int) -> None:
        """Set SIZE_AND_USED."""
        if self.big:
            self.u32[2 * c + 1] = 2 * units + used
        else:
            self.u16[4 * c + 1] = 2 * units + used

    def set_prev(self, c: int, other: int) -> None:
        """Set FREE_PREV."""
        if self.big:
            self.u32[2 * c + 2] = other
        else:
            self.u16[4 * c + 2] = other

    def set_next(self, c: int, other: int) -> None:
        """Set FREE_NEXT."""
        if self.big:
            self.u32[2 * c + 3] = other
        else:
            self.u16[4 * c + 3] = other

    def whole(self, number: object) -> int:
        """``number`` as a whole number, TypeError if it is none.

        What does not fit in 64 bits is cut to what does, a power of two to a power of two.
        """
        value = operator.index(number)  # type: ignore[arg-type]
        if -_LIMIT <= value < _LIMIT:
            return value
        if value < 0:
            return 1 - _LIMIT
        return _LIMIT - 1 if value & (value - 1) else _LIMIT >> 1

    def top_bit(self, x: int) -> int:
        """The position of the highest set bit of ``x`` > 0."""
        return x.bit_length() - 1

    def low_bit(self, x: int) -> int:
        """The position of the lowest set bit of ``x`` > 0."""
        return (x & -x).bit_length() - 1

    def stat_get(self, i: int) -> int:
        """Statistic ``i``: 0 free, 1 allocated, 2 most allocated bytes."""
        return self._stats[i]

    def stat_set(self, i: int, value: int) -> None:
        """Set statistic ``i``."""
        self._stats[i] = value

    def stat_change(self, free_bytes: int, used_bytes: int) -> None:
        """Add to the free and allocated bytes, and keep the most allocated ones."""
        stats, mask = self._stats, self._stat_mask
        stats[0] = (stats[0] + free_bytes) & mask
        stats[1] = (stats[1] + used_bytes) & mask
        stats[2] = max(stats[1], stats[2])

    def quad_get(self, byte: int) -> int:
        """The 8 bytes at ``byte`` as a number."""
        return int(self.u8[byte : byte + 8].cast("Q")[0])

    def quad_set(self, byte: int, value: int) -> None:
        """Write 8 bytes at ``byte``."""
        self.u8[byte : byte + 8].cast("Q")[0] = value

    def copy(self, target: int, source: int, count: int) -> None:
        """Copy bytes within the region."""
        self.u8[target : target + count] = self.u8[source : source + count]

    def prefetch(self, byte: int) -> None:
        """Ask the processor to fetch ``byte``'s cache line; nothing to do here."""


class Libc:
    """The C library's heap, which ``yardstick.py`` times beside ours."""

    def __init__(self) -> None:
        library = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
        self._malloc, self._free = library.malloc, library.free
        self._malloc.argtypes, self._malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
        self._free.argtypes, self._free.restype = (ctypes.c_void_p,), None

    def obtain(self, size_bytes: int) -> int:
        """``malloc()``: an address, 0 for no memory."""
        return self._malloc(size_bytes) or 0

    def give_back(self, address: int) -> None:
        """``free()``."""
        self._free(address)


class Loop:
    """A loop over columns that :func:`run` drives."""

    def turn(self, start: int, stop: int) -> int:
        """Do operations ``start`` to ``stop``; return where it stopped."""
        return start


def run(loop: Loop, start: int, stop: int) -> int:
    """Run a turn of ``loop``; the compiled build lets the GIL go meanwhile."""
    return loop.turn(start, stop)
