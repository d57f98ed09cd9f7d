"""Requests that wait: what a heap does off the straight path of its calls.

It owns what ``kheap._core.synced`` leaves open: refusals, the queue of those who wait, what a
free wakes, and blocks that move.  ``kheap.Heap`` derives from it.  Not here: the order of the
queue, and sleeping (``waiting.py``, ``task_wait.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import index
from typing import NoReturn

from kheap._core._native import Memory
from kheap._core.synced import FREED, Block, Locked, SyncedHeap
from kheap.errors import InvalidFree, KheapError, OutOfMemory, TimedOut
from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.waiting import (
    Bell,
    Clock,
    ThreadBell,
    Waiter,
    WaitQueue,
    abandon,
    checked_timeout,
    wait,
)
from kheap.heaps.watched_heap import Events, Unraisable

__all__ = ["UNTRIED", "QueuedHeap", "last_attempt"]

Attempt = Callable[[], Block | None]
GiveBack = Callable[[Block], object]

UNTRIED = -100  # The engine was not asked: listeners want to be told.


class QueuedHeap(SyncedHeap):
    """A synchronised heap whose requests may wait; see :class:`kheap.Heap`.

    Attributes:
        original_waits: Wait as Zephyr does, also for what can never be had.
    """

    __slots__ = ("_clock", "_queue", "_yielded", "original_waits")

    sys_heap: SysHeap

    def __init__(self, sys_heap: SysHeap, clock: Clock, original_waits: bool) -> None:
        super().__init__(sys_heap)
        self.original_waits = original_waits
        self._clock = clock
        self._queue = WaitQueue()
        self._yielded = False

    # Called by ``kheap._core.synced``; all but the first two with the latch held.

    def _check_request(self, align: int, timeout: float | None) -> None:
        if align < 0 or align & (align - 1):
            raise ValueError(f"align {align} is neither 0 nor a power of two")
        checked_timeout(timeout)

    def _await(self, answer: object, timeout: float | None) -> Block:
        if isinstance(answer, Block):
            return answer
        assert isinstance(answer, Waiter)
        return self._wait(answer, timeout, give_back=Block.free)

    def _wait(self, waiter: Waiter, timeout: float | None, give_back: GiveBack) -> Block:
        try:
            until = None if timeout is None else self._clock.now() + timeout
            answer = wait(
                waiter,
                self._queue,
                Locked(self),
                self._clock,
                until,
                last_attempt=last_attempt,
                give_back=give_back,
            )
        except BaseException:
            abandon(waiter, self._queue, Locked(self), give_back)
            raise
        return self._in_time(answer, waiter.request_bytes, timeout)

    def _in_time(self, answer: object, request_bytes: int, timeout: float | None) -> Block:
        if isinstance(answer, Block):
            return answer
        raise TimedOut(f"no chunk for {request_bytes} bytes within {timeout} s")

    def _alloc_or_queue(
        self,
        code: int,
        request_bytes: int,
        align: int,
        timeout: float | None,
        priority: int,
        bell: Bell | None = None,
    ) -> Block | Waiter:
        """A Block, or the waiter that was queued; raises where it is not to wait."""
        block = self._try_alloc(code, request_bytes, align)
        if block is not None:
            return block
        self._require_hope(request_bytes, align, timeout)
        return self._enqueue(
            request_bytes, priority, partial(self._attempt_alloc, request_bytes, align), bell
        )

    def _require_hope(self, request_bytes: int, align: int, timeout: float | None) -> None:
        """Raise OutOfMemory where a refused request is not to wait."""
        heap = self.sys_heap
        if timeout is not None and timeout <= 0:
            heap._refuse_alloc(0, request_bytes, align)
        # Differs from Zephyr: what an empty heap could not serve waits for nothing there.
        if self.original_waits:
            return
        heap._probe(request_bytes, align)
        if heap.sought == 0 or heap.sought > heap.n - heap.c0:
            stats = heap.stats()
            raise OutOfMemory(
                f"{request_bytes} bytes can never be had from this heap of"
                f" {heap.size_bytes} bytes, however long one waits",
                request_bytes,
                stats.free_bytes,
                stats.largest_free_bytes,
            )

    def _enqueue(
        self, request_bytes: int, priority: int, attempt: Attempt, bell: Bell | None
    ) -> Waiter:
        waiter = Waiter(request_bytes, index(priority), bell or ThreadBell(), attempt)
        self._queue.add(waiter)
        self._crowded = True
        return waiter

    def _attempt_alloc(self, request_bytes: int, align: int) -> Block | None:
        heap = self.sys_heap
        if heap.watched:
            heap._before()
        answer = self._obtain(request_bytes, align)
        if isinstance(answer, Block):
            # From here on an interrupt drops the block, which frees it.
            if heap.watched:
                heap._announce(("alloc", answer.offset, heap._event_bytes(answer.offset)))
            return answer
        if answer < 0:
            heap._refuse_alloc(answer, request_bytes, align)
        return None

    def _try_alloc(self, code: int, request_bytes: int, align: int) -> Block | None:
        """An attempt, if ``code`` says that there was none yet, or that a new one may succeed."""
        if code == 0 and self._dropped:
            self._free_dropped()
            code = UNTRIED
        if code == UNTRIED:
            return self._attempt_alloc(request_bytes, align)
        if code < 0:
            self.sys_heap._refuse_alloc(code, request_bytes, align)
        return None

    def _serve(self) -> None:
        """Let all who wait try again, in their order; again, if one of them gave some back."""
        try:
            self._walk_queue()
        except BaseException:
            # Whatever interrupts the walk, a signal say: nobody is left out.
            self._walk_queue()
            raise

    def _walk_queue(self) -> None:
        while True:
            self._yielded = False
            self._queue.serve(_attempt)
            if not self._yielded or self.original_waits:
                break
        self._crowded = bool(self._queue)

    def _give_back(self, offset: int) -> None:
        """Free the memory of a block that is no more; as in any finaliser, errors go no further."""
        self._live -= 1
        try:
            try:
                self.sys_heap.free(offset)
            finally:
                self._serve()
        except BaseException as error:
            error.add_note("while a dropped block was freed")
            Unraisable(error)

    def _free_shut(self, block: Memory, code: int) -> None:
        """Free a block after :meth:`Block.shut` answered ``code``, or the engine a refusal."""
        if code > 0:
            self._refuse_shut(block, code)
        if code != FREED:
            self._free_watched(block, code)
        self._serve()

    def _free_watched(self, block: Memory, code: int) -> None:
        try:
            if code < 0:
                self.sys_heap._refuse_free(code, block.offset)
            self.sys_heap.free(block.offset)
        except BaseException as error:
            # A listener's interrupt comes when the block is freed.
            if isinstance(error, KheapError) or self.sys_heap._chunk_of(block.offset) >= 0:
                block._reopen()
                raise
            self._live -= 1
            self._serve()
            raise
        self._live -= 1

    def _free_dropped(self) -> None:
        while self._dropped:
            self._give_back(self._dropped.pop(0))

    def _refuse_shut(self, block: Memory, code: int) -> NoReturn:
        if code == 1:
            raise BufferError(f"{block!r} has views that live; it stays as it is")
        raise InvalidFree(f"{block!r} was freed or handed on before", block.offset)

    def _refuse_block(self, block: object) -> NoReturn:
        if not isinstance(block, Block):
            raise TypeError(f"a Block is wanted, not {type(block).__name__}")
        raise InvalidFree(f"{block!r} is of another heap", block.offset)

    # ------------------------------------------------------------------ blocks that move

    def _realloc(
        self,
        block: Block,
        request_bytes: int,
        align: int,
        timeout: float | None,
        priority: int,
    ) -> Block | None:
        self._check_request(align, timeout)
        if index(request_bytes) == 0:
            self.free(block)
            return None
        attempt = partial(self._attempt_resize, block, request_bytes, align)
        with Locked(self):
            code = block._shut()
            if code:
                self._refuse_shut(block, code)
            try:
                resized = attempt()
                if resized is None:
                    self._require_hope(request_bytes, align, timeout)
                    waiter = self._enqueue(request_bytes, priority, attempt, None)
            except BaseException:
                block._reopen()
                raise
            if resized is not None:
                self._serve_yielded()
                return block
        kept: list[Block] = []
        try:
            self._wait(waiter, timeout, give_back=kept.append)
        except BaseException:
            # Once it is resized it is open, and may have been freed by others since.
            if not kept:
                block._reopen()
            raise
        with Locked(self):
            self._serve_yielded()
        return block

    def _attempt_resize(self, block: Block, request_bytes: int, align: int) -> Block | None:
        heap, old_offset = self.sys_heap, block.offset
        old_bytes = heap.usable_bytes(old_offset)
        events: Events = ()
        if heap.watched:
            offset, events = heap._watched_move(old_offset, request_bytes, align)
        else:
            offset = heap._plain_realloc(old_offset, request_bytes, align)
        if offset < 0:
            heap._refuse_alloc(offset, request_bytes, align)
        if offset == 0:
            return None
        block._move(offset, request_bytes)
        if offset != old_offset or heap.usable_bytes(offset) < old_bytes:
            self._yielded = True
        if events:
            heap._announce(*events)
        return block

    def _serve_yielded(self) -> None:
        # Differs from Zephyr: there, memory that a realloc gives back wakes nobody.
        if self._yielded and not self.original_waits:
            self._serve()


def _attempt(waiter: Waiter) -> Block | None:
    """Try what the waiter asks for."""
    answer: Block | None = waiter.details()
    return answer


def last_attempt(waiter: Waiter) -> Block | None:
    """What a waiter whose time is up tries: twice, since Zephyr's does so before it looks."""
    return _attempt(waiter) or _attempt(waiter)
