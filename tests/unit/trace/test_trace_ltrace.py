"""What ltrace prints."""

import pytest

from helpers.build import real_data
from kheap.trace import read_trace


def test_calls(read, table, check_trace):
    trace = read(
        "t->malloc(100)                              = 0x10\n"
        't->puts("malloc(5) = 0x10")                 = 6\n'
        "t->calloc(3, 50, 0x7f, 1)                   = 0x20\n"
        "t->realloc(0x10, 300)                       = 0x30\n"
        "t->memalign(32, 77, 0x55, 3)                = 0x40\n"
        "t->malloc(18446744073709551615)             = 0\n"
        "t->free(0x20)                               = <void>\n"
        "t->free(0)                                  = <void>\n"
        "t->_Znwm(8, 1, 2)                           = 0x50\n"
        "t->_ZdlPv(0x50, 1)                          = <void>\n"
        "+++ exited (status 0) +++\n"
    )
    check_trace(trace)
    assert trace.format == "ltrace"
    assert table(trace, "id size align result") == [
        ("alloc", 0, 100, 0, 0x10),
        ("alloc", 1, 150, 0, 0x20),
        ("realloc", 0, 300, 0, 0x30),
        ("alloc", 2, 77, 32, 0x40),
        ("alloc", 3, 2**63 - 1, 0, 0),
        ("free", 1, 0, 0, -1),
        ("alloc", 1, 8, 0, 0x50),
        ("free", 1, 0, 0, -1),
    ]
    assert trace.notes["free of NULL"] == 1


def test_threads_times_and_call_sites(read, table):
    trace = read(
        "7 1795334678.5 [0x55ae] malloc(10 <unfinished ...>\n"
        "8 1795334679.5 [0x55af] malloc(11) = 0x10\n"
        "8 1795334680.25 [0x55b0] free(0x10 <unfinished ...>\n"
        "7 1795334681.5 [0x55ae] <... malloc resumed> ) = 0x10\n"
        "8 1795334682.5 [0x55b0] <... free resumed> ) = <void>\n"
    )
    assert table(trace, "size time thread caller") == [
        ("alloc", 11, 1795334679.5, 0, 0),
        ("free", 0, 1795334680.25, 0, 1),
        ("alloc", 10, 1795334681.5, 1, 2),
    ]
    assert (trace.threads, trace.callers) == (["8", "7"], ["0x55af", "0x55b0", "0x55ae"])
    assert list(read("[pid 9] 01:02:03.5 malloc(5) = 0x10\n").time) == [3723.5]


def test_what_is_not_shown_is_noted(read):
    trace = read(
        'malloc(5) = 0x10\nstrdup("free(0x10) = <void>") = 0x20\nfree(0x20) = <void>\n'
        "posix_memalign(0x7f, 64, 1000, 5) = 0\nmalloc(6 <unfinished ...>\n"
    )
    assert (len(trace), trace.skipped) == (1, 0)
    assert trace.notes == {
        "request whose address or size is not shown (posix_memalign, strdup)": 2,
        "free of a block from before the trace": 1,
        "call without an answer": 1,
    }


@pytest.mark.parametrize(
    "line", ["malloc(x) = 0x10", "malloc(5) = what", "t->realloc(0x10) = 0x20", "free(5"]
)
def test_what_cannot_be_read(refusal, line):
    message = refusal(f"malloc(5) = 0x10\n{line}\n")
    assert message.startswith("t:2: expected a call and its answer, such as 'malloc(100) = ")


def test_a_real_one(table):
    path = real_data("alloc_traces", "ltrace.txt")
    if path is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no alloc_traces")
    trace = read_trace(path)
    assert table(trace, "size align") == [
        ("alloc", 100, 0), ("alloc", 150, 0), ("realloc", 300, 0), ("alloc", 77, 32),
        ("realloc", 10, 0), ("free", 0, 0), ("alloc", 40, 0), ("realloc", 4000, 0),
        ("free", 0, 0), ("free", 0, 0),
    ]  # fmt: skip
    assert sorted(trace.notes.values()) == [2, 2]
