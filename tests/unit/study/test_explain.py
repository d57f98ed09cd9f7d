"""Failed requests explained: by hand on small heaps, and against plain replays on real traces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kheap.profile import Profile
from kheap.study.explain import explain
from kheap.study.explain_trials import part_of_trace
from kheap.study.replay import replay
from kheap.trace import ALLOC, FREE, REALLOC, Trace, TraceHeap, read_trace

TRACES = Path(__file__).parents[3] / "examples" / "traces"
TCP = TRACES / "tcp_sockets.sys.jsonl.gz"
LVGL = TRACES / "lvgl_stress.sys.jsonl.gz"
SMALL = Profile(bits=32, header="small")


def made(*ops):
    """A trace of ("alloc" id size [align]), ("realloc" id size) and ("free" id)."""
    trace = Trace(heaps=[TraceHeap("h")], threads=["main", "rx"], callers=["open", "read"])
    names = {"alloc": ALLOC, "realloc": REALLOC, "free": FREE}
    for i, (name, id, *rest) in enumerate(ops):
        trace.add(names[name], id, *rest, time=i / 2, thread=id % 2, caller=0 if id < 3 else 1)
    return trace


def failed_at(trace, size, op_index, **options):
    done = replay(trace, size, **options)
    return op_index in {failure.op_index for failure in done.failures}


def before(trace, stop):
    part = Trace(heaps=trace.heaps)
    for i in range(stop):
        part.add(trace.op[i], trace.id[i], trace.size[i], trace.align[i], heap=trace.heap[i])
    return part


def test_nothing_failed():
    assert explain(made(("alloc", 0, 8), ("free", 0)), 256) == []


def test_the_moment_and_who_held_what():
    trace = made(("alloc", 0, 40), ("alloc", 1, 40), ("alloc", 3, 100), ("alloc", 4, 500))
    (found,) = explain(trace, 512, profile=SMALL)
    assert (found.op_index, found.op, found.id, found.heap) == (3, "alloc", 4, "h")
    assert (found.request_bytes, found.align, found.kept_bytes) == (500, 0, None)
    assert (found.time_s, found.thread, found.caller) == (1.5, "main", "read")
    assert found.verdict == "too_big"
    assert (found.held.blocks, found.held.request_bytes, found.held.chunk_bytes) == (3, 180, 200)
    rows = [(g.key, g.blocks, g.request_bytes, g.chunk_bytes) for g in found.by_size]
    assert rows == [(100, 1, 100, 104), (40, 2, 80, 96)]
    assert [(g.key, g.chunk_bytes) for g in found.by_caller] == [("read", 104), ("open", 96)]
    assert [(g.key, g.blocks) for g in found.by_thread] == [("rx", 2), ("main", 1)]


def test_the_larger_heap_is_the_smallest_to_the_byte():
    trace = made(("alloc", 0, 40), ("alloc", 1, 40), ("alloc", 3, 100), ("alloc", 4, 500))
    (found,) = explain(trace, 512, profile=SMALL)
    assert found.larger.is_smallest
    assert found.larger.more_bytes == found.larger.size_bytes - 512
    serving = [s for s in range(513, 1025) if not failed_at(trace, s, 3, profile=SMALL)]
    assert found.larger.size_bytes == serving[0]


def test_no_times_no_names():
    trace = Trace()
    trace.add(ALLOC, 0, 1000)
    (found,) = explain(trace, 256)
    assert (found.time_s, found.thread, found.caller) == (None, None, None)
    assert (found.by_size, found.by_caller, found.by_thread) == ((), (), ())


def test_a_request_for_nothing_has_no_remedy():
    (found,) = explain(made(("alloc", 0, 0)), 256)
    assert (found.verdict, found.larger, found.alloc_loops) == ("too_big", None, None)


def test_k_malloc_serves_a_request_for_nothing():
    assert explain(made(("alloc", 0, 0)), 256, overhead="k_malloc") == []


def test_a_word_of_k_malloc_counts_for_the_heap():
    (found,) = explain(made(("alloc", 0, 1000)), 256, profile=SMALL, overhead="k_malloc")
    assert (found.request_bytes, found.verdict.request_bytes) == (1000, 1004)


def test_a_resize_that_fails_keeps_its_block():
    trace = made(("alloc", 0, 40), ("realloc", 0, 900), ("free", 0), ("alloc", 1, 900))
    first, second = explain(trace, 256, profile=SMALL)
    assert (first.kept_bytes, first.held.blocks) == (40, 1)
    assert (second.kept_bytes, second.held.blocks) == (None, 0)


def test_the_limit_takes_the_first():
    trace = made(*(("alloc", i, 900) for i in range(5)))
    assert [found.op_index for found in explain(trace, 256, limit=2)] == [0, 1]
    with pytest.raises(ValueError, match="limit 0"):
        explain(trace, 256, limit=0)


def scarce(bits=32):
    """Four free chunks of one bucket, the largest of them behind the three that are looked at."""
    sizes = [108, 68, 68, 68]
    ops = [("alloc", i, size) for i, size in enumerate([8, *(s for x in sizes for s in (x, 8))])]
    ops.append(("alloc", 90, 4))
    ops += [("free", 1 + 2 * i) for i in (1, 2, 3, 0)]
    return made(*ops, ("alloc", 99, 100))


def test_search_limit_and_the_loops_that_serve():
    size = next(
        size
        for size in range(400, 700, 4)
        if [f.verdict for f in replay(scarce(), size, profile=SMALL).failures] == ["search_limit"]
    )
    (found,) = explain(scarce(), size, profile=SMALL)
    assert (found.verdict, found.alloc_loops) == ("search_limit", 5)
    assert not replay(
        scarce(), size, profile=Profile(bits=32, header="small", alloc_loops=5)
    ).failed


def test_a_fault_of_old_releases():
    trace = made(("alloc", 0, 245))
    old = Profile(release="4.1", bits=32, header="small", runtime_stats=False)
    (found,) = explain(trace, 252, profile=old)
    assert found.verdict == "faults"
    assert not failed_at(trace, found.larger.size_bytes, 0, profile=old)


def chequered():
    """Small blocks that stay between large ones that go: large holes, each a little too small."""
    ops = []
    for i in range(0, 40, 2):
        ops += [("alloc", i, 200), ("alloc", i + 1, 16)]
    ops += [("free", i) for i in range(0, 40, 2)]
    return made(*ops, ("alloc", 50, 1200), ("alloc", 51, 1200), ("alloc", 52, 1200))


def test_a_second_heap_where_it_needs_less():
    # 1,200 bytes and more apart: the rest needs what it has, the large ones their sum.
    found = explain(chequered(), 4800, profile=SMALL)
    pairs = [one.second_heap for one in found if one.second_heap]
    for one in found:
        pair = one.second_heap
        if pair is None:
            continue
        assert pair.total_bytes < one.larger.size_bytes
        large = part_of_trace(chequered(), pair.from_request_bytes)
        small = part_of_trace(chequered(), 1, pair.from_request_bytes)
        assert not replay(large, pair.size_bytes, profile=SMALL).failed
        assert not replay(small, pair.rest_bytes, profile=SMALL).failed
    assert pairs


def test_a_part_of_a_trace_moves_what_crosses_the_border():
    trace = made(("alloc", 0, 8), ("realloc", 0, 80), ("realloc", 0, 90), ("realloc", 0, 4))
    small = part_of_trace(trace, 1, 50)
    large = part_of_trace(trace, 50)
    assert [*zip(small.op, small.size, strict=True)] == [(ALLOC, 8), (FREE, 0), (ALLOC, 4)]
    assert [*zip(large.op, large.size, strict=True)] == [(ALLOC, 80), (REALLOC, 90), (FREE, 0)]


def test_real_trace_of_two_heaps():
    """Every number against a replay that stops before the request."""
    trace = read_trace(TCP)
    name = "net_buf_mem_pool_rx_bufs"
    found = explain(trace, 256, heap=name)
    assert len(found) == 8
    for one in found[:3]:
        heap = replay(before(trace, one.op_index), 256, heap=name, profile=trace.profile).heaps[0]
        used = [c for c in heap.heap.chunks() if c.state == "used"]
        assert sum(c.chunk_bytes for c in used) == one.held.chunk_bytes
        assert len(used) == one.held.blocks
        assert heap.final.free_bytes == one.verdict.free_bytes
        assert heap.final.largest_free_bytes == one.verdict.largest_free_bytes
        sizes = range(257, one.larger.size_bytes + 1)
        served = [s for s in sizes if not failed_at(trace, s, one.op_index, heap=name)]
        assert served == [one.larger.size_bytes]


def test_real_trace_as_recorded_serves():
    assert explain(read_trace(TCP)) == []


@pytest.mark.slow
def test_lvgl():
    """Sizes that are not monotone: each size below the answer fails this very request."""
    trace = read_trace(LVGL)
    first = explain(trace, 16 << 10, profile=SMALL, limit=1)[0]
    assert (first.op_index, first.verdict, first.request_bytes) == (2440, "fragmented", 384)
    assert first.larger.is_smallest
    head = before(trace, 2441)
    for size in range((16 << 10) + 4, first.larger.size_bytes, 8):
        assert failed_at(head, size, 2440, profile=SMALL)
    assert not failed_at(head, first.larger.size_bytes, 2440, profile=SMALL)
    used = replay(before(trace, 2440), 16 << 10, profile=SMALL).heaps[0].heap.chunks()
    assert first.held.chunk_bytes == sum(c.chunk_bytes for c in used if c.state == "used")


@pytest.mark.slow
def test_csapp():
    data = os.environ.get("KHEAP_TEST_DATA", "")
    path = Path(data) / "traces" / "csapp" / "cccp-bal.rep.gz"
    if not data or not path.exists():
        pytest.skip("KHEAP_TEST_DATA does not lead to the CS:APP traces")
    trace = read_trace(path)
    found = explain(trace, 1_600_000, profile=Profile(bits=32), limit=2)
    assert len(found) == 2
    for one in found:
        size = one.larger.size_bytes
        assert not failed_at(trace, size, one.op_index, profile=Profile(bits=32))
        assert failed_at(trace, size - 8, one.op_index, profile=Profile(bits=32))


def test_a_search_that_is_given_up_says_so(monkeypatch):
    monkeypatch.setattr("kheap.study.explain_trials.BUDGET_OPS", 0)
    trace = made(("alloc", 0, 40), ("alloc", 1, 40), ("alloc", 3, 100), ("alloc", 4, 500))
    (found,) = explain(trace, 512, profile=SMALL)
    assert not found.larger.is_smallest
    assert not failed_at(trace, found.larger.size_bytes, 3, profile=SMALL)
