"""``k_mem_pool_*`` by C's meaning: descriptors, errors, policies, waiting."""

from __future__ import annotations

import errno

import pytest

import kheap
from kheap.zephyr import (
    EAGAIN,
    ENOMEM,
    K_FOREVER,
    K_MEM_POOL_DEFINE,
    K_MSEC,
    K_NO_WAIT,
    NULL,
    configure,
    k_mem_block,
    k_mem_pool_alloc,
    k_mem_pool_defrag,
    k_mem_pool_free,
    k_thread_priority_set,
    memory,
)

RELEASES = ["1.6", "1.7", "1.8", "1.14", "2.4"]


@pytest.fixture(params=RELEASES)
def release(request, clock):
    configure(release=request.param, clock=clock)
    return request.param


def pool_of(minsz=64, maxsz=1024, nmax=1, align=4):
    return K_MEM_POOL_DEFINE("pool", minsz, maxsz, nmax, align)


def take(pool, size, timeout=K_NO_WAIT):
    block = k_mem_block()
    assert k_mem_pool_alloc(pool, block, size, timeout) == 0
    return block


def place(pool, block):
    return block.data - pool.pool.base_address


def test_a_block_and_its_descriptor(release):
    pool, block = pool_of(nmax=2), k_mem_block()
    assert (block.pool, block.data, block.req_size) == (NULL, NULL, 0)
    assert k_mem_pool_alloc(pool, block, 200, K_NO_WAIT) == 0
    assert (block.pool, block.data, block.req_size) == (pool, pool.pool.base_address, 200)
    memory(block.data, 200)[:] = b"x" * 200
    other = take(pool, 200)
    assert place(pool, other) == 256
    k_mem_pool_free(block)
    k_mem_pool_free(other)
    assert pool.pool.stats().used_count == 0
    assert pool.name == "pool"


@pytest.mark.parametrize("align", [1, 4, 8, 64])
def test_a_pool_is_aligned(release, align):
    pool_of(align=1)
    pool = pool_of(align=align)
    assert pool.pool.base_address % max(align, 4) == 0
    assert pool.pool.align == align


def test_no_memory(release):
    pool = pool_of()
    held = take(pool, 1000)
    for size in (1, 1000, 1025, 2**31, 2**40):
        assert k_mem_pool_alloc(pool, k_mem_block(), size, K_NO_WAIT) == -errno.ENOMEM == -ENOMEM
        assert k_mem_pool_alloc(pool, k_mem_block(), size, 0) == -ENOMEM
    k_mem_pool_free(held)


def test_a_failure_clears_the_descriptor_from_1_8_on(release, clock, waiting):
    pool = pool_of()
    block = take(pool, 1000)
    held, data = k_mem_block(), block.data
    held.pool, held.data = block.pool, block.data
    kept = data if release in {"1.6", "1.7"} else NULL
    assert k_mem_pool_alloc(pool, block, 1, K_NO_WAIT) == -ENOMEM
    assert block.data == kept
    block.data = data
    sleeper = waiting(k_mem_pool_alloc, pool, block, 1, K_MSEC(3))
    clock.advance(0.003)
    assert sleeper.end() == -EAGAIN
    assert block.data == kept
    k_mem_pool_free(held)


def test_frees_of_what_was_not_taken(release):
    pool, block = pool_of(), k_mem_block()
    with pytest.raises(kheap.InvalidFree, match="the descriptor tells of no block"):
        k_mem_pool_free(block)
    block = take(pool, 100)
    k_mem_pool_free(block)
    with pytest.raises(kheap.InvalidFree):
        k_mem_pool_free(block)
    block.data += 4
    with pytest.raises(kheap.InvalidFree):
        k_mem_pool_free(block)


@pytest.mark.parametrize("timeout", [K_MSEC(100), 100])
def test_time_runs_out(release, clock, waiting, timeout):
    pool = pool_of()
    held = take(pool, 1000)
    sleepers = [
        waiting(k_mem_pool_alloc, pool, k_mem_block(), size, timeout) for size in (10, 5000)
    ]
    clock.advance(0.0999)
    assert len(pool.pool.waiters) == 2
    clock.advance(0.0001)
    assert [sleeper.end() for sleeper in sleepers] == [-errno.EAGAIN, -EAGAIN]
    k_mem_pool_free(held)


@pytest.mark.parametrize("timeout", [K_FOREVER, -1])
def test_a_free_serves_who_waits_for_ever(release, waiting, timeout):
    pool, block = pool_of(), k_mem_block()
    held = take(pool, 1000)
    sleeper = waiting(k_mem_pool_alloc, pool, block, 300, timeout)
    k_mem_pool_free(held)
    assert sleeper.end() == 0
    assert (block.data, block.req_size) == (pool.pool.base_address, 300)


def test_the_waiters_of_the_specification(release, waiting):
    pool = pool_of()
    held = [take(pool, 64) for _ in range(16)]

    def ask(block, size, priority):
        k_thread_priority_set(priority)
        return k_mem_pool_alloc(pool, block, size, K_FOREVER)

    asked = [(256, 1), (64, 5), (64, 1), (64, 3), (1024, 0), (2000, 0)]
    blocks = [k_mem_block() for _ in asked]
    sleepers = [waiting(ask, block, *one) for block, one in zip(blocks, asked, strict=True)]
    assert pool.pool.waiters == ((1024, 0), (2000, 0), (256, 1), (64, 1), (64, 3), (64, 5))
    for block in held[:3]:
        k_mem_pool_free(block)
    assert [sleepers[i].end() for i in (2, 3, 1)] == [0, 0, 0]
    assert [place(pool, blocks[i]) for i in (2, 3, 1)] == [0, 64, 128]
    for block in held[3:7]:
        k_mem_pool_free(block)
    assert len(pool.pool.waiters) == 3
    k_mem_pool_free(held[7])
    assert sleepers[0].end() == 0
    assert place(pool, blocks[0]) == 256
    assert pool.pool.waiters == ((1024, 0), (2000, 0))
    pool.pool.close()
    for sleeper in sleepers[4:]:
        with pytest.raises(ValueError, match="closed"):
            sleeper.end()


@pytest.mark.parametrize("timeout", [None, 0.5, True, "1"])
def test_wrong_times(release, timeout):
    with pytest.raises(TypeError, match="is none"):
        k_mem_pool_alloc(pool_of(), k_mem_block(), 1, timeout)


def test_defrag(release):
    pool = pool_of()
    k_mem_pool_free(take(pool, 1))
    cut = {1024: [], 256: [0, 256, 512, 768], 64: []}
    whole = {1024: [0], 256: [], 64: []}
    if release in {"1.6", "1.7"}:
        assert pool.pool.free_blocks()[64] == [0, 64, 128, 192]
        assert k_mem_pool_alloc(pool, k_mem_block(), 300, K_NO_WAIT) == 0
        k_mem_pool_defrag(pool)
        assert pool.pool.free_blocks() == {1024: [], 256: [], 64: []}
        other = pool_of()
        k_mem_pool_free(take(other, 200))
        assert other.pool.free_blocks() == cut
        k_mem_pool_defrag(other)
        assert other.pool.free_blocks() == whole
    else:
        assert pool.pool.free_blocks() == whole
        k_mem_pool_defrag(pool)
        assert pool.pool.free_blocks() == whole


@pytest.mark.parametrize(
    ("option", "sixteen", "largest"),
    [
        ("MEM_POOL_SPLIT_BEFORE_DEFRAG", 64, None),
        ("MEM_POOL_DEFRAG_BEFORE_SPLIT", 0, 64),
        ("MEM_POOL_SPLIT_ONLY", 64, None),
    ],
)
def test_policies(option, sixteen, largest):
    configure({option: "y"}, release="1.7")
    pool = pool_of(4, 64, 2)
    fours = [take(pool, 4) for _ in range(4)]
    for _ in range(3):
        take(pool, 16)
    for block in fours:
        k_mem_pool_free(block)
    assert place(pool, take(pool, 16)) == sixteen
    block = k_mem_block()
    assert k_mem_pool_alloc(pool, block, 64, K_NO_WAIT) == (-ENOMEM if largest is None else 0)
    assert largest is None or place(pool, block) == largest


@pytest.mark.parametrize(
    ("geometry", "match"),
    [
        ((0, 64, 1, 4), "min_bytes 0"),
        ((64, -64, 1, 4), "max_bytes -64"),
        ((64, 64, 0, 4), "n_max 0"),
        ((64, 64, -1, 4), "n_max -1"),
        ((64, 64, 1, 3), "align 3"),
        ((64, 64, 1, 0), "align 0"),
        ((64, 32, 1, 4), "below"),
    ],
)
def test_geometries_that_cannot_be(release, geometry, match):
    with pytest.raises(ValueError, match=match):
        pool_of(*geometry)


def test_geometries_that_a_release_cannot_have():
    configure(release="1.7")
    assert list(pool_of(16, 1000).pool.free_blocks()) == [1000, 250, 62]
    configure(release="2.4")
    with pytest.raises(ValueError, match="blocks would overlap"):
        pool_of(16, 1000)


def test_the_word_size_is_the_boards():
    configure({"64BIT": True}, release="2.4")
    pool = pool_of(4, 128)
    assert (pool.pool.bits, list(pool.pool.free_blocks())) == (64, [128, 32])


def test_later_boards_have_no_pools():
    for release in ("2.5", "4.4", "main"):
        configure(release=release)
        with pytest.raises(kheap.NotDefined, match=f"Zephyr {release} has no k_mem_pool"):
            pool_of()
    configure({"MEM_POOL_HEAP_BACKEND": True}, release="2.3")
    with pytest.raises(NotImplementedError, match="CONFIG_MEM_POOL_HEAP_BACKEND"):
        pool_of()
