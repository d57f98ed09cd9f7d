"""``SysHeap``: Zephyr's unsynchronised heap, over any writable buffer.

It owns the life of a heap object (init, open, close), and the views of what lies in the heap.
The operations themselves are the engine's (``kheap._core.heap``), exceptions and listeners are in
``watched_heap.py``; the numbers are defined in ``stats.py`` and the records in ``view.py``.
Not here: locks and waiting (``kheap.Heap``).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import own_calls
from kheap._core.check import HeapWalk
from kheap._core.chunk import Geometry, plan
from kheap.errors import HeapCorruption
from kheap.heaps.info import heap_info
from kheap.heaps.opening import found_geometry, profiles_that_fit
from kheap.heaps.stats import HeapStats, Verdict
from kheap.heaps.view import Bucket, Chunk
from kheap.heaps.watched_heap import ANNOUNCING, WatchedHeap
from kheap.heaps.why import judge
from kheap.profile import Profile

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["SysHeap"]

_HOT_CALLS = ("alloc", "try_alloc", "free", "realloc", "usable_bytes")


class SysHeap(WatchedHeap):
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
    __slots__ = ("base_address", "geometry", "region")

    base_address: int
    geometry: Geometry
    region: memoryview

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

    @classmethod
    def _opened_as(
        cls, region: Buffer, profile: Profile, geometry: Geometry, base_address: int
    ) -> Self:
        """A heap whose geometry is known, however damaged its control block is."""
        heap = cls.__new__(cls)
        heap._take_region(region, base_address)
        heap._settle(profile, geometry)
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
        if self.state == ANNOUNCING:
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


own_calls(SysHeap, _HOT_CALLS)


def _fresh_region(size_bytes: int, profile: Profile, base_address: int) -> bytearray:
    """So many zero bytes, once it is known that a heap fits in them."""
    if size_bytes < 0:
        raise ValueError(f"region of {size_bytes} bytes: the size is negative")
    plan(profile.layout(), base_address, size_bytes)
    return bytearray(size_bytes)
