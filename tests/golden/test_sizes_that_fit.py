"""The sizes that serve real traces, against every size run on the original code."""

from __future__ import annotations

import json
from array import array

import pytest

import kheap
from helpers.build import real_data, real_files, share
from kheap.trace.model import FREE

PROFILE = kheap.Profile(release="4.4", bits=32)
RECORDINGS = real_files("traces", "csapp_fit", pattern="*.json")
#: Traces that the pure build cannot size in time: realloc2 takes it 210 s, cccp over 12 minutes,
#: and nine times as long where its coverage is measured.  It tries the borders of their sets.
LONG = ("cccp", "realloc2")
SIZED = [one for one in RECORDINGS if kheap.COMPILED or not one.id.startswith(LONG)]


def recorded(path):
    """What was recorded of a trace, and the trace."""
    name, _, larger = path.stem.rpartition("-32-x")
    trace = kheap.read_trace(real_data("traces", "csapp") / f"{name}-bal.rep.gz")
    trace.size = array(
        "q",
        (
            size if op == FREE else size + int(larger)
            for op, size in zip(trace.op, trace.size, strict=True)
        ),
    )
    return json.loads(path.read_text()), trace


def serves(trace, size):
    """Whether a plain replay serves it."""
    return kheap.replay(trace, size, profile=PROFILE).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("path", SIZED)
def test_the_set_of_sizes_is_the_recorded_one(path):
    told, trace = recorded(path)
    answer = kheap.find_size(trace, profile=PROFILE)
    last = told["to"] // 8 * 8
    fit = [
        [span.first, min(span.last, last)]
        for span in answer.spans
        if span.served and span.first <= last
    ]
    assert fit == [[first, min(to, last)] for first, to in told["fit"]]
    assert answer.smallest_fit_bytes == told["smallest"]
    assert answer.safe_bytes == told["last_fail"] + 8
    assert answer.safe_is_proved and answer.is_complete


@pytest.mark.slow
@pytest.mark.parametrize("path", RECORDINGS)
def test_at_each_border_of_the_set_a_replay_serves_or_fails_as_recorded(path):
    """At both ends of the set, and at a share of the borders between."""
    told, trace = recorded(path)
    borders = {}
    for first, to in [told["fit"][0], *share(told["fit"]), told["fit"][-1]]:
        last = to // 8 * 8
        borders |= {first - 8: False, first: True, last: True}
        if last + 8 <= told["to"]:
            borders[last + 8] = False
    assert {size: serves(trace, size) for size in borders} == borders


@pytest.mark.slow
@pytest.mark.parametrize("path", real_files("traces", "csapp", pattern="random2-bal.rep.gz"))
def test_the_head_of_a_trace_that_fails_above_its_smallest_size(path):
    """Not recorded, but short enough for both builds to size it, and to replay it at many sizes."""
    whole = kheap.read_trace(path)
    columns = {name: getattr(whole, name)[:400] for name in ("op", "id", "size", "align", "heap")}
    trace = kheap.Trace(**columns)
    answer = kheap.find_size(trace, profile=PROFILE)
    assert (answer.smallest_fit_bytes, answer.safe_bytes) == (5_194_144, 5_199_040)
    assert answer.safe_is_proved and answer.is_complete
    for span in answer.spans:
        last = min(span.last, 2 * answer.safe_bytes)
        count = (last - span.first) // 8 + 1
        for size in (*range(span.first, last, 8 * max(1, count // 60)), last):
            assert serves(trace, size) == span.served, size
