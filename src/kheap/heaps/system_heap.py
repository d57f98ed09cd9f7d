"""``SystemHeap``: ``k_malloc()`` and its relatives, over the heap of any Zephyr.

It owns what the family has in common: arguments, products that overflow, the lock, and which
calls which implementation has.  Not here: what lies in front of a block's bytes, the hidden
word of a ``SysHeap`` (``hidden_word.py``) or a pool's descriptor (``pool_descriptor.py``), and
the sizes of regions (``sizing.py``).
"""

from __future__ import annotations

import operator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, get_args

from kheap._core._native import Latch
from kheap.heaps.hidden_word import WordBlocks
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.pool_descriptor import PoolBlocks
from kheap.heaps.pool_shape import Policy
from kheap.heaps.pool_view import PoolStats
from kheap.heaps.sizing import system_region_size
from kheap.heaps.stats import HeapStats
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["SystemHeap"]

Implementation = Literal["sys_heap", "buddy", "quad"]

_IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)
_DEFAULT_POLICY: Policy = "split_before_defrag"


class SystemHeap:
    """The system heap: memory by ``malloc`` and ``free``, as Zephyr's threads have it.

    No memory is None here, as it is NULL there, and no call ever waits.  Threads may share it;
    a SysHeap beneath is not guarded against those who use it directly.

    Args:
        size_or_region: CONFIG_HEAP_MEM_POOL_SIZE as an int, for a region as Zephyr makes it of
            that; or any writable buffer, to be the region as it is.
        profile: Which Zephyr, for ``sys_heap``.  The pools are those of 32-bit machines.
        implementation: "sys_heap"; or the pool that stood behind ``k_malloc()`` before it:
            "buddy" (Zephyr 1.8 to 2.4) or "quad" (1.6 and 1.7).
        policy: When the quad pool merges: "split_before_defrag", "defrag_before_split" or
            "split_only".
        descriptor_bytes: What a pool's block loses to its hidden descriptor: 16 in the quad
            pool, 4 in the buddy pool, or 8 there for Zephyr 1.8 to 1.10.
        base_address: The address that the region's first byte is said to lie at; None: where
            it really lies.
        heap_address: The address of the heap object, the word hidden in front of each block
            (buddy blocks have none).

    Attributes:
        heap: The SysHeap or MemPool beneath.
        implementation: As given.
        heap_address: As given.

    Raises:
        NotDefined: The size is 0, that option's default: there is no system heap.
        ValueError: A region that is too small or too big, or an argument that is none of these.
        TypeError, BufferError: The region is no writable contiguous buffer.

    In Zephyr: CONFIG_HEAP_MEM_POOL_SIZE.

    >>> with SystemHeap(1024, profile=Profile(bits=32), base_address=0x20000000) as heap:
    ...     block = heap.malloc(100)
    ...     heap.view(block)[:5] = b"hello"
    ...     block, heap.usable_bytes(block), heap.malloc(2000)
    (72, 104, None)
    """

    heap: SysHeap | MemPool

    def __init__(
        self,
        size_or_region: Buffer | int,
        *,
        profile: Profile = Profile(),  # noqa: B008  (frozen)
        implementation: Implementation = "sys_heap",
        policy: Policy = _DEFAULT_POLICY,
        descriptor_bytes: int | None = None,
        base_address: int | None = None,
        heap_address: int = 0,
    ) -> None:
        if implementation not in _IMPLEMENTATIONS:
            known = ", ".join(_IMPLEMENTATIONS)
            raise ValueError(f"implementation must be one of {known}, not {implementation!r}")
        if implementation != "quad" and policy != _DEFAULT_POLICY:
            raise ValueError(f"policy {policy!r}: only the quad pool has policies")
        if implementation == "sys_heap" and descriptor_bytes is not None:
            raise ValueError("descriptor_bytes: blocks of sys_heap carry a word of the profile's")
        if isinstance(size_or_region, int):
            region_bytes = system_region_size(size_or_region, profile)
            if implementation == "sys_heap":
                size_or_region = region_bytes
        heap_address = operator.index(heap_address)
        self._blocks: WordBlocks | PoolBlocks
        if implementation == "sys_heap":
            self._blocks = WordBlocks(size_or_region, profile, base_address, heap_address)
        else:
            self._blocks = PoolBlocks(
                size_or_region,
                model=implementation,
                policy=policy,
                descriptor_bytes=descriptor_bytes,
                base_address=base_address,
                heap_address=heap_address,
            )
        self.heap = self._blocks.heap
        self.implementation = implementation
        self.heap_address = heap_address
        self._latch = Latch()

    # ------------------------------------------------------------------ the family

    def malloc(self, request_bytes: int) -> int | None:
        """Allocate ``request_bytes`` bytes; their offset from the region's first byte, or None.

        The memory is not cleared.  A request for 0 bytes gives a block, as in Zephyr.

        Args:
            request_bytes: Bytes wanted; the word or descriptor in front of them is added.

        Raises:
            ValueError: ``request_bytes`` is negative.
            HeapCorruption: The region breaks an invariant; nothing was written.

        Complexity: O(1), as the heap beneath.
        In Zephyr: ``k_malloc()``.
        """
        request_bytes = _size("request_bytes", request_bytes)
        with self._latch:
            return self._blocks.malloc(request_bytes)

    def aligned_alloc(self, align: int, request_bytes: int) -> int | None:
        """As :meth:`malloc`, at an address that is a multiple of ``align``.

        A block that :meth:`realloc` moves loses its alignment.

        Args:
            align: 0 or a power of two; before Zephyr 4.2 a multiple of the word besides.
                Less than a word aligns worse than :meth:`malloc` does: to ``align`` alone.
            request_bytes: Bytes wanted.

        Raises:
            ValueError: Another alignment, or a negative size.
            NotImplementedError: The implementation is a pool.
            HeapCorruption: As for :meth:`malloc`.

        Complexity: O(1).
        In Zephyr: ``k_aligned_alloc()``.
        """
        blocks = self._with_words("k_aligned_alloc", "came with Zephyr 2.5")
        align, request_bytes = operator.index(align), _size("request_bytes", request_bytes)
        with self._latch:
            return blocks.aligned_alloc(align, request_bytes)

    def calloc(self, count: int, size: int) -> int | None:
        """Allocate ``count`` times ``size`` bytes, all of them zero; None for no memory.

        Just so many bytes are cleared, and the block may hold more.  A product that overflows
        the machine's ``size_t`` is no memory.

        Raises:
            ValueError: ``count`` or ``size`` is negative.
            NotImplementedError: The implementation is the quad pool.
            HeapCorruption: As for :meth:`malloc`.

        Complexity: as :meth:`malloc`, and the bytes cleared.
        In Zephyr: ``k_calloc()``.
        """
        if self.implementation == "quad":
            self._absent("k_calloc", "came with Zephyr 1.10")
        request_bytes = _size("count", count) * _size("size", size)
        if request_bytes >= self._blocks.size_limit:
            # Differs from Zephyr: 1.10 and 1.11 wrap around and give too small a block.
            return None
        with self._latch:
            offset = self._blocks.malloc(request_bytes)
            if offset is not None:
                self._blocks.clear(offset, request_bytes)
        return offset

    def realloc(self, offset: int | None, request_bytes: int) -> int | None:
        """Resize the block at ``offset``, in place where it can be, else by moving it.

        With ``request_bytes`` 0 it frees the block and gives None, and so for offset None,
        unlike ``malloc(0)``.  Else offset None allocates, and None means no memory: the block
        is as it was.  There is one heap alone, so that the word in front of the block, which
        Zephyr finds the heap by, moves with it.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`free`.
            ValueError: ``request_bytes`` is negative.
            NotImplementedError: The implementation is a pool.

        Complexity: O(1), and the bytes copied.
        In Zephyr: ``k_realloc()``.
        """
        blocks = self._with_words("k_realloc", "came after Zephyr 3.7")
        if _size("request_bytes", request_bytes) == 0:
            self.free(offset)
            return None
        if offset is None:
            return self.malloc(request_bytes)
        with self._latch:
            return blocks.realloc(offset, request_bytes)

    def free(self, offset: int | None) -> None:
        """Free the block at ``offset``; None has no effect.

        Raises:
            InvalidFree: No block that this system heap gave lies there, or what is hidden in
                front of it was written over.
            HeapCorruption: The region breaks an invariant.  Nothing was written either way.

        Complexity: O(1), as the heap beneath.
        In Zephyr: ``k_free()``, which frees in whichever heap the hidden word names.
        """
        if offset is not None:
            with self._latch:
                self._blocks.free(offset)

    # ------------------------------------------------------------------ looking inside

    def usable_bytes(self, offset: int) -> int:
        """Bytes that may be written from ``offset`` on, as the release computes them.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`free`.
        """
        with self._latch:
            return self._blocks.usable_bytes(offset)

    def view(self, offset: int) -> memoryview:
        """The memory of the block at ``offset``, without what is hidden in front of it.

        Raises:
            InvalidFree, HeapCorruption: As for :meth:`free`.
        """
        with self._latch:
            return self._blocks.view(offset)

    def stats(self) -> HeapStats | PoolStats:
        """The heap beneath in numbers, in which hidden words and descriptors are allocated."""
        with self._latch:
            return self._blocks.stats()

    # ------------------------------------------------------------------ the end of it

    def close(self) -> None:
        """Give the region's buffer back; its bytes stay as they are."""
        with self._latch:
            self._blocks.close()

    def __enter__(self) -> Self:
        """The system heap itself; :meth:`close` is called at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a second object would share the buffer."""
        raise TypeError("a SystemHeap cannot be copied or pickled; its region can")

    def __repr__(self) -> str:
        """The system heap in a few words."""
        return f"<SystemHeap over {self.heap!r}>"

    def _with_words(self, name: str, came: str) -> WordBlocks:
        if not isinstance(self._blocks, WordBlocks):
            self._absent(name, came)
        return self._blocks

    def _absent(self, name: str, came: str) -> NoReturn:
        releases = "1.6 and 1.7" if self.implementation == "quad" else "1.8 to 2.4"
        raise NotImplementedError(
            f"{name} {came}; the {self.implementation} pool is that of {releases}"
        )


def _size(name: str, number: int) -> int:
    number = operator.index(number)
    if number < 0:
        raise ValueError(f"{name} is negative: {number}")
    return number
