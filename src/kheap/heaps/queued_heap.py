"""Requests that wait: what a heap does off the straight path of its calls.

It owns what ``kheap._core.synced`` leaves open: refusals, the queue of those who wait, what a
free wakes, and blocks that move.  ``kheap.Heap`` derives from it.  Not here: the order of the
queue, and sleeping (``waiting.py``, ``task_wait.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NoReturn

from kheap._core._native import Memory
from kheap._core.synced import Block, Locked, SyncedHeap
from kheap.errors import InvalidFree, KheapError, OutOfMemory, TimedOut
from kheap.heaps.sys_heap import SysHeap, Unraisable
from kheap.heaps.waiting import (
    Bell,
    Clock,
    ThreadBell,
    Waiter,
    WaitQueue,
    checked_timeout,
    wait,
)

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
        if code == UNTRIED:
            code = self._ask(request_bytes, align)
        if code > 0:
            return self._new_block(code, request_bytes)
        if code < 0:
            self.sys_heap._refuse_alloc(code, request_bytes, align)
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
        waiter = Waiter(request_bytes, priority, bell or ThreadBell(), attempt)
        self._queue.add(waiter)
        self._crowded = True
        return waiter

    def _ask(self, request_bytes: int, align: int) -> int:
        """The engine's answer."""
        if self.sys_heap.watched:
            return self.sys_heap._watched_alloc(request_bytes, align)
        return self.sys_heap._plain_alloc(request_bytes, align)

    def _attempt_alloc(self, request_bytes: int, align: int) -> Block | None:
        code = self._ask(request_bytes, align)
        if code < 0:
            self.sys_heap._refuse_alloc(code, request_bytes, align)
        return self._new_block(code, request_bytes) if code else None

    def _try_alloc(self, code: int, request_bytes: int, align: int) -> Block | None:
        if code == UNTRIED:
            return self._attempt_alloc(request_bytes, align)
        if code < 0:
            self.sys_heap._refuse_alloc(code, request_bytes, align)
        return None

    def _serve(self) -> None:
        """Let all who wait try again, in their order; again, if one of them gave some back."""
        while True:
            self._yielded = False
            self._queue.serve(_attempt)
            if not self._yielded or self.original_waits:
                break
        self._crowded = bool(self._queue)

    def _give_back(self, offset: int) -> None:
        self.sys_heap.free(offset)
        self._live -= 1
        self._serve()

    def _free_shut(self, block: Memory, code: int) -> None:
        """Free a block after :meth:`Block.shut` answered ``code``, or the engine a refusal."""
        if code > 0:
            self._refuse_shut(block, code)
        try:
            if code < 0:
                self.sys_heap._refuse_free(code, block.offset)
            self._give_back(block.offset)
        except BaseException:
            block._reopen()
            raise

    def _free_dropped(self) -> None:
        while self._dropped:
            try:
                self._give_back(self._dropped.pop(0))
            except KheapError as error:
                error.add_note("while a dropped block was freed")
                Unraisable(error)

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
        if request_bytes == 0:
            self.free(block)
            return None
        with Locked(self):
            code = block._shut()
            if code:
                self._refuse_shut(block, code)
            try:
                if self._attempt_resize(block, request_bytes, align) is not None:
                    self._serve_yielded()
                    return block
                self._require_hope(request_bytes, align, timeout)
                attempt = partial(self._attempt_resize, block, request_bytes, align)
                waiter = self._enqueue(request_bytes, priority, attempt, None)
            except BaseException:
                block._reopen()
                raise
        try:
            self._wait(waiter, timeout, give_back=_keep)
        finally:
            block._reopen()
        with Locked(self):
            self._serve_yielded()
        return block

    def _attempt_resize(self, block: Block, request_bytes: int, align: int) -> Block | None:
        heap, old_offset = self.sys_heap, block.offset
        old_bytes = heap.usable_bytes(old_offset)
        try:
            offset = heap.realloc(old_offset, request_bytes, align=align)
        except OutOfMemory:
            return None
        assert offset is not None
        block._move(offset, request_bytes)
        if offset != old_offset or heap.usable_bytes(offset) < old_bytes:
            self._yielded = True
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


def _keep(block: Block) -> None:
    """A block that was resized stays with who owns it."""
