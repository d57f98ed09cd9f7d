"""Reading small files that a test writes, and looking at what came of them."""

from __future__ import annotations

import pytest

from kheap.errors import TraceError
from kheap.trace import FREE, OP_NAMES, REALLOC, read_trace, write_trace

COLUMNS = ("op", "id", "size", "align", "heap", "time", "thread", "caller", "result")


@pytest.fixture
def read(tmp_path, monkeypatch):
    """``read(content, name, **options)``: the trace of a file with this content."""
    monkeypatch.chdir(tmp_path)

    def read_content(content, name="t", **options):
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return read_trace(name, **options)

    return read_content


@pytest.fixture
def refusal(read):
    """``refusal(content, name, **options)``: the message with which the file is refused."""

    def refused_content(content, name="t", **options):
        with pytest.raises(TraceError) as caught:
            read(content, name, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return refused_content


@pytest.fixture(scope="session")
def table():
    """``table(trace, "id size")``: the operations as tuples of the name and these columns."""

    def rows(trace, names):
        ops = [OP_NAMES[op] for op in trace.op]
        return list(zip(ops, *(getattr(trace, name) for name in names.split()), strict=True))

    return rows


@pytest.fixture(scope="session")
def check_trace():
    """``check_trace(trace)``: what holds for every trace that a reader returns."""
    return check


def check(trace):
    count = len(trace)
    assert count > 0
    assert {len(getattr(trace, name)) for name in COLUMNS} == {count}
    assert set(trace.op) <= {0, 1, 2}
    assert min(trace.size) >= 0
    assert min(trace.align) >= 0
    assert min(trace.result) >= -1
    assert all(0 <= heap < len(trace.heaps) for heap in trace.heap)
    assert all(-1 <= thread < len(trace.threads) for thread in trace.thread)
    assert all(-1 <= caller < len(trace.callers) for caller in trace.caller)
    check_ids(trace)


def check_ids(trace):
    """Each id names one block at a time, and only ids of live blocks are freed or resized."""
    live = {}
    inits = list(trace.inits)
    for index, (op, id, size, heap, result) in enumerate(
        zip(trace.op, trace.id, trace.size, trace.heap, trace.result, strict=True)
    ):
        while inits and inits[0].op_index <= index:
            gone = inits.pop(0).heap
            live = {id: heap for id, heap in live.items() if heap != gone}
        if op == FREE:
            assert live.pop(id) == heap
        elif op == REALLOC:
            assert live[id] == heap
            if size == 0 and result <= 0:
                del live[id]
        else:
            assert id not in live
            if result != 0:
                live[id] = heap
    assert trace.id_count <= len(trace)


@pytest.fixture(scope="session")
def round_trip(tmp_path_factory, check_trace):
    """Write a trace, read it again, and look at it."""
    folder = tmp_path_factory.mktemp("written")

    def write_and_read(trace, format):
        path = folder / "t"
        lost = write_trace(trace, path, format, overwrite=True)
        again = read_trace(path)
        check_trace(again)
        assert (again.format, again.skipped) == (format, 0)
        assert all(count > 0 for count in lost.values())
        return again, lost

    return write_and_read
