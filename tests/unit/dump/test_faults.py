"""The lines of failed checks: each is known, placed and explained."""

from __future__ import annotations

import pytest

from helpers.build import real_files
from kheap.dump.console import read_console
from kheap.profile import HARDENING_LEVELS

ADDRESS = 0x9E0B8840
#: What each release prints, the fault, the least hardening level that prints it.
MESSAGES = [
    ("heap corruption (double free?) at {}", "double free", "basic"),
    ("heap corruption (buffer overflow?) at {}", "buffer overflow", "basic"),
    ("heap corruption (not in use?) at {}", "not in use", "basic"),
    ("heap corruption (left neighbor?) at {}", "left neighbour", "moderate"),
    ("heap corruption (free list linkage)", "free list", "moderate"),
    ("heap corruption (free chunk linkage)", "free chunk", "moderate"),
    ("heap canary: double free at {}", "canary: double free", "full"),
    ("heap canary: corruption at {}", "canary", "full"),
    ("heap validation failed", "validation", "extreme"),
    ("\tunexpected heap state (double-free?) for memory at {}", "double free", None),
    ("\tcorrupted heap bounds (buffer overflow?) for memory at {}", "buffer overflow", None),
    ("\theap size is too small", "size", None),
    ("\theap size is too big", "size", None),
    ("\talign must be a power of 2", "alignment", None),
    ("\talign must be multiple of sizeof(void *)", "alignment", None),
]  # fmt: skip


def faults(text):
    return read_console(text).faults


@pytest.mark.parametrize("prefix", ["", "[00:00:01.234,000] \x1b[1;31m<err> os_heap: ", "E: "])
@pytest.mark.parametrize(("message", "kind", "hardening"), MESSAGES)
def test_each_message(message, kind, hardening, prefix):
    (fault,) = faults(f"first\n{prefix}{message.format(hex(ADDRESS))}\x1b[0m\r\nlast\n")
    assert (fault.line, fault.kind, fault.hardening) == (2, kind, hardening)
    assert fault.address == (ADDRESS if "{}" in message else None)
    assert fault.place is None
    assert message.format(hex(ADDRESS)).strip() in fault.text
    assert fault.explanation == f"{fault.meaning} {fault.cause} {fault.next_step}"
    for sentence in (fault.meaning, fault.cause, fault.next_step):
        assert sentence[0].isupper() and sentence.endswith(".")
    assert hardening is None or hardening in HARDENING_LEVELS


@pytest.mark.parametrize("address", ["0x9e0b8840", "9e0b8840", "0x000000009E0B8840"])
def test_addresses_as_they_are_printed(address):
    (fault,) = faults(f"heap corruption (double free?) at {address}\n")
    assert fault.address == ADDRESS


def test_an_address_of_64_bits_and_none():
    (first, second) = faults(
        "heap canary: corruption at 0xffff000012345678\nheap canary: corruption at %p\n"
    )
    assert (first.address, second.address) == (0xFFFF000012345678, None)


ASSERTION = "ASSERTION FAIL [chunk_used(h, c)] @ /srv/build@2/zephyr/lib/os/heap.c:176"
MESSAGE = "\tunexpected heap state (double-free?) for memory at 0x9e0b8840"


@pytest.mark.parametrize("between", ["", "[00:00:01] <inf> app: alive\n"])
def test_an_assertion_and_its_message_are_one_fault(between):
    (fault,) = faults(f"{ASSERTION}\n{between}{MESSAGE}\n")
    assert (fault.line, fault.kind, fault.address) == (1, "double free", ADDRESS)
    assert fault.place == "/srv/build@2/zephyr/lib/os/heap.c:176"
    assert fault.text == f"{ASSERTION} {MESSAGE.strip()}"
    assert fault.hardening is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ASSERTION FAIL [chunk_used(h, c)] @ lib/heap/heap.c:1", "double free"),
        (
            "ASSERTION FAIL [left_chunk(h, right_chunk(h, c)) == c] @ lib/heap/heap.c:1",
            "buffer overflow",
        ),
        ("ASSERTION FAIL [!chunk_used(h, c)] @ lib/heap/heap.c:1", "assertion"),
        ("ASSERTION FAIL @ WEST_TOPDIR/zephyr/lib/heap/heap.c:1", "assertion"),
        ("ASSERTION FAIL [x] @ C:\\zephyr\\lib\\heap\\heap_validate.c:1", "assertion"),
        ("ASSERTION FAIL [x] @ zephyr/kernel/mempool.c:1", "assertion"),
        ("ASSERTION FAIL [x] @ zephyr/lib/heap/multi_heap.c:1", "assertion"),
        (
            "ASSERTION FAIL [!arch_is_in_isr() || ((timeout).ticks == 0)] @ kernel/kheap.c:1",
            "interrupt",
        ),
    ],
)
def test_assertions_without_a_message(line, kind):
    (fault,) = faults(line + "\n")
    assert fault.kind == kind
    assert fault.place.endswith(".c:1")
    assert fault.place in line
    assert fault.hardening is None


def test_the_place_of_the_panic_belongs_to_the_message():
    """From 4.4 on the message is logged, and the panic prints its place."""
    place = "@ WEST_TOPDIR/zephyr/lib/heap/heap.c:389"
    message = "<err> os_heap: heap corruption (buffer overflow?) at 0x20001234"
    for text in (f"{message}\n{place}\n", f"{place}\n{message}\n"):
        (fault,) = faults(text)
        assert (fault.line, fault.kind, fault.hardening) == (1, "buffer overflow", "basic")
        assert (fault.address, fault.place) == (0x20001234, place[2:])


def test_faults_that_do_not_belong_together():
    found = faults(f"{ASSERTION}\n{MESSAGE}\n{ASSERTION}\n{MESSAGE}\n")
    assert [fault.line for fault in found] == [1, 3]
    found = faults(ASSERTION + "\n" * 40 + MESSAGE)
    assert [fault.line for fault in found] == [1, 41]
    found = faults(f"{ASSERTION}\n{MESSAGE}\n{MESSAGE}\n")
    assert [fault.line for fault in found] == [1, 3]
    found = faults(MESSAGE + "\n" + MESSAGE)
    assert [fault.line for fault in found] == [1, 2]
    found = faults(f"{ASSERTION}\nheap canary: corruption at 0x10\n")
    assert [fault.kind for fault in found] == ["double free", "canary"]


@pytest.mark.parametrize(
    "line",
    [
        "ASSERTION FAIL [x] @ zephyr/kernel/sched.c:1",
        "ASSERTION FAIL [x] @ app/src/my_heap.c:1",
        "heap free: 100, allocated: 20",
        "the heap is not corrupt",
        "CC zephyr/lib/heap/heap.c",
    ],
)
def test_other_lines_are_no_faults(line):
    assert faults(line + "\n") == []


def test_long_lines_are_cut_in_the_text():
    (fault,) = faults("heap validation failed " + "x" * 10_000)
    assert len(fault.text) == 300


@pytest.mark.parametrize("path", real_files("console_logs", pattern="assert_*.txt"))
def test_real_lines(path):
    found = faults(path.read_text())
    assert [(fault.line, fault.kind) for fault in found] == [
        (2, "double free"),
        (4, "buffer overflow"),
        (5, "buffer overflow"),
        (5, "left neighbour"),
        (6, "free list"),
        (6, "free chunk"),
        (7, "canary: double free"),
        (7, "canary"),
        (7, "validation"),
    ]
    assert (found[0].address, found[0].place.rpartition("/")[2]) == (ADDRESS, "heap.c:176")


def test_nothing_of_a_line_steers_a_terminal():
    (fault,) = faults("\x1b]0;title\x07heap canary: corruption at 0x10 \x9b31m\u202e\n")
    assert fault.text == "?]0;title?heap canary: corruption at 0x10 ?31m?"
    assert fault.text.isprintable()
