"""The heap's calls: what Python calls in a hot loop, straight into the engine.

It owns the init of a heap and the conversion of arguments and answers, so that an alloc
from Python costs one call.  ``kheap.SysHeap`` derives from it and fills in what happens off the
straight path: the ``_refuse`` hooks turn refusals into exceptions, the ``_watched`` ones
call listeners and validate before each operation where the profile asks for it.
"""

from __future__ import annotations

from typing import NoReturn

from kheap._core.aligned import AlignedHeap

__all__ = ["HeapCalls"]


class HeapCalls(AlignedHeap):
    """The calls of an unsynchronised heap; see :class:`kheap.SysHeap`."""

    def _unplace(self) -> None:
        """Let the region's memory go; the heap is closed."""
        self.state = 0
        self.watched = False
        self.unaim()

    def _plant(self) -> None:
        """Write an empty heap. In Zephyr: ``sys_heap_init()``."""
        self.grain = self.hdr
        self.u32[2] = self.n
        self.u32[3] = 0
        for i in range(3):
            self.stat_set(i, 0)
        for b in range(self.nb):
            self.u32[self.table + b] = 0
        self.set_left(0, 0)
        self.set_size(0, self.c0, 1)
        self.set_left(self.c0, self.c0)
        self.set_size(self.c0, self.n - self.c0, 0)
        self.set_left(self.n, self.n - self.c0)
        self.set_size(self.n, 0, 1)
        if self.trail:
            self.canary_write(0, self.c0)
        self.bucket_add(self.c0, self.n - self.c0)
        self.stat_change(self.counted(self.n - self.c0), 0)

    def __del__(self) -> None:
        # The garbage collector says so to everything in a cycle before it clears any of it.
        self.ended = True

    def _announcing(self, now: bool) -> None:
        """Whether listeners are being called: the heap cannot be used meanwhile."""
        self.state = 2 if now else 1

    def _watch_calls(self, now: bool) -> None:
        """Whether calls go through the `_watched` hooks."""
        self.watched = now

    def alloc(self, request_bytes: int, *, align: int = 0) -> int:
        """Allocate ``request_bytes`` bytes; returns their offset from the region's first byte.

        The memory keeps whatever the region held before; it is not cleared.

        Args:
            request_bytes: Bytes wanted.
            align: The block's address is a multiple of it: 0 or a power of two.  One extra
                lower bit, the rewind r, may be set: then the address plus r is a multiple
                of the rest.

        Raises:
            OutOfMemory: No free chunk fits, or ``request_bytes`` is 0.
            ValueError: A negative size, or an alignment that Zephyr's assertion refuses.
            HeapCorruption: The region breaks an invariant; nothing was written.

        Complexity: O(1); at most ``alloc_loops`` chunks of one bucket are looked at.
        In Zephyr: ``sys_heap_alloc()``, ``sys_heap_aligned_alloc()``.

        >>> import kheap
        >>> heap = kheap.SysHeap(1024, kheap.Profile(bits=32))
        >>> heap.usable_bytes(heap.alloc(21))
        28
        """
        if self.watched:
            offset = self.whole(self._watched_alloc(request_bytes, align))
        else:
            offset = self.take(self.whole(request_bytes), self.whole(align))
        if offset <= 0:
            self._refuse_alloc(offset, request_bytes, align)
        return offset

    def try_alloc(self, request_bytes: int, *, align: int = 0) -> int | None:
        """As :meth:`alloc`, with None where that raises OutOfMemory."""
        if self.watched:
            offset = self.whole(self._watched_alloc(request_bytes, align))
        else:
            offset = self.take(self.whole(request_bytes), self.whole(align))
        if offset < 0:
            self._refuse_alloc(offset, request_bytes, align)
        return offset if offset else None

    def free(self, offset: int | None) -> None:
        """Free the block at ``offset``; None has no effect.

        Raises:
            InvalidFree: No live block lies there, as far as the bytes tell.
            HeapCorruption: The region breaks an invariant.  Nothing was written either way.

        Complexity: O(1).
        In Zephyr: ``sys_heap_free()``.
        """
        if offset is None:
            return
        if self.watched:
            code = self.whole(self._watched_free(offset))
        else:
            code = self.give(self.whole(offset))
        if code < 0:
            self._refuse_free(code, offset)

    def realloc(self, offset: int | None, request_bytes: int, *, align: int = 0) -> int | None:
        """Resize the block at ``offset``, in place where it can be, else by moving it.

        With offset None it allocates; with ``request_bytes`` 0 it frees and returns None.
        ``align`` is 0 or a power of two; a block that is not so aligned is moved even where
        it had room.

        Raises:
            OutOfMemory: Neither in place nor elsewhere; the block is as it was.
            InvalidFree, HeapCorruption, ValueError: As for :meth:`free` and :meth:`alloc`.

        Complexity: O(1), and the bytes copied.
        In Zephyr: ``sys_heap_realloc()``, ``sys_heap_aligned_realloc()``.
        """
        if offset is None:
            return self.alloc(request_bytes, align=align)
        if self.watched:
            moved = self.whole(self._watched_realloc(offset, request_bytes, align))
        else:
            place = self.whole(offset)
            moved = self.resize(place, self.whole(request_bytes), self.whole(align))
        if moved == -2:
            self._refuse_free(moved, offset)
        if moved < 0 or (moved == 0 and request_bytes):
            self._refuse_alloc(moved, request_bytes, align)
        return moved if moved else None

    def usable_bytes(self, offset: int) -> int:
        """Bytes that may be written from ``offset`` on, as the release computes them.

        From 4.4 on, a block placed with a rewind on a big heap is said to hold up to 7
        bytes too many; :meth:`kheap.SysHeap.view` gives its true extent.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`free`.

        In Zephyr: ``sys_heap_usable_size()``.
        """
        place = self.whole(offset)
        c = self.locate(place)
        if c < 0:
            self._refuse_free(c, offset)
        return self.usable(c, place)

    # What the face asks of the engine; answers are numbers, as in ``heap.py``.

    def _plain_alloc(self, request_bytes: int, align: int) -> int:
        """:meth:`alloc` without listeners; 0 for no memory, or a refusal."""
        return self.take(self.whole(request_bytes), self.whole(align))

    def _plain_free(self, offset: int) -> int:
        """:meth:`free` without listeners; a refusal below 0."""
        return self.give(self.whole(offset))

    def _plain_realloc(self, offset: int, request_bytes: int, align: int) -> int:
        """:meth:`realloc` without listeners; 0 for no memory or after a free, or a refusal."""
        return self.resize(self.whole(offset), self.whole(request_bytes), self.whole(align))

    def _probe(self, request_bytes: int, align: int) -> int:
        """The chunk a request would be cut from, 0 for none, or a refusal; nothing is written.

        ``sought`` is then the number of units that were searched for, 0 for no search.
        """
        found = self.seek(self.whole(request_bytes), self.whole(align))
        self.turned = 0
        return found

    def _chunk_of(self, offset: int) -> int:
        """The used chunk whose block is at ``offset``, or a refusal."""
        return self.locate(self.whole(offset))

    def _told_bytes(self, offset: int, c: int) -> int:
        """Bytes that a listener is told of the block at ``offset`` in used chunk ``c``."""
        return self.usable(c, offset) if self.event_gap else self.counted(self.chunk_size(c))

    def _units_of(self, c: int) -> int:
        """The size of chunk ``c``, which lies within the heap."""
        return self.chunk_size(c)

    def _is_used(self, c: int) -> int:
        """Whether chunk ``c``, which lies within the heap, is marked used."""
        return self.chunk_field(c) & 1

    def _head_of(self, b: int) -> int:
        """The first chunk of bucket ``b``, 0 for none."""
        return self.bucket_head(b)

    def _next_of(self, c: int) -> int:
        """The chunk behind listed chunk ``c`` in its ring."""
        return self.free_next(c)

    def _stat(self, i: int) -> int:
        """Statistic ``i``: 0 free, 1 allocated, 2 most allocated bytes."""
        return self.stat_get(i)

    def _largest_free_bytes(self) -> int:
        """Counted bytes of the largest listed free chunk, of a heap whose rings hold."""
        return self.largest_free()

    def _reset_stat_max(self) -> None:
        """Let the most allocated bytes be the allocated ones."""
        self.stat_set(2, self.stat_get(1))

    # What the face fills in.

    def _refuse_alloc(self, code: int, request_bytes: int, align: int) -> NoReturn:
        raise NotImplementedError

    def _refuse_free(self, code: int, offset: int) -> NoReturn:
        raise NotImplementedError

    def _watched_alloc(self, request_bytes: int, align: int) -> int:
        raise NotImplementedError

    def _watched_free(self, offset: int) -> int:
        raise NotImplementedError

    def _watched_realloc(self, offset: int, request_bytes: int, align: int) -> int:
        raise NotImplementedError
