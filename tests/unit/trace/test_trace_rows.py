"""kheap's own formats: the same rows as CSV and as JSON Lines."""

import json

import pytest

NAMES = ("op", "id", "size", "align", "heap", "time", "thread", "caller")
ROWS = [
    ("alloc", 5, 100, 8, "pool", 0.5, "main", "f"),
    ("alloc", 70000000000, 7, None, None, 1, "idle", None),
    ("realloc", 5, 120, 16, "pool", 1.25, "main", "g"),
    ("free", 5, None, None, "pool", None, None, "f"),
    ("alloc", 5, 1, 0, "pool", None, None, None),
]


def as_csv(rows, names=NAMES):
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return "\n".join([",".join(names), *lines]) + "\n"


def as_jsonl(rows, names=NAMES):
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


BOTH = pytest.mark.parametrize(
    ("write", "first"), [(as_csv, 2), (as_jsonl, 1)], ids=["csv", "jsonl"]
)


@BOTH
def test_operations(read, table, check_trace, write, first):
    trace = read(write(ROWS))
    check_trace(trace)
    assert trace.format == ("csv" if write is as_csv else "jsonl")
    assert table(trace, "id size align heap time thread caller result") == [
        ("alloc", 0, 100, 8, 0, 0.5, 0, 0, -1),
        ("alloc", 1, 7, 0, 1, 1.0, 1, -1, -1),
        ("realloc", 0, 120, 16, 0, 1.25, 0, 1, -1),
        ("free", 0, 0, 0, 0, 0.0, -1, 0, -1),
        ("alloc", 0, 1, 0, 0, 0.0, -1, -1, -1),
    ]
    assert [heap.name for heap in trace.heaps] == ["pool", "heap"]
    assert (trace.threads, trace.callers) == (["main", "idle"], ["f", "g"])
    assert trace.notes == {}


@BOTH
def test_op_and_id_and_size_are_enough(read, table, write, first):
    trace = read(write([("alloc", 1, 5), ("free", 1, None)], NAMES[:3]))
    assert table(trace, "id size heap thread") == [("alloc", 0, 5, 0, -1), ("free", 0, 0, 0, -1)]
    assert [heap.name for heap in trace.heaps] == ["heap"]


@BOTH
def test_each_heap_has_its_own_ids(read, table, check_trace, write, first):
    names = ("heap", "op", "id", "size")
    rows = [
        (1, "alloc", 3, 10), (2, "alloc", 3, 20), (2, "free", 3, None), (None, "alloc", 3, 30),
        ("heap", "free", 3, 0), (1, "free", 3, None),
    ]  # fmt: skip
    trace = read(write(rows, names))
    check_trace(trace)
    assert [heap.name for heap in trace.heaps] == ["1", "2", "heap"]
    assert table(trace, "id size heap") == [
        ("alloc", 0, 10, 0), ("alloc", 1, 20, 1), ("free", 1, 0, 1), ("alloc", 1, 30, 2),
        ("free", 1, 0, 2), ("free", 0, 0, 0),
    ]  # fmt: skip


@BOTH
def test_an_id_whose_request_may_have_failed(read, table, check_trace, write, first):
    rows = [("free", 9, None), ("realloc", 8, 5), ("realloc", 8, 0), ("free", 8, None)]
    trace = read(write(rows, NAMES[:3]))
    check_trace(trace)
    assert table(trace, "id size") == [("alloc", 0, 5), ("realloc", 0, 0)]
    assert trace.notes == {
        "free of an id that holds no block": 2,
        "realloc of an id that holds no block": 1,
    }


@BOTH
def test_an_id_that_still_holds_a_block(refusal, write, first):
    message = refusal(write([("alloc", 3, 1), ("free", 4, None), ("alloc", 3, 1)], NAMES[:3]))
    assert message == f"t:{first + 2}: id 3 still holds a block, allocated at line {first}"


@BOTH
@pytest.mark.parametrize("op", ["alloc", "realloc"])
def test_a_request_without_a_size(refusal, write, first, op):
    message = refusal(write([("alloc", 3, 1), (op, 4, None)], NAMES[:3]))
    assert message == f"t:{first + 1}: expected a size for {op}, found nothing"


@BOTH
def test_an_op_of_another_name(refusal, write, first):
    message = refusal(write([("alloc", 3, 1), ("malloc", 4, 5)], NAMES[:3]))
    assert message == f"t:{first + 1}: expected alloc, realloc or free as 'op', found 'malloc'"


@BOTH
@pytest.mark.parametrize("time", ["nan", "inf", "-inf", "1e999", "1_0", "soon"])
def test_a_time_that_is_no_time(refusal, write, first, time):
    message = refusal(write([("alloc", 3, 1, 0.5), ("alloc", 4, 1, time)], (*NAMES[:3], "time")))
    expected = "expected a finite number of seconds as 'time'"
    assert message == f"t:{first + 1}: {expected}, found '{time}'"


@BOTH
def test_lenient_reading_counts_what_it_leaves_out(read, table, write, first):
    rows = [("alloc", 1, 5), ("alloc", 1, 6), ("x", 1, 6), ("alloc", 2, -1), ("free", 1, None)]
    trace = read(write(rows, NAMES[:3]) + "\nrubbish\n", lenient=True)
    assert table(trace, "id size") == [("alloc", 0, 5), ("free", 0, 0)]
    assert trace.skipped == 4


def test_csv_header(read, table):
    trace = read('\ufeff\n"Size", id,OP,note\r\n5,1,alloc,x\r\n\r\n,1,free,\r\n'.lstrip("\n"))
    assert table(trace, "id size") == [("alloc", 0, 5), ("free", 0, 0)]
    assert trace.notes == {"column 'note' is not read": 1}


def test_csv_quotes_and_blanks(read):
    trace = read('op,id,size,thread\nalloc, 1 ,5,"a ""b"", c"\nalloc,"2",5, main thread\n')
    assert trace.threads == ['a "b", c', "main thread"]


@pytest.mark.parametrize("header", ["op,size", "id,op,id", "alloc,1,5", "", '"op', "\xff,op,id\0"])
def test_csv_without_a_header(refusal, header):
    content = f"{header}\nalloc,1,5\n".encode("latin-1")
    line = 1 if header else 2
    found = header.replace("\xff", r"\xff").replace("\0", r"\x00") or "alloc,1,5"
    quote = '"' if "'" in found else "'"
    expected = "a row of column names, among them op and id"
    for lenient in (False, True):
        message = refusal(content, format="csv", lenient=lenient)
        assert message == f"t:{line}: expected {expected}, found {quote}{found}{quote}"


@pytest.mark.parametrize(
    "row",
    [
        "alloc,1", "alloc,1,5,6", "alloc,x,5", "alloc,-1,5", "alloc,1,-5", "alloc,1,5.0",
        "alloc,1,1_0", "alloc,1,+5", "alloc,,5", "free,1,x", "alloc;1;5", "alloc,1,\xb2",
    ],
)  # fmt: skip
def test_csv_malformed_rows(refusal, row):
    found = row.replace("\xb2", r"\xc2\xb2")
    expected = f"a row of 'op,id,size' in whole numbers, found '{found}'"
    content = f"op,id,size\nalloc,7,5\n{row}\nfree,7,\n"
    assert refusal(content, "t.csv") == f"t.csv:3: expected {expected}"


def test_csv_numbers_of_64_bits(refusal, read):
    assert read(f"op,id,size\nalloc,1,{2**63 - 1}\n").size[0] == 2**63 - 1
    expected = "expected numbers up to 9,223,372,036,854,775,807"
    message = refusal(f"op,id,size\nalloc,1,{2**63}\n")
    assert message == f"t:2: {expected}, found '9223372036854775808'"
    assert refusal(f"op,id,size\nalloc,1,{'9' * 5000}\n").startswith("t:2: expected a row of ")


def test_csv_faults(refusal):
    message = refusal('op,id,size,thread\nalloc,1,5,"main\nfree,1,,\n')
    assert message == "t:2: expected a row of CSV, found a fault in it (unexpected end of data)"
    message = refusal(b"op,id,size,thread\nalloc,1,5,\xff\n")
    assert message == r"t:2: expected a name in UTF-8, found '\xff'"
    message = refusal(b"op,id,size,thread\nalloc,1,5,a\0b\n")
    assert message == r"t:2: expected a name without NUL characters, found 'a\x00b'"


WHOLE = f"expected a whole number from 0 to {2**63 - 1:,} as"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"op":"alloc","size":5}', f"{WHOLE} 'id', found nothing"),
        ('{"op":"alloc","id":"1","size":5}', f"{WHOLE} 'id', found '1'"),
        ('{"op":"alloc","id":1,"size":5.0}', f"{WHOLE} 'size', found 5.0"),
        ('{"op":"alloc","id":1,"size":true}', f"{WHOLE} 'size', found True"),
        ('{"op":"alloc","id":1,"size":-5}', f"{WHOLE} 'size', found -5"),
        ('{"op":"alloc","id":1,"size":9223372036854775808}', f"{WHOLE} 'size', found {2**63}"),
        ('{"op":"alloc","id":1,"size":5,"align":"8"}', f"{WHOLE} 'align', found '8'"),
        ('{"id":1}', "expected alloc, realloc or free as 'op', found nothing"),
        ('{"op":{},"id":1}', "expected alloc, realloc or free as 'op', found {}"),
        (
            '{"op":"alloc","id":1,"size":5,"heap":1.5}',
            "expected a name or a number as 'heap', found 1.5",
        ),
        (
            '{"op":"alloc","id":1,"size":5,"thread":false}',
            "expected a name or a number as 'thread', found False",
        ),
        (
            '{"op":"alloc","id":1,"size":5,"time":1e999}',
            "expected a finite number of seconds as 'time', found inf",
        ),
        (
            '{"op":"alloc","id":1,"size":5,"time":true}',
            "expected a finite number of seconds as 'time', found True",
        ),
        (
            '{"op":"alloc","id":1,"size":5,"time":1' + "0" * 400 + "}",
            "expected a finite number of seconds as 'time', found 1" + "0" * 56 + "...",
        ),
        (
            '{"op":"alloc","id":1,"size":5,"caller":"a\\ud800"}',
            "expected a name in UTF-8, found 'a\\ud800'",
        ),
    ],
)
def test_jsonl_malformed_rows(refusal, row, reason):
    good = '{"op":"alloc","id":7,"size":5}\n'
    assert refusal(good + row + "\n" + good) == f"t:2: {reason}"


@pytest.mark.parametrize(
    "line", ["[]", "{", "null", '{"op":"alloc","id":1,"size":NaN}', "{}{}", "{},{}", "\x00"]
)
def test_jsonl_malformed_json(refusal, line):
    found = line.replace("\0", r"\x00")
    expected = "a JSON object with 'op', 'id' and, unless it is a free, 'size'"
    content = '{"op":"alloc","id":7,"size":5}\n' + line + "\n"
    assert refusal(content) == f"t:2: expected {expected}, found '{found}'"


def test_jsonl_one_object_over_two_lines_and_two_on_one(refusal):
    """As many objects as lines, but not one a line."""
    two = '{"op":"free","id":1},{"op":"free","id":1}'
    content = f'{{"op":"alloc","id":1,"size":1,\n"align":8}}\n{two}\n'
    assert refusal(content).startswith("t:1: expected a JSON object")


def test_jsonl_blank_lines_and_other_keys(read):
    row = '{"op":"alloc","id":%d,"size":5,"note":1,"heap":null}\n'
    trace = read(row % 1 + "\n  \r\n" + row % 2)
    assert len(trace) == 2
    assert trace.notes == {"row with a key that is not read": 2}


def test_jsonl_names_and_numbers_are_the_same_name(read):
    row = '{"op":"alloc","id":%d,"size":5,"heap":%s}\n'
    trace = read(row % (1, "7") + row % (2, '"7"'))
    assert [heap.name for heap in trace.heaps] == ["7"]
