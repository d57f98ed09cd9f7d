"""The search for sizes: budgets, interrupts, several lifetimes, and what the answer adds up to."""

from __future__ import annotations

import pytest

from kheap import Profile, Trace, find_size, min_size_for, replay
from kheap.study.size import config_bytes
from kheap.trace.model import HeapInit, TraceHeap

PROFILE = Profile(bits=32)


def churning_trace(ops=600):
    """A trace whose sizes are not monotone: blocks of many sizes come and go."""
    trace, live = Trace(), []
    for i in range(ops):
        if i % 3 == 2:
            trace.add(2, live.pop(i * 7 % len(live)))
        else:
            trace.add(0, i, 8 + i * 37 % 500)
            live.append(i)
    return trace


def test_an_interrupt_leaves_an_answer_that_says_so():
    def interrupt(done, total):
        raise KeyboardInterrupt

    trace = churning_trace()
    whole = find_size(trace, profile=PROFILE)
    part = find_size(trace, profile=PROFILE, progress=interrupt)
    assert whole.is_complete and not part.is_complete
    assert part.safe_is_proved, "what was proved before is proved"
    assert part.safe_bytes >= whole.safe_bytes
    assert part.untested


def test_progress_ends_with_all_sizes():
    seen = []
    answer = find_size(churning_trace(), profile=PROFILE, progress=lambda *pair: seen.append(pair))
    assert seen == sorted(seen)
    assert seen[-1] == (answer.tested_sizes, answer.tested_sizes)


def test_a_spent_budget_is_told(monkeypatch):
    trace = churning_trace()
    monkeypatch.setattr("kheap.study.size._BUDGET_OPS", {"quick": 20 * len(trace)})
    monkeypatch.setattr("kheap.study.size.EFFORTS", ("quick",))
    answer = find_size(trace, profile=PROFILE, effort="quick")
    assert not answer.is_complete
    assert answer.replays < 60


def test_each_lifetime_must_fit():
    trace = Trace(heaps=[TraceHeap("heap")])
    for op_index in (0, 2):
        trace.inits.append(HeapInit(op_index, 0, 0x20000000, 4096))
    for block, size in enumerate((100, 100, 300)):
        trace.add(0, block, size)
    answer = find_size(trace, profile=PROFILE)
    assert answer.peak_request_bytes == 300
    assert replay(trace, answer.safe_bytes, profile=PROFILE).failed == 0
    assert replay(trace, answer.smallest_fit_bytes - 8, profile=PROFILE).failed == 1


def test_heaps_are_sized_apart():
    trace = Trace(heaps=[TraceHeap("a"), TraceHeap("b")])
    trace.add(0, 0, 1000, heap=0)
    trace.add(0, 0, 50, heap=1)
    sizes = [find_size(trace, profile=PROFILE, heap=name).smallest_fit_bytes for name in "ab"]
    assert sizes[0] > 1000 > sizes[1]
    with pytest.raises(ValueError, match="several heaps: name one of a, b"):
        find_size(trace)
    with pytest.raises(ValueError, match="no heap 'c'"):
        find_size(trace, heap="c")


def test_requests_for_nothing_are_left_out():
    trace = Trace()
    trace.add(0, 0, 0)
    trace.add(0, 1, 64)
    trace.add(1, 1, 0)
    assert find_size(trace, profile=PROFILE).smallest_fit_bytes is not None


def test_an_empty_trace_fits_the_least_heap():
    answer = find_size(Trace(), profile=PROFILE)
    assert answer.safe_bytes == answer.smallest_fit_bytes == answer.spans[0].first


@pytest.mark.parametrize("overhead", ["k_heap", "k_malloc", "malloc"])
def test_the_parts_add_up(overhead):
    answer = find_size(churning_trace(), profile=PROFILE, overhead=overhead)
    assert sum(size for _, size in answer.arithmetic()) == answer.recommended_bytes
    assert all(size >= 0 for _, size in answer.arithmetic())
    assert answer.recommended_bytes % 8 == 0
    assert answer.recommended_bytes >= 1.1 * answer.safe_bytes


@pytest.mark.parametrize("region", [64, 1000, 4096, 65_536, 262_200, 1_000_000])
def test_the_option_gives_such_a_region(region):
    value = config_bytes(region, PROFILE, "k_malloc")
    footer = 4
    assert min_size_for(value, PROFILE) + footer >= region
    assert config_bytes(region, Profile(release="4.3"), "k_malloc") == region
    assert config_bytes(region, PROFILE, "k_heap") == region


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"overhead": "calloc"}, "overhead must be one of"),
        ({"effort": "some"}, "effort must be one of"),
    ],
)
def test_what_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        find_size(churning_trace(), **arguments)
