"""What a benchmark finds: rows, targets, and the record of a run.

It owns the sums: medians, ratios and whether a target is met.  A machine's speed drifts, so a
ratio is not that of two medians but the median over the rounds of the ratio within a round.
Not here: the timing (``kheap.study.bench``), printing (``kheap.report.bench_table``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

__all__ = ["Bench", "Group", "Row", "Series", "Target"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison.

    Attributes:
        group: "pair", "block", "mix", "threads", "handover", "handover_async" or "bulk".
        name: Of the peer.
        clock: "cpu" or "wall": what time the row is of.
        threads: Threads that work at once.
        live_blocks: Blocks that are live at a time, about, in each thread; 1 in pairs and
            hand-overs.
        sizes: The sizes of the blocks.
        ns_median, ns_min: Nanoseconds for a pair, or for one operation or hand-over of the
            other groups, over the rounds; None where it did not run.  Those of several threads
            are the time of all by the operations of all.
        ops_per_second: Pairs, operations or hand-overs a second, at the median.
        ratio: How many times the time of ``ratio_to``; None for that row itself, and where
            either did not run.
        ratio_to: Name of the row that it is compared with, of the same group, threads,
            live_blocks and sizes.
        note: What else there is to say: how many operations a round if fewer than others, or
            why there are none.
    """

    group: str
    name: str
    clock: str
    threads: int
    live_blocks: int
    sizes: str
    ns_median: float | None
    ns_min: float | None
    ops_per_second: float | None
    ratio: float | None
    ratio_to: str
    note: str


@dataclass(frozen=True, slots=True)
class Target:
    """What kheap means to reach.

    Attributes:
        name: Of the number.
        value: What was measured, None where a row is missing.
        relation: "<=", "<" or ">=".
        limit: What the value is to be in that relation to.
    """

    name: str
    value: float | None
    relation: str
    limit: float

    @property
    def met(self) -> bool | None:
        """Whether it was reached, None where it was not measured."""
        if self.value is None:
            return None
        if self.relation == ">=":
            return self.value >= self.limit
        if self.relation == "<=":
            return self.value <= self.limit
        return self.value < self.limit


@dataclass(frozen=True, slots=True)
class Bench:
    """The record of a run; ``kheap`` is its version."""

    kheap: str
    compiled: bool
    python: str
    machine: str
    rounds: int
    rows: list[Row]
    targets: list[Target]


@dataclass(slots=True)
class Series:
    """The times of one row: nanoseconds for an operation, an entry a round."""

    name: str
    ns: list[float] = field(default_factory=list)
    note: str = ""

    def per_second(self) -> float | None:
        """Operations a second at the median; None where it did not run."""
        return 1e9 / median(self.ns) if self.ns else None

    def over(self, other: Series) -> float | None:
        """How many times the other's time; None where one of the two did not run."""
        if not self.ns or not other.ns:
            return None
        return median(mine / its for mine, its in zip(self.ns, other.ns, strict=True))


@dataclass(slots=True)
class Group:
    """Rows that are compared with each other, by name."""

    name: str
    live_blocks: int
    sizes: str
    ratio_to: str
    clock: str = "cpu"
    threads: int = 1
    series: dict[str, Series] = field(default_factory=dict)

    def add(self, name: str) -> Series:
        """A new row's times."""
        self.series[name] = Series(name)
        return self.series[name]

    def rows(self) -> Iterator[Row]:
        """The rows, in the order in which they were added."""
        reference = self.series[self.ratio_to]
        for series in self.series.values():
            speed = series.per_second()
            ratio = None if series is reference else series.over(reference)
            yield Row(
                self.name,
                series.name,
                self.clock,
                self.threads,
                self.live_blocks,
                self.sizes,
                None if speed is None else round(1e9 / speed, 2),
                round(min(series.ns), 2) if series.ns else None,
                None if speed is None else round(speed),
                None if ratio is None else round(ratio, 3),
                self.ratio_to,
                series.note,
            )
