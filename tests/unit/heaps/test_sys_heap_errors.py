"""The contract's paragraph on errors, word by word."""

from __future__ import annotations

import pytest

import kheap
from property.broken import name_of, outcome
from property.strategies import ABSURD

BASE = 0x20000000
SMALL = kheap.Profile(bits=32, header="small")
PROFILES = [
    kheap.Profile(),
    kheap.Profile(bits=32, header="big"),
    SMALL,
    kheap.Profile(release="3.7"),
    kheap.Profile(hardening="extreme"),
]


@pytest.fixture(params=PROFILES, ids=name_of)
def heap(request):
    return kheap.SysHeap(1024, request.param, BASE)


def unchanged(heap, call, error, match=None):
    """The call raises, and not a byte has changed."""
    before = bytes(heap.region)
    with pytest.raises(error, match=match) as caught:
        call()
    assert heap.region == before, "written before the error"
    return caught.value


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize("request_bytes", [0, 1025, 5000, *ABSURD])
def test_what_cannot_be_had(heap, request_bytes):
    heap.free((heap.alloc(100), heap.alloc(30))[0])
    for align in (0, 8, 64, 0x28, 1 << 20, 1 << 62):
        assert heap.try_alloc(request_bytes, align=align) is None
        error = unchanged(
            heap, lambda a=align: heap.alloc(request_bytes, align=a), kheap.OutOfMemory
        )
    assert error.request_bytes == request_bytes
    assert error.free_bytes == heap.stats().free_bytes
    assert error.largest_free_bytes == heap.stats().largest_free_bytes
    assert str(error) == (
        f"no chunk for {request_bytes} bytes: {error.free_bytes} free,"
        f" largest {error.largest_free_bytes}"
    )
    assert isinstance(error, MemoryError)


@pytest.mark.parametrize("request_bytes", [-1, -8, -(2**31), -(2**63), -(2**200)])
def test_a_negative_size_is_a_wrong_argument(heap, request_bytes):
    block = heap.alloc(8)
    for call in (
        lambda: heap.alloc(request_bytes),
        lambda: heap.alloc(request_bytes, align=64),
        lambda: heap.alloc(request_bytes, align=7),
        lambda: heap.try_alloc(request_bytes),
        lambda: heap.realloc(None, request_bytes),
        lambda: heap.realloc(block, request_bytes),
        lambda: heap.realloc(block, request_bytes, align=64),
        lambda: heap.why(request_bytes),
        lambda: heap.why(request_bytes, align=64),
    ):
        unchanged(heap, call, ValueError, match=f"request_bytes is negative: {request_bytes}")


@pytest.mark.parametrize("align", [1 << 63, 1 << 200])
def test_the_largest_alignments_are_powers_of_two(align):
    heap = kheap.SysHeap(512, base_address=BASE)
    assert heap.try_alloc(8, align=align) is None


def test_an_aligned_realloc_looks_at_the_whole_address():
    heap = kheap.SysHeap(4096, base_address=(1 << 45) - 1024)
    block = heap.alloc(8, align=1024)
    assert heap.base_address + block == 1 << 45
    assert heap.realloc(block, 16, align=1 << 45) == block


@pytest.mark.parametrize("align", [7, 11, 13, 14, 15, 0x29 | 2, -1, -8, -(2**70), 2**70 - 1])
def test_an_alignment_that_zephyr_asserts_on(heap, align):
    block = heap.alloc(8)
    for call in (
        lambda: heap.alloc(8, align=align),
        lambda: heap.alloc(0, align=align),
        lambda: heap.try_alloc(8, align=align),
        lambda: heap.realloc(None, 8, align=align),
        lambda: heap.realloc(block, 8, align=align),
        lambda: heap.why(8, align=align),
    ):
        unchanged(heap, call, ValueError, match=f"align {align} ")


@pytest.mark.parametrize("align", [3, 5, 6, 9, 10, 12, 20, 24, 0x28])
def test_a_rewind_is_an_alignment_but_not_for_realloc(heap, align):
    block = heap.alloc(8, align=align)
    rewind = align & -align
    assert (BASE + block + rewind) % (align - rewind) == 0
    unchanged(heap, lambda: heap.realloc(block, 8, align=align), ValueError, match=f"align {align}")
    assert heap.realloc(block, 0, align=align) is None, "freeing comes before the assertion"


@pytest.mark.parametrize("value", ["8", 8.0, None, [8], b"8", 1j])
def test_sizes_and_alignments_are_whole_numbers(heap, value):
    block = heap.alloc(8)
    for call in (
        lambda: heap.alloc(value),
        lambda: heap.try_alloc(value),
        lambda: heap.realloc(block, value),
        lambda: heap.realloc(None, value),
        lambda: heap.alloc(8, align=value),
        lambda: heap.realloc(block, 8, align=value),
        lambda: heap.why(value),
        lambda: heap.why(8, align=value),
    ):
        unchanged(heap, call, TypeError)


def test_anything_with_an_index_is_a_whole_number(heap):
    class Eight:
        def __index__(self):
            return 8

    block = heap.alloc(Eight(), align=Eight())
    assert heap.realloc(block, Eight(), align=Eight()) == block


def test_after_out_of_memory_no_live_block_has_changed(heap):
    blocks = []
    while (block := heap.try_alloc(20)) is not None:
        view = heap.view(block)
        view[:] = bytes([len(blocks)]) * len(view)
        blocks.append(block)
    for block in blocks:
        with pytest.raises(kheap.OutOfMemory):
            heap.realloc(block, 200)
    for token, block in enumerate(blocks):
        assert set(heap.view(block)) == {token}
    heap.check()


def test_a_failed_request_is_no_corruption_in_disguise():
    """A search that fails moves a head, so what the report on it meets is no error any more."""
    heap = kheap.SysHeap(1024, kheap.Profile(hardening="none"), BASE)
    blocks = [heap.alloc(32) for _ in range(10)]
    rest = heap.alloc(heap.stats().largest_free_bytes)
    for block in blocks[1::2]:
        heap.free(block)
    heap.region[rest - 8] ^= 1
    with pytest.raises(kheap.OutOfMemory) as caught:
        heap.alloc(50)
    assert caught.value.request_bytes == 50


# ---------------------------------------------------------------------- frees


def test_nothing_can_be_freed(heap):
    before = bytes(heap.region)
    heap.free(None)
    assert heap.region == before


def test_a_double_free_is_found(heap):
    first, second, third = (heap.alloc(40) for _ in range(3))
    for block in (second, third, first):
        heap.free(block)
        error = unchanged(heap, lambda b=block: heap.free(b), kheap.InvalidFree, match="double")
        assert error.offset == block


@pytest.mark.parametrize(
    "offset",
    [0, 1, 7, -1, -8, 1024, 1025, 4096, 2**31, 2**32, 2**63, 2**64, 2**200, -(2**63), -(2**200)],
)
def test_what_is_out_of_range_cannot_be_freed(heap, offset):
    heap.alloc(40)
    for call in (
        lambda: heap.free(offset),
        lambda: heap.realloc(offset, 20),
        lambda: heap.realloc(offset, 0),
        lambda: heap.usable_bytes(offset),
        lambda: heap.view(offset),
    ):
        error = unchanged(heap, call, kheap.InvalidFree, match="out of range")
        assert error.offset == offset


def test_what_is_misaligned_cannot_be_freed(heap):
    block = heap.alloc(40)
    for shift in (1, 2, 3, 5, 6, 7):
        unchanged(heap, lambda s=shift: heap.free(block + s), kheap.InvalidFree, match="misaligned")


def test_a_free_chunk_cannot_be_freed(heap):
    block, _ = heap.alloc(40), heap.alloc(40)
    heap.free(block)
    unchanged(heap, lambda: heap.realloc(block, 8), kheap.InvalidFree, match="not marked used")
    unchanged(heap, lambda: heap.usable_bytes(block), kheap.InvalidFree, match="not marked used")
    unchanged(heap, lambda: heap.view(block), kheap.InvalidFree, match="not marked used")


@pytest.mark.parametrize("value", ["100", 72.0, [72], b"x", 1j])
def test_offsets_are_whole_numbers(heap, value):
    heap.alloc(40)
    for call in (
        lambda: heap.free(value),
        lambda: heap.realloc(value, 8),
        lambda: heap.usable_bytes(value),
        lambda: heap.view(value),
    ):
        unchanged(heap, call, TypeError)


@pytest.mark.parametrize("call", ["usable_bytes", "view"])
def test_nothing_has_no_size(heap, call):
    unchanged(heap, lambda: getattr(heap, call)(None), TypeError)


def test_a_broken_header_is_found_before_the_first_write(heap):
    heap_bytes = bytes(heap.region)
    block, _ = heap.alloc(40), heap.alloc(40)
    header = heap.geometry.header_bytes
    sound = bytes(heap.region)
    assert sound != heap_bytes
    width = header // 2
    size = slice(block - width, block)
    for value, invariant in ((0x7FFF, "I5"), (1, "I7"), (2 * 9 + 1, "I1")):
        heap.region[size] = value.to_bytes(width, "little")
        for call in (
            lambda: heap.free(block),
            lambda: heap.realloc(block, 500),
            lambda: heap.usable_bytes(block),
            lambda: heap.view(block),
        ):
            error = unchanged(heap, call, kheap.HeapCorruption)
            if heap.profile.hardening != "extreme":
                assert error.invariant == invariant
                assert error.chunk == (block - header) // 8
        heap.region[:] = sound
    heap.free(block)


# ---------------------------------------------------------------------- narrow places


def tight_pair(profile):
    """Two neighbours of the smallest size, the second one used, so that neither can grow."""
    region = bytearray(512)
    heap = kheap.SysHeap(region, profile, BASE)
    return heap, heap.alloc(4), heap.alloc(4)


def test_no_block_begins_behind_its_chunk():
    """A heap that was opened knows no alignment, but a block has at least one byte."""
    first, block, _ = tight_pair(SMALL)
    heap = kheap.SysHeap.open(first.region, SMALL, BASE)
    for shift in (4, 5, 6, 7):
        for call in (
            lambda s=shift: heap.usable_bytes(block + s),
            lambda s=shift: heap.view(block + s),
            lambda s=shift: heap.realloc(block + s, 100),
            lambda s=shift: heap.free(block + s),
        ):
            unchanged(heap, call, kheap.InvalidFree)


def test_asking_why_does_not_blunt_the_checks():
    """Nothing has been placed with a rewind, so an odd offset is still misaligned."""
    heap = kheap.SysHeap(512, kheap.Profile(), BASE)
    block = heap.alloc(8)
    assert heap.why(8, align=0x21) == "fits"
    unchanged(heap, lambda: heap.free(block + 1), kheap.InvalidFree, match="misaligned")


def test_a_block_that_the_new_one_would_lie_on():
    """A free chunk whose size is a lie covers the very block that is moved."""
    profile = kheap.Profile(runtime_stats=False, hardening="none")
    heap = kheap.SysHeap(1024, profile, BASE)
    hole, _, block, _ = (heap.alloc(count) for count in (64, 8, 88, 8))
    while heap.try_alloc(8) is not None:
        pass
    heap.view(block)[:] = b"\xff" * 88
    heap.free(hole)
    heap.region[hole - 4 : hole] = (2 * 40).to_bytes(4, "little")
    unchanged(heap, lambda: heap.realloc(block, 104), kheap.HeapCorruption)


def test_a_link_into_the_header_of_the_block_that_is_moved():
    """The ring that the remainder goes to names the unit before the block as its tail."""
    profile = kheap.Profile(runtime_stats=False, hardening="none")
    heap = kheap.SysHeap(8192, profile, BASE)
    blocks = [heap.alloc(40) for _ in range(168)]
    while heap.try_alloc(8) is not None:
        pass
    for index in (150, 151, 3):
        heap.free(blocks[index])
    stale, moved = blocks[3], blocks[-2]
    heap.region[stale : stale + 4] = (moved // 8 - 2).to_bytes(4, "little")
    kind, answer = outcome(lambda: heap.realloc(moved, 48))
    assert kind in ("answer", "HeapCorruption"), answer
