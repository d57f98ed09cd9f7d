"""glibc mtrace logs."""

import pytest

HEAD = "= Start\n"
LOG = """\
= Start
@ ./app:[0x11d0] + 0x55c4133384a0 0x64
@ ./app:[0x11e3] + 0x55c413338510 0x96
@ ./app:[0x11f8] < 0x55c4133384a0
@ ./app:[0x11f8] > 0x55c4133385b0 0x12c
@ /lib/libc.so.6:(__strdup+1a)[0x9e9aa] + 0x55c4133384a0 0xb
@ ./app:[0x1261] - 0x55c413338510
@ ./app:[0x1261] - 0x55c4133385b0
= End
"""


def test_operations(read, table, check_trace):
    trace = read(LOG)
    check_trace(trace)
    assert trace.format == "mtrace"
    assert table(trace, "id size result caller") == [
        ("alloc", 0, 0x64, 0x55C4133384A0, 0),
        ("alloc", 1, 0x96, 0x55C413338510, 1),
        ("realloc", 0, 0x12C, 0x55C4133385B0, 2),
        ("alloc", 2, 0xB, 0x55C4133384A0, 3),
        ("free", 1, 0, -1, 4),
        ("free", 0, 0, -1, 4),
    ]
    assert trace.callers[3] == "/lib/libc.so.6:(__strdup+1a)[0x9e9aa]"
    assert trace.notes == {}


def test_lines_without_a_caller_and_with_blanks_in_it(read, table):
    trace = read("+ 0x10 0x8\n@ ./my app:[0x1] + 0x20 0x8\n@ a + b - 0x10\n- 0x20\n")
    assert table(trace, "id caller") == [
        ("alloc", 0, -1), ("alloc", 1, 0), ("free", 0, 1), ("free", 1, -1),
    ]  # fmt: skip
    assert trace.callers == ["./my app:[0x1]", "a + b"]


def test_failures(read, table, check_trace):
    trace = read(
        HEAD
        + "@ c + (nil) 0xffffffffffffffff\n@ c + 0x10 0\n@ c ! 0x10 0x8000000000000000\n"
        + "@ c ! (nil) 0x40\n@ c + 0x20 0x5\n@ c - 0x10\n"
    )
    check_trace(trace)
    assert table(trace, "id size result") == [
        ("alloc", 0, 2**63 - 1, 0),
        ("alloc", 0, 0, 0x10),
        ("realloc", 0, 2**63 - 1, 0),
        ("alloc", 1, 0x40, 0),
        ("alloc", 1, 5, 0x20),
        ("free", 0, 0, -1),
    ]
    assert trace.notes == {"failed request of 2**63 bytes or more, kept as 2**63 - 1": 2}


def test_blocks_from_before_the_trace(read, table):
    trace = read(HEAD + "@ c - 0x10\n@ c < 0x20\n@ c > 0x30 0x8\n@ c ! 0x40 0x9\n")
    assert table(trace, "id size result") == [("alloc", 0, 8, 0x30), ("alloc", 1, 9, 0)]
    assert trace.notes == {
        "free of a block from before the trace": 1,
        "realloc of a block from before the trace": 2,
    }


def test_an_address_that_is_still_live(read, table, check_trace):
    trace = read(HEAD + "@ c + 0x10 0x1\n@ c + 0x10 0x2\n@ c + 0x20 0x3\n@ c < 0x20\n"
                 "@ c > 0x10 0x4\n@ c - 0x10\n")  # fmt: skip
    check_trace(trace)
    assert table(trace, "id size") == [
        ("alloc", 0, 1), ("alloc", 1, 2), ("alloc", 2, 3), ("realloc", 2, 4), ("free", 2, 0),
    ]  # fmt: skip
    note = "request answered with the address of a live block (a free is missing)"
    assert trace.notes == {note: 2}


EXPECTED = (
    "expected '[@ CALLER] + PTR SIZE', '- PTR', '< PTR', '> PTR SIZE' or '! PTR SIZE', found "
)


@pytest.mark.parametrize(
    "line",
    [
        "@ c + 0x10", "@ c - 0x10 0x5", "@ c + 0x10 12", "@ c + 10 0x5", "@ c * 0x10 0x5", "@ c",
        "+ 0x10 0x", "+ 0x1_0 0x5", "- -0x10", "hello", "@ c + 0x10 -0x5", "@ c < 0x10 0x5",
    ],
)  # fmt: skip
def test_malformed_lines(refusal, line):
    assert refusal(f"{HEAD}{line}\n") == f"t:2: {EXPECTED}'{line}'"


def test_names_that_are_no_text(refusal):
    message = r"t:2: expected a name in UTF-8, found './\xff'"
    assert refusal(b"= Start\n@ ./\xff + 0x10 0x5\n") == message
    message = r"t:2: expected a name without NUL characters, found './\x00'"
    assert refusal(b"= Start\n@ ./\0 + 0x10 0x5\n") == message


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("+ 0x8000000000000000 0x5", 2**63 - 1),
        ("- 0xffffffffffffffff", 2**63 - 1),
        ("+ (nil) 0x10000000000000000", 2**64 - 1),
    ],
)
def test_numbers_that_are_too_large(refusal, line, limit):
    found = line.split()[-1] if "(nil)" in line else line.split()[1]
    message = refusal(f"{HEAD}@ c {line}\n")
    assert message == f"t:2: expected numbers up to {limit:,}, found '{found}'"


def test_a_block_that_no_address_space_holds(refusal):
    message = "t:1: expected sizes below 2**63, found 18446744073709551615"
    assert refusal("+ 0x10 0xffffffffffffffff\n") == message


@pytest.mark.parametrize("line", ["@ c > 0x20 0x8", "@ c < 0x10\n@ c - 0x10"])
def test_halves_of_a_realloc(refusal, line):
    sign = line.split("\n")[-1].split()[2]
    expected = "expected '> PTR SIZE' after '< PTR' and only there"
    number = 2 + line.count("\n") + 1
    assert refusal(f"{HEAD}+ 0x10 0x5\n{line}\n") == f"t:{number}: {expected}, found '{sign}'"


def test_a_realloc_that_the_end_cuts_off(refusal, read):
    content = f"{HEAD}+ 0x10 0x5\n< 0x10\n"
    message = "t:3: expected '> PTR SIZE' after '< PTR', found the end of the file"
    assert refusal(content) == message
    trace = read(content, lenient=True)
    assert (len(trace), trace.skipped) == (1, 1)


def test_lenient_reading_counts_what_it_leaves_out(read, table):
    trace = read(
        f"{HEAD}+ 0x10 0x5\nrubbish\n< 0x10\n- 0x10\n@ c > 0x1 0x1\n- 0x10\n", lenient=True
    )
    assert [row[0] for row in table(trace, "id")] == ["alloc", "free"]
    assert trace.skipped == 3
