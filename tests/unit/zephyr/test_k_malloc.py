"""``k_malloc()`` and its family: the releases, what lies in front of a block, one heap only."""

from __future__ import annotations

import threading

import pytest

import kheap
from kheap.zephyr import (
    NULL,
    configure,
    k_aligned_alloc,
    k_calloc,
    k_free,
    k_malloc,
    k_realloc,
    memory,
)
from kheap.zephyr.board import board

SIZE = {"CONFIG_HEAP_MEM_POOL_SIZE": 1024}


def words_below(address, count, bits=32):
    """So many machine words that end where the block begins."""
    return tuple(memory(address - count * bits // 8, count * bits // 8).cast("IQ"[bits == 64]))


def the_heap():
    return board().system_heap.heap


# ---------------------------------------------------------------------- over sys_heap


@pytest.mark.parametrize("release", ["2.5", "2.7", "3.7", "4.2", "4.4", "main"])
@pytest.mark.parametrize("bits", [32, 64])
def test_the_word_below_a_block_is_the_heaps_address(release, bits):
    configure({**SIZE, "64BIT": bits == 64}, release=release)
    address = board().object_address() + 64
    blocks = [
        k_malloc(0),
        k_malloc(20),
        k_calloc(2, 10),
        k_aligned_alloc(64, 20),
        k_realloc(NULL, 20),
    ]
    assert board().system_heap.heap_address == address
    for block in blocks:
        assert words_below(block, 1, bits) == (address,)
    assert blocks[3] % 64 == 0
    moved = k_realloc(blocks[1], 200)
    assert moved != blocks[1]
    assert words_below(moved, 1, bits) == (address,)


@pytest.mark.parametrize(
    ("release", "largest"), [("4.4", 1024 - 4), ("main", 1024 - 4), ("4.3", 1024 - 60 - 4)]
)
def test_the_largest_block_of_a_release(release, largest):
    configure(SIZE, release=release)
    assert k_malloc(largest + 9) is NULL
    mem = k_malloc(largest)
    assert mem is not NULL
    assert k_malloc(1) is NULL
    k_free(mem)


@pytest.mark.parametrize(("bits", "big", "rest"), [(32, False, 0), (32, True, 4), (64, True, 0)])
def test_the_alignment_of_k_malloc(bits, big, rest):
    configure({**SIZE, "64BIT": bits == 64, "SYS_HEAP_BIG_ONLY": big and bits == 32})
    assert k_malloc(10) % 8 == rest


def test_k_aligned_alloc_takes_powers_of_two_and_0():
    configure({**SIZE, "64BIT": True})
    for align in (0, 1, 2, 4, 8, 16, 128):
        assert k_aligned_alloc(align, 10) % max(align, 1) == 0
    with pytest.raises(ValueError, match="align 24 is neither 0 nor a power of two"):
        k_aligned_alloc(24, 10)
    for block in list(board().taken):
        k_free(block)
    configure(SIZE, release="3.7")
    with pytest.raises(ValueError, match="no multiple of the word"):
        k_aligned_alloc(2, 10)


@pytest.mark.parametrize("bits", [32, 64])
def test_sums_and_products_that_overflow(bits):
    configure({**SIZE, "64BIT": bits == 64})
    top = 1 << bits
    mem = k_malloc(10)
    for size in (top - 1, top - bits // 8, top - bits // 8 - 1, top >> 1):
        assert k_malloc(size) is k_aligned_alloc(16, size) is k_realloc(mem, size) is NULL
    assert k_calloc(top >> 1, 2) is k_calloc(1 << bits // 2, 1 << bits // 2) is NULL
    assert k_calloc(0, top - 1) is not NULL
    k_free(mem)


def test_a_calloc_clears_just_its_bytes():
    configure(SIZE)
    mem = k_malloc(100)
    memory(mem, 100)[:] = b"\xff" * 100
    k_free(mem)
    assert k_calloc(7, 11) == mem
    assert bytes(memory(mem, 80)) == bytes(77) + b"\xff" * 3


def test_realloc():
    configure(SIZE)
    assert k_realloc(NULL, 0) is k_realloc(0, 0) is NULL
    mem = k_realloc(NULL, 20)
    memory(mem, 20)[:] = b"a" * 20
    wall = k_malloc(1)
    assert k_realloc(mem, 10) == mem
    moved = k_realloc(mem, 100)
    assert bytes(memory(moved, 10)) == b"a" * 10
    assert k_realloc(moved, 2000) is NULL
    with pytest.raises(ValueError, match="negative"):
        k_realloc(moved, -1)
    assert board().taken == {moved, wall}
    assert k_realloc(moved, 0) is NULL
    k_free(wall)
    assert the_heap().stats().used_count == 0


@pytest.mark.parametrize("release", ["1.7", "2.4", "4.4"])
def test_frees_of_null_and_of_foreign_pointers(release):
    k_free(NULL)
    with pytest.raises(kheap.InvalidFree, match="no live block of the system heap at 0x4"):
        k_free(4)
    configure(SIZE, release=release)
    k_free(0)
    mem = k_malloc(10)
    for wrong in (mem + 4, mem - 4, 4, 1 << 70):
        with pytest.raises(kheap.InvalidFree, match=f"system heap at {wrong:#x}"):
            k_free(wrong)
        if release == "4.4":
            with pytest.raises(kheap.InvalidFree):
                k_realloc(wrong, 10)
    k_free(mem)
    with pytest.raises(kheap.InvalidFree):
        k_free(mem)


@pytest.mark.parametrize("release", ["1.7", "2.4", "4.4"])
def test_a_block_whose_front_was_written_over_stays_a_block(release):
    configure(SIZE, release=release)
    mem = k_malloc(10)
    below = memory(mem - 4, 4)
    before = bytes(below)
    below[:] = b"\xee" * 4
    with pytest.raises(kheap.InvalidFree, match="written over"):
        k_free(mem)
    if release == "4.4":
        with pytest.raises(kheap.InvalidFree, match="written over"):
            k_realloc(mem, 0)
    assert board().taken == {mem}
    below[:] = before
    k_free(mem)


# ---------------------------------------------------------------------- over the old pools


def test_the_descriptor_of_1_7():
    configure(SIZE, release="1.7")
    mem = k_malloc(75)
    base = the_heap().base_address
    assert mem == base + 16
    address = board().system_heap.heap_address
    assert words_below(mem, 4) == (address, base, base, 91)
    assert k_malloc(1) == base + 256 + 16
    assert words_below(base + 256 + 16, 4)[1:] == (base + 256, base + 256, 17)


@pytest.mark.parametrize(
    ("release", "hidden"),
    [("1.8", 8), ("1.9", 8), ("1.10", 8), ("1.11", 4), ("1.14", 4), ("2.0", 4), ("2.4", 4)],
)
def test_the_block_id_of_1_8_to_2_4(release, hidden):
    configure(SIZE, release=release)
    base = the_heap().base_address if board().system_heap else None
    assert base is None
    first, second = k_malloc(200), k_malloc(20)
    base = the_heap().base_address
    assert (first - base, second - base) == (hidden, 256 + hidden)
    assert words_below(first, 1) == (1 << 8,)
    assert words_below(second, 1) == (2 << 8 | 4 << 12,)
    if hidden == 8:
        assert words_below(second, 2)[0] == base + 256
    k_free(first)
    k_free(second)
    assert k_malloc(1024 - hidden) == base + hidden
    assert k_malloc(0) is NULL


@pytest.mark.parametrize(("release", "hidden"), [("1.7", 16), ("1.9", 8), ("2.4", 4)])
def test_so_many_blocks_of_each_size(release, hidden):
    counts = {64: 16, 256: 4, 1024: 1, 4096: 0}
    for size, count in counts.items():
        configure(SIZE, release=release)
        blocks = []
        while (mem := k_malloc(size - hidden)) is not NULL:
            assert mem % 4 == 0
            blocks.append(mem)
        assert len(blocks) == count
        for mem in blocks:
            k_free(mem)


@pytest.mark.parametrize(
    ("option", "fits"),
    [
        ("MEM_POOL_SPLIT_BEFORE_DEFRAG", True),
        ("MEM_POOL_DEFRAG_BEFORE_SPLIT", True),
        ("MEM_POOL_SPLIT_ONLY", False),
    ],
)
def test_policies_of_1_7(option, fits):
    configure({**SIZE, option: True}, release="1.7")
    k_free(k_malloc(75))
    assert (k_malloc(1008) is not NULL) == fits
    assert the_heap().policy == option.removeprefix("MEM_POOL_").lower()


def test_policies_say_nothing_from_1_8_on():
    configure({**SIZE, "MEM_POOL_SPLIT_ONLY": True}, release="1.8")
    k_free(k_malloc(75))
    assert k_malloc(1016) is not NULL


@pytest.mark.parametrize("size", [2**30, 2**31, 2**32 - 17, 2**32 - 16, 2**32 - 1])
@pytest.mark.parametrize("release", ["1.6", "1.9", "2.4"])
def test_huge_sizes_are_null(release, size):
    configure(SIZE, release=release)
    assert k_malloc(size) is NULL


def test_calls_that_a_pool_had_not():
    configure(SIZE, release="1.7")
    with pytest.raises(NotImplementedError, match=r"k_calloc came with Zephyr 1\.10"):
        k_calloc(1, 1)
    for release in ("1.7", "2.4"):
        configure(SIZE, release=release)
        for call in (k_aligned_alloc, k_realloc):
            with pytest.raises(NotImplementedError, match=call.__name__):
                call(NULL, 8)
        mem = k_malloc(8)
        with pytest.raises(NotImplementedError, match="k_realloc"):
            k_realloc(mem, 9)
        k_free(mem)


def test_calloc_of_the_buddy_pool():
    configure(SIZE, release="2.4")
    mem = [k_malloc(60) for _ in range(16)][7]
    memory(mem, 60)[:] = b"\xff" * 60
    k_free(mem)
    assert k_calloc(5, 5) == mem
    assert bytes(memory(mem, 26)) == bytes(25) + b"\xff"
    assert k_calloc(65536, 65536) is NULL


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"MEM_POOL_HEAP_BACKEND": True}, "CONFIG_MEM_POOL_HEAP_BACKEND"),
        ({"HEAP_MEM_POOL_MIN_SIZE": 16}, "CONFIG_HEAP_MEM_POOL_MIN_SIZE is 16"),
        ({"64BIT": True}, "32-bit machines"),
    ],
)
def test_pools_that_are_not_offered(config, match):
    configure({**SIZE, **config}, release="2.4")
    with pytest.raises(NotImplementedError, match=match):
        k_malloc(1)
    configure({**SIZE, "HEAP_MEM_POOL_MIN_SIZE": "0x40"}, release="2.4")
    assert k_malloc(1) is not NULL


@pytest.mark.parametrize(("release", "size"), [("1.7", 63), ("2.4", 32), ("2.4", 1000)])
def test_sizes_that_no_pool_can_have(release, size):
    configure({"HEAP_MEM_POOL_SIZE": size}, release=release)
    with pytest.raises(ValueError, match=str(size)):
        k_malloc(1)


# ---------------------------------------------------------------------- its size, and only one


@pytest.mark.parametrize("release", ["1.7", "1.9", "2.4", "3.7", "4.4"])
@pytest.mark.parametrize("config", [{}, {"HEAP_MEM_POOL_SIZE": 0}])
def test_a_size_of_0_is_no_system_heap(release, config):
    configure(config, release=release)
    k_free(NULL)
    calls = [lambda: k_malloc(1), lambda: k_calloc(1, 1), lambda: k_realloc(NULL, 1)]
    for call in [*calls, lambda: k_aligned_alloc(8, 1)]:
        with pytest.raises(kheap.NotDefined, match="CONFIG_HEAP_MEM_POOL_SIZE is 0"):
            call()


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"HEAP_MEM_POOL_ADD_SIZE_A": 300, "HEAP_MEM_POOL_ADD_SIZE_B": "0x100"}, 556),
        ({"HEAP_MEM_POOL_SIZE": 600, "HEAP_MEM_POOL_ADD_SIZE_A": 300}, 600),
        ({"HEAP_MEM_POOL_SIZE": 200, "HEAP_MEM_POOL_ADD_SIZE_A": 300}, 300),
        (
            {
                "HEAP_MEM_POOL_SIZE": 200,
                "HEAP_MEM_POOL_ADD_SIZE_A": 300,
                "HEAP_MEM_POOL_IGNORE_MIN": True,
            },
            200,
        ),
    ],
)
def test_what_subsystems_add(config, size):
    assert configure(config, release="4.3").system_heap_bytes() == size
    k_malloc(8)
    assert the_heap().size_bytes == size


@pytest.mark.parametrize("release", ["1.7", "2.4", "4.4"])
def test_there_is_one_system_heap(release):
    configure(SIZE, release=release)
    mem = k_malloc(1)
    with pytest.raises(kheap.KheapError, match="1 blocks of the system heap live"):
        configure({"HEAP_MEM_POOL_SIZE": 4096})
    with pytest.raises(kheap.KheapError, match="a program has only one"):
        configure()
    k_free(mem)
    configure({"HEAP_MEM_POOL_SIZE": 4096})


# ---------------------------------------------------------------------- threads


@pytest.mark.parametrize("release", ["1.7", "2.4", "4.4"])
def test_threads_share_it_from_the_first_call_on(release):
    configure(SIZE, release=release)
    start, heaps, errors = threading.Barrier(6), set(), []

    def work():
        try:
            start.wait(30)
            for size in range(1, 40):
                mem = k_malloc(size)
                heaps.add(id(board().system_heap))
                if mem is not NULL and release == "4.4":
                    mem = k_realloc(mem, 20) or mem
                k_free(mem)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(heaps) == 1
    assert board().taken == set()
    assert the_heap().stats().used_count == 0


class Halfway:
    """A system heap whose calls let another call happen when they are done."""

    def __init__(self, heap, then):
        self.inner, self.then, self.heap = heap, then, heap.heap

    def free(self, offset):
        self.inner.free(offset)
        self.then()

    def realloc(self, offset, size):
        answer = self.inner.realloc(offset, size)
        self.then()
        return answer


def test_a_freed_address_may_be_given_again_before_the_free_returns():
    configure(SIZE)
    mem, wall, again = k_malloc(20), k_malloc(20), []
    plain = board().system_heap

    def other_thread():
        board().system_heap = plain
        again.append(k_malloc(20))

    board().system_heap = Halfway(plain, other_thread)
    k_free(mem)
    assert again == [mem]
    assert board().taken == {mem, wall}
    board().system_heap = Halfway(plain, other_thread)
    moved = k_realloc(mem, 60)
    assert again == [mem, mem]
    assert board().taken == {mem, wall, moved}
