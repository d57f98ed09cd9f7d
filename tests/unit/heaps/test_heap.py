"""``kheap.Heap`` where nobody waits: its life, its calls, and what it refuses."""

from __future__ import annotations

import copy
import gc
import mmap
import pickle
import random
import weakref

import numpy as np
import pytest

import kheap
from helpers.sleepers import at_once
from kheap._core.synced import SyncedHeap
from kheap.heaps.sys_heap import SysHeap

BASE = 0x20000000


def shape(heap):
    return [(c.chunk, c.size_units, c.state) for c in heap.chunks()]


# ---------------------------------------------------------------------- its life


def test_an_int_makes_exactly_so_many_bytes():
    assert kheap.Heap(1001).size_bytes == 1001


@pytest.mark.parametrize("region", [bytearray(1024), mmap.mmap(-1, 4096), np.zeros(128)])
def test_any_writable_buffer_is_a_region(region):
    with kheap.Heap(region) as heap:
        heap.alloc(100).view()[50:53] = b"abc"
    assert b"abc" in bytes(region)


@pytest.mark.parametrize(
    ("region", "error"),
    [
        (bytes(1024), BufferError),
        ("text", TypeError),
        (8, ValueError),
        (-1, ValueError),
        (bytearray(16), ValueError),
    ],
)
def test_what_is_no_region_is_refused(region, error):
    with pytest.raises(error):
        kheap.Heap(region)


def test_its_name_and_its_state_are_told():
    heap = kheap.Heap(1024, name="frames", base_address=BASE)
    block = heap.alloc(10)
    assert heap.name == "frames"
    for word in ("'frames'", "1024 bytes", "0x20000000", "1 blocks"):
        assert word in repr(heap)
    block.free()
    heap.close()
    assert repr(heap) == "<Heap 'frames', closed>"
    assert repr(kheap.Heap(1024)).startswith("<Heap of 1024 bytes at 0x")


def test_it_tells_its_profile_and_base_address():
    profile = kheap.Profile(bits=32)
    heap = kheap.Heap(1024, profile=profile, base_address=BASE)
    assert (heap.profile, heap.base_address) == (profile, BASE)
    assert heap.alloc(10).address % 8 == 4


def test_close_gives_the_buffer_back():
    region = bytearray(1024)
    heap = kheap.Heap(region)
    with pytest.raises(BufferError):
        region.append(0)
    heap.close()
    region.append(0)
    heap.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda heap: heap.alloc(8),
        lambda heap: heap.alloc(8, timeout=None),
        lambda heap: heap.try_alloc(8),
        lambda heap: heap.calloc(8, 1),
        lambda heap: heap.realloc(None, 8),
        lambda heap: heap.array(8),
        lambda heap: heap.stats(),
        lambda heap: heap.reset_max(),
        lambda heap: heap.check(),
        lambda heap: heap.why(8),
        lambda heap: heap.print_info(),
        lambda heap: list(heap.chunks()),
        lambda heap: list(heap.buckets()),
        lambda heap: heap.add_listener(print),
        lambda heap: heap.remove_listener(print),
    ],
)
def test_a_closed_heap_serves_nothing(call):
    heap = kheap.Heap(1024)
    heap.close()
    with pytest.raises(ValueError, match="closed"):
        call(heap)


def test_blocks_keep_a_heap_open():
    heap = kheap.Heap(1024)
    block, other = heap.alloc(8), heap.alloc(8)
    with pytest.raises(BufferError, match="2 blocks"):
        heap.close()
    other.free()
    view = block.view()
    with pytest.raises(BufferError):
        heap.close()
    assert heap.alloc(8).closed is False, "nothing has changed"
    del block
    with pytest.raises(BufferError, match="1 blocks"):
        heap.close()
    view.release()
    heap.close()


def test_with_closes_a_heap():
    with kheap.Heap(1024) as heap:
        heap.alloc(8)
    assert "closed" in repr(heap)


def test_with_tells_of_blocks_that_live():
    with pytest.raises(BufferError), kheap.Heap(1024) as heap:
        block = heap.alloc(8)
    assert not block.closed


def test_with_hides_no_error_that_is_on_its_way():
    with pytest.raises(KeyError), kheap.Heap(1024) as heap:
        block = heap.alloc(8)
        raise KeyError
    block.free()
    heap.close()


def test_a_heap_that_goes_frees_its_region():
    region = bytearray(1024)
    heap = kheap.Heap(region)
    block = heap.alloc(10)
    gone = weakref.ref(heap)
    del heap
    assert gone() is not None, "a block keeps its heap"
    del block
    assert gone() is None
    region.append(0)


class Own(kheap.Heap):
    """A heap that can hold anything."""


def hold_block(heap):
    heap.mine = heap.alloc(100)


def hold_many(heap):
    heap.mine = [heap.alloc(10) for _ in range(20)]
    heap.self = heap


def hold_view(heap):
    heap.mine = heap.alloc(100).view()


def hold_in_listener(heap):
    block = heap.alloc(100)
    heap.add_listener(lambda *event, block=block: None)


def hold_all(heap):
    hold_in_listener(heap)
    hold_many(heap)
    heap.view = heap.mine[3].view()


@pytest.mark.parametrize("hold", [hold_block, hold_many, hold_view, hold_in_listener, hold_all])
def test_a_cycle_of_heap_and_blocks_is_collected(hold):
    region = bytearray(4096)
    heap = Own(region)
    hold(heap)
    gone = weakref.ref(heap)
    del heap
    gc.collect()
    assert gone() is None
    region.append(0)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_heap_is_not_copied(copier):
    with pytest.raises(TypeError, match="cannot be copied"):
        copier(kheap.Heap(1024))


def test_a_second_init_is_refused():
    heap = kheap.Heap(1024)
    block = heap.alloc(8)
    with pytest.raises(ValueError, match="already"):
        heap.__init__(2048)
    assert heap.size_bytes == 1024
    block.free()
    heap.close()


def test_a_subclass_that_forgets_the_constructor_is_told():
    class Forgetful(kheap.Heap):
        def __init__(self):
            pass

    heap = Forgetful()
    for call in (heap.close, heap.stats, lambda: heap.try_alloc(8), lambda: heap.alloc(8)):
        with pytest.raises((TypeError, AttributeError)):
            call()


def test_a_subclass_may_have_its_own_calls():
    class Counting(kheap.Heap):
        count = 0

        def alloc(self, request_bytes, **others):
            self.count += 1
            return super().alloc(request_bytes, **others)

    class Plain(kheap.Heap):
        pass

    heap = Counting(4096)
    assert heap.realloc(None, 10).nbytes == 10
    assert heap.calloc(2, 5).nbytes == 10
    assert heap.array(3, "u1").nbytes == 3
    assert heap.count == 3
    assert Plain(4096).alloc(5).nbytes == 5


def test_the_core_leaves_to_its_face_what_is_off_the_straight_path():
    core = SyncedHeap(SysHeap(1024))
    block = kheap.Block.__new__(kheap.Block)
    for call in (
        lambda: core._check_request(3, None),
        lambda: core._await(None, None),
        lambda: core._alloc_or_queue(0, 8, 0, None, 0),
        lambda: core._try_alloc(0, 8, 0),
        lambda: core._free_shut(block, 0),
        lambda: core._give_back(0),
        lambda: core._free_dropped(),
        lambda: core._refuse_block(block),
        lambda: core._realloc(block, 8, 0, None, 0),
        lambda: core._handle_of(block),
        lambda: core._address_of(0),
        lambda: core._usable_bytes(block),
    ):
        with pytest.raises(NotImplementedError):
            call()


# ---------------------------------------------------------------------- alloc and free


def test_alloc_gives_a_block():
    heap = kheap.Heap(1024, base_address=BASE)
    block = heap.alloc(21)
    assert (block.requested_bytes, block.nbytes, len(block)) == (21, 21, 21)
    assert block.usable_bytes == 24
    assert block.address == BASE + block.offset
    assert block.heap is heap
    assert not block.closed


def test_alloc_without_memory_tells_what_there_is():
    heap = kheap.Heap(1024)
    with pytest.raises(kheap.OutOfMemory) as caught:
        heap.alloc(2000)
    stats = heap.stats()
    assert isinstance(caught.value, MemoryError)
    assert caught.value.request_bytes == 2000
    assert caught.value.free_bytes == stats.free_bytes
    assert caught.value.largest_free_bytes == stats.largest_free_bytes


def test_try_alloc_gives_none_without_memory():
    heap = kheap.Heap(1024)
    assert heap.try_alloc(2000) is None
    assert heap.try_alloc(0) is None
    assert heap.try_alloc(10).nbytes == 10
    assert heap.try_alloc(10, align=64).address % 64 == 0


@pytest.mark.parametrize("timeout", [0, 0.0, 1, 1.5, None])
def test_alloc_of_0_bytes_fails_at_once(timeout):
    with pytest.raises(kheap.OutOfMemory):
        kheap.Heap(1024).alloc(0, timeout=timeout)


@pytest.mark.parametrize("timeout", [1, None])
def test_what_never_fits_fails_at_once(timeout):
    heap = kheap.Heap(1024)
    limit = heap.stats().largest_free_bytes
    for request in (limit + 1, 5000, 1 << 40, 1 << 80):
        with pytest.raises(kheap.OutOfMemory, match="never"):
            heap.alloc(request, timeout=timeout)
    with pytest.raises(kheap.OutOfMemory, match="never"):
        heap.alloc(limit, align=256, timeout=timeout)
    assert heap.alloc(limit, timeout=timeout).nbytes == limit


@pytest.mark.parametrize(
    ("args", "named", "error"),
    [
        ((-1,), {}, ValueError),
        ((8,), {"align": 3}, ValueError),
        ((8,), {"align": -8}, ValueError),
        ((8,), {"align": 24}, ValueError),
        ((8,), {"timeout": -1}, ValueError),
        ((8,), {"timeout": float("nan")}, ValueError),
        ((8.5,), {}, TypeError),
        (("8",), {}, TypeError),
        ((None,), {}, TypeError),
        ((8,), {"align": 8.0}, TypeError),
        ((8,), {"timeout": "1"}, TypeError),
        ((), {}, TypeError),
        ((8, 8), {}, TypeError),
        ((8,), {"colour": 1}, TypeError),
    ],
)
def test_wrong_arguments_are_told(args, named, error):
    heap = kheap.Heap(1024)
    with pytest.raises(error):
        heap.alloc(*args, **named)
    heap.check()
    assert heap.alloc(8).offset == SysHeap(bytearray(1024)).alloc(8), "and the lock is free"


@pytest.mark.parametrize("args", [(-1,), ("8",)])
def test_wrong_arguments_of_try_alloc_are_told(args):
    heap = kheap.Heap(1024)
    with pytest.raises((ValueError, TypeError)):
        heap.try_alloc(*args)
    with pytest.raises(ValueError, match="align"):
        heap.try_alloc(8, align=5)
    heap.close()


@pytest.mark.parametrize("align", [1, 2, 4, 8, 16, 64, 256])
def test_alignment_is_of_the_address(align):
    heap = kheap.Heap(4096, base_address=BASE + 8)
    assert heap.alloc(10, align=align).address % align == 0


def test_free_gives_all_back():
    heap = kheap.Heap(1024)
    fresh = shape(heap)
    blocks = [heap.alloc(n) for n in (10, 20, 30)]
    blocks[1].free()
    heap.free(blocks[0])
    assert [block.closed for block in blocks] == [True, True, False]
    del blocks
    assert shape(heap) == fresh


def test_free_of_none_has_no_effect():
    heap = kheap.Heap(1024)
    block = heap.alloc(8)
    before = shape(heap)
    assert heap.free(None) is None
    assert shape(heap) == before
    block.free()


def test_a_block_is_freed_once():
    heap = kheap.Heap(1024)
    block, other = heap.alloc(8), heap.alloc(8)
    offset = block.offset
    block.free()
    for call in (block.free, lambda b=block: heap.free(b), lambda b=block: heap.realloc(b, 9)):
        with pytest.raises(kheap.InvalidFree) as caught:
            call()
        assert caught.value.offset == offset
    again = heap.alloc(8)
    assert again.offset == offset
    del block, call
    assert heap.stats().used_count == 2, "the closed block frees nothing when it goes"
    again.free()
    other.free()


def test_a_block_of_another_heap_is_refused():
    heap, other = kheap.Heap(1024), kheap.Heap(1024)
    block = other.alloc(8)
    for call in (heap.free, lambda b: heap.realloc(b, 16), lambda b: heap.realloc(b, 0)):
        with pytest.raises(kheap.InvalidFree, match="another heap"):
            call(block)
    assert not block.closed
    block.free()


@pytest.mark.parametrize("thing", [5, "block", object(), b""])
def test_only_blocks_are_freed(thing):
    heap = kheap.Heap(1024)
    with pytest.raises(TypeError):
        heap.free(thing)
    with pytest.raises(TypeError):
        heap.realloc(thing, 5)
    heap.close()


def test_placement_is_that_of_the_heap_beneath():
    rng = random.Random(11)
    heap, model = kheap.Heap(bytearray(8192), base_address=BASE), SysHeap(8192, base_address=BASE)
    live = []
    for _ in range(600):
        if live and rng.random() < 0.45:
            block = live.pop(rng.randrange(len(live)))
            model.free(block.offset)
            block.free()
        else:
            request, align = rng.randrange(1, 600), rng.choice((0, 0, 8, 32))
            block, offset = (
                heap.try_alloc(request, align=align),
                model.try_alloc(request, align=align),
            )
            assert (block and block.offset) == offset
            if block:
                live.append(block)
    assert shape(heap) == [(c.chunk, c.size_units, c.state) for c in model.chunks()]
    assert heap.stats() == model.stats()


# ---------------------------------------------------------------------- calloc and array


def dirty(size=4096):
    return kheap.Heap(bytearray(b"\xa5" * size))


def test_calloc_clears_what_was_asked_for_and_no_more():
    heap = dirty()
    block = heap.calloc(3, 7)
    assert bytes(block.view()) == bytes(21)
    end = block.offset + 21
    assert heap.sys_heap.region[end : end + 3] == b"\xa5" * 3


def test_calloc_clears_large_blocks():
    heap = dirty(1 << 18)
    assert not any(heap.calloc(1000, 200).view())


@pytest.mark.parametrize("args", [(-1, 4), (4, -1), (-4, -4)])
def test_calloc_of_negative_numbers_is_refused(args):
    with pytest.raises(ValueError, match="negative"):
        kheap.Heap(1024).calloc(*args)


@pytest.mark.parametrize("args", [(0, 4), (4, 0), (1 << 40, 1 << 40)])
@pytest.mark.parametrize("timeout", [0, None])
def test_calloc_of_nothing_or_too_much_fails(args, timeout):
    with pytest.raises(kheap.OutOfMemory):
        kheap.Heap(1024).calloc(*args, timeout=timeout)


@pytest.mark.parametrize("bits", [32, 64])
def test_calloc_whose_product_overflows_never_waits(bits):
    heap = kheap.Heap(1024, profile=kheap.Profile(bits=bits), original_waits=True)
    for args in ((1 << bits, 1), (1 << (bits // 2), 1 << (bits // 2))):
        with pytest.raises(kheap.OutOfMemory):
            heap.calloc(*args, timeout=None)
    with pytest.raises(ValueError, match="timeout"):
        heap.calloc(1 << bits, 1, timeout=-1)


def test_calloc_takes_any_whole_numbers():
    heap = dirty()
    assert heap.calloc(np.uint8(16), np.uint8(100)).nbytes == 1600
    with pytest.raises(TypeError):
        heap.calloc(2.0, 3)


@pytest.mark.parametrize(
    ("sides", "kind"), [(5, "f8"), ((2, 3), "i4"), ((), "u1"), ([4], "c16"), (np.int64(7), "i2")]
)
def test_array_is_in_the_heap_until_its_last_reference(sides, kind):
    heap = kheap.Heap(4096)
    array = heap.array(sides, kind)
    like = np.empty(sides, kind)
    assert (array.shape, array.dtype, array.flags.writeable) == (like.shape, like.dtype, True)
    assert array.ctypes.data % array.dtype.alignment == 0
    array[...] = 1
    slice_ = array[:0] if array.ndim else array[()]
    assert heap.stats().used_count == 1
    del array
    assert heap.stats().used_count == (1 if like.ndim else 0)
    del slice_
    assert heap.stats().used_count == 0
    heap.close()


def test_array_is_aligned_as_told():
    heap = kheap.Heap(4096, base_address=BASE)
    heap.alloc(1)
    array = heap.array(3, "u1", align=128)
    (block,) = (c for c in heap.chunks() if c.state == "used")
    assert array.shape == (3,)
    assert block.size_units


def test_array_of_no_bytes_takes_none():
    heap = kheap.Heap(1024)
    assert heap.array((3, 0)).shape == (3, 0)
    assert heap.stats().used_count == 0


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((3, object), TypeError),
        ((-1,), ValueError),
        (((2, -2),), ValueError),
        ((2.5,), TypeError),
        (((2.5,),), TypeError),
        ((1 << 70,), kheap.OutOfMemory),
        ((3, "no such kind"), TypeError),
    ],
)
def test_array_of_what_cannot_be(args, error):
    heap = kheap.Heap(1024)
    with pytest.raises(error):
        heap.array(*args)
    assert heap.stats().used_count == 0
    heap.close()


def test_array_keeps_the_heap_open():
    heap = kheap.Heap(1024)
    array = heap.array(4)
    with pytest.raises(BufferError):
        heap.close()
    array[:] = 4.5
    assert array.sum() == 18


# ---------------------------------------------------------------------- looking inside


def test_looking_inside_is_that_of_the_heap_beneath():
    heap = kheap.Heap(1024, base_address=BASE)
    block = heap.alloc(100)
    beneath = heap.sys_heap
    assert heap.stats() == beneath.stats()
    assert list(heap.chunks()) == list(beneath.chunks())
    assert list(heap.buckets()) == list(beneath.buckets())
    assert heap.print_info() == beneath.print_info()
    assert heap.print_info(True) == beneath.print_info(True)
    assert heap.why(100) == "fits"
    assert heap.why(900, align=8) == beneath.why(900, align=8)
    block.free()
    assert heap.stats().max_allocated_bytes == 104
    heap.reset_max()
    assert heap.stats().max_allocated_bytes == 0
    heap.check()


def test_chunks_are_of_one_moment():
    heap = kheap.Heap(1024)
    chunks = heap.chunks()
    block = heap.alloc(100)
    assert [c.state for c in chunks] == ["control", "free", "end"]
    block.free()


# ---------------------------------------------------------------------- corrupt regions


def overflowing(heap):
    """A block, and a neighbour whose header has been written over."""
    block, other = heap.alloc(40), heap.alloc(8)
    other.free()
    spare = heap.alloc(8)
    whole = heap.sys_heap.region
    at = block.offset + 40
    return block, spare, slice(at, at + 8), bytes(whole[at : at + 8])


@pytest.mark.parametrize("listening", [False, True])
def test_a_free_that_meets_corruption_leaves_the_block_open(listening):
    heap = kheap.Heap(1024)
    if listening:
        heap.add_listener(lambda *event: None)
    block, spare, place, was = overflowing(heap)
    heap.sys_heap.region[place] = b"\xff" * 8
    before = bytes(heap.sys_heap.region)
    for call in (block.free, lambda: block.realloc(600), lambda: heap.realloc(block, 8)):
        with pytest.raises(kheap.HeapCorruption):
            call()
        assert not block.closed
    assert heap.sys_heap.region == before, "nothing was written"
    with pytest.raises(kheap.HeapCorruption):
        heap.check()
    heap.sys_heap.region[place] = was
    block.free()
    spare.free()
    heap.check()
    heap.close()


@pytest.mark.parametrize("listening", [False, True])
def test_an_alloc_that_meets_corruption_lets_the_lock_go(listening):
    heap = kheap.Heap(1024)
    if listening:
        heap.add_listener(lambda *event: None)
    (bucket,) = (b for b in heap.buckets() if b.chunks)
    table = heap.sys_heap.geometry
    region = heap.sys_heap.region
    image = bytes(region)
    chunk = bucket.chunks[0]
    at = heap.sys_heap.start + 8 * chunk
    region[at + 8 : at + 16] = b"\xff" * 8
    for call in (
        lambda: heap.alloc(8),
        lambda: heap.try_alloc(8),
        lambda: heap.alloc(8, timeout=None),
        lambda: heap.array(8),
    ):
        with pytest.raises(kheap.HeapCorruption):
            call()
    region[:] = image
    heap.alloc(8).free()
    assert table == heap.sys_heap.geometry
    heap.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_block_dropped_in_a_corrupt_heap_is_told_of_and_keeps_nothing_open():
    heap = kheap.Heap(1024)
    block, spare, place, was = overflowing(heap)
    heap.sys_heap.region[place] = b"\xff" * 8
    del block
    heap.sys_heap.region[place] = was
    del spare
    assert heap.stats().used_count == 1
    heap.close()


# ---------------------------------------------------------------------- threads


def test_a_heap_serves_two_threads():
    heap = kheap.Heap(1 << 16)

    def work(seed):
        rng, live = random.Random(seed), []
        for turn in range(400):
            if live and rng.random() < 0.5:
                block, token = live.pop(rng.randrange(len(live)))
                assert bytes(block.view()) == token * block.nbytes
                if turn % 3:
                    block.free()
            else:
                block, token = heap.alloc(rng.randrange(1, 200)), bytes([rng.randrange(256)])
                block.view()[:] = token * block.nbytes
                live.append((block, token))

    at_once([lambda: work(1), lambda: work(2)])
    assert heap.stats().used_count == 0
    heap.check()
    heap.close()


def test_a_closed_block_has_no_usable_bytes():
    heap = kheap.Heap(1024)
    block = heap.alloc(8)
    block.free()
    with pytest.raises(kheap.InvalidFree, match="was freed or handed on before"):
        _ = block.usable_bytes


def test_a_subclass_of_sys_heap_is_a_heap():
    class Mine(kheap.SysHeap):
        pass

    heap = Mine(1024)
    heap.free(heap.alloc(8))
    heap.check()
