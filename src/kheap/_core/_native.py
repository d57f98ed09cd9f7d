"""What typed Python cannot say, said in pure Python: the twin of ``_native.pyx``.

It owns memory access (pinning a buffer and reading it at several widths), bit counting,
and the one place where the compiled build lets the GIL go.  Where the compiled build is
installed, the extension module of the same name takes this module's place.
"""

from __future__ import annotations

import ctypes
import operator
import os
import weakref
from _thread import RLock, allocate_lock, get_ident
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = [
    "COMPILED",
    "Column",
    "Latch",
    "Libc",
    "Loop",
    "Memory",
    "Owner",
    "Pin",
    "Region",
    "own_calls",
    "run",
]

COMPILED = False
BUSY = "the heap is called while this thread is busy with it: by a listener, or a signal handler"
CLOSED = "the block is closed: freed, handed on, or being moved"

_LIMIT = 0x8000000000000000
_VIEWS = RLock()  # Held while a view is made, or no more are to be had: one of the two comes first.


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


def own_calls(cls: type, names: Iterable[str]) -> None:
    """Let ``cls`` have the compiled calls that it inherits as its own.

    CPython calls a compiled method without detours only on objects of the very class that
    defines it.  Nothing to do here.
    """


class Latch:
    """A lock for short sections; who waits for it holds the GIL no longer.

    Complexity: a few nanoseconds where nobody else holds it, in the compiled build.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._owner = 0

    def try_take(self) -> bool:
        """Take it if nobody holds it; whether it was taken."""
        if not self._lock.acquire(blocking=False):
            return False
        self.claim()
        return True

    def take(self) -> None:
        """Take it. RuntimeError if this thread holds it already, and has called :meth:`claim`."""
        if self._owner == get_ident():
            raise RuntimeError(BUSY)
        self._lock.acquire()
        self.claim()

    def claim(self) -> None:
        """Say that this thread holds it: to be called before any Python code runs meanwhile."""
        self._owner = get_ident()

    def let_go(self) -> None:
        """Give it up."""
        self._owner = 0
        self._lock.release()

    def __enter__(self) -> None:
        """:meth:`take`."""
        self.take()

    def __exit__(self, *_: object) -> None:
        """:meth:`let_go`."""
        self.let_go()


class _Bytes(ctypes.Array[ctypes.c_char]):
    """Bytes that live as long as any view of them; they keep their memory alive."""

    _type_, _length_ = ctypes.c_char, 0
    memory: Memory


class Owner:
    """Who gets memory back.

    Attributes:
        _ready: Whether the constructor has run.
    """

    _latch: Latch
    _ready = False

    def __new__(cls, *_: object, **__: object) -> Self:
        owner = super().__new__(cls)
        owner._latch = Latch()
        return owner

    def drop(self, offset: int) -> None:
        """Take back the memory at ``offset``, whose last reference has gone."""

    def free_block(self, block: Memory) -> None:
        """Take back a memory that is to be freed now."""


class Memory:
    """Some bytes of a region that somebody owns, and that views can be had of.

    The compiled build exports them as a buffer; so does this one on Python 3.12 and later.

    Attributes:
        heap: Who gets them back with the last reference; None: they were never given.
        offset: The first byte, from the region's first byte.
        nbytes: How many they are.
    """

    heap: Owner | None = None
    offset = nbytes = 0
    _is_shut = False
    _bytes: weakref.ref[_Bytes] | None = None

    def be(self, heap: Owner, region: Region, offset: int, size_bytes: int) -> None:
        """Be the ``size_bytes`` bytes at ``offset``."""
        self.heap = heap
        self._region = region
        self.offset = offset
        self.nbytes = size_bytes

    def __del__(self) -> None:
        if self.heap is not None and not self._is_shut:
            self.heap.drop(self.offset)

    def shut(self) -> int:
        """Let no more views be had: 0; 1 if there are some, 2 if that was done before."""
        with _VIEWS:
            if self._is_shut:
                return 2
            if self._bytes is not None and self._bytes() is not None:
                return 1
            self._is_shut = True
            return 0

    _shut = shut

    def is_shut(self) -> bool:
        """Whether no views can be had."""
        return self._is_shut

    def _reopen(self) -> None:
        """Let views be had again."""
        self._is_shut = False

    def view(self) -> memoryview:
        """The bytes, as a memoryview without a copy. BufferError if they are given back."""
        with _VIEWS:
            if self._is_shut:
                raise BufferError(CLOSED)
            array = None if self._bytes is None else self._bytes()
            if array is None:
                array = _bytes_class(self.nbytes).from_buffer(self._region.u8, self.offset)
                array.memory = self
                self._bytes = weakref.ref(array)
            return memoryview(array).cast("B")

    def __buffer__(self, flags: int) -> memoryview:
        """The bytes, for Python 3.12 and later."""
        return self.view()

    def __release_buffer__(self, view: memoryview) -> None:
        """Nothing more to do; where it is missing, numpy takes it that no view need be held."""


@lru_cache
def _bytes_class(size_bytes: int) -> type[_Bytes]:
    return type("_Bytes", (_Bytes,), {"_type_": ctypes.c_char, "_length_": size_bytes})


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
