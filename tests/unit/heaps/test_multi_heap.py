"""Several heaps behind one set of calls: the choice, the way back, moving between them."""

from __future__ import annotations

import threading

import pytest

import kheap
from kheap.heaps.multi_heap import MultiHeap
from kheap.heaps.shared_multi_heap import RegionAttribute, SharedMultiHeap

FAST, LARGE = 0x20000000, 0x90000000
CACHED, UNCACHED = RegionAttribute


def by_name(multi, cfg, align, request_bytes):
    """A choice function: the heaps with that user value, the lowest address first."""
    for heap, user in multi.records:
        offset = heap.try_alloc(request_bytes, align=align) if user == cfg else None
        if offset is not None:
            return heap.base_address + offset
    return None


@pytest.fixture
def multi():
    multi = MultiHeap(by_name)
    multi.add(kheap.SysHeap(8192, base_address=LARGE), "large")
    multi.add(kheap.SysHeap(1024, base_address=FAST), "fast")
    return multi


# ---------------------------------------------------------------------- the table


def test_heaps_are_sorted_by_address(multi):
    assert [(heap.base_address, user) for heap, user in multi.records] == [
        (FAST, "fast"),
        (LARGE, "large"),
    ]
    assert [heap.size_bytes for heap in multi.heaps] == [1024, 8192]
    assert repr(multi) == "<MultiHeap of 2 heaps: 0x20000000-0x20000400, 0x90000000-0x90002000>"
    assert repr(MultiHeap(by_name)) == "<MultiHeap of 0 heaps: none>"


def test_a_ninth_heap_is_refused():
    multi = MultiHeap(by_name)
    heaps = [kheap.SysHeap(256, base_address=0x1000 * i) for i in range(9)]
    for heap in heaps[:8]:
        multi.add(heap)
    with pytest.raises(ValueError, match="at most 8"):
        multi.add(heaps[8])
    assert len(multi.heaps) == 8


@pytest.mark.parametrize("address", [FAST - 255, FAST, FAST + 1023])
def test_heaps_that_overlap_are_refused(multi, address):
    with pytest.raises(ValueError, match="overlaps"):
        multi.add(kheap.SysHeap(256, base_address=address))
    assert len(multi.heaps) == 2


@pytest.mark.parametrize("address", [FAST - 256, FAST + 1024])
def test_heaps_may_touch(multi, address):
    multi.add(kheap.SysHeap(256, base_address=address))
    assert multi.owner(address).size_bytes == 256
    assert multi.owner(address + 255).size_bytes == 256


def test_a_heap_without_a_user_value_has_none():
    multi = MultiHeap(by_name)
    multi.add(kheap.SysHeap(256))
    assert multi.records[0].user is None


def test_the_owner_of_an_address(multi):
    assert multi.owner(FAST + 1023) is multi.heaps[0]
    assert multi.owner(LARGE) is multi.heaps[1]


@pytest.mark.parametrize("address", [-1, 0, FAST - 1, FAST + 1024, LARGE - 1, LARGE + 8192])
def test_an_address_outside_all_heaps_has_none(multi, address):
    for call in (multi.owner, multi.free, lambda a: multi.realloc("fast", a, 10)):
        with pytest.raises(kheap.InvalidFree, match="in none of the heaps") as caught:
            call(address)
        assert caught.value.offset == address


# ---------------------------------------------------------------------- alloc and free


def test_the_choice_function_is_told_everything():
    calls = []

    def choose(*arguments):
        calls.append(arguments)
        return 4711

    multi = MultiHeap(choose)
    assert multi.alloc("cfg", 10) == 4711
    assert multi.aligned_alloc(None, 64, 20) == 4711
    assert multi.try_alloc(7, 30) == 4711
    assert multi.try_alloc(7, 30, align=8) == 4711
    assert multi.realloc("cfg", None, 40, align=16) == 4711
    assert calls == [
        (multi, "cfg", 0, 10),
        (multi, None, 64, 20),
        (multi, 7, 0, 30),
        (multi, 7, 8, 30),
        (multi, "cfg", 16, 40),
    ]


def test_a_block_lies_in_the_chosen_heap_and_is_freed_there(multi):
    fast, large = multi.alloc("fast", 100), multi.aligned_alloc("large", 512, 100)
    assert multi.owner(fast) is multi.heaps[0]
    assert multi.owner(large) is multi.heaps[1]
    assert large % 512 == 0
    multi.free(fast)
    multi.free(large)
    multi.free(None)
    assert [heap.stats().used_count for heap in multi.heaps] == [0, 0]
    with pytest.raises(kheap.InvalidFree):
        multi.free(fast)


def test_no_memory_tells_what_all_heaps_have(multi):
    free = [heap.stats().free_bytes for heap in multi.heaps]
    for call in (
        lambda: multi.alloc("fast", 5000),
        lambda: multi.aligned_alloc("none of them", 8, 5000),
        lambda: multi.realloc("fast", None, 5000),
    ):
        with pytest.raises(kheap.OutOfMemory) as caught:
            call()
        error = caught.value
        assert (error.request_bytes, error.free_bytes) == (5000, sum(free))
        assert error.largest_free_bytes == max(free)
    assert multi.try_alloc("fast", 5000) is None
    with pytest.raises(kheap.OutOfMemory):
        MultiHeap(by_name).alloc("fast", 1)


def test_a_negative_size_is_refused(multi):
    for call in (multi.alloc, multi.try_alloc, lambda cfg, n: multi.realloc(cfg, None, n)):
        with pytest.raises(ValueError, match="request_bytes is negative: -1"):
            call("fast", -1)


# ---------------------------------------------------------------------- realloc


def test_realloc_of_none_allocates_and_to_0_frees(multi):
    block = multi.realloc("fast", None, 10)
    assert multi.realloc("fast", block, 0) is None
    assert multi.heaps[0].stats().used_count == 0


def test_realloc_stays_within_the_heap_while_it_can_even_if_another_is_asked_for(multi):
    block = multi.alloc("fast", 100)
    multi.alloc("fast", 8)
    multi.owner(block).view(block - FAST)[:100] = bytes(range(100))
    moved = multi.realloc("large", block, 300)
    assert moved != block
    assert multi.owner(moved) is multi.heaps[0]
    assert bytes(multi.heaps[0].view(moved - FAST)[:100]) == bytes(range(100))


@pytest.mark.parametrize("align", [0, 256])
def test_realloc_moves_to_the_heap_that_is_chosen_where_its_own_is_full(multi, align):
    heard = []
    for heap in multi.heaps:
        heap.add_listener(lambda kind, offset, size, at=heap.base_address: heard.append((kind, at)))
    block = multi.alloc("fast", 100)
    multi.heaps[0].view(block - FAST)[:100] = bytes(range(100))
    moved = multi.realloc("large", block, 3000, align=align)
    assert multi.owner(moved) is multi.heaps[1]
    assert moved % max(align, 8) == 0
    assert bytes(multi.heaps[1].view(moved - LARGE)[:100]) == bytes(range(100))
    assert multi.heaps[0].stats().used_count == 0
    assert heard == [("alloc", FAST), ("alloc", LARGE), ("free", FAST)]


def test_realloc_to_less_moves_only_as_many_bytes_as_are_wanted(multi):
    fast = multi.heaps[0]
    block = fast.alloc(600) + FAST  # The heap has no room for 100 more at that alignment.
    while fast.try_alloc(8) is not None:
        pass
    fast.view(block - FAST)[:] = b"x" * 600
    wrong = next(align for align in (16, 32, 64, 128, 256) if block % align)
    target = multi.heaps[1]
    target.view(target.alloc(4000))[:] = b"\xa5" * 4000
    target.free(next(c.offset for c in target.chunks() if c.state == "used") + 8)
    moved = multi.realloc("large", block, 100, align=wrong)
    view = target.view(moved - LARGE)
    assert bytes(view[:100]) == b"x" * 100
    assert b"x" not in bytes(view[100:])


def test_where_no_heap_has_memory_the_block_is_as_it_was(multi):
    block = multi.alloc("fast", 100)
    fast = multi.heaps[0]
    fast.view(block - FAST)[:100] = bytes(range(100))
    with pytest.raises(kheap.OutOfMemory):
        multi.realloc("large", block, 10_000)
    assert bytes(fast.view(block - FAST)[:100]) == bytes(range(100))
    multi.free(block)


def test_realloc_refuses_a_rewind(multi):
    block = multi.alloc("fast", 10)
    with pytest.raises(ValueError, match="align 24"):
        multi.realloc("fast", block, 20, align=24)


# ---------------------------------------------------------------------- shared


@pytest.fixture
def shared():
    with SharedMultiHeap() as shared:
        shared.add(1024, CACHED, base_address=LARGE)
        shared.add(1024, CACHED, base_address=FAST)
        shared.add(bytearray(4096), 1, base_address=0x1000)
        yield shared


def test_the_attributes_are_zephyrs():
    assert list(RegionAttribute) == [0, 1]
    assert (RegionAttribute.CACHEABLE, RegionAttribute.NON_CACHEABLE) == (0, 1)


def test_a_request_goes_to_the_first_heap_of_its_kind_that_can_in_the_order_of_addition(shared):
    assert shared.owner(shared.alloc(CACHED, 600)).base_address == LARGE
    assert shared.owner(shared.alloc(CACHED, 600)).base_address == FAST
    assert shared.try_alloc(0, 600) is None
    assert shared.owner(shared.alloc(UNCACHED, 600)).base_address == 0x1000
    assert shared.aligned_alloc(1, 1024, 10) % 1024 == 0
    assert shared.try_alloc(1, 10, align=1024) % 1024 == 0
    assert [heap.base_address for heap in shared.heaps] == [0x1000, FAST, LARGE]
    assert repr(shared) == "<SharedMultiHeap: 2 cacheable, 1 non_cacheable>"


def test_no_memory_of_that_kind_and_0_bytes(shared):
    for size in (0, 2000):
        with pytest.raises(kheap.OutOfMemory):
            shared.alloc(CACHED, size)
        assert shared.try_alloc(CACHED, size) is None


@pytest.mark.parametrize("attribute", [-1, 2, "cacheable", None])
def test_a_wrong_attribute_is_refused(shared, attribute):
    message = r"0 \(CACHEABLE\), 1 \(NON_CACHEABLE\)"
    for call in (
        lambda: shared.alloc(attribute, 8),
        lambda: shared.aligned_alloc(attribute, 8, 8),
        lambda: shared.try_alloc(attribute, 8),
        lambda: shared.realloc(attribute, None, 8),
        lambda: shared.add(512, attribute),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_realloc_moves_to_memory_of_the_kind_that_is_named(shared):
    block = shared.realloc(CACHED, None, 500)
    shared.owner(block).view(block - LARGE)[:5] = b"hello"
    moved = shared.realloc(UNCACHED, block, 3000)
    heap = shared.owner(moved)
    assert heap.base_address == 0x1000
    assert bytes(heap.view(moved - 0x1000)[:5]) == b"hello"
    assert shared.realloc(UNCACHED, moved, 0) is None
    assert [heap.stats().used_count for heap in shared.heaps] == [0, 0, 0]


def test_free_finds_the_heap_by_the_address(shared):
    shared.free(shared.alloc(UNCACHED, 10))
    shared.free(None)
    for address in (0, FAST + 1024, FAST):
        with pytest.raises(kheap.InvalidFree):
            shared.free(address)


def test_a_heap_that_is_there_already_can_be_added_and_stays_open(shared):
    profile = kheap.Profile(bits=32)
    with SharedMultiHeap() as other:
        small = other.add(1000, UNCACHED, base_address=FAST, profile=profile)
        heap = other.add(kheap.SysHeap(512, base_address=LARGE), UNCACHED)
        assert small.profile is profile
        assert other.heaps == (small, heap)
    assert heap.alloc(10)
    with pytest.raises(ValueError, match="closed"):
        small.alloc(10)


def test_a_region_that_is_refused_is_given_back(shared):
    region = bytearray(512)
    with pytest.raises(ValueError, match="overlaps") as caught:
        shared.add(region, CACHED, base_address=FAST)
    region.extend(b"more")  # Though the error's frames still know the heap.
    assert caught.tb
    heap = kheap.SysHeap(512, base_address=FAST)
    with pytest.raises(ValueError, match="overlaps"):
        shared.add(heap, CACHED)
    assert heap.alloc(10)


def test_a_ninth_heap_is_refused_whatever_the_attributes():
    shared = SharedMultiHeap()
    for i in range(8):
        shared.add(256, i % 2, base_address=0x1000 * i)
    with pytest.raises(ValueError, match="at most 8"):
        shared.add(256, CACHED, base_address=0x9000)


def test_each_object_is_one_of_its_own(shared):
    assert SharedMultiHeap().heaps == ()


def test_a_listener_must_not_call_back(shared):
    complaints = []

    def listen(*_):
        with pytest.raises(RuntimeError) as caught:
            shared.alloc(CACHED, 1)
        complaints.append(caught.value)

    shared.heaps[0].add_listener(listen)
    shared.free(shared.alloc(UNCACHED, 8))
    assert len(complaints) == 2


def test_threads_take_turns(shared):
    shared.heaps[0].add_listener(lambda *_: None)
    errors = []

    def work(size):
        try:
            for _ in range(100):
                shared.free(shared.realloc(UNCACHED, shared.alloc(UNCACHED, size), 2 * size))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(10 + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    shared.heaps[0].check()
    assert shared.heaps[0].stats().used_count == 0
