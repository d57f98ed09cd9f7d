"""``sys_multi_heap_*`` and ``shared_multi_heap_*`` by C's meaning."""

from __future__ import annotations

import errno

import pytest

import kheap
from kheap.zephyr import (
    EALREADY,
    EINVAL,
    ENOMEM,
    K_HEAP_DEFINE,
    NULL,
    SMH_REG_ATTR_CACHEABLE,
    SMH_REG_ATTR_NON_CACHEABLE,
    SMH_REG_ATTR_NUM,
    configure,
    memory,
    shared_multi_heap_add,
    shared_multi_heap_aligned_alloc,
    shared_multi_heap_alloc,
    shared_multi_heap_free,
    shared_multi_heap_pool_init,
    shared_multi_heap_realloc,
    shared_multi_heap_region,
    static_memory,
    sys_heap,
    sys_heap_aligned_alloc,
    sys_heap_init,
    sys_multi_heap,
    sys_multi_heap_add_heap,
    sys_multi_heap_aligned_alloc,
    sys_multi_heap_aligned_realloc,
    sys_multi_heap_alloc,
    sys_multi_heap_free,
    sys_multi_heap_get_heap,
    sys_multi_heap_init,
    sys_multi_heap_realloc,
)


def heap_at(address, size=512):
    heap = sys_heap()
    sys_heap_init(heap, address, size)
    return heap


class Chooser:
    """A choice function that notes what it is asked; ``cfg`` is an index of the heaps."""

    def __init__(self, none=NULL):
        self.asked, self.none = [], none

    def __call__(self, mheap, cfg, align, size):
        self.asked.append((mheap, cfg, align, size))
        mem = sys_heap_aligned_alloc(mheap.heaps[cfg].heap, align, size)
        return self.none if mem is NULL else mem


@pytest.fixture
def choose():
    return Chooser()


@pytest.fixture
def multi(choose):
    multi = sys_multi_heap()
    sys_multi_heap_init(multi, choose)
    low, high = static_memory(512), static_memory(1024)
    sys_multi_heap_add_heap(multi, heap_at(high, 1024), "high")
    sys_multi_heap_add_heap(multi, heap_at(low), "low")
    return multi


# ---------------------------------------------------------------------- sys_multi_heap


def test_records_are_sorted_by_address(multi):
    assert [record.user_data for record in multi.heaps] == ["low", "high"]
    assert multi.nheaps == 2
    assert multi.heaps[0].heap.heap.base_address < multi.heaps[1].heap.heap.base_address


def test_the_choice_function_answers(multi, choose):
    first = sys_multi_heap_alloc(multi, 1, 100)
    second = sys_multi_heap_aligned_alloc(multi, 0, 64, 50)
    assert second % 64 == 0
    assert choose.asked == [(multi, 1, 0, 100), (multi, 0, 64, 50)]
    assert sys_multi_heap_get_heap(multi, first) is multi.heaps[1]
    assert sys_multi_heap_get_heap(multi, second).user_data == "low"
    sys_multi_heap_free(multi, first)
    sys_multi_heap_free(multi, second)
    assert [record.heap.heap.stats().used_count for record in multi.heaps] == [0, 0]


@pytest.mark.parametrize("none", [NULL, 0])
def test_null_from_the_choice_function(none):
    multi = sys_multi_heap()
    sys_multi_heap_init(multi, Chooser(none))
    sys_multi_heap_add_heap(multi, heap_at(static_memory(512)))
    assert multi.heaps[0].user_data is NULL
    assert sys_multi_heap_alloc(multi, 0, 1000) is NULL
    block = sys_multi_heap_alloc(multi, 0, 100)
    assert sys_multi_heap_realloc(multi, 0, block, 1000) is NULL
    assert sys_multi_heap_realloc(multi, 0, block, 120) == block


def test_realloc_stays_in_its_heap_or_goes_where_the_choice_says(multi):
    block = sys_multi_heap_alloc(multi, 0, 300)
    memory(block, 300)[:] = bytes(range(150)) * 2
    assert sys_multi_heap_realloc(multi, 1, block, 350) == block
    moved = sys_multi_heap_realloc(multi, 1, block, 600)
    assert sys_multi_heap_get_heap(multi, moved).user_data == "high"
    assert bytes(memory(moved, 300)) == bytes(range(150)) * 2
    assert multi.heaps[0].heap.heap.stats().used_count == 0


def test_aligned_realloc(multi):
    block = sys_multi_heap_aligned_realloc(multi, 0, NULL, 64, 30)
    assert block % 64 == 0
    again = sys_multi_heap_aligned_realloc(multi, 0, block, 128, 30)
    assert again % 128 == 0
    assert sys_multi_heap_aligned_realloc(multi, 0, again, 128, 0) is NULL
    assert sys_multi_heap_realloc(multi, 0, 0, 0) is NULL


@pytest.mark.parametrize("null", [NULL, 0])
def test_frees_of_null_and_of_foreign_pointers(multi, null):
    sys_multi_heap_free(multi, null)
    for wrong in (4, 0x1FFFFFFF, 0x20000000 + 512 + 1024, multi.heaps[1].heap.heap.base_address):
        with pytest.raises(kheap.InvalidFree):
            sys_multi_heap_free(multi, wrong)
    with pytest.raises(kheap.InvalidFree, match="none of the heaps"):
        sys_multi_heap_get_heap(multi, 4)


def test_a_ninth_heap_is_refused(multi):
    for _ in range(6):
        sys_multi_heap_add_heap(multi, heap_at(static_memory(512)), NULL)
    with pytest.raises(ValueError, match="at most 8"):
        sys_multi_heap_add_heap(multi, heap_at(static_memory(512)), NULL)
    assert multi.nheaps == 8


def test_init_begins_anew(multi, choose):
    sys_multi_heap_init(multi, choose)
    assert multi.heaps == []
    outer = K_HEAP_DEFINE("outer", 512)
    sys_multi_heap_add_heap(multi, outer.heap, 7)
    block = sys_multi_heap_alloc(multi, 0, 10)
    assert sys_multi_heap_get_heap(multi, block).heap is outer.heap


# ---------------------------------------------------------------------- shared_multi_heap


@pytest.fixture
def regions():
    """Two cacheable regions and one that is not."""
    assert shared_multi_heap_pool_init() == 0
    regions = [
        shared_multi_heap_region(attr, static_memory(size), size)
        for attr, size in [(0, 256), (1, 512), (0, 1024)]
    ]
    for region in regions:
        assert shared_multi_heap_add(region, NULL) == 0
    return regions


def holder(regions, address):
    (index,) = (i for i, r in enumerate(regions) if r.addr <= address < r.addr + r.size)
    return index


def test_the_second_pool_init_is_too_much_until_the_next_board():
    assert shared_multi_heap_pool_init() == 0
    assert shared_multi_heap_pool_init() == -errno.EALREADY == -EALREADY
    configure()
    with pytest.raises(ValueError, match=r"pool_init\(\) was not called on this board"):
        shared_multi_heap_alloc(SMH_REG_ATTR_CACHEABLE, 8)
    assert shared_multi_heap_pool_init() == 0


def test_attributes_are_numbers():
    attributes = (SMH_REG_ATTR_CACHEABLE, SMH_REG_ATTR_NON_CACHEABLE, SMH_REG_ATTR_NUM)
    assert attributes == (0, 1, 2)


@pytest.mark.parametrize("attr", [-1, SMH_REG_ATTR_NUM, 99])
def test_unknown_attributes(regions, attr):
    region = shared_multi_heap_region(attr, static_memory(256), 256)
    assert shared_multi_heap_add(region, NULL) == -EINVAL
    assert shared_multi_heap_alloc(attr, 8) is NULL
    assert shared_multi_heap_aligned_alloc(attr, 8, 8) is NULL
    block = shared_multi_heap_alloc(0, 8)
    assert shared_multi_heap_realloc(attr, block, 100) is NULL
    shared_multi_heap_free(block)


def test_the_first_heap_of_the_attribute_that_can_serve_it(regions):
    assert holder(regions, shared_multi_heap_alloc(1, 8)) == 1
    assert holder(regions, shared_multi_heap_alloc(0, 100)) == 0
    assert holder(regions, shared_multi_heap_alloc(0, 300)) == 2
    assert holder(regions, shared_multi_heap_alloc(SMH_REG_ATTR_CACHEABLE, 8)) == 0
    assert shared_multi_heap_alloc(1, 1000) is NULL
    assert shared_multi_heap_alloc(1, 0) is NULL
    aligned = shared_multi_heap_aligned_alloc(1, 64, 8)
    assert (aligned % 64, holder(regions, aligned)) == (0, 1)


def test_realloc_moves_to_a_heap_of_the_attribute(regions):
    block = shared_multi_heap_realloc(0, NULL, 100)
    memory(block, 100)[:] = b"x" * 100
    moved = shared_multi_heap_realloc(1, block, 300)
    assert holder(regions, moved) == 1
    assert bytes(memory(moved, 100)) == b"x" * 100
    assert shared_multi_heap_realloc(1, moved, 10000) is NULL
    assert shared_multi_heap_realloc(1, moved, 0) is NULL


@pytest.mark.parametrize("null", [NULL, 0])
def test_frees(regions, null):
    shared_multi_heap_free(null)
    block = shared_multi_heap_alloc(0, 8)
    shared_multi_heap_free(block)
    with pytest.raises(kheap.InvalidFree):
        shared_multi_heap_free(block)


def test_a_ninth_region_is_enomem(regions):
    for _ in range(5):
        region = shared_multi_heap_region(1, static_memory(256), 256)
        assert shared_multi_heap_add(region, NULL) == 0
    region = shared_multi_heap_region(0, static_memory(256), 256)
    assert shared_multi_heap_add(region, NULL) == -errno.ENOMEM == -ENOMEM
    region.attr = 2
    assert shared_multi_heap_add(region, NULL) == -EINVAL


def test_a_region_is_memory_of_the_board(regions):
    with pytest.raises(ValueError, match="the board has no memory there"):
        shared_multi_heap_add(shared_multi_heap_region(0, 0x90000000, 256))
    with pytest.raises(ValueError, match="overlaps"):
        shared_multi_heap_add(regions[0])
