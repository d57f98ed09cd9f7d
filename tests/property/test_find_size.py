"""Every answer of the size search against brute force: each size replayed by itself."""

from __future__ import annotations

import random

import pytest

from kheap import COMPILED, Profile, Trace, replay
from kheap.study.fit_stage import Sizes, Stage
from kheap.study.overhead import heap_requests
from kheap.study.size import _demand, find_size

PROFILES = [
    Profile(bits=32),
    Profile(bits=32, header="small", runtime_stats=False),
    Profile(bits=32, header="big"),
    Profile(bits=64),
    Profile(bits=64, hardening="full"),
    Profile(release="3.7", bits=32, alloc_loops=1),
    Profile(bits=32, alloc_loops=7),
]

#: What the random traces of each profile are made from.  For its four, the pure build takes two
#: minutes with its coverage measured, and would take 40 for the eighty.  Among the four are traces
#: that fail above the smallest size, whatever the profile.
SEEDS = range(80) if COMPILED else (0, 1, 7, 13)


def random_trace(seed, *, ops=40, most=200, aligns=(0,), resizes=True):
    """A trace of so many operations, with sizes up to ``most``."""
    rand = random.Random(seed)
    trace, live, free_ids = Trace(), [], list(range(12))
    for _ in range(ops):
        kind = rand.random()
        if live and (kind < 0.35 or not free_ids):
            block = live.pop(rand.randrange(len(live)))
            free_ids.append(block)
            trace.add(2, block)
        elif live and resizes and kind < 0.5:
            trace.add(1, rand.choice(live), rand.randint(1, most), rand.choice(aligns) & -8)
        elif free_ids:
            block = free_ids.pop()
            live.append(block)
            size = rand.choice((rand.randint(1, 16), rand.randint(1, most)))
            trace.add(0, block, size, rand.choice(aligns))
    return trace


def serves(trace, size, profile, overhead):
    """Whether a plain replay serves it."""
    seen = Trace(op=trace.op, id=trace.id, heap=trace.heap)
    seen.size, seen.align = heap_requests(trace, profile, overhead)
    try:
        return replay(seen, size, profile=profile).failed == 0
    except ValueError:
        return False


def assert_exact(trace, profile, overhead="k_heap"):
    """Each size up to twice the safe one, and many up to four times, is as the answer says."""
    answer = find_size(trace, profile=profile, overhead=overhead)
    assert answer.is_complete and answer.safe_is_proved
    demand = _demand(trace, profile, overhead, None, 0x20000000, 0)
    stage = Stage(demand, lambda: False)
    sizes = Sizes(demand.layout, 0x20000000, demand.is_wide)
    for span in answer.spans:
        last = min(span.last, 4 * answer.safe_bytes)
        for size in range(span.first, last + 1, 8):
            if size > 2 * answer.safe_bytes and size % 40:
                continue
            outcome = stage.outcome(sizes.geometry(size))
            assert outcome.served == span.served, (profile, overhead, size, answer.spans[:8])
    least, probe = answer.spans[0].first, random.Random(answer.safe_bytes)
    below = [least - 8 * k for k in range(1, 4)]
    for size in [*below, *(probe.randrange(least, 2 * least, 8) for _ in range(8))]:
        told = any(s.first <= size <= s.last and s.served for s in answer.spans)
        assert serves(trace, size, profile, overhead) == told, (profile, overhead, size)
    return answer


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@pytest.mark.parametrize("overhead", ["k_heap", "k_malloc", "malloc"])
def test_small_traces(profile, overhead):
    for seed in SEEDS:
        assert_exact(random_trace(seed, ops=30 + seed % 40), profile, overhead)


@pytest.mark.parametrize("profile", PROFILES[:5], ids=str)
def test_alignments_make_chunk_0_matter(profile):
    aligns = (0, 0, 8, 16, 32, 64, 16 | 4, 128)
    steps = 0
    for seed in SEEDS:
        answer = assert_exact(random_trace(seed, most=150, aligns=aligns), profile)
        steps += len(answer.failing_above_smallest) > 0
    assert steps > 0, "some fail above the smallest size that fits"


def test_wider_headers_make_a_larger_heap_fail():
    count = 600
    trace = Trace()
    for block in range(count):
        trace.add(0, block, 428)
    answer = find_size(trace, profile=Profile(bits=32))
    assert answer.smallest_fit_bytes == count * 54 * 8 + 96, "headers of 4 bytes: 54 units each"
    assert answer.safe_bytes == count * 55 * 8 + 104, "headers of 8 bytes: 55 units each"
    first, last = 262_152, answer.safe_bytes - 8
    assert answer.failing_above_smallest == [(first, last)], "from the wider headers on"
    for size, served in ((first - 8, True), (first, False), (last, False), (last + 8, True)):
        assert serves(trace, size, Profile(bits=32), "k_heap") == served


def test_a_request_that_no_heap_serves():
    trace = Trace()
    trace.add(0, 0, 1 << 40)
    answer = find_size(trace)
    assert answer.smallest_fit_bytes is None and answer.safe_bytes is None
    assert not answer.safe_is_proved and answer.recommended_bytes is None
