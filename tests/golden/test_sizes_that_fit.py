"""The sizes that serve real traces, against every size run on the original code."""

from __future__ import annotations

import json
from array import array

import pytest

import kheap
from helpers.build import real_data, real_files
from kheap.trace.model import FREE

PROFILE = kheap.Profile(release="4.4", bits=32)
#: The pure build is given the traces that it can size in a few seconds.
SMALL = ("short1", "short2")


@pytest.mark.slow
@pytest.mark.parametrize("path", real_files("traces", "csapp_fit", pattern="*.json"))
def test_the_set_of_sizes_is_the_recorded_one(path):
    name, _, larger = path.stem.rpartition("-32-x")
    if not kheap.COMPILED and name not in SMALL:
        pytest.skip("too long for the pure build")
    recorded = json.loads(path.read_text())
    trace = kheap.read_trace(real_data("traces", "csapp") / f"{name}-bal.rep.gz")
    trace.size = array(
        "q",
        (
            size if op == FREE else size + int(larger)
            for op, size in zip(trace.op, trace.size, strict=True)
        ),
    )
    answer = kheap.find_size(trace, profile=PROFILE)
    last = recorded["to"] // 8 * 8
    fit = [
        [span.first, min(span.last, last)]
        for span in answer.spans
        if span.served and span.first <= last
    ]
    assert fit == [[first, min(to, last)] for first, to in recorded["fit"]]
    assert answer.smallest_fit_bytes == recorded["smallest"]
    assert answer.safe_bytes == recorded["last_fail"] + 8
    assert answer.safe_is_proved and answer.is_complete
