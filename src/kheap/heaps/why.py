"""Why a request would fail: the verdict on one request, with nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kheap.heaps.stats import Verdict

if TYPE_CHECKING:
    from kheap._core.calls import HeapCalls

__all__ = ["judge"]


def judge(
    heap: HeapCalls,
    request_bytes: int,
    align: int,
    *,
    free_bytes: int,
    largest_free_bytes: int,
    refused: bool = False,
) -> Verdict:
    """The verdict on a request that the heap's arguments checks let pass.

    ``free_bytes`` and ``largest_free_bytes`` are the heap's, as its statistics count them.
    ``refused``: the heap has just refused it; its search has moved a bucket's head, so that
    another one might find what it missed.
    """
    found = heap._probe(request_bytes, align)
    sought = heap.sought
    if found > 0:
        word = "search_limit" if refused else "fits"
    elif request_bytes and sought == 0 and request_bytes >> 3 < heap.n:
        word = "faults"
    elif 0 < sought <= (largest_free_bytes + heap.uncounted) // 8:
        word = "search_limit"
    elif align and heap._probe(request_bytes, 0) > 0:
        word = "alignment"
    elif sought == 0 or sought > heap.n - heap.c0:
        word = "too_big"
    else:
        word = "fragmented" if free_bytes >= request_bytes else "exhausted"
    return Verdict(
        word,
        request_bytes=request_bytes,
        align=align,
        needed_bytes=8 * sought,
        free_bytes=free_bytes,
        largest_free_bytes=largest_free_bytes,
    )
