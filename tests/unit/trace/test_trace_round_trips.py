"""What comes back when a trace is written and read again, and what of it is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import kheap
import kheap.profile
from helpers.build import real_data, real_files, share
from kheap.profile import Profile
from kheap.trace import (
    ALLOC,
    FREE,
    OP_NAMES,
    REALLOC,
    WRITABLE,
    HeapInit,
    Trace,
    TraceHeap,
    read_trace,
)

SEEDED = settings(
    max_examples=40, phases=[Phase.generate], derandomize=True, deadline=None, database=None
)
PROFILE = Profile(release="3.5", bits=32, header="small", runtime_stats=False, alloc_loops=5)

#: What each format gives back as it was, beside op and size.
COLUMNS = {
    "syslog": "id align heap time thread caller result",
    "kh": "id align heap time thread caller result",
    "csv": "id align heap time thread caller result",
    "jsonl": "id align heap time thread caller result",
    "valgrind": "id time result",
    "mtrace": "id caller result",
    "rep": "",
}
ONE_HEAP = ("rep", "mtrace")


def column(trace, name):
    """A column with names in the place of indices; alignments of frees say nothing."""
    tables = {
        "op": OP_NAMES,
        "heap": [heap.name for heap in trace.heaps],
        "thread": [*trace.threads, None],
        "caller": [*trace.callers, None],
    }
    values = list(getattr(trace, name))
    if name == "align":
        return [0 if op == FREE else align for op, align in zip(trace.op, values, strict=True)]
    return [tables[name][value] for value in values] if name in tables else values


class Maker:
    """Makes sound traces: ids as readers give them, addresses that no two blocks share."""

    def __init__(self, heaps, recorded):
        self.trace = Trace(
            heaps=[TraceHeap(name) for name in heaps],
            threads=["main", "worker", "café"],
            callers=["f", 'g,"h"', "t.c:6:main"],
            profile=PROFILE,
        )
        self.recorded = recorded
        self.live = {}
        self.unused = []
        self.address = 0x1000

    def result(self, serves):
        self.address += 0x100
        return (self.address if serves else 0) if self.recorded else -1

    def op(self, kind, pick, size, align, heap, serves, **more):
        mine = sorted(id for id, at in self.live.items() if at == heap)
        if kind == ALLOC or not mine:
            return self.alloc(size, align, heap, serves, more)
        id = mine[pick % len(mine)]
        if kind == FREE or (kind == REALLOC and not size):
            del self.live[id]
            self.unused.append(id)
        if kind == FREE:
            return self.trace.add(FREE, id, heap=heap, **more)
        result = self.result(serves and size)
        return self.trace.add(REALLOC, id, size, align, heap=heap, result=result, **more)

    def alloc(self, size, align, heap, serves, more):
        serves = serves or not self.recorded
        if not serves:
            id = self.unused[-1] if self.unused else self.trace.id_next
        elif self.unused:
            id = self.unused.pop()
        else:
            id = self.trace.id_next
            self.trace.id_next += 1
        if serves:
            self.live[id] = heap
        self.trace.add(ALLOC, id, size, align, heap=heap, result=self.result(serves), **more)

    def init(self, heap):
        self.unused.extend(id for id, at in self.live.items() if at == heap)
        self.live = {id: at for id, at in self.live.items() if at != heap}
        place = HeapInit(len(self.trace), heap, 0x20000000 + 0x10000 * heap, 4096)
        self.trace.inits.append(place)


class _Counted(Trace):
    """A trace that counts the ids it gave."""

    id_next = 0


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from([ALLOC, ALLOC, REALLOC, FREE]),
            "pick": st.integers(0, 20),
            "size": st.sampled_from([0, 1, 7, 100, 300, 5000]),
            "align": st.sampled_from([0, 0, 0, 16, 64]),
            "heap": st.integers(0, 1),
            "serves": st.booleans(),
            "time": st.integers(0, 10_000_000).map(lambda ms: ms / 1000),
            "thread": st.integers(-1, 2),
            "caller": st.integers(-1, 2),
        }
    ),
    min_size=1,
    max_size=40,
)


def made(calls, heaps, recorded, inits=()):
    maker = Maker(heaps, recorded)
    maker.trace = _Counted(**{name: getattr(maker.trace, name) for name in Trace.__slots__})
    if recorded and inits is not None:
        for heap in range(len(heaps)):
            maker.init(heap)
    for index, call in enumerate(calls):
        if inits and index in inits:
            maker.init(0)
        maker.op(**call | {"heap": call["heap"] % len(heaps)})
    return maker.trace


def offsets(trace, size=4096):
    """Where a replay on one heap puts the blocks of the heap used first."""
    alone = replace(trace, inits=[])
    return kheap.replay(alone, size, heap=trace.heaps[trace.heap[0]].name, profile=PROFILE).offsets


def frees_for_reallocs(trace):
    """Make each realloc to 0 bytes the free that it is; how many there were."""
    rows = enumerate(zip(trace.op, trace.size, strict=True))
    ends = [i for i, (op, size) in rows if op == REALLOC and not size]
    for i in ends:
        trace.op[i], trace.result[i] = FREE, -1
    return len(ends)


@pytest.mark.parametrize("format", WRITABLE)
@given(calls=CALLS, recorded=st.booleans())
@SEEDED
def test_round_trips(round_trip, format, calls, recorded):
    heaps = ["pool"] if format in ONE_HEAP else ["pool", "7"]
    trace = made(calls, heaps, recorded)
    again, lost = round_trip(trace, format)
    if format == "mtrace":
        assert lost["reallocs to 0 bytes, written as frees"] == frees_for_reallocs(trace)
    assert again.op == trace.op
    assert again.size == trace.size
    held = set(COLUMNS[format].split())
    if not recorded and format not in ("csv", "jsonl"):
        held.discard("result")
    for name in held:
        assert column(again, name) == column(trace, name), name
    if "align" not in held:
        trace.align = again.align
    assert offsets(again) == offsets(trace)


@pytest.mark.parametrize("format", ["syslog", "kh"])
@given(calls=CALLS, at=st.sets(st.integers(1, 30), max_size=3))
@SEEDED
def test_initialisations_come_back(round_trip, format, calls, at):
    trace = made(calls, ["pool", "other"], recorded=True, inits=at)
    again, _ = round_trip(trace, format)
    assert again.profile == trace.profile
    names = [[heap.name for heap in t.heaps] for t in (again, trace)]
    assert [replace(init, heap=names[0][init.heap]) for init in again.inits] == [
        replace(init, heap=names[1][init.heap]) for init in trace.inits
    ]
    for name in ("op", "size", "align", "heap", "time", "thread", "caller", "result"):
        assert column(again, name) == column(trace, name), name


@pytest.mark.parametrize("format", ["csv", "jsonl", "valgrind", "rep", "mtrace"])
def test_blocks_of_a_heap_that_is_initialised_again_are_freed(round_trip, table, format):
    trace = Trace(heaps=[TraceHeap("heap")], inits=[HeapInit(0, 0, 4096, 512)])
    trace.add(ALLOC, 0, 10, result=4200)
    trace.add(ALLOC, 1, 20, result=4300)
    trace.add(FREE, 0)
    trace.inits.append(HeapInit(3, 0, 4096, 512))
    trace.add(ALLOC, 0, 30, result=4200)
    again, lost = round_trip(trace, format)
    assert table(again, "size") == [
        ("alloc", 10), ("alloc", 20), ("free", 0), ("free", 0), ("alloc", 30),
    ]  # fmt: skip
    assert lost["sizes and addresses of heaps"] == 2
    assert lost["blocks that end as their heap is initialised again, written as freed"] == 1


def everything():
    trace = made([], ["pool"], recorded=True)
    trace.profile = PROFILE
    more = {"time": 1.25, "thread": 0, "caller": 2}
    trace.add(ALLOC, 0, 10, 64, result=4200, **more)
    trace.add(ALLOC, 1, 10, result=0, **more)
    trace.add(REALLOC, 0, 20, 32, result=4300, **more)
    trace.add(REALLOC, 0, 0, result=0, **more)
    return trace


@pytest.mark.parametrize(
    ("format", "lost"),
    [
        ("syslog", {}),
        ("kh", {}),
        ("csv", {"sizes and addresses of heaps": 1, "the profile": 1}),
        ("jsonl", {"sizes and addresses of heaps": 1, "the profile": 1}),
        (
            "valgrind",
            {
                "sizes and addresses of heaps": 1,
                "the profile": 1,
                "threads": 4,
                "call sites": 4,
                "alignments of reallocs": 1,
                "names of heaps, written as process numbers": 1,
            },
        ),
        (
            "mtrace",
            {
                "sizes and addresses of heaps": 1,
                "the profile": 1,
                "threads": 4,
                "times": 4,
                "alignments": 2,
                "names of heaps": 1,
                "reallocs to 0 bytes, written as frees": 1,
            },
        ),
        (
            "rep",
            {
                "sizes and addresses of heaps": 1,
                "the profile": 1,
                "threads": 4,
                "times": 4,
                "alignments": 2,
                "call sites": 4,
                "addresses, and which requests failed": 4,
                "names of heaps": 1,
            },
        ),
    ],
)
def test_what_is_lost_is_told(round_trip, format, lost):
    assert round_trip(everything(), format)[1] == lost


def test_every_format_has_a_row():
    assert set(COLUMNS) == set(WRITABLE)


# ---------------------------------------------------------------------- real programs


@pytest.mark.slow
@pytest.mark.parametrize("path", share(real_files("real", "traces", pattern="*.sys.jsonl*")))
def test_programs_of_zephyr(round_trip, path):
    trace = read_trace(path)
    for format in ("syslog", "kh"):
        again, _ = round_trip(trace, format)
        for name in ("op", "id", "size", "align", "result"):
            assert getattr(again, name) == getattr(trace, name), name
        assert again.inits == trace.inits
        assert again.profile == trace.profile
        if len(trace) < 5000:
            assert kheap.replay(again).offsets == kheap.replay(trace).offsets
    for format in ("csv", "jsonl", "valgrind"):
        again, lost = round_trip(trace, format)
        freed = lost["blocks that end as their heap is initialised again, written as freed"]
        assert len(again) == len(trace) + freed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mtrace_bash.txt", "mtrace_git.txt", "valgrind_trace_malloc.txt"])
def test_programs_of_a_pc(round_trip, name):
    path = real_data("alloc_traces", name)
    if path is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no alloc_traces")
    trace = read_trace(path)
    for format in WRITABLE:
        again, _ = round_trip(trace, format)
        assert (again.op, again.size) == (trace.op, trace.size)
        assert offsets(again, 1 << 17) == offsets(replace(trace, align=again.align), 1 << 17)
