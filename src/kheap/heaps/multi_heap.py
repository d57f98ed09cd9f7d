"""``MultiHeap``: several heaps behind one set of calls, and a function that chooses.

It owns the table of heaps and the way back from an address to its heap.  Addresses are numbers
here, ``heap.base_address`` plus an offset, as one offset could be of any heap.  Not here: the
heaps; listeners and statistics are theirs, one by one.  ``shared_multi_heap.py`` beside it is
one with a choice built in, and a lock.
"""

from __future__ import annotations

import operator
from bisect import bisect_right, insort
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from kheap.errors import InvalidFree, OutOfMemory
from kheap.heaps.sys_heap import SysHeap

__all__ = ["MAX_HEAPS", "HeapRecord", "MultiHeap"]

MAX_HEAPS = 8


class HeapRecord(NamedTuple):
    """One heap of a multi-heap.

    Attributes:
        heap: The heap.
        user: Whatever was said of it when it was added.
    """

    heap: SysHeap
    user: Any = None

    @property
    def first(self) -> int:
        """The address of the region's first byte."""
        return self.heap.base_address

    @property
    def end(self) -> int:
        """The address behind the region's last byte."""
        return self.heap.base_address + self.heap.size_bytes


Choice = Callable[["MultiHeap", Any, int, int], int | None]


class MultiHeap:
    """Up to 8 heaps, and a function that chooses among them for each request.

    It is not synchronised: as in Zephyr, its callers take turns.

    Args:
        choose: Called as ``choose(multi, cfg, align, request_bytes)``, align 0 for a plain
            request.  It allocates from one of ``multi.records`` and answers the address, or
            None for no memory; ``cfg`` is what the caller of alloc gave.

    In Zephyr: ``sys_multi_heap_init()``.

    >>> def choose(multi, cfg, align, request_bytes):
    ...     for heap, user in multi.records:
    ...         offset = heap.try_alloc(request_bytes, align=align) if user == cfg else None
    ...         if offset is not None:
    ...             return heap.base_address + offset
    >>> multi = MultiHeap(choose)
    >>> multi.add(SysHeap(1024, base_address=0x20000000), "fast")
    >>> multi.add(SysHeap(4096, base_address=0x90000000), "large")
    >>> hex(multi.alloc("large", 2000))
    '0x90000058'
    """

    def __init__(self, choose: Choice) -> None:
        self._choose = choose
        self._records: list[HeapRecord] = []

    def __repr__(self) -> str:
        """The multi-heap in a few words."""
        places = ", ".join(f"{r.first:#x}-{r.end:#x}" for r in self._records)
        return f"<{type(self).__name__} of {len(self._records)} heaps: {places or 'none'}>"

    @property
    def records(self) -> tuple[HeapRecord, ...]:
        """All heaps with their user values, by ascending address."""
        return tuple(self._records)

    @property
    def heaps(self) -> tuple[SysHeap, ...]:
        """All heaps, by ascending address."""
        return tuple(record.heap for record in self._records)

    def add(self, heap: SysHeap, user: object = None) -> None:
        """Add a heap, with any value that tells the choice function about it.

        Raises:
            ValueError: There are 8 already, its addresses overlap another's, or it is closed.
            TypeError: It is no SysHeap.

        In Zephyr: ``sys_multi_heap_add_heap()``.
        """
        if not isinstance(heap, SysHeap):
            raise TypeError(f"heap: a SysHeap is wanted, not {type(heap).__name__}")
        heap._require_open()
        record = HeapRecord(heap, user)
        if len(self._records) == MAX_HEAPS:
            raise ValueError(f"heap: a multi-heap holds at most {MAX_HEAPS}")
        for other in self._records:
            # Differs from Zephyr: there a free in overlapping heaps goes to the upper one.
            if record.first < other.end and other.first < record.end:
                raise ValueError(
                    f"heap at {record.first:#x}-{record.end:#x} overlaps the one at"
                    f" {other.first:#x}-{other.end:#x}; base_address sets them apart"
                )
        records = self._records.copy()
        insort(records, record, key=_first)
        self._records = records  # Who looks an address up meanwhile has one list or the other.

    def owner(self, address: int) -> SysHeap:
        """The heap whose region holds ``address``.

        Raises:
            InvalidFree: None does.

        Complexity: O(log heaps).
        In Zephyr: ``sys_multi_heap_get_heap()``.
        """
        address, records = operator.index(address), self._records
        index = bisect_right(records, address, key=_first) - 1
        # Differs from Zephyr: there an address below all heaps reads before the table, and
        # one above a heap's end is taken for that heap's.
        if index < 0 or address >= records[index].end:
            raise InvalidFree(f"address {address:#x} lies in none of the heaps", address)
        return records[index].heap

    def alloc(self, cfg: object, request_bytes: int) -> int:
        """Allocate from the heap that the choice function chooses; the block's address.

        Raises:
            OutOfMemory: It found none; ``free_bytes`` and ``largest_free_bytes`` are those of
                all heaps.
            ValueError: ``request_bytes`` is negative.

        Complexity: that of the choice function; a failure walks all heaps.
        In Zephyr: ``sys_multi_heap_alloc()``, which returns NULL where this raises.
        """
        return self.aligned_alloc(cfg, 0, request_bytes)

    def aligned_alloc(self, cfg: object, align: int, request_bytes: int) -> int:
        """As :meth:`alloc`, at a multiple of ``align``, which the choice function is told.

        In Zephyr: ``sys_multi_heap_aligned_alloc()``.
        """
        address = self.try_alloc(cfg, request_bytes, align=align)
        if address is None:
            self._no_memory(request_bytes)
        return address

    def try_alloc(self, cfg: object, request_bytes: int, *, align: int = 0) -> int | None:
        """As :meth:`aligned_alloc`, with None where that raises OutOfMemory."""
        request_bytes = operator.index(request_bytes)
        if request_bytes < 0:
            raise ValueError(f"request_bytes is negative: {request_bytes}")
        return self._choose(self, cfg, align, request_bytes)

    def realloc(
        self, cfg: object, address: int | None, request_bytes: int, *, align: int = 0
    ) -> int | None:
        """Resize a block within its heap, else by moving it to one that is chosen anew.

        With address None it allocates; with ``request_bytes`` 0 it frees and returns None.

        Raises:
            OutOfMemory: Neither its heap nor the choice function had memory; the block is as
                it was.
            InvalidFree, HeapCorruption, ValueError: As for the heap's realloc.

        Complexity: that of the heap's realloc, else of the choice function, and the bytes copied.
        In Zephyr: ``sys_multi_heap_realloc()``, ``sys_multi_heap_aligned_realloc()``.
        """
        if address is None:
            return self.aligned_alloc(cfg, align, request_bytes)
        heap = self.owner(address)
        offset = address - heap.base_address
        try:
            moved = heap.realloc(offset, request_bytes, align=align)
        except OutOfMemory:
            return self._move(heap, offset, cfg, align, request_bytes)
        return None if moved is None else heap.base_address + moved

    def _move(self, heap: SysHeap, offset: int, cfg: object, align: int, request_bytes: int) -> int:
        address = self.aligned_alloc(cfg, align, request_bytes)
        target = self.owner(address)
        # The true extents, so that a usable size that a release overstates copies no header.
        with heap.view(offset) as old, target.view(address - target.base_address) as new:
            count = min(len(old), request_bytes)
            new[:count] = old[:count]
        heap.free(offset)
        return address

    def free(self, address: int | None) -> None:
        """Free the block at ``address`` in the heap that holds it; None has no effect.

        Raises:
            InvalidFree: No heap holds it, or no live block lies there.
            HeapCorruption: Its heap breaks an invariant.  Nothing was written either way.

        In Zephyr: ``sys_multi_heap_free()``.
        """
        if address is not None:
            heap = self.owner(address)
            heap.free(address - heap.base_address)

    def _no_memory(self, request_bytes: int) -> NoReturn:
        stats = [heap.stats() for heap in self.heaps]
        free = sum(s.free_bytes for s in stats)
        largest = max((s.largest_free_bytes for s in stats), default=0)
        raise OutOfMemory(
            f"no heap chosen for {request_bytes} bytes: {free} free in all {len(stats)} heaps,"
            f" largest {largest}",
            request_bytes,
            free,
            largest,
        )


def _first(record: HeapRecord) -> int:
    return record.first
