"""The benchmark: kheap beside its peers and beside the floor, in one run.

It owns what is timed, the rounds in which all rows of a group take turns, and the targets
that kheap sets itself.  Times are CPU times of the process that does the work; where threads
or tasks work together, wall times.
Not here: the peers (``peers.py``, ``bench_threads.py``, ``bench_handover.py``), the operations
(``bench_ops.py``), the turns (``bench_contest.py``), medians and ratios (``bench_rows.py``),
printing (``kheap.report.bench_table``).
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from kheap._core._native import COMPILED
from kheap.study.bench_contest import Contest
from kheap.study.bench_handover import (
    BLOCK_BYTES,
    LOCKS,
    RALLIES,
    TASK_QUEUE,
    TASK_RALLIES,
    Rally,
    TaskRally,
)
from kheap.study.bench_ops import HeapPlayer, LibcPlayer, Load, OpList, make_ops
from kheap.study.bench_rows import Bench, Group, Series, Target
from kheap.study.bench_threads import REGION_BYTES as SHARED_BYTES
from kheap.study.bench_threads import SHARED_HEAP, SHARED_PEERS, ThreadsRunner
from kheap.study.peers import (
    BLOCK,
    BLOCK_PEERS,
    BYTEARRAY,
    DROPPED_BLOCK,
    FLOOR,
    KHEAP,
    NUMPY,
    PAIR_BYTES,
    PEERS,
    AnyRunner,
    Peer,
    runner_of,
)

__all__ = ["FULL", "QUICK", "Plan", "run_bench"]

KIB = 1 << 10
PAIR_REGION_BYTES = 1 << 20
#: On the pure build our own rows do one operation in so many, and no longer bulk list is played.
PURE_SLOWNESS = 50
PURE_MOST_LIVE = 1_000
#: What each of several threads holds: they are to meet at the lock, not in the cache.
FEW_SMALL = Load(4, KIB)

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is timed.

    Attributes:
        rounds: How often every row takes its turn.
        pairs: Pairs in a turn.
        shared_ops: Operations on what threads share, of all threads, all of them in each turn.
        handovers: Hand-overs in a turn.
        mix_ops: Operations of a mix, in all turns together.
        bulk_ops: Timed operations of a bulk list, all of them in each turn.
        settling: Operations before the timed ones, for each live block.
        mixes, bulks: What they are like.
        threads: How many threads share, a group each.
        shared: What each of them does.
    """

    rounds: int
    pairs: int
    mix_ops: int
    bulk_ops: int
    shared_ops: int
    handovers: int
    settling: float = 1.0
    mixes: tuple[Load, ...] = (Load(1_000, 64 * KIB), Load(100_000, KIB))
    bulks: tuple[Load, ...] = (
        Load(1_000, 64 * KIB),
        Load(1_000, KIB),
        Load(100_000, KIB),
        Load(1_000_000, KIB),
    )
    threads: tuple[int, ...] = (1, 2, 8)
    shared: Load = FEW_SMALL


FULL = Plan(15, 100_000, 1_000_000, 1_000_000, shared_ops=100_000, handovers=4_000)
QUICK = Plan(3, 50_000, 60_000, 200_000, shared_ops=50_000, handovers=1_000, settling=0.1)


def run_bench(plan: Plan = FULL, progress: Progress | None = None) -> Bench:
    """Time everything.

    Args:
        plan: How much.
        progress: Called with the rounds done and their number, now and then.

    Complexity: about a minute and a half for FULL, a dozen seconds for QUICK.
    """
    if not COMPILED:
        short = tuple(load for load in plan.bulks if load.live_blocks <= PURE_MOST_LIVE)
        plan = replace(plan, bulk_ops=max(1, plan.bulk_ops // PURE_SLOWNESS), bulks=short)
    clock = _Clock(plan, progress)
    with _no_collections():
        # First, while the C library's heap is not yet scattered by what the mixes leave there.
        bulks = dict(zip(plan.bulks, _bulk_groups(plan, clock), strict=True))
        pair = _pair_group("pair", PEERS, plan, clock)
        block = _pair_group("block", BLOCK_PEERS, plan, clock)
        mixes = [_mix_group(plan, load, clock) for load in plan.mixes]
        shared = [_threads_group(plan, threads, clock) for threads in plan.threads]
        handovers = list(_handover_groups(plan, clock))
    groups = (pair, block, *mixes, *shared, *handovers, *bulks.values())
    return Bench(
        kheap=_version(),
        compiled=COMPILED,
        python=platform.python_version(),
        machine=_machine(),
        rounds=plan.rounds,
        rows=[row for group in groups for row in group.rows()],
        targets=_targets(pair, block, bulks),
    )


class _Clock:
    """Counts the rounds of all groups, for the progress bar."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._rounds, self._progress = plan.rounds, progress
        groups = 4 + len(plan.mixes) + len(plan.threads) + len(plan.bulks)
        self._total = plan.rounds * groups
        self._done = 0

    def rounds(self) -> Iterator[int]:
        for turn in range(self._rounds):
            yield turn
            self.tick()

    def tick(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


# ---------------------------------------------------------------------- from a Python loop


def _pair_group(name: str, peers: Sequence[Peer], plan: Plan, clock: _Clock) -> Group:
    group = Group(name, 1, f"{PAIR_BYTES} B", FLOOR.name)
    with ExitStack() as stack:
        contest: Contest[AnyRunner] = Contest(group, stack)
        for peer in _on_this_build(peers):
            contest.enter(peer.name, partial(runner_of, peer, PAIR_REGION_BYTES), peer.slowness)
        for _ in clock.rounds():
            contest.turn(lambda runner, count: runner.pair(count), plan.pairs)
    return group


def _mix_group(plan: Plan, load: Load, clock: _Clock) -> Group:
    group = Group("mix", load.live_blocks, load.sizes, KHEAP.name)
    ops = make_ops(load, plan.mix_ops, plan.settling)
    with ExitStack() as stack:
        contest: Contest[AnyRunner] = Contest(group, stack)
        for peer in _on_this_build(PEERS):
            if load.live_blocks > peer.most_live:
                contest.stay_out(peer.name, "every block is a mapping of its own")
                continue
            make = partial(runner_of, peer, ops.region_bytes, ops.slot_count)
            contest.enter(peer.name, make, peer.slowness)
        contest.prepare(partial(_play_mix, ops, 0), ops.warm)
        each = plan.mix_ops // plan.rounds
        for turn in clock.rounds():
            contest.turn(partial(_play_mix, ops, ops.warm + turn * each), each)
    return group


def _threads_group(plan: Plan, threads: int, clock: _Clock) -> Group:
    load = plan.shared
    group = Group("threads", load.live_blocks, load.sizes, SHARED_HEAP.name, "wall", threads)
    ops = make_ops(load, plan.shared_ops)
    with ExitStack() as stack:
        contest: Contest[ThreadsRunner] = Contest(group, stack)
        for peer in _on_this_build(SHARED_PEERS):
            make = partial(ThreadsRunner, peer, threads, SHARED_BYTES, ops.slot_count)
            contest.enter(peer.name, make, peer.slowness)
        for _ in clock.rounds():
            contest.turn(partial(_play_mix, ops, ops.warm), plan.shared_ops)
    return group


def _play_mix(ops: OpList, start: int, runner: AnyRunner | ThreadsRunner, count: int) -> int:
    part = slice(start, start + count)
    # As lists, since an array makes each number anew when it is read.
    return runner.mix(ops.id[part].tolist(), ops.size[part].tolist())


def _on_this_build(peers: Sequence[Peer]) -> Sequence[Peer]:
    if COMPILED:
        return peers
    kept = (peer for peer in peers if not peer.pure)
    return [replace(p, slowness=PURE_SLOWNESS) if p.ours else p for p in kept]


# ---------------------------------------------------------------------- who wakes whom


def _handover_groups(plan: Plan, clock: _Clock) -> Iterator[Group]:
    sizes = f"{BLOCK_BYTES} B"
    group = Group("handover", 1, sizes, LOCKS, "wall", threads=2)
    with ExitStack() as stack:
        contest: Contest[Rally] = Contest(group, stack)
        for name, make in RALLIES.items():
            contest.enter(name, partial(Rally, make))
        for _ in clock.rounds():
            contest.turn(Rally.play, plan.handovers)
    yield group
    group = Group("handover_async", 1, sizes, TASK_QUEUE, "wall")
    with ExitStack() as stack:
        tasks: Contest[TaskRally] = Contest(group, stack)
        for name, make_tasks in TASK_RALLIES.items():
            tasks.enter(name, partial(TaskRally, make_tasks))
        for _ in clock.rounds():
            tasks.turn(TaskRally.play, plan.handovers)
    yield group


# ---------------------------------------------------------------------- in bulk


def _bulk_groups(plan: Plan, clock: _Clock) -> list[Group]:
    groups, players = [], []
    for load in plan.bulks:
        ops = make_ops(load, plan.bulk_ops, plan.settling)
        group = Group("bulk", load.live_blocks, load.sizes, LibcPlayer.name)
        groups.append(group)
        players += [
            (group.add(player.name), player) for player in (HeapPlayer(ops), LibcPlayer(ops))
        ]
        group.series[LibcPlayer.name].note = " ".join(platform.libc_ver())
    for _ in range(plan.rounds):
        for series, player in players:
            series.ns.append(player.play() / plan.bulk_ops)
        for _ in plan.bulks:
            clock.tick()
    return groups


# ---------------------------------------------------------------------- targets, and where


def _targets(pair: Group, block: Group, bulks: dict[Load, Group]) -> list[Target]:
    """What is reached of what kheap means to reach."""
    return [*_pair_targets(pair), *_block_targets(block), *_bulk_targets(bulks)]


def _pair_targets(pair: Group) -> Iterator[Target]:
    rows = pair.series
    ours, mp_heap = rows[KHEAP.name], rows["multiprocessing.heap.Heap"]
    yield Target("pair_to_floor", ours.over(rows[FLOOR.name]), "<=", 1.6)
    yield Target("pair_to_bytearray", ours.over(rows[BYTEARRAY.name]), "<", 1.0)
    yield Target("multiprocessing_heap_to_pair", mp_heap.over(ours), ">=", 50.0)


def _block_targets(block: Group) -> Iterator[Target]:
    rows = block.series
    ours, dropped = rows[BLOCK.name], rows[DROPPED_BLOCK.name]
    floor, numpy = rows[FLOOR.name], rows[NUMPY.name]
    yield Target("block_to_floor", ours.over(floor), "<=", 2.5)
    yield Target("dropped_block_to_floor", dropped.over(floor), "<=", 2.5)
    yield Target("block_to_numpy", ours.over(numpy), "<", 1.0)
    yield Target("dropped_block_to_numpy", dropped.over(numpy), "<", 1.0)


def _bulk_targets(bulks: dict[Load, Group]) -> Iterator[Target]:
    """All but the last speak of 1,000 live blocks."""

    def of_bulk(live_blocks: int, most_bytes: int, name: str) -> Series:
        group = bulks.get(Load(live_blocks, most_bytes))
        return group.series[name] if group else Series(name)

    ours = of_bulk(1_000, 64 * KIB, HeapPlayer.name)
    libc = of_bulk(1_000, 64 * KIB, LibcPlayer.name)
    few = of_bulk(1_000, KIB, HeapPlayer.name)
    many = of_bulk(1_000_000, KIB, HeapPlayer.name)
    yield Target("bulk_1000_ops_per_second", ours.per_second(), ">=", 12e6)
    yield Target("bulk_1000_to_glibc", ours.over(libc), "<=", 1.0)
    yield Target("bulk_cost_1m_to_1000", many.over(few), "<=", 4.0)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection in between, as ``timeit`` does."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _version() -> str:
    try:
        return metadata.version("kheap")
    except metadata.PackageNotFoundError:
        return "not installed"


def _machine() -> str:
    """The processor, how many, and the system."""
    words = [platform.processor() or platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        words = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        pass
    model = words[0] if words else platform.machine()
    return f"{model}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"
