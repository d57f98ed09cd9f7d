"""Which field of a corrupt heap is wrong, and what of the rest can still be read.

The checker (``kheap._core.check``) stops at the first rule that does not hold, and a rule ties
two chunks together: that ``left(right(c))`` is not ``c`` says that SIZE of ``c`` or LEFT_SIZE
of its right neighbour is wrong, not which.  This module weighs what the others say: the chain
as it is followed from the end marker, and the rings.  It assumes as little damage as explains
what is seen; the first bad chunk by address is named.

Each unit is looked at a bounded number of times, so a diagnosis ends whatever the bytes are.
Not here: who wrote it (``culprit.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

from kheap._core.chunk import INVARIANTS
from kheap._core.survey import Survey
from kheap.dump.chunk_table import (
    CONTROL,
    DAMAGED,
    FREE,
    UNDERSIZED,
    UNREAD,
    USED,
    ChunkTable,
    Span,
)
from kheap.heaps.sys_heap import SysHeap

__all__ = ["Diagnosis", "Finding", "diagnose"]


class Finding(NamedTuple):
    """The first bad field.

    Attributes:
        chunk: The chunk it belongs to; 0 for the control block.
        field: Its name as in ``kheap._core.chunk``; "header" for LEFT_SIZE and SIZE_AND_USED.
        found: What it says; None where it is no single number.
        expected: What its neighbours say; None where they do not agree.
    """

    chunk: int
    field: str
    found: int | None = None
    expected: int | None = None


#: Not a fault: the chain ends where the known bytes end.
CUT = Finding(0, "")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a heap's chunks are, and what is wrong with them.

    Attributes:
        table: Its chunks.
        invariant: The rule that the checker saw broken, "I1" to "I10"; "" for a sound heap.
        met_at: The chunk where it saw that.
        finding: The field at fault; None for a sound heap.
        visits: Chunks looked at, by the checker and by the survey.
    """

    table: ChunkTable
    invariant: str
    met_at: int
    finding: Finding | None
    visits: int

    @property
    def rule(self) -> str:
        """The broken rule in words."""
        return INVARIANTS.get(self.invariant, "")


def diagnose(heap: SysHeap, held_units: int | None = None) -> Diagnosis:
    """Look at the whole heap; nothing is written.

    Args:
        heap: An opened heap; its geometry is taken to be right, whatever its bytes say.
        held_units: How much of it is known, from its start on; the rest is not judged.
            None: all of it.

    Complexity: O(units), each looked at no more than 8 times; O(chunks) for a sound heap.
    """
    survey = Survey(heap)
    held = heap.n + 1 if held_units is None else held_units
    if survey.chunks() and survey.rings() and heap.profile.runtime_stats:
        survey.sums()
    if not survey.fault:
        table = ChunkTable.of(survey, [Span(0, heap.n)], heap.n)
        return Diagnosis(table, "", 0, None, survey.visits)
    return _Search(heap, survey, held).diagnosis()


class _Search:
    """The search for the field at fault, once the checker has met a broken rule."""

    def __init__(self, heap: SysHeap, survey: Survey, held: int) -> None:
        self.heap, self.survey, self.held = heap, survey, held
        self.n = heap.n
        self.spans: list[Span] = []
        self.table = ChunkTable()

    def diagnosis(self) -> Diagnosis:
        survey = self.survey
        invariant, met_at = survey.fault, survey.fault_chunk
        broken = self._follow_chain()
        self.table = ChunkTable.of(survey, self.spans, self.n)
        if broken is not None and invariant in (1, 5):
            finding = broken
        else:
            finding = self._judge(invariant, met_at)
            # A wrong size may take the used bit with it.
            if broken is not None and invariant == 2 and broken.chunk in (met_at, finding.chunk):
                finding = broken
        if finding is CUT or finding.chunk >= self.held:
            return Diagnosis(self.table, "", 0, None, survey.visits)
        return Diagnosis(self.table, f"I{invariant}", met_at, finding, survey.visits)

    # ------------------------------------------------------------------ the chain

    def _follow_chain(self) -> Finding | None:
        """List what can be listed; the first bad header, if the chain is broken."""
        survey, n = self.survey, self.n
        # Chunk 0's own size is known from the geometry.
        c0 = self.heap.c0
        start = 0 if survey.field_of(0) >> 1 == c0 else c0
        if start:
            self.spans.append(Span(0, c0, DAMAGED))
        c = survey.forward(start, n)
        if c == n:
            self._keep(start, n)
            field = survey.field_of(n)
            return None if field == 1 else Finding(n, "SIZE_AND_USED", field, 1)
        if self.held <= n and c + (survey.field_of(c) >> 1) >= self.held:
            self._keep(start, c)
            self.spans.append(Span(c, n, UNREAD))
            return CUT
        c, d = self._sides(start, c, survey.back(n, c))
        finding = self._between(c, d)
        self._keep(start, c)
        self._fill_gap(c, d, finding)
        self._keep(d, n)
        return finding

    def _sides(self, start: int, c: int, d: int) -> tuple[int, int]:
        """The ends of the gap between ``c`` and ``d``, where one bad field explains it.

        A wrong size or a wrong left size may lead to the header of a chunk that is no more,
        whose neighbours may know each other; then a walk has gone on too far.
        """
        survey = self.survey
        right, left = c + (survey.field_of(c) >> 1), d - survey.left_of(d)
        if left != c and d < right <= self.n and survey.forward(d, right) == right:
            return c, right
        is_doubtful = right != d or (survey.fault == 2 and survey.fault_chunk == left)
        if start <= left < c and is_doubtful and survey.forward(start, left) == left:
            return left, d
        return c, d

    def _between(self, c: int, d: int) -> Finding:
        """The bad header between ``c``, reached from the left, and ``d``, from the right."""
        survey = self.survey
        right = c + (survey.field_of(c) >> 1)
        left, size = survey.left_of(d), survey.field_of(c) >> 1
        if right == d:
            return Finding(d, "LEFT_SIZE", left, size)
        if d - left == c:
            return Finding(c, "SIZE_AND_USED", survey.field_of(c), self._field_for(c, left))
        if c < right < d:
            # What c says of itself is trusted: what overflows a block spares its own header.
            if d - left == right or not survey.knows_right(right):
                return Finding(right, "header", None, None)
            return Finding(right, "LEFT_SIZE", survey.left_of(right), size)
        return Finding(c, "SIZE_AND_USED", survey.field_of(c), None)

    def _field_for(self, c: int, units: int) -> int:
        """SIZE_AND_USED of chunk ``c`` if it has so many units: a free one is in a ring."""
        is_free = units < self.heap.m or c in self._listed()
        return 2 * units + (not is_free)

    def _fill_gap(self, c: int, d: int, finding: Finding) -> None:
        """The rows from ``c`` to ``d``: ``c`` itself, then what is found by scanning."""
        start = c
        if finding.chunk != c:
            start = finding.chunk
            self._keep(c, start, one=True)
        if finding.field == "LEFT_SIZE":
            stop = self.survey.forward(start, d)
            self._keep(start, stop)
            start = stop
        if start == d:
            return
        if d - self.survey.left_of(d) == start:
            self.spans.append(Span(start, d, DAMAGED))
            return
        while start < d:
            island = self.survey.find(start + 1, d)
            is_told = island - self.survey.left_of(island) == start
            self.spans.append(Span(start, island, DAMAGED if is_told else UNREAD))
            start = self.survey.forward(island, d)
            self._keep(island, start)
            right = start + (self.survey.field_of(start) >> 1)
            if start < right <= d:
                # Again it is what lies behind it that does not hold.
                self._keep(start, right, one=True)
                start = right

    def _keep(self, start: int, stop: int, *, one: bool = False) -> None:
        """A chain of chunks; ``one`` whose right neighbour does not know it."""
        if start < stop:
            self.spans.append(Span(start, stop, self._state_by_field(start, stop) if one else -1))

    def _state_by_field(self, start: int, stop: int) -> int:
        if start == 0:
            return CONTROL
        if self.survey.field_of(start) & 1:
            return USED if stop - start >= self.heap.m else DAMAGED
        return FREE if stop - start >= self.heap.m else UNDERSIZED

    # ------------------------------------------------------------------ single chunks

    def _judge(self, invariant: int, met_at: int) -> Finding:
        if invariant == 2:
            return self._used_bit(self._unlisted_of(met_at))
        if invariant in (3, 4, 8) and self.survey.ring >= 0:
            return self._broken_ring()
        if invariant == 4:
            return self._wrong_mask()
        if invariant == 3:
            return self._used_bit(met_at)
        if invariant == 6:
            return self._control_field()
        if invariant == 9:
            return self._wrong_statistic()
        if invariant == 10:
            return Finding(met_at, "canary")
        return Finding(met_at, "SIZE_AND_USED", self.survey.field_of(met_at))

    def _used_bit(self, c: int) -> Finding:
        field = self.survey.field_of(c)
        return Finding(c, "SIZE_AND_USED", field, field ^ 1)

    def _unlisted_of(self, c: int) -> int:
        """Of two free neighbours the one that no ring holds: it was used until lately."""
        survey = self.survey
        right = c + (survey.field_of(c) >> 1)
        listed = self._listed()
        is_listed = c in listed or survey.field_of(c) >> 1 < self.heap.m
        return right if is_listed and right not in listed else c

    def _listed(self) -> set[int]:
        """What the rings hold, as far as they can be followed."""
        heap, survey = self.heap, self.survey
        listed: set[int] = set()
        for b in range(heap.nb):
            c = heap._head_of(b)
            while heap.c0 <= c < self.n and c not in listed:
                listed.add(c)
                c = survey.next_of(c)
        return listed

    def _control_field(self) -> Finding:
        survey, heap = self.survey, self.heap
        if survey.left_of(0):
            return Finding(0, "LEFT_SIZE", survey.left_of(0), 0)
        wanted = 2 * heap.c0 + 1
        if survey.field_of(0) != wanted:
            return Finding(0, "SIZE_AND_USED", survey.field_of(0), wanted)
        return Finding(0, "end_chunk", self._control_word(2), self.n)

    def _control_word(self, i: int) -> int:
        start = self.heap.start + 4 * i
        return int.from_bytes(self.heap.region[start : start + 4], "little")

    def _wrong_statistic(self) -> Finding:
        """The first of the three that is not what the chunks sum up to."""
        survey, heap = self.survey, self.heap
        free = 8 * survey.free_units - heap.uncounted * survey.free_count
        allocated = 8 * survey.used_units - heap.uncounted * survey.used_count
        if heap._stat(0) != free:
            return Finding(0, "free_bytes", heap._stat(0), free)
        if heap._stat(1) != allocated:
            return Finding(0, "allocated_bytes", heap._stat(1), allocated)
        return Finding(0, "max_allocated_bytes", heap._stat(2), None)

    def _wrong_mask(self) -> Finding:
        """The bits of the buckets; all chunks are known where these are looked at."""
        counts = self.survey.bucket_count[: self.heap.nb]
        expected = sum(1 << b for b, count in enumerate(counts) if count)
        return Finding(0, "avail_buckets", self._control_word(3), expected)

    # ------------------------------------------------------------------ rings

    def _broken_ring(self) -> Finding:
        """The link at fault where the checker lost a ring, or the chunk that left it."""
        survey, heap = self.survey, self.heap
        b, before, at = survey.ring, survey.ring_before, survey.ring_at
        head = heap._head_of(b)
        if survey.fault == 4:
            return self._head_or_mask(b, head)
        source = Finding(before, "FREE_NEXT", at) if before else Finding(0, f"bucket {b}", head)
        state = self._state_of(at)
        if state == USED and self._was_in_ring(b, before, at):
            return self._used_bit(at)
        if state != FREE or self._bucket_of(at) != b:
            return source
        # Now at is of this ring: a link skips some chunks, leads back too early, or its
        # FREE_PREV is wrong.
        previous = survey.prev_of(at)
        if previous == before or (previous != before and self._is_before(b, previous, at)):
            return source
        return Finding(at, "FREE_PREV", previous, before)

    def _head_or_mask(self, b: int, head: int) -> Finding:
        """Either the head of bucket ``b`` is wrong, or its bit: what does the bucket hold?"""
        is_empty = self.survey.bucket_count[b] == 0
        if is_empty == (head == 0):
            return self._wrong_mask()
        return Finding(0, f"bucket {b}", head, 0 if is_empty else None)

    def _was_in_ring(self, b: int, before: int, c: int) -> bool:
        """Whether used chunk ``c`` has the links of a member of ring ``b``."""
        if self._bucket_of(c) != b:
            return False
        following, previous = self.survey.next_of(c), self.survey.prev_of(c)
        if before:
            return previous == before
        if following == previous == c:
            return self.survey.bucket_count[b] == 0
        return self._state_of(following) == FREE and self.survey.prev_of(following) == c

    def _is_before(self, b: int, c: int, following: int) -> bool:
        return (
            self._state_of(c) == FREE
            and self._bucket_of(c) == b
            and self.survey.next_of(c) == following
        )

    def _bucket_of(self, c: int) -> int:
        return self.survey.bucket_for(self.survey.field_of(c) >> 1)

    def _state_of(self, c: int) -> int:
        """The state of the chunk that begins at unit ``c``; -1 where none does."""
        i = bisect_left(self.table.chunk, c)
        return self.table.state[i] if i < len(self.table) and self.table.chunk[i] == c else -1
