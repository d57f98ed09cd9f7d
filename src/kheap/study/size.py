"""Which heap size serves a trace: every size that does, and from where on all do.

Whether a trace fits is not monotone in the size of the heap: a larger one places blocks
otherwise, and can fail where a smaller one serves.  So each size is answered for: by a replay at
it, by the slack of a replay at a smaller one (``kheap._core.fit``), or by a proof that covers all
sizes of a geometry.

It owns the question and the answer.  Not here: the search (``size_search.py``), trying one size
(``fit_stage.py``), what calls add to requests (``overhead.py``), and printing (``kheap.report``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Literal, get_args

from kheap.heaps.sizing import min_size_for
from kheap.profile import Profile
from kheap.study.fit_stage import STEP, Demand, Peak, Sizes, without_nothing
from kheap.study.overhead import Overhead, heap_requests
from kheap.study.replay import SIMULATED_ADDRESS, Progress
from kheap.study.size_search import Search, Span
from kheap.trace.model import Trace

__all__ = ["EFFORTS", "Effort", "SizeAnswer", "find_size"]

Effort = Literal["quick", "normal", "full"]
EFFORTS: tuple[str, ...] = get_args(Effort)

#: Operations that may be replayed in all.
_BUDGET_OPS: dict[str, float] = {"quick": 5e7, "normal": 2e9, "full": float("inf")}


@dataclass(frozen=True, slots=True)
class SizeAnswer:
    """Which sizes serve a trace, and which to take.

    Attributes:
        trace: The trace.
        heap: Name of the heap that was sized, "" where the trace names none.
        profile, base_address, overhead: What it was sized for.
        peak: How much the trace has live at most.
        header_bytes: Of a chunk, in the heaps that were tried first.
        fixed_bytes: What the smallest heap that could hold the peak has besides its chunks:
            control block and footer.
        smallest_fit_bytes: The smallest size known to serve it; None: none does.
        safe_bytes: Every size from here on serves it; None: no such size was found.
        safe_is_proved: Whether that was proved for all sizes, up to the largest heap there is.
        is_complete: Whether every size is answered for.  If not, smaller sizes may fit, and
            ``safe_bytes`` may be larger than it need be.
        spans: All sizes from the smallest heap that could hold it on.
        replays: How many replays that took.
        tested_sizes: Sizes answered for by a replay at them, or by what it showed of larger ones.
        margin_percent: What ``recommended_bytes`` adds.
        recommended_bytes: ``safe_bytes`` and the margin, rounded up to 8.
        config_bytes: What Kconfig, or ``K_HEAP_DEFINE``, is to say for such a region.
    """

    trace: Trace
    heap: str
    profile: Profile
    base_address: int
    overhead: Overhead
    peak: Peak
    header_bytes: int
    fixed_bytes: int
    smallest_fit_bytes: int | None
    safe_bytes: int | None
    safe_is_proved: bool
    is_complete: bool
    spans: list[Span]
    replays: int
    tested_sizes: int
    margin_percent: float
    recommended_bytes: int | None
    config_bytes: int | None

    @property
    def peak_request_bytes(self) -> int:
        """Most bytes that were asked for at once."""
        return self.peak.most_request_bytes

    @property
    def peak_chunk_bytes(self) -> int:
        """Most bytes that live chunks took at once, headers and rounding counted in."""
        return STEP * self.peak.units

    @property
    def failing_above_smallest(self) -> list[tuple[int, int]]:
        """Sizes above the smallest one that fail nevertheless, from and to, in steps of 8."""
        least = self.smallest_fit_bytes
        return [
            (span.first, span.last)
            for span in self.spans
            if least is not None and span.first > least and span.served is False
        ]

    @property
    def untested(self) -> list[tuple[int, int]]:
        """Sizes that are not answered for, from and to."""
        return [(span.first, span.last) for span in self.spans if span.served is None]

    def arithmetic(self) -> list[tuple[str, int]]:
        """What the recommended size is made of, in bytes, part by part; [] where none fits."""
        if self.smallest_fit_bytes is None or self.safe_bytes is None:
            return []
        peak, header, trail = self.peak, self.header_bytes, 8 * self.profile.layout().trailer_units
        words = peak.heap_request_bytes - peak.request_bytes
        used = peak.heap_request_bytes + peak.blocks * (header + trail)
        recommended = self.recommended_bytes or 0
        return [
            ("requested", peak.request_bytes),
            ("hidden words", words),
            ("chunk headers", peak.blocks * header),
            ("canaries", peak.blocks * trail),
            ("rounding to 8", STEP * peak.units - used),
            ("control block and footer", self.fixed_bytes),
            ("fragmentation", self.smallest_fit_bytes - STEP * peak.units - self.fixed_bytes),
            ("up to where all sizes fit", self.safe_bytes - self.smallest_fit_bytes),
            (f"margin of {self.margin_percent:g} %", recommended - self.safe_bytes),
        ]


def find_size(
    trace: Trace,
    *,
    profile: Profile | None = None,
    overhead: Overhead = "k_heap",
    base_address: int = SIMULATED_ADDRESS,
    heap: str | None = None,
    margin_percent: float = 10.0,
    malloc_align: int | None = None,
    effort: Effort = "normal",
    progress: Progress | None = None,
) -> SizeAnswer:
    """Find the heap sizes that serve a trace.

    Requests for 0 bytes, which no heap serves, are left out.  A trace in which the heap is
    initialised several times fits where each of its lifetimes does.

    Args:
        trace: From :func:`kheap.read_trace`.
        profile: Which Zephyr. None: what the trace says, else ``Profile()``.
        overhead: What the calls above the heap add: "k_heap" nothing, "k_malloc" its word,
            "malloc" (Zephyr's common libc) an alignment.
        base_address: The address of the region's first byte.
        heap: Which heap, where the trace has several.
        margin_percent: What the recommendation adds to the safe size.
        malloc_align: What "malloc" aligns to; None: 8 on 32 bits, 16 on 64.
        effort: How many operations may be replayed: "quick" (50 million), "normal" (2,000
            million) or "full" (no limit).
        progress: Called with the sizes answered for and their number, now and then.

    Raises:
        ValueError: No such heap, overhead or effort; several heaps and none is named.

    Ctrl-C ends the search, and what was found is the answer; ``is_complete`` tells.

    Complexity: O(operations) for each replay.
    """
    if effort not in EFFORTS:
        raise ValueError(f"effort must be one of {', '.join(EFFORTS)}, not {effort!r}")
    chosen = profile or trace.profile or Profile()
    index = _heap_index(trace, heap)
    demand = _demand(trace, chosen, overhead, malloc_align, base_address, index)
    sizes = Sizes(demand.layout, base_address, demand.is_wide)
    header = sizes.geometry(sizes.first).header_bytes
    peak = demand.peak(header)
    least = sizes.least_with(peak.units)
    if sizes.geometry(least).header_bytes != header:
        # So much needs the wider headers, and they need more.
        header = sizes.geometry(least).header_bytes
        peak = demand.peak(header)
        least = max(least, sizes.least_with(peak.units))
    search = Search(demand, sizes, least, _BUDGET_OPS[effort], progress)
    if peak.units <= sizes.units(least):
        search.run()
        spans = search.spans()
    else:
        spans = [Span(least, sizes.last, served=False)]
    safe = _safe_from(spans)
    recommended = None if safe is None else STEP * ceil(safe * (100 + margin_percent) / 100 / STEP)
    return SizeAnswer(
        trace=trace,
        heap=trace.heaps[index].name if index < len(trace.heaps) else "",
        profile=chosen,
        base_address=base_address,
        overhead=overhead,
        peak=peak,
        header_bytes=header,
        fixed_bytes=least - STEP * peak.units,
        smallest_fit_bytes=next((span.first for span in spans if span.served), None),
        safe_bytes=safe,
        safe_is_proved=safe is not None,
        is_complete=all(span.served is not None for span in spans),
        spans=spans,
        replays=search.replays,
        tested_sizes=search.answered,
        margin_percent=margin_percent,
        recommended_bytes=recommended,
        config_bytes=None if recommended is None else config_bytes(recommended, chosen, overhead),
    )


def config_bytes(region_bytes: int, profile: Profile, overhead: Overhead) -> int:
    """The option's value that gives a region at least as good as one of ``region_bytes``.

    For "k_malloc" that is CONFIG_HEAP_MEM_POOL_SIZE, which Zephyr makes a region from that is
    larger, from 4.4 on; else what ``K_HEAP_DEFINE`` or the C library's arena is to have.
    """
    if overhead != "k_malloc" or profile.version < (4, 4):
        return region_bytes
    # min_size_for() adds what the heap itself needs; so the value is a little less.
    low, high = 1, region_bytes
    while low < high:
        middle = (low + high) // 2
        if min_size_for(middle, profile) >= region_bytes - STEP // 2:
            high = middle
        else:
            low = middle + 1
    return high


def _safe_from(spans: list[Span]) -> int | None:
    """The first size from which on all serve; None where the largest does not."""
    safe = None
    for span in reversed(spans):
        if not span.served:
            break
        safe = span.first
    return safe


def _heap_index(trace: Trace, heap: str | None) -> int:
    names = [entry.name for entry in trace.heaps]
    if heap is None:
        if len(names) > 1:
            raise ValueError(f"the trace has several heaps: name one of {', '.join(names)}")
        return 0
    if heap not in names:
        raise ValueError(f"no heap {heap!r} in the trace: it has {', '.join(names) or 'no names'}")
    return names.index(heap)


def _demand(
    trace: Trace,
    profile: Profile,
    overhead: Overhead,
    malloc_align: int | None,
    base_address: int,
    index: int,
) -> Demand:
    sizes, aligns = heap_requests(trace, profile, overhead, malloc_align)
    starts = [init.op_index for init in trace.inits if init.heap == index][1:]
    edges = [0, *starts, len(trace)]
    columns = (trace.op, trace.id, sizes, aligns, trace.heap)
    only = index if len(trace.heaps) > 1 else -1
    spans = tuple(pairwise(edges))
    return Demand(trace, without_nothing(columns), only, spans, profile.layout(), base_address)
