"""Files of heaptrack, interpreted and raw."""

import pytest

from helpers.build import real_data
from kheap.trace import FREE, read_trace

HEAD = "v 10400 3\nX ./t\nI 1000 5e298d\n"
TABLES = (
    "s 11 /usr/lib/libx.so\ns 4 main\ns 6 /t/t.c\ni 7f10 1 2 3 1f 2 3 20\nt 1 0\ni 7f20 1\nt 2 1\n"
)


def test_interpreted(read, table, check_trace):
    trace = read(HEAD + TABLES + "a 64 1\n+ 0\na c 2\nc a\n+ 1\n- 0\nc 5dc\n+ 0\n# strings: 3\n\n")
    check_trace(trace)
    assert trace.format == "heaptrack"
    assert table(trace, "id size time result") == [
        ("alloc", 0, 100, 0.0, -1),
        ("alloc", 1, 12, 0.01, -1),
        ("free", 0, 0, 0.01, -1),
        ("alloc", 0, 100, 1.5, -1),
    ]
    assert trace.callers == ["/t/t.c:31:main", "/usr/lib/libx.so:[0x7f20]"]
    assert list(trace.caller) == [0, 1, -1, 0]


def test_raw(read, table, check_trace):
    trace = read(
        "v 10400 3\nx 2 ./t\nX ./t\nm 1 -\nt 7f10 0\nt 7f20 1\n- 10\n+ 64 1 1010\n"
        "+ c 2 2020\n- 1010\nc 1\n- 999\nA\n"
    )
    check_trace(trace)
    assert table(trace, "id size result") == [
        ("alloc", 0, 100, 0x1010),
        ("alloc", 1, 12, 0x2020),
        ("free", 0, 0, -1),
    ]
    assert trace.callers == ["0x7f10", "0x7f20"]
    assert trace.notes == {"free of a block from before the trace": 2}


def test_of_several_blocks_the_latest_is_freed(read, table):
    trace = read(HEAD + "a 8 0\n+ 0\n+ 0\n- 0\n- 0\n- 0\n")
    assert table(trace, "id") == [("alloc", 0), ("alloc", 1), ("free", 1), ("free", 0)]
    assert trace.notes == {"free of a block from before the trace": 1}


def test_strings_had_no_lengths(read):
    tables = "s lib\ns f g\ns x.c\ni 7f10 1 2 3 1\nt 1 0\n"
    assert read("v 10100 2\n" + tables + "a 8 1\n+ 0\n").callers == ["x.c:1:f g"]
    assert read("v 10200\n" + tables + "a 8 1\n+ 0\n").callers == ["x.c:1:f g"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v 10400 4\n", "t:1: expected a format of heaptrack up to 3, found 4"),
        ("v 10400 3\n+ 0\n", "t:2: expected one of 0 'a' lines, found 0"),
        ("v 10400 3\na 8 1\n", "t:2: expected one of 0 't' lines, found 1"),
        ("v 10400 3\na 8 0\n+ 0\n+ 8 0 10\n", "t:4: expected a line of heaptrack's, such as"),
        ("v 10400 3\na 0x8 0\n", "t:2: expected a line of heaptrack's, such as '+ 1f' or"),
        ("v 10400 3\ni 5 1\n", "t:2: expected indices of 0 strings, found another"),
        ("v 10400 3\ns x\ni 5\n", "t:2: expected a line of heaptrack's"),
        ("v 10400 3\nq\n", "t:2: expected a line of heaptrack's, such as '+ 1f' or 'a 64 8'"),
        ("v 10400 3\ns 1 x\ni 5 1\nt 2 0\na 8 1\n+ 0\n", "t:6: expected one of 1 'i' lines"),
        ("v 10400 3\na ffffffffffffffff 0\n+ 0\n", "t:3: expected sizes below 2**63"),
        ("v 10400 3\nc 1\n", "t: holds no operations"),
    ],
)
def test_what_cannot_be_read(refusal, content, message):
    assert refusal(content).startswith(message)


def test_lenient(read):
    trace = read(HEAD + "a 8 0\n+ 0\n+ 9\n+\n- x\n- 0\n", lenient=True)
    assert (len(trace), trace.skipped) == (2, 3)


def test_a_real_one():
    path = real_data("alloc_traces", "heaptrack.small.zst")
    if path is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no alloc_traces")
    trace = read_trace(path)
    assert trace.format == "heaptrack"
    sizes = [size for op, size in zip(trace.op, trace.size, strict=True) if op != FREE]
    assert sizes == [72704, 100, 150, 300, 1000, 11, 10, 40, 4000]
    assert trace.callers[2] == "./string/strdup.c:42:__GI___strdup"
