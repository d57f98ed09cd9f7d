"""Which Zephyr printed a heap: the layouts whose numbers would be those of the printout.

A printout does not name its release, its word size or its options, but its numbers follow from
them.  Each layout that a build can have is asked to explain each number; what it cannot explain
is a complaint, and the layout with the fewest complaints is the best.

What it owns: the layouts and the questions.  What it does not: reading text
(``_printed_reader.py``), where the chunks lie (``_printed_heap.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kheap._core.chunk import Geometry, geometry_of
from kheap.profile import RELEASES, Profile

if TYPE_CHECKING:
    from kheap.dump.console._printed_heap import PrintedChunk, PrintedHeap

__all__ = ["Guess", "PrintedLayout", "best_guess", "layout_facts"]

T = TypeVar("T")

#: The number of a line, and what is wrong with it.
Complaint = tuple[int, str]


@dataclass(frozen=True, slots=True)
class PrintedLayout:
    """What the numbers of a printout tell of the build; None where they leave it open.

    Attributes:
        header: "small" or "big".
        header_bytes: Bytes of a chunk header, 4 or 8.
        largest_leaves_header_out: Whether the last column of the table is without the header
            of the chunk: so until 4.1.
        runtime_stats: Whether the control block has room for statistics.
        bits: Word size, 32 or 64; without statistics it seldom shows.
        canaries: Whether each used chunk ends with a canary.
        releases: Those that count so, oldest first.
    """

    header: str | None
    header_bytes: int | None
    largest_leaves_header_out: bool | None
    runtime_stats: bool | None
    bits: int | None
    canaries: bool | None
    releases: tuple[str, ...]


class Guess(NamedTuple):
    """One way to lay out a heap of some size, and to count in it.

    Attributes:
        releases: Those that do so.
        profile: A profile of one of them.
        geometry: Where things lie.
        trailer_units: Units of canary behind a used chunk.
        uncounted: Bytes of a chunk that the sums leave out.
        largest_less: Bytes of a chunk that the table's last column leaves out.
        complaints: What it cannot explain: lines and reasons.
    """

    releases: tuple[str, ...]
    profile: Profile
    geometry: Geometry
    trailer_units: int
    uncounted: int
    largest_less: int
    complaints: tuple[Complaint, ...] = ()


def _profiles() -> Iterator[Profile]:
    """One profile for each way, the usual ones first."""
    eras = (("4.4", "basic"), ("3.7", "basic"), ("4.3", "basic"), ("4.4", "full"))
    for release, hardening in eras:
        for bits, header in ((32, "small"), (32, "big"), (64, "auto")):
            for stats in (False, True):
                yield Profile(release, bits, header, stats, hardening=hardening)


def _same_era(profile: Profile) -> Iterator[str]:
    """The releases whose heaps have the layout and the counts of this profile's."""
    for release in RELEASES:
        try:
            other = replace(profile, release=release)
        except ValueError:
            continue
        if (
            _largest_less(other, 1) == _largest_less(profile, 1)
            and other.layout().counts_header == profile.layout().counts_header
            and other.runtime_stats == profile.runtime_stats
        ):
            yield release


def _largest_less(profile: Profile, header_bytes: int) -> int:
    """Bytes that the table's last column leaves out, as ``SysHeap.print_info`` does."""
    return header_bytes if profile.version < (4, 2) else 0


_CANDIDATES = tuple((p, p.layout(), tuple(_same_era(p))) for p in _profiles())


@lru_cache(maxsize=64)
def _laid_out(end_chunk: int) -> tuple[Guess, ...]:
    """All ways to lay out a heap of so many units; none where no heap has so few."""
    guesses = []
    for profile, layout, releases in _CANDIDATES:
        geometry = geometry_of(layout, 0, end_chunk)
        if geometry is not None:
            header_bytes, trailer = geometry.header_bytes, layout.trailer_units
            uncounted = 0 if layout.counts_header else header_bytes + 8 * trailer
            less = _largest_less(profile, header_bytes)
            guesses.append(Guess(releases, profile, geometry, trailer, uncounted, less))
    return tuple(guesses)


@dataclass(slots=True)
class _Kind:
    """The chunks of one mark in the dump, chunk 0 and the end marker left out."""

    count: int = 0
    units: int = 0
    least: PrintedChunk | None = None
    most: PrintedChunk | None = None

    def add(self, chunk: PrintedChunk) -> None:
        self.count += 1
        self.units += chunk.size
        if self.least is None or chunk.size < self.least.size:
            self.least = chunk
        if self.most is None or chunk.size > self.most.size:
            self.most = chunk


class _Evidence(NamedTuple):
    """What a heap's printout says, as far as layouts differ in it."""

    heap: PrintedHeap
    chunk0: PrintedChunk | None
    used: _Kind
    listed: _Kind
    undersized: _Kind
    is_whole: bool


def _evidence(heap: PrintedHeap) -> _Evidence:
    kinds = {"*": _Kind(), "-": _Kind(), ".": _Kind()}
    chunks = heap.chunks or []
    for chunk in chunks:
        if 0 < chunk.id < heap.end_chunk:
            kinds[chunk.mark].add(chunk)
    chunk0 = chunks[0] if chunks and chunks[0].id == 0 else None
    is_whole = bool(chunks) and not heap.holes and next(heap.contradictions(), None) is None
    return _Evidence(heap, chunk0, kinds["*"], kinds["-"], kinds["."], is_whole)


def _bucket_count(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    if e.heap.bucket_count != g.geometry.buckets:
        n, wanted = e.heap.end_chunk, g.geometry.buckets
        yield e.heap.line, f"{n} units would have {wanted} buckets, not {e.heap.bucket_count}"


def _address(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    if e.heap.address >> g.profile.bits:
        yield e.heap.line, f"{e.heap.address:#x} is no address of {g.profile.bits} bits"


def _rows(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    for row in e.heap.buckets:
        wanted = (1 << row.bucket) - 1 + g.geometry.min_units
        if row.min_units != wanted:
            yield row.line, f"bucket {row.bucket} begins at {wanted} units, not {row.min_units}"
        if row.largest_bytes != 8 * row.largest_units - g.largest_less:
            counted = 8 * row.largest_units - g.largest_less
            found = f"{row.largest_units} units are {counted} bytes, not {row.largest_bytes}"
            yield row.line, found


def _total(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    heap = e.heap
    if heap.last is None:
        return
    wanted, found = 8 * heap.end_chunk + g.geometry.header_bytes, sum(heap.last[1:])
    if found != wanted:
        yield heap.last.line, f"the bytes are {found} together, not the {wanted} of the heap"


def _control_block(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    wanted = g.geometry.chunk0_units
    if e.chunk0 is not None and e.chunk0.size != wanted:
        yield e.chunk0.line, f"chunk 0 would have {wanted} units, not {e.chunk0.size}"
    heap = e.heap
    if heap.chunks is None and heap.allocated_bytes == 0 and len(heap.buckets) == 1:
        # Nothing is allocated, so one free chunk is all of the heap but chunk 0.
        row = heap.buckets[0]
        found = heap.end_chunk - row.largest_units
        if row.count == 1 and found != wanted:
            yield row.line, f"chunk 0 would have {wanted} units, not {found}"


def _marks(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    least = g.geometry.min_units
    for kind, word in ((e.used, "used"), (e.listed, "listed")):
        if kind.least is not None and kind.least.size < least:
            units = kind.least.size
            yield kind.least.line, f"no {word} chunk has {units} units, the least is {least}"
    most = e.undersized.most
    if most is not None and most.size >= least:
        yield most.line, f"a chunk of {most.size} units is not undersized, from {least} on"


def _sums(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    if e.heap.last is None:
        return
    line, free, allocated, _ = e.heap.last
    if not e.is_whole:
        if not _free_fits_table(e, g, free):
            yield line, f"the table does not give {free} free bytes"
        if allocated % gcd(8, g.uncounted):
            yield line, f"no number of chunks has {allocated} allocated bytes"
        return
    for kind, word, found in ((e.listed, "free", free), (e.used, "allocated", allocated)):
        counted = 8 * kind.units - g.uncounted * kind.count
        if counted != found:
            yield line, f"the chunks have {counted} {word} bytes, not {found}"


def _free_fits_table(e: _Evidence, g: Guess, free: int) -> bool:
    """Whether chunks as the table has them can have so many free bytes."""
    rows = e.heap.buckets
    units, rest = divmod(free + g.uncounted * sum(row.count for row in rows), 8)
    least = sum(row.largest_units + (row.count - 1) * row.min_units for row in rows)
    most = sum(row.largest_units * row.count for row in rows)
    return not rest and least <= units <= most


def _table_and_dump(e: _Evidence, g: Guess) -> Iterator[Complaint]:
    told = sum(row.count for row in e.heap.buckets)
    if e.is_whole and told != e.listed.count:
        yield e.heap.line, f"the table has {told} free chunks, the dump {e.listed.count}"


_QUESTIONS: tuple[Callable[[_Evidence, Guess], Iterator[Complaint]], ...] = (
    _bucket_count, _address, _rows, _table_and_dump, _control_block, _marks, _sums, _total,
)  # fmt: skip


def _guesses(heap: PrintedHeap) -> list[Guess]:
    """The layouts that such a heap can have, the best first; none if it has too few units."""
    evidence = _evidence(heap)
    guesses = []
    for guess in _laid_out(heap.end_chunk):
        found = [complaint for question in _QUESTIONS for complaint in question(evidence, guess)]
        guesses.append(guess._replace(complaints=tuple(found)))
    # The sort keeps the order of candidates that explain equally well.
    return sorted(guesses, key=lambda g: (len(g.complaints), heap.release not in g.releases))


def best_guess(heap: PrintedHeap) -> Guess | None:
    """The layout that explains most; None where no heap has so few units, or so many.

    Complexity: O(chunks).
    """
    best = next(iter(_guesses(heap)), None)
    if best is not None and heap.release is not None and heap.release in best.releases:
        return best._replace(profile=replace(best.profile, release=heap.release))
    return best


def layout_facts(heap: PrintedHeap) -> PrintedLayout:
    """What those layouts have in common that explain most. Complexity: O(chunks)."""
    guesses = _guesses(heap)
    least = min((len(g.complaints) for g in guesses), default=0)
    best = [g for g in guesses if len(g.complaints) == least]
    header_bytes = _common([g.geometry.header_bytes for g in best])
    known = {release for g in best for release in g.releases}
    return PrintedLayout(
        header=None if header_bytes is None else "big" if header_bytes == 8 else "small",
        header_bytes=header_bytes,
        largest_leaves_header_out=_common([g.largest_less > 0 for g in best]),
        runtime_stats=_common([g.profile.runtime_stats for g in best]),
        bits=_common([g.profile.bits for g in best]),
        canaries=_common([g.trailer_units > 0 for g in best]),
        releases=tuple(release for release in RELEASES if release in known),
    )


def _common(values: list[T]) -> T | None:
    """The value that all have, or None."""
    return values[0] if values and all(value == values[0] for value in values) else None
