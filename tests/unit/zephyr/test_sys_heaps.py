"""``sys_heap_*`` by C's meaning: answers, statistics, the printout."""

from __future__ import annotations

import errno
import sys

import pytest

import kheap
from kheap.zephyr import (
    EINVAL,
    K_HEAP_DEFINE,
    K_NO_WAIT,
    NULL,
    configure,
    k_heap_alloc,
    memory,
    shared_multi_heap_add,
    shared_multi_heap_pool_init,
    shared_multi_heap_region,
    static_memory,
    sys_heap,
    sys_heap_aligned_alloc,
    sys_heap_aligned_realloc,
    sys_heap_alloc,
    sys_heap_array_get,
    sys_heap_free,
    sys_heap_init,
    sys_heap_print_info,
    sys_heap_realloc,
    sys_heap_runtime_stats_get,
    sys_heap_runtime_stats_reset_max,
    sys_heap_usable_size,
    sys_heap_validate,
    sys_memory_stats,
)

SIZE_MAX = 2**32 - 1


def heap_of(size=256, offset=0):
    heap = sys_heap()
    sys_heap_init(heap, static_memory(size + offset) + offset, size)
    return heap


@pytest.fixture
def heap():
    return heap_of()


def test_the_example_of_the_specification():
    heap = heap_of(128)
    first, second = sys_heap_alloc(heap, 5), sys_heap_alloc(heap, 12)
    assert (first, second) == (0x20000000 + 36, 0x20000000 + 52)
    sys_heap_free(heap, first)
    unit_4 = bytes(memory(0x20000000 + 32, 8))
    assert unit_4 == bytes.fromhex("0400040004000400")


@pytest.mark.parametrize("size", [0, 253, 1 << 20, SIZE_MAX - 4, SIZE_MAX])
def test_null_for_nothing_and_for_too_much(heap, size):
    assert sys_heap_alloc(heap, size) is NULL
    assert sys_heap_aligned_alloc(heap, 16, size) is NULL
    block = sys_heap_alloc(heap, 20)
    if size:
        assert sys_heap_realloc(heap, block, size) is NULL
        assert sys_heap_aligned_realloc(heap, block, 16, size) is NULL
    assert sys_heap_usable_size(heap, block) == 20
    assert sys_heap_validate(heap)


@pytest.mark.parametrize("null", [NULL, 0])
def test_null_as_an_argument(heap, null):
    sys_heap_free(heap, null)
    assert sys_heap_realloc(heap, null, 0) is NULL
    assert sys_heap_aligned_realloc(heap, null, 8, 0) is NULL
    block = sys_heap_realloc(heap, null, 10)
    assert block % 8 == 4
    assert sys_heap_aligned_realloc(heap, null, 32, 10) % 32 == 0


def test_an_aligned_alloc_and_its_rewind(heap):
    assert sys_heap_aligned_alloc(heap, 32, 8) % 32 == 0
    assert (sys_heap_aligned_alloc(heap, 32 | 4, 8) + 4) % 32 == 0
    with pytest.raises(ValueError, match="align 7 is no power of two"):
        sys_heap_aligned_alloc(heap, 7, 8)
    with pytest.raises(ValueError, match="align 12"):
        sys_heap_aligned_realloc(heap, sys_heap_alloc(heap, 8), 12, 8)


def test_realloc_keeps_the_bytes():
    heap = heap_of(512)
    block, wall = sys_heap_alloc(heap, 12), sys_heap_alloc(heap, 12)
    memory(block, 12)[:] = b"twelve bytes"
    assert sys_heap_realloc(heap, block, 11) == block
    moved = sys_heap_realloc(heap, block, 60)
    assert moved != block
    assert bytes(memory(moved, 11)) == b"twelve byte"
    aligned = sys_heap_aligned_realloc(heap, moved, 64, 60)
    assert aligned % 64 == 0
    assert bytes(memory(aligned, 11)) == b"twelve byte"
    assert sys_heap_realloc(heap, aligned, 0) is NULL
    sys_heap_free(heap, wall)
    assert heap.heap.stats().used_count == 0


@pytest.mark.parametrize("wrong", [4, 0x10000000, 0x20000002, 0x20000800, 1 << 70])
def test_frees_of_foreign_pointers(heap, wrong):
    block = sys_heap_alloc(heap, 12)
    with pytest.raises(kheap.InvalidFree):
        sys_heap_free(heap, wrong)
    with pytest.raises(kheap.InvalidFree):
        sys_heap_realloc(heap, wrong, 4)
    with pytest.raises(kheap.InvalidFree):
        sys_heap_usable_size(heap, wrong)
    sys_heap_free(heap, block)
    with pytest.raises(kheap.InvalidFree, match="double free"):
        sys_heap_free(heap, block)


def test_validate_sees_what_was_written_over(heap):
    block = sys_heap_alloc(heap, 12)
    assert sys_heap_validate(heap) is True
    memory(block - 4, 16)[:] = b"\xff" * 16
    assert sys_heap_validate(heap) is False


@pytest.mark.parametrize("size", [0, 8, 43])
def test_too_small_a_region(size):
    with pytest.raises(ValueError, match="too small"):
        heap_of(size)


def test_a_region_is_rounded_to_units():
    heap = heap_of(259, offset=3)
    assert sys_heap_alloc(heap, 1) % 8 == 4
    assert sys_heap_validate(heap)


# ---------------------------------------------------------------------- statistics


@pytest.mark.parametrize("release", ["2.6", "4.4"])
def test_without_the_option_there_are_no_statistics(release):
    configure({"SYS_HEAP_RUNTIME_STATS": release == "2.6"}, release=release)
    heap, stats = heap_of(), sys_memory_stats(1, 2, 3)
    assert sys_heap_runtime_stats_get(heap, stats) == -errno.EINVAL == -EINVAL
    assert sys_heap_runtime_stats_reset_max(heap) == -EINVAL
    assert stats == sys_memory_stats(1, 2, 3)


def test_null_has_no_statistics():
    configure({"SYS_HEAP_RUNTIME_STATS": True})
    assert sys_heap_runtime_stats_get(heap_of(), NULL) == -EINVAL
    assert sys_heap_runtime_stats_get(NULL, sys_memory_stats()) == -EINVAL
    assert sys_heap_runtime_stats_reset_max(NULL) == -EINVAL


@pytest.mark.parametrize(("release", "counted"), [("3.7", 20), ("4.3", 24), ("4.4", 20)])
def test_statistics_count_as_the_release_does(release, counted):
    configure({"SYS_HEAP_RUNTIME_STATS": "y"}, release=release)
    heap, stats = heap_of(), sys_memory_stats()
    blocks = [sys_heap_alloc(heap, 20) for _ in range(3)]
    for block in blocks[1:]:
        sys_heap_free(heap, block)
    assert sys_heap_runtime_stats_get(heap, stats) == 0
    assert (stats.allocated_bytes, stats.max_allocated_bytes) == (counted, 3 * counted)
    own = heap.heap.stats()
    assert stats.free_bytes == own.free_bytes > 0
    assert sys_heap_runtime_stats_reset_max(heap) == 0
    assert sys_heap_runtime_stats_get(heap, stats) == 0
    assert stats.max_allocated_bytes == counted


def test_statistics_are_those_that_are_stored():
    configure({"SYS_HEAP_RUNTIME_STATS": "y"})
    heap, stats = heap_of(), sys_memory_stats()
    for i, word in enumerate((1, 2, 3)):
        memory(heap.heap.base_address + 16 + 4 * i, 4)[:] = word.to_bytes(4, sys.byteorder)
    assert sys_heap_runtime_stats_get(heap, stats) == 0
    assert stats == sys_memory_stats(1, 2, 3)
    assert sys_heap_validate(heap) is False


# ---------------------------------------------------------------------- the printout


def test_the_printout_is_that_of_the_heap_beneath(capsys):
    configure({"64BIT": True})
    heap = heap_of()
    first = sys_heap_alloc(heap, 40)
    sys_heap_alloc(heap, 40)
    sys_heap_free(heap, first)
    for dump_chunks in (True, False):
        sys_heap_print_info(heap, dump_chunks)
        out, err = capsys.readouterr()
        assert (out, err) == (heap.heap.print_info(dump_chunks), "")
        assert out.startswith("Heap at 0x20000000 contains 31 units in 5 buckets\n")
        assert out.endswith("\n144 free bytes, 40 allocated bytes, overhead = 72 bytes (28.1%)\n")


# ---------------------------------------------------------------------- the heap in a k_heap


def test_the_heap_in_a_k_heap_is_a_sys_heap(capsys):
    configure({"SYS_HEAP_RUNTIME_STATS": "y"})
    outer = K_HEAP_DEFINE("outer", 512)
    block, stats = k_heap_alloc(outer, 20, K_NO_WAIT), sys_memory_stats()
    assert sys_heap_runtime_stats_get(outer.heap, stats) == 0
    assert stats.allocated_bytes == sys_heap_usable_size(outer.heap, block) == 20
    assert sys_heap_runtime_stats_reset_max(outer.heap) == 0
    assert sys_heap_validate(outer.heap)
    sys_heap_print_info(outer.heap, False)
    assert capsys.readouterr().out.startswith("Heap at 0x20000000 contains ")
    own = sys_heap_realloc(outer.heap, NULL, 30)
    sys_heap_free(outer.heap, own)


# ---------------------------------------------------------------------- the array of heaps


def test_the_array_holds_what_every_init_has_made():
    configure({"SYS_HEAP_ARRAY_SIZE": 4})
    first, outer = heap_of(), K_HEAP_DEFINE("outer", 512)
    sys_heap_init(first, static_memory(256), 256)
    assert sys_heap_array_get() == [first, outer.heap, first]
    shared_multi_heap_pool_init()
    shared_multi_heap_add(shared_multi_heap_region(0, static_memory(256), 256))
    assert sys_heap_array_get()[3].heap.size_bytes == 256
    heap_of()
    assert len(sys_heap_array_get()) == 4
    with pytest.raises(ValueError, match="too small"):
        heap_of(8)
    configure()
    heap_of()
    assert sys_heap_array_get() == []
