"""The checker: each field of each kind of chunk, corrupted; the right invariant must speak.

The heap of these tests is made by hand, so that it has every kind of chunk and a ring of two::

    |H *p0 -p1 *p2 -p3 *p4 *p5 .crumb *p6 *p7 *p8 -tail F

Then random corruptions: the walk must end within its bound, and no operation may do worse
than report.
"""

from __future__ import annotations

from random import Random

import pytest

import kheap
from helpers import spelling
from kheap._core.check import HeapWalk
from kheap._core.chunk import INVARIANTS
from property.broken import PROFILES, Used, name_of, try_all
from property.model import build_of

BASE = 0x20000000
ALL_ONES = 0xFFFFFFFF
RANDOM_CORRUPTIONS = 2000
KINDS = [
    kheap.Profile(bits=bits, header=header, runtime_stats=stats, hardening=hardening)
    for bits, header in ((32, "small"), (32, "big"), (64, "auto"))
    for stats in (False, True)
    for hardening in ("basic", "full")
]


class HandMade:
    """The heap of this module's head; ``at`` is the chunk id of each name."""

    def __init__(self, profile):
        self.region = bytearray(768)
        self.heap = kheap.SysHeap(self.region, profile, BASE)
        blocks = [self.heap.alloc(40) for _ in range(9)]
        self.heap.free(blocks[5])
        assert self.heap.alloc(32) == blocks[5]
        self.heap.free(blocks[1])
        self.heap.free(blocks[3])
        self.build = build_of(profile)
        self.image = spelling.read_heap(self.region, self.build, BASE)
        names = ("control", "p0", "p1", "p2", "p3", "p4", "p5", "crumb", "p6", "p7", "p8", "tail")
        ids = [c.chunk for c in self.image.chunks]
        self.at = dict(zip((*names, "end"), ids, strict=True))
        self.at["outside"] = self.at["end"] + 1
        self.ring = next(b for b, ring in self.image.rings.items() if len(ring) == 2)
        assert self.image.rings[self.ring] == (self.at["p1"], self.at["p3"])
        self.empty = next(b for b in range(9) if b not in self.image.rings)
        self.beyond = 31
        self.before = bytes(self.region)

    def corrupt(self, field, where, change):
        """Overwrite one field; ``change`` is a name, a number, or what to do with the old.

        Of the mask, the bit of a bucket is flipped.
        """
        which = getattr(self, where, 0) if field in ("head", "mask") else self.at.get(where, 0)
        place = spelling.field_bytes(self.image, field, which)
        old = int.from_bytes(self.region[place], "little")
        value = change(old) if callable(change) else self.at.get(change, change)
        if field == "mask":
            value = old ^ 1 << which
        width = place.stop - place.start
        self.region[place] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        assert self.region != self.before, "nothing was corrupted"

    def verdict(self):
        """The invariant that is reported and the name of the chunk; None if all is well."""
        state = bytes(self.region)
        try:
            self.heap.check()
        except kheap.HeapCorruption as error:
            assert self.region == state
            assert f"({error.invariant})" in str(error)
            assert INVARIANTS[error.invariant] in str(error)
            return error.invariant, {c: name for name, c in self.at.items()}[error.chunk]
        return None


def more(old):
    return old + 1


def longer(old):
    return old + 2


def flipped(old):
    return old ^ 1


# Field, chunk (or bucket), new value; the invariant that breaks, the chunk that is named.
CASES = [
    ("left", "control", 1, "I6", "control"),
    ("size", "control", longer, "I6", "control"),
    ("size", "control", flipped, "I6", "control"),
    ("end_chunk", "", more, "I6", "control"),
    ("end_chunk", "", 0, "I6", "control"),
    ("end_chunk", "", ALL_ONES, "I6", "control"),
    ("left", "p0", more, "I1", "control"),
    ("left", "p7", more, "I1", "p6"),
    ("left", "p7", 0, "I1", "p6"),
    ("size", "p7", 0, "I5", "p7"),
    ("size", "p7", 1, "I5", "p7"),
    ("size", "p7", ALL_ONES, "I5", "p7"),
    ("size", "p7", longer, "I1", "p7"),
    ("size", "p7", flipped, "I3", "p7"),
    ("size", "p0", flipped, "I2", "p0"),
    ("size", "p2", flipped, "I2", "p1"),
    ("size", "p6", flipped, "I2", "crumb"),
    ("left", "p1", more, "I1", "p0"),
    ("size", "p1", 0, "I5", "p1"),
    ("size", "p1", ALL_ONES, "I5", "p1"),
    ("size", "p1", longer, "I1", "p1"),
    ("prev", "p1", "p1", "I8", "p1"),
    ("prev", "p1", "outside", "I8", "p1"),
    ("prev", "p3", 0, "I8", "p3"),
    ("prev", "p3", "p0", "I8", "p3"),
    ("next", "p1", "p1", "I8", "p1"),
    ("next", "p1", 0, "I8", "p1"),
    ("next", "p1", "end", "I8", "p1"),
    ("next", "p1", "outside", "I8", "p1"),
    ("next", "p1", "p0", "I8", "p1"),
    ("next", "p1", "tail", "I3", "tail"),
    ("next", "p3", "p3", "I8", "p3"),
    ("next", "p3", more, "I8", "p3"),
    ("prev", "tail", 0, "I8", "tail"),
    ("next", "tail", "p1", "I8", "tail"),
    ("left", "crumb", more, "I1", "p5"),
    ("size", "crumb", 0, "I5", "crumb"),
    ("size", "crumb", longer, "I1", "crumb"),
    ("left", "end", more, "I1", "tail"),
    ("size", "end", 0, "I5", "end"),
    ("size", "end", 3, "I5", "end"),
    ("mask", "ring", flipped, "I4", "p1"),
    ("mask", "empty", flipped, "I4", "control"),
    ("mask", "beyond", flipped, "I4", "control"),
    ("head", "ring", 0, "I4", "control"),
    ("head", "ring", "outside", "I8", "control"),
    ("head", "ring", "end", "I8", "control"),
    ("head", "ring", "control", "I4", "control"),
    ("head", "ring", ALL_ONES, "I8", "control"),
    ("head", "ring", "p0", "I8", "p0"),
    ("head", "ring", "tail", "I3", "tail"),
    ("head", "empty", "p1", "I4", "p1"),
    ("head", "empty", "outside", "I4", "control"),
]
UNDERSIZED_CASES = [("size", "crumb", flipped, "I7", "crumb")]
STATS_CASES = [
    ("free", "", more, "I9", "control"),
    ("allocated", "", 0, "I9", "control"),
    ("max_allocated", "", 0, "I9", "control"),
    ("max_allocated", "", 769, "I9", "control"),
    ("max_allocated", "", ALL_ONES, "I9", "control"),
    ("max_allocated", "", -1, "I9", "control"),
]
NO_CANARY_CASES = [
    ("size", "p1", flipped, "I8", "p1"),
    ("size", "p3", flipped, "I8", "p1"),
    ("size", "tail", flipped, "I8", "tail"),
]
CANARY_CASES = [
    ("canary", "control", more, "I10", "control"),
    ("canary", "p0", 0, "I10", "p0"),
    ("canary", "p8", lambda old: old ^ 1 << 63, "I10", "p8"),
    ("size", "p1", flipped, "I10", "p1"),
    ("size", "tail", flipped, "I10", "tail"),
]


def cases(profile):
    yield from CASES
    canaries = profile.hardening == "full"
    yield from CANARY_CASES if canaries else NO_CANARY_CASES
    if profile.runtime_stats:
        yield from STATS_CASES
    if canaries or profile.header != "small":
        yield from UNDERSIZED_CASES


@pytest.mark.parametrize("profile", KINDS, ids=name_of)
def test_each_corrupt_field_is_reported(profile):
    for field, where, change, invariant, chunk in cases(profile):
        hand_made = HandMade(profile)
        hand_made.corrupt(field, where, change)
        got = hand_made.verdict()
        assert got == (invariant, chunk), f"{field} of {where}: {got}"


def test_every_invariant_has_a_case():
    lists = CASES, UNDERSIZED_CASES, STATS_CASES, CANARY_CASES
    assert {invariant for cases in lists for *_, invariant, _ in cases} == set(INVARIANTS)


@pytest.mark.parametrize("profile", [p for p in KINDS if p.runtime_stats], ids=name_of)
def test_the_most_bytes_at_once_may_be_any_between_those_now_and_the_heap(profile):
    allocated = HandMade(profile).heap.stats().allocated_bytes
    limit = 8 * HandMade(profile).heap.n
    for value, verdict in (
        (allocated - 1, ("I9", "control")),
        (allocated, None),
        (limit, None),
        (limit + 1, ("I9", "control")),
    ):
        hand_made = HandMade(profile)
        hand_made.corrupt("max_allocated", "", value)
        assert hand_made.verdict() == verdict, value


# Field, chunk (or bucket), new value; the ring that breaks, before where, and where.
RING_CASES = [
    ("next", "p1", "p0", "ring", "p1", "p0"),
    ("next", "p3", "p3", "ring", "p3", "p3"),
    ("next", "p3", "outside", "ring", "p3", "outside"),
    ("prev", "p3", "p0", "ring", "p1", "p3"),
    ("prev", "p1", "p1", "ring", "p3", "p1"),
    ("head", "ring", "p0", "ring", "control", "p0"),
    ("head", "ring", 0, "ring", "control", "control"),
    ("head", "empty", "p1", "empty", "control", "p1"),
    ("mask", "ring", flipped, "ring", "control", "p1"),
]


@pytest.mark.parametrize("profile", KINDS, ids=name_of)
def test_where_a_ring_broke(profile):
    for field, where, change, bucket, before, at in RING_CASES:
        hand_made = HandMade(profile)
        hand_made.corrupt(field, where, change)
        walk = HeapWalk(hand_made.heap)
        assert walk.chunks() and not walk.rings()
        place = (getattr(hand_made, bucket), hand_made.at[before], hand_made.at[at])
        assert (walk.ring, walk.ring_before, walk.ring_at) == place, (field, where)


def test_no_ring_broke():
    """Where all are sound, or a bit tells of none, or a chunk is in none."""
    hand_made = HandMade(kheap.Profile())
    walk = HeapWalk(hand_made.heap)
    assert walk.chunks() and walk.rings()
    assert walk.ring == -1
    hand_made.corrupt("mask", "beyond", flipped)
    walk = HeapWalk(hand_made.heap)
    assert walk.chunks() and not walk.rings()
    assert (walk.ring, walk.fault) == (-1, 4)
    hand_made = HandMade(kheap.Profile())
    for field in ("prev", "next"):
        hand_made.corrupt(field, "p1", "p1")
    walk = HeapWalk(hand_made.heap)
    assert walk.chunks() and not walk.rings()
    assert (walk.ring, walk.fault) == (-1, 3)


@pytest.mark.parametrize("profile", KINDS, ids=name_of)
def test_sound_heaps_pass(profile):
    hand_made = HandMade(profile)
    assert hand_made.verdict() is None
    hand_made.corrupt("head", "ring", "p3")
    assert hand_made.verdict() is None, "a ring may begin anywhere"


def test_a_lost_chunk_is_named():
    """A ring that has forgotten one of its chunks, and is sound by itself."""
    hand_made = HandMade(kheap.Profile())
    for field in ("prev", "next"):
        hand_made.corrupt(field, "p1", "p1")
    assert hand_made.verdict() == ("I3", "p3")


def test_the_message_says_what_and_where():
    hand_made = HandMade(kheap.Profile())
    hand_made.corrupt("left", "p7", more)
    with pytest.raises(kheap.HeapCorruption) as caught:
        hand_made.heap.check()
    assert str(caught.value) == (
        f"heap corruption (buffer overflow?) at chunk {hand_made.at['p6']:#x}:"
        " left(right(c)) is not c (I1)"
    )


@pytest.mark.parametrize("profile", KINDS, ids=name_of)
def test_a_sound_walk_sums_up(profile):
    hand_made = HandMade(profile)
    walk = HeapWalk(hand_made.heap)
    assert walk.chunks()
    image = hand_made.image
    by_state = {
        state: [c.size_units for c in image.chunks if c.state == state]
        for state in ("used", "free", "undersized")
    }
    assert walk.visits == len(image.chunks) - 1, "the end marker is looked at, not visited"
    assert walk.rings()
    assert walk.visits == len(image.chunks) - 1 + len(by_state["free"])
    assert walk.sums() or not profile.runtime_stats
    assert (walk.used_count, walk.used_units) == (len(by_state["used"]), sum(by_state["used"]))
    assert (walk.free_count, walk.free_units) == (len(by_state["free"]), sum(by_state["free"]))
    assert walk.undersized_count == len(by_state["undersized"])
    assert walk.largest_units == max(by_state["free"])
    squares = [image.memory_bytes(units) ** 2 for units in by_state["free"]]
    assert walk.square_sum == sum(squares)
    assert (walk.fault, walk.fault_chunk) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_the_walk_ends_whatever_the_region_holds(profile, scale):
    random = Random(f"walk/{name_of(profile)}")
    count = round(RANDOM_CORRUPTIONS * scale) // len(PROFILES)
    used = Used(profile, random)
    for attempt in range(count):
        if attempt % 10 == 9:
            used = Used(profile, random)
        for _ in range(random.randint(1, 3)):
            used.break_it(random)
        walk = HeapWalk(used.heap)
        state = bytes(used.region)
        sound = walk.chunks()
        assert walk.visits <= used.heap.n
        if sound:
            by_address = walk.visits
            walk.rings()
            assert walk.visits <= by_address + walk.free_count + 1
        assert used.region == state
        used.restore()


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_no_operation_does_worse_than_report(profile, scale):
    random = Random(f"operations/{name_of(profile)}")
    for _ in range(max(1, round(RANDOM_CORRUPTIONS * scale) // len(PROFILES) // 5)):
        used = Used(profile, random)
        for _ in range(5):
            broken = used.break_it(random)
            try_all(used, random, broken)
            used.restore()
        assert used.guards_hold()
