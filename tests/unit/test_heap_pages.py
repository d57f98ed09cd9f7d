"""What Zephyr's pages on its heaps say, claim by claim."""

from __future__ import annotations

import struct

import pytest

import kheap
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.system_heap import SystemHeap

BASE = 0x20000000
COUNTS = {
    256: {64: 4, 256: 1, 1024: 0, 4096: 0, 16384: 0},
    1024: {64: 16, 256: 4, 1024: 1, 4096: 0, 16384: 0},
    4096: {64: 64, 256: 16, 1024: 4, 4096: 1, 16384: 0},
    16384: {64: 256, 256: 64, 1024: 16, 4096: 4, 16384: 1},
}
POLICIES = ("split_before_defrag", "defrag_before_split", "split_only")


def quad_heap(size, **others):
    return SystemHeap(size, implementation="quad", base_address=BASE, **others)


def fill(heap, request_bytes):
    """Allocate until there is no memory; all offsets."""
    offsets = []
    while (offset := heap.malloc(request_bytes)) is not None:
        offsets.append(offset)
    return offsets


class TestHeapMemoryPool:
    """Heap memory pool (Zephyr 1.6 and 1.7)."""

    def test_memory_is_taken_as_with_malloc_and_free(self):
        heap = quad_heap(1024)
        offset = heap.malloc(100)
        heap.view(offset)[:5] = b"hello"
        assert heap.free(offset) is None

    def test_there_is_one_heap_for_all_and_no_call_is_told_its_address(self):
        heap = quad_heap(1024)
        assert isinstance(heap.heap, MemPool)
        one, other = heap.malloc(10), heap.malloc(10)
        heap.free(other)
        heap.free(one)
        assert heap.stats().used_count == 0

    def test_by_default_the_heap_has_0_bytes_and_is_not_defined(self):
        with pytest.raises(kheap.NotDefined, match="CONFIG_HEAP_MEM_POOL_SIZE"):
            quad_heap(0)

    @pytest.mark.parametrize("size", COUNTS)
    def test_the_option_for_its_size_takes_256_1024_4096_and_16384(self, size):
        assert quad_heap(size).heap.size_bytes == size

    @pytest.mark.parametrize(
        ("size", "smallest", "largest_request"),
        [(64, 64, 48), (512, 128, 240), (2048, 128, 1008), (65536, 64, 65520)],
    )
    def test_other_sizes_are_not_refused_though_some_serve_less(
        self, size, smallest, largest_request
    ):
        heap = quad_heap(size)
        assert heap.malloc(largest_request + 1) is None
        offset = heap.malloc(largest_request)
        heap.free(offset)
        assert heap.usable_bytes(heap.malloc(0)) + 16 == smallest

    @pytest.mark.parametrize("size", COUNTS)
    def test_k_malloc_gives_memory_at_a_multiple_of_4(self, size):
        heap = quad_heap(size)
        offsets = [heap.malloc(n) for n in (1, 2, 3, 5, 7, 11, 13)]
        assert {(BASE + offset) % 4 for offset in offsets if offset is not None} == {0}

    def test_k_malloc_gives_null_where_there_is_no_fitting_block(self):
        heap = quad_heap(256)
        assert heap.malloc(500) is None
        assert heap.malloc(240) is not None
        assert heap.malloc(1) is None

    def test_k_free_gives_the_memory_back(self):
        heap = quad_heap(256)
        offset = heap.malloc(240)
        assert heap.malloc(240) is None
        heap.free(offset)
        assert heap.malloc(240) == offset

    def test_k_free_of_null_does_nothing(self):
        heap = quad_heap(256)
        heap.free(None)
        assert heap.stats().free_bytes == 256

    @pytest.mark.parametrize("size", COUNTS)
    def test_it_has_one_largest_block_that_spans_it_and_blocks_down_to_64_bytes(self, size):
        heap = quad_heap(size)
        assert heap.heap.free_blocks()[size] == [0]
        assert min(heap.heap.free_blocks()) == 64
        assert heap.heap.n_max == 1

    @pytest.mark.parametrize("size", COUNTS)
    def test_a_block_is_cut_into_four_of_which_each_can_be_cut_again(self, size):
        heap = quad_heap(size)
        heap.malloc(1)
        free = heap.heap.free_blocks()
        assert all(len(free[block]) == 3 for block in free if block < size)
        assert free[size] == []
        assert list(free) == [size >> 2 * i for i in range(len(free))]

    @pytest.mark.parametrize(("implementation", "hidden"), [("quad", 16), ("buddy", 4)])
    @pytest.mark.parametrize("block_bytes", [64, 256, 1024, 4096, 16384])
    @pytest.mark.parametrize("size", COUNTS)
    def test_the_table_of_how_many_blocks_there_are_at_most(
        self, size, block_bytes, implementation, hidden
    ):
        heap = SystemHeap(size, implementation=implementation)
        assert len(fill(heap, block_bytes - hidden)) == COUNTS[size][block_bytes]

    def test_a_block_of_256_bytes_takes_four_of_64_away(self):
        for taken in range(5):
            heap = quad_heap(1024)
            for _ in range(taken):
                heap.malloc(240)
            assert len(fill(heap, 48)) == 16 - 4 * taken

    @pytest.mark.parametrize("policy", POLICIES)
    def test_fragmentation_lessens_what_can_be_had(self, policy):
        heap = quad_heap(1024, policy=policy)
        offsets = fill(heap, 48)
        for i, offset in enumerate(offsets):
            if i % 4:
                heap.free(offset)
        assert heap.stats().free_bytes == 768
        assert heap.malloc(200) is None

    def test_freed_blocks_keep_their_size_until_a_request_needs_a_larger_one(self):
        for policy, offset in zip(POLICIES, (16, 16, None), strict=True):
            heap = quad_heap(1024, policy=policy)
            heap.free(heap.malloc(75))
            assert heap.heap.free_blocks() == {1024: [], 256: [0, 256, 512, 768], 64: []}
            assert heap.malloc(1008) == offset

    def test_the_first_16_bytes_of_a_block_hold_what_is_needed_to_free_it(self):
        heap = quad_heap(1024, heap_address=0x2000F000)
        heap.malloc(200)
        offset = heap.malloc(75)
        assert offset % 64 == 16
        descriptor = struct.unpack("=4I", heap.heap.region[offset - 16 : offset])
        assert descriptor == (0x2000F000, BASE + 256, BASE + 256, 75 + 16)
        heap.heap.region[offset - 16 : offset] = bytes(16)
        with pytest.raises(kheap.InvalidFree):
            heap.free(offset)

    @pytest.mark.parametrize("size", COUNTS)
    def test_n_bytes_take_n_and_16(self, size):
        heap = quad_heap(size)
        assert heap.malloc(size - 15) is None
        assert heap.malloc(size - 16) == 16
        assert heap.heap.blocks()[0].used[0].request_bytes == size

    @pytest.mark.parametrize("request_bytes", [200, 75])
    def test_200_and_75_bytes_both_take_a_block_of_256(self, request_bytes):
        heap = quad_heap(1024)
        offset = heap.malloc(request_bytes)
        assert heap.usable_bytes(offset) == 256 - 16
        assert heap.heap.free_blocks() == {1024: [], 256: [256, 512, 768], 64: []}

    def test_48_bytes_are_the_most_that_a_block_of_64_serves(self):
        heap = quad_heap(1024)
        assert heap.usable_bytes(heap.malloc(48)) == 48
        assert heap.usable_bytes(heap.malloc(49)) == 240

    def test_k_malloc_and_k_free_are_all_there_was(self):
        heap = quad_heap(1024)
        with pytest.raises(NotImplementedError, match=r"1\.10"):
            heap.calloc(1, 1)
        with pytest.raises(NotImplementedError):
            heap.realloc(None, 1)
        with pytest.raises(NotImplementedError):
            heap.aligned_alloc(8, 1)
