"""``why``: each of its seven words, on a heap made so that it is the true one."""

from __future__ import annotations

import pickle

import pytest

import kheap
from kheap.heaps.stats import Verdict
from property.broken import name_of

BASE = 0x20000000
BIG = kheap.Profile()
SMALL = kheap.Profile(bits=32, header="small")


def make(profile=BIG, size=1024):
    return kheap.SysHeap(size, profile, BASE)


def fill(heap, request_bytes):
    """Blocks of one size until nothing is left, not even for one byte."""
    blocks = []
    while (block := heap.try_alloc(request_bytes)) is not None:
        blocks.append(block)
    while heap.try_alloc(1) is not None:
        pass
    return blocks


def judged(heap, request_bytes, align=0):
    """The verdict; asking writes nothing, and it agrees with what an alloc does."""
    before = bytes(heap.region)
    verdict = heap.why(request_bytes, align=align)
    assert heap.region == before
    assert (verdict == "fits") == (heap.try_alloc(request_bytes, align=align) is not None)
    return verdict


@pytest.mark.parametrize("profile", [BIG, SMALL, kheap.Profile(release="3.7")], ids=name_of)
def test_fits(profile):
    verdict = judged(make(profile), 100)
    assert verdict == "fits"
    assert verdict.explanation.startswith("100 bytes: fits (")


def test_exhausted():
    heap = make()
    blocks = fill(heap, 40)
    assert judged(heap, 1) == "exhausted"
    assert heap.why(1).largest_free_bytes == heap.why(1).free_bytes == 0
    heap.free(blocks[3])
    verdict = judged(heap, 41)
    assert verdict == "exhausted"
    assert (verdict.free_bytes, verdict.largest_free_bytes) == (40, 40)
    assert verdict.explanation == "41 bytes: the heap is exhausted (40 free, largest 40)"


def test_fragmented():
    heap = make()
    for block in fill(heap, 40)[1:8:3]:
        heap.free(block)
    verdict = judged(heap, 100)
    assert verdict == "fragmented"
    assert (verdict.free_bytes, verdict.largest_free_bytes) == (120, 40)
    assert verdict.needed_bytes == 112
    assert verdict.explanation == "100 bytes: free memory is fragmented (120 free, largest 40)"


def test_search_limit():
    """Five chunks in one bucket, the last of them large enough."""
    heap = make(kheap.Profile(alloc_loops=4))
    blocks = []
    for request_bytes in (32, 32, 32, 32, 56):
        blocks.append(heap.alloc(request_bytes))
        heap.alloc(8)
    fill(heap, 100)
    for block in blocks:
        heap.free(block)
    verdict = heap.why(50)
    assert verdict == "search_limit"
    assert verdict.largest_free_bytes == 56
    assert "beyond the ALLOC_LOOPS chunks" in verdict.explanation
    assert heap.try_alloc(50) is None
    assert heap.why(50) == "fits", "the failed search has moved the head"
    with kheap.SysHeap.open(heap.region, kheap.Profile(alloc_loops=5), BASE) as patient:
        assert patient.why(50) == "fits"


def test_alignment():
    heap = make()
    heap.alloc(8)
    block, _ = heap.alloc(40), fill(heap, 300)
    heap.free(block)
    assert heap.why(40) == "fits"
    verdict = judged(heap, 40, align=64)
    assert verdict == "alignment"
    assert verdict.align == 64
    assert verdict.needed_bytes == 8 * ((40 + 64 - 8 + 8 + 7) // 8)
    assert verdict.explanation == (
        "40 bytes aligned to 64: fits without the alignment, whose padding asks for a chunk of"
        " 104 bytes (40 free, largest 40)"
    )
    assert judged(heap, 41, align=64) == "exhausted", "it fails without the alignment, too"


def test_too_big():
    heap = make(size=512)
    most = heap.stats().largest_free_bytes
    assert judged(make(size=512), most) == "fits"
    for request_bytes in (most + 1, 512, 2**64, 2**200):
        verdict = judged(heap, request_bytes)
        assert verdict == "too_big"
        assert verdict.explanation.startswith(f"{request_bytes:,} bytes: no state of this heap")
    assert judged(heap, 8, align=1 << 20) == "alignment"
    fill(heap, 100)
    assert judged(heap, 8, align=1 << 20) == "too_big"


def test_nothing_is_too_big():
    heap = make()
    for align in (0, 8, 64, 0x28):
        verdict = judged(heap, 0, align=align)
        assert verdict == "too_big"
        assert verdict.explanation == "0 bytes: Zephyr answers NULL"
        assert verdict.needed_bytes == 0


@pytest.mark.parametrize("release", ["2.6", "3.7", "4.1"])
def test_faults(release):
    """65 units, one more than there are, begin a bucket that the table does not have."""
    heap = make(kheap.Profile(release=release), size=520)
    assert (heap.n, heap.nb) == (64, 6)
    verdict = judged(heap, 8 * 64 - 1)
    assert verdict == "faults"
    assert verdict.explanation.startswith("511 bytes: this release would read beyond the bucket")
    assert judged(heap, 8 * 64) == "too_big", "refused by its bytes, without a search"
    assert judged(heap, 400, align=128) == "faults", "padding leads there, too"
    assert judged(make(kheap.Profile(release="4.2"), size=520), 511) == "too_big"


@pytest.mark.parametrize("request_bytes", [-1, -(2**70)])
def test_a_negative_size_is_a_wrong_argument(request_bytes):
    with pytest.raises(ValueError, match="negative"):
        make().why(request_bytes)


def test_a_broken_heap_has_no_verdict():
    heap = make()
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.region[block + 40] ^= 0xFF
    with pytest.raises(kheap.HeapCorruption):
        heap.why(8)


def test_a_broken_ring_has_no_verdict():
    """All chunks are sound; only the search meets the fault."""
    heap = make()
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.free(block)
    heap.region[block : block + 8] = b"\xff" * 8
    with pytest.raises(kheap.HeapCorruption) as caught:
        heap.why(40)
    assert caught.value.invariant == "I8"


def test_a_verdict_is_its_word():
    verdict = make().why(100, align=16)
    assert isinstance(verdict, str)
    assert verdict.verdict == "fits"
    assert type(verdict.verdict) is str
    assert f"{verdict}" == "fits"
    assert {verdict: 1}["fits"] == 1
    assert (verdict.request_bytes, verdict.align) == (100, 16)


def test_a_verdict_can_be_sent_to_another_process():
    verdict = make().why(5000)
    again = pickle.loads(pickle.dumps(verdict))
    assert isinstance(again, Verdict)
    assert again == verdict
    assert again.explanation == verdict.explanation
    assert again.largest_free_bytes == verdict.largest_free_bytes
