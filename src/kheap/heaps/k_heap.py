"""``Heap``: Zephyr's ``k_heap``, a heap that threads and asyncio tasks share, and wait for.

It owns the heap's life, arrays, handles, and what tells of the heap.  The straight path of its
calls, the lock and the Block are in ``kheap._core.synced``, what happens off that path in
``queued_heap.py``; the bytes are those of the :class:`kheap.SysHeap` beneath.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from math import prod
from operator import index
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import own_calls
from kheap._core.synced import Block, Locked
from kheap.errors import InvalidFree
from kheap.heaps.queued_heap import UNTRIED, QueuedHeap, last_attempt
from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.waiting import Clock, RealClock, Waiter
from kheap.heaps.watched_heap import Listener
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

_HANDLE = struct.Struct("<4sIQQQQ")
_MAGIC = b"KHB1"
_ZEROS = bytes(1 << 16)
_HOT_CALLS = ("alloc", "try_alloc", "free")


class Heap(QueuedHeap):
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

    __slots__ = ("_handles", "_id", "name")

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
        sys_heap = SysHeap(region, profile, base_address)
        super().__init__(sys_heap, RealClock() if clock is None else clock, original_waits)
        self.name = name
        self._handles: dict[int, tuple[int, int]] = {}
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
                UNTRIED, request_bytes, align, timeout, priority, bell=bell
            )
        if isinstance(answer, Waiter):
            answer = await wait_in_task(
                answer,
                self._queue,
                Locked(self),
                timeout,
                last_attempt=last_attempt,
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

        A product that overflows the machine's ``size_t`` is not waited for.

        In Zephyr: ``k_heap_calloc()``.
        """
        if count < 0 or size_bytes < 0:
            raise ValueError(f"a negative count or size: {count} times {size_bytes}")
        product = index(count) * index(size_bytes)
        if product >> self.profile.bits:
            self._check_request(align, timeout)
            timeout = NO_WAIT
        block = self.alloc(product, align=align, timeout=timeout, priority=priority)
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
            shape: The length of each side.
            dtype: What it holds; no Python objects.
            align: Of its first byte; None: as the dtype needs.
            timeout: As for :meth:`alloc`.
            priority: As for :meth:`alloc`.

        Raises:
            TypeError: The dtype holds references to Python objects.
            ValueError: A negative dimension.
            OutOfMemory, TimedOut: As for :meth:`alloc`.
        """
        import numpy as np

        kind = np.dtype(dtype)
        if kind.hasobject:
            raise TypeError(f"an array of dtype {kind} holds references, not bytes")
        sides = tuple(map(index, shape)) if isinstance(shape, Iterable) else (index(shape),)
        if any(side < 0 for side in sides):
            raise ValueError(f"a negative dimension: {shape}")
        size_bytes = kind.itemsize * prod(sides)
        if not size_bytes:
            return np.empty(sides, kind)
        step = kind.alignment if align is None else align
        block = self.alloc(size_bytes, align=step, timeout=timeout, priority=priority)
        # ndarray() gives a buffer's view back at once; frombuffer() holds it, and so the block.
        return np.ndarray(sides, kind, buffer=np.frombuffer(block.view(), np.uint8))

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
            if self._handles.get(offset) != (nonce, size_bytes):
                raise InvalidFree("a handle that was adopted before, or changed", offset)
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
            self._free_dropped()
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

    # ------------------------------------------------------------------ what a Block asks

    def _handle_of(self, block: Block) -> bytes:
        nonce = int.from_bytes(os.urandom(8), "little")
        with Locked(self):
            code = block._shut()
            if code:
                self._refuse_shut(block, code)
            offset, size_bytes = block.offset, block.requested_bytes
            self._handles[offset] = nonce, size_bytes
            self._live -= 1
        return _HANDLE.pack(_MAGIC, os.getpid(), self._id, offset, size_bytes, nonce)

    def _address_of(self, offset: int) -> int:
        return self.base_address + offset

    def _usable_bytes(self, block: Block) -> int:
        with Locked(self):
            if block.closed:
                self._refuse_shut(block, 2)
            return self.sys_heap.usable_bytes(block.offset)


own_calls(Heap, _HOT_CALLS)
