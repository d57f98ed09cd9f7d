"""The benchmark: kheap beside its peers and beside the floor, in one run.

It owns what is timed, the rounds in which all rows of a group take turns, and the targets
that kheap sets itself.  Times are CPU times of the process that does the work.
Not here: the peers (``peers.py``), the operations (``bench_ops.py``), medians and ratios
(``bench_rows.py``), printing (``kheap.report.bench_table``).
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from kheap._core._native import COMPILED
from kheap.study.bench_ops import HeapPlayer, LibcPlayer, Load, make_ops
from kheap.study.bench_rows import Bench, Group, Series, Target
from kheap.study.peers import FLOOR, KHEAP, PAIR_BYTES, PEERS, AnyRunner, Peer, runner_of

__all__ = ["FULL", "QUICK", "Plan", "run_bench"]

KIB = 1 << 10
PAIR_REGION_BYTES = 1 << 20
#: On the pure build our own rows do one operation in so many, and no longer bulk list is played.
PURE_SLOWNESS = 50
PURE_MOST_LIVE = 1_000

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is timed.

    Attributes:
        rounds: How often every row takes its turn.
        pairs: Pairs in a turn.
        mix_ops: Operations of a mix, in all turns together.
        bulk_ops: Timed operations of a bulk list, all of them in each turn.
        settling: Operations before the timed ones, for each live block.
        mixes, bulks: What they are like.
    """

    rounds: int
    pairs: int
    mix_ops: int
    bulk_ops: int
    settling: float = 1.0
    mixes: tuple[Load, ...] = (Load(1_000, 64 * KIB), Load(100_000, KIB))
    bulks: tuple[Load, ...] = (
        Load(1_000, 64 * KIB),
        Load(1_000, KIB),
        Load(100_000, KIB),
        Load(1_000_000, KIB),
    )


FULL = Plan(rounds=15, pairs=100_000, mix_ops=1_000_000, bulk_ops=1_000_000)
QUICK = Plan(rounds=3, pairs=50_000, mix_ops=60_000, bulk_ops=200_000, settling=0.1)


def run_bench(plan: Plan = FULL, progress: Progress | None = None) -> Bench:
    """Time everything.

    Args:
        plan: How much.
        progress: Called with the rounds done and their number, now and then.

    Complexity: about a minute for FULL, some seconds for QUICK.
    """
    if not COMPILED:
        short = tuple(load for load in plan.bulks if load.live_blocks <= PURE_MOST_LIVE)
        plan = replace(plan, bulk_ops=max(1, plan.bulk_ops // PURE_SLOWNESS), bulks=short)
    clock = _Clock(plan, progress)
    with _no_collections():
        # First, while the C library's heap is not yet scattered by what the mixes leave there.
        bulks = dict(zip(plan.bulks, _bulk_groups(plan, clock), strict=True))
        pair = _pair_group(plan, clock)
        mixes = [_mix_group(plan, load, clock) for load in plan.mixes]
    return Bench(
        kheap=_version(),
        compiled=COMPILED,
        python=platform.python_version(),
        machine=_machine(),
        rounds=plan.rounds,
        rows=[row for group in (pair, *mixes, *bulks.values()) for row in group.rows()],
        targets=_targets(pair, bulks),
    )


class _Clock:
    """Counts the rounds of all groups, for the progress bar."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self._rounds, self._progress = plan.rounds, progress
        self._total = plan.rounds * (1 + len(plan.mixes) + len(plan.bulks))
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


class _Contestants:
    """All peers at work side by side; what keeps one from working becomes its row's note."""

    def __init__(self, group: Group, stack: ExitStack) -> None:
        self._group, self._stack = group, stack
        self._at_work: list[tuple[Peer, AnyRunner]] = []

    def begin(self, region_bytes: int, slot_count: int = 0) -> None:
        for peer in _peers():
            series = self._group.add(peer.name)
            if self._group.live_blocks > peer.most_live:
                series.note = "not run: every block is a mapping of its own"
                continue
            try:
                runner = runner_of(peer)
                self._stack.callback(runner.end)
                runner.begin(region_bytes, slot_count)
            except ImportError:
                series.note = "not installed"
            except OSError as error:
                series.note = f"not run: {error}"
            else:
                self._at_work.append((peer, runner))

    def prepare(self, work: Callable[[AnyRunner, int], int], count: int) -> None:
        """Let each do ``count`` operations that are not timed."""
        self._each(lambda peer, runner: work(runner, count))

    def turn(self, work: Callable[[AnyRunner, int], int], count: int) -> None:
        """Let each do ``count`` operations, or its share of them, and note the time."""

        def timed(peer: Peer, runner: AnyRunner) -> None:
            share = max(1, count // peer.slowness)
            series = self._group.series[peer.name]
            series.ns.append(work(runner, share) / share)
            series.note = "" if share == count else f"{share:,} a round"

        self._each(timed)

    def _each(self, work: Callable[[Peer, AnyRunner], object]) -> None:
        for peer, runner in list(self._at_work):
            try:
                work(peer, runner)
            except OSError as error:
                self._at_work.remove((peer, runner))
                series = self._group.series[peer.name]
                series.ns.clear()
                series.note = f"not run: {error}"


def _peers() -> Sequence[Peer]:
    if COMPILED:
        return PEERS
    kept = (peer for peer in PEERS if not peer.pure)
    return [replace(p, slowness=PURE_SLOWNESS) if p is KHEAP else p for p in kept]


def _pair_group(plan: Plan, clock: _Clock) -> Group:
    group = Group("pair", 1, f"{PAIR_BYTES} B", FLOOR.name)
    with ExitStack() as stack:
        contestants = _Contestants(group, stack)
        contestants.begin(PAIR_REGION_BYTES)
        for _ in clock.rounds():
            contestants.turn(lambda runner, count: runner.pair(count), plan.pairs)
    return group


def _mix_group(plan: Plan, load: Load, clock: _Clock) -> Group:
    group = Group("mix", load.live_blocks, load.sizes, KHEAP.name)
    ops = make_ops(load, plan.mix_ops, plan.settling)
    start = 0

    def play(runner: AnyRunner, count: int) -> int:
        part = slice(start, start + count)
        # As lists, since an array makes each number anew when it is read.
        return runner.mix(ops.id[part].tolist(), ops.size[part].tolist())

    each = plan.mix_ops // plan.rounds
    with ExitStack() as stack:
        contestants = _Contestants(group, stack)
        contestants.begin(ops.region_bytes, ops.slot_count)
        contestants.prepare(play, ops.warm)
        for turn in clock.rounds():
            start = ops.warm + turn * each
            contestants.turn(play, each)
    return group


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


def _targets(pair: Group, bulks: dict[Load, Group]) -> list[Target]:
    """What is reached of what kheap means to reach; all but the last speak of 1,000 live."""
    rows = pair.series

    def of_bulk(live_blocks: int, most_bytes: int, name: str) -> Series:
        group = bulks.get(Load(live_blocks, most_bytes))
        return group.series[name] if group else Series(name)

    ours = of_bulk(1_000, 64 * KIB, HeapPlayer.name)
    libc = of_bulk(1_000, 64 * KIB, LibcPlayer.name)
    few = of_bulk(1_000, KIB, HeapPlayer.name)
    many = of_bulk(1_000_000, KIB, HeapPlayer.name)
    mp_heap = rows["multiprocessing.heap.Heap"]
    return [
        Target("pair_to_floor", rows[KHEAP.name].over(rows[FLOOR.name]), "<=", 1.6),
        Target("pair_to_bytearray", rows[KHEAP.name].over(rows["bytearray(n), del"]), "<", 1.0),
        Target("multiprocessing_heap_to_pair", mp_heap.over(rows[KHEAP.name]), ">=", 50.0),
        Target("bulk_1000_ops_per_second", ours.per_second(), ">=", 12e6),
        Target("bulk_1000_to_glibc", ours.over(libc), "<=", 1.0),
        Target("bulk_cost_1m_to_1000", many.over(few), "<=", 4.0),
    ]


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
