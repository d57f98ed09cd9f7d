"""The system heap: the rules of k_malloc and its family over sys_heap, one by one."""

from __future__ import annotations

import copy
import sys
import threading
from itertools import pairwise

import pytest

import kheap
from kheap.heaps.sizing import min_size_for
from kheap.heaps.system_heap import SystemHeap

BASE, ADDRESS = 0x20000000, 0x1F000123
SMALL = kheap.Profile(bits=32)
BIG = kheap.Profile(bits=32, header="big")
WIDE = kheap.Profile()
OLD = kheap.Profile(release="4.1")
PROFILES = [SMALL, BIG, WIDE]
IDS = ["32-bit small", "32-bit big", "64-bit"]

each_profile = pytest.mark.parametrize("profile", PROFILES, ids=IDS)


def system_heap(profile=WIDE, size=4096, **others):
    return SystemHeap(
        bytearray(size), profile=profile, base_address=BASE, heap_address=ADDRESS, **others
    )


def word_below(heap, offset):
    width = heap.heap.profile.bits // 8
    return int.from_bytes(heap.heap.region[offset - width : offset], sys.byteorder)


# ---------------------------------------------------------------------- the region


@pytest.mark.parametrize("release", ["4.4", "main"])
def test_an_int_makes_a_region_in_which_a_block_of_so_many_bytes_fits(release):
    heap = SystemHeap(1000, profile=kheap.Profile(release=release), base_address=BASE)
    assert heap.heap.size_bytes == min_size_for(1000) == 1088
    assert heap.malloc(1000 - 8) is not None


def test_before_4_4_an_int_is_the_region_itself_but_never_too_small_for_a_heap():
    profile = kheap.Profile(release="4.3", bits=32)
    assert SystemHeap(1000, profile=profile).heap.size_bytes == 1000
    assert SystemHeap(1, profile=profile).heap.size_bytes == 52


def test_a_buffer_is_the_region_as_it_is():
    region = bytearray(500)
    heap = SystemHeap(region, profile=SMALL, base_address=BASE)
    assert heap.heap.size_bytes == 500
    heap.view(heap.malloc(5))[:] = b"hello\0\0\0"
    assert b"hello" in region


@pytest.mark.parametrize("implementation", ["sys_heap", "buddy", "quad"])
def test_size_0_says_which_option_to_set(implementation):
    with pytest.raises(kheap.NotDefined, match="set that option") as caught:
        SystemHeap(0, implementation=implementation)
    assert "CONFIG_HEAP_MEM_POOL_SIZE" in str(caught.value)


@pytest.mark.parametrize("implementation", ["sys_heap", "buddy", "quad"])
def test_a_negative_size_is_refused(implementation):
    with pytest.raises(ValueError, match="negative"):
        SystemHeap(-1, implementation=implementation)


def test_a_size_that_no_heap_can_have_takes_no_memory():
    with pytest.raises(ValueError, match="too big"):
        SystemHeap(1 << 50)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"implementation": "slab"}, "sys_heap, buddy, quad, not 'slab'"),
        ({"policy": "split_only"}, "only the quad pool has policies"),
        ({"descriptor_bytes": 4}, "a word of the profile's"),
        ({"heap_address": -1}, "no.* address of 64 bits"),
        ({"heap_address": 1 << 64}, "no.* address of 64 bits"),
        ({"heap_address": 1 << 32, "profile": SMALL}, "no.* address of 32 bits"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SystemHeap(4096, **arguments)


def test_a_buffer_that_cannot_be_written_is_refused():
    with pytest.raises(BufferError):
        SystemHeap(bytes(4096))


def test_without_a_base_address_the_region_lies_where_it_lies():
    heap = SystemHeap(4096)
    assert heap.heap.base_address == heap.heap.real_address()
    assert heap.heap_address == 0
    assert heap.implementation == "sys_heap"


# ---------------------------------------------------------------------- malloc


@each_profile
def test_the_word_directly_below_a_block_is_the_heaps_address(profile):
    heap = system_heap(profile)
    blocks = [heap.malloc(n) for n in (0, 1, 20, 300)]
    blocks += [heap.aligned_alloc(align, 20) for align in (0, profile.bits // 8, 64, 256)]
    blocks += [heap.calloc(3, 7), heap.realloc(blocks.pop(1), 90)]
    assert {word_below(heap, block) for block in blocks} == {ADDRESS}


@pytest.mark.parametrize(("profile", "remainder"), [(SMALL, 0), (BIG, 4), (WIDE, 0)], ids=IDS)
def test_blocks_lie_a_word_behind_what_the_heap_gives(profile, remainder):
    heap = system_heap(profile)
    assert {(BASE + heap.malloc(n)) % 8 for n in (0, 1, 8, 13, 100)} == {remainder}


@each_profile
def test_a_request_for_0_bytes_gives_a_block(profile):
    heap = system_heap(profile)
    blocks = heap.malloc(0), heap.calloc(0, 5), heap.calloc(5, 0), heap.aligned_alloc(32, 0)
    assert len({*blocks}) == 4
    assert None not in blocks
    for block in blocks:
        heap.free(block)
    assert heap.stats().used_count == 0


def test_no_memory_is_none():
    heap = system_heap(size=512)
    assert heap.malloc(1000) is None
    assert heap.calloc(10, 100) is None
    assert heap.aligned_alloc(64, 1000) is None


@each_profile
def test_sizes_that_overflow_with_the_word_are_no_memory(profile):
    heap, word = system_heap(profile), profile.bits // 8
    block = heap.malloc(10)
    before = bytes(heap.heap.region)
    for size in (1 << profile.bits, (1 << profile.bits) - 1, (1 << profile.bits) - word, 1 << 200):
        assert heap.malloc(size) is None
        assert heap.aligned_alloc(16, size) is None
        assert heap.calloc(1, size) is None
        assert heap.realloc(block, size) is None
    assert bytes(heap.heap.region) == before
    assert heap.malloc((1 << profile.bits) - word - 1) is None  # It does not overflow, or fit.


def test_memory_is_not_cleared_by_malloc():
    region = bytearray(b"\xa5") * 512
    heap = SystemHeap(region, base_address=BASE)
    assert bytes(heap.view(heap.malloc(40))[8:40]) == b"\xa5" * 32


@pytest.mark.parametrize("call", ["malloc", "calloc", "calloc2", "aligned_alloc", "realloc"])
def test_negative_sizes_are_refused(call):
    heap = system_heap()
    calls = {
        "malloc": lambda: heap.malloc(-1),
        "calloc": lambda: heap.calloc(-1, 4),
        "calloc2": lambda: heap.calloc(4, -1),
        "aligned_alloc": lambda: heap.aligned_alloc(8, -1),
        "realloc": lambda: heap.realloc(None, -1),
    }
    with pytest.raises(ValueError, match="is negative: -1"):
        calls[call]()


def test_numbers_must_be_whole():
    heap = system_heap()
    with pytest.raises(TypeError):
        heap.malloc(1.5)
    with pytest.raises(TypeError):
        heap.free("12")


# ---------------------------------------------------------------------- aligned_alloc


@each_profile
@pytest.mark.parametrize("align", [8, 16, 64, 512])
def test_above_the_word_the_users_address_is_aligned(profile, align):
    heap = system_heap(profile)
    for size in (0, 1, 20, 100):
        assert (BASE + heap.aligned_alloc(align, size)) % align == 0
    heap.heap.check()


@each_profile
def test_the_word_costs_no_whole_alignment(profile):
    heap = system_heap(profile, size=65536)
    blocks = [heap.aligned_alloc(256, 200) for _ in range(20)]
    steps = {after - before for before, after in pairwise(sorted(blocks))}
    assert steps == {256}


@each_profile
def test_0_and_the_word_are_as_malloc(profile):
    for align in (0, profile.bits // 8):
        heap, twin = system_heap(profile), system_heap(profile)
        for size in (1, 20, 33):
            assert heap.aligned_alloc(align, size) == twin.malloc(size)
        assert heap.heap.region == twin.heap.region


@pytest.mark.parametrize(
    ("profile", "align", "remainder"),
    [
        (WIDE, 4, 4),
        (WIDE, 2, 6),
        (WIDE, 1, 7),
        (BIG, 2, 2),
        (BIG, 1, 3),
        (SMALL, 2, 2),
        (SMALL, 1, 3),
    ],
)
def test_below_the_word_it_aligns_worse_than_malloc(profile, align, remainder):
    # The alignment takes the rewind's place: the address below the word plus `align` is a
    # multiple of the word.
    heap = system_heap(profile)
    width = profile.bits // 8
    for size in (1, 20, 33):
        block = heap.aligned_alloc(align, size)
        assert (BASE + block + align) % width == 0
        assert block % width == remainder % width
        assert word_below(heap, block) == ADDRESS
        heap.view(block)[:size] = b"x" * size
    heap.heap.check()


@pytest.mark.parametrize("align", [-8, 3, 12, 24, 40, 7])
def test_an_alignment_that_is_no_power_of_two_is_refused(align):
    with pytest.raises(ValueError, match=f"align {align} is neither 0 nor"):
        system_heap().aligned_alloc(align, 8)


@pytest.mark.parametrize("align", [1, 2, 4])
def test_before_4_2_it_must_be_a_multiple_of_the_word(align):
    heap = system_heap(OLD)
    with pytest.raises(ValueError, match="no multiple of the word"):
        heap.aligned_alloc(align, 8)
    assert heap.aligned_alloc(0, 8) is not None
    assert heap.aligned_alloc(8, 8) is not None
    assert system_heap(kheap.Profile(release="4.2")).aligned_alloc(align, 8) is not None


@each_profile
@pytest.mark.parametrize("align", [1 << 20, 1 << 31, 1 << 32, 1 << 61, 1 << 63, 1 << 64, 1 << 200])
def test_an_alignment_that_no_address_here_has_is_no_memory(profile, align):
    heap = system_heap(profile)
    heap.malloc(64)
    assert heap.aligned_alloc(align, 8) is None


# ---------------------------------------------------------------------- calloc


@each_profile
def test_calloc_clears_just_the_bytes_asked_for(profile):
    heap = SystemHeap(bytearray(b"\xa5") * 4096, profile=profile, base_address=BASE)
    block = heap.calloc(3, 7)
    view = bytes(heap.view(block))
    assert view[:21] == bytes(21)
    assert view[21:] == b"\xa5" * (len(view) - 21)


@each_profile
def test_a_product_that_overflows_is_no_memory(profile):
    heap, half = system_heap(profile), 1 << profile.bits // 2
    before = bytes(heap.heap.region)
    assert heap.calloc(half, half) is None
    assert heap.calloc(1 << profile.bits, 1) is None
    assert heap.calloc((1 << profile.bits) - 1, (1 << profile.bits) - 1) is None
    assert bytes(heap.heap.region) == before
    assert heap.calloc(half, 0) is not None


# ---------------------------------------------------------------------- realloc


def test_realloc_of_none_allocates():
    heap, twin = system_heap(), system_heap()
    assert heap.realloc(None, 40) == twin.malloc(40)


@each_profile
def test_realloc_to_0_bytes_frees_even_none(profile):
    heap = system_heap(profile)
    before = bytes(heap.heap.region)
    assert heap.realloc(None, 0) is None
    assert bytes(heap.heap.region) == before
    assert heap.realloc(heap.malloc(10), 0) is None
    assert heap.stats().used_count == 0


@each_profile
def test_a_block_that_moves_takes_its_bytes_and_its_word_along(profile):
    heap = system_heap(profile)
    block = heap.malloc(30)
    heap.malloc(1)
    heap.view(block)[:30] = bytes(range(30))
    moved = heap.realloc(block, 300)
    assert moved != block
    assert bytes(heap.view(moved)[:30]) == bytes(range(30))
    assert word_below(heap, moved) == ADDRESS
    with pytest.raises(kheap.InvalidFree):
        heap.free(block)


def test_a_block_that_cannot_grow_is_as_it_was():
    heap = system_heap(size=512)
    block = heap.malloc(30)
    heap.view(block)[:30] = bytes(range(30))
    assert heap.realloc(block, 1000) is None
    assert bytes(heap.view(block)[:30]) == bytes(range(30))
    heap.free(block)


def test_a_block_that_moves_loses_its_alignment():
    heap = system_heap(size=8192)
    block = heap.aligned_alloc(1024, 30)
    heap.malloc(2000)
    assert heap.realloc(block, 3000) % 1024


# ---------------------------------------------------------------------- free


def test_free_of_none_has_no_effect():
    heap = system_heap()
    before = bytes(heap.heap.region)
    assert heap.free(None) is None
    assert bytes(heap.heap.region) == before


@each_profile
@pytest.mark.parametrize("call", ["free", "realloc", "usable_bytes", "view"])
@pytest.mark.parametrize("offset", [-(1 << 70), -8, 0, 3, 4, 8, 24, 4095, 4096, 5000, 1 << 70])
def test_what_is_no_block_is_refused_before_a_byte_is_written(profile, call, offset):
    heap = system_heap(profile)
    heap.malloc(100)
    before = bytes(heap.heap.region)
    with pytest.raises(kheap.InvalidFree) as caught:
        heap.realloc(offset, 5) if call == "realloc" else getattr(heap, call)(offset)
    assert bytes(heap.heap.region) == before
    assert caught.value.offset == offset
    assert f"offset {offset}" in str(caught.value)


@each_profile
def test_a_second_free_is_refused(profile):
    heap = system_heap(profile)
    block = heap.malloc(50)
    heap.malloc(1)
    heap.free(block)
    with pytest.raises(kheap.InvalidFree, match="double free"):
        heap.free(block)


@each_profile
def test_a_word_that_was_written_over_is_refused_before_a_byte_is_written(profile):
    heap = system_heap(profile)
    block = heap.malloc(50)
    heap.heap.region[block - 1] ^= 0xFF
    before = bytes(heap.heap.region)
    for call in (heap.free, heap.usable_bytes, heap.view, lambda p: heap.realloc(p, 90)):
        with pytest.raises(kheap.InvalidFree, match=f"not this heap's {ADDRESS:#x}") as caught:
            call(block)
        assert caught.value.offset == block
    assert bytes(heap.heap.region) == before


def test_the_block_of_another_system_heap_is_refused():
    heap = system_heap()
    other = SystemHeap(4096, base_address=BASE, heap_address=ADDRESS + 8)
    block = other.malloc(10)
    heap.malloc(10)
    with pytest.raises(kheap.InvalidFree):
        heap.free(block + 8)
    heap.heap.region[:] = other.heap.region[:4096]
    with pytest.raises(kheap.InvalidFree, match="a block of another heap"):
        heap.free(block)


def test_an_overflow_is_found_when_the_block_is_freed():
    heap = system_heap()
    block = heap.malloc(16)
    heap.malloc(16)
    end = block + heap.usable_bytes(block)
    heap.heap.region[end : end + 4] = b"\xff" * 4
    before = bytes(heap.heap.region)
    with pytest.raises(kheap.HeapCorruption) as caught:
        heap.free(block)
    assert caught.value.invariant == "I1"
    assert bytes(heap.heap.region) == before


# ---------------------------------------------------------------------- what is told


def test_usable_bytes_leave_the_word_out():
    heap = system_heap(SMALL)
    assert [heap.usable_bytes(heap.malloc(n)) for n in (0, 1, 8, 9, 100)] == [0, 8, 8, 16, 104]


def test_from_4_4_on_usable_bytes_of_an_aligned_block_on_a_big_heap_are_overstated():
    for release, overstated in (("4.3", 0), ("4.4", 4)):
        heap = system_heap(kheap.Profile(release=release, bits=32, header="big"))
        block = heap.aligned_alloc(64, 20)
        assert heap.usable_bytes(block) - len(heap.view(block)) == overstated


def test_statistics_count_hidden_words_as_allocated():
    heap = system_heap()
    heap.malloc(24)
    assert heap.stats().allocated_bytes == 32
    assert heap.stats() == heap.heap.stats()


def test_listeners_hear_what_lies_below_the_word_and_must_not_call_back():
    heap, events = system_heap(), []
    complaints = []

    def listen(kind, offset, size):
        events.append((kind, offset, size))
        try:
            heap.malloc(1)
        except RuntimeError as error:
            complaints.append(error)

    heap.heap.add_listener(listen)
    block = heap.malloc(24)
    heap.free(block)
    assert events == [("alloc", block - 8, 32), ("free", block - 8, 32)]
    assert len(complaints) == 2


def test_it_says_what_it_is():
    heap = SystemHeap(1000, base_address=BASE)
    assert repr(heap).startswith("<SystemHeap over <SysHeap of 1088 bytes at 0x20000000, ")


def test_it_cannot_be_copied():
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.copy(system_heap())


def test_after_close_nothing_works_and_the_region_is_free():
    region = bytearray(512)
    with SystemHeap(region, base_address=BASE) as heap:
        block = heap.malloc(10)
    region.extend(b"more")
    calls = (heap.free, heap.view, heap.usable_bytes, heap.malloc, lambda p: heap.realloc(p, 5))
    for call in (*calls, lambda _: heap.stats(), lambda _: heap.calloc(1, 1)):
        with pytest.raises(ValueError, match="the heap is closed"):
            call(block)
    heap.free(None)
    heap.close()
    assert "closed" in repr(heap)


def test_threads_take_turns():
    heap = SystemHeap(1 << 16, profile=SMALL)
    heap.heap.add_listener(lambda *_: None)  # Python code under the lock: threads can change.
    errors = []

    def work(token):
        try:
            for round_ in range(60):
                blocks = [heap.calloc(1, 1 + (token * 7 + round_ + i) % 90) for i in range(8)]
                for block in blocks:
                    heap.view(block)[:1] = bytes([token])
                blocks[0] = heap.realloc(blocks[0], 200)
                for block in blocks:
                    assert heap.view(block)[0] == token
                    heap.free(block)
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(token,)) for token in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    heap.heap.check()
    assert heap.stats().used_count == 0
