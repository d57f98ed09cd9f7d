"""``k_malloc()`` and its family, by their C names: the system heap.

A program has one.  It is made at the first call, by CONFIG_HEAP_MEM_POOL_SIZE and the board's
release: before 2.5 it is a pool of blocks.
"""

from __future__ import annotations

from kheap.errors import InvalidFree
from kheap.heaps.pool_shape import Policy
from kheap.heaps.sizing import system_region_size
from kheap.heaps.system_heap import SystemHeap
from kheap.zephyr.board import NULL, Board, Pointer, board

__all__ = ["k_aligned_alloc", "k_calloc", "k_free", "k_malloc", "k_realloc", "system_heap"]

_POLICIES: dict[str, Policy] = {
    "MEM_POOL_DEFRAG_BEFORE_SPLIT": "defrag_before_split",
    "MEM_POOL_SPLIT_ONLY": "split_only",
}
_BUDDY_SINCE = (1, 8)
_SHORT_DESCRIPTORS_SINCE = (1, 11)


def policy_of(of: Board) -> Policy:
    """The policy of the board's quad pools."""
    for option, policy in _POLICIES.items():
        if of.is_set(option):
            return policy
    return "split_before_defrag"


def system_heap() -> SystemHeap:
    """The system heap of the board.

    Raises:
        NotDefined: CONFIG_HEAP_MEM_POOL_SIZE is 0.
    """
    now = board()
    with now.lock:
        if now.system_heap is None:
            now.system_heap = _made(now, now.system_heap_bytes())
        return now.system_heap


def refuse_unknown_pool(now: Board) -> None:
    """NotImplementedError for a configuration whose pools are none that kheap has."""
    if now.is_set("MEM_POOL_HEAP_BACKEND"):
        raise NotImplementedError(
            "CONFIG_MEM_POOL_HEAP_BACKEND: kheap has not the heap of Zephyr 2.3 and 2.4 that"
            " lies behind pools then; without that option they are those of 1.8 on"
        )


def _refuse_unknown_heap(now: Board) -> None:
    refuse_unknown_pool(now)
    least = now.config.get("HEAP_MEM_POOL_MIN_SIZE", "64")
    if int(least, 0) != 64:
        raise NotImplementedError(
            f"CONFIG_HEAP_MEM_POOL_MIN_SIZE is {least}: the smallest block has 64 bytes here"
        )
    if now.profile.bits != 32:
        raise NotImplementedError("the pool behind k_malloc() is that of 32-bit machines here")


def _made(now: Board, size_bytes: int) -> SystemHeap:
    region_bytes = system_region_size(size_bytes, now.profile)
    if not now.has_sys_heap:
        _refuse_unknown_heap(now)
    region = bytearray(region_bytes if now.has_sys_heap else size_bytes)
    address, heap_address = now.map(region), now.object_address()
    if now.has_sys_heap:
        return SystemHeap(
            region, profile=now.profile, base_address=address, heap_address=heap_address
        )
    if now.version < _BUDDY_SINCE:
        return SystemHeap(
            region,
            implementation="quad",
            policy=policy_of(now),
            base_address=address,
            heap_address=heap_address,
        )
    return SystemHeap(
        region,
        implementation="buddy",
        descriptor_bytes=4 if now.version >= _SHORT_DESCRIPTORS_SINCE else 8,
        base_address=address,
        heap_address=heap_address,
    )


def _took(offset: int | None) -> Pointer:
    if offset is None:
        return NULL
    address = system_heap().heap.base_address + offset
    board().taken.add(address)
    return address


def k_malloc(size_bytes: int) -> Pointer:
    """The address of so many bytes, NULL for no memory; it never waits.

    Raises:
        NotDefined: CONFIG_HEAP_MEM_POOL_SIZE is 0.
        ValueError: There is no such heap of that size.
    """
    return _took(system_heap().malloc(size_bytes))


def k_aligned_alloc(align: int, size_bytes: int) -> Pointer:
    """The same at a multiple of ``align``.

    Raises:
        NotImplementedError: The board's release has a pool behind ``k_malloc()``.
    """
    return _took(system_heap().aligned_alloc(align, size_bytes))


def k_calloc(nmemb: int, size_bytes: int) -> Pointer:
    """The same for ``nmemb`` times so many bytes, all of them zero.

    Raises:
        NotImplementedError: The board's release is 1.6 or 1.7.
    """
    return _took(system_heap().calloc(nmemb, size_bytes))


def k_realloc(ptr: Pointer, size_bytes: int) -> Pointer:
    """Resize a block: NULL for no memory, where it stays as it is, and for size 0.

    Raises:
        InvalidFree: No live block of the system heap lies at ``ptr``.
        NotImplementedError: The board's release has a pool behind ``k_malloc()``.
    """
    heap = system_heap()
    if not ptr:
        return _took(heap.realloc(None, size_bytes))
    offset = _given_up(ptr)
    try:
        moved = heap.realloc(offset, size_bytes)
    except Exception:
        board().taken.add(ptr)
        raise
    if moved is None and size_bytes:
        board().taken.add(ptr)
        return NULL
    return _took(moved)


def k_free(ptr: Pointer) -> None:
    """Free the block at ``ptr``; NULL has no effect.

    Raises:
        InvalidFree: No live block of the system heap lies there.
    """
    if not ptr:
        return
    offset = _given_up(ptr)
    try:
        system_heap().free(offset)
    except Exception:
        board().taken.add(ptr)
        raise


def _given_up(address: int) -> int:
    """The offset of a live block that counts as one no longer.

    That comes before it is freed: another thread may be given the same address meanwhile.
    """
    try:
        board().taken.remove(address)
    except KeyError:
        raise InvalidFree(f"no live block of the system heap at {address:#x}", address) from None
    return address - system_heap().heap.base_address
