"""Captures of memray; what its package reads is tested only where it is installed."""

import subprocess
import sys

import pytest

from helpers.build import real_data
from kheap.errors import TraceError
from kheap.trace import ALLOC, FREE, read_trace

PLAIN = b"memray\0" + bytes(60)
PACKED = b"\x04\x22\x4d\x18@@\xc0\x1b\xb4\0\0\xf9\x05memray\0" + bytes(60)

PROGRAM = """
import sys, threading, memray

def make(count):
    return [bytearray(3000 + number) for number in range(count)]

def work():
    make(5)

with memray.Tracker(sys.argv[1], trace_python_allocators=True):
    kept = make(20)
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    del kept
with memray.Tracker(sys.argv[2], file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS):
    make(3)
"""


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """A capture of all allocations of a program, and one of sums."""
    pytest.importorskip("memray", reason="memray is not installed: pip install 'kheap[memray]'")
    folder = tmp_path_factory.mktemp("memray")
    paths = folder / "all.bin", folder / "sums.bin"
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def test_a_capture(captures, check_trace):
    trace = read_trace(captures[0])
    check_trace(trace)
    assert trace.format == "memray"
    made = {3000 + number for number in range(20)}
    sizes = {size - 1 for size in trace.size}  # A bytearray has a byte more.
    assert made <= sizes
    ids = [id for id, size in zip(trace.id, trace.size, strict=True) if size - 1 in made]
    assert len(ids) == 25
    assert trace.threads[1:] == ["worker"]
    assert any(":make" in caller or "<listcomp>" in caller for caller in trace.callers)
    assert {ALLOC, FREE} == set(trace.op)


def test_a_capture_of_sums_holds_no_calls(captures):
    with pytest.raises(TraceError, match=r"memray cannot read it: Can't get all allocations"):
        read_trace(captures[1])


def test_damaged_captures(captures, tmp_path):
    """Cut short anywhere: an error, or the calls up to there."""
    data = captures[0].read_bytes()
    path = tmp_path / "cut.bin"
    for length in range(24, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        try:
            assert len(read_trace(path, "memray")) > 0
        except TraceError as error:
            message = str(error)
            assert message.isprintable()
            assert message.startswith(str(path))


def test_packed_captures(captures, tmp_path):
    import gzip

    path = tmp_path / "t.bin.gz"
    path.write_bytes(gzip.compress(captures[0].read_bytes()))
    with pytest.raises(TraceError, match="cannot read a packed capture: unpack it first"):
        read_trace(path)


@pytest.mark.parametrize("content", [PLAIN, PACKED])
def test_without_memray(refusal, monkeypatch, content):
    monkeypatch.setitem(sys.modules, "memray", None)
    assert refusal(content) == (
        "t: captures of memray need the package memray: pip install 'kheap[memray]'"
    )


def test_no_capture(refusal):
    assert refusal("a 0 5\n", format="memray") == "t: this is no capture of memray"


def test_a_real_one(check_trace):
    pytest.importorskip("memray", reason="memray is not installed: pip install 'kheap[memray]'")
    path = real_data("alloc_traces", "memray_app.bin")
    if path is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no alloc_traces")
    trace = read_trace(path)
    check_trace(trace)
    assert len(trace) == 19_636
    assert trace.notes == {"free of a block from before the trace": 21}
