"""What an unsynchronised heap does off the straight path of its calls.

It owns the hooks that ``kheap._core.calls`` leaves open: refusals as exceptions, listeners, and
the validation before each operation that "extreme" hardening asks for.  ``kheap.SysHeap`` derives
from it.  Not here: the heap's life, and looking into it (``sys_heap.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from kheap._core.calls import HeapCalls
from kheap._core.check import HeapWalk
from kheap._core.chunk import INVARIANTS
from kheap.errors import HeapCorruption, InvalidFree, OutOfMemory
from kheap.heaps.stats import HeapStats
from kheap.profile import Profile

__all__ = ["Events", "Listener", "Unraisable", "WatchedHeap"]

Listener = Callable[[str, int, int], object]
Events = tuple[tuple[str, int, int], ...]

OPEN, ANNOUNCING = 1, 2
_NO_BLOCK = {1: "out of range", 2: "misaligned", 3: "not marked used (double free?)"}
_HINTS = {
    1: " (buffer overflow?)",
    8: " (written after free?)",
    10: " (buffer overflow?)",
}


class WatchedHeap(HeapCalls):
    """A heap with listeners, whose refusals are exceptions; see :class:`kheap.SysHeap`."""

    __slots__ = ("_listeners", "profile")

    profile: Profile
    _listeners: list[Listener]

    if TYPE_CHECKING:

        def check(self) -> None:
            """Validate everything: what the heap does, see :meth:`kheap.SysHeap.check`."""

    def add_listener(self, callback: Listener) -> None:
        """Call ``callback("alloc" | "free", offset, bytes)`` after each operation.

        Order and sizes are Zephyr's: a realloc in place announces the new size and then
        frees the old one, at the same offset.  Calling the heap from a listener raises
        RuntimeError; what a listener raises goes to :func:`sys.unraisablehook`, since the
        operation is done.

        In Zephyr: ``heap_listener_register()`` (3.0 on).
        """
        self._require_open()
        self._listeners.append(callback)
        self._watch()

    def remove_listener(self, callback: Listener) -> None:
        """Call it no more. ValueError if it was not added."""
        self._require_open()
        self._listeners.remove(callback)
        self._watch()

    def _watch(self) -> None:
        self._watch_calls(bool(self._listeners) or self.profile.hardening == "extreme")

    def _announce(self, *events: tuple[str, int, int]) -> None:
        self._announcing(True)
        try:
            for event in events:
                for listener in self._listeners:
                    try:
                        listener(*event)
                    except Exception as error:
                        error.add_note(f"raised by heap listener {listener!r}")
                        Unraisable(error)
        finally:
            self._announcing(False)

    def _event_bytes(self, offset: int) -> int:
        """Bytes an event gives for a block; -1 where there is none, or it cannot be freed."""
        c = self._chunk_of(offset)
        return -1 if c < 0 else self._told_bytes(offset, c)

    def _before(self) -> None:
        """What "extreme" hardening does before each operation."""
        if self.state == ANNOUNCING:
            self._require_open()
        if self.profile.hardening == "extreme":
            self.check()

    def _watched_alloc(self, request_bytes: int, align: int) -> int:
        self._before()
        offset = self._plain_alloc(request_bytes, align)
        if offset > 0:
            self._announce(("alloc", offset, self._event_bytes(offset)))
        return offset

    def _watched_free(self, offset: int) -> int:
        self._before()
        told = self._event_bytes(offset)
        code = self._plain_free(offset)
        if code >= 0:
            self._announce(("free", offset, told))
        return code

    def _watched_realloc(self, offset: int, request_bytes: int, align: int) -> int:
        moved, events = self._watched_move(offset, request_bytes, align)
        self._announce(*events)
        return moved

    def _watched_move(self, offset: int, request_bytes: int, align: int) -> tuple[int, Events]:
        """A realloc, and what is to be announced of it."""
        self._before()
        told, units = self._event_bytes(offset), self._units_at(offset)
        moved = self._plain_realloc(offset, request_bytes, align)
        if moved == 0 and request_bytes == 0:
            return moved, (("free", offset, told),)
        if moved > 0 and (moved != offset or self._units_at(moved) != units):
            return moved, (("alloc", moved, self._event_bytes(moved)), ("free", offset, told))
        return moved, ()

    def _units_at(self, offset: int) -> int:
        c = self._chunk_of(offset)
        return -1 if c < 0 else self._units_of(c)

    # ------------------------------------------------------------------ refusals

    def _require_open(self) -> None:
        if self.state == ANNOUNCING:
            raise RuntimeError("the heap is called from one of its listeners")
        if self.state != OPEN:
            raise ValueError("the heap is closed")

    def _refuse_alloc(self, code: int, request_bytes: int, align: int) -> NoReturn:
        self._require_open()
        if code == -3:
            raise ValueError(f"request_bytes is negative: {request_bytes}")
        if code == -4:
            raise ValueError(f"align {align} is no power of two, with or without a rewind bit")
        if code < 0:
            self._raise_corruption(self.fault_chunk, self.fault)
        # The search has moved a bucket's head, so what the walk meets is no error any more.
        walk = HeapWalk(self)
        walk.chunks()
        stats = HeapStats.from_walk(walk, self.uncounted, 0, None)
        free, largest = stats.free_bytes, stats.largest_free_bytes
        raise OutOfMemory(
            f"no chunk for {request_bytes} bytes: {free} free, largest {largest}",
            request_bytes,
            free,
            largest,
        )

    def _refuse_free(self, code: int, offset: int) -> NoReturn:
        self._require_open()
        if code == -1:
            self._raise_corruption(self.fault_chunk, self.fault)
        raise InvalidFree(f"no live block at offset {offset}: {_NO_BLOCK[self.fault]}", offset)

    def _raise_corruption(self, c: int, fault: int) -> NoReturn:
        name = f"I{fault}"
        hint = _HINTS.get(fault, "")
        raise HeapCorruption(
            f"heap corruption{hint} at chunk {c:#x}: {INVARIANTS[name]} ({name})", c, name
        )


class Unraisable:
    """Tells :func:`sys.unraisablehook` of an error, as only a finaliser can."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error
