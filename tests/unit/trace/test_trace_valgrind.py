"""What valgrind prints with --trace-malloc=yes."""

import pytest

RUN = """\
==77== Memcheck, a memory error detector
==77== Command: ./app
==77==
--77-- malloc(100) = 0x4A44040
--77-- calloc(3,50) = 0x4A440F0
hello from the program
--77-- realloc(0x4A44040,300) = 0x4A441D0
--77-- memalign(al 64, size 1000) = 0x4A44380
--77-- _ZnwmSt11align_val_t(size 64, al 32) = 0x4A45000
no line end--77-- free(0x4A440F0)
--77-- _ZdlPvmSt11align_val_t(0x4A45000)
--77-- malloc_usable_size(0x4A44380) = 1000
--77-- malloc_trim(0) = 1
--77-- free(0x0)
==77== HEAP SUMMARY:
"""


def test_operations(read, table, check_trace):
    trace = read(RUN)
    check_trace(trace)
    assert trace.format == "valgrind"
    assert table(trace, "id size align result") == [
        ("alloc", 0, 100, 0, 0x4A44040),
        ("alloc", 1, 150, 0, 0x4A440F0),
        ("realloc", 0, 300, 0, 0x4A441D0),
        ("alloc", 2, 1000, 64, 0x4A44380),
        ("alloc", 3, 64, 32, 0x4A45000),
        ("free", 1, 0, 0, -1),
        ("free", 3, 0, 0, -1),
    ]
    assert trace.notes == {"usable_size": 1, "free of NULL": 1}
    assert [heap.name for heap in trace.heaps] == ["77"]


def test_each_process_has_its_heap(read, table, check_trace):
    trace = read(
        "--7-- malloc(1) = 0x10\n--8-- malloc(2) = 0x10\n--7-- free(0x10)\n"
        "--8-- realloc(0x0,9)malloc(9) = 0x20\n--7-- malloc(3) = 0x20\n--8-- free(0x10)\n"
    )
    check_trace(trace)
    assert [heap.name for heap in trace.heaps] == ["7", "8"]
    assert table(trace, "id size heap") == [
        ("alloc", 0, 1, 0),
        ("alloc", 1, 2, 1),
        ("free", 0, 0, 0),
        ("alloc", 0, 9, 1),
        ("alloc", 2, 3, 0),
        ("free", 1, 0, 1),
    ]


def test_time_stamps(read, table):
    trace = read(
        "==00:00:00:00.000 7== Memcheck\n--00:00:00:00.622 7-- malloc(1) = 0x10\n"
        "--01:02:03:04.500 7-- free(0x10)\n"
    )
    assert table(trace, "time") == [("alloc", 0.622), ("free", 93784.5)]


def test_lines_that_hold_several_calls(read, table):
    trace = read(
        "--7-- realloc(0x0,40)malloc(40) = 0x10\n"
        "--7-- realloc(0x10,0)free(0x10)\n--7--  = 0\n"
        "--7-- calloc(1099511627776,1099511627776)malloc(10) = 0x20\n"
    )
    assert table(trace, "size result") == [
        ("alloc", 40, 0x10),
        ("free", 0, -1),
        ("alloc", 2**63 - 1, 0),
        ("alloc", 10, 0x20),
    ]


def test_an_answer_after_a_warning(read, table):
    trace = read(
        "--7-- malloc(18446744073709551615)Argument 'size' of function malloc has a fishy\n"
        "==7==    at 0x48417B4: malloc (in /usr/libexec/valgrind)\n"
        "==7==\n--7--  = 0x0\n--7--  = 0x0\n--7-- realloc(0x0,5) = 0x0\n"
    )
    assert table(trace, "id size result") == [("alloc", 0, 2**63 - 1, 0), ("alloc", 0, 5, 0)]


def test_calls_that_never_end(read):
    trace = read("--7-- malloc(1) = 0x10\n--7-- malloc(5)\n--7-- malloc(6)\n")
    assert len(trace) == 1
    assert trace.notes == {"call without an answer": 2}


def test_a_failed_realloc_keeps_its_block(read, table):
    trace = read("--7-- malloc(1) = 0x10\n--7-- realloc(0x10,99) = 0x0\n--7-- free(0x10)\n")
    assert table(trace, "id result") == [("alloc", 0, 0x10), ("realloc", 0, 0), ("free", 0, -1)]


def test_other_text_may_be_anything(read):
    noise = b"\xff\xfe\0 -- -- \n--7-- reading syms\n--x-- malloc(5) = 0x1\n--7-- mallopt(1,2)\n"
    trace = read(noise + b"--7-- malloc(5) = 0x10\r\n--7-- free(0x10)\r\n" + noise)
    assert (len(trace), trace.skipped, trace.notes) == (2, 0, {})


@pytest.mark.parametrize(
    "call",
    [
        "malloc(5) = 16", "malloc(5) = 0x", "malloc(5) = ", "malloc(x) = 0x10", "malloc(5",
        "malloc(-5) = 0x10", "free(16)", "free()", "realloc(0x10) = 0x20", "calloc(5) = 0x20",
        "malloc(5)malloc(6) = 0x20", "calloc(5,1) = 0x20malloc(6) = 0x30",
        "malloc(5) = 0x20malloc(6) = 0x30", "free(0x10)free(0x20)",
        "malloc(5) = 0x10 and more", "memalign(al x, size 5) = 0x10", "realloc(0x10,5)free(0x10)",
        "realloc(0x10,5,6) = 0x20",
    ],
)  # fmt: skip
def test_malformed_calls(refusal, call):
    expected = "a call and its answer, such as '--PID-- malloc(100) = 0x4A44040'"
    message = f"t:2: expected {expected}, found '--7-- {call.strip()}'"
    assert refusal(f"--7-- malloc(1) = 0x10\n--7-- {call}\n") == message


def test_malformed_time(refusal):
    expected = "a call and its answer, such as '--PID-- malloc(100) = 0x4A44040'"
    line = "--00:00 7-- malloc(1) = 0x10"
    assert refusal(f"==7== Memcheck\n{line}\n") == f"t:2: expected {expected}, found '{line}'"


def test_malformed_time_adds_nothing(read, check_trace):
    trace = read("--7-- malloc(1) = 0x10\n--0:0 7-- malloc(1) = 0x20\n", lenient=True)
    check_trace(trace)
    assert (len(trace), trace.skipped) == (1, 1)


def test_numbers_that_are_too_large(refusal):
    message = refusal("--7-- malloc(5) = 0xFFFFFFFFFFFFFFFF\n")
    limit = "expected numbers up to 9,223,372,036,854,775,807"
    assert message == f"t:1: {limit}, found '0xFFFFFFFFFFFFFFFF'"
    message = refusal(f"--7-- malloc({2**64}) = 0x0\n")
    limit = "expected numbers up to 18,446,744,073,709,551,615"
    assert message == f"t:1: {limit}, found '{2**64}'"
    message = refusal(f"--7-- calloc({2**62},2) = 0x10\n")
    assert message == f"t:1: expected sizes below 2**63, found {2**63}"


def test_lenient_reading_counts_what_it_leaves_out(read):
    trace = read("--7-- malloc(1) = 0x10\n--7-- malloc(x) = 0x10\nother\n", lenient=True)
    assert (len(trace), trace.skipped) == (1, 1)


def test_a_run_without_calls(refusal):
    assert refusal("==7== Memcheck, a memory error detector\n") == "t: holds no operations"
