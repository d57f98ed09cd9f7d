"""The synchronised heap's calls: blocks, and the lock around the engine.

It owns the straight path of ``kheap.Heap``: take the latch, ask the engine, make a Block; and
the way back, also when a Block is dropped.  ``kheap.Heap`` derives from it and fills in what
happens off that path, nearly always with the latch held: requests that are refused or may wait,
frees while others wait or listeners are told.  Not here: the queue of those who wait
(``kheap.heaps.waiting``), and the unsynchronised heap's calls (``calls.py``).

A finaliser never waits.  The garbage collector may drop a Block in any locked section of its
own thread, so a Block that goes tries the latch, and where it is held, leaves the offset to whoever
holds it: everybody who lets go looks for such offsets afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from kheap._core._native import Memory, Owner
from kheap.units import NO_WAIT

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from kheap._core.calls import HeapCalls

__all__ = ["FREED", "Block", "Locked", "SyncedHeap"]

FREED = -100  # To `_free_shut`: the engine has taken it back, and others wait.
NOBODYS = "a Block is made by the alloc() of a heap"


class Block(Memory):
    """Memory of a :class:`kheap.Heap`, freed when the last reference to it goes.

    It exports its bytes as a writable buffer without a copy: ``memoryview(block)``,
    ``numpy.frombuffer(block)`` and ``file.readinto(block)`` work.  A view keeps the block.  As a
    context manager it is freed at the end.

    Attributes:
        heap: The heap it came from.
        offset: Its first byte, from the region's first byte.
        nbytes: Bytes of the buffer: as many as were asked for.

    >>> import kheap
    >>> heap = kheap.Heap(1024)
    >>> with heap.alloc(5) as block:
    ...     block.view()[:] = b"hello"
    >>> block.closed
    True
    """

    def __init__(self) -> None:
        raise TypeError(NOBODYS)

    def home(self) -> SyncedHeap:
        """The heap; TypeError for an object that no heap has made."""
        heap = self.heap
        if not isinstance(heap, SyncedHeap):
            raise TypeError(NOBODYS)
        return heap

    def _move(self, offset: int, request_bytes: int) -> None:
        """Be the block at ``offset`` of the same heap, and open again."""
        heap = self.home()
        self.be(heap, heap.sys_heap, offset, request_bytes)
        self._reopen()

    @property
    def requested_bytes(self) -> int:
        """Bytes that were asked for."""
        return self.nbytes

    @property
    def address(self) -> int:
        """Where its first byte is said to lie, by the base address of the heap."""
        return self.home()._address_of(self.offset)

    @property
    def usable_bytes(self) -> int:
        """Bytes its chunk has room for, as :meth:`kheap.SysHeap.usable_bytes` counts them."""
        return self.home()._usable_bytes(self)

    @property
    def closed(self) -> bool:
        """Whether it was freed or handed on, or is being moved."""
        return self.is_shut()

    def free(self) -> None:
        """Give the memory back, and serve who waits for it.

        Raises:
            BufferError: Views of it live; nothing was freed.
            InvalidFree: It was freed or handed on before.
            HeapCorruption: The region breaks an invariant; nothing was written.

        In Zephyr: ``k_heap_free()``.
        """
        if self.heap is None:
            raise TypeError(NOBODYS)
        self.heap.free_block(self)

    def realloc(
        self,
        request_bytes: int,
        *,
        align: int = 0,
        timeout: float | None = NO_WAIT,
        priority: int = 0,
    ) -> Block | None:
        """As :meth:`kheap.Heap.realloc` of this block."""
        return self.home()._realloc(self, request_bytes, align, timeout, priority)

    def handle(self) -> bytes:
        """Give up ownership: the block is closed, and :meth:`kheap.Heap.adopt` takes the handle.

        Raises:
            BufferError: Views of it live.
            InvalidFree: It is closed already.
        """
        return self.home()._handle_of(self)

    def __enter__(self) -> Self:
        """The block itself; it is freed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the block, unless that was done.

        An error on its way out usually holds views in its frames: it is not hidden by a
        BufferError, and the block goes with its last reference.
        """
        if self.is_shut():
            return
        try:
            self.free()
        except BufferError:
            if error is None:
                raise

    def __len__(self) -> int:
        return self.nbytes

    def __bool__(self) -> bool:
        """True: a block is something, whatever its bytes."""
        return True

    def __repr__(self) -> str:
        """The block in a few words."""
        state = ", closed" if self.is_shut() else ""
        return f"<Block of {self.nbytes} bytes at offset {self.offset}{state}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: its memory has one owner, in this process."""
        raise TypeError("a Block of a heap that is not shared cannot be copied or pickled")


class SyncedHeap(Owner):
    """The calls of a synchronised heap; see :class:`kheap.Heap`.

    Attributes:
        sys_heap: The unsynchronised heap beneath; touched with the latch held.
        _live: Number of open blocks.
        _crowded: Whether anybody waits.
        _dropped: Offsets that finalisers have left behind.
    """

    def __init__(self, sys_heap: HeapCalls) -> None:
        if self._ready:
            raise ValueError("the heap has its region already")
        self._ready = True
        self.sys_heap = sys_heap
        self._live = 0
        self._crowded = False
        self._dropped: list[int] = []

    # ------------------------------------------------------------------ the lock

    def enter(self) -> None:
        """Take the latch. RuntimeError where this thread is busy with the heap."""
        if not self._ready:
            raise TypeError("the constructor of Heap was not called")
        if not self._latch.try_take():
            self._latch.take()

    def leave(self) -> None:
        """Let the latch go, and free what finalisers left behind meanwhile."""
        self._latch.let_go()
        if self._dropped:
            self.sweep()

    def sweep(self) -> None:
        """Free what finalisers left behind, unless somebody holds the latch: he will do it."""
        while self._dropped and self._latch.try_take():
            try:
                self._latch.claim()
                self._free_dropped()
            finally:
                self._latch.let_go()

    # ------------------------------------------------------------------ blocks

    def block_at(self, offset: int, request_bytes: int) -> Block:
        """The Block of what the engine has just given."""
        block = Block.__new__(Block)
        block.be(self, self.sys_heap, offset, request_bytes)
        return block

    def _new_block(self, offset: int, request_bytes: int) -> Block:
        """The same, and it is counted."""
        self._live += 1
        return self.block_at(offset, request_bytes)

    def _obtain(self, request_bytes: int, align: int) -> Block | int:
        """A counted Block from the engine, or its refusal; compiled, nothing comes in between."""
        offset = self.sys_heap.take(self.sys_heap.whole(request_bytes), self.sys_heap.whole(align))
        if offset <= 0:
            return offset
        self._live += 1
        return self.block_at(offset, request_bytes)

    def alloc(
        self,
        request_bytes: int,
        *,
        align: int = 0,
        timeout: float | None = NO_WAIT,
        priority: int = 0,
    ) -> Block:
        """Allocate ``request_bytes`` bytes, waiting for them if need be.

        The memory keeps whatever the region held before; it is not cleared.

        Args:
            request_bytes: Bytes wanted.
            align: 0, or a power of two of which the block's address is a multiple.
            timeout: Seconds to wait at most; 0: do not wait, None: for ever.
            priority: Who waits with the smaller number is served first.

        Raises:
            OutOfMemory: No free chunk fits and ``timeout`` is 0, or the request could never
                be served by this heap, or it is for 0 bytes.
            TimedOut: The time is up.
            ValueError: A negative size or time, or an alignment that is no power of two.
            HeapCorruption: The region breaks an invariant; nothing was written.

        Complexity: O(1) where memory is free.
        In Zephyr: ``k_heap_alloc()``, ``k_heap_aligned_alloc()``.

        >>> import kheap
        >>> heap = kheap.Heap(1024)
        >>> block = heap.alloc(100, align=64)
        >>> block.requested_bytes, block.address % 64
        (100, 0)
        """
        size = self.sys_heap.whole(request_bytes)
        step = self.sys_heap.whole(align)
        if timeout is not NO_WAIT or step:
            self._check_request(align, timeout)
        self.enter()
        if self.sys_heap.watched:
            offset = -100
        else:
            offset = self.sys_heap.take(size, step)
            if offset > 0:
                self._live += 1
                self.leave()
                return self.block_at(offset, size)
        try:
            self._latch.claim()
            answer = self._alloc_or_queue(offset, request_bytes, align, timeout, priority)
        finally:
            self.leave()
        return self._await(answer, timeout)

    def try_alloc(self, request_bytes: int, *, align: int = 0) -> Block | None:
        """As :meth:`alloc` that does not wait, with None where that raises OutOfMemory."""
        size = self.sys_heap.whole(request_bytes)
        step = self.sys_heap.whole(align)
        if step:
            self._check_request(align, NO_WAIT)
        self.enter()
        if self.sys_heap.watched:
            offset = -100
        else:
            offset = self.sys_heap.take(size, step)
            if offset > 0:
                self._live += 1
                self.leave()
                return self.block_at(offset, size)
        try:
            self._latch.claim()
            return self._try_alloc(offset, request_bytes, align)
        finally:
            self.leave()

    def free(self, block: Block | None) -> None:
        """Free ``block``, as its own :meth:`Block.free` does; None has no effect.

        Raises:
            InvalidFree: It is a block of another heap, or closed.
            BufferError, HeapCorruption: As for :meth:`Block.free`.

        Complexity: O(1), and an attempt for each who waits.
        In Zephyr: ``k_heap_free()``.
        """
        if block is None:
            return
        if not isinstance(block, Block) or block.heap is not self:
            self._refuse_block(block)
        self.free_block(block)

    def free_block(self, block: Memory) -> None:
        """Free a block of this heap."""
        self.enter()
        code = block.shut()
        if code == 0 and not self.sys_heap.watched:
            code = self.sys_heap.give(block.offset)
            if code >= 0:
                self._live -= 1
                if not self._crowded:
                    self.leave()
                    return
                code = FREED
        try:
            self._latch.claim()
            self._free_shut(block, code)
        finally:
            self.leave()

    def drop(self, offset: int) -> None:
        """Free what a finaliser has shut; it does not wait."""
        # In a cycle of garbage, the heap may be cleared before its blocks go.
        if not self.sys_heap or self.sys_heap.ended:
            return
        if not self._latch.try_take():
            self._dropped.append(offset)
            self.sweep()
            return
        plain = not self._crowded and not self.sys_heap.watched
        if plain and self.sys_heap.give(offset) >= 0:
            self._live -= 1
            self.leave()
            return
        try:
            self._latch.claim()
            self._give_back(offset)
        finally:
            self.leave()

    # What the face fills in; all but the first two are called with the latch held.

    def _check_request(self, align: int, timeout: float | None) -> None:
        raise NotImplementedError

    def _await(self, answer: object, timeout: float | None) -> Block:
        raise NotImplementedError

    def _alloc_or_queue(
        self, code: int, request_bytes: int, align: int, timeout: float | None, priority: int
    ) -> object:
        raise NotImplementedError

    def _try_alloc(self, code: int, request_bytes: int, align: int) -> Block | None:
        raise NotImplementedError

    def _free_shut(self, block: Memory, code: int) -> None:
        raise NotImplementedError

    def _give_back(self, offset: int) -> None:
        raise NotImplementedError

    def _free_dropped(self) -> None:
        raise NotImplementedError

    # These take it themselves.

    def _refuse_block(self, block: object) -> NoReturn:
        raise NotImplementedError

    def _realloc(
        self,
        block: Block,
        request_bytes: int,
        align: int,
        timeout: float | None,
        priority: int,
    ) -> Block | None:
        raise NotImplementedError

    def _handle_of(self, block: Block) -> bytes:
        raise NotImplementedError

    def _address_of(self, offset: int) -> int:
        raise NotImplementedError

    def _usable_bytes(self, block: Block) -> int:
        raise NotImplementedError


class Locked:
    """``with Locked(heap):`` holds the latch of a heap, as its own calls do."""

    def __init__(self, heap: SyncedHeap) -> None:
        self.heap = heap

    def __enter__(self) -> None:
        """Take the latch; RuntimeError where this thread is busy with the heap."""
        self.heap.enter()
        self.heap._latch.claim()

    def __exit__(self, *_: object) -> None:
        """Let the latch go."""
        self.heap.leave()
