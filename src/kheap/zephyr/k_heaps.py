"""``k_heap_*``: the synchronised heap by its C names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kheap.errors import InvalidFree, OutOfMemory, TimedOut
from kheap.heaps.k_heap import Block, Heap
from kheap.heaps.sizing import defined_size
from kheap.zephyr.board import NULL, Pointer, board, k_thread_priority_get, static_memory
from kheap.zephyr.sys_heaps import mapped
from kheap.zephyr.timeouts import k_timeout_t, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = [
    "K_HEAP_DEFINE",
    "k_heap",
    "k_heap_aligned_alloc",
    "k_heap_alloc",
    "k_heap_array_get",
    "k_heap_calloc",
    "k_heap_free",
    "k_heap_init",
    "k_heap_realloc",
]


class k_heap:
    """A heap object, to be given to :func:`k_heap_init` first.

    Attributes:
        heap: The :class:`kheap.Heap`, once it is initialised.
        blocks: Its live blocks by address.
    """

    heap: Heap

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}

    def took(self, obtain: Callable[[], Block]) -> Pointer:
        """The address of what ``obtain`` gives, NULL where it finds no memory."""
        try:
            block = obtain()
        except (OutOfMemory, TimedOut):
            return NULL
        self.blocks[block.address] = block
        return block.address

    def block_at(self, address: int) -> Block:
        """The live block at an address."""
        if address not in self.blocks:
            raise InvalidFree(f"no live block of this heap at {address:#x}", address)
        return self.blocks[address]


def K_HEAP_DEFINE(name: str, size_bytes: int) -> k_heap:
    """Define a heap of so many bytes, or of the least that a heap can have."""
    heap = k_heap()
    size_bytes = defined_size(size_bytes, board().profile)
    k_heap_init(heap, static_memory(size_bytes), size_bytes, name=name)
    board().heaps.append(heap)
    return heap


def k_heap_init(
    heap: k_heap, mem: Buffer | int, size_bytes: int, *, name: str | None = None
) -> None:
    """Make a heap of the memory at ``mem``, an address or a writable buffer."""
    address, region = mapped(mem, size_bytes)
    heap.heap = Heap(
        region,
        profile=board().profile,
        name=name,
        base_address=address,
        clock=board().clock,
        original_waits=True,
    )
    heap.blocks.clear()


def k_heap_array_get() -> list[k_heap]:
    """All heaps that ``K_HEAP_DEFINE`` has defined."""
    return list(board().heaps)


def k_heap_alloc(heap: k_heap, size_bytes: int, timeout: k_timeout_t) -> Pointer:
    """The address of so many bytes, waiting for them if need be; NULL when the time is up.

    As in Zephyr, a request that can never be served waits too, with K_FOREVER without end.
    """
    return k_heap_aligned_alloc(heap, 0, size_bytes, timeout)


def k_heap_aligned_alloc(
    heap: k_heap, align: int, size_bytes: int, timeout: k_timeout_t
) -> Pointer:
    """The same at a multiple of ``align``, 0 or a power of two."""
    limit, priority = seconds_of(timeout), k_thread_priority_get()
    return heap.took(
        lambda: heap.heap.alloc(size_bytes, align=align, timeout=limit, priority=priority)
    )


def k_heap_calloc(heap: k_heap, num: int, size_bytes: int, timeout: k_timeout_t) -> Pointer:
    """The same for ``num`` times so many bytes, all of them zero.

    A product that overflows the machine's ``size_t`` is NULL at once.
    """
    limit, priority = seconds_of(timeout), k_thread_priority_get()
    if num * size_bytes >= 1 << board().profile.bits:
        return NULL
    return heap.took(lambda: heap.heap.calloc(num, size_bytes, timeout=limit, priority=priority))


def k_heap_realloc(heap: k_heap, ptr: Pointer, size_bytes: int, timeout: k_timeout_t) -> Pointer:
    """Resize a block, waiting for memory if need be; NULL when the time is up, and for size 0.

    Zephyr frees twice where ``size_bytes`` is 0 and the time is not K_NO_WAIT; not so here.
    """
    if not ptr:
        return k_heap_alloc(heap, size_bytes, timeout)
    block = heap.block_at(ptr)
    limit, priority = seconds_of(timeout), k_thread_priority_get()
    try:
        resized = block.realloc(size_bytes, timeout=limit, priority=priority)
    except (OutOfMemory, TimedOut):
        return NULL
    del heap.blocks[ptr]
    return NULL if resized is None else heap.took(lambda: resized)


def k_heap_free(heap: k_heap, mem: Pointer) -> None:
    """Free the block at ``mem``; NULL has no effect.

    Raises:
        InvalidFree: No live block of this heap lies there.
    """
    if mem:
        heap.block_at(mem).free()
        del heap.blocks[mem]
