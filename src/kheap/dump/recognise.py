"""Telling which heap lies in given bytes, however damaged its control block is.

It owns the vote: a geometry is right if the control block, the first chunk and the end marker
say so, most of them if not all.  Where nothing tells the profile, those that could be are
tried.  Not here: where in memory heaps lie (``find.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kheap._core.chunk import CANARY_SALT, Geometry, geometry_of, plan
from kheap.dump.chunk_table import FREE, USED
from kheap.dump.diagnosis import Diagnosis, diagnose
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile

__all__ = ["Recognised", "recognise"]
__all__ += ["facts_that_hold", "fitting", "likely_profiles", "may_be_heap"]

#: Facts of :func:`facts_that_hold`, and how many must be right for bytes to be a heap at all.
ALL_FACTS = 5
ENOUGH_FACTS = 3


@dataclass(frozen=True, slots=True)
class Recognised:
    """A heap, opened, with what its chunks tell."""

    heap: SysHeap
    diagnosis: Diagnosis
    facts: int

    @property
    def evidence(self) -> str:
        """What speaks for it, in words."""
        if self.diagnosis.finding is not None:
            return f"damaged, {self.facts} of {ALL_FACTS} facts about its ends hold"
        table = self.diagnosis.table
        sums = " and the statistics" if self.heap.profile.runtime_stats else ""
        return (
            f"the control block, all {table.count(USED):,} used and {table.count(FREE):,} free"
            f" chunks{sums} agree"
        )


def likely_profiles(bits: int | None = None, release: str | None = None) -> Iterator[Profile]:
    """Every layout a heap can have, the more telling ones first.

    Layouts with canaries and statistics can be verified.  Where ``release`` is None, 4.4 stands
    for all but 4.2 and 4.3, which count headers.
    """
    known = (release,) if release else ("4.4", "4.3")
    for hardening in ("full", "basic"):
        for name, stats in (*((name, True) for name in known), (known[0], False)):
            if hardening == "full" and name != "4.4":
                continue
            for width, header in ((64, "auto"), (32, "auto"), (32, "big")):
                if bits in (None, width):
                    yield Profile(name, width, header, stats, hardening=hardening)


def recognise(
    data: bytearray,
    address: int,
    profiles: list[Profile],
    *,
    held_bytes: int | None = None,
    whole: bool = True,
) -> Recognised | None:
    """The heap in ``data``; None if no profile makes sense of it.

    Args:
        data: The region; what is not known of it is zero.
        address: Of its first byte.
        profiles: Those to try; of equally good ones the first is taken.
        held_bytes: How much of the region is known; None: all.
        whole: Whether the region's size is known to be the heap's. Else the control block
            alone tells where the heap ends.

    Complexity: O(units) for each profile whose geometry fits.
    """
    held = len(data) if held_bytes is None else held_bytes
    start = -address % 8
    votes = []
    known = memoryview(data)[:held]
    for facts, profile, geometry in fitting(known, address, len(data), profiles, whole):
        canary = 0
        if profile.layout().trailer_units and facts:
            canary = _canary_vote(data, address, geometry)
            facts -= canary < 0
        if facts >= ENOUGH_FACTS or (held < len(data) and facts >= 2):
            votes.append(((facts, canary), profile, geometry))
    best: Recognised | None = None
    most = max((vote for vote, _, _ in votes), default=None)
    for (facts, _), profile, geometry in (each for each in votes if each[0] == most):
        heap = SysHeap._opened_as(data, profile, geometry, address)
        units = None if held == len(data) else (held - start) // 8
        found = Recognised(heap, diagnose(heap, units), facts)
        if best is None or _is_better(found, best):
            best = found
        if found.diagnosis.finding is None:
            return found
    return best


def may_be_heap(data: memoryview, address: int, size: int, profiles: list[Profile]) -> bool:
    """Whether what is known of a region of ``size`` bytes is worth to be recognised."""
    return any(
        facts >= ENOUGH_FACTS for facts, _, _ in fitting(data, address, size, profiles, True)
    )


def fitting(
    data: memoryview, address: int, size: int, profiles: list[Profile], whole: bool
) -> Iterator[tuple[int, Profile, Geometry]]:
    """Each way in which a heap can lie in the region, with the facts on its side."""
    for profile in profiles:
        for i, geometry in enumerate(_geometries(data, address, size, profile, whole)):
            # Where the region's size says otherwise, the heap's own word is no evidence.
            yield facts_that_hold(data[geometry.start :], geometry) - i, profile, geometry


def _geometries(
    data: memoryview, address: int, size: int, profile: Profile, whole: bool
) -> Iterator[Geometry]:
    """Where a heap of that profile can lie in the region, by its size and by its own word."""
    layout, start = profile.layout(), -address % 8
    planned = None
    if whole:
        try:
            planned = plan(layout, address, size)
            yield planned
        except ValueError:
            pass
    end_chunk = int.from_bytes(data[start + 8 : start + 12], "little")
    if planned is not None and end_chunk == planned.end_chunk:
        return
    said = geometry_of(layout, start, end_chunk)
    if said is not None and start + 8 * end_chunk + said.header_bytes <= size:
        yield said


def facts_that_hold(heap: memoryview, geometry: Geometry) -> int:
    """How many of five facts about a heap's two ends are so in the bytes from its start on."""
    width, n, c0 = geometry.header_bytes // 2, geometry.end_chunk, geometry.chunk0_units

    def number(at: int, count: int = width) -> int:
        return int.from_bytes(heap[at : at + count], "little")

    last = n - number(8 * n)
    return sum((
        number(8, 4) == n,
        number(0) == 0 and number(width) == 2 * c0 + 1,
        number(8 * c0) == c0,
        number(8 * n + width) == 1,
        0 < last < n and number(8 * last + width) >> 1 == n - last,
    ))  # fmt: skip


def _canary_vote(data: bytearray, address: int, geometry: Geometry) -> int:
    """1 if chunk 0 ends with the canary that such a heap has, -1 if not."""
    c0, end = geometry.chunk0_units, geometry.start + 8 * geometry.chunk0_units
    canary = int.from_bytes(data[end - 8 : end], "little")
    return 1 if canary == (address + geometry.start) ^ c0 ^ CANARY_SALT else -1


def _is_better(found: Recognised, best: Recognised) -> bool:
    """Of two broken heaps the one whose fault lies further on explains the bytes better."""
    return _reach(found) > _reach(best)


def _reach(found: Recognised) -> tuple[bool, int]:
    diagnosis = found.diagnosis
    return diagnosis.invariant in ("I9", "I10"), diagnosis.met_at
