"""``sys_heap_*``: the unsynchronised heap by its C names."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL
from itertools import count
from typing import TYPE_CHECKING

from kheap.errors import HeapCorruption, OutOfMemory
from kheap.heaps.sys_heap import SysHeap
from kheap.zephyr.board import NULL, Pointer, board

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from kheap.heaps.k_heap import Heap
    from kheap.zephyr.k_heaps import k_heap

__all__ = [
    "heap_address",
    "heap_made",
    "low_level",
    "mapped",
    "sys_heap",
    "sys_heap_aligned_alloc",
    "sys_heap_aligned_realloc",
    "sys_heap_alloc",
    "sys_heap_array_get",
    "sys_heap_free",
    "sys_heap_init",
    "sys_heap_print_info",
    "sys_heap_realloc",
    "sys_heap_runtime_stats_get",
    "sys_heap_runtime_stats_reset_max",
    "sys_heap_usable_size",
    "sys_heap_validate",
    "sys_memory_stats",
]


# They outlive the board: a heap object may be initialised on one board after the other.
_addresses = count(0x1E000000, 64)


def heap_address() -> int:
    """An address for a heap object."""
    return next(_addresses)


class sys_heap:
    """A heap object, to be given to :func:`sys_heap_init` first.

    Attributes:
        heap: The SysHeap, once it is initialised.
        address: Where the object itself is said to lie.
    """

    heap: SysHeap

    def __init__(self) -> None:
        self.address = heap_address()


def heap_made(heap: sys_heap | k_heap) -> None:
    """Note that a heap object was initialised, and let its listeners hear of it."""
    now = board()
    with now.lock:
        now.initialised.append(heap)
        listeners = list(now.listeners)
    for listener in listeners:
        listener.listen_to(heap)


def low_level(heap: sys_heap | Heap) -> SysHeap:
    """The SysHeap of a heap object, or of the ``heap`` in a ``k_heap``."""
    return heap.heap if isinstance(heap, sys_heap) else heap.sys_heap


@dataclass(slots=True)
class sys_memory_stats:
    """Runtime statistics, in bytes."""

    free_bytes: int = 0
    allocated_bytes: int = 0
    max_allocated_bytes: int = 0


def mapped(mem: Buffer | int, size_bytes: int) -> tuple[int, memoryview]:
    """Address and bytes of memory that C code hands in: an address, or any buffer."""
    address = mem if isinstance(mem, int) else board().map(mem)
    return address, board().memory(address, size_bytes)


def sys_heap_init(heap: sys_heap, mem: Buffer | int, size_bytes: int) -> None:
    """Make a heap of the memory at ``mem``, an address or a writable buffer.

    Raises:
        ValueError: The board has not so much memory there, or it is too small for a heap.
    """
    address, region = mapped(mem, size_bytes)
    heap.heap = SysHeap(region, board().profile, address)
    heap_made(heap)


def sys_heap_array_get() -> list[sys_heap | Heap]:
    """What every init has made, in order, up to CONFIG_SYS_HEAP_ARRAY_SIZE of them.

    A heap that was initialised twice is told twice.  The system heap is not told.
    """
    most = int(board().config.get("SYS_HEAP_ARRAY_SIZE", "0"), 0)
    made = board().initialised[:most]
    return [heap if isinstance(heap, sys_heap) else heap.heap for heap in made]


def sys_heap_alloc(heap: sys_heap | Heap, size_bytes: int) -> Pointer:
    """The address of so many bytes, NULL for no memory."""
    return sys_heap_aligned_alloc(heap, 0, size_bytes)


def sys_heap_aligned_alloc(heap: sys_heap | Heap, align: int, size_bytes: int) -> Pointer:
    """The same at a multiple of ``align``, which may carry a rewind bit."""
    low = low_level(heap)
    offset = low.try_alloc(size_bytes, align=align)
    return NULL if offset is None else low.base_address + offset


def sys_heap_free(heap: sys_heap | Heap, mem: Pointer) -> None:
    """Free the block at ``mem``; NULL has no effect.

    Raises:
        InvalidFree, HeapCorruption: As for :meth:`kheap.SysHeap.free`.
    """
    if mem:
        low = low_level(heap)
        low.free(mem - low.base_address)


def sys_heap_realloc(heap: sys_heap | Heap, ptr: Pointer, size_bytes: int) -> Pointer:
    """Resize a block: NULL for no memory, where it stays as it is, and for size 0."""
    return sys_heap_aligned_realloc(heap, ptr, 0, size_bytes)


def sys_heap_aligned_realloc(
    heap: sys_heap | Heap, ptr: Pointer, align: int, size_bytes: int
) -> Pointer:
    """The same; where it moves, to a multiple of ``align``."""
    low = low_level(heap)
    try:
        moved = low.realloc(ptr - low.base_address if ptr else None, size_bytes, align=align)
    except OutOfMemory:
        return NULL
    return NULL if moved is None else low.base_address + moved


def sys_heap_usable_size(heap: sys_heap | Heap, mem: int) -> int:
    """Bytes that may be written from ``mem`` on."""
    low = low_level(heap)
    return low.usable_bytes(mem - low.base_address)


def sys_heap_validate(heap: sys_heap | Heap) -> bool:
    """Whether the heap holds no contradiction."""
    try:
        low_level(heap).check()
    except HeapCorruption:
        return False
    return True


def sys_heap_runtime_stats_get(heap: sys_heap | Heap | None, stats: sys_memory_stats | None) -> int:
    """Fill ``stats`` in: 0, or -EINVAL for NULL, or without CONFIG_SYS_HEAP_RUNTIME_STATS."""
    if heap is None or stats is None or not low_level(heap).profile.runtime_stats:
        return -EINVAL
    low = low_level(heap)
    stats.free_bytes = low._stat(0)
    stats.allocated_bytes = low._stat(1)
    stats.max_allocated_bytes = low._stat(2)
    return 0


def sys_heap_runtime_stats_reset_max(heap: sys_heap | Heap | None) -> int:
    """Let the most allocated bytes be those allocated now: 0, or -EINVAL as above."""
    if heap is None or not low_level(heap).profile.runtime_stats:
        return -EINVAL
    low_level(heap).reset_max()
    return 0


def sys_heap_print_info(heap: sys_heap | Heap, dump_chunks: bool) -> None:
    """Print the heap, letter for letter as Zephyr does."""
    print(low_level(heap).print_info(dump_chunks), end="")
