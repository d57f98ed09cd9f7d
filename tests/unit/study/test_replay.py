"""Replay: what it answers is what the heap itself answers, operation by operation."""

import random
from pathlib import Path

import pytest

import kheap
from kheap.trace import ALLOC, FREE, REALLOC, HeapInit, TraceHeap

EXAMPLES = Path(__file__).parents[3] / "examples" / "traces"
SMALL = kheap.Profile(release="4.4", bits=32, header="small")


def random_trace(seed, count, ids=40, largest=600):
    draw = random.Random(seed)
    trace = kheap.Trace()
    for _ in range(count):
        op = draw.choice((ALLOC, ALLOC, FREE, REALLOC))
        size = 0 if op == FREE else draw.randint(0, largest)
        align = draw.choice((0, 0, 0, 16, 64)) if op != FREE else 0
        trace.add(op, draw.randrange(ids), size, align)
    return trace


def by_hand(trace, heap):
    """Replay through the calls; the offset after each operation, and the failed ones."""
    blocks, offsets, failed = {}, [], []
    for i, (op, id, size, align) in enumerate(
        zip(trace.op, trace.id, trace.size, trace.align, strict=True)
    ):
        old = blocks.get(id)
        if op == FREE:
            heap.free(blocks.pop(id, None))
            offsets.append(-1)
            continue
        try:
            if op == REALLOC:
                new = heap.realloc(old, size, align=align)
            else:
                new = heap.alloc(size, align=align)
        except kheap.OutOfMemory:
            failed.append(i)
            if op == ALLOC or old is None:
                blocks.pop(id, None)
            offsets.append(-1)
            continue
        blocks[id] = new
        offsets.append(-1 if new is None else new)
        if new is None:
            del blocks[id]
    return offsets, failed


@pytest.mark.parametrize("size", [1000, 4096, 20_000])
@pytest.mark.parametrize("bits", [32, 64])
def test_as_by_hand(size, bits, scale):
    profile = kheap.Profile(bits=bits)
    trace = random_trace(f"{size}/{bits}", int(20_000 * scale))
    replay = kheap.replay(trace, size, profile=profile)
    heap = kheap.SysHeap(size, profile, 0x20000000)
    offsets, failed = by_hand(trace, heap)
    assert replay.offsets.tolist() == offsets
    assert [failure.op_index for failure in replay.failures] == failed
    assert replay.heaps[0].final == heap.stats()
    assert replay.heaps[0].peak_allocated_bytes == heap.stats().max_allocated_bytes
    assert bytes(replay.heaps[0].heap.region) == bytes(heap.region)


def test_alloc_on_a_held_id_loses_the_block():
    trace = kheap.Trace()
    trace.add(ALLOC, 0, 10)
    trace.add(ALLOC, 0, 10)
    trace.add(FREE, 0)
    assert kheap.replay(trace, 1024).heaps[0].final.used_count == 1


def test_peak_offset_is_the_highest_end_of_a_used_chunk(scale):
    trace = random_trace("peak", int(2000 * scale))
    heap = kheap.SysHeap(8192, SMALL, 0x20000000)
    highest = 0
    replay = kheap.replay(trace, 8192, profile=SMALL)
    blocks = {}
    for op, id, size, align in zip(trace.op, trace.id, trace.size, trace.align, strict=True):
        old = blocks.pop(id, None)
        if op == FREE:
            heap.free(old)
            continue
        try:
            new = (
                heap.realloc(old, size, align=align)
                if op == REALLOC
                else heap.alloc(size, align=align)
            )
        except kheap.OutOfMemory:
            if op == REALLOC and old is not None:
                blocks[id] = old
            continue
        if new is not None:
            blocks[id] = new
        ends = [c.offset + c.chunk_bytes for c in heap.chunks() if c.state == "used"]
        highest = max([highest, *ends])
    assert replay.heaps[0].peak_offset_bytes == highest


def test_timeline_is_the_statistics_after_each_operation():
    trace = random_trace("timeline", 300)
    replay = kheap.replay(trace, 2048, profile=SMALL)
    (timeline,) = replay.timeline
    for i in range(0, 300, 7):
        part = kheap.Trace(op=trace.op[: i + 1], id=trace.id[: i + 1], size=trace.size[: i + 1],
                           align=trace.align[: i + 1], heap=trace.heap[: i + 1])  # fmt: skip
        stats = kheap.replay(part, 2048, profile=SMALL).heaps[0].final
        assert timeline.allocated_bytes[i] == stats.allocated_bytes
        assert timeline.free_bytes[i] == stats.free_bytes
        assert timeline.largest_free_bytes[i] == stats.largest_free_bytes


@pytest.mark.parametrize("release", ["3.7", "4.2", "4.4"])
def test_peaks_are_the_same_with_and_without_statistics(release):
    trace = random_trace("stats", 800)
    peaks = []
    for stats in (True, False):
        profile = kheap.Profile(release=release, bits=64, runtime_stats=stats)
        part = kheap.replay(trace, 60_000, profile=profile).heaps[0]
        peaks.append(part.peak_allocated_bytes)
    assert peaks[0] == peaks[1]


def test_examples_replay_to_the_recorded_addresses():
    for path in sorted(EXAMPLES.glob("*.jsonl.gz")):
        replay = kheap.replay(kheap.read_trace(path))
        assert replay.first_difference() is None, path.name
        assert replay.failed == 0, path.name


def test_first_difference_is_found():
    trace = kheap.read_trace(EXAMPLES / "lvgl_stress.sys.jsonl.gz")
    trace.result[100] += 8
    assert kheap.replay(trace).first_difference() == 100


def test_lifetimes_of_a_heap():
    trace = kheap.Trace(heaps=[TraceHeap("a"), TraceHeap("b")])
    trace.inits += [HeapInit(0, 0, 0x1000, 512), HeapInit(0, 1, 0x2000, 256)]
    trace.add(ALLOC, 0, 100, heap=0)
    trace.add(ALLOC, 1, 100, heap=1)
    trace.inits.append(HeapInit(2, 0, 0x1000, 512))
    trace.add(ALLOC, 0, 300, heap=0)
    trace.add(ALLOC, 2, 100, heap=1)
    replay = kheap.replay(trace, profile=SMALL)
    assert [(part.name, part.ops, len(part.failures)) for part in replay.heaps] == [
        ("a", 1, 0),
        ("a #2", 1, 0),
        ("b", 2, 1),
    ]
    assert replay.ops == 4
    assert replay.failures[0].verdict == "exhausted"
    only_b = kheap.replay(trace, 512, profile=SMALL, heap="b")
    assert (only_b.failed, only_b.heaps[0].base_address) == (0, 0x20000000)


@pytest.mark.parametrize(
    ("size", "heap", "reason"),
    [
        (512, None, "several heaps: name one of a, b"),
        (512, "c", "no heap 'c' in the trace: it has a, b"),
        (None, None, "records no heap's size"),
        (8, "a", "too small"),
        (1 << 60, "a", "too big"),
    ],
)
def test_no_such_replay(size, heap, reason):
    trace = kheap.Trace(heaps=[TraceHeap("a"), TraceHeap("b")])
    trace.add(ALLOC, 0, 8)
    with pytest.raises(ValueError, match=reason):
        kheap.replay(trace, size, heap=heap)


def test_impossible_alignment_and_size():
    for size, align, reason in ((8, 7, "op 0: align 7"), (-1, 0, "op 0: size -1")):
        trace = kheap.Trace()
        trace.add(ALLOC, 0, size, align)
        with pytest.raises(ValueError, match=reason):
            kheap.replay(trace, 1024)


def test_an_empty_trace():
    replay = kheap.replay(kheap.Trace(), 1024)
    assert (replay.ops, replay.failed, replay.ops_per_second >= 0) == (0, 0, True)


def test_progress_ends_at_the_total():
    seen = []
    trace = random_trace("progress", 500)
    kheap.replay(trace, 1024, progress=lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [500] * len(seen)
    assert seen == sorted(seen)


def test_huge_regions_are_simulated():
    trace = kheap.Trace()
    trace.add(ALLOC, 0, 3_000_000)
    replay = kheap.replay(trace, 1 << 22)
    assert replay.failed == 0


def test_recorded_request_for_nothing_gets_no_memory():
    trace = kheap.Trace()
    trace.add(ALLOC, 0, 0)
    trace.add(REALLOC, 0, 0)
    trace.add(ALLOC, 0, 8)
    trace.add(REALLOC, 0, 0)
    replay = kheap.replay(trace, 1024)
    assert [failure.op_index for failure in replay.failures] == [0, 1]
    assert replay.failures[0].verdict.explanation == "0 bytes: Zephyr answers NULL"
    assert replay.heaps[0].final.used_count == 0


def test_a_request_that_the_search_missed_is_told_so():
    """The failed search moves the bucket's head, so that the next one would find the chunk."""
    trace = kheap.Trace()
    for id, size in enumerate((36, 4, 36, 4, 36, 4, 52, 4)):
        trace.add(ALLOC, id, size)
    fill = 100
    while kheap.replay(trace, 1024, profile=SMALL).failed == 0:
        trace.add(ALLOC, fill, 4)
        fill += 1
    last = trace.op.pop()
    for column in (trace.id, trace.size, trace.align, trace.heap, trace.time, trace.thread,
                   trace.caller, trace.result):  # fmt: skip
        column.pop()
    assert last == ALLOC
    for id in (0, 2, 4, 6):
        trace.add(FREE, id)
    trace.add(ALLOC, 50, 52)
    (failure,) = kheap.replay(trace, 1024, profile=SMALL).failures
    assert failure.verdict == "search_limit"
