"""Replays that learn their slack, where a release refuses at once."""

from __future__ import annotations

from kheap import Profile, Trace
from kheap.study.fit_stage import Outcome, Sizes, Stage
from kheap.study.size import _demand


def test_a_request_that_a_release_refuses_by_its_bytes_shows_nothing_of_larger_heaps():
    trace = Trace()
    trace.add(0, 0, 4096)
    demand = _demand(trace, Profile(release="3.7", bits=32), "k_heap", None, 0x20000000, 0)
    geometry = Sizes(demand.layout, 0x20000000, demand.is_wide).geometry(512)
    assert Stage(demand, lambda: False).outcome(geometry) == Outcome(False, 0)


def test_nor_does_a_resize_that_it_refuses_so():
    trace = Trace()
    trace.add(0, 0, 8)
    trace.add(1, 0, 4096)
    demand = _demand(trace, Profile(release="3.7", bits=32), "k_heap", None, 0x20000000, 0)
    geometry = Sizes(demand.layout, 0x20000000, demand.is_wide).geometry(512)
    assert Stage(demand, lambda: False).outcome(geometry) == Outcome(False, 0)
