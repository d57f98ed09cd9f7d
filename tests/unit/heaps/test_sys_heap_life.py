"""The life of a heap object: which regions it takes, opening, closing, and what is left."""

from __future__ import annotations

import array
import copy
import ctypes
import mmap
import sys

import pytest

import kheap

BASE = 0x20000000
SMALL = kheap.Profile(bits=32, header="small")


def test_a_number_makes_a_region_of_zeros():
    heap = kheap.SysHeap(1024)
    assert (heap.size_bytes, len(heap.region)) == (1024, 1024)
    assert not any(heap.region[8 * heap.c0 + 64 : 1000])


def test_the_real_address_is_taken_unless_one_is_given():
    region = (ctypes.c_ubyte * 512)()
    with kheap.SysHeap(region) as heap:
        assert heap.base_address == ctypes.addressof(region)
    with kheap.SysHeap(region, base_address=0x20000003) as heap:
        assert heap.base_address == 0x20000003
        assert heap.geometry.start == 5


@pytest.mark.parametrize("address", [0, 1, 0xFFFFFFFF, 1 << 40, (1 << 64) - 4096])
def test_alignment_follows_the_address(address):
    heap = kheap.SysHeap(1024, base_address=address)
    assert (address + heap.alloc(8, align=64)) % 64 == 0
    heap.check()


@pytest.mark.parametrize("address", [-1, 1 << 64])
def test_an_address_has_64_bits(address):
    with pytest.raises(ValueError, match="base_address"):
        kheap.SysHeap(512, base_address=address)


def test_bytes_before_the_heap_and_behind_it_are_not_touched():
    region = bytearray(b"\xa5") * 203
    heap = kheap.SysHeap(region, SMALL, BASE + 3)
    end = heap.geometry.start + 8 * heap.n + 4
    assert region[:5] == b"\xa5" * 5
    assert region[end:] == b"\xa5" * (203 - end)


# ---------------------------------------------------------------------- regions


def test_any_writable_buffer_will_do():
    shared = mmap.mmap(-1, 4096)
    regions = [
        bytearray(512),
        memoryview(bytearray(600))[40:552],
        array.array("i", bytes(512)),
        (ctypes.c_uint64 * 64)(),
        shared,
    ]
    for region in regions:
        with kheap.SysHeap(region) as heap:
            offset = heap.alloc(100)
            heap.view(offset)[:] = b"x" * len(heap.view(offset))
            heap.check()
            assert heap.size_bytes == memoryview(region).nbytes
    shared.close()


@pytest.mark.slow  # importing numpy
def test_numpy_arrays_will_do():
    numpy = pytest.importorskip("numpy")
    for region in (numpy.zeros(512, numpy.uint8), numpy.zeros((8, 8)), numpy.zeros(64, ">i8")):
        with kheap.SysHeap(region) as heap:
            offset = heap.alloc(16)
            heap.view(offset)[:4] = b"abcd"
            assert region.tobytes()[offset : offset + 4] == b"abcd"
    with pytest.raises((TypeError, ValueError), match="contiguous"):
        kheap.SysHeap(numpy.zeros((64, 64))[:, :8])


@pytest.mark.parametrize(
    "region", [b"x" * 512, memoryview(b"x" * 512), bytearray(1024)[::2], "x" * 512, None, 1.5, [0]]
)
def test_what_is_no_writable_contiguous_buffer_is_refused(region):
    if isinstance(region, bytearray):
        region = memoryview(bytearray(1024))[::2]
    for make in (kheap.SysHeap, kheap.SysHeap.open):
        with pytest.raises((TypeError, BufferError)):
            make(region)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="negative"):
        kheap.SysHeap(-1)


@pytest.mark.parametrize("size", [0, 1, 7, 40, 79])
def test_a_region_that_is_too_small_is_refused(size):
    with pytest.raises(ValueError, match="small"):
        kheap.SysHeap(size, base_address=BASE)


def test_a_region_that_is_too_big_is_refused():
    with pytest.raises(ValueError, match=r"262144 bytes is too big for small headers"):
        kheap.SysHeap(262144, SMALL, BASE)
    kheap.SysHeap(262143, SMALL, BASE).check()


def test_an_absurd_size_is_a_wrong_argument():
    with pytest.raises(ValueError, match="region of"):
        kheap.SysHeap(1 << 70)


# ---------------------------------------------------------------------- closing


def everything(heap, offset):
    """Each call that needs an open heap."""
    return [
        lambda: heap.alloc(8),
        lambda: heap.alloc(8, align=64),
        lambda: heap.alloc(0),
        lambda: heap.try_alloc(8),
        lambda: heap.free(offset),
        lambda: heap.realloc(offset, 16),
        lambda: heap.realloc(None, 16),
        lambda: heap.usable_bytes(offset),
        lambda: heap.view(offset),
        heap.stats,
        heap.reset_max,
        heap.check,
        heap.print_info,
        lambda: heap.why(8),
        lambda: list(heap.chunks()),
        lambda: list(heap.buckets()),
    ]


@pytest.mark.parametrize("hardening", ["basic", "extreme"])
def test_a_closed_heap_refuses_everything(hardening):
    heap = kheap.SysHeap(bytearray(512), kheap.Profile(hardening=hardening))
    offset = heap.alloc(8)
    heap.add_listener(lambda *event: None)
    heap.close()
    for call in everything(heap, offset):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert repr(heap) == "<SysHeap, closed>"
    heap.close()


def test_the_bytes_stay_and_can_be_opened_again():
    region = bytearray(512)
    with kheap.SysHeap(region, base_address=BASE) as heap:
        offset = heap.alloc(100)
        heap.view(offset)[:5] = b"hello"
    with kheap.SysHeap.open(region, base_address=BASE) as heap:
        assert bytes(heap.view(offset)[:5]) == b"hello"
        heap.free(offset)
        assert heap.stats().used_count == 0


def test_closing_gives_the_buffer_back():
    region = bytearray(512)
    heap = kheap.SysHeap(region)
    with pytest.raises(BufferError):
        region.append(0)
    heap.close()
    region.append(0)


def test_an_mmap_can_be_closed_behind_its_heap():
    region = mmap.mmap(-1, 4096)
    with kheap.SysHeap(region) as heap:
        heap.alloc(100)
        with pytest.raises(BufferError):
            region.close()
    region.close()


def test_a_view_outlives_its_heap():
    region = mmap.mmap(-1, 4096)
    with kheap.SysHeap(region) as heap:
        view = heap.view(heap.alloc(8))
    view[:2] = b"ok"
    with pytest.raises(BufferError):
        region.close()
    view.release()
    region.close()


def test_an_error_in_a_with_block_closes_the_heap():
    with pytest.raises(kheap.OutOfMemory), kheap.SysHeap(512) as heap:
        heap.alloc(5000)
    assert repr(heap) == "<SysHeap, closed>"


def test_a_heap_that_could_not_be_opened_gives_its_buffer_back():
    region = bytearray(512)
    with pytest.raises(kheap.HeapCorruption) as caught:
        kheap.SysHeap.open(region)
    region.append(0)
    with pytest.raises(kheap.HeapCorruption) as caught:
        kheap.SysHeap.open(region, kheap.Profile())
    region.append(0)
    assert (caught.value.chunk, caught.value.invariant) == (0, "I6")


def test_a_heap_that_could_not_be_made_gives_its_buffer_back():
    """Even while the error, which holds the frame of the constructor, is looked at."""
    region = bytearray(20)
    with pytest.raises(ValueError, match="small") as caught:
        kheap.SysHeap(region)
    region.append(0)
    assert caught.value


@pytest.mark.parametrize("profile", [None, kheap.Profile()])
def test_no_bytes_hold_no_heap(profile):
    with pytest.raises(kheap.HeapCorruption):
        kheap.SysHeap.open(bytearray(), profile)


def test_the_heap_keeps_its_region_alive():
    references = sys.getrefcount(region := bytearray(512))
    heap = kheap.SysHeap(region)
    assert sys.getrefcount(region) > references
    heap.close()
    assert sys.getrefcount(region) == references


def test_repr_says_where_and_which():
    heap = kheap.SysHeap(512, SMALL, BASE)
    assert repr(heap) == f"<SysHeap of 512 bytes at 0x20000000, {SMALL}>"


def test_the_docstring_of_the_class_is_true():
    heap = kheap.SysHeap(1024, kheap.Profile(release="4.4", bits=32), base_address=BASE)
    block = heap.alloc(100)
    heap.view(block)[:5] = b"hello"
    assert (heap.usable_bytes(block), heap.why(2000)) == (100, "too_big")


# ---------------------------------------------------------------------- iterators


@pytest.mark.parametrize("name", ["chunks", "buckets"])
def test_an_iterator_stops_where_its_heap_is_closed(name):
    heap = kheap.SysHeap(512)
    iterator = getattr(heap, name)()
    next(iterator)
    heap.close()
    with pytest.raises(ValueError, match="closed"):
        next(iterator)


def test_a_ring_written_over_while_buckets_are_told():
    heap = kheap.SysHeap(1024, base_address=BASE)
    blocks = [heap.alloc(32) for _ in range(8)]
    for block in blocks[1:6:2]:
        heap.free(block)
    iterator = heap.buckets()
    next(iterator)
    heap.region[blocks[1] + 4 : blocks[1] + 8] = b"\xff" * 4
    assert sum(len(bucket.chunks) for bucket in iterator) == 4


def test_a_heap_cannot_be_copied():
    heap = kheap.SysHeap(512)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(heap)


def test_a_closed_heap_is_not_probed():
    heap = kheap.SysHeap(512)
    heap.close()
    assert heap._probe(8, 0) == -5
