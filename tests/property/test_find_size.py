"""Every answer of the size search against brute force: each size replayed by itself."""

from __future__ import annotations

import random

import pytest
from helpers.build import scale

from kheap import Profile, Trace, replay
from kheap.study.overhead import heap_requests
from kheap.study.size import find_size

PROFILES = [
    Profile(bits=32),
    Profile(bits=32, header="small", runtime_stats=False),
    Profile(bits=32, header="big"),
    Profile(bits=64),
    Profile(bits=64, hardening="full"),
    Profile(release="3.7", bits=32, alloc_loops=1),
    Profile(bits=32, alloc_loops=7),
]


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
    seen = Trace(op=trace.op, id=trace.id, heap=trace.heap)
    seen.size, seen.align = heap_requests(trace, profile, overhead)
    try:
        return replay(seen, size, profile=profile).failed == 0
    except ValueError:
        return False


def assert_exact(trace, profile, overhead="k_heap"):
    """Each size up to four times the safe one is as the answer says."""
    answer = find_size(trace, profile=profile, overhead=overhead)
    assert answer.is_complete and answer.safe_is_proved
    least = answer.spans[0].first
    told = {}
    for span in answer.spans:
        for size in range(span.first, min(span.last, 4 * answer.safe_bytes) + 1, 8):
            told[size] = span.served
    wrong = [
        size for size, served in told.items() if serves(trace, size, profile, overhead) != served
    ]
    assert not wrong, (profile, overhead, wrong[:5], answer.spans[:8])
    below = range(8 * (least // 16), least, 8)
    assert not any(serves(trace, size, profile, overhead) for size in below)
    return answer


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@pytest.mark.parametrize("overhead", ["k_heap", "k_malloc", "malloc"])
def test_small_traces(profile, overhead):
    for seed in range(max(3, int(60 * scale()))):
        assert_exact(random_trace(seed, ops=30 + seed % 40), profile, overhead)


@pytest.mark.parametrize("profile", PROFILES[:5], ids=str)
def test_alignments_make_chunk_0_matter(profile):
    aligns = (0, 0, 8, 16, 32, 64, 16 | 4, 128)
    steps = 0
    for seed in range(max(3, int(60 * scale()))):
        answer = assert_exact(random_trace(seed, most=150, aligns=aligns), profile)
        steps += len(answer.failing_above_smallest) > 0
    assert steps
