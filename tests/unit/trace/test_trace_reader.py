"""What is the same for all formats: opening, unpacking, telling formats apart, limits."""

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from helpers.rings import record, ring
from kheap.errors import TraceError
from kheap.trace import FORMATS, Trace, read_trace
from kheap.trace._lines import MAX_LINE_BYTES, zstd

REP = "20000\n2\n4\n1\n" + "a 0 5\na 1 6\nf 0\nf 1\n"
SAMPLES = {
    "syslog": '{"kind":"header"}\n{"op":"alloc","heap":1,"size":8,"result":16}\n',
    "heaptrack": "v 10400 3\na 8 0\n+ 0\n",
    "khring": ring([record("a", pointer=16, size=8)]),
    "rep": REP,
    "mtrace": "= Start\n@ ./a:[0x1] + 0x10 0x8\n",
    "kh": "boot\nkh a 0x1 0x10 8 0 0x2\n",
    "valgrind": "==1== Memcheck\n--1-- malloc(8) = 0x10\n",
    "ltrace": "a->malloc(8) = 0x10\n",
    "csv": "size,op,id\n8,alloc,1\n",
    "jsonl": '{"op":"alloc","id":1,"size":8}\n',
}
COLUMNS = ("op", "id", "size", "align", "heap", "time", "thread", "caller", "result")
NAMES = "syslog, heaptrack, memray, khring, rep, mtrace, kh, valgrind, ltrace, csv, jsonl"


def test_formats():
    assert {*SAMPLES, "memray"} == set(FORMATS)
    assert ", ".join(FORMATS) == NAMES


@pytest.mark.parametrize("format", SAMPLES)
@pytest.mark.parametrize("name", ["t", "t.txt", "t.csv", "t.rep.gz"])
def test_the_content_tells_the_format(read, format, name):
    trace = read(SAMPLES[format], name)
    assert (trace.format, trace.path) == (format, name)
    assert read(SAMPLES[format], name, format=format).format == format


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("rep", "a 0 5\n"),
        ("rep", "\n\n 7\r\n 7\r\na 0 5\r\n"),
        ("mtrace", "+ 0x10 0x5\n"),
        ("mtrace", "@ ./a b:[0x1] + (nil) 0x5\n"),
        ("valgrind", "starting up\n--00:00:00:00.622 9-- calloc(1,2) = 0x10\n"),
        ("syslog", '{"op": "alloc", "layer": "sys", "heap": 1, "size": 8, "result": 16}\n'),
        ("syslog", '{"op":"free","heap":1,"ptr":8}\n{"op":"alloc","heap":1,"size":8,"result":0}\n'),
        ("heaptrack", "v 10400 3\nx a /tmp/cap/t\n+ 8 0 1010\n"),
        (
            "ltrace",
            "mtrace()   = <void>\n14795 malloc(10 <unfinished ...>\n14795 <... malloc"
            " resumed> )   = 0x10\n",
        ),
        ("csv", '"id","op","size"\n1,alloc,5\n'),
        ("csv", "\ufeffop,id,size\n1,alloc,5\n".replace("1,alloc", "alloc,1")),
        ("jsonl", '\ufeff{"id":1,"op":"alloc","size":1}\n'),
    ],
)
def test_variants_are_told_apart(read, format, content):
    assert read(content).format == format


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.rep", "t.rep:1: expected 'a ID SIZE', 'r ID SIZE' or 'f ID', found 'junk'"),
        ("T.REP.GZ", "T.REP.GZ:1: expected 'a ID SIZE', 'r ID SIZE' or 'f ID', found 'junk'"),
        (
            "t.csv.zst",
            "t.csv.zst:1: expected a row of column names, among them op and id, found 'junk'",
        ),
        ("t.txt", f"t.txt: the content is of no known trace format: expected one of {NAMES}"),
        ("rep", f"rep: the content is of no known trace format: expected one of {NAMES}"),
    ],
)  # fmt: skip
def test_the_name_is_the_last_hint(refusal, name, message):
    assert refusal("junk\n" + REP, name) == message


def test_unknown_format(refusal):
    message = f"t: unknown trace format 'perfetto': expected one of {NAMES}"
    assert refusal(REP, format="perfetto") == message


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("format", [None, *FORMATS])
def test_nothing_inside(refusal, content, format):
    assert refusal(content, format=format) == "t: holds no operations"


def test_no_operations(refusal):
    assert refusal("20000\n0\n0\n1\n") == "t: holds no operations"
    assert refusal("op,id,size\n") == "t: holds no operations"
    assert refusal("= Start\n= End\n") == "t: holds no operations"
    message = "t: holds no operations in the lines that could be read (2 skipped)"
    assert refusal("a 0 x\na 1 y\n", "t", format="rep", lenient=True) == message


@pytest.mark.parametrize("format", SAMPLES)
@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_packed_files(read, format, pack):
    sample = SAMPLES[format]
    trace = read(pack(sample.encode() if isinstance(sample, str) else sample), "t.rep")
    assert trace.format == format
    assert trace.op == read(SAMPLES[format]).op


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_packed_files_in_several_members(read, pack):
    half = len(REP) // 2
    assert len(read(pack(REP[:half].encode()) + pack(REP[half:].encode()))) == 4


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("lenient", [False, True])
def test_packed_files_that_are_cut_short(refusal, pack, lenient):
    data = pack(REP.encode())
    for length in range(4, len(data)):
        message = refusal(data[:length], lenient=lenient)
        assert message.startswith("t: the compressed data is damaged or cut short (")


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_packed_files_that_are_damaged(refusal, pack):
    lines = "".join(f"a {number} {number * 7919 % 5003}\n" for number in range(2000))
    data = bytearray(pack(lines.encode()))
    data[len(data) // 2 :] = b"\0" * (len(data) - len(data) // 2)
    assert "compressed data is damaged or cut short (" in refusal(bytes(data))


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "missing.rep")
    with pytest.raises(IsADirectoryError):
        read_trace(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "missing.rep", format="rep")


def test_paths(tmp_path):
    path = tmp_path / "t.rep"
    path.write_text(REP)
    path.chmod(0o400)
    assert read_trace(path).path == read_trace(str(path)).path == str(path)
    assert read_trace(os.fsencode(path)).path == str(path)
    assert path.read_text() == REP


def test_an_error_carries_its_place(tmp_path):
    path = tmp_path / "t.rep"
    path.write_text("a 0 5\na 0 5\n")
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)


def test_the_last_line_needs_no_end(read):
    assert len(read(REP.rstrip("\n"))) == 4


@pytest.mark.parametrize("size", [MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES])
@pytest.mark.parametrize("tail", ["", "\n", "\na 1 5\nbad\n"])
def test_lines_that_are_too_long(read, refusal, size, tail):
    content = "a 0 5\n" + "x" * size + tail
    message = "t:2: expected lines of at most 1,048,576 bytes, found a longer one"
    assert refusal(content) == message
    trace = read(content, lenient=True)
    assert (len(trace), trace.skipped) == ((2, 2) if "bad" in tail else (1, 1))


def test_the_longest_line(read):
    assert len(read("a 0 5" + " " * (MAX_LINE_BYTES - 5) + "\na 1 5\n")) == 2


def test_line_numbers_over_many_blocks(refusal):
    count = 40_000  # some 300 KB: five blocks of 64 KiB
    lines = "".join(f"a {number} 5\n" for number in range(count))
    assert refusal(lines + "a 0 6\n") == (
        f"t:{count + 1}: id 0 still holds a block, allocated at line 1"
    )


def test_numbers_that_were_forgotten_are_read_again(read):
    count = 40_000  # more than are remembered
    lines = "".join(f"a {number} {number}\n" for number in range(count))
    trace = read(lines + "f 0\nf 39999\n")
    assert list(trace.size[:count]) == list(range(count))


def test_an_operation_takes_53_bytes(read):
    trace = read(REP)
    columns = [getattr(trace, name) for name in COLUMNS]
    assert {len(column) for column in columns} == {4}
    assert sum(column.itemsize for column in columns) == 53


@pytest.mark.slow
def test_memory_grows_with_the_operations_alone(tmp_path):
    def peak_bytes(pairs):
        path = tmp_path / "t.rep"
        path.write_text("a 0 5\nf 0\n" * pairs)
        tracemalloc.start()
        trace = read_trace(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return len(trace), peak

    few_count, few = peak_bytes(30_000)
    many_count, many = peak_bytes(60_000)
    per_operation = (many - few) / (many_count - few_count)
    assert 53 <= per_operation <= 70


def test_the_public_names():
    import kheap.trace

    assert all(hasattr(kheap.trace, name) for name in kheap.trace.__all__)
    assert isinstance(Trace(), Trace)
    assert not any(name.startswith("_") for name in kheap.trace.__all__)
    assert Path(kheap.trace.__file__).name == "__init__.py"
