"""Traces of real programs, which are not part of this repository."""

import gzip
import json
from collections import Counter

import pytest

from helpers.build import real_data, real_files
from kheap.trace import OP_NAMES, read_trace

#: What each recorded call of sys_heap becomes.
OPS = {
    "alloc": "alloc",
    "aligned_alloc": "alloc",
    "aligned_realloc": "realloc",
    "realloc": "realloc",
    "free": "free",
}
FREE_NULL = "free of NULL"


def rows_of(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as stream:
        return [json.loads(line) for line in stream]


def op_counts(trace):
    return Counter(OP_NAMES[op] for op in trace.op)


@pytest.mark.parametrize("path", real_files("traces", "csapp", pattern="*.rep.gz"))
def test_csapp(path, check_trace):
    trace = read_trace(path)
    check_trace(trace)
    with gzip.open(path, "rt") as stream:
        header = [int(stream.readline()) for _ in range(4)]
        lines = Counter(line[0] for line in stream if line.strip())
    assert trace.format == "rep"
    assert len(trace) == header[2]
    assert op_counts(trace) == {
        name: lines[name[0]] for name in ("alloc", "realloc", "free") if lines[name[0]]
    }
    assert trace.id_count <= header[1]


@pytest.mark.parametrize("path", real_files("traces", pattern="*two-line-header.rep"))
def test_csapp_with_two_header_lines(path, check_trace):
    trace = read_trace(path)
    check_trace(trace)
    assert (len(trace), trace.notes) == (12, {})


@pytest.mark.parametrize("path", real_files("real", "traces", pattern="*.sys.jsonl*"))
def test_sys_heap_calls(path, check_trace):
    trace = read_trace(path)
    check_trace(trace)
    header, *rows = rows_of(path)
    counts = header["ops"]
    assert len(trace.inits) == counts["init"]
    assert trace.notes["usable_size"] == counts.get("usable_size", 0)
    assert set(trace.notes) <= {"usable_size", FREE_NULL}
    expected = Counter(
        "alloc" if row["op"] == "aligned_realloc" and not row["ptr"] else OPS[row["op"]]
        for row in rows
        if row["op"] in OPS and not (row["op"] == "free" and not row["ptr"])
    )
    assert op_counts(trace) == expected
    assert len(trace) + trace.notes[FREE_NULL] == sum(counts.get(op, 0) for op in OPS)
    results = [row["result"] for row in rows if row["op"] in OPS and "result" in row]
    assert [result for result in trace.result if result != -1] == results
    assert trace.profile.bits == 8 * header["pointer_bytes"]
    assert {init.size_bytes for init in trace.inits} == {
        init["size"] for heap in header["heaps"].values() for init in heap["inits"]
    }


@pytest.mark.parametrize("path", real_files("real", "traces", pattern="*.layers.jsonl.gz"))
def test_layers_hold_the_same_calls(path, check_trace):
    layers = read_trace(path)
    check_trace(layers)
    plain = read_trace(path.with_name(path.name.replace(".layers.jsonl.gz", ".sys.jsonl")))
    for column in ("op", "id", "size", "heap", "result"):
        assert getattr(layers, column) == getattr(plain, column)
    assert layers.inits == plain.inits
    assert layers.heaps == plain.heaps


@pytest.mark.parametrize(
    ("name", "format", "counts"),
    [
        ("mtrace.txt", "mtrace", {"alloc": 6, "realloc": 3, "free": 5}),
        ("mtrace_bash.txt", "mtrace", {"alloc": 998, "realloc": 2, "free": 287}),
        ("mtrace_git.txt", "mtrace", {"alloc": 93, "realloc": 2, "free": 34}),
        ("valgrind_trace_malloc.txt", "valgrind", {"alloc": 6, "realloc": 3, "free": 5}),
    ],
)
def test_host_programs(name, format, counts, check_trace):
    path = real_data("alloc_traces", name)
    if path is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no alloc_traces")
    trace = read_trace(path)
    check_trace(trace)
    assert trace.format == format
    assert op_counts(trace) == counts
