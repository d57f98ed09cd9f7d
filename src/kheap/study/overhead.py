"""What the calls above a heap add to each request: ``k_malloc``'s word, ``malloc``'s alignment.

It owns the columns of a trace as the heap beneath sees them.  Not here: the words that lie in
memory (``kheap.heaps.hidden_word``), and how large a region Kconfig makes of a number
(``kheap.heaps.sizing``).
"""

from __future__ import annotations

from array import array
from typing import Literal, get_args

from kheap.profile import Profile
from kheap.trace.model import ALLOC, FREE, REALLOC, Trace

__all__ = ["OVERHEADS", "Overhead", "heap_requests"]

Overhead = Literal["k_heap", "k_malloc", "malloc"]
OVERHEADS: tuple[str, ...] = get_args(Overhead)


def heap_requests(
    trace: Trace, profile: Profile, overhead: Overhead, malloc_align: int | None = None
) -> tuple[array[int], array[int]]:
    """Sizes and alignments of all operations, as they reach the heap.

    Args:
        trace: What the program asked for.
        profile: Its word size is what ``k_malloc`` adds.
        overhead: "k_heap": nothing. "k_malloc": a word below each block, which an alignment
            counts from. "malloc" (Zephyr's common libc): every block is aligned.
        malloc_align: What "malloc" aligns to; None: 8 on 32 bits, 16 on 64.

    Raises:
        ValueError: No such overhead.

    In Zephyr: ``k_aligned_alloc()``; ``malloc()`` of ``lib/libc/common``.
    """
    if overhead not in OVERHEADS:
        raise ValueError(f"overhead must be one of {', '.join(OVERHEADS)}, not {overhead!r}")
    if overhead == "k_heap":
        return trace.size, trace.align
    word = profile.bits // 8
    if overhead == "k_malloc":
        sizes = array("q", trace.size)
        for i, op in enumerate(trace.op):
            # A resize to nothing frees; it asks for no word.
            if op != FREE and (sizes[i] or op != REALLOC):
                sizes[i] += word
        aligns = (
            align | word if align and op == ALLOC else 0
            for op, align in zip(trace.op, trace.align, strict=True)
        )
        return sizes, array("q", aligns)
    least = malloc_align or 2 * word
    return trace.size, array("q", [max(align, least) for align in trace.align])
