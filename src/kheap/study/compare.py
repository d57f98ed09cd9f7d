"""Choices side by side: what a trace needs of each release, option, old pool, and of two heaps.

It owns trying the choices one by one, and the numbers that can be compared.  Not here: which
choices there are (``compare_choices.py``), the pools (``compare_pools.py``), finding sizes
(``size.py``), and printing (``kheap.report.compare_text``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from math import sqrt

from kheap._core.chunk import Layout
from kheap.heaps.stats import Fragmentation, HeapStats
from kheap.profile import Profile
from kheap.study.compare_choices import Choice, choices
from kheap.study.compare_interrupts import noting_interrupts
from kheap.study.compare_pools import DESCRIPTOR_BYTES, play_pool, pool_at_most, smallest_pool
from kheap.study.explain import seen_by_heap
from kheap.study.explain_trials import own_part, part_of_trace
from kheap.study.overhead import Overhead
from kheap.study.replay import SIMULATED_ADDRESS, Progress, replay
from kheap.study.size import Effort, SizeAnswer, find_size
from kheap.trace.model import Trace

__all__ = ["Comparison", "compare", "comparisons", "most_saving"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one choice needs and does.

    Attributes:
        group: "now", "release", "header", "runtime_stats", "alloc_loops",
            "hardening", "pool" or "split".
        choice: What is chosen, within the group.
        profile: Which Zephyr; None for a pool.
        smallest_fit_bytes: The smallest size known to serve the trace; None: none was found.
        safe_bytes: Every size from here on serves it; None: not known, as for all pools.
        is_complete: Whether every size is answered for; if not, smaller ones may do.
        smallest_more_bytes, safe_more_bytes: How many that is more than now.
        peak_request_bytes: Most bytes that were asked for at once.
        overhead_bytes: What a heap has besides what was asked for, when live chunks take the
            most: headers, rounding, hidden words, canaries, control block. Of pools: what the
            blocks are larger than the requests, at their peak. None where no size was found.
        measured_bytes: The size that the rest tells of: the size that was given, or else
            ``safe_bytes``, or ``smallest_fit_bytes``. Of pools: the largest that is no larger.
        peak_allocated_bytes: Most bytes allocated at once, as the release counts them.
        failed: Requests that got no memory; None where no size was given.
        fragmentation: Of the heap at the end.
        part_bytes: Of two heaps: their ``smallest_fit_bytes``, that of small requests first.
        note: What else has to change with it.
    """

    group: str
    choice: str
    profile: Profile | None
    smallest_fit_bytes: int | None
    safe_bytes: int | None
    is_complete: bool
    smallest_more_bytes: int | None
    safe_more_bytes: int | None
    peak_request_bytes: int
    overhead_bytes: int | None
    measured_bytes: int | None
    peak_allocated_bytes: int | None
    failed: int | None
    fragmentation: Fragmentation | None
    part_bytes: tuple[int, ...]
    note: str

    @property
    def size_to_peak(self) -> float | None:
        """``smallest_fit_bytes`` divided by ``peak_request_bytes``."""
        if self.smallest_fit_bytes is None or not self.peak_request_bytes:
            return None
        return self.smallest_fit_bytes / self.peak_request_bytes

    @property
    def saved_bytes(self) -> int:
        """How many bytes less than now it needs: of safe sizes, or of the smallest ones."""
        more = self.safe_more_bytes
        if more is None:
            more = self.smallest_more_bytes
        return 0 if more is None else -more


def compare(
    trace: Trace,
    size: int | None = None,
    *,
    profile: Profile | None = None,
    heap: str | None = None,
    overhead: Overhead = "k_heap",
    base_address: int = SIMULATED_ADDRESS,
    effort: Effort = "quick",
) -> list[Comparison]:
    """Compare what a trace needs of releases, Kconfig options, the old pools, and two heaps.

    Args:
        trace: From :func:`kheap.read_trace`.
        size: Bytes of the region in which failures are counted. None: what the trace recorded
            for the heap, if it did.
        profile: Which Zephyr there is now. None: what the trace says, else ``Profile()``.
        heap: Which heap, where the trace has several.
        overhead: What the calls above the heap add; a pool adds its descriptor for "k_malloc".
        base_address: The address of the region's first byte.
        effort: How many operations may be replayed for each choice, as for
            :func:`kheap.find_size`.

    Returns:
        A record for each choice; the first is the profile as it is now.

    Raises:
        ValueError: As for :func:`kheap.find_size`, and for a size that no heap fits in.
        KeyboardInterrupt: Ctrl-C.

    Complexity: O(operations) for each replay.
    """
    options = Options(profile or trace.profile or Profile(), heap, overhead, base_address, effort)
    return list(comparisons(trace, size, options))


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for all choices; see :func:`compare`."""

    profile: Profile
    heap: str | None
    overhead: Overhead
    base_address: int
    effort: Effort


def comparisons(
    trace: Trace, size: int | None, options: Options, progress: Progress | None = None
) -> Iterator[Comparison]:
    """As :func:`compare`, one by one; Ctrl-C raises KeyboardInterrupt after the last whole one."""
    bench = _Bench(trace, size, options)
    wanted = choices(options.profile, bench.own)
    now: Comparison | None = None
    for i, choice in enumerate(wanted):
        if progress is not None:
            progress(i, len(wanted))
            # However far the search is, so many choices are done: that keeps the bar alive.
            bench.progress = partial(_report, progress, i, len(wanted))
        tried = bench.tried(choice)
        now = now or tried
        yield replace(
            tried,
            smallest_more_bytes=_more(tried.smallest_fit_bytes, now.smallest_fit_bytes),
            safe_more_bytes=_more(tried.safe_bytes, now.safe_bytes),
        )


def most_saving(rows: Sequence[Comparison]) -> Comparison | None:
    """The choice that saves most bytes; None where none saves any."""
    # Among equals an option is easier to change than the release.
    best = max(rows, key=lambda row: (row.saved_bytes, row.group != "release"), default=None)
    return best if best is not None and best.saved_bytes > 0 else None


def _report(progress: Progress, done: int, of: int, _tried: int, _sizes: int) -> None:
    progress(done, of)


def _more(size: int | None, now: int | None) -> int | None:
    return None if size is None or now is None else size - now


class _Bench:
    """Tries choices, and remembers sizes: many choices make the same heap.

    Attributes:
        own: The operations of the heap in question.
        progress: Called while sizes are sought.
    """

    def __init__(self, trace: Trace, size: int | None, options: Options) -> None:
        self._options = options
        self._index = _heap_index(trace, options.heap)
        self._trace = trace
        recorded = {init.size_bytes for init in trace.inits if init.heap == self._index}
        self._size = size if size is not None or len(recorded) != 1 else recorded.pop()
        self.own = own_part(trace, 0, len(trace), self._index)
        self.own.inits = [
            replace(init, heap=0, op_index=self._own_index(init.op_index))
            for init in trace.inits
            if init.heap == self._index
        ]
        self.progress: Callable[[int, int], object] | None = None
        self._answers: dict[tuple[Layout, int | None, int], SizeAnswer] = {}

    def _own_index(self, op_index: int) -> int:
        if len(self._trace.heaps) < 2:
            return op_index
        return self._trace.heap[:op_index].count(self._index)

    def tried(self, choice: Choice) -> Comparison:
        """The record of a choice, without what compares it with now."""
        if choice.pool is not None:
            return self._pool(choice)
        assert choice.profile is not None  # only pools have none
        if choice.split_bytes is None:
            return self._heaps(choice, choice.profile, [self.own])
        small = part_of_trace(self.own, 1, choice.split_bytes + 1)
        large = part_of_trace(self.own, choice.split_bytes + 1)
        return self._heaps(choice, choice.profile, [small, large])

    # ------------------------------------------------------------------ heaps

    def _heaps(self, choice: Choice, profile: Profile, parts: Sequence[Trace]) -> Comparison:
        answers = [self._answer(choice, i, part, profile) for i, part in enumerate(parts)]
        smallest = _sum([answer.smallest_fit_bytes for answer in answers])
        safe = _sum([answer.safe_bytes for answer in answers])
        if len(parts) == 1:
            sizes = [self._size or safe or smallest]
        else:
            sizes = [answer.safe_bytes or answer.smallest_fit_bytes for answer in answers]
        seen = [seen_by_heap(part, profile, self._options.overhead) for part in parts]
        measures = [
            self._measure(part, size, profile, choice.group)
            for part, size in zip(seen, sizes, strict=True)
        ]
        known = [measure for measure in measures if measure is not None]
        whole = len(known) == len(parts)
        return Comparison(
            group=choice.group,
            choice=choice.name,
            profile=profile,
            smallest_fit_bytes=smallest,
            safe_bytes=safe,
            is_complete=all(answer.is_complete for answer in answers),
            smallest_more_bytes=None,
            safe_more_bytes=None,
            peak_request_bytes=self._peak_request_bytes(answers),
            overhead_bytes=_sum([_overhead_bytes(answer) for answer in answers]),
            measured_bytes=_sum(sizes) if whole else None,
            peak_allocated_bytes=sum(m.peak_allocated_bytes for m in known) if whole else None,
            failed=self._failed(known, smallest) if whole else None,
            fragmentation=_together([m.final for m in known]) if whole else None,
            part_bytes=tuple(a.smallest_fit_bytes or 0 for a in answers if len(answers) > 1),
            note=choice.note,
        )

    def _answer(self, choice: Choice, half: int, part: Trace, profile: Profile) -> SizeAnswer:
        """The sizes for a trace, sought once for all profiles that make the same heap."""
        layout = profile.layout()._replace(checks=0, counts_header=False, event_gap=False)
        key = (layout, choice.split_bytes, half)
        if key not in self._answers:
            with noting_interrupts() as was_interrupted:
                answer = find_size(
                    part,
                    profile=profile,
                    overhead=self._options.overhead,
                    base_address=self._options.base_address,
                    effort=self._options.effort,
                    progress=self.progress,
                )
            if was_interrupted():
                # The search takes Ctrl-C as "answer now"; here it means the whole table.
                raise KeyboardInterrupt
            self._answers[key] = answer
        return self._answers[key]

    def _peak_request_bytes(self, answers: Sequence[SizeAnswer]) -> int:
        """That of the whole trace: the halves of a split have theirs at different times."""
        if len(answers) == 1:
            return answers[0].peak_request_bytes
        return next(iter(self._answers.values())).peak_request_bytes

    def _measure(
        self, seen: Trace, size: int | None, profile: Profile, group: str
    ) -> _Measure | None:
        if size is None:
            return None
        try:
            done = replay(seen, size, profile=profile, base_address=self._options.base_address)
        except ValueError:
            # Not every choice has a heap of this size, but what is there now must have one.
            if group == "now":
                raise
            return None
        zeros = sum(failure.verdict.request_bytes == 0 for failure in done.failures)
        peak = max(part.peak_allocated_bytes for part in done.heaps)
        return _Measure(peak, done.failed - zeros, done.heaps[-1].final)

    def _failed(self, known: Sequence[_Measure], smallest: int | None) -> int | None:
        if self._size is None:
            return None
        if len(known) == 1:
            return known[0].failed
        # Two heaps can be cut out of the given size in many ways; one that serves is enough.
        return 0 if smallest is not None and smallest <= self._size else None

    # ------------------------------------------------------------------ pools

    def _pool(self, choice: Choice) -> Comparison:
        assert choice.pool is not None  # the caller has looked
        model, policy = choice.pool
        overhead = self._options.overhead
        added = DESCRIPTOR_BYTES[model] if overhead == "k_malloc" else 0
        own = self.own
        if overhead == "malloc":
            own = seen_by_heap(own, self._options.profile, overhead)
        lives = _lifetimes(own)
        plays = [smallest_pool(life, model, policy, added) for life in lives]
        smallest = max((p.size_bytes for p in plays if p), default=0) if all(plays) else None
        size = pool_at_most(self._size) if self._size is not None else smallest
        measured = [play_pool(life, size, model, policy, added) for life in lives if size]
        most = max(measured, key=lambda play: play.peak_allocated_bytes, default=None)
        return Comparison(
            group=choice.group,
            choice=choice.name,
            profile=None,
            smallest_fit_bytes=smallest,
            safe_bytes=None,
            is_complete=smallest is not None,
            smallest_more_bytes=None,
            safe_more_bytes=None,
            peak_request_bytes=next(iter(self._answers.values())).peak_request_bytes,
            overhead_bytes=most.peak_allocated_bytes - most.peak_request_bytes if most else None,
            measured_bytes=size,
            peak_allocated_bytes=most.peak_allocated_bytes if most else None,
            failed=sum(p.failed for p in measured) if measured and self._size else None,
            fragmentation=measured[-1].final.fragmentation if measured else None,
            part_bytes=(),
            note=choice.note,
        )


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a replay at one size shows; requests for 0 bytes, which no heap serves, left out."""

    peak_allocated_bytes: int
    failed: int
    final: HeapStats


def _overhead_bytes(answer: SizeAnswer) -> int | None:
    if answer.smallest_fit_bytes is None:
        return None
    return 8 * answer.peak.units + answer.fixed_bytes - answer.peak.request_bytes


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _together(finals: Sequence[HeapStats]) -> Fragmentation:
    """The fragmentation of several heaps as if their free chunks were in one."""
    free = sum(final.free_bytes for final in finals)
    if not free:
        return Fragmentation(0.0, 0.0)
    largest = max(final.largest_free_bytes for final in finals)
    squares = sum(
        ((1 - final.fragmentation.one_minus_root_sum_squares) * final.free_bytes) ** 2
        for final in finals
    )
    return Fragmentation(1 - largest / free, max(0.0, 1 - sqrt(squares) / free))


def _heap_index(trace: Trace, heap: str | None) -> int:
    names = [entry.name for entry in trace.heaps]
    if heap is None:
        if len(names) > 1:
            raise ValueError(f"the trace has several heaps: name one of {', '.join(names)}")
        return 0
    if heap not in names:
        raise ValueError(f"no heap {heap!r} in the trace: it has {', '.join(names) or 'no names'}")
    return names.index(heap)


def _lifetimes(own: Trace) -> list[Trace]:
    """The trace of one heap, cut where the heap is initialised again."""
    edges = [0, *(init.op_index for init in own.inits[1:]), len(own)]
    return [own_part(own, first, last, 0) for first, last in pairwise(edges)]
