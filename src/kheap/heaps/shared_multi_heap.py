"""``SharedMultiHeap``: heaps of several kinds of memory, asked for by kind, for threads.

It owns the kinds, the order in which heaps of a kind are tried, and the lock.  Not here: the
table of heaps and moving a block between them (``multi_heap.py``).
"""

from __future__ import annotations

from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING

from kheap._core._native import Latch
from kheap.heaps.multi_heap import MultiHeap
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["RegionAttribute", "SharedMultiHeap"]


class RegionAttribute(IntEnum):
    """What kind of memory a region of a :class:`SharedMultiHeap` is."""

    CACHEABLE = 0
    NON_CACHEABLE = 1


class SharedMultiHeap:
    """Heaps with attributes: a request names the kind of memory that it needs.

    A request goes to the heaps of its attribute, in the order in which they were added, and
    the first that can serve it does.  Threads may share it.

    In Zephyr: ``shared_multi_heap_pool_init()``.  Differs from Zephyr: there is one for the
    whole system there, here each object is one.

    >>> shared = SharedMultiHeap()
    >>> heap = shared.add(4096, RegionAttribute.NON_CACHEABLE, base_address=0x30000000)
    >>> address = shared.aligned_alloc(RegionAttribute.NON_CACHEABLE, 64, 100)
    >>> address % 64, heap.usable_bytes(address - heap.base_address)
    (0, 104)
    """

    def __init__(self) -> None:
        self._latch = Latch()
        self._multi = MultiHeap(_first_that_can)
        self._made: list[SysHeap] = []
        self._by_attribute: dict[RegionAttribute, list[SysHeap]] = {a: [] for a in RegionAttribute}

    def __repr__(self) -> str:
        """The shared multi-heap in a few words."""
        counts = ", ".join(f"{len(h)} {a.name.lower()}" for a, h in self._by_attribute.items())
        return f"<SharedMultiHeap: {counts}>"

    @property
    def heaps(self) -> tuple[SysHeap, ...]:
        """All heaps, by ascending address."""
        return self._multi.heaps

    def add(
        self,
        region_or_heap: Buffer | int | SysHeap,
        attribute: int,
        *,
        base_address: int | None = None,
        profile: Profile = Profile(),  # noqa: B008  (frozen)
    ) -> SysHeap:
        """Add a region, or a heap that is there already; answers the heap.

        Args:
            region_or_heap: A writable buffer, an int for so many fresh bytes, or a heap.
            attribute: What kind of memory it is: a :class:`RegionAttribute`.
            base_address: The address that a region is said to lie at, as for ``SysHeap``.
            profile: Which Zephyr makes a heap of a region.

        Raises:
            ValueError: No such attribute, a region that no heap fits in, one that overlaps
                another, or a ninth heap, whatever the attributes.

        In Zephyr: ``shared_multi_heap_add()``.
        """
        kind = _attribute(attribute)
        made = not isinstance(region_or_heap, SysHeap)
        if isinstance(region_or_heap, SysHeap):
            heap = region_or_heap
        else:
            heap = SysHeap(region_or_heap, profile, base_address)
        try:
            with self._latch:
                self._multi.add(heap, kind)
                self._by_attribute[kind].append(heap)
                self._made.extend([heap] if made else [])
        except (ValueError, RuntimeError):
            if made:
                heap.close()
            raise
        return heap

    def alloc(self, attribute: int, request_bytes: int) -> int:
        """Allocate memory of that kind; the block's address.

        Raises:
            OutOfMemory: No heap of that attribute can serve it, or ``request_bytes`` is 0.
            ValueError: No such attribute, or a negative size.

        In Zephyr: ``shared_multi_heap_alloc()``, which returns NULL where this raises.
        """
        return self.aligned_alloc(attribute, 0, request_bytes)

    def aligned_alloc(self, attribute: int, align: int, request_bytes: int) -> int:
        """As :meth:`alloc`, at a multiple of ``align``.

        In Zephyr: ``shared_multi_heap_aligned_alloc()``.
        """
        kind = _attribute(attribute)
        with self._latch:
            return self._multi.aligned_alloc(self._by_attribute[kind], align, request_bytes)

    def try_alloc(self, attribute: int, request_bytes: int, *, align: int = 0) -> int | None:
        """As :meth:`aligned_alloc`, with None where that raises OutOfMemory."""
        kind = _attribute(attribute)
        with self._latch:
            return self._multi.try_alloc(self._by_attribute[kind], request_bytes, align=align)

    def realloc(self, attribute: int, address: int | None, request_bytes: int) -> int | None:
        """Resize a block in its heap, else by moving it to one with that attribute.

        With address None it allocates; with ``request_bytes`` 0 it frees and returns None.

        Raises:
            OutOfMemory, InvalidFree, HeapCorruption, ValueError: As for
                :meth:`MultiHeap.realloc`.

        In Zephyr: ``shared_multi_heap_realloc()``.
        """
        kind = _attribute(attribute)
        with self._latch:
            return self._multi.realloc(self._by_attribute[kind], address, request_bytes)

    def free(self, address: int | None) -> None:
        """Free the block at ``address``; None has no effect.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`MultiHeap.free`.

        In Zephyr: ``shared_multi_heap_free()``.
        """
        with self._latch:
            self._multi.free(address)

    def owner(self, address: int) -> SysHeap:
        """The heap whose region holds ``address``; InvalidFree where none does."""
        return self._multi.owner(address)

    def close(self) -> None:
        """Close the heaps that :meth:`add` made; those that it was given stay open."""
        with self._latch:
            for heap in self._made:
                heap.close()

    def __enter__(self) -> Self:
        """The object itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _attribute(attribute: int) -> RegionAttribute:
    try:
        return RegionAttribute(attribute)
    except ValueError:
        known = ", ".join(f"{a.value} ({a.name})" for a in RegionAttribute)
        raise ValueError(f"attribute {attribute!r} is none of {known}") from None


def _first_that_can(
    _multi: MultiHeap, heaps: list[SysHeap], align: int, request_bytes: int
) -> int | None:
    """The choice function: the first of ``heaps`` that can serve the request."""
    for heap in heaps:
        offset = heap.try_alloc(request_bytes, align=align)
        if offset is not None:
            return heap.base_address + offset
    return None
