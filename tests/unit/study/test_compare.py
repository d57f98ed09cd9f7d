"""Choices compared: each number against the function that it comes from."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kheap import COMPILED
from kheap.heaps.mem_pool import MemPool
from kheap.profile import Profile
from kheap.study import compare as study
from kheap.study.compare import Options, compare, comparisons, most_saving
from kheap.study.compare_choices import choices
from kheap.study.compare_interrupts import noting_interrupts
from kheap.study.compare_pools import play_pool, pool_at_most, smallest_pool
from kheap.study.explain_trials import part_of_trace
from kheap.study.replay import replay
from kheap.study.size import find_size
from kheap.trace import ALLOC, FREE, REALLOC, HeapInit, Trace, TraceHeap, read_trace

TCP = Path(__file__).parents[3] / "examples" / "traces" / "tcp_sockets.sys.jsonl.gz"
HEAP = "net_buf_mem_pool_rx_bufs"
SMALL = Profile(bits=32, header="small")


def made(*ops):
    """A trace of ("alloc" id size [align]), ("realloc" id size) and ("free" id)."""
    trace = Trace()
    names = {"alloc": ALLOC, "realloc": REALLOC, "free": FREE}
    for name, id, *rest in ops:
        trace.add(names[name], id, *rest)
    return trace


FEW = made(("alloc", 0, 40), ("alloc", 1, 300), ("free", 0), ("alloc", 2, 100), ("realloc", 1, 350))


def by_name(rows):
    return {(row.group, row.choice): row for row in rows}


@pytest.fixture(scope="module")
def few():
    return compare(FEW, 1024, profile=SMALL)


def test_the_first_row_is_now(few):
    now, answer = few[0], find_size(FEW, profile=SMALL)
    assert (now.group, now.profile) == ("now", SMALL)
    assert now.smallest_fit_bytes == answer.smallest_fit_bytes
    assert now.safe_bytes == answer.safe_bytes
    assert now.peak_request_bytes == 450
    assert (now.smallest_more_bytes, now.safe_more_bytes, now.saved_bytes) == (0, 0, 0)
    assert now.size_to_peak == now.smallest_fit_bytes / 450
    done = replay(FEW, 1024, profile=SMALL)
    assert (now.measured_bytes, now.failed) == (1024, 0)
    assert now.peak_allocated_bytes == done.heaps[0].peak_allocated_bytes
    assert now.fragmentation == done.heaps[0].final.fragmentation


def test_the_parts_of_a_size_add_up(few):
    answer = find_size(FEW, profile=SMALL)
    parts = dict(answer.arithmetic())
    rest = parts["fragmentation"] + parts["requested"]
    assert few[0].overhead_bytes + rest == answer.smallest_fit_bytes


def test_every_profile_is_sized_for_itself(few):
    for row in few:
        if row.profile is not None and not row.part_bytes:
            answer = find_size(FEW, profile=row.profile)
            assert row.smallest_fit_bytes == answer.smallest_fit_bytes, row
            assert row.safe_bytes == answer.safe_bytes, row
            assert row.safe_more_bytes == row.safe_bytes - few[0].safe_bytes


def test_the_groups(few):
    names = {}
    for row in few:
        names.setdefault(row.group, []).append(row.choice)
    assert names["release"] == ["2.6", "3.7", "4.3", "4.4"]
    assert names["header"] == ["auto", "small", "big"]
    assert names["alloc_loops"] == ["1", "3", "5", "8", "16"]
    assert names["hardening"] == ["none", "basic", "moderate", "full", "extreme"]
    assert len(names["pool"]) == 4
    assert names["split"] == ["above 64", "above 128"]


def test_choices_that_a_profile_cannot_have():
    old = choices(Profile(release="2.6"), FEW)
    assert {c.group for c in old}.isdisjoint({"header", "runtime_stats"})
    assert [c.name for c in old if c.group == "hardening"] == ["none", "basic", "moderate"]
    hard = [c for c in choices(Profile(hardening="full"), FEW) if c.group == "release"]
    assert [c.note for c in hard] == [
        "without canaries; without runtime statistics", "without canaries", "without canaries", "",
    ]  # fmt: skip


def test_no_more_splits_than_sizes_can_part():
    same = made(*(("alloc", i, 64) for i in range(4)))
    assert not [c for c in choices(SMALL, same) if c.group == "split"]
    wide = made(*(("alloc", i, 3 << i) for i in range(12)))
    assert len([c for c in choices(SMALL, wide) if c.group == "split"]) == 4


def test_two_heaps_serve_their_parts(few):
    row = by_name(few)["split", "above 64"]
    small = made(("alloc", 0, 40), ("free", 0))
    large = made(("alloc", 1, 300), ("alloc", 2, 100), ("realloc", 1, 350))
    sizes = [find_size(t, profile=SMALL).smallest_fit_bytes for t in (small, large)]
    assert row.part_bytes == tuple(sizes)
    assert row.smallest_fit_bytes == sum(sizes)
    assert row.failed == 0


def test_pools(few):
    rows = by_name(few)
    for name in ("quad, split before defrag", "quad, defrag before split", "buddy"):
        row = rows["pool", name]
        assert (row.smallest_fit_bytes, row.safe_bytes, row.profile) == (4096, None, None)
        assert row.smallest_more_bytes == 4096 - few[0].smallest_fit_bytes
        assert (row.measured_bytes, row.failed) == (1024, 2)


def test_a_resize_on_a_pool_is_a_copy():
    # The new block is there before the old one goes: two blocks of 1,024 at once.
    assert smallest_pool(made(("alloc", 0, 300)), "quad", "split_only", 0).size_bytes == 1024
    trace = made(("alloc", 0, 300), ("realloc", 0, 350))
    assert smallest_pool(trace, "quad", "split_before_defrag", 0).size_bytes == 4096
    play = play_pool(trace, 1024, "buddy", "split_before_defrag", 0)
    assert (play.failed, play.final.used_count) == (1, 1)
    trace.add(REALLOC, 0, 0)
    assert play_pool(trace, 1024, "buddy", "split_before_defrag", 0).final.used_count == 0


@pytest.mark.parametrize("model", ["quad", "buddy"])
def test_a_pool_is_played_as_by_hand(model):
    ops = [("alloc", i, 20 + 37 * i % 400) for i in range(12)]
    ops += [("free", i) for i in range(0, 12, 3)] + [("alloc", 20, 900), ("alloc", 21, 100)]
    play = play_pool(made(*ops), 4096, model, "split_before_defrag", 16)
    pool = MemPool(None, min_bytes=64, max_bytes=4096, n_max=1, model=model)
    held, failed = {}, 0
    for name, id, *size in ops:
        if name == "free":
            if held.get(id) is not None:
                pool.free(held.pop(id))
            continue
        held[id] = pool.try_alloc(size[0] + 16)
        failed += held[id] is None
    assert (play.failed, play.final) == (failed, pool.stats())
    assert play.peak_allocated_bytes == pool.stats().max_allocated_bytes


def test_pool_sizes():
    assert [pool_at_most(n) for n in (63, 64, 255, 256, 20_000)] == [None, 64, 64, 256, 16384]


def test_an_aligned_block_is_as_large_as_its_alignment():
    trace = made(("alloc", 0, 10, 256))
    assert smallest_pool(trace, "quad", "split_only", 0).size_bytes == 256


def test_a_descriptor_counts_with_k_malloc():
    rows = by_name(compare(made(("alloc", 0, 60)), profile=SMALL, overhead="k_malloc"))
    assert rows["pool", "quad, split only"].smallest_fit_bytes == 256
    assert rows["pool", "buddy"].smallest_fit_bytes == 64


def test_a_heap_that_is_initialised_again():
    trace = made(("alloc", 0, 200), ("alloc", 1, 20), ("alloc", 2, 200))
    trace.heaps = [TraceHeap("h")]
    trace.inits = [HeapInit(0, 0, 0x20000000, 512), HeapInit(2, 0, 0x20000000, 512)]
    rows = by_name(compare(trace, profile=SMALL))
    now = rows["now", "as it is"]
    assert now.smallest_fit_bytes == find_size(trace, profile=SMALL).smallest_fit_bytes
    assert (now.measured_bytes, now.failed) == (512, 0)
    assert rows["pool", "buddy"].smallest_fit_bytes == 1024
    assert rows["split", "above 32"].failed == 0


def test_most_saving(few):
    best = most_saving(few)
    assert best.saved_bytes == max(row.saved_bytes for row in few) > 0
    assert (best.group, best.choice) == ("split", "above 128")
    assert most_saving(few[:1]) is None
    # Zephyr 2.6 keeps no statistics either; but an option is easier to change.
    heaps = [row for row in few if row.group != "split"]
    best = most_saving(heaps)
    assert (best.group, best.choice, best.saved_bytes) == ("runtime_stats", "off", 8)


def test_wrong_arguments():
    trace = read_trace(TCP)
    with pytest.raises(ValueError, match="several heaps"):
        compare(trace)
    with pytest.raises(ValueError, match="no heap 'x'"):
        compare(trace, heap="x")
    with pytest.raises(ValueError, match="effort"):
        compare(FEW, effort="x")
    with pytest.raises(ValueError, match="16 bytes"):
        compare(FEW, 16)


def test_ctrl_c_ends_the_table_not_only_the_search(monkeypatch):
    options = Options(SMALL, None, "k_heap", 0x20000000, "quick")
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return find_size(*arguments, **options)

    monkeypatch.setattr(study, "find_size", interrupted)
    rows = []
    with pytest.raises(KeyboardInterrupt):
        rows.extend(comparisons(FEW, None, options))
    assert len(calls) == 2
    assert rows[0].group == "now"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nobody_to_be_interrupted():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_interrupts() as was_interrupted:
            signal.raise_signal(signal.SIGINT)
            assert not was_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_real_trace():
    rows = by_name(compare(read_trace(TCP), heap=HEAP))
    assert rows["now", "as it is"].smallest_fit_bytes == 408
    assert rows["header", "big"].smallest_fit_bytes == 440
    assert rows["pool", "buddy"].smallest_fit_bytes == 4096


#: Operations of realloc2 from its first on, the smallest heap for them, and the two heaps.
HEAD = (200, 8912, (104, 4512))
#: All its 14,401 operations take the pure build 4 minutes, and nine times as long where its
#: coverage is measured.
CSAPP = [HEAD, (14_401, 40_488, (104, 28_184))] if COMPILED else [HEAD]


@pytest.mark.slow
@pytest.mark.parametrize(("ops", "smallest", "parts"), CSAPP)
def test_csapp(ops, smallest, parts):
    """Long blocks that grow beside small ones: two heaps need 30 % less, or more."""
    data = os.environ.get("KHEAP_TEST_DATA", "")
    path = Path(data) / "traces" / "csapp" / "realloc2-bal.rep.gz"
    if not data or not path.exists():
        pytest.skip("KHEAP_TEST_DATA does not lead to the CS:APP traces")
    options = Options(Profile(bits=32), None, "k_heap", 0x20000000, "quick")
    trace = read_trace(path)
    columns = {name: getattr(trace, name)[:ops] for name in ("op", "id", "size", "align", "heap")}
    trace = Trace(**columns)
    bench = study._Bench(trace, None, options)
    now, split = (
        bench.tried(choice)
        for choice in choices(options.profile, bench.own)
        if choice.group == "now" or choice.name == "above 16"
    )
    assert (now.smallest_fit_bytes, split.part_bytes) == (smallest, parts)
    halves = part_of_trace(trace, 1, 17), part_of_trace(trace, 17)
    for half, size in zip((trace, *halves), (smallest, *parts), strict=True):
        assert replay(half, size, profile=options.profile).failed == 0
        assert replay(half, size - 8, profile=options.profile).failed > 0
