"""Rings of kheap's recorder for firmware, as a debugger saves them."""

import pytest

import kheap
from helpers.rings import PROFILE, record, ring
from kheap.trace import HeapInit

MISSING = "record missing (overwritten in the ring, or lost on the way)"
RECORDS = [
    record("i", pointer=0x20001000, size=512, thread=2),
    record("a", pointer=0x2000102C, size=100, time=10_000, thread=0x20000400, caller=0x8000201),
    record("a", size=9999, align=32, time=11_000, thread=0x20000400, caller=0x8000201),
    record("r", pointer=0x2000102C, old=0x2000102C, size=20, time=12_000, thread=0x20000400),
    record("a", pointer=0x20001048, size=9, align=8, time=5_000_000_000, thread=1),
    record("f", pointer=0x2000102C, time=5_000_000_001, thread=0x20000400),
]
NAMES = [(0x20000100, b"my_heap"), (0x20000400, b"main")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("width", [4, 8])
def test_operations(read, table, check_trace, width, order):
    trace = read(ring(RECORDS, names=NAMES, width=width, order=order))
    check_trace(trace)
    assert (trace.format, trace.skipped, trace.notes) == ("khring", 0, {})
    assert table(trace, "id size align result time") == [
        ("alloc", 0, 100, 0, 0x2000102C, 0.01),
        ("alloc", 1, 9999, 32, 0, 0.011),
        ("realloc", 0, 20, 0, 0x2000102C, 0.012),
        ("alloc", 1, 9, 8, 0x20001048, 5000.0),
        ("free", 0, 0, 0, -1, 5000.000001),
    ]
    threads = [trace.threads[i] for i in trace.thread]
    assert threads == ["main", "main", "main", "interrupt", "main"]
    assert trace.callers == ["0x8000201"]
    assert [heap.name for heap in trace.heaps] == ["my_heap"]
    assert trace.inits == [HeapInit(0, 0, 0x20001000, 512)]
    assert trace.profile == kheap.Profile.parse(PROFILE.decode())
    assert kheap.replay(trace).first_difference() is None


def many(count):
    return [record("a", pointer=0x1000 * (n + 1), size=n) for n in range(count)]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_the_oldest_are_overwritten(read, count):
    trace = read(ring(many(count)))
    assert list(trace.size) == list(range(max(0, count - 8), count))
    assert trace.notes == ({MISSING: count - 8} if count > 8 else {})


def test_a_ring_that_was_caught_while_it_was_written(read):
    """The oldest record is on its way out: its slot has the complement of the next number."""
    records = many(20)
    records[12]["sequence"] = ~20
    trace = read(ring(records))
    assert (list(trace.size), trace.skipped) == (list(range(13, 20)), 0)
    assert trace.notes == {MISSING: 13}


def test_records_that_are_damaged(read, refusal):
    records = many(6)
    records[3]["sequence"] = 77
    records[4]["op"] = 0
    content = ring(records)
    assert refusal(content) == "t: record 3: expected its number in the slot, found 77"
    trace = read(content, lenient=True)
    assert (list(trace.size), trace.skipped, trace.notes) == ([0, 1, 2, 5], 2, {MISSING: 2})
    records[3]["sequence"] = 3
    assert refusal(ring(records)) == (
        "t: record 4: expected one of i, a, r, f, A, F as its kind, found 0"
    )


def test_numbers_that_are_too_large(refusal):
    for field in ("pointer", "old", "align"):
        content = ring([record("r", **{field: 2**63})], width=8)
        limit = "expected numbers up to 9,223,372,036,854,775,807, found 9223372036854775808"
        assert refusal(content) == f"t: record 0: {limit}"
    content = ring([record("a", pointer=8, size=2**63)], width=8)
    reason = "expected sizes below 2**63, found 9223372036854775808"
    assert refusal(content) == f"t: record 0: {reason}"


def test_a_ring_in_an_image_of_the_memory(read, refusal):
    content = ring(RECORDS, names=NAMES)
    image = b"\n\xef" * 30_000 + b"KHRING is what it looks for" + content + b"more" * 100
    assert read(image).format == "khring"
    far = bytes(100_000) + image
    assert read(far, format="khring").op == read(content).op
    assert read(far, "ram.khring").op == read(content).op
    assert "the content is of no known trace format" in refusal(far, "ram.bin")
    reason = "expected the ring of a recorder, 'KHRING', and found none"
    assert refusal(b"\1" * 99, format="khring") == f"t: {reason}"


def test_rings_that_are_cut_short(read, refusal):
    content = ring(RECORDS)
    whole = len(content)
    wanted = f"expected {whole:,} bytes with a ring of 8 records"
    assert refusal(content[:-1]) == f"t: {wanted}, found {whole - 1:,}: it was cut short"
    assert refusal(content[:127]) == "t: expected a header of 128 bytes, found 127"
    for length in range(6, whole, 7):
        assert refusal(content[:length], lenient=True).startswith("t: expected ")


def test_headers_that_are_damaged(refusal):
    content = ring(RECORDS)

    def with_byte(place, byte):
        return content[:place] + bytes((byte,)) + content[place + 1 :]

    versions = "expected version 1 of the ring, with pointers of 4 or 8 bytes, found version "
    assert refusal(with_byte(6, 2)) == f"t: {versions}2 with 4"
    assert refusal(with_byte(7, 16)) == f"t: {versions}1 with 16"
    for place in (*range(8, 28), 7):
        assert refusal(with_byte(place, 8 if place == 7 else content[place] ^ 0x41)) == (
            "t: the header of the ring is damaged"
        ) or place in range(20, 24)
    for slots in (0, 3):
        assert refusal(with_byte(20, slots)) == "t: the header of the ring is damaged"


def test_a_ring_of_more_records_than_the_file_can_hold(refusal):
    content = bytearray(ring(RECORDS))
    content[20:24] = (1 << 31).to_bytes(4, "little")
    assert "with a ring of 2,147,483,648 records" in refusal(bytes(content))


def test_an_empty_ring(refusal):
    assert refusal(ring([])) == "t: holds no operations"


def test_names_that_are_no_text(read):
    trace = read(ring(RECORDS, names=[(0x20000100, b"\xff\xfe"), (0, b"x")]))
    assert trace.heaps[0].name == "\ufffd\ufffd"


def test_files_that_are_too_large(read, refusal, monkeypatch):
    monkeypatch.setattr("kheap.trace._khring._MOST_BYTES", 1 << 20)
    content = ring(RECORDS)
    assert len(read(content + bytes((1 << 20) - len(content)))) == 5
    assert refusal(content + bytes(1 << 20)) == "t: expected at most 1,048,576 bytes, found more"
