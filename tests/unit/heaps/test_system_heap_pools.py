"""The system heap over the pools of Zephyr 1.6 to 2.4: descriptors, and what they had not."""

from __future__ import annotations

import struct

import pytest

import kheap
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.system_heap import SystemHeap

BASE, ADDRESS = 0x20000000, 0x2000F00C
KINDS = [("quad", 16), ("buddy", 4), ("buddy", 8)]

each_kind = pytest.mark.parametrize(("implementation", "hidden"), KINDS)


def pool_heap(implementation="quad", hidden=None, size=1024, **others):
    return SystemHeap(
        size,
        implementation=implementation,
        descriptor_bytes=hidden,
        base_address=BASE,
        heap_address=ADDRESS,
        **others,
    )


def words_below(heap, offset, count):
    return struct.unpack(f"={count}I", heap.heap.region[offset - 4 * count : offset])


# ---------------------------------------------------------------------- the region


@each_kind
def test_it_is_one_block_as_large_as_the_region_cut_down_to_64_bytes(implementation, hidden):
    pool = pool_heap(implementation, hidden).heap
    assert isinstance(pool, MemPool)
    assert (pool.min_bytes, pool.max_bytes, pool.n_max, pool.align) == (64, 1024, 1, 4)
    assert (pool.model, pool.bits, pool.base_address) == (implementation, 32, BASE)


@pytest.mark.parametrize(("implementation", "offset"), [("quad", 16), ("buddy", 4)])
def test_the_descriptor_has_16_bytes_in_a_quad_pool_and_4_in_a_buddy_pool(implementation, offset):
    assert pool_heap(implementation).malloc(1) == offset


def test_a_buffer_is_the_region_as_it_is():
    region = bytearray(256)
    heap = SystemHeap(memoryview(region).cast("I"), implementation="buddy")
    assert heap.heap.max_bytes == 256
    heap.view(heap.malloc(5))[:5] = b"hello"
    assert region[4:9] == b"hello"
    heap.close()
    region.extend(b"more")


def test_the_policy_is_the_pools():
    assert pool_heap(policy="split_only").heap.policy == "split_only"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 63}, "63 bytes: the smallest block has 64"),
        ({"size": 63, "implementation": "buddy"}, "63 bytes: the smallest block has 64"),
        ({"size": bytearray(63)}, "63 bytes: the smallest block has 64"),
        ({"size": 64 << 21, "implementation": "buddy"}, "numbered in 20 bits"),
        ({"size": bytearray()}, "0 bytes: the smallest block has 64"),
        ({"hidden": 4}, "descriptor_bytes of a quad pool is 16"),
        ({"hidden": 0}, "descriptor_bytes of a quad pool is 16"),
        ({"hidden": 16, "implementation": "buddy"}, "descriptor_bytes of a buddy pool is 4 or 8"),
        ({"policy": "sometimes"}, "policy"),
        ({"policy": "split_only", "implementation": "buddy"}, "only the quad pool has policies"),
        ({"size": 1000, "implementation": "buddy"}, "blocks would overlap"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        pool_heap(**arguments)


@pytest.mark.parametrize("address", [-1, 1 << 32])
def test_the_heaps_address_has_32_bits(address):
    with pytest.raises(ValueError, match="not an address of 32 bits"):
        SystemHeap(1024, implementation="quad", heap_address=address)


# ---------------------------------------------------------------------- descriptors


def test_a_quad_descriptor_is_the_pool_the_block_its_data_and_the_size_with_the_descriptor():
    heap = pool_heap("quad")
    heap.malloc(200)
    offset = heap.malloc(75)
    assert offset == 256 + 16
    assert words_below(heap, offset, 4) == (ADDRESS, BASE + 256, BASE + 256, 91)


@pytest.mark.parametrize("hidden", [4, 8])
def test_a_buddy_descriptor_is_the_packed_block_id_behind_the_data_pointer_of_old(hidden):
    heap = pool_heap("buddy", hidden, size=4096)
    heap.malloc(3)
    offset = heap.malloc(500)
    heap.malloc(900)
    inner = heap.malloc(20)
    # Level 1, block 1; level 3, block 1.  Pool 0 takes the low 8 bits.
    assert words_below(heap, offset, 1) == (1 << 8 | 1 << 12,)
    assert words_below(heap, inner, 1) == (3 << 8 | 1 << 12,)
    if hidden == 8:
        assert words_below(heap, offset, 2)[0] == BASE + 1024
        assert words_below(heap, inner, 2)[0] == BASE + 64


def test_addresses_beyond_32_bits_are_cut_to_what_the_machine_had():
    heap = SystemHeap(256, implementation="quad", base_address=0x1_2000_0000)
    assert words_below(heap, heap.malloc(1), 3) == (0x20000000, 0x20000000, 17)


@each_kind
@pytest.mark.parametrize("call", ["free", "usable_bytes", "view"])
def test_a_descriptor_that_was_written_over_is_refused(implementation, hidden, call):
    heap = pool_heap(implementation, hidden)
    offset = heap.malloc(10)
    for byte in range(offset - hidden, offset):
        heap.heap.region[byte] ^= 0x40
        with pytest.raises(kheap.InvalidFree, match=r"descriptor.* written over") as caught:
            getattr(heap, call)(offset)
        assert caught.value.offset == offset
        heap.heap.region[byte] ^= 0x40
    heap.free(offset)


@each_kind
@pytest.mark.parametrize("offset", [-1, 0, 1, 17, 64, 80, 1024, 1 << 70, -(1 << 70)])
def test_what_is_no_block_is_refused(implementation, hidden, offset):
    heap = pool_heap(implementation, hidden)
    heap.malloc(10)
    before = heap.heap.blocks()
    with pytest.raises(kheap.InvalidFree, match="no live block"):
        heap.free(offset)
    assert heap.heap.blocks() == before


@each_kind
def test_a_second_free_is_refused(implementation, hidden):
    heap = pool_heap(implementation, hidden)
    offset = heap.malloc(10)
    heap.free(offset)
    with pytest.raises(kheap.InvalidFree, match="no live block of this heap") as caught:
        heap.free(offset)
    assert caught.value.offset == offset
    heap.free(None)


def test_a_block_taken_from_the_pool_itself_is_none_of_the_system_heaps():
    heap = pool_heap("quad")
    block = heap.heap.alloc(100)
    with pytest.raises(kheap.InvalidFree):
        heap.free(block + 16)


def test_who_waits_at_the_pool_is_served_by_a_free():
    class Bell:
        rung = 0

        def ring(self):
            self.rung += 1

    from kheap.heaps.waiting import Waiter

    heap, bell = pool_heap("quad", size=256), Bell()
    offset = heap.malloc(200)
    heap.heap._queue.add(Waiter(100, 0, bell))
    heap.free(offset)
    assert bell.rung == 1


# ---------------------------------------------------------------------- the family


@each_kind
def test_0_bytes_get_a_block_of_64(implementation, hidden):
    heap = pool_heap(implementation, hidden)
    assert heap.usable_bytes(heap.malloc(0)) == 64 - hidden


@each_kind
def test_the_largest_request_is_the_region_without_a_descriptor(implementation, hidden):
    heap = pool_heap(implementation, hidden)
    assert heap.malloc(1024 - hidden + 1) is None
    assert len(heap.view(heap.malloc(1024 - hidden))) == 1024 - hidden


@each_kind
@pytest.mark.parametrize(
    "size", [1 << 30, (1 << 31) - 16, *((1 << 32) - n for n in (17, 16, 8, 4, 1, 0)), 1 << 100]
)
def test_absurd_sizes_are_no_memory_and_do_not_hang(implementation, hidden, size):
    heap = pool_heap(implementation, hidden)
    assert heap.malloc(size) is None
    assert heap.stats().free_bytes == 1024


@pytest.mark.parametrize("hidden", [4, 8])
def test_calloc_clears_just_the_bytes_asked_for(hidden):
    heap = SystemHeap(bytearray(b"\xa5") * 1024, implementation="buddy", descriptor_bytes=hidden)
    view = bytes(heap.view(heap.calloc(3, 7)))
    assert view == bytes(21) + b"\xa5" * (64 - hidden - 21)
    assert heap.calloc(0, 9) is not None
    assert heap.calloc(1 << 16, 1 << 16) is None
    assert heap.calloc(10, 1000) is None
    with pytest.raises(ValueError, match="count is negative"):
        heap.calloc(-1, 1)


@pytest.mark.parametrize(
    ("implementation", "call", "message"),
    [
        ("quad", lambda h: h.calloc(1, 1), r"k_calloc came with Zephyr 1\.10; .* 1\.6 and 1\.7"),
        ("quad", lambda h: h.realloc(None, 1), r"k_realloc came after Zephyr 3\.7; .* 1\.6 and"),
        ("buddy", lambda h: h.realloc(None, 0), r"k_realloc came after Zephyr 3\.7; .* 1\.8 to"),
        ("quad", lambda h: h.aligned_alloc(4, 1), r"k_aligned_alloc came with Zephyr 2\.5"),
        ("buddy", lambda h: h.aligned_alloc(4, 1), r"k_aligned_alloc came with Zephyr 2\.5"),
    ],
)
def test_what_a_pool_did_not_have(implementation, call, message):
    with pytest.raises(NotImplementedError, match=message):
        call(pool_heap(implementation))


def test_statistics_are_the_pools():
    heap = pool_heap("quad")
    heap.malloc(200)
    stats = heap.stats()
    assert (stats.allocated_bytes, stats.requested_bytes, stats.free_bytes) == (256, 216, 768)


def test_it_says_what_it_is():
    text = repr(pool_heap("quad"))
    assert text == "<SystemHeap over <MemPool quad of 1 x 1024 bytes down to 64, at 0x20000000>>"


@each_kind
def test_after_close_nothing_works(implementation, hidden):
    with pool_heap(implementation, hidden) as heap:
        offset = heap.malloc(10)
    for call in (heap.malloc, heap.free, heap.view, lambda _: heap.stats()):
        with pytest.raises(ValueError, match="the pool is closed"):
            call(offset)
