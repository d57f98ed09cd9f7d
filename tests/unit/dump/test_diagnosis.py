"""Which field is at fault: each of them written over in a heap made by hand, and the hard cases.

The heap is that of :class:`helpers.damage.Named`.
"""

from __future__ import annotations

from array import array

import pytest

import kheap
from helpers.damage import Named
from kheap.dump.chunk_table import STATES
from kheap.dump.diagnosis import diagnose
from property.broken import name_of

PROFILES = [
    kheap.Profile(bits=32),
    kheap.Profile(bits=32, header="big", runtime_stats=False),
    kheap.Profile(bits=64),
    kheap.Profile(bits=64, hardening="full"),
]


@pytest.fixture(params=PROFILES, ids=name_of)
def named(request):
    return Named(request.param)


def rows(diagnosis):
    """The table as tuples, and that it tiles the heap."""
    table = diagnosis.table
    states = [STATES[state] for state in table.state]
    found = list(zip(table.chunk, table.units, states, strict=True))
    ends = [0, *(c + units for c, units, _ in found)]
    assert [c for c, _, _ in found] == ends[:-1]
    assert found[-1][1:] == (0, "end")
    return found


def word(named, byte, value, width=4):
    """Write a word of the control block."""
    at = named.heap.start + byte
    named.heap.region[at : at + width] = value.to_bytes(width, "little")


# ---------------------------------------------------------------------- single fields


def test_a_sound_heap(named):
    before = bytes(named.heap.region)
    diagnosis = diagnose(named.heap)
    assert (diagnosis.invariant, diagnosis.finding, diagnosis.rule) == ("", None, "")
    assert rows(diagnosis) == [(c.chunk, c.size_units, c.state) for c in named.chunks]
    assert bytes(named.heap.region) == before


# Chunk, number of the field, new value; the invariant, the chunk that it was met at.
HEADERS = [
    ("a", 0, 0, "I1", "control"),
    ("a", 0, 999, "I1", "control"),
    ("d", 0, 0, "I1", "crumb"),
    ("d", 0, 3, "I1", "crumb"),
    ("end", 0, 1, "I1", "tail"),
    ("a", 1, 0, "I5", "a"),
    ("d", 1, 1, "I5", "d"),
    ("d", 1, 0, "I2", "crumb"),
    ("d", 1, 0x7001, "I5", "d"),
    ("d", 1, 2 * 3 + 1, "I1", "d"),
    ("b", 1, 0, "I5", "b"),
    ("tail", 1, 2, "I1", "tail"),
    ("tail", 1, 0x7000, "I5", "tail"),
]


@pytest.mark.parametrize(("name", "number", "value", "invariant", "met_at"), HEADERS)
def test_a_size_that_is_wrong(named, name, number, value, invariant, met_at):
    """The right one follows from the neighbours, and the chunk is listed."""
    c = named.at[name]
    found = next(chunk for chunk in named.chunks if chunk.chunk == c)
    used = found.state == "used"
    left = named.chunks[named.chunks.index(found) - 1].size_units
    old = left if number == 0 else 2 * found.size_units + used
    named.write(c, number, value)
    diagnosis = diagnose(named.heap)
    field = ("LEFT_SIZE", "SIZE_AND_USED")[number]
    assert diagnosis.finding == (c, field, value, old)
    assert (diagnosis.invariant, diagnosis.met_at) == (invariant, named.at[met_at])
    wanted = [[c.chunk, c.size_units, c.state] for c in named.chunks]
    if number == 1:
        wanted[named.chunks.index(found)][2] = "damaged"
    assert rows(diagnosis) == [tuple(row) for row in wanted]


def test_the_end_marker(named):
    for value in (0, 3, 0x41):
        named.write(named.at["end"], 1, value)
        diagnosis = diagnose(named.heap)
        assert diagnosis.finding == (named.at["end"], "SIZE_AND_USED", value, 1)
        assert diagnosis.invariant == "I5"


def test_a_used_bit_that_went(named):
    """The neighbours are free: it is the one that no ring knows."""
    for name in ("a", "c", "f"):
        c = named.at[name]
        field = 2 * named.size[name]
        named.write(c, 1, field)
        assert diagnose(named.heap).finding == (c, "SIZE_AND_USED", field, field + 1)
        named.write(c, 1, field + 1)


def test_a_used_bit_that_went_between_used_chunks(named):
    c, field = named.at["e"], 2 * named.size["e"]
    named.write(c, 1, field)
    diagnosis = diagnose(named.heap)
    assert diagnosis.finding == (c, "SIZE_AND_USED", field, field + 1)
    assert diagnosis.invariant == "I3"


def test_a_used_bit_that_came():
    for profile in PROFILES[:3]:
        named = Named(profile)
        for name in ("b", "tail"):
            c, field = named.at[name], 2 * named.size[name] + 1
            named.write(c, 1, field)
            diagnosis = diagnose(named.heap)
            assert diagnosis.finding == (c, "SIZE_AND_USED", field, field - 1), name
            assert diagnosis.invariant == "I8"
            named.write(c, 1, field - 1)


def test_an_undersized_chunk_that_is_used():
    named = Named(kheap.Profile(bits=64))
    field = 2 * named.size["crumb"] + 1
    named.write(named.at["crumb"], 1, field)
    diagnosis = diagnose(named.heap)
    assert diagnosis.finding[:3] == (named.at["crumb"], "SIZE_AND_USED", field)
    assert diagnosis.invariant == "I7"


def test_canaries():
    named = Named(kheap.Profile(bits=64, hardening="full"))
    for name, following in (("control", "a"), ("a", "b"), ("f", "tail")):
        end = named.heap.start + 8 * named.at[following]
        old = bytes(named.heap.region[end - 8 : end])
        named.heap.region[end - 3] ^= 0x10
        diagnosis = diagnose(named.heap)
        assert diagnosis.finding == (named.at[name], "canary", None, None)
        assert diagnosis.invariant == "I10"
        assert rows(diagnosis) == [(c.chunk, c.size_units, c.state) for c in named.chunks]
        named.heap.region[end - 8 : end] = old


# ---------------------------------------------------------------------- the control block


def test_the_control_block(named):
    c0, n = named.heap.c0, named.heap.n
    named.write(0, 0, 5)
    assert diagnose(named.heap).finding == (0, "LEFT_SIZE", 5, 0)
    named.write(0, 0, 0, 2 * c0 + 3)
    diagnosis = diagnose(named.heap)
    assert diagnosis.finding == (0, "SIZE_AND_USED", 2 * c0 + 3, 2 * c0 + 1)
    assert rows(diagnosis)[0] == (0, c0, "damaged")
    named.write(0, 1, 2 * c0)
    assert diagnose(named.heap).finding == (0, "SIZE_AND_USED", 2 * c0, 2 * c0 + 1)
    named.write(0, 1, 2 * c0 + 1)
    word(named, 8, n - 1)
    diagnosis = diagnose(named.heap)
    assert (diagnosis.finding, diagnosis.invariant) == ((0, "end_chunk", n - 1, n), "I6")


def mask_of(named):
    return int.from_bytes(named.heap.region[named.heap.start + 12 :][:4], "little")


def test_the_bits_of_the_buckets(named):
    """All bits are said to be what the chunks ask for, not only the first that is wrong."""
    mask = mask_of(named)
    for wrong in (0, mask ^ 1, mask ^ 6, mask | 1 << named.heap.nb, 0xFFFFFFFF):
        word(named, 12, wrong)
        diagnosis = diagnose(named.heap)
        assert diagnosis.finding == (0, "avail_buckets", wrong, mask)
        assert diagnosis.invariant == "I4"


def test_the_heads_of_the_buckets(named):
    table = named.heap.profile.layout().table_byte
    buckets = list(named.heap.buckets())
    beyond = (named.heap.n, named.heap.n + 1, 0xFFFFFFFF)
    for b, bucket in enumerate(buckets):
        head = bucket.chunks[0] if bucket.chunks else 0
        others = [at for at in named.at.values() if at not in bucket.chunks and at]
        for wrong in (0, *beyond, *others):
            if wrong == head:
                continue
            word(named, table + 4 * b, wrong)
            diagnosis = diagnose(named.heap)
            finding = diagnosis.finding
            assert finding[:3] == (0, f"bucket {b}", wrong), (head, finding)
            assert finding.expected in (None, 0)
            assert finding.expected is None or not bucket.chunks
        word(named, table + 4 * b, head)


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.runtime_stats], ids=name_of)
def test_statistics(profile):
    """The first that is wrong is named, with what the chunks sum up to."""
    named = Named(profile)
    stats, width = named.heap.stats(), profile.bits // 8
    sums = {
        "free_bytes": stats.free_bytes,
        "allocated_bytes": stats.allocated_bytes,
        "max_allocated_bytes": None,
    }
    for i, (field, expected) in enumerate(sums.items()):
        for wrong in (0, (1 << 8 * width) - 1, 8 * named.heap.n + 1):
            named = Named(profile)
            word(named, 16 + i * width, wrong, width)
            diagnosis = diagnose(named.heap)
            assert diagnosis.finding == (0, field, wrong, expected)
            assert diagnosis.invariant == "I9"
        word(named, 16 + 2 * width, 0, width)
        assert diagnose(named.heap).finding.field == field


# ---------------------------------------------------------------------- links


class Ring(Named):
    """The same with three chunks in one ring: p, q, r by their place in it."""

    def __init__(self, profile):
        super().__init__(profile)
        heap = self.heap
        blocks = [heap.alloc(24) for _ in range(7)]
        for block in blocks[1:6:2]:
            heap.free(block)
        bucket = next(bucket for bucket in heap.buckets() if len(bucket.chunks) == 3)
        self.p, self.q, self.r = bucket.chunks
        used = [c.chunk for c in heap.chunks() if c.state == "used"]
        self.elsewhere = [0, heap.n, heap.n + 5, used[0], used[0] + 1, 0xFFFF]
        self.other = next(b.chunks[0] for b in heap.buckets() if b.chunks and b != bucket)


@pytest.fixture(params=PROFILES, ids=name_of)
def ring(request):
    return Ring(request.param)


@pytest.mark.parametrize("which", "pqr")
def test_a_link_on(ring, which):
    c = getattr(ring, which)
    following = {ring.p: ring.q, ring.q: ring.r, ring.r: ring.p}[c]
    for wrong in (*ring.elsewhere, ring.other, ring.p, ring.q, ring.r):
        if wrong != following:
            ring.write(c, 3, wrong)
            finding = diagnose(ring.heap).finding
            assert finding[:3] == (c, "FREE_NEXT", wrong)


@pytest.mark.parametrize("which", "pqr")
def test_a_link_back(ring, which):
    c = getattr(ring, which)
    before = {ring.p: ring.r, ring.q: ring.p, ring.r: ring.q}[c]
    for wrong in (*ring.elsewhere, ring.other, ring.p, ring.q, ring.r):
        if wrong != before:
            ring.write(c, 2, wrong)
            diagnosis = diagnose(ring.heap)
            assert diagnosis.finding == (c, "FREE_PREV", wrong, before)
            assert diagnosis.invariant == "I8"


@pytest.mark.parametrize("profile", PROFILES[:3], ids=name_of)
@pytest.mark.parametrize("which", "pqr")
def test_a_chunk_that_has_left_its_ring_by_its_used_bit(profile, which):
    ring = Ring(profile)
    c = getattr(ring, which)
    field = ring.heap.region[ring.heap.start + 8 * c + ring.width]
    ring.write(c, 1, field + 1)
    assert diagnose(ring.heap).finding == (c, "SIZE_AND_USED", field + 1, field)


def test_a_chunk_that_no_ring_has(ring):
    """Its neighbours in the ring lead around it, each rightly as far as they can tell."""
    ring.write(ring.p, 3, ring.r)
    ring.write(ring.r, 2, ring.p)
    diagnosis = diagnose(ring.heap)
    assert (diagnosis.invariant, diagnosis.finding.chunk) == ("I3", ring.q)


# ---------------------------------------------------------------------- chunks that are no more


def test_a_left_size_that_leads_to_an_old_header():
    """The chain from the right goes astray; that from the left leads to where it came from."""
    for profile in PROFILES:
        named = Named(profile)
        n, tail = named.heap.n, named.at["tail"]
        old = tail + named.heap.hdr
        named.header(old, 7, n - old, 0)
        named.write(n, 0, n - old)
        diagnosis = diagnose(named.heap)
        assert diagnosis.finding == (n, "LEFT_SIZE", n - old, named.size["tail"])
        assert [row[0] for row in rows(diagnosis)] == [c.chunk for c in named.chunks]


def test_a_size_that_leads_to_an_old_header():
    """The chain from the left goes astray for a while; that from the right ends at its start."""
    for profile in PROFILES[:3]:
        named = Named(profile)
        c, size = named.at["tail"], named.size["tail"]
        named.header(c + 10, 10, 20, 0)
        named.header(c + 30, 20, 1, 1)
        named.write(c, 1, 2 * 10)
        diagnosis = diagnose(named.heap)
        assert diagnosis.invariant == "I2"
        assert diagnosis.finding == (c, "SIZE_AND_USED", 2 * 10, 2 * size)
        assert (c, size, "damaged") in rows(diagnosis)


def test_an_island_that_leads_beyond_the_gap():
    """Rows never overlap, though a chunk found between says that it reaches beyond."""
    for profile in PROFILES[:3]:
        named = Named(profile)
        heap, c, d = named.heap, named.at["c"], named.at["e"]
        named.header(c, 0x41, 0x41)
        named.write(d, 0, 7)
        island = c + 1
        reach = d + 4 - (island + 3)
        for i in range(3):
            named.header(island + i, 1, 1)
        named.header(island + 3, 1, reach)
        named.header(d + 4, reach, 1)
        diagnosis = diagnose(heap)
        assert diagnosis.finding is not None
        found = rows(diagnosis)
        assert (d, named.size["e"], "used") in found
        assert max(c + units for c, units, _ in found) == heap.n


def test_a_gap_with_chunks_in_it(named):
    """Two headers are gone; the chunks between and behind are read, and tell the extents."""
    named.header(named.at["a"], 0x41, 0x4141)
    named.header(named.at["f"], 0x41, 0x4141)
    diagnosis = diagnose(named.heap)
    assert diagnosis.finding[:2] == (named.at["a"], "header")
    bad = named.at["a"], named.at["f"]
    assert rows(diagnosis) == [
        (c.chunk, c.size_units, "damaged" if c.chunk in bad else c.state) for c in named.chunks
    ]


def test_a_gap_whose_extent_nobody_tells(named):
    """The header of the next chunk is gone as well: what lies there is no chunk."""
    for name in ("a", "b"):
        named.header(named.at[name], 0x41, 0x4141)
    diagnosis = diagnose(named.heap)
    assert diagnosis.finding[:2] == (named.at["a"], "header")
    a, c = named.at["a"], named.at["c"]
    assert (a, c - a, "unread") in rows(diagnosis)
    behind = [(c.chunk, c.size_units, c.state) for c in named.chunks if c.chunk >= named.at["c"]]
    assert rows(diagnosis)[-len(behind) :] == behind


def test_everything_is_gone(named):
    first, n = named.at["a"], named.at["end"]
    start = named.heap.start
    named.heap.region[start + 8 * first : start + 8 * n] = bytes(8 * (n - first))
    diagnosis = diagnose(named.heap)
    found = rows(diagnosis)
    assert diagnosis.finding.chunk == first
    assert found[0][0] == 0
    assert (
        sum(units for _, units, state in found if state in ("damaged", "unread")) >= n - 2 * first
    )


# ---------------------------------------------------------------------- a part of a heap


def part(named, units):
    """Only so many units are known; the rest is zeros."""
    named.heap.region[named.heap.start + 8 * units :] = bytes(
        len(named.heap.region) - named.heap.start - 8 * units
    )
    return diagnose(named.heap, units)


def test_what_is_not_known_is_not_judged(named):
    for name in ("b", "d", "e", "tail"):
        copy = Named(named.heap.profile)
        diagnosis = part(copy, copy.at[name] + 1)
        assert (diagnosis.finding, diagnosis.invariant) == (None, "")
        found = rows(diagnosis)
        listed = [c for c in copy.chunks if c.chunk < copy.at[name]]
        assert found[: len(listed)] == [(c.chunk, c.size_units, c.state) for c in listed]
        assert found[len(listed)] == (copy.at[name], copy.heap.n - copy.at[name], "unread")


def test_what_is_known_is_judged(named):
    named.write(named.at["c"], 0, 99)
    diagnosis = part(named, named.at["f"])
    assert diagnosis.finding == (named.at["c"], "LEFT_SIZE", 99, named.size["b"])


def test_all_but_the_end_marker(named):
    diagnosis = part(named, named.heap.n)
    assert diagnosis.finding is None
    assert len(rows(diagnosis)) == len(named.chunks)


# ---------------------------------------------------------------------- bounds


def patterns(n):
    """Contents that make work: chains of the smallest chunks, broken ones, and rings."""
    yield "ones", [1] * (4 * n)
    yield "smallest", [1, 2, 0, 0] * n
    yield "used smallest", [1, 3, 0, 0] * n
    yield "linked", [value for c in range(n) for value in (1, 2, c + 2, c + 2)]
    yield "triples", [value for c in range(n) for value in (1, 3 if c % 4 else 0x7FF1, 0, 0)]
    yield "pairs", [value for c in range(n) for value in (1, 3 if c % 3 else 0, 0, 0)]
    yield "growing", [value for c in range(n) for value in (c % 5, 2 * (c % 5) + c % 2, 0, 0)]


@pytest.mark.parametrize("behind", [0, 30])
@pytest.mark.parametrize("pattern", [name for name, _ in patterns(1)])
def test_each_unit_is_looked_at_a_few_times(named, pattern, behind):
    heap = named.heap
    values = dict(patterns(heap.n))[pattern]
    data = array("H" if heap.hdr == 4 else "I", values).tobytes()
    first = heap.start + 8 * (heap.c0 + behind)
    heap.region[first:] = data[: len(heap.region) - first]
    for keeps_end in (False, True):
        if keeps_end:
            named.header(heap.n, 1, 0, 1)
        diagnosis = diagnose(heap)
        rows(diagnosis)
        assert diagnosis.visits <= 8 * (heap.n + 1) + 16
