"""The benchmark's operations, players and rows; nothing here looks at how long things take."""

from __future__ import annotations

from array import array
from collections import Counter
from contextlib import ExitStack

import pytest

import kheap
from kheap._core._native import Column, run
from kheap._core.yardstick import LibcLoop, Yardstick
from kheap.study.bench import Plan, run_bench
from kheap.study.bench_contest import Contest
from kheap.study.bench_handover import (
    BLOCK_BYTES,
    RALLIES,
    REGION_BYTES,
    TASK_RALLIES,
    Rally,
    TaskRally,
)
from kheap.study.bench_ops import HeapPlayer, LibcPlayer, Load, make_ops
from kheap.study.bench_rows import Group, Target
from kheap.study.bench_threads import BUFFER_BYTES, SHARED_PEERS, ThreadsRunner
from kheap.study.peers import (
    BLOCK,
    BLOCK_PEERS,
    BYTEARRAY,
    KHEAP,
    NUMPY,
    PEERS,
    PureRunner,
    Runner,
)
from kheap.trace.model import ALLOC, FREE

SOME = Load(live_blocks=50, most_bytes=1 << 10)
TINY = Plan(
    rounds=2,
    pairs=50,
    mix_ops=200,
    bulk_ops=300,
    shared_ops=90,
    handovers=8,
    mixes=(SOME,),
    bulks=(SOME,),
    threads=(1, 3),
)
ALL_PEERS = dict.fromkeys(p for p in (*PEERS, *BLOCK_PEERS, *SHARED_PEERS) if not p.pure)


def test_the_same_arguments_give_the_same_operations() -> None:
    first, again = make_ops(SOME, 1000), make_ops(SOME, 1000)
    assert (first.op, first.id, first.size) == (again.op, again.id, again.size)
    assert first.warm == 100 and len(first.op) == len(first.id) == len(first.size) == 1100


def test_operations_fill_empty_slots_and_free_full_ones() -> None:
    ops = make_ops(SOME, 2000)
    held: set[int] = set()
    live = []
    for op, slot in zip(ops.op, ops.id, strict=True):
        assert op == (FREE if slot in held else ALLOC)
        held ^= {slot}
        live.append(len(held))
    assert max(ops.id) < ops.slot_count == 100
    assert live[49] == 50 and min(live[50:]) > 25 and max(live) < 75


def test_sizes_are_spread_by_their_logarithms() -> None:
    sizes = make_ops(SOME, 20_000).size
    doublings = Counter(size.bit_length() for size in sizes)
    assert min(sizes) >= 16 and max(sizes) <= 1024
    assert all(0.9 < doublings[bits] / (len(sizes) / 6) < 1.1 for bits in range(5, 11))


@pytest.mark.parametrize("player", [HeapPlayer, LibcPlayer])
def test_a_player_plays_a_list_more_than_once(player: type) -> None:
    made = player(make_ops(SOME, 500))
    assert made.play() >= 0 and made.play() >= 0


def libc_loop(*ops: tuple[int, int, int]) -> tuple[LibcLoop, array[int]]:
    op, id, size = zip(*ops, strict=True)
    blocks = array("q", bytes(8 * 4))
    columns = (array("b", op), array("q", id), array("q", size), blocks)
    return LibcLoop(*map(Column, columns)), blocks


def test_the_libc_loop_leaves_no_block() -> None:
    loop, blocks = libc_loop((ALLOC, 0, 16), (ALLOC, 3, 100_000), (ALLOC, 1, 1), (FREE, 0, 16))
    assert run(loop, 0, 4) == 4
    assert [slot for slot, address in enumerate(blocks) if address] == [1, 3]
    assert loop.give_all_back() == 2
    assert not any(blocks) and loop.give_all_back() == 0


def test_the_libc_loop_stops_where_there_is_no_memory() -> None:
    loop, blocks = libc_loop((ALLOC, 0, 16), (ALLOC, 1, 1 << 62), (ALLOC, 2, 16))
    assert run(loop, 0, 3) == 1
    assert blocks[0] and not blocks[1]
    assert loop.give_all_back() == 1


def test_a_list_that_does_not_fit_is_an_error_and_not_a_time() -> None:
    ops = make_ops(SOME, 10)
    ops.size[3] = 1 << 40
    with pytest.raises(MemoryError, match="operation 3"):
        HeapPlayer(ops).play()


def test_the_floor_takes_a_number_and_returns_it() -> None:
    yardstick = Yardstick()
    assert yardstick.take(64) == 64
    assert yardstick.give(64) is None


@pytest.mark.parametrize("peer", ALL_PEERS, ids=lambda p: p.name)
def test_a_peer_runs_both_loops_and_keeps_no_block(peer) -> None:
    if peer is NUMPY:
        pytest.importorskip("numpy")
    runner = Runner(peer)
    runner.begin(1 << 16, slot_count=2)
    assert runner.pair(3) >= 0
    assert runner.mix([0, 1, 0], [16, 32, 48]) >= 0
    assert [block is None for block in runner._blocks] == [True, False]
    runner.end()
    assert runner._blocks == []


@pytest.mark.parametrize("peer", SHARED_PEERS, ids=lambda p: p.name)
def test_threads_play_parts_of_a_list_on_slots_of_their_own(peer) -> None:
    runner = ThreadsRunner(peer, 3, 1 << 16, slot_count=2)
    assert runner.mix([0, 1, 0, 1, 1, 0, 1], [16] * 7) >= 0
    held = [[block is not None for block in blocks] for blocks in runner._blocks]
    assert held == [[False, True], [True, False], [False, True]]
    assert runner.mix([], []) >= 0
    runner.end()
    assert runner._blocks == []


def test_threads_leave_nothing_in_the_heap_they_share() -> None:
    runner = ThreadsRunner(BLOCK, 2, 1 << 16, slot_count=1)
    heap = runner._it
    assert isinstance(heap, kheap.Heap)
    free_bytes = heap.stats().free_bytes
    runner.mix([0, 0], [64, 64])
    assert heap.stats().free_bytes < free_bytes
    runner.end()
    assert heap.stats().free_bytes == free_bytes


def test_a_pool_has_the_bytes_of_the_region() -> None:
    for peer in SHARED_PEERS:
        if "buffers" in peer.name:
            pool = peer.make(4 * BUFFER_BYTES)
            assert [len(pool.get_nowait()) for _ in range(4)] == [BUFFER_BYTES] * 4
            assert pool.empty()


def test_a_heap_of_a_rally_has_room_for_one_block() -> None:
    heap = kheap.Heap(REGION_BYTES)
    block = heap.alloc(BLOCK_BYTES)
    assert heap.try_alloc(BLOCK_BYTES) is None
    block.free()


@pytest.mark.parametrize("name", RALLIES)
def test_two_threads_rally_as_often_as_wanted(name: str) -> None:
    rally = Rally(RALLIES[name])
    assert [rally.play(count) > 0 for count in (8, 1)] == [True, True]
    rally.end()


@pytest.mark.parametrize("name", TASK_RALLIES)
def test_two_tasks_rally_as_often_as_wanted(name: str) -> None:
    rally = TaskRally(TASK_RALLIES[name])
    assert [rally.play(count) > 0 for count in (8, 1)] == [True, True]
    rally.end()


class Idler:
    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble, self.done, self.ended = trouble, 0, False

    def work(self, count: int) -> int:
        if self.trouble:
            raise self.trouble
        self.done += count
        return 3 * count

    def end(self) -> None:
        self.ended = True


def refuse() -> Idler:
    raise ImportError("no module")


def no_process() -> Idler:
    raise OSError("no process")


def test_a_contest_shares_out_the_turns_and_notes_who_cannot_work() -> None:
    group = Group("pair", 1, "64 B", "quick")
    quick, slow, broken = Idler(), Idler(), Idler(OSError("no mapping"))
    with ExitStack() as stack:
        contest: Contest[Idler] = Contest(group, stack)
        contest.enter("quick", lambda: quick)
        contest.enter("slow", lambda: slow, slowness=5)
        contest.enter("absent", refuse)
        contest.enter("unborn", no_process)
        contest.enter("broken", lambda: broken)
        contest.stay_out("other", "too many")
        contest.prepare(Idler.work, 7)
        for _ in range(2):
            contest.turn(Idler.work, 1000)
        assert (quick.done, slow.done) == (2007, 407)
        assert not quick.ended
    assert quick.ended and slow.ended and broken.ended
    rows = {row.name: row for row in group.rows()}
    assert {name: row.note for name, row in rows.items()} == {
        "quick": "",
        "slow": "200 a round",
        "absent": "not installed",
        "unborn": "not run: no process",
        "broken": "not run: no mapping",
        "other": "not run: too many",
    }
    assert [row.ns_median for row in rows.values()] == [3.0, 3.0, None, None, None, None]


@pytest.mark.slow
@pytest.mark.skipif(not kheap.COMPILED, reason="this is the pure build")
def test_the_pure_build_runs_in_a_process_of_its_own() -> None:
    runner = PureRunner()
    try:
        runner.begin(1 << 16, slot_count=2)
        assert runner.pair(3) > 0
        assert runner.mix([0, 1, 0], [16, 32, 48]) > 0
    finally:
        runner.end()
    assert runner._process.returncode == 0


@pytest.mark.slow
def test_a_run_has_a_row_for_each_peer_and_all_targets() -> None:
    seen: list[tuple[int, int]] = []
    bench = run_bench(TINY, lambda done, total: seen.append((done, total)))
    names = [peer.name for peer in PEERS if kheap.COMPILED or not peer.pure]
    rows = {(row.group, row.name): row for row in bench.rows}
    of_group: dict[tuple[str, int], list[str]] = {}
    for row in bench.rows:
        of_group.setdefault((row.group, row.threads), []).append(row.name)
    assert of_group == {
        ("pair", 1): names,
        ("block", 1): [peer.name for peer in BLOCK_PEERS],
        ("mix", 1): names,
        ("threads", 1): [peer.name for peer in SHARED_PEERS],
        ("threads", 3): [peer.name for peer in SHARED_PEERS],
        ("handover", 2): list(RALLIES),
        ("handover_async", 1): list(TASK_RALLIES),
        ("bulk", 1): [HeapPlayer.name, LibcPlayer.name],
    }
    assert all(row.ns_median is not None or row.note for row in bench.rows)
    assert rows["mix", KHEAP.name].ratio is None
    assert rows["mix", BYTEARRAY.name].ratio_to == KHEAP.name
    measured = {target.name for target in bench.targets if target.met is not None}
    assert {target.name for target in bench.targets} - measured >= {"bulk_cost_1m_to_1000"}
    assert measured >= {"pair_to_floor", "block_to_floor", "dropped_block_to_floor"}
    assert len(bench.targets) == 10
    assert seen == [(done, 16) for done in range(1, 17)]
    assert (bench.compiled, bench.rounds) == (kheap.COMPILED, 2)


def test_ratios_are_taken_within_a_round() -> None:
    group = Group("mix", 10, "64 B", "slow")
    group.add("slow").ns.extend((10.0, 100.0, 10.0))
    group.add("fast").ns.extend((5.0, 50.0, 50.0))
    group.add("absent").note = "not installed"
    slow, fast, absent = group.rows()
    assert (slow.ratio, slow.ns_median, slow.ns_min) == (None, 10.0, 10.0)
    assert (fast.ratio, fast.ratio_to, fast.ops_per_second) == (0.5, "slow", 20_000_000)
    assert (absent.ns_median, absent.ns_min, absent.ops_per_second, absent.ratio) == (None,) * 4


@pytest.mark.parametrize(
    ("value", "relation", "met"),
    [(1.0, "<=", True), (1.0, "<", False), (1.0, ">=", True), (1.1, "<=", False),
     (0.9, "<", True), (0.9, ">=", False), (None, "<", None)],
)  # fmt: skip
def test_a_target_says_whether_it_is_met(value, relation: str, met) -> None:
    assert Target("a number", value, relation, 1.0).met is met
