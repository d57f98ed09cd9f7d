"""The trace for Perfetto is JSON of the Trace Event Format, and says what the replay says."""

from __future__ import annotations

import io
import json
from collections import Counter

from kheap.report.chrome import write_chrome_trace
from kheap.trace import Trace, TraceHeap
from report.workloads import lvgl_report, random_trace, report_of

#: What each phase must have besides ph, name, pid, tid and ts.
PHASES = {
    "M": {"args"},
    "C": {"args"},
    "b": {"cat", "id", "args"},
    "e": {"cat", "id"},
    "i": {"cat", "s", "args"},
}


def events_of(report):
    out = io.StringIO()
    write_chrome_trace(report, out)
    return json.loads(out.getvalue())["traceEvents"]


def test_every_event_is_one_of_the_format():
    for event in events_of(report_of(random_trace(200, 4), 4096)):
        wanted = {"ph", "name", "pid", "tid", "ts"} | PHASES[event["ph"]]
        assert set(event) == wanted
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert isinstance(event["args"]["bytes"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
        if event["ph"] == "i":
            assert event["s"] == "p"


def test_a_block_begins_once_and_ends_once():
    report = report_of(random_trace(200, 4), 4096)
    events = events_of(report)
    begun = {e["id"]: e for e in events if e["ph"] == "b"}
    ended = {e["id"]: e for e in events if e["ph"] == "e"}
    assert begun.keys() == ended.keys()
    assert len(begun) == report.block_count
    for id, begin in begun.items():
        same = ("cat", "name", "pid", "tid")
        assert [begin[key] for key in same] == [ended[id][key] for key in same]
        assert begin["ts"] < ended[id]["ts"]


def test_a_real_trace():
    report = lvgl_report()
    events = events_of(report)
    counts = Counter(event["ph"] for event in events)
    assert (counts["b"], counts["e"], counts["i"]) == (8014, 8014, 3)
    first = next(event for event in events if event["ph"] == "i")
    assert (first["ts"], first["name"]) == (2440, "failed: fragmented")
    assert first["args"]["largest_free_bytes"] == 348
    used = [e for e in events if e["ph"] == "C" and e["name"] == "used bytes"]
    assert max(event["args"]["bytes"] for event in used) == 14_556
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {"heap lvgl_heap", "unknown thread", "z_main_thread"}


def test_times_are_the_traces_where_it_has_any():
    trace = Trace(heaps=[TraceHeap("heap")])
    trace.add(0, 0, 10, time=1.5)
    trace.add(2, 0, time=1.25)
    slices = [e for e in events_of(report_of(trace, 1024)) if e["ph"] in "be"]
    # A clock that goes backwards makes no slice that ends before it begins.
    assert [event["ts"] for event in slices] == [1_500_000, 1_500_000]


def test_of_names_that_need_escaping():
    trace = Trace(path='a "b" \u2028', heaps=[TraceHeap('x"\n')])
    trace.add(0, 0, 10)
    assert events_of(report_of(trace, 1024))[0]["args"]["name"] == 'heap x"\n'
