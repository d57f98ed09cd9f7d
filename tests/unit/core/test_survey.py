"""Reading on where a chain of chunks is broken: from either side, and between.

The heap is that of :class:`helpers.damage.Named`.
"""

from __future__ import annotations

from array import array

import pytest

import kheap
from helpers.damage import Named
from kheap._core._native import Column
from kheap._core.survey import RUN, Survey
from property.broken import name_of

PROFILES = [
    kheap.Profile(bits=32),
    kheap.Profile(bits=32, header="big", runtime_stats=False),
    kheap.Profile(bits=64),
    kheap.Profile(bits=64, hardening="full"),
]
CONTROL, USED, FREE, UNDERSIZED, END, DAMAGED = range(6)


@pytest.fixture(params=PROFILES, ids=name_of)
def named(request):
    return Named(request.param)


# ---------------------------------------------------------------------- single fields


def test_fields(named):
    survey, at, size = Survey(named.heap), named.at, named.size
    assert survey.left_of(at["c"]) == size["b"]
    assert survey.field_of(at["c"]) == 2 * size["c"] + 1
    assert survey.field_of(at["b"]) == 2 * size["b"]
    assert survey.left_of(at["end"]) == size["tail"]
    assert survey.field_of(at["end"]) == 1
    assert (survey.left_of(0), survey.field_of(0)) == (0, 2 * size["control"] + 1)
    assert survey.visits == 0


def test_links(named):
    """Both free chunks are alone in their rings."""
    survey = Survey(named.heap)
    for name in ("b", "tail"):
        assert survey.prev_of(named.at[name]) == survey.next_of(named.at[name]) == named.at[name]
    assert survey.visits == 2, "a link that is followed is a look at a chunk"


@pytest.mark.parametrize("beyond", [-1, 1 << 40, -(1 << 40)])
def test_fields_outside_the_heap(named, beyond):
    survey = Survey(named.heap)
    for c in (beyond, named.heap.n + 1):
        assert survey.left_of(c) == survey.field_of(c) == -1
    for c in (beyond, 0, named.heap.c0 - 1, named.heap.n, named.heap.n + 1):
        assert survey.prev_of(c) == survey.next_of(c) == -1


def test_buckets(named):
    survey, least = Survey(named.heap), named.heap.m
    assert survey.bucket_for(least - 1) == survey.bucket_for(0) == survey.bucket_for(-1) == -1
    wanted = {least: 0, least + 1: 1, least + 2: 1, least + 3: 2, least + 7: 3}
    assert {units: survey.bucket_for(units) for units in wanted} == wanted


# ---------------------------------------------------------------------- chains


def test_a_sound_chain_is_followed_to_either_end(named):
    survey, n = Survey(named.heap), named.heap.n
    assert survey.forward(0, n) == n
    assert survey.visits == len(named.chunks) - 1
    assert survey.back(n, 0) == 0
    assert survey.visits == 2 * (len(named.chunks) - 1)
    assert survey.forward(n, n) == n
    assert survey.back(0, 0) == 0
    assert survey.visits == 2 * (len(named.chunks) - 1)


@pytest.mark.parametrize(
    ("name", "left", "units", "from_left", "from_right"),
    [
        ("d", None, 0, "d", "e"),
        ("d", None, 3, "d", "e"),
        ("d", None, 0x7000, "d", "e"),
        ("d", 0, None, "crumb", "d"),
        ("d", 1000, None, "crumb", "d"),
        ("d", 3, None, "crumb", "d"),
        ("d", 0, 0, "crumb", "e"),
    ],
)
def test_a_broken_chain_is_followed_up_to_the_gap(named, name, left, units, from_left, from_right):
    left = named.size["crumb"] if left is None else left
    units = named.size[name] if units is None else units
    named.header(named.at[name], left, units)
    survey = Survey(named.heap)
    assert survey.forward(0, named.heap.n) == named.at[from_left]
    assert survey.back(named.heap.n, 0) == named.at[from_right]


def test_a_chain_ends_before_what_leads_beyond_the_stop(named):
    survey, stop = Survey(named.heap), named.at["c"] + 1
    assert survey.forward(0, stop) == named.at["c"]
    assert survey.forward(0, named.at["c"]) == named.at["c"]


def test_a_chain_back_ends_where_it_is_told(named):
    survey = Survey(named.heap)
    assert survey.back(named.heap.n, named.at["c"]) == named.at["c"]
    assert survey.back(named.heap.n, named.at["c"] + 1) == named.at["crumb"]


def test_a_broken_canary_does_not_end_a_chain():
    named = Named(kheap.Profile(bits=64, hardening="full"))
    end = named.heap.start + 8 * named.at["crumb"]
    named.heap.region[end - 8 : end] = bytes(8)
    survey = Survey(named.heap)
    assert survey.chunk_fault(named.at["c"]) == 10
    assert survey.knows_right(named.at["c"])
    assert survey.forward(0, named.heap.n) == named.heap.n


# ---------------------------------------------------------------------- islands


class Blank(Named):
    """The same, but nothing but zeros behind its control block and before its end marker."""

    def __init__(self, profile):
        super().__init__(profile)
        first, last = self.at["a"], self.at["end"]
        start = self.heap.start
        self.heap.region[start + 8 * first : start + 8 * last] = bytes(8 * (last - first))

    def chain(self, c, *sizes, left=1):
        """Headers from unit ``c`` on, the last of which is only known by its left neighbour."""
        for units in sizes:
            self.header(c, left, units)
            left, c = units, c + units
        self.write(c, 0, left)
        return c


@pytest.fixture(params=PROFILES, ids=name_of)
def blank(request):
    return Blank(request.param)


def test_enough_chunks_in_a_row_are_found(blank):
    start = blank.at["b"]
    stop = blank.chain(start, *[4] * RUN)
    survey, n = Survey(blank.heap), blank.heap.n
    assert survey.find(blank.at["a"], n) == start
    assert survey.visits <= RUN * (start - blank.at["a"] + 1)
    assert survey.find(start, n) == start
    assert survey.find(start + 1, n) == n, "one less is no run"
    assert survey.forward(start, n) == stop


@pytest.mark.parametrize("count", range(1, RUN + 1))
def test_a_run_up_to_the_stop_may_be_short(blank, count):
    start = blank.at["b"]
    stop = blank.chain(start, *[4] * count)
    assert Survey(blank.heap).find(blank.at["a"], stop) == start


def test_a_run_beyond_the_stop_is_none(blank):
    start = blank.at["b"]
    stop = blank.chain(start, 4, 4)
    assert Survey(blank.heap).find(blank.at["a"], stop - 1) == stop - 1


def test_nothing_is_found_in_nothing(blank):
    survey, n = Survey(blank.heap), blank.heap.n
    assert survey.find(blank.at["a"], n) == n
    assert survey.visits == n - blank.at["a"], "each unit was looked at once"
    assert survey.find(n, n) == n


# ---------------------------------------------------------------------- lists


def listed(survey, start, stop):
    rows = survey.length(start, stop)
    ids, units = array("q", bytes(8 * rows)), array("q", bytes(8 * rows))
    states = bytearray(rows)
    column = Column(ids)
    assert survey.fill(start, stop, column, 0, rows) == rows
    survey.states(column, rows, Column(units), Column(states))
    return list(zip(ids, units, states, strict=True))


def test_a_chain_is_listed(named):
    survey = Survey(named.heap)
    crumb = UNDERSIZED if named.size["crumb"] < named.heap.m else FREE
    states = [CONTROL, USED, FREE, USED, crumb, USED, USED, USED, FREE]
    wanted = [
        (c.chunk, c.size_units, state) for c, state in zip(named.chunks[:-1], states, strict=True)
    ]
    assert listed(survey, 0, named.heap.n) == wanted
    assert survey.visits == 3 * len(wanted)
    part = listed(survey, named.at["b"], named.at["e"])
    assert [row[0] for row in part] == [named.at[name] for name in ("b", "c", "crumb", "d")]
    assert listed(survey, named.at["b"], named.at["b"]) == []


def test_what_is_smaller_than_any_block_is_no_used_chunk(named):
    least = named.heap.m
    named.header(named.at["d"], named.size["crumb"], least - 1)
    ids, units, states = array("q", [named.at["d"]]), array("q", [0]), bytearray(1)
    Survey(named.heap).states(Column(ids), 1, Column(units), Column(states))
    assert (units[0], states[0]) == (least - 1, DAMAGED)
    named.header(named.at["d"], named.size["crumb"], least)
    Survey(named.heap).states(Column(ids), 1, Column(units), Column(states))
    assert (units[0], states[0]) == (least, USED)


def test_the_end_marker_as_a_row(named):
    ids, units, states = array("q", [named.heap.n]), array("q", [7]), bytearray(1)
    Survey(named.heap).states(Column(ids), 1, Column(units), Column(states))
    assert (units[0], states[0]) == (0, END)


def test_no_more_rows_are_written_than_there_is_room(named):
    survey, n = Survey(named.heap), named.heap.n
    ids = array("q", [-1] * 5)
    assert survey.fill(0, n, Column(ids), 1, 3) == 3
    assert list(ids) == [-1, 0, named.at["a"], named.at["b"], -1]
    assert survey.fill(0, n, Column(ids), 0, 0) == 0


def test_nothing_is_written(named):
    before = bytes(named.heap.region)
    survey, n = Survey(named.heap), named.heap.n
    listed(survey, 0, n)
    survey.find(0, n)
    survey.back(n, 0)
    assert bytes(named.heap.region) == before
