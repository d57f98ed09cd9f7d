"""Why requests failed: when, who held the memory at that moment, and what would have served them.

It owns the account of each failed request of a replay.  Not here: the replay and its verdicts
(``replay.py``), the trials of other heaps (``explain_trials.py``), and printing
(``kheap.report.explain_text``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from kheap.heaps.stats import Verdict
from kheap.profile import Profile
from kheap.study.explain_trials import (
    LargerHeap,
    SecondHeap,
    Trials,
    borders,
    own_part,
    part_of_trace,
    smallest_fit,
)
from kheap.study.fit_stage import Demand
from kheap.study.overhead import Overhead, heap_requests
from kheap.study.replay import (
    SIMULATED_ADDRESS,
    Failure,
    HeapReplay,
    Progress,
    Replay,
    replay,
)
from kheap.trace.model import REALLOC, Trace

__all__ = ["Explanation", "Holding", "explain", "explain_replay", "seen_by_heap"]

#: Groups that are told one by one; the rest is one more.
TOP_GROUPS = 8

#: Sizes at which blocks are told apart, to try a second heap.
BORDERS_TRIED = 6


@dataclass(frozen=True, slots=True)
class Holding:
    """Live blocks that have something in common.

    Attributes:
        key: The requested size, the call site or the thread; None for all others.
        blocks: How many.
        request_bytes: What the program asked for them.
        chunk_bytes: What their chunks take, headers included.
    """

    key: int | str | None
    blocks: int
    request_bytes: int
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A request that got no memory, and why.

    Attributes:
        op_index: Its index in the trace.
        op: "alloc" or "realloc".
        id: The block's id.
        heap: The heap's name.
        size_bytes: Bytes of the heap's region.
        time_s: When, in the trace's seconds; None where it records no times.
        thread, caller: Who asked; None where unknown.
        request_bytes, align: What the program asked for.
        kept_bytes: What a block that could not be resized was asked for before; None for none.
        verdict: Why it failed; its numbers are those of the heap beneath, so what the calls
            above add counts in its ``request_bytes``.
        wanted_free_bytes: What its ``largest_free_bytes`` would have had to be, counted alike;
            0 where no search was made.
        held: All live blocks.
        by_size, by_caller, by_thread: The same in groups, the one with most chunk bytes first;
            the last two are empty where the trace does not tell.
        larger: A larger heap that serves it; None: none was found.
        alloc_loops: The smallest of the larger ALLOC_LOOPS tried that serves it; None: none.
        second_heap: For a fragmented heap: two heaps that serve the whole trace in fewer bytes
            than ``larger`` has; None: none was found.
    """

    op_index: int
    op: str
    id: int
    heap: str
    size_bytes: int
    time_s: float | None
    thread: str | None
    caller: str | None
    request_bytes: int
    align: int
    kept_bytes: int | None
    verdict: Verdict
    wanted_free_bytes: int
    held: Holding
    by_size: tuple[Holding, ...]
    by_caller: tuple[Holding, ...]
    by_thread: tuple[Holding, ...]
    larger: LargerHeap | None
    alloc_loops: int | None
    second_heap: SecondHeap | None


def explain(
    trace: Trace,
    size: int | None = None,
    *,
    profile: Profile | None = None,
    heap: str | None = None,
    overhead: Overhead = "k_heap",
    base_address: int = SIMULATED_ADDRESS,
    limit: int = 10,
) -> list[Explanation]:
    """Replay a trace, and explain the requests that get no memory.

    Args:
        trace: From :func:`kheap.read_trace`.
        size: Bytes of the region. None: every heap as the trace recorded it.
        profile: Which Zephyr. None: what the trace says, else ``Profile()``.
        heap: With ``size``, the heap to replay, where the trace has several.
        overhead: What the calls above the heap add: "k_heap" nothing, "k_malloc" its word,
            "malloc" (Zephyr's common libc) an alignment.
        base_address: With ``size``, the address of the region's first byte.
        limit: How many are explained at most, the first ones.

    Returns:
        The explanations in the order of the trace; an empty list: every request was served.

    Raises:
        ValueError: As for :func:`kheap.replay`; no such overhead; ``limit`` is below 1.

    Complexity: O(operations) for the replay and for each trial.
    """
    if limit < 1:
        raise ValueError(f"limit {limit}: it is 1 or more")
    seen = seen_by_heap(trace, profile, overhead)
    done = replay(seen, size, profile=profile, heap=heap, base_address=base_address)
    return explain_replay(done, trace, overhead=overhead, limit=limit)


def seen_by_heap(trace: Trace, profile: Profile | None, overhead: Overhead) -> Trace:
    """The trace as it reaches the heap beneath the calls that were recorded."""
    chosen = profile or trace.profile or Profile()
    sizes, aligns = heap_requests(trace, chosen, overhead)
    return replace(trace, size=sizes, align=aligns)


def explain_replay(
    done: Replay,
    trace: Trace,
    *,
    overhead: Overhead,
    limit: int,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Explain the failures of a replay of ``seen_by_heap(trace)``, the first ``limit`` of them."""
    chosen = {failure.op_index for failure in done.failures[:limit]}
    found: list[Explanation] = []
    for part in done.heaps:
        failures = [failure for failure in part.failures if failure.op_index in chosen]
        if failures:
            found += _explain_part(done, trace, part, failures, overhead, progress)
    return sorted(found, key=lambda explanation: explanation.op_index)


def _explain_part(
    done: Replay,
    trace: Trace,
    part: HeapReplay,
    failures: Sequence[Failure],
    overhead: Overhead,
    progress: Progress | None,
) -> Iterator[Explanation]:
    larger, loops = _trials(done, part, failures, progress)
    seconds = _second_heaps(done, trace, part, failures, larger, overhead)
    timed = any(trace.time)
    moments = _moments(done, trace, part, [f.op_index for f in failures])
    for failure, blocks in zip(failures, moments, strict=True):
        i = failure.op_index
        kept = blocks.get(failure.id)
        yield Explanation(
            op_index=i,
            op=failure.op,
            id=failure.id,
            heap=part.name,
            size_bytes=part.size_bytes,
            time_s=trace.time[i] if timed else None,
            thread=_name(trace.threads, trace.thread[i]),
            caller=_name(trace.callers, trace.caller[i]),
            request_bytes=trace.size[i],
            align=trace.align[i],
            kept_bytes=None if kept is None else kept.request_bytes,
            verdict=failure.verdict,
            wanted_free_bytes=max(failure.verdict.needed_bytes - part.heap.uncounted, 0),
            held=_sum(None, blocks.values()),
            by_size=_groups(blocks, "request_bytes"),
            by_caller=_groups(blocks, "caller"),
            by_thread=_groups(blocks, "thread"),
            larger=larger.get(i),
            alloc_loops=loops.get(i),
            second_heap=seconds.get(i),
        )


def _trials(
    done: Replay, part: HeapReplay, failures: Sequence[Failure], progress: Progress | None
) -> tuple[dict[int, LargerHeap], dict[int, int]]:
    """For each failure a larger heap, and larger ALLOC_LOOPS, where they serve it."""
    # No heap serves a request for 0 bytes: it needs no trial.
    watched = [failure.op_index for failure in failures if failure.verdict.request_bytes]
    if not watched:
        return {}, {}
    only = part.index if len(done.trace.heaps) > 1 else -1
    demand = _demand(done.trace, done.profile, part, only)
    trials = Trials(demand, done.profile, part.size_bytes, watched, progress)
    return trials.larger_heaps(), trials.alloc_loops()


def _demand(trace: Trace, profile: Profile, part: HeapReplay, only: int) -> Demand:
    columns = (trace.op, trace.id, trace.size, trace.align, trace.heap)
    span = (part.start, part.stop)
    return Demand(trace, columns, only, (span,), profile.layout(), part.base_address)


def _name(names: Sequence[str], index: int) -> str | None:
    return names[index] if index >= 0 else None


# ---------------------------------------------------------------------- who held the memory


class _Block(NamedTuple):
    """A live block: what was asked, what its chunk takes, and who asked last."""

    request_bytes: int
    chunk_bytes: int
    caller: str | None
    thread: str | None


def _moments(
    done: Replay, trace: Trace, part: HeapReplay, wanted: Sequence[int]
) -> Iterator[dict[int, _Block]]:
    """The live blocks by id, before each of the ``wanted`` operations."""
    live: dict[int, _Block] = {}
    seen, heap, trail = done.trace, part.heap, done.profile.layout().trailer_units
    several = len(trace.heaps) > 1
    at = part.start
    for stop in wanted:
        for i in range(at, stop):
            if several and trace.heap[i] != part.index:
                continue
            id, offset = seen.id[i], done.offsets[i]
            if offset >= 0:
                # What alignment left in front of the block belongs to its chunk.
                gap = (offset - heap.start - heap.hdr) & 7
                units = (seen.size[i] + gap + heap.hdr + 7) // 8 + trail
                live[id] = _Block(
                    trace.size[i],
                    8 * units,
                    _name(trace.callers, trace.caller[i]),
                    _name(trace.threads, trace.thread[i]),
                )
            elif _lets_go(seen, i):
                live.pop(id, None)
        at = stop
        yield live


def _lets_go(trace: Trace, i: int) -> bool:
    """Whether an operation that gave no block leaves its id without one."""
    # A resize that failed keeps the old block; a resize to nothing frees it.
    return trace.op[i] != REALLOC or not trace.size[i]


def _groups(blocks: dict[int, _Block], field: str) -> tuple[Holding, ...]:
    by_key: dict[int | str | None, list[_Block]] = {}
    for block in blocks.values():
        by_key.setdefault(getattr(block, field), []).append(block)
    if not by_key.keys() - {None}:
        return ()
    groups = sorted(
        (_sum("unknown" if key is None else key, group) for key, group in by_key.items()),
        key=lambda group: (-group.chunk_bytes, str(group.key)),
    )
    top, rest = groups[:TOP_GROUPS], groups[TOP_GROUPS:]
    return (*top, _sum_of_groups(rest)) if rest else tuple(top)


def _sum(key: int | str | None, blocks: Iterable[_Block]) -> Holding:
    group = list(blocks)
    return Holding(
        key, len(group), sum(b.request_bytes for b in group), sum(b.chunk_bytes for b in group)
    )


def _sum_of_groups(groups: Sequence[Holding]) -> Holding:
    return Holding(
        None,
        sum(group.blocks for group in groups),
        sum(group.request_bytes for group in groups),
        sum(group.chunk_bytes for group in groups),
    )


# ---------------------------------------------------------------------- a second heap


def _second_heaps(
    done: Replay,
    trace: Trace,
    part: HeapReplay,
    failures: Sequence[Failure],
    larger: dict[int, LargerHeap],
    overhead: Overhead,
) -> dict[int, SecondHeap]:
    """For requests that a fragmented heap failed: two heaps that need less than one."""
    fragmented = [f for f in failures if f.verdict == "fragmented" and f.op_index in larger]
    if not fragmented:
        return {}
    own = own_part(trace, part.start, part.stop, part.index)
    pairs = []
    most = max(larger[f.op_index].size_bytes for f in fragmented)
    for border in borders(own, BORDERS_TRIED):
        pair = _split(own, border, done.profile, overhead, part.base_address, most)
        if pair is not None:
            pairs.append(pair)
            # Only what needs still less is of interest.
            most = pair.total_bytes - 1
    found = {}
    for failure in fragmented if pairs else ():
        if pairs[-1].total_bytes < larger[failure.op_index].size_bytes:
            found[failure.op_index] = pairs[-1]
    return found


def _split(
    trace: Trace, border: int, profile: Profile, overhead: Overhead, base: int, most: int
) -> SecondHeap | None:
    """The heaps for the requests from ``border`` bytes on, and for the rest."""
    fits: list[int] = []
    for large in (True, False):
        half = part_of_trace(trace, border if large else 1, None if large else border)
        seen = seen_by_heap(half, profile, overhead)
        columns = (seen.op, seen.id, seen.size, seen.align, seen.heap)
        demand = Demand(seen, columns, -1, ((0, len(seen)),), profile.layout(), base)
        size = smallest_fit(demand, most - sum(fits))
        if size is None:
            return None
        fits.append(size)
    return SecondHeap(border, *fits)
