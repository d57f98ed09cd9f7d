"""``k_heap_*``: the synchronised heap by its C names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kheap.errors import InvalidFree, OutOfMemory, TimedOut
from kheap.heaps.k_heap import Block, Heap
from kheap.heaps.sizing import defined_size
from kheap.zephyr.board import NULL, Pointer, board, static_memory
from kheap.zephyr.sys_heaps import heap_address, heap_made, mapped
from kheap.zephyr.threads import k_thread_priority_get
from kheap.zephyr.timeouts import k_timeout_t, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = [
    "K_HEAP_DEFINE",
    "K_HEAP_DEFINE_NOCACHE",
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
        heap: The :class:`kheap.Heap`, once it is initialised; ``sys_heap_*`` calls take it too,
            as they do the ``sys_heap`` in a C ``struct k_heap``.
        address: Where the object itself is said to lie.
        blocks: Its live blocks by address.
    """

    heap: Heap

    def __init__(self) -> None:
        self.address = heap_address()
        self.blocks: dict[int, Block] = {}

    def took(self, obtain: Callable[[], Block]) -> Pointer:
        """The address of what ``obtain`` gives, NULL where it finds no memory."""
        try:
            block = obtain()
        except (OutOfMemory, TimedOut):
            return NULL
        return self.keep(block)

    def keep(self, block: Block) -> int:
        """Hold a block until it is asked back for; its address."""
        # Memory that nobody frees stays taken in C, and may be in the hands of another heap
        # when this object goes: a block that is shut is not freed with it.
        block._shut()
        self.blocks[block.address] = block
        return block.address

    def hand_out(self, address: int) -> Block:
        """The live block at an address, which is held no longer.

        It goes before it is freed: another thread may be given the same address meanwhile.
        """
        block = self.blocks.pop(address, None)
        if block is None:
            raise InvalidFree(f"no live block of this heap at {address:#x}", address)
        block._reopen()
        return block


def K_HEAP_DEFINE(name: str, size_bytes: int) -> k_heap:
    """Define a heap of so many bytes, or of the least that a heap can have."""
    heap = k_heap()
    size_bytes = defined_size(size_bytes, board().profile)
    k_heap_init(heap, static_memory(size_bytes), size_bytes, name=name)
    board().heaps.append(heap)
    return heap


K_HEAP_DEFINE_NOCACHE = K_HEAP_DEFINE  # There is no cache.


def k_heap_init(
    heap: k_heap, mem: Buffer | int, size_bytes: int, *, name: str | None = None
) -> None:
    """Make a heap of the memory at ``mem``, an address or a writable buffer.

    Raises:
        ValueError: The board has not so much memory there, or it is too small for a heap.
    """
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
    heap_made(heap)


def k_heap_array_get() -> list[k_heap]:
    """All heaps that ``K_HEAP_DEFINE`` has defined; the system heap is not told."""
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
    limit, priority = _wait_terms(timeout)
    return heap.took(
        lambda: heap.heap.alloc(size_bytes, align=align, timeout=limit, priority=priority)
    )


def k_heap_calloc(heap: k_heap, num: int, size_bytes: int, timeout: k_timeout_t) -> Pointer:
    """The same for ``num`` times so many bytes, all of them zero.

    A product that overflows the machine's ``size_t`` is NULL at once.
    """
    limit, priority = _wait_terms(timeout)
    if num * size_bytes >= 1 << heap.heap.profile.bits:
        return NULL
    return heap.took(lambda: heap.heap.calloc(num, size_bytes, timeout=limit, priority=priority))


def k_heap_realloc(heap: k_heap, ptr: Pointer, size_bytes: int, timeout: k_timeout_t) -> Pointer:
    """Resize a block, waiting for memory if need be; NULL when the time is up, and for size 0.

    Zephyr frees twice where ``size_bytes`` is 0 and the time is not K_NO_WAIT; not so here.

    Raises:
        InvalidFree: No live block of this heap lies at ``ptr``, or it is just being resized.
    """
    if not ptr:
        return k_heap_alloc(heap, size_bytes, timeout)
    limit, priority = _wait_terms(timeout)
    block = heap.hand_out(ptr)
    try:
        resized = block.realloc(size_bytes, timeout=limit, priority=priority)
    except (OutOfMemory, TimedOut):
        return NULL
    finally:
        if not block.closed:
            heap.keep(block)
    return NULL if resized is None else resized.address


def k_heap_free(heap: k_heap, mem: Pointer) -> None:
    """Free the block at ``mem``; NULL has no effect.

    Raises:
        InvalidFree: No live block of this heap lies there.
    """
    if not mem:
        return
    block = heap.hand_out(mem)
    try:
        block.free()
    finally:
        if not block.closed:
            heap.keep(block)


def _wait_terms(timeout: k_timeout_t) -> tuple[float | None, int]:
    """How long to wait at most, and how urgently."""
    limit = seconds_of(timeout)
    if board().config.get("MULTITHREADING") == "n":
        limit = 0.0  # There is nobody who could free anything meanwhile.
    return limit, k_thread_priority_get()
