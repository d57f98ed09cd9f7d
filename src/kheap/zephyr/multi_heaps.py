"""``sys_multi_heap_*`` and ``shared_multi_heap_*`` by their C names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from errno import EALREADY, EINVAL, ENOMEM
from typing import TYPE_CHECKING, Any

from kheap.errors import OutOfMemory
from kheap.heaps.multi_heap import MultiHeap
from kheap.heaps.shared_multi_heap import RegionAttribute, SharedMultiHeap
from kheap.zephyr.board import NULL, Board, Pointer, board
from kheap.zephyr.sys_heaps import heap_made, low_level, sys_heap

if TYPE_CHECKING:
    from kheap.heaps.k_heap import Heap

__all__ = [
    "SMH_REG_ATTR_CACHEABLE",
    "SMH_REG_ATTR_NON_CACHEABLE",
    "SMH_REG_ATTR_NUM",
    "shared_multi_heap_add",
    "shared_multi_heap_aligned_alloc",
    "shared_multi_heap_alloc",
    "shared_multi_heap_free",
    "shared_multi_heap_pool_init",
    "shared_multi_heap_realloc",
    "shared_multi_heap_region",
    "sys_multi_heap",
    "sys_multi_heap_add_heap",
    "sys_multi_heap_aligned_alloc",
    "sys_multi_heap_aligned_realloc",
    "sys_multi_heap_alloc",
    "sys_multi_heap_free",
    "sys_multi_heap_get_heap",
    "sys_multi_heap_init",
    "sys_multi_heap_realloc",
    "sys_multi_heap_rec",
]

Choice = Callable[["sys_multi_heap", Any, int, int], Pointer]

SMH_REG_ATTR_CACHEABLE = RegionAttribute.CACHEABLE
SMH_REG_ATTR_NON_CACHEABLE = RegionAttribute.NON_CACHEABLE
SMH_REG_ATTR_NUM = len(RegionAttribute)


@dataclass(frozen=True, slots=True)
class sys_multi_heap_rec:
    """One heap of a multi-heap.

    Attributes:
        heap: The heap.
        user_data: What was said of it when it was added.
    """

    heap: sys_heap | Heap
    user_data: Any


class sys_multi_heap:
    """Several heaps, to be given to :func:`sys_multi_heap_init` first.

    Attributes:
        multi: The MultiHeap, once it is initialised; its user values are the records.
    """

    multi: MultiHeap

    @property
    def heaps(self) -> list[sys_multi_heap_rec]:
        """The records of all heaps, by ascending address."""
        return [record.user for record in self.multi.records]

    @property
    def nheaps(self) -> int:
        """How many heaps were added."""
        return len(self.multi.records)


def sys_multi_heap_init(heap: sys_multi_heap, choice_fn: Choice) -> None:
    """Begin with no heaps; ``choice_fn(heap, cfg, align, size)`` answers each request."""
    heap.multi = MultiHeap(
        lambda _, cfg, align, size_bytes: choice_fn(heap, cfg, align, size_bytes) or NULL
    )


def sys_multi_heap_add_heap(
    mheap: sys_multi_heap, heap: sys_heap | Heap, user_data: object = None
) -> None:
    """Add a heap, with whatever the choice function wants to know of it.

    Raises:
        ValueError: There are 8 already, or its addresses overlap another's.
    """
    mheap.multi.add(low_level(heap), sys_multi_heap_rec(heap, user_data))


def sys_multi_heap_get_heap(mheap: sys_multi_heap, addr: int) -> sys_multi_heap_rec:
    """The record of the heap that an address belongs to.

    Raises:
        InvalidFree: It belongs to none.
    """
    owner = mheap.multi.owner(addr)
    return next(record for record in mheap.heaps if low_level(record.heap) is owner)


def sys_multi_heap_alloc(mheap: sys_multi_heap, cfg: object, size_bytes: int) -> Pointer:
    """What the choice function gives: an address, or NULL."""
    return mheap.multi.try_alloc(cfg, size_bytes)


def sys_multi_heap_aligned_alloc(
    mheap: sys_multi_heap, cfg: object, align: int, size_bytes: int
) -> Pointer:
    """The same; the choice function is told the alignment."""
    return mheap.multi.try_alloc(cfg, size_bytes, align=align)


def sys_multi_heap_realloc(
    mheap: sys_multi_heap, cfg: object, ptr: Pointer, size_bytes: int
) -> Pointer:
    """Resize a block, in its heap or by moving it to one that is chosen anew."""
    return sys_multi_heap_aligned_realloc(mheap, cfg, ptr, 0, size_bytes)


def sys_multi_heap_aligned_realloc(
    mheap: sys_multi_heap, cfg: object, ptr: Pointer, align: int, size_bytes: int
) -> Pointer:
    """The same; where it moves, to a multiple of ``align``."""
    try:
        return mheap.multi.realloc(cfg, ptr or None, size_bytes, align=align)
    except OutOfMemory:
        return NULL


def sys_multi_heap_free(mheap: sys_multi_heap, block: Pointer) -> None:
    """Free a block in the heap that its address belongs to; NULL has no effect."""
    mheap.multi.free(block or None)


@dataclass(slots=True)
class shared_multi_heap_region:
    """A region of memory: its attribute, its address on the board, its size."""

    attr: int
    addr: int
    size: int


_pools: dict[Board, SharedMultiHeap] = {}  # At most one.


def shared_multi_heap_pool_init() -> int:
    """Begin with no regions: 0, or -EALREADY where that was done before."""
    now = board()
    with now.lock:
        if now in _pools:
            return -EALREADY
        _pools.clear()  # Those of boards that are no more.
        _pools[now] = SharedMultiHeap()
    return 0


def _pool() -> SharedMultiHeap:
    pool = _pools.get(board())
    if pool is None:
        raise ValueError("shared_multi_heap_pool_init() was not called on this board")
    return pool


def shared_multi_heap_add(region: shared_multi_heap_region, user_data: object = None) -> int:
    """Add a region: 0, -EINVAL for an unknown attribute, -ENOMEM for a ninth region."""
    pool = _pool()
    if region.attr not in tuple(RegionAttribute):
        return -EINVAL
    if len(pool.heaps) == 8:
        # Differs from Zephyr: there an assertion trips before, where attributes differ.
        return -ENOMEM
    memory = board().memory(region.addr, region.size)
    heap = sys_heap()
    heap.heap = pool.add(memory, region.attr, base_address=region.addr, profile=board().profile)
    heap_made(heap)
    return 0


def shared_multi_heap_alloc(attr: int, size_bytes: int) -> Pointer:
    """The address of so many bytes of that kind of memory, or NULL."""
    return shared_multi_heap_aligned_alloc(attr, 0, size_bytes)


def shared_multi_heap_aligned_alloc(attr: int, align: int, size_bytes: int) -> Pointer:
    """The same at a multiple of ``align``; NULL too for an unknown attribute."""
    if attr not in tuple(RegionAttribute):
        return NULL
    return _pool().try_alloc(attr, size_bytes, align=align)


def shared_multi_heap_realloc(attr: int, ptr: Pointer, size_bytes: int) -> Pointer:
    """Resize a block, in its heap or by moving it to one with that attribute.

    NULL too for an unknown attribute, where the block stays as it is.
    """
    if attr not in tuple(RegionAttribute):
        return NULL
    try:
        return _pool().realloc(attr, ptr or None, size_bytes)
    except OutOfMemory:
        return NULL


def shared_multi_heap_free(block: Pointer) -> None:
    """Free a block; NULL has no effect."""
    if block:
        _pool().free(block)
