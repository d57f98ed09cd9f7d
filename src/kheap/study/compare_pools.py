"""A trace played on the pools that stood behind ``k_malloc()`` before the heap.

A resize is played as a request for a new block, a copy, and a free of the old one, since pools
have no resize.  An aligned request asks for a block at least as large as the alignment: blocks
lie at multiples of their size.

It owns the playing, and the search for a pool that serves.  Not here: the pools
(``kheap.heaps.mem_pool``).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from kheap.heaps.mem_pool import MemPool
from kheap.heaps.pool_shape import Model, Policy
from kheap.heaps.pool_view import PoolStats
from kheap.trace.model import FREE, REALLOC, Trace

__all__ = ["DESCRIPTOR_BYTES", "PoolPlay", "play_pool", "pool_at_most", "smallest_pool"]

#: Blocks are quarters of quarters of one block, and no smaller than this.
LEAST_BLOCK = 64

#: How many pools are tried, each four times as large as the one before.
POOLS_TRIED = 5

#: No pool is larger than this.
LARGEST_POOL = 1 << 28

#: What ``k_malloc()`` hides in a block's first bytes.
DESCRIPTOR_BYTES = {"quad": 16, "buddy": 4}


@dataclass(slots=True)
class PoolPlay:
    """What happened.

    Attributes:
        size_bytes: Of the pool.
        failed: Requests that got no block.
        peak_allocated_bytes: Most bytes of used blocks at once.
        peak_request_bytes: What the program had asked for at that moment.
        final: The pool at the end.
    """

    size_bytes: int
    failed: int = 0
    peak_allocated_bytes: int = 0
    peak_request_bytes: int = 0
    final: PoolStats = field(init=False)


def smallest_pool(trace: Trace, model: Model, policy: Policy, added_bytes: int) -> PoolPlay | None:
    """The smallest pool that serves all requests, None where none of those tried does.

    Args:
        trace: The requests, of one heap.
        model: Which kind of pool.
        policy: When it merges.
        added_bytes: What each request needs besides.
    """
    size = LEAST_BLOCK
    while size < _most_live(trace, added_bytes):
        size *= 4
    for _ in range(POOLS_TRIED):
        if size > LARGEST_POOL:
            return None
        play = play_pool(trace, size, model, policy, added_bytes, until_failure=True)
        if not play.failed:
            return play
        size *= 4
    return None


def pool_at_most(size_bytes: int) -> int | None:
    """The largest pool in a region of so many bytes; None where none fits in."""
    size = LEAST_BLOCK
    while size * 4 <= size_bytes:
        size *= 4
    return size if size <= size_bytes else None


def play_pool(
    trace: Trace,
    size_bytes: int,
    model: Model,
    policy: Policy,
    added_bytes: int,
    *,
    until_failure: bool = False,
) -> PoolPlay:
    """Play a trace on a pool of one block of ``size_bytes``."""
    play = PoolPlay(size_bytes)
    blocks = _Blocks(size_bytes, model, policy)
    for i in range(len(trace)):
        id, request = trace.id[i], trace.size[i]
        if trace.op[i] == FREE or (trace.op[i] == REALLOC and not request):
            blocks.let_go(id)
        elif request and not blocks.take(id, request, _whole(trace, i, added_bytes)):
            play.failed += 1
            if trace.op[i] != REALLOC:
                blocks.forget(id)
            if until_failure:
                break
    play.peak_allocated_bytes, play.peak_request_bytes = blocks.peak
    play.final = blocks.pool.stats()
    return play


def _whole(trace: Trace, i: int, added_bytes: int) -> int:
    """What request ``i`` needs of a block."""
    align = trace.align[i]
    # The lowest bit of an alignment may be a rewind; the highest is what is aligned to.
    return max(trace.size[i] + added_bytes, 1 << (align.bit_length() - 1) if align else 0)


def _most_live(trace: Trace, added_bytes: int) -> int:
    """Most bytes that are live at once; no smaller pool can serve."""
    live: dict[int, int] = {}
    now = most = 0
    for i in range(len(trace)):
        now -= live.pop(trace.id[i], 0)
        if trace.op[i] != FREE and trace.size[i]:
            live[trace.id[i]] = trace.size[i] + added_bytes
            now += live[trace.id[i]]
            most = max(most, now)
    return most


class _Blocks:
    """A pool, and the blocks that the ids of a trace hold in it.

    Attributes:
        pool: The pool.
        peak: Most bytes allocated at once, and what the program had asked for then.
    """

    def __init__(self, size_bytes: int, model: Model, policy: Policy) -> None:
        self.pool = MemPool(
            None, min_bytes=LEAST_BLOCK, max_bytes=size_bytes, n_max=1, model=model, policy=policy
        )
        self.peak = (0, 0)
        self._sizes = sorted(self.pool.free_blocks())
        self._held: dict[int, tuple[int, int, int]] = {}
        self._allocated = self._requested = 0

    def take(self, id: int, request_bytes: int, whole_bytes: int) -> bool:
        """Give an id a block, and free the one that it had; False: it keeps that one."""
        offset = self.pool.try_alloc(whole_bytes)
        if offset is None:
            return False
        block_bytes = self._sizes[bisect_left(self._sizes, whole_bytes)]
        self._allocated += block_bytes
        self._requested += request_bytes
        if self._allocated > self.peak[0]:
            self.peak = self._allocated, self._requested
        self.let_go(id)
        self._held[id] = offset, block_bytes, request_bytes
        return True

    def let_go(self, id: int) -> None:
        """Free the block of an id, if it has one."""
        if id in self._held:
            self.pool.free(self._held[id][0])
            self.forget(id)

    def forget(self, id: int) -> None:
        """The id holds nothing any more."""
        _, block_bytes, request_bytes = self._held.pop(id, (0, 0, 0))
        self._allocated -= block_bytes
        self._requested -= request_bytes
