"""CS:APP .rep files."""

import pytest

FOUR = "20000\n3\n6\n1\n"
BODY = "a 0 512\na 1 128\nr 0 640\nf 1\na 2 7\nf 0\n"


def test_operations(read, table, check_trace):
    trace = read(FOUR + BODY)
    check_trace(trace)
    assert trace.format == "rep"
    assert table(trace, "id size") == [
        ("alloc", 0, 512),
        ("alloc", 1, 128),
        ("realloc", 0, 640),
        ("free", 1, 0),
        ("alloc", 1, 7),
        ("free", 0, 0),
    ]


def test_what_the_format_does_not_say(read, table):
    trace = read(BODY)
    assert set(table(trace, "align heap time thread caller result")) == {
        (op, 0, 0, 0.0, -1, -1, -1) for op in ("alloc", "realloc", "free")
    }
    assert [heap.name for heap in trace.heaps] == ["heap"]
    assert (trace.threads, trace.callers, trace.inits, trace.profile) == ([], [], [], None)


@pytest.mark.parametrize("header", ["", "3\n6\n", FOUR, "\n 20000 \r\n\n3\r\n6\r\n1\r\n"])
def test_headers(read, header):
    trace = read(header + BODY)
    assert len(trace) == 6
    assert trace.notes == {}


@pytest.mark.parametrize(
    "header",
    ["3\n7\n", "20000\n3\n5\n1\n", "9223372036854775807\n9223372036854775807\n" * 2],
)
def test_headers_that_lie(read, header):
    trace = read(header + BODY)
    assert len(trace) == 6
    assert trace.id_count == 2
    assert trace.notes == {"header with another number of operations": 1}


@pytest.mark.parametrize("count", [1, 3])
def test_headers_of_another_length(refusal, count):
    message = f"t:{count}: expected a header of 2 or 4 numbers, one a line, found {count}"
    assert refusal("6\n" * count + BODY) == message


@pytest.mark.parametrize(
    "line",
    [
        "a 3", "a 3 x", "a -3 5", "a 3 -5", "a 3 1_000", "a 3 +5", "a 3 5.0", "a 3 5 7", "f",
        "f x", "f -1", "x 1 2", "A 1 2", "r 0", "free 0", "5", "1 2", "a 3 5\0", "0", "\xb2 1",
    ],
)  # fmt: skip
def test_malformed_lines(refusal, line):
    found = ascii(line).replace("'", "")
    if "\xb2" in line:
        found = r"\xc2\xb2 1"
    expected = f"expected 'a ID SIZE', 'r ID SIZE' or 'f ID', found '{found}'"
    assert refusal(f"20000\n3\n6\n1\na 0 512\n{line}\nf 0\n", "t.rep") == f"t.rep:6: {expected}"


def test_bytes_that_are_no_text(refusal):
    expected = r"expected 'a ID SIZE', 'r ID SIZE' or 'f ID', found 'a 3 \xff'"
    assert refusal(b"a 0 5\na 3 \xff\n") == f"t:2: {expected}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a 3 5\n\na 3 6\n", "t:3: id 3 still holds a block, allocated at line 1"),
        ("a 0 5\nf 0\na 0 6\na 0 7\n", "t:4: id 0 still holds a block, allocated at line 3"),
        ("a 0 5\nf 1\n", "t:2: id 1 holds no block"),
        ("a 0 5\nf 0\nf 0\n", "t:3: id 0 holds no block"),
        ("a 0 5\nr 1 6\n", "t:2: id 1 holds no block"),
    ],
)
def test_wrong_ids(refusal, body, message):
    assert refusal(body) == message


@pytest.mark.parametrize("line", ["a 1 {}", "a {} 1", "r 0 {}", "f {}"])
def test_numbers_of_64_bits(refusal, line):
    message = refusal("a 0 5\n" + line.format(2**63) + "\n")
    expected = "expected numbers up to 9,223,372,036,854,775,807"
    assert message == f"t:2: {expected}, found '9223372036854775808'"
    assert refusal("a 0 5\n" + line.format("9" * 5000) + "\n").startswith("t:2: expected 'a ID ")


def test_largest_number(read):
    assert read(f"a {2**63 - 1} {2**63 - 1}\n").size[0] == 2**63 - 1


def test_sparse_ids_become_dense(read, table, check_trace):
    trace = read("a 9000000000 1\na 5 2\nf 9000000000\na 77 3\nr 5 4\nf 5\nf 77\n")
    check_trace(trace)
    assert [row[1] for row in table(trace, "id")] == [0, 1, 0, 0, 1, 1, 0]


def test_realloc_to_nothing_frees(read, table, check_trace):
    trace = read("a 4 8\nr 4 0\nf 4\nr 4 9\nr 4 0\nr 4 3\nf 4\n")
    check_trace(trace)
    assert table(trace, "id size")[1:] == [
        ("realloc", 0, 0),
        ("alloc", 0, 9),
        ("realloc", 0, 0),
        ("alloc", 0, 3),
        ("free", 0, 0),
    ]
    assert trace.notes == {
        "free of an id that holds no block": 1,
        "realloc of an id that holds no block": 2,
    }


def test_an_id_is_empty_until_its_next_request(refusal):
    assert refusal("a 4 8\nr 4 0\na 4 9\nf 4\nf 4\n") == "t:5: id 4 holds no block"


def test_lenient_reading_counts_what_it_leaves_out(read, table):
    trace = read("a 0 5\na 0 6\nnonsense\nf 7\na 1 -1\nf 0\n", lenient=True)
    assert table(trace, "id size") == [("alloc", 0, 5), ("free", 0, 0)]
    assert trace.skipped == 4


def test_nothing_is_skipped_in_a_good_file(read):
    assert read(FOUR + BODY, lenient=True).skipped == 0
