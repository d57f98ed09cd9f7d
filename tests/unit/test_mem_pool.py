"""``MemPool``: arguments, errors, the worked examples, waiting threads, and the end of it."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import kheap
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.pool_view import UsedBlock
from kheap.heaps.waiting import VirtualClock

MODELS = ["quad", "buddy"]
POLICIES = ["split_before_defrag", "defrag_before_split", "split_only"]
FOREVER = None


def pool_of(min_bytes=64, max_bytes=1024, n_max=1, region=None, **more):
    return MemPool(region, min_bytes=min_bytes, max_bytes=max_bytes, n_max=n_max, **more)


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


def fill(pool, size):
    """All blocks that requests of this size get."""
    offsets = []
    while (offset := pool.try_alloc(size)) is not None:
        offsets.append(offset)
    return offsets


# ---------------------------------------------------------------------- what it is made of


def test_attributes_are_read_only(model):
    region = bytearray(3000)
    pool = pool_of(64, 1024, 2, region, align=8, model=model, base_address=0x1000, bits=64)
    told = {
        "base_address": 0x1000, "min_bytes": 64, "max_bytes": 1024, "n_max": 2, "align": 8,
        "model": model, "policy": "split_before_defrag", "bits": 64, "size_bytes": 2048,
        "max_request_bytes": 1024, "waiters": (),
    }  # fmt: skip
    for name, value in told.items():
        assert getattr(pool, name) == value
        with pytest.raises(AttributeError):
            setattr(pool, name, value)
    assert pool.region.nbytes == 2048
    assert repr(pool) == f"<MemPool {model} of 2 x 1024 bytes down to 64, at 0x1000>"
    pool.close()
    assert repr(pool).endswith(", closed>")


def test_addresses():
    assert pool_of().base_address == 0x20000000
    region = memoryview(bytearray(2048))
    pool, other = pool_of(region=region[:1024]), pool_of(region=region[1024:])
    assert other.base_address - pool.base_address == 1024


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"min_bytes": 0}, "min_bytes 0"),
        ({"max_bytes": -1}, "max_bytes -1"),
        ({"n_max": 0}, "n_max 0"),
        ({"align": 0}, "align 0"),
        ({"align": 12}, "align 12 is no power of two"),
        ({"model": "slab"}, "model 'slab': it is one of 'quad', 'buddy'"),
        ({"policy": "never"}, "policy 'never'"),
        ({"bits": 16}, "bits 16"),
        ({"n_max": 1 << 50}, "limit is 2\\*\\*60"),
        ({"max_bytes": 32}, "max_bytes 32 is below min_bytes 64"),
        ({"base_address": 6}, "0x6 is no address aligned to 4"),
        ({"base_address": -4}, "no address"),
        ({"region": bytearray(1023)}, "a region of 1023 bytes: the pool needs 1024"),
        ({"region": bytearray()}, "a region of 0 bytes"),
        ({"model": "buddy", "max_bytes": 32}, "below the smallest block, 64 bytes"),
        ({"model": "buddy", "min_bytes": 16, "max_bytes": 1000}, "make it a multiple of 64"),
        ({"model": "buddy", "min_bytes": 1, "max_bytes": 4}, "a list node 8"),
        ({"model": "buddy", "min_bytes": 30, "max_bytes": 30}, "multiple of 4"),
        ({"model": "buddy", "min_bytes": 20, "max_bytes": 80, "bits": 64}, "multiple of 32"),
    ],
)
def test_wrong_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        pool_of(**arguments)


def test_wrong_types():
    for arguments in ({"min_bytes": 6.5}, {"n_max": "2"}, {"region": 1024}):
        with pytest.raises(TypeError):
            pool_of(**arguments)
    with pytest.raises(BufferError):
        pool_of(region=bytes(1024))


def test_a_refused_region_is_free_again():
    region = bytearray(1000)
    with pytest.raises(ValueError, match="1000 bytes"):
        pool_of(region=region)
    region.append(0)


def test_the_smallest_block_of_a_buddy_pool_holds_a_list_node():
    assert list(pool_of(4, 256, model="buddy").free_blocks()) == [256, 64, 16]
    assert list(pool_of(4, 128, model="buddy").free_blocks()) == [128, 32, 8]
    assert list(pool_of(4, 128, model="buddy", bits=64).free_blocks()) == [128, 32]


def test_a_buddy_pool_has_sixteen_levels_at_most():
    pool = pool_of(8, 8 << 34, model="buddy")
    assert list(pool.free_blocks()) == [8 << 34 - 2 * level for level in range(16)]
    assert [pool.alloc(1), pool.alloc(1)] == [0, 128]
    assert len(pool_of(8, 8 << 34).free_blocks()) == 18


# ---------------------------------------------------------------------- requests


def test_a_request_for_nothing_takes_a_smallest_block(model):
    pool = pool_of(model=model)
    assert [pool.alloc(0), pool.try_alloc(0)] == [0, 64]
    assert pool.blocks()[2].used == (UsedBlock(0, 0), UsedBlock(64, 0))


@pytest.mark.parametrize("request_bytes", [1025, 2**30, 2**31, 2**32 - 16, 2**63, 2**64, 10**40])
def test_what_can_never_fit(model, request_bytes):
    pool = pool_of(model=model, original_waits=False)
    pool.free(pool.alloc(300))
    before = pool.free_blocks()
    assert pool.try_alloc(request_bytes) is None
    for timeout in (0.0, 5, FOREVER):
        with pytest.raises(kheap.OutOfMemory, match="can never fit, the pool serves up to 1024"):
            pool.alloc(request_bytes, timeout=timeout)
    assert pool.free_blocks() == before, "nothing is recombined"


def test_out_of_memory_tells_numbers(model):
    pool = pool_of(model=model)
    pool.alloc(200)
    with pytest.raises(
        kheap.OutOfMemory, match="no block for 600 bytes: 768 free, largest 256"
    ) as caught:
        pool.alloc(600)
    error = caught.value
    assert (error.request_bytes, error.free_bytes, error.largest_free_bytes) == (600, 768, 256)
    fill(pool, 1)
    with pytest.raises(kheap.OutOfMemory, match="0 free, largest 0"):
        pool.alloc(1)


def test_wrong_requests(model):
    pool = pool_of(model=model)
    for call in (pool.alloc, pool.try_alloc):
        with pytest.raises(ValueError, match="request_bytes is negative: -1"):
            call(-1)
        with pytest.raises(TypeError):
            call(1.5)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            pool.alloc(8, timeout=timeout)
    with pytest.raises(TypeError):
        pool.alloc(8, priority="high")
    assert pool.stats().used_count == 0


def test_wrong_frees(model):
    pool = pool_of(model=model)
    first, second = pool.alloc(20), pool.alloc(20)
    pool.free(second)
    before = pool.blocks()
    for offset in (second, first + 1, 128, 256, 512, 1024, -1, -64, 2**63, -(10**30)):
        for call in (pool.free, pool.view, pool.block_of):
            with pytest.raises(kheap.InvalidFree, match="no live block at offset") as caught:
                call(offset)
            assert caught.value.offset == offset
    with pytest.raises(TypeError):
        pool.free("0")
    pool.free(None)
    assert pool.blocks() == before


def test_the_lost_bytes_of_odd_quad_pools_hold_no_block():
    pool = pool_of(16, 1003, 2)
    assert list(pool.free_blocks()) == [1003, 250, 62]
    offset = pool.alloc(16)
    assert pool.stats().lost_bytes == 3 + 2
    for wrong in (248, 249, 1000, 1002):
        with pytest.raises(kheap.InvalidFree):
            pool.free(wrong)
    pool.free(offset)
    pool.defrag()
    assert pool.free_blocks() == {1003: [0, 1003], 250: [], 62: []}


# ---------------------------------------------------------------------- looking inside


def test_blocks_and_numbers(model):
    pool = pool_of(model=model, n_max=2)
    offsets = [pool.alloc(size) for size in (200, 50, 1000)]
    assert offsets == [0, 256, 1024]
    pool.free(offsets[0])
    largest, middle, smallest = pool.blocks()
    assert (largest.level, largest.block_bytes, largest.free) == (0, 1024, ())
    assert largest.used == (UsedBlock(1024, 1000),)
    # A quad-block is searched from its lowest block on; a queue hands the oldest out.
    assert middle.free == ((0, 512, 768) if model == "quad" else (512, 768, 0))
    assert smallest.used == (UsedBlock(256, 50),)
    assert pool.free_blocks() == {1024: [], 256: [0, 512, 768], 64: [320, 384, 448]}
    stats = pool.stats()
    assert (stats.size_bytes, stats.free_bytes, stats.allocated_bytes) == (2048, 960, 1088)
    assert (stats.requested_bytes, stats.max_allocated_bytes) == (1050, 1344)
    assert (stats.free_count, stats.used_count, stats.largest_free_bytes) == (6, 2, 256)
    assert stats.lost_bytes == 0
    assert stats.fragmentation.one_minus_largest_over_free == pytest.approx(1 - 256 / 960)
    assert 0 < stats.fragmentation.one_minus_root_sum_squares < 1


def test_a_full_pool_is_not_fragmented(model):
    pool = pool_of(model=model)
    fill(pool, 1)
    fragmentation = pool.stats().fragmentation
    assert fragmentation == kheap.Fragmentation(0.0, 0.0)


def test_block_of(model):
    pool = pool_of(model=model, n_max=2)
    offsets = [pool.alloc(size) for size in (1024, 256, 64, 1)]
    assert [pool.block_of(offset) for offset in offsets] == [(0, 0), (1, 4), (2, 20), (2, 21)]


def test_views_are_whole_blocks(model):
    region = bytearray(1024)
    pool = pool_of(region=region, model=model)
    pool.alloc(10)
    offset = pool.alloc(10)
    pool.view(offset)[:] = b"x" * 64
    assert region == bytes(64) + b"x" * 64 + bytes(896)
    with pytest.raises(ValueError, match="no memory"):
        without = pool_of()
        without.view(without.alloc(1))


def test_many_blocks(model):
    pool = pool_of(4, 1024, 5, model=model)
    least = pool.blocks()[-1].block_bytes
    offsets = fill(pool, 1)
    assert sorted(offsets) == list(range(0, 5 * 1024, least))
    for offset in offsets[::-1]:
        pool.free(offset)
    pool.defrag()
    assert pool.free_blocks()[1024] == list(range(0, 5 * 1024, 1024))


# ---------------------------------------------------------------------- worked examples

HEADER = 16


def malloc(heap, size):
    """k_malloc of 1.6 and 1.7: the pointer's offset."""
    block = heap.try_alloc(size + HEADER)
    return None if block is None else block + HEADER


def test_200_bytes_cost_a_256_byte_block_and_four_small_ones():
    heap = pool_of()
    assert malloc(heap, 200) == 16
    assert heap.free_blocks()[256] == [256, 512, 768]
    got = [malloc(heap, 48) for _ in range(13)]
    assert got[:6] == [272, 336, 400, 464, 528, 592]
    assert got[11:] == [976, None]


@pytest.mark.parametrize("policy", POLICIES)
def test_75_bytes_use_a_256_byte_block_which_a_free_leaves_cut(policy):
    heap = pool_of(policy=policy)
    assert malloc(heap, 75) == 16
    heap.free(0)
    assert heap.free_blocks()[256] == [0, 256, 512, 768]
    assert malloc(heap, 1008) == (None if policy == "split_only" else 16)


@pytest.mark.parametrize(
    ("policy", "sixteen", "largest", "free"),
    [
        ("split_before_defrag", 64, None, {64: [], 16: [0, 80, 96, 112], 4: []}),
        ("defrag_before_split", 0, 64, {64: [], 16: [], 4: []}),
        ("split_only", 64, None, {64: [], 16: [80, 96, 112], 4: [0, 4, 8, 12]}),
    ],
)
def test_the_policies(policy, sixteen, largest, free):
    pool = pool_of(4, 64, 2, policy=policy)
    sizes = (4, 4, 4, 4, 16, 16, 16)
    assert [pool.alloc(size) for size in sizes] == [0, 4, 8, 12, 16, 32, 48]
    for offset in (0, 4, 8, 12):
        pool.free(offset)
    assert pool.try_alloc(16) == sixteen
    assert pool.try_alloc(64) == largest
    assert pool.free_blocks() == free


def test_a_failed_request_recombines_and_moves_the_last_quad_block():
    pool = pool_of()
    assert fill(pool, 64) == list(range(0, 1024, 64))
    for offset in (0, 64, 128, 192, 512, 576, 640):
        pool.free(offset)
    assert pool.try_alloc(1024) is None
    assert pool.free_blocks() == {1024: [], 256: [0], 64: [512, 576, 640]}
    assert pool.alloc(64) == 512


def test_recombining_stops_at_the_size_asked_for():
    pool = pool_of(policy="defrag_before_split")
    for offset in fill(pool, 64):
        pool.free(offset)
    pool.alloc(200)
    assert pool.free_blocks() == {1024: [], 256: [256, 512, 768], 64: []}


@pytest.mark.parametrize("hidden", [("quad", 16), ("buddy", 8), ("buddy", 4)])
@pytest.mark.parametrize("size", [256, 1024, 4096, 16384])
def test_the_table_of_block_counts(size, hidden):
    for block in (64, 256, 1024, 4096, 16384):
        assert len(fill(pool_of(64, size, model=hidden[0]), block)) == size // block


def test_an_odd_quad_pool_serves_by_fourfolds_of_the_minimum():
    for size, block in ((64, 128), (65, 512), (256, 512), (257, 2048), (1024, 2048)):
        pool = pool_of(64, 2048)
        pool.alloc(size)
        assert [one.block_bytes for one in pool.blocks() if one.used] == [block]
    assert pool_of(64, 2048).max_request_bytes == 1024
    assert pool_of(64, 2048).try_alloc(1500) is None
    assert pool_of(64, 2048, model="buddy").try_alloc(1500) == 0


# ---------------------------------------------------------------------- waiting


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as executor:
        yield executor


class Interrupted(Exception):
    """What a signal handler raises."""


class InterruptingClock(VirtualClock):
    """Lets something happen while one sleeps, and interrupts the sleep."""

    def sleep(self, bell, until):
        self.before()
        raise Interrupted


def queue_up(pool, threads, clock, requests, timeout=100.0):
    """Threads that wait, each in the queue before the next one asks."""
    futures = []
    for count, (size, priority) in enumerate(requests, len(pool.waiters) + 1):
        futures.append(threads.submit(pool.alloc, size, timeout=timeout, priority=priority))
        clock.wait_for_sleepers(count)
    return futures


def test_waiters_of_the_quad_pool_are_served_as_in_1_7(clock, threads):
    pool = pool_of(clock=clock)
    fill(pool, 64)
    requests = [(256, 1), (64, 5), (64, 1), (64, 3), (1024, 0), (2000, 0)]
    futures = queue_up(pool, threads, clock, requests)
    assert pool.waiters == ((1024, 0), (2000, 0), (256, 1), (64, 1), (64, 3), (64, 5))
    for offset in (0, 64, 128):
        pool.free(offset)
    assert [futures[i].result(9) for i in (2, 3, 1)] == [0, 64, 128]
    for offset in (192, 256, 320, 384):
        pool.free(offset)
    assert pool.waiters == ((1024, 0), (2000, 0), (256, 1))
    pool.free(448)
    assert futures[0].result(9) == 256
    assert pool.waiters == ((1024, 0), (2000, 0))
    clock.advance(100)
    for future in futures[4:]:
        with pytest.raises(kheap.TimedOut, match="within 100"):
            future.result(9)
    assert pool.waiters == ()


def test_waiters_of_the_buddy_pool(clock, threads):
    pool = pool_of(model="buddy", clock=clock)
    blocks = fill(pool, 256)
    futures = queue_up(pool, threads, clock, [(1024, 0), (256, 2), (64, 1), (64, 1)], FOREVER)
    pool.free(blocks[1])
    assert [future.result(9) for future in futures[2:]] == [256, 320]
    assert pool.waiters == ((1024, 0), (256, 2))
    pool.free(blocks[3])
    assert futures[1].result(9) == 768
    for offset in (256, 320, 0, 512, 768):
        pool.free(offset)
    assert futures[0].result(9) == 0


def test_defrag_serves_who_waits(clock, threads):
    pool = pool_of(policy="split_only", clock=clock)
    pool.free(pool.alloc(256))
    (future,) = queue_up(pool, threads, clock, [(1024, 0)])
    pool.free(pool.alloc(64))
    assert pool.waiters == ((1024, 0),)
    pool.defrag()
    assert future.result(9) == 0


def test_a_time_out_changes_nothing(model, clock, threads):
    pool = pool_of(model=model, clock=clock)
    pool.alloc(1000)
    (future,) = queue_up(pool, threads, clock, [(10, 0)], timeout=2)
    before = pool.blocks()
    clock.advance(2)
    with pytest.raises(kheap.TimedOut):
        future.result(9)
    assert pool.blocks() == before


def test_who_has_no_need_to_wait_does_not(model, clock):
    pool = pool_of(model=model, clock=clock)
    assert pool.alloc(1000, timeout=FOREVER) == 0


def test_what_is_granted_to_one_who_goes_away_is_given_back(model):
    pool = pool_of(model=model, clock=InterruptingClock())
    pool._clock.before = lambda: pool.free(0)
    pool.alloc(1000)
    with pytest.raises(Interrupted):
        pool.alloc(64, timeout=FOREVER)
    assert (pool.waiters, pool.stats().used_count) == ((), 0)


def test_a_grant_from_a_pool_that_is_closed_meanwhile_is_lost_with_it(model):
    pool = pool_of(model=model, clock=InterruptingClock())
    pool._clock.before = lambda: (pool.free(0), pool.close())
    pool.alloc(1000)
    with pytest.raises(Interrupted):
        pool.alloc(64, timeout=FOREVER)
    assert pool.waiters == ()


def test_threads_share_a_pool(model):
    pool = pool_of(64, 1024, 2, bytearray(2048), model=model)
    failures = []

    def work(token):
        for size in (1, 64, 200, 256, 30) * 40:
            offset = pool.alloc(size, timeout=FOREVER, priority=token % 3)
            with pool.view(offset) as view:
                view[:] = bytes([token]) * len(view)
                if bytes(view) != bytes([token]) * len(view):
                    failures.append(offset)
            pool.free(offset)

    workers = [threading.Thread(target=work, args=(token,)) for token in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    pool.defrag()
    assert failures == []
    assert pool.free_blocks()[256] == []
    assert sorted(pool.free_blocks()[1024]) == [0, 1024]


# ---------------------------------------------------------------------- the end of it


def test_close_gives_the_buffer_back(model):
    region = bytearray(1024)
    with pool_of(region=region, model=model) as pool:
        pool.alloc(1)
        with pytest.raises(BufferError):
            region.append(0)
    region.append(0)
    pool.close()
    calls = [
        lambda: pool.alloc(1), lambda: pool.try_alloc(1), lambda: pool.free(0),
        lambda: pool.free(None), pool.defrag, lambda: pool.view(0), lambda: pool.block_of(0),
        pool.free_blocks, pool.blocks, pool.stats,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="the pool is closed"):
            call()


def test_close_ends_all_waits(model, clock, threads):
    pool = pool_of(model=model, clock=clock)
    pool.alloc(1000)
    futures = queue_up(pool, threads, clock, [(64, 0), (1000, 1)], FOREVER)
    pool.close()
    for future in futures:
        with pytest.raises(ValueError, match="the pool was closed"):
            future.result(9)


def test_a_pool_is_not_copied(model):
    pool = pool_of(model=model)
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            call(pool)
