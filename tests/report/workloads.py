"""Traces for reports, made from seeds, and reports of them."""

from __future__ import annotations

from pathlib import Path
from random import Random

from kheap import Profile, Trace, read_trace, replay
from kheap.report.model import replay_report
from kheap.study.timeline import heap_timelines
from kheap.trace import TraceHeap

LVGL = Path(__file__).parents[2] / "examples" / "traces" / "lvgl_stress.sys.jsonl.gz"
SMALL = Profile(bits=32)


def random_trace(count, seed, *, aligns=(0,), ids=60, largest=600):
    """Allocs, resizes and frees of a few ids, requests for 0 bytes among them."""
    random = Random(seed)
    trace = Trace(path=f"seed {seed}", format="csv", heaps=[TraceHeap("heap")])
    trace.threads, trace.callers = ["main", "net"], ["parse", "send", "log"]
    for i in range(count):
        id, op = random.randrange(ids), random.choice((0, 1, 1, 2))
        if op == 2:
            trace.add(op, id, time=i / 1000)
            continue
        size = random.choice((0, random.randrange(1, largest), random.randrange(1, 60)))
        place = {"thread": random.randrange(2), "caller": random.randrange(3)}
        trace.add(op, id, size, random.choice(aligns), time=i / 1000, **place)
    return trace


def first_ops(trace, count):
    """The same trace, cut off."""
    cut = Trace(heaps=trace.heaps, inits=trace.inits, format=trace.format)
    for i in range(count):
        cut.add(trace.op[i], trace.id[i], trace.size[i], trace.align[i], heap=trace.heap[i])
    return cut


def report_of(trace, size=None, profile=SMALL, **options):
    """The report of a trace's replay."""
    done = replay(trace, size, profile=profile, **options)
    return replay_report(done, heap_timelines(done))


def lvgl_report():
    """A real program's trace, on a heap a little too small for it."""
    return report_of(read_trace(LVGL), 16384, Profile(release="4.4", bits=32))
