"""``sys_heap_*``: the unsynchronised heap by its C names."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL
from typing import TYPE_CHECKING

from kheap.errors import HeapCorruption, OutOfMemory
from kheap.heaps.sys_heap import SysHeap
from kheap.zephyr.board import NULL, Pointer, board

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "mapped",
    "sys_heap",
    "sys_heap_aligned_alloc",
    "sys_heap_aligned_realloc",
    "sys_heap_alloc",
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


class sys_heap:
    """A heap object, to be given to :func:`sys_heap_init` first.

    Attributes:
        heap: The SysHeap, once it is initialised.
    """

    heap: SysHeap

    def at(self, address: int) -> int:
        """The offset of an address."""
        return address - self.heap.base_address

    def address(self, offset: int | None) -> Pointer:
        """The address of an offset."""
        return NULL if offset is None else self.heap.base_address + offset


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
    """Make a heap of the memory at ``mem``, an address or a writable buffer."""
    address, region = mapped(mem, size_bytes)
    heap.heap = SysHeap(region, board().profile, address)


def sys_heap_alloc(heap: sys_heap, size_bytes: int) -> Pointer:
    """The address of so many bytes, NULL for no memory."""
    return heap.address(heap.heap.try_alloc(size_bytes))


def sys_heap_aligned_alloc(heap: sys_heap, align: int, size_bytes: int) -> Pointer:
    """The same at a multiple of ``align``, which may carry a rewind bit."""
    return heap.address(heap.heap.try_alloc(size_bytes, align=align))


def sys_heap_free(heap: sys_heap, mem: Pointer) -> None:
    """Free the block at ``mem``; NULL has no effect."""
    if mem:
        heap.heap.free(heap.at(mem))


def sys_heap_realloc(heap: sys_heap, ptr: Pointer, size_bytes: int) -> Pointer:
    """Resize a block: NULL for no memory, where it stays as it is, and for size 0."""
    return sys_heap_aligned_realloc(heap, ptr, 0, size_bytes)


def sys_heap_aligned_realloc(heap: sys_heap, ptr: Pointer, align: int, size_bytes: int) -> Pointer:
    """The same; where it moves, to a multiple of ``align``."""
    try:
        moved = heap.heap.realloc(heap.at(ptr) if ptr else None, size_bytes, align=align)
    except OutOfMemory:
        return NULL
    return heap.address(moved)


def sys_heap_usable_size(heap: sys_heap, mem: int) -> int:
    """Bytes that may be written from ``mem`` on."""
    return heap.heap.usable_bytes(heap.at(mem))


def sys_heap_validate(heap: sys_heap) -> bool:
    """Whether the heap holds no contradiction."""
    try:
        heap.heap.check()
    except HeapCorruption:
        return False
    return True


def sys_heap_runtime_stats_get(heap: sys_heap, stats: sys_memory_stats) -> int:
    """Fill ``stats`` in: 0, or -EINVAL where CONFIG_SYS_HEAP_RUNTIME_STATS is not set."""
    now = heap.heap.stats()
    if now.max_allocated_bytes is None:
        return -EINVAL
    stats.free_bytes = now.free_bytes
    stats.allocated_bytes = now.allocated_bytes
    stats.max_allocated_bytes = now.max_allocated_bytes
    return 0


def sys_heap_runtime_stats_reset_max(heap: sys_heap) -> int:
    """Let the most allocated bytes be those allocated now: 0, or -EINVAL as above."""
    if not heap.heap.profile.runtime_stats:
        return -EINVAL
    heap.heap.reset_max()
    return 0


def sys_heap_print_info(heap: sys_heap, dump_chunks: bool) -> None:
    """Print the heap, letter for letter as Zephyr does."""
    print(heap.heap.print_info(dump_chunks), end="")
