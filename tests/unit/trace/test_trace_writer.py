"""How traces are written: what is odd in them, and how files come about."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kheap.profile import RELEASES, Profile
from kheap.trace import (
    ALLOC,
    FREE,
    REALLOC,
    WRITABLE,
    HeapInit,
    Trace,
    TraceHeap,
    read_trace,
    write_trace,
)

SEEDED = settings(
    max_examples=40, phases=[Phase.generate], derandomize=True, deadline=None, database=None
)


def one(**more):
    trace = Trace(heaps=[TraceHeap("heap")])
    trace.add(ALLOC, 0, 10, **more)
    return trace


@pytest.mark.parametrize("format", ["mtrace", "valgrind", "kh", "syslog"])
def test_addresses_are_made_up_where_they_are_not_recorded(round_trip, format):
    trace = one(align=64)
    trace.add(ALLOC, 1, 2**63 - 1)
    trace.add(ALLOC, 2, 0)
    trace.add(REALLOC, 0, 20)
    again, lost = round_trip(trace, format)
    assert lost.get("addresses, which are made up") == 4
    assert len(set(again.result)) == 4
    assert again.result[0] % 64 == 0


@pytest.mark.parametrize("format", ["mtrace", "valgrind", "kh", "syslog"])
def test_addresses_that_two_blocks_share_are_not_used(round_trip, format):
    trace = one(result=64)
    trace.add(ALLOC, 1, 20, result=64)
    trace.add(FREE, 0)
    trace.add(FREE, 1)
    again, lost = round_trip(trace, format)
    assert lost["addresses, which are made up"] == 2
    assert list(again.op) == [ALLOC, ALLOC, FREE, FREE]
    assert list(again.id) == [0, 1, 0, 1]


@pytest.mark.parametrize("format", WRITABLE)
def test_frees_of_nothing(tmp_path, format):
    """A program's own trace may hold them; a reader gives none."""
    trace = one(result=64)
    trace.add(FREE, 5)
    trace.add(REALLOC, 6, 10, result=128)
    lost = write_trace(trace, tmp_path / "t", format)
    again = read_trace(tmp_path / "t")
    assert (list(again.op), list(again.size)) == ([ALLOC, ALLOC], [10, 10])
    rows = format in ("csv", "jsonl")
    assert lost["frees of ids that hold no block"] == (0 if rows else 1)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("format", ["csv", "jsonl", "syslog", "kh", "mtrace"])
@given(names=st.lists(NAMES, min_size=3, max_size=3, unique=True))
@SEEDED
def test_any_name_can_be_written(round_trip, format, names):
    heap, thread, caller = names
    trace = Trace(heaps=[TraceHeap(heap)], threads=[thread], callers=[caller])
    trace.add(ALLOC, 0, 10, thread=0, caller=0, result=64)
    again, _ = round_trip(trace, format)
    if format in ("jsonl", "syslog"):
        assert [again.heaps[0].name, again.threads[0], again.callers[0]] == names


@pytest.mark.parametrize("format", ["csv", "kh"])
def test_names_that_would_become_one(round_trip, format):
    trace = Trace(heaps=[TraceHeap("a\tb"), TraceHeap("a\nb")])
    trace.add(ALLOC, 0, 10, heap=0, result=64)
    trace.add(ALLOC, 1, 10, heap=1, result=64)
    again, lost = round_trip(trace, format)
    stem = "a b" if format == "csv" else "a_b"
    assert [heap.name for heap in again.heaps] == [stem, f"{stem}#2"]
    assert lost["names as they are (blanks, control characters)"] == 2


@pytest.mark.parametrize(
    ("times", "kept", "loss"),
    [
        ([0.5, 1.25], [0.5, 1.25], None),
        ([1.0, 1.0 + 1e-10], [1.0, 1.0], "times finer than the format's"),
        ([-2.0, 3.5], [0.0, 5.5], "the time of the beginning, written as 0"),
        ([-1e300, 1e300], [0.0, 0.0], "times"),
        ([1_790_000_000.25, 1_790_000_001.5], [1_790_000_000.25, 1_790_000_001.5], None),
    ],
)
@pytest.mark.parametrize("format", ["syslog", "kh"])
def test_times(round_trip, format, times, kept, loss):
    trace = one(result=64, time=times[0])
    trace.add(ALLOC, 1, 5, result=128, time=times[1])
    again, lost = round_trip(trace, format)
    assert list(again.time) == pytest.approx(kept, abs=1e-9)
    assert [*lost] == [loss] * (loss is not None)


def test_times_of_valgrind_are_days_at_most(round_trip):
    trace = one(result=64, time=1_790_000_000.25)
    trace.add(ALLOC, 1, 5, result=128, time=1_790_000_100.5)
    again, lost = round_trip(trace, "valgrind")
    assert list(again.time) == [0.0, 100.25]
    assert list(lost) == ["the time of the beginning, written as 0"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("format", ["syslog", "kh"])
def test_profiles(round_trip, format, release):
    for bits, header in ((32, "auto"), (32, "small"), (32, "big"), (64, "auto"), (64, "big")):
        for hardening in ("none", "basic", "full") if release == "4.4" else ("moderate",):
            profile = Profile(release=release, bits=bits, header=header, hardening=hardening)
            trace = replace(one(result=64), profile=profile)
            assert round_trip(trace, format)[0].profile == profile
    assert round_trip(one(result=64, time=0.5), format)[0].profile is None


def test_csv_has_all_columns(tmp_path):
    write_trace(one(), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == (
        "op,id,size,align,heap,time,thread,caller,result\nalloc,0,10,,heap,,,,\n"
    )


def test_jsonl_has_no_keys_without_values(tmp_path):
    write_trace(one(), tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_text() == '{"op": "alloc", "id": 0, "size": 10}\n'


def test_the_header_of_rep(tmp_path):
    trace = one()
    trace.add(ALLOC, 1, 30)
    trace.add(FREE, 0)
    trace.add(ALLOC, 0, 5)
    write_trace(trace, tmp_path / "t.rep")
    lines = (tmp_path / "t.rep").read_text().splitlines()
    assert lines == ["40", "2", "4", "1", "a 0 10", "a 1 30", "f 0", "a 0 5"]
    assert read_trace(tmp_path / "t.rep").notes == {}


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "format", "magic"),
    [
        ("t.rep", "rep", b"10\n"),
        ("T.REP", "rep", b"10\n"),
        ("t.mtrace", "mtrace", b"= Start"),
        ("t.valgrind", "valgrind", b"--1-- malloc(10)"),
        ("t.csv", "csv", b"op,id"),
        ("t.jsonl", "jsonl", b'{"op"'),
        ("t.ndjson", "jsonl", b'{"op"'),
        ("t.sys.jsonl", "syslog", b'{"kind"'),
        ("t.kh", "kh", b"kh n"),
        ("t.rep.gz", "rep", b"\x1f\x8b"),
        ("t.csv.zst", "csv", b"\x28\xb5\x2f\xfd"),
    ],
)
def test_the_name_tells_format_and_packing(tmp_path, name, format, magic):
    write_trace(one(result=64), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert read_trace(tmp_path / name).format == format
    assert os.listdir(tmp_path) == [name]


def test_gzip_files_are_the_same_every_time(tmp_path):
    for name in ("a.rep.gz", "b.rep.gz"):
        write_trace(one(), tmp_path / name)
    assert (tmp_path / "a.rep.gz").read_bytes() == (tmp_path / "b.rep.gz").read_bytes()


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "t.rep"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write_trace(one(), path)
    assert (path.read_text(), os.listdir(tmp_path)) == ("mine", ["t.rep"])
    write_trace(one(), path, overwrite=True)
    assert read_trace(path).format == "rep"
    assert os.listdir(tmp_path) == ["t.rep"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "t.rep"
    monkeypatch.setattr(os.path, "lexists", lambda name: False)
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write_trace(one(), path)
    assert path.read_text() == "mine"


def test_without_hard_links(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refused)
    write_trace(one(), tmp_path / "t.rep")
    assert os.listdir(tmp_path) == ["t.rep"]


def test_rights_are_those_of_any_new_file(tmp_path):
    write_trace(one(), tmp_path / "t.rep")
    (tmp_path / "u").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("t.rep", "u")]
    assert modes[0] == modes[1]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real.rep").write_text("old")
    (tmp_path / "t.rep").symlink_to("real.rep")
    write_trace(one(), tmp_path / "t.rep", overwrite=True)
    assert (tmp_path / "t.rep").is_symlink()
    assert read_trace(tmp_path / "real.rep").format == "rep"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_written_to_as_it_is(overwrite):
    write_trace(one(), os.devnull, "rep", overwrite=overwrite)
    assert not os.path.isfile(os.devnull)


@pytest.mark.parametrize(
    ("name", "format", "heap", "message"),
    [
        ("t", None, None, "the name tells no format: expected one of syslog, rep, mtrace"),
        ("t.rep", "heaptrack", None, "'heaptrack' cannot be written: expected one of syslog"),
        ("t.rep", None, None, "rep holds one heap: name one of a, b"),
        ("t.rep", None, "c", "no heap 'c' in the trace: it has a, b, empty"),
        ("t.rep", None, "empty", "the trace holds no operations"),
        ("t.csv", None, "bad", "surrogates not allowed"),
    ],
)
def test_nothing_is_left_behind(tmp_path, name, format, heap, message):
    trace = Trace(heaps=[TraceHeap("a"), TraceHeap("b"), TraceHeap("empty")])
    trace.add(ALLOC, 0, 10, heap=0)
    trace.add(ALLOC, 1, 10, heap=1)
    if heap == "bad":
        heap, trace.heaps[0] = "a", TraceHeap("a")
        trace.threads, trace.thread[0] = ["\ud800"], 0
    with pytest.raises(ValueError, match=message):
        write_trace(trace, tmp_path / name, format, heap=heap)
    assert os.listdir(tmp_path) == []


def test_one_heap_of_several(tmp_path, table):
    inits = [HeapInit(0, heap, 4096 * (heap + 1), 4096) for heap in (0, 1)]
    trace = Trace(heaps=[TraceHeap("a"), TraceHeap("b")], inits=inits)
    trace.add(ALLOC, 0, 10, heap=0, result=64)
    trace.add(ALLOC, 1, 20, heap=1, result=64)
    trace.add(FREE, 1, heap=1)
    trace.inits.append(HeapInit(3, 1, 8192, 1024))
    trace.add(ALLOC, 1, 30, heap=1, result=128)
    write_trace(trace, tmp_path / "t.sys.jsonl", heap="b")
    again = read_trace(tmp_path / "t.sys.jsonl")
    assert table(again, "size") == [("alloc", 20), ("free", 0), ("alloc", 30)]
    assert [(init.op_index, init.size_bytes) for init in again.inits] == [(0, 4096), (2, 1024)]
    assert again.heaps == [TraceHeap("b")]
