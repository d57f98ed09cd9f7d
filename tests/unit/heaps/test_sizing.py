"""How large a region is: the table of the specification, and what must hold of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kheap
from kheap.heaps.sizing import defined_size, min_size_for, pool_size, system_region_size
from property.strategies import profiles

BASE = 0x20000000
ADDED = {"HEAP_MEM_POOL_ADD_SIZE_A": 8}
BUILDS = [
    kheap.Profile(bits=bits, header=header, runtime_stats=stats)
    for bits, header in ((64, "auto"), (32, "small"), (32, "big"))
    for stats in (False, True)
]
TABLE = {
    1: (56, 80, 44, 52, 56, 64),
    16: (64, 88, 60, 76, 64, 72),
    64: (112, 136, 108, 124, 112, 128),
    256: (312, 336, 308, 324, 312, 328),
    1024: (1088, 1112, 1084, 1100, 1088, 1104),
    4096: (4168, 4192, 4164, 4180, 4168, 4184),
}


@pytest.mark.parametrize("request_bytes", TABLE)
def test_the_table_of_minimum_sizes(request_bytes):
    sizes = tuple(min_size_for(request_bytes, profile) for profile in BUILDS)
    assert sizes == TABLE[request_bytes]


@pytest.mark.parametrize("profile", BUILDS[2:4], ids=str)
def test_headers_chosen_automatically_are_small_for_a_tiny_heap(profile):
    automatic = kheap.Profile(bits=32, runtime_stats=profile.runtime_stats)
    assert [min_size_for(n, automatic) for n in TABLE] == [min_size_for(n, profile) for n in TABLE]


@given(profile=profiles(), request_bytes=st.one_of(st.integers(1, 300), st.integers(1, 200_000)))
def test_a_single_block_of_that_size_fits(profile, request_bytes):
    size = min_size_for(request_bytes, profile)
    heap = kheap.SysHeap(size, profile, BASE)
    if profile.version >= (4, 2):  # Before, a search just below the heap's size faults.
        assert heap.try_alloc(request_bytes) is not None
    with pytest.raises(ValueError, match="too small"):
        kheap.SysHeap(min_size_for(1, profile) - 8, profile, BASE)


@pytest.mark.parametrize(
    ("stats", "first_short"), [(False, 262_053), (True, 262_049)], ids=["no stats", "stats"]
)
def test_automatic_headers_come_out_too_small_where_the_heap_becomes_big(stats, first_short):
    profile = kheap.Profile(bits=32, runtime_stats=stats)
    for request_bytes, fits in ((first_short - 1, True), (first_short, False)):
        heap = kheap.SysHeap(min_size_for(request_bytes, profile), profile, BASE)
        assert (heap.try_alloc(request_bytes) is not None) is fits


def test_a_defined_heap_has_the_size_that_was_asked_for_or_the_least_one():
    profile = kheap.Profile(bits=32)
    assert [defined_size(n, profile) for n in (0, 1, 51, 52, 53, 2049)] == [52] * 4 + [53, 2049]
    assert defined_size(100) == 100
    assert kheap.SysHeap(defined_size(0), base_address=BASE).alloc(1)


@pytest.mark.parametrize(
    ("release", "sizes"),
    [("4.4", (80, 136, 4192)), ("main", (80, 136, 4192)), ("4.3", (80, 80, 4096))],
)
def test_the_region_of_the_system_heap(release, sizes):
    profile = kheap.Profile(release=release)
    assert tuple(system_region_size(n, profile) for n in (1, 64, 4096)) == sizes


def test_a_system_heap_of_size_0_is_not_defined():
    with pytest.raises(kheap.NotDefined, match="CONFIG_HEAP_MEM_POOL_SIZE is 0"):
        system_region_size(0)


@pytest.mark.parametrize("size", [min_size_for, defined_size, system_region_size])
def test_negative_sizes(size):
    with pytest.raises(ValueError, match="is negative: -1"):
        size(-1)


@pytest.mark.parametrize("size", [min_size_for, defined_size, system_region_size])
def test_sizes_that_are_no_whole_numbers(size):
    with pytest.raises(TypeError):
        size(1.5)


@pytest.mark.parametrize(
    ("config", "pool_bytes"),
    [
        ({}, 0),
        ({"HEAP_MEM_POOL_SIZE": 1024}, 1024),
        ({"CONFIG_HEAP_MEM_POOL_SIZE": "0x400", "CONFIG_MAIN_STACK_SIZE": "none"}, 1024),
        ({"HEAP_MEM_POOL_SIZE": 1024, "HEAP_MEM_POOL_ADD_SIZE_A": 1023}, 1024),
        ({"HEAP_MEM_POOL_SIZE": 0, "HEAP_MEM_POOL_ADD_SIZE_A": 1023}, 1023),
        ({"HEAP_MEM_POOL_ADD_SIZE_A": "600", "CONFIG_HEAP_MEM_POOL_ADD_SIZE_B": 500}, 1100),
        ({"HEAP_MEM_POOL_SIZE": 7, **ADDED, "HEAP_MEM_POOL_IGNORE_MIN": "y"}, 7),
        ({"HEAP_MEM_POOL_SIZE": 7, **ADDED, "HEAP_MEM_POOL_IGNORE_MIN": "n"}, 8),
        ({**ADDED, "CONFIG_HEAP_MEM_POOL_IGNORE_MIN": True}, 0),
    ],
)
def test_the_size_of_the_system_heap_in_a_configuration(config, pool_bytes):
    assert pool_size(config) == pool_bytes


@pytest.mark.parametrize("value", ["many", "", None, "-1", -1, 1.5])
def test_a_size_that_is_no_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match="CONFIG_HEAP_MEM_POOL_SIZE"):
        pool_size({"HEAP_MEM_POOL_SIZE": value})
