"""``SysHeap``: Zephyr's unsynchronised heap, over any writable buffer.

It owns the life of a heap object (init, open, close), exceptions, listeners, and the views
of what lies in the heap.  The operations themselves are the engine's
(``kheap._core.heap``); the numbers are defined in ``stats.py`` and the records in
``view.py``.  Not here: locks and waiting (``kheap.Heap``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import own_calls
from kheap._core.calls import HeapCalls
from kheap._core.check import HeapWalk
from kheap._core.chunk import INVARIANTS, Geometry, plan
from kheap.errors import HeapCorruption, InvalidFree, OutOfMemory
from kheap.heaps.info import heap_info
from kheap.heaps.opening import found_geometry, profiles_that_fit
from kheap.heaps.stats import HeapStats, Verdict
from kheap.heaps.view import Bucket, Chunk
from kheap.heaps.why import judge
from kheap.profile import Profile

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["Listener", "SysHeap", "Unraisable"]

Listener = Callable[[str, int, int], object]
Events = tuple[tuple[str, int, int], ...]

_OPEN, _ANNOUNCING = 1, 2
_HOT_CALLS = ("alloc", "try_alloc", "free", "realloc", "usable_bytes")
_NO_BLOCK = {1: "out of range", 2: "misaligned", 3: "not marked used (double free?)"}
_HINTS = {
    1: " (buffer overflow?)",
    8: " (written after free?)",
    10: " (buffer overflow?)",
}


class SysHeap(HeapCalls):
    """Zephyr's ``sys_heap`` over a region: same placement, same bytes, same answers.

    It is not synchronised: as in Zephyr, its callers take turns.

    Args:
        region: Any writable, contiguous buffer; or an int, for so many fresh zero bytes.
        profile: Which Zephyr.
        base_address: The address that the region's first byte is said to lie at; rounding
            and alignment follow it.  None: where it really lies.

    Raises:
        ValueError: The region is too small for a heap, or too big for its headers.
        TypeError, BufferError: It is no writable contiguous buffer.

    In Zephyr: ``sys_heap_init()``, which asserts where this raises.

    >>> heap = SysHeap(1024, Profile(release="4.4", bits=32), base_address=0x20000000)
    >>> block = heap.alloc(100)
    >>> heap.view(block)[:5] = b"hello"
    >>> heap.usable_bytes(block), heap.why(2000)
    (100, 'too_big')
    """

    # No instance dictionary: looking a method up then costs half.
    __slots__ = ("_listeners", "base_address", "geometry", "profile", "region")

    profile: Profile
    base_address: int
    geometry: Geometry
    region: memoryview
    _listeners: list[Listener]

    def __init__(
        self,
        region: Buffer | int,
        profile: Profile = Profile(),  # noqa: B008  (frozen)
        base_address: int | None = None,
    ) -> None:
        if isinstance(region, int):
            region = _fresh_region(region, profile, base_address or 0)
        self._take_region(region, base_address)
        try:
            geometry = plan(profile.layout(), self.base_address, self.size_bytes)
        except ValueError:
            self.close()
            raise
        self._settle(profile, geometry)
        self._plant()

    def __init_subclass__(cls) -> None:
        """Let a subclass be as fast."""
        super().__init_subclass__()
        own_calls(cls, _HOT_CALLS)

    @classmethod
    def open(
        cls,
        region: Buffer,
        profile: Profile | None = None,
        base_address: int | None = None,
    ) -> Self:
        """Open a region that already holds a heap; nothing is written.

        Only the control block must hold; call :meth:`check` to judge the rest.

        Args:
            region: Any writable, contiguous buffer (``bytearray(data)`` makes one).
            profile: Which Zephyr; None: the layout is detected, and the release taken to
                be 4.4, or 4.3 where the statistics count headers in; the bytes tell no more.
            base_address: As in the constructor.

        Raises:
            HeapCorruption: I6: no control block of such a heap lies there.
        """
        heap = cls.__new__(cls)
        heap._take_region(region, base_address)
        try:
            heap._recognise(profile)
        except BaseException:
            heap.close()
            raise
        return heap

    def _take_region(self, region: Buffer, base_address: int | None) -> None:
        if base_address is not None and not 0 <= base_address < 1 << 64:
            raise ValueError(f"base_address {base_address:#x} is not an address of 64 bits")
        self._hold(region)
        self.region = memoryview(region).cast("B")
        self.base_address = self.real_address() if base_address is None else base_address
        self._listeners = []

    def _settle(self, profile: Profile, geometry: Geometry) -> None:
        self.profile = profile
        self.geometry = geometry
        self._place(profile.layout(), geometry, self.base_address)
        self._watch()

    def _recognise(self, profile: Profile | None) -> None:
        start = -self.base_address % 8
        head = bytes(self.region[start : start + 16])
        if profile is not None:
            self._settle(profile, found_geometry(head, self.size_bytes, start, profile))
            return
        best, reached = None, -1
        for candidate in profiles_that_fit(head, self.size_bytes, start):
            self._settle(candidate, found_geometry(head, self.size_bytes, start, candidate))
            walk = HeapWalk(self)
            if walk.chunks() and walk.rings() and (not candidate.runtime_stats or walk.sums()):
                return
            if walk.visits > reached:
                best, reached = candidate, walk.visits
            self._unplace()
        if best is None:
            raise HeapCorruption(
                f"no heap is found at byte {start} of these {self.size_bytes} bytes,"
                " for any word size, header width or hardening",
                chunk=0,
                invariant="I6",
            )
        self._settle(best, found_geometry(head, self.size_bytes, start, best))

    # ------------------------------------------------------------------ the end of it

    def close(self) -> None:
        """Give the region's buffer back; the heap's bytes stay as they are.

        Views handed out keep the buffer alive until they are released themselves.

        Raises:
            RuntimeError: It is called from a listener.
        """
        if self.state == _ANNOUNCING:
            self._require_open()
        self._unplace()
        self.region.release()
        self._let_go()

    def __enter__(self) -> Self:
        """The heap itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the heap."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a second object would share the buffer."""
        raise TypeError("a SysHeap cannot be copied or pickled; its region can")

    def __repr__(self) -> str:
        """The heap in a few words."""
        if not self.state:
            return "<SysHeap, closed>"
        return f"<SysHeap of {self.size_bytes} bytes at {self.base_address:#x}, {self.profile}>"

    # ------------------------------------------------------------------ looking inside

    def view(self, offset: int) -> memoryview:
        """The memory of the block at ``offset``, never beyond its chunk.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`free`.
        """
        c = self._chunk_of(offset)
        if c < 0:
            self._refuse_free(c, offset)
        end = self.start + 8 * (c + self._units_of(c) - self.trail)
        return self.region[offset:end]

    def stats(self) -> HeapStats:
        """The heap in numbers. Raises HeapCorruption where it cannot be walked.

        Complexity: O(chunks). In Zephyr: ``sys_heap_runtime_stats_get()``.
        """
        walk = self._walked()
        highest = self._stat(2) if self.profile.runtime_stats else None
        return HeapStats.from_walk(walk, self.uncounted, 8 * self.n + self.hdr, highest)

    def reset_max(self) -> None:
        """Let the most allocated bytes be those allocated now, where statistics are kept.

        In Zephyr: ``sys_heap_runtime_stats_reset_max()``.
        """
        self._require_open()
        self._reset_stat_max()

    def chunks(self) -> Iterator[Chunk]:
        """All chunks by address, from chunk 0 to the end marker.

        Raises:
            HeapCorruption: When the walk meets a chunk that breaks an invariant; the chunks
                before it have been yielded.
        """
        self._require_open()
        walk = HeapWalk(self)
        c = left = 0
        while c < self.n:
            fault = walk.chunk_fault(c) if c else walk.control_fault()
            if fault:
                self._raise_corruption(c, fault)
            size = self._units_of(c)
            yield Chunk(c, self.start + 8 * c, size, self._state_of(c, size), left)
            self._require_open()
            left, c = c, c + size
        yield Chunk(c, self.start + 8 * c, 0, "end", left)

    def _state_of(self, c: int, units: int) -> str:
        if c == 0:
            return "control"
        if self._is_used(c):
            return "used"
        return "free" if units >= self.m else "undersized"

    def buckets(self) -> Iterator[Bucket]:
        """All size classes, smallest first, with their rings. Raises HeapCorruption."""
        walk = self._walked(rings=True)
        records = [
            Bucket(b, (1 << b) - 1 + self.m, self._ring(b), walk.bucket_largest[b])
            for b in range(self.nb)
        ]
        for record in records:
            self._require_open()
            yield record

    def _ring(self, b: int) -> tuple[int, ...]:
        members: list[int] = []
        c = head = self._head_of(b)
        while c and (c != head or not members):
            members.append(c)
            c = self._next_of(c)
        return tuple(members)

    def check(self) -> None:
        """Validate everything; returns if all invariants I1 to I10 hold.

        Raises:
            HeapCorruption: The first one that does not, by address, then by bucket.

        Complexity: O(chunks), each looked at no more than twice.
        In Zephyr: ``sys_heap_validate()``, which returns False where this raises.
        """
        walk = self._walked(rings=True)
        if self.profile.runtime_stats and not walk.sums():
            self._raise_corruption(walk.fault_chunk, walk.fault)

    def _walked(self, *, rings: bool = False) -> HeapWalk:
        self._require_open()
        walk = HeapWalk(self)
        if not walk.chunks() or (rings and not walk.rings()):
            self._raise_corruption(walk.fault_chunk, walk.fault)
        return walk

    def print_info(self, dump_chunks: bool = False) -> str:
        """Zephyr's printout of this heap, letter for letter.

        In Zephyr: ``sys_heap_print_info()``.
        """
        return heap_info(
            self.base_address + self.start,
            self.n,
            list(self.buckets()),
            self.stats(),
            self.hdr if self.profile.version < (4, 2) else 0,
            self.chunks() if dump_chunks else None,
        )

    def why(self, request_bytes: int, *, align: int = 0) -> Verdict:
        """What a request would meet now; nothing is written.

        Raises:
            ValueError: As for :meth:`alloc`.
            HeapCorruption: The heap cannot be walked.
        """
        if request_bytes < 0:
            self._refuse_alloc(-3, request_bytes, align)
        stats = self.stats()
        answer = self._probe(request_bytes, align)
        if answer < 0:
            self._refuse_alloc(answer, request_bytes, align)
        return judge(
            self,
            request_bytes,
            align,
            free_bytes=stats.free_bytes,
            largest_free_bytes=stats.largest_free_bytes,
        )

    # ------------------------------------------------------------------ listeners

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
        if self.state == _ANNOUNCING:
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
        if self.state == _ANNOUNCING:
            raise RuntimeError("the heap is called from one of its listeners")
        if self.state != _OPEN:
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


own_calls(SysHeap, _HOT_CALLS)


def _fresh_region(size_bytes: int, profile: Profile, base_address: int) -> bytearray:
    """So many zero bytes, once it is known that a heap fits in them."""
    if size_bytes < 0:
        raise ValueError(f"region of {size_bytes} bytes: the size is negative")
    plan(profile.layout(), base_address, size_bytes)
    return bytearray(size_bytes)


class Unraisable:
    """Tells :func:`sys.unraisablehook` of an error, as only a finaliser can."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error
