"""Lines of kheap's recorder for firmware, in console logs."""

from binascii import crc_hqx

import pytest

import kheap
from kheap.trace import FREE, HeapInit

MISSING = "record missing (overwritten in the ring, or lost on the way)"
RESTART = "restart of the recorder"
STILL_LIVE = "request answered with the address of a live block (a free is missing)"


def stamped(text, sequence=None):
    """A line as the recorder ends it."""
    text += " " if sequence is None else f" #{sequence}"
    return f"{text}*{crc_hqx(text.encode(), 0):04x}"


LOG = "\n".join(
    [
        "*** Booting Zephyr OS build v4.3.0 ***",
        stamped("kh v 1 release=4.3,bits=32,header=small,runtime_stats=no,alloc_loops=3,"
                "hardening=basic"),
        stamped("kh n 0x20000100 my_heap"),
        stamped("kh n 0x20000400 main"),
        stamped("kh i 0x20000100 0x20001000 512 0 0x2 0x8000101", 0),
        "[00:00:00.010,000] <inf> app: " + stamped(
            "kh a 0x20000100 0x2000102c 100 0 10000 0x20000400 0x8000201", 1) + "\r",
        "\x1b[0m[00:00:00.011,000] \x1b[1;31m<err> app: "
        + stamped("kh x 0x20000100 9999 32 11000 0x20000400 0x8000201", 2) + "\x1b[0m",
        "uart:~$ kernel heap",
        "unfinished " + stamped(
            "kh r 0x20000100 0x2000102c 0x2000102c 20 0 12000 0x20000400 0x8000301", 3)
        + stamped("kh a 0x20000100 0x20001048 9 8 13000 0x1 0x0", 4) + " and more text",
        stamped("kh r 0x20000100 0x2000102c 0x0 5000 0 14000 0x20000400 0x8000301", 5),
        stamped("kh f 0x20000100 0x2000102c 15000 0x20000440 0x8000401", 6),
        "",
    ]
)  # fmt: skip


def test_operations(read, table, check_trace):
    trace = read(LOG)
    check_trace(trace)
    assert (trace.format, trace.skipped, trace.notes) == ("kh", 0, {})
    assert table(trace, "id size align heap result time") == [
        ("alloc", 0, 100, 0, 0, 0x2000102C, 0.01),
        ("alloc", 1, 9999, 32, 0, 0, 0.011),
        ("realloc", 0, 20, 0, 0, 0x2000102C, 0.012),
        ("alloc", 1, 9, 8, 0, 0x20001048, 0.013),
        ("realloc", 0, 5000, 0, 0, 0, 0.014),
        ("free", 0, 0, 0, 0, -1, 0.015),
    ]
    assert [trace.threads[i] for i in trace.thread] == [
        "main", "main", "main", "interrupt", "main", "0x20000440",
    ]  # fmt: skip
    assert [trace.callers[i] if i >= 0 else None for i in trace.caller] == [
        "0x8000201", "0x8000201", "0x8000301", None, "0x8000301", "0x8000401",
    ]  # fmt: skip
    assert [heap.name for heap in trace.heaps] == ["my_heap"]
    assert trace.inits == [HeapInit(0, 0, 0x20001000, 512)]
    assert trace.profile == kheap.Profile(
        release="4.3", bits=32, header="small", runtime_stats=False
    )
    assert kheap.replay(trace).first_difference() is None


def test_lines_of_ones_own(read, table, check_trace):
    """Without sums, and with all that may be left out; names where the program has them."""
    trace = read(
        "kh a heap 0x100 10 5 main\nkh a heap 0x200 20 8 6 main\nkh a heap 0x300 30 16 7 main f\n"
        "kh x heap 99\nkh x heap 99 8 main\nkh x heap 99 64 9 main\nkh x heap 99 64 9 main g\n"
        "kh f heap 0x100 10 main\nkh f heap 0x200 11 main f\nkh r heap 0x300 0x400 40 12 0\n"
        "kh r heap (nil) 0x500 50 8 13 0x1\nkh f (nil) 0 1 0\n"
    )
    check_trace(trace)
    assert table(trace, "size align result time") == [
        ("alloc", 10, 0, 0x100, 5e-6),
        ("alloc", 20, 8, 0x200, 6e-6),
        ("alloc", 30, 16, 0x300, 7e-6),
        ("alloc", 99, 0, 0, 0),
        ("alloc", 99, 0, 0, 8e-6),
        ("alloc", 99, 64, 0, 9e-6),
        ("alloc", 99, 64, 0, 9e-6),
        ("free", 0, 0, -1, 1e-5),
        ("free", 0, 0, -1, 1.1e-5),
        ("realloc", 40, 0, 0x400, 1.2e-5),
        ("alloc", 50, 8, 0x500, 1.3e-5),
    ]
    assert trace.threads == ["main", "interrupt"]
    assert trace.callers == ["f", "g"]
    assert [heap.name for heap in trace.heaps] == ["heap", "libc"]
    assert trace.notes == {"free of NULL": 1}
    assert trace.profile is None


@pytest.mark.parametrize("letters", ["af", "AF"])
def test_a_listener_tells_of_a_resize_in_place(read, table, check_trace, letters):
    """First the new size, then a free of the old; here another heap comes between."""
    alloc, free = letters
    trace = read(
        f"kh {alloc} 0x1 0x100 24 1 0\nkh {alloc} 0x2 0x900 8 2 0\nkh {alloc} 0x1 0x100 16 3 0\n"
        f"kh {alloc} 0x2 0xa00 8 4 0\nkh {free} 0x1 0x100 5 0\nkh {free} 0x1 0x100 6 0\n"
    )
    check_trace(trace)
    assert table(trace, "id size heap time") == [
        ("alloc", 0, 24, 0, 1e-6),
        ("alloc", 1, 8, 1, 2e-6),
        ("alloc", 2, 8, 1, 4e-6),
        ("realloc", 0, 16, 0, 5e-6),
        ("free", 0, 0, 0, 6e-6),
    ]
    heard = {"size as the heap rounded it (from a listener)": 6} if alloc == "A" else {}
    assert trace.notes == heard


@pytest.mark.parametrize("after", ["", "kh a 0x1 0x200 8 3 0\n", "kh f 0x1 0x300 3 0\n"])
def test_a_live_block_that_is_given_out_again(read, check_trace, after):
    """No free of it follows: one is missing."""
    trace = read("kh a 0x1 0x100 24 1 0\nkh a 0x1 0x300 8 2 0\nkh a 0x1 0x100 16 2 0\n" + after)
    check_trace(trace)
    assert trace.notes == {STILL_LIVE: 1}
    assert list(trace.size[:3]) == [24, 8, 16]


def test_a_heap_that_is_initialised_anew(read, check_trace):
    trace = read(
        "kh i h 0x100 64 0 0\nkh a h 0x110 8 1 0\nkh a h 0x110 8 2 0\n"
        "kh i h 0x100 64 3 0\nkh a h 0x110 8 4 0\n"
    )
    check_trace(trace)
    assert trace.inits == [HeapInit(0, 0, 0x100, 64), HeapInit(2, 0, 0x100, 64)]
    assert trace.notes == {STILL_LIVE: 1}


def test_records_that_are_missing(read):
    lines = [stamped(f"kh a 0x1 {n * 256:#x} 8 0 1 0x2 0x3", n) for n in (3, 4, 7, 8)]
    trace = read("\n".join(lines))
    assert (len(trace), trace.notes) == (4, {MISSING: 5})


def test_numbers_begin_again_behind_the_last(read):
    last = 2**32 - 1
    lines = [stamped(f"kh a 0x1 {(n + 1) % 9 * 256:#x} 8 0 1 0x2 0x3", n) for n in (last, 0, 1)]
    assert read("\n".join(lines)).notes == {MISSING: last, RESTART: 1}


def test_a_device_that_restarts(read):
    boot = stamped("kh v 1 bits=32")
    first = stamped("kh a 0x1 0x100 8 0 1 0x2 0x3", 0)
    second = stamped("kh a 0x1 0x200 8 0 1 0x2 0x3", 2)
    assert read(f"{boot}\n{first}\n{boot}\n{second}\n").notes == {RESTART: 1, MISSING: 2}
    assert read(f"{first}\n{second}\n{first}\n").notes == {MISSING: 1, RESTART: 1, STILL_LIVE: 1}


def test_profiles(read):
    op = "kh a 0x1 0x100 8 1 0\n"
    assert read("kh v 1 release=5.1,bits=32\n" + op).profile.release == "main"
    for unknown in ("colour=red", "release=4.3,hardening=full", "bits=16", "alloc_loops=0"):
        trace = read(f"kh v 1 {unknown}\n{op}")
        assert trace.profile is None
        assert trace.notes == {"description of a Zephyr that is not known": 1}


def test_names_that_two_things_have(read):
    trace = read(
        "kh a 0x1 0x100 8 1 0x11\nkh a 0x2 0x200 8 1 0x12\nkh a 0X003 0x300 8 1 0x13\n"
        "kh n 0x1 pool\nkh n 0x2 pool\nkh n 0x3 third\nkh n 0x11 main\nkh n 0x99 nobody\n"
    )
    assert [heap.name for heap in trace.heaps] == ["pool", "pool@0x2", "third"]
    assert trace.threads == ["main", "0x12", "0x13"]


def test_other_text_is_passed_over(read):
    noise = "kh\nkh \nkhaki a 0x1\nkheap a 0x1 0x2 3 4 5\nhikh a heap 0x1\nthe kh z 0x1\n\x1b[0m\n"
    trace = read(noise + "kh a 0x1 0x100 8 1 0\n" + noise)
    assert (len(trace), trace.skipped) == (1, 0)


FORM = {
    "i": "kh i HEAP REGION BYTES TIME THREAD",
    "a": "kh a HEAP POINTER BYTES ALIGN TIME THREAD",
    "A": "kh A HEAP POINTER BYTES ALIGN TIME THREAD",
    "x": "kh x HEAP BYTES ALIGN TIME THREAD",
    "r": "kh r HEAP OLD POINTER BYTES ALIGN TIME THREAD",
    "f": "kh f HEAP POINTER TIME THREAD",
    "F": "kh F HEAP POINTER TIME THREAD",
    "n": "kh n ADDRESS NAME",
    "v": "kh v 1 PROFILE",
}


@pytest.mark.parametrize(
    "line",
    [
        "kh a", "kh a ", "kh a 0x1", "kh a 0x1 0x100", "kh a 0x1 0x100 8", "kh a 0x1 0x100 8 1",
        "kh a 0x1 0x100 8 1 0 0x5 0x6 0x7", "kh a 0x1 100 8 1 0", "kh a 0x1 0x100 0x8 1 0",
        "kh a 0x1 0x100 8 -1 0", "kh a 0x1 0x100 8 1 12", "kh a 12 0x100 8 1 0", "kh A x 0x1 y 1 0",
        "kh a 0x1 0x100 8 1.5 0", "kh a 0x1 0x100 8[00:00] <inf> x: y",
        "kh x", "kh x 0x1", "kh x 0x1 8 1", "kh x 0x1 0x8", "kh f 0x1 0x100", "kh f 0x1 0x100 1",
        "kh f 0x1 0x100 1 0 0x5 0x6", "kh F 0x1 0x 1 0", "kh r 0x1 0x100 0x200 8", "kh r 0x1",
        "kh r 0x1 0x100 8 1 0", "kh i 0x1 0x100 1 0", "kh i 0x1 0x100 512 1 0 0x1 0x2", "kh i",
        "kh n 0x1", "kh n", "kh n 12 x", "kh n 0x1 two words", "kh v", "kh v 1", "kh v 1 a b",
        "kh a 0x1 0x100 8 1 0x", "kh v 1 bits=\xe9",
    ],
)  # fmt: skip
def test_malformed_lines(refusal, read, line):
    content = f"kh a 0x1 0x900 8 1 0\n[00:01] <inf> app: {line}\r\n".encode("latin-1")
    found = line.strip().encode("latin-1")
    found = repr(found)[1:]
    message = f"t:2: expected '{FORM[line[3]]}', found {found}"
    assert refusal(content) == message
    trace = read(content, lenient=True)
    assert (len(trace), trace.skipped) == (1, 1)


def test_lines_that_were_cut_off(refusal, read):
    """They might read well; but where one has a sum all have."""
    cut = "kh a 0x1 0x200 64 0 123"
    whole = stamped("kh a 0x1 0x100 8 0 1 0x2 0x3", 0)
    last = stamped("kh f 0x1 0x100 9 0x2 0x3", 2)
    content = f"{whole}\n{cut} 0x2\n{last}\n"
    reason = "expected a sum at the end, as lines before have: it was cut off"
    assert refusal(content) == f"t:2: {reason}"
    trace = read(content, lenient=True)
    assert (len(trace), trace.skipped, trace.notes) == (2, 1, {MISSING: 1})


def test_lines_that_were_damaged(refusal, read):
    whole = stamped("kh a 0x1 0x10000 64 0 1 0x2 0x3", 0)
    bad = whole.replace("0x10000", "0x1000")
    told, given = f"{crc_hqx(bad[: bad.index('*')].encode(), 0):04x}", whole[-4:]
    message = f"t:1: expected the sum {told}, found {given}: it is damaged"
    assert refusal(bad + "\n" + whole) == message
    trace = read(bad + "\n" + whole, lenient=True)
    assert (len(trace), trace.skipped, trace.notes) == (1, 1, {})


def test_what_cannot_be(refusal):
    limit = "expected numbers up to 9,223,372,036,854,775,807, found "
    assert refusal("kh a 0x1 0xffffffffffffffff 8 1 0\n") == f"t:1: {limit}'0xffffffffffffffff'"
    limit = "expected numbers up to 18,446,744,073,709,551,615, found "
    line = f"kh a {2**64:#x} 0x100 8 1 0\n"
    assert refusal("kh v 1 bits=32\n" + line) == f"t:2: {limit}'{2**64:#x}'"
    reason = "expected sizes below 2**63, found 9223372036854775808"
    assert refusal(f"kh a 0x1 0x100 {2**63} 1 0\n") == f"t:1: {reason}"
    assert refusal(f"kh r 0x1 0x100 0x100 {2**63} 1 0\n") == f"t:1: {reason}"
    assert refusal("kh v 2 bits=32\n") == "t:1: expected version 1 of the recorder, found '2'"
    line = stamped("kh a 0x1 0x100 8 0 1 0x2 0x3", 2**32)
    assert refusal(line) == "t:1: expected numbers up to 4,294,967,295, found '4294967296'"
    expected = "expected a name in UTF-8, found '\\xff'"
    assert refusal(b"kh n 0x1 \xff\nkh a 0x1 0x100 8 1 0\n") == f"t:1: {expected}"


def test_a_failed_request_of_more_than_all_memory(read):
    trace = read(f"kh x 0x1 {2**64 - 1} 1 0\nkh r 0x1 0x0 0x0 {2**64 - 1} 1 0\n")
    assert list(trace.size) == [2**63 - 1] * 2


def test_the_log_may_begin_with_other_text(read):
    """Up to what the format is told by."""
    assert read("x" * 60 + "\n" * 900 + LOG).format == "kh"
    assert read("junk\n" * 20_000 + LOG, format="kh").op[-1] == FREE
    assert read("junk\n" * 20_000 + LOG, "t.kh").format == "kh"


def test_logs_without_records(refusal):
    assert refusal("kh v 1 bits=32\nkh i h 0x100 64 0 0\n") == "t: holds no operations"
