"""``k_mem_pool_*``: the block pools of Zephyr 1.6 to 2.4 by their C names."""

from __future__ import annotations

from errno import EAGAIN, ENOMEM

from kheap.errors import InvalidFree, NotDefined, OutOfMemory, TimedOut
from kheap.heaps.mem_pool import MemPool
from kheap.zephyr.board import NULL, Pointer, board
from kheap.zephyr.k_malloc import policy_of, refuse_unknown_pool
from kheap.zephyr.threads import k_thread_priority_get
from kheap.zephyr.timeouts import k_timeout_t, seconds_of

__all__ = [
    "K_MEM_POOL_DEFINE",
    "k_mem_block",
    "k_mem_pool",
    "k_mem_pool_alloc",
    "k_mem_pool_defrag",
    "k_mem_pool_free",
]


class k_mem_pool:
    """A pool of blocks; ``K_MEM_POOL_DEFINE`` makes it.

    Attributes:
        name: What it is called.
        pool: The MemPool.
    """

    def __init__(self, name: str, pool: MemPool) -> None:
        self.name = name
        self.pool = pool


class k_mem_block:
    """The descriptor of a block, which :func:`k_mem_pool_alloc` fills in.

    Attributes:
        pool: The pool it came from.
        data: Its address, NULL for no memory.
        req_size: What was asked for.
    """

    pool: k_mem_pool | None = None
    data: Pointer = NULL
    req_size: int = 0


def K_MEM_POOL_DEFINE(name: str, minsz: int, maxsz: int, nmax: int, align: int) -> k_mem_pool:
    """Define a pool of ``nmax`` blocks of ``maxsz`` bytes, which are cut down to ``minsz``.

    Raises:
        NotDefined: The board's release has no such pools any more.
        NotImplementedError: CONFIG_MEM_POOL_HEAP_BACKEND is set.
        ValueError: A geometry that the release's pools cannot have.
    """
    now = board()
    if now.has_sys_heap:
        raise NotDefined(
            f"Zephyr {now.release} has no k_mem_pool: configure(release='1.7') has the one of"
            " 1.6 and 1.7, '2.4' the one of 1.8 to 2.4"
        )
    refuse_unknown_pool(now)
    region = bytearray(max(0, nmax * maxsz))
    quad = now.version < (1, 8)
    pool = MemPool(
        region,
        min_bytes=minsz,
        max_bytes=maxsz,
        n_max=nmax,
        align=align,
        model="quad" if quad else "buddy",
        policy=policy_of(now) if quad else "split_before_defrag",
        base_address=now.map(region, max(align, 4)),
        clock=now.clock,
        bits=now.profile.bits,
        original_waits=True,
    )
    return k_mem_pool(name, pool)


def k_mem_pool_alloc(
    pool: k_mem_pool, block: k_mem_block, size_bytes: int, timeout: k_timeout_t | int
) -> int:
    """Take a block and fill its descriptor in.

    Without a block, the descriptor stays as it was up to 1.7; from 1.8 on its data is NULL then.

    Args:
        pool: From where.
        block: The descriptor.
        size_bytes: Bytes wanted.
        timeout: How long to wait at most; a plain number is milliseconds, as in Zephyr 1.x.

    Returns:
        0; -ENOMEM where there is no memory and it was not to wait; -EAGAIN when the time is up.
    """
    try:
        offset = pool.pool.alloc(
            size_bytes, timeout=seconds_of(timeout), priority=k_thread_priority_get()
        )
    except (TimedOut, OutOfMemory) as error:
        if pool.pool.model == "buddy":
            block.data = NULL
        return -EAGAIN if isinstance(error, TimedOut) else -ENOMEM
    block.pool, block.data = pool, pool.pool.base_address + offset
    block.req_size = size_bytes
    return 0


def k_mem_pool_free(block: k_mem_block) -> None:
    """Give the block back that the descriptor tells of.

    Raises:
        InvalidFree: The descriptor tells of no live block.
    """
    if block.pool is None or block.data is NULL:
        raise InvalidFree("the descriptor tells of no block")
    block.pool.pool.free(block.data - block.pool.pool.base_address)


def k_mem_pool_defrag(pool: k_mem_pool) -> None:
    """Merge free blocks as far as they go; nothing to do in a pool of 1.8 or later."""
    pool.pool.defrag()
