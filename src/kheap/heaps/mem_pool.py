"""``MemPool``: the block pools of Zephyr 1.6 to 2.4, with waiting.

It owns alloc and free, the wait queue, and the pool's end.  Which block is handed out is the
engines' matter (``kheap._core.quad``, ``kheap._core.buddy``); the arguments are checked in
``pool_shape.py``; all that only looks is in ``pool_base.py``.  Not here: the heap that lies on
a pool, with hidden descriptors (``system_heap.py``).
"""

from __future__ import annotations

import operator
from types import TracebackType
from typing import TYPE_CHECKING

from kheap._core.quad import QuadPool
from kheap.errors import TimedOut
from kheap.heaps.pool_base import PoolBase, raise_no_block
from kheap.heaps.pool_shape import Model, Policy, PoolShape
from kheap.heaps.waiting import (
    Clock,
    RealClock,
    ThreadBell,
    Waiter,
    WaitQueue,
    abandon,
    checked_timeout,
    wait,
)

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["MemPool"]


class MemPool(PoolBase):
    """A pool of blocks: ``n_max`` maximum blocks, each of which can be cut into four, and so on.

    Two kinds exist.  "quad" is Zephyr's of 1.6 and 1.7: a freed block keeps its size until a
    request or :meth:`defrag` recombines it, and the sizes of odd geometries are rounded down.
    "buddy" is that of 1.8 to 2.4: four free quarters recombine at once, and the block that was
    free longest is handed out first.

    Threads may share a pool.  A block is named by its offset from the region's first byte.

    Args:
        region: Any writable, contiguous buffer of ``n_max * max_bytes`` bytes or more; None: a
            pool without memory, to see what happens.
        min_bytes: The smallest block that may come of cutting.  In "buddy" no block is smaller
            than a list node: 8 bytes on 32 bits, 16 on 64.
        max_bytes: Size of a maximum block.
        n_max: How many of them.
        align: What the pool's memory is aligned to in the firmware, a power of two.
        model: "quad" or "buddy".
        policy: What a "quad" pool does for a request of a size of which no block is free:
            "split_before_defrag" cuts a larger block, else recombines smaller ones;
            "defrag_before_split" tries them the other way round; "split_only" recombines
            nothing.  "buddy" knows no policies.
        base_address: The address the pool is said to lie at, a multiple of ``align``.  None:
            where the region really is, 0x20000000 without one.
        clock: Where the time for time limits comes from; None: the machine's.
        bits: Word size of the firmware, 32 or 64; it matters to "buddy".
        original_waits: Let also those wait whose request no state of the pool could serve, as
            Zephyr does; False: such a request fails at once.

    Raises:
        ValueError: An argument is out of range; "buddy": a size does not divide, so that in
            Zephyr blocks would overlap; the region is too small.
        TypeError, BufferError: The region is no writable contiguous buffer.

    In Zephyr: ``K_MEM_POOL_DEFINE()``.

    >>> pool = MemPool(None, min_bytes=64, max_bytes=1024, n_max=1)
    >>> pool.alloc(200), pool.alloc(48)
    (0, 256)
    >>> pool.free_blocks()
    {1024: [], 256: [512, 768], 64: [320, 384, 448]}
    """

    __slots__ = ("_clock", "_original_waits", "_queue")

    def __init__(
        self,
        region: Buffer | None,
        *,
        min_bytes: int,
        max_bytes: int,
        n_max: int,
        align: int = 4,
        model: Model = "quad",
        policy: Policy = "split_before_defrag",
        base_address: int | None = None,
        clock: Clock | None = None,
        bits: int = 32,
        original_waits: bool = True,
    ) -> None:
        shape = PoolShape(
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            n_max=n_max,
            align=align,
            model=model,
            policy=policy,
            bits=bits,
        )
        super().__init__(region, shape, base_address)
        self._original_waits = original_waits
        self._clock = RealClock() if clock is None else clock
        self._queue = WaitQueue()

    @property
    def waiters(self) -> tuple[tuple[int, int], ...]:
        """``(request_bytes, priority)`` of all who wait, in the order in which they are served."""
        with self._latch:
            return self._queue.requests()

    # ------------------------------------------------------------------ alloc and free

    def alloc(self, request_bytes: int, *, timeout: float | None = 0.0, priority: int = 0) -> int:
        """Allocate a block of at least ``request_bytes`` bytes.

        Its memory keeps what it held before.

        Args:
            request_bytes: Bytes wanted; 0 gets a smallest block.
            timeout: Seconds to wait for a block at most, 0 for not at all, None for ever.
            priority: How urgent it is to wait: the smaller number is served first, and first
                come first served among equals.  Who cannot be served is overtaken.

        Returns:
            The block's offset.

        Raises:
            OutOfMemory: No block is free and ``timeout`` is 0; or, without ``original_waits``,
                none could ever be.  No live block has changed; a quad pool may have recombined
                free ones.
            TimedOut: No block was free in time.
            ValueError: ``request_bytes`` or ``timeout`` is negative; the pool is closed, now or
                while this waits.

        Complexity: O(levels); in a quad pool O(quad-blocks) if it recombines, or has many that
        are used up.
        In Zephyr: ``k_mem_pool_alloc()``, with K_NO_WAIT for 0 and K_FOREVER for None.
        """
        n, limit, urgency = _size(request_bytes), checked_timeout(timeout), operator.index(priority)
        waiter: Waiter | None = None
        try:
            with self._latch:
                offset = self._take(n)
                if offset is not None:
                    return offset
                if limit == 0 or self._is_hopeless(n):
                    self._raise_out_of_memory(n)
                waiter = Waiter(n, urgency, ThreadBell())
                self._queue.add(waiter)
                until = None if limit is None else self._clock.now() + limit
            granted: int | None = wait(
                waiter, self._queue, self._latch, self._clock, until, give_back=self._return
            )
        except BaseException:
            # A signal handler may raise at any point, also before and after the sleep.
            if waiter is not None:
                abandon(waiter, self._queue, self._latch, self._return)
            raise
        if granted is None:
            raise TimedOut(f"no block for {n} bytes within {limit} s")
        return granted

    def try_alloc(self, request_bytes: int) -> int | None:
        """As :meth:`alloc` without waiting; None where that raises OutOfMemory.

        Raises:
            ValueError: ``request_bytes`` is negative, or the pool is closed.
        """
        n = _size(request_bytes)
        with self._latch:
            return self._take(n)

    def free(self, offset: int | None) -> None:
        """Free a block, and serve those who wait, in their order, as far as memory goes.

        Args:
            offset: The block's offset; None: nothing happens.

        Raises:
            InvalidFree: No live block begins there; nothing has changed.
            ValueError: The pool is closed.

        Complexity: O(levels), and an attempt for each who waits.
        In Zephyr: ``k_mem_pool_free()``, which does not check.  In the buddy pool it wakes all
        who wait, and they try again by themselves: on one CPU, in this order.
        """
        with self._latch:
            self._require_open()
            if offset is None:
                return
            if self._engine.give(self._place(offset)) < 0:
                raise_no_block(offset)
            self._serve()

    def defrag(self) -> None:
        """Recombine all that can be, and serve those who wait; nothing happens to "buddy".

        Raises:
            ValueError: The pool is closed.

        Complexity: O(quad-blocks).
        In Zephyr: ``k_mem_pool_defrag()`` (1.6 to 1.9; without effect from 1.8 on).
        """
        with self._latch:
            self._require_open()
            if isinstance(self._engine, QuadPool):
                self._engine.recombine(0)
                self._serve()

    def _is_hopeless(self, request_bytes: int) -> bool:
        """Whether a request is not to wait, as it can never be served."""
        return request_bytes > self._shape.max_request_bytes and not self._original_waits

    def _take(self, request_bytes: int) -> int | None:
        self._require_open()
        # A larger request meets the same as one that is just too large, and fits in 64 bits.
        offset = self._engine.take(min(request_bytes, self._shape.max_bytes + 1))
        return None if offset < 0 else offset

    def _attempt(self, waiter: Waiter) -> int | None:
        return self._take(waiter.request_bytes)

    def _serve(self) -> None:
        if not len(self._queue):
            return
        try:
            self._queue.serve(self._attempt)
        except BaseException:
            # Whatever interrupts the walk, a signal say: nobody is left out.
            self._queue.serve(self._attempt)
            raise

    def _return(self, offset: int) -> None:
        """Free what was granted to one who has gone away meanwhile."""
        with self._latch:
            if self._open:
                self._engine.give(offset)
                self._serve()

    # ------------------------------------------------------------------ the end of it

    def close(self) -> None:
        """Give the region's buffer back; who waits gets a ValueError.

        Views handed out keep the buffer alive until they are released themselves.
        """
        with self._latch:
            self._open = False
            if self._region is not None:
                self._region.release()
            self._pin._let_go()
            self._queue.dismiss(ValueError("the pool was closed"))

    def __enter__(self) -> Self:
        """The pool itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pool."""
        self.close()


def _size(request_bytes: int) -> int:
    n = operator.index(request_bytes)
    if n < 0:
        raise ValueError(f"request_bytes is negative: {n}")
    return n
