"""``Heap``: Zephyr's ``k_heap``, a heap that threads and asyncio tasks share, and wait for.

It owns what happens off the straight path: refusals, waits, what a free wakes, handles, and
the heap's life.  The straight path itself, the lock and the Block are in
``kheap._core.synced``; the order of those who wait is in ``waiting.py``; the bytes are those of
the :class:`kheap.SysHeap` beneath.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import own_calls
from kheap._core.synced import Block, SyncedHeap, Locked
from kheap.errors import InvalidFree, KheapError, OutOfMemory, TimedOut
from kheap.heaps.sys_heap import Listener, SysHeap, Unraisable
from kheap.heaps.waiting import (
    Bell,
    Clock,
    RealClock,
    ThreadBell,
    Waiter,
    WaitQueue,
    checked_timeout,
    wait,
)
from kheap.profile import Profile
from kheap.units import NO_WAIT

if TYPE_CHECKING:
    from typing import Self

    import numpy
    import numpy.typing
    from typing_extensions import Buffer

    from kheap.heaps.stats import HeapStats, Verdict
    from kheap.heaps.view import Bucket, Chunk

__all__ = ["Block", "Heap"]

Attempt = Callable[[], Block | None]
GiveBack = Callable[[Block], object]

_UNTRIED = -100  # The engine was not asked: listeners want to be told.
_HANDLE = struct.Struct("<4sIQQQQ")
_MAGIC = b"KHB1"
_ZEROS = bytes(1 << 16)
_HOT_CALLS = ("alloc", "try_alloc", "free")


class Heap(SyncedHeap):
    """Zephyr's ``k_heap`` over a region: threads and asyncio tasks allocate, and may wait.

    Every method may be called from any thread.  A free serves those who wait before it returns:
    the more urgent first, first come first served among equals; who does not fit keeps his place
    and is passed by who does.

    Args:
        region: Any writable, contiguous buffer; or an int, for exactly so many fresh bytes.
        profile: Which Zephyr.
        name: What the heap is called in messages.
        base_address: The address that the region's first byte is said to lie at; None: where it
            really lies.
        clock: Where time comes from; tests give a ``VirtualClock``.
        original_waits: Wait as Zephyr does: also for what can never be had, and without being
            woken by a realloc that gives memory back.

    Raises:
        ValueError, TypeError, BufferError: As for :class:`kheap.SysHeap`.

    In Zephyr: ``k_heap_init()``, ``K_HEAP_DEFINE``.

    >>> heap = Heap(4096, name="frames")
    >>> with heap.alloc(1000) as frame:
    ...     frame.view()[:5] = b"hello"
    ...     heap.try_alloc(4000) is None
    True
    """

    __slots__ = ("_clock", "_handles", "_id", "_queue", "name", "original_waits")

    sys_heap: SysHeap

    def __init__(
        self,
        region: Buffer | int,
        *,
        profile: Profile = Profile(),  # noqa: B008  (frozen)
        name: str | None = None,
        base_address: int | None = None,
        clock: Clock | None = None,
        original_waits: bool = False,
    ) -> None:
        super().__init__(SysHeap(region, profile, base_address))
        self.name = name
        self.original_waits = original_waits
        self._clock = RealClock() if clock is None else clock
        self._queue = WaitQueue()
        self._handles: dict[int, int] = {}
        self._id = int.from_bytes(os.urandom(8), "little")

    def __init_subclass__(cls) -> None:
        """Let a subclass be as fast."""
        super().__init_subclass__()
        own_calls(cls, _HOT_CALLS)

    # ------------------------------------------------------------------ allocating

    async def alloc_async(
        self,
        request_bytes: int,
        *,
        align: int = 0,
        timeout: float | None = None,
        priority: int = 0,
    ) -> Block:
        """As :meth:`alloc`, for an asyncio task, which waits for ever unless told otherwise.

        Tasks and threads stand in one queue.  A task that is cancelled leaves it; what it was
        granted at that very moment goes back and is offered to the next.
        """
        from kheap.heaps.task_wait import TaskBell, wait_in_task

        self._check_request(align, timeout)
        with Locked(self):
            bell = None if timeout == 0 else TaskBell()
            answer = self._alloc_or_queue(
                _UNTRIED, request_bytes, align, timeout, priority, bell=bell
            )
        if isinstance(answer, Waiter):
            answer = await wait_in_task(
                answer,
                self._queue,
                Locked(self),
                timeout,
                last_attempt=_last_attempt,
                give_back=Block.free,
            )
        return self._in_time(answer, request_bytes, timeout)

    def calloc(
        self,
        count: int,
        size_bytes: int,
        *,
        align: int = 0,
        timeout: float | None = NO_WAIT,
        priority: int = 0,
    ) -> Block:
        """As :meth:`alloc` of ``count * size_bytes`` bytes, which are set to zero.

        In Zephyr: ``k_heap_calloc()``.
        """
        if count < 0 or size_bytes < 0:
            raise ValueError(f"a negative count or size: {count} times {size_bytes}")
        block = self.alloc(count * size_bytes, align=align, timeout=timeout, priority=priority)
        with block.view() as view:
            for at in range(0, len(view), len(_ZEROS)):
                view[at : at + len(_ZEROS)] = _ZEROS[: len(view) - at]
        return block

    def realloc(
        self,
        block: Block | None,
        request_bytes: int,
        *,
        align: int = 0,
        timeout: float | None = NO_WAIT,
        priority: int = 0,
    ) -> Block | None:
        """Resize ``block``, in place where it can be, else by moving it; the object stays.

        With block None it allocates; with ``request_bytes`` 0 it frees and returns None.  While
        it waits for memory, no views of the block can be had.

        Raises:
            BufferError: Views of the block live.
            OutOfMemory, TimedOut: As for :meth:`alloc`; the block is as it was.
            InvalidFree: It is a block of another heap, or closed.

        In Zephyr: ``k_heap_realloc()``.
        """
        if block is None:
            return self.alloc(request_bytes, align=align, timeout=timeout, priority=priority)
        if not isinstance(block, Block) or block.heap is not self:
            self._refuse_block(block)
        return self._realloc(block, request_bytes, align, timeout, priority)

    def array(
        self,
        shape: int | tuple[int, ...],
        dtype: numpy.typing.DTypeLike = float,
        *,
        align: int | None = None,
        timeout: float | None = NO_WAIT,
        priority: int = 0,
    ) -> numpy.ndarray:
        """An uninitialised numpy array in the heap; its memory is freed with its last reference.

        Args:
            shape, dtype: As for ``numpy.empty``; no Python objects.
            align: Of its first byte; None: as the dtype needs.
            timeout, priority: As for :meth:`alloc`.

        Raises:
            TypeError: The dtype holds references to Python objects.
            ValueError: A negative dimension.
            OutOfMemory, TimedOut: As for :meth:`alloc`.
        """
        import numpy as np

        kind = np.dtype(dtype)
        if kind.hasobject:
            raise TypeError(f"an array of dtype {kind} holds references, not bytes")
        sides = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(side < 0 for side in sides):
            raise ValueError(f"a negative dimension: {shape}")
        size_bytes = kind.itemsize * prod(sides)
        if not size_bytes:
            return np.empty(sides, kind)
        step = kind.alignment if align is None else align
        block = self.alloc(size_bytes, align=step, timeout=timeout, priority=priority)
        return np.ndarray(sides, kind, buffer=block.view())

    def adopt(self, handle: bytes) -> Block:
        """Take the ownership that :meth:`Block.handle` gave up.

        Raises:
            InvalidFree: It was adopted before, or is of another heap or process.
            ValueError: It is no handle.
        """
        try:
            magic, process, heap_id, offset, size_bytes, nonce = _HANDLE.unpack(handle)
        except struct.error:
            magic = b""
        if magic != _MAGIC:
            raise ValueError("these bytes are no handle of a block")
        if (process, heap_id) != (os.getpid(), self._id):
            raise InvalidFree("a handle of another heap, or of another process", offset)
        with Locked(self):
            self.sys_heap._require_open()
            if self._handles.get(offset) != nonce:
                raise InvalidFree("a handle that was adopted before", offset)
            del self._handles[offset]
            return self._new_block(offset, size_bytes)

    # ------------------------------------------------------------------ looking inside

    @property
    def waiters(self) -> tuple[tuple[int, int], ...]:
        """``(request_bytes, priority)`` of all who wait, in the order of the queue."""
        with Locked(self):
            return self._queue.requests()

    @property
    def profile(self) -> Profile:
        """Which Zephyr."""
        return self.sys_heap.profile

    @property
    def base_address(self) -> int:
        """The address that the region's first byte is said to lie at."""
        return self.sys_heap.base_address

    @property
    def size_bytes(self) -> int:
        """Bytes of the region."""
        return self.sys_heap.size_bytes

    def stats(self) -> HeapStats:
        """As :meth:`kheap.SysHeap.stats`."""
        with Locked(self):
            return self.sys_heap.stats()

    def reset_max(self) -> None:
        """As :meth:`kheap.SysHeap.reset_max`."""
        with Locked(self):
            self.sys_heap.reset_max()

    def chunks(self) -> Iterator[Chunk]:
        """As :meth:`kheap.SysHeap.chunks`, at one moment."""
        with Locked(self):
            return iter(list(self.sys_heap.chunks()))

    def buckets(self) -> Iterator[Bucket]:
        """As :meth:`kheap.SysHeap.buckets`, at one moment."""
        with Locked(self):
            return iter(list(self.sys_heap.buckets()))

    def check(self) -> None:
        """As :meth:`kheap.SysHeap.check`."""
        with Locked(self):
            self.sys_heap.check()

    def print_info(self, dump_chunks: bool = False) -> str:
        """As :meth:`kheap.SysHeap.print_info`."""
        with Locked(self):
            return self.sys_heap.print_info(dump_chunks)

    def why(self, request_bytes: int, *, align: int = 0) -> Verdict:
        """As :meth:`kheap.SysHeap.why`."""
        with Locked(self):
            return self.sys_heap.why(request_bytes, align=align)

    def add_listener(self, callback: Listener) -> None:
        """As :meth:`kheap.SysHeap.add_listener`; it is called with the heap locked."""
        with Locked(self):
            self.sys_heap.add_listener(callback)

    def remove_listener(self, callback: Listener) -> None:
        """As :meth:`kheap.SysHeap.remove_listener`."""
        with Locked(self):
            self.sys_heap.remove_listener(callback)

    # ------------------------------------------------------------------ the end of it

    def close(self) -> None:
        """Give the region's buffer back; whoever waits gets a ValueError.

        Raises:
            BufferError: Blocks live, or views of them; nothing has changed.
        """
        with Locked(self):
            if self._live:
                raise BufferError(f"{self._live} blocks of the heap live; it is not closed")
            self._queue.dismiss(ValueError("the heap is closed"))
            self._crowded = False
            self._handles.clear()
            self.sys_heap.close()

    def __enter__(self) -> Self:
        """The heap itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the heap; blocks that an error on its way out still holds keep it open."""
        try:
            self.close()
        except BufferError:
            if error is None:
                raise

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a second object would share the buffer."""
        raise TypeError("a Heap cannot be copied or pickled; its region can")

    def __repr__(self) -> str:
        """The heap in a few words."""
        name = "" if self.name is None else f" {self.name!r}"
        if not self.sys_heap.state:
            return f"<Heap{name}, closed>"
        where = f"{self.size_bytes} bytes at {self.base_address:#x}"
        return f"<Heap{name} of {where}, {self._live} blocks, {self.profile}>"

    # ------------------------------------------------------------------ off the straight path
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
            last_attempt=_last_attempt,
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
        if code == _UNTRIED:
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
        if code == _UNTRIED:
            return self._attempt_alloc(request_bytes, align)
        if code < 0:
            self.sys_heap._refuse_alloc(code, request_bytes, align)
        return None

    def _serve(self) -> None:
        """Let all who wait try again, in their order."""
        self._queue.serve(_attempt)
        self._crowded = bool(self._queue)

    def _give_back(self, offset: int) -> None:
        self.sys_heap.free(offset)
        self._live -= 1
        self._serve()

    def _free_shut(self, block: Block, code: int) -> None:
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

    def _refuse_shut(self, block: Block, code: int) -> NoReturn:
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
                moved = self._attempt_resize(block, request_bytes, align)
                if moved is not None:
                    return moved
                self._require_hope(request_bytes, align, timeout)
                attempt = partial(self._attempt_resize, block, request_bytes, align)
                waiter = self._enqueue(request_bytes, priority, attempt, None)
            except BaseException:
                block._reopen()
                raise
        try:
            return self._wait(waiter, timeout, give_back=_keep)
        finally:
            block._reopen()

    def _attempt_resize(self, block: Block, request_bytes: int, align: int) -> Block | None:
        before = self.sys_heap.usable_bytes(block.offset), block.offset
        try:
            offset = self.sys_heap.realloc(block.offset, request_bytes, align=align)
        except OutOfMemory:
            return None
        assert offset is not None
        block._move(offset, request_bytes)
        # Differs from Zephyr: there such memory wakes nobody.
        if not self.original_waits and (self.sys_heap.usable_bytes(offset), offset) != before:
            self._serve()
        return block

    # ------------------------------------------------------------------ what a Block asks

    def _handle_of(self, block: Block) -> bytes:
        with Locked(self):
            code = block._shut()
            if code:
                self._refuse_shut(block, code)
            nonce = int.from_bytes(os.urandom(8), "little")
            self._handles[block.offset] = nonce
            self._live -= 1
        size_bytes = block.requested_bytes
        return _HANDLE.pack(_MAGIC, os.getpid(), self._id, block.offset, size_bytes, nonce)

    def _address_of(self, offset: int) -> int:
        return self.base_address + offset

    def _usable_bytes(self, block: Block) -> int:
        with Locked(self):
            return self.sys_heap.usable_bytes(block.offset)


def _attempt(waiter: Waiter) -> Block | None:
    """Try what the waiter asks for."""
    answer: Block | None = waiter.details()
    return answer


def _last_attempt(waiter: Waiter) -> Block | None:
    """What a waiter whose time is up tries: twice, since Zephyr's does so before it looks."""
    return _attempt(waiter) or _attempt(waiter)


def _keep(block: Block) -> None:
    """A block that was resized stays with who owns it."""


own_calls(Heap, _HOT_CALLS)
