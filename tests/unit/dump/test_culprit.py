"""Who wrote over a heap: what is said of the evidence, and where it is shown to be.

The heap is that of :class:`helpers.damage.Named`.
"""

from __future__ import annotations

import dataclasses

import pytest

import kheap
from helpers.damage import BASE, Named
from kheap._core.chunk import INVARIANTS
from kheap.dump.culprit import EDGE_BEFORE, EDGE_BEHIND, LONGEST_RUN, corruption_of
from kheap.dump.diagnosis import diagnose
from property.broken import name_of

PROFILES = [
    kheap.Profile(bits=32),
    kheap.Profile(bits=32, header="big", runtime_stats=False),
    kheap.Profile(bits=64),
]
FULL = kheap.Profile(bits=64, hardening="full")


@pytest.fixture(params=PROFILES, ids=name_of)
def named(request):
    return Named(request.param)


@pytest.fixture
def full():
    return Named(FULL)


def judged(named):
    return corruption_of(named.heap, diagnose(named.heap))


def block(named, name):
    """The address of a chunk's memory."""
    return BASE + 8 * named.at[name] + named.heap.hdr


def write(named, address, data):
    at = address - BASE
    named.heap.region[at : at + len(data)] = data


def end(named, name):
    """The address behind a block's last byte."""
    return BASE + 8 * (named.at[name] + named.size[name] - named.heap.trail)


def test_a_sound_heap_has_no_corruption(named):
    assert judged(named) is None


# ---------------------------------------------------------------------- overflows


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 9, 40])
def test_an_overflow(named, count):
    """Different bytes, so that only those that must have been written are counted."""
    data = bytes(0xE0 + i % 13 for i in range(count))
    write(named, end(named, "d"), data)
    corruption = judged(named)
    culprit = corruption.culprit
    assert (culprit.kind, culprit.chunk) == ("overflow", named.at["d"])
    assert culprit.address == block(named, "d")
    assert corruption.chunk == named.at["e"]
    assert 1 <= culprit.overrun_bytes <= count
    wanted = min(count, named.width + (count > named.width))
    assert culprit.overrun_bytes == wanted
    assert culprit.message == (
        f"the block at {block(named, 'd'):#x} ({end(named, 'd') - block(named, 'd'):,} bytes,"
        f" chunk {named.at['d']}) was written past its end, by at least {wanted:,} bytes"
    )


@pytest.mark.parametrize("filling", [b"A", b"\0", b"hello, world! "])
def test_an_overflow_that_goes_on(named, filling):
    count = 4 + named.heap.hdr + 5
    write(named, end(named, "d") - 4, (filling * count)[:count])
    write(named, end(named, "d") - 4 + count, b"\xee")
    culprit = judged(named).culprit
    assert culprit.overrun_bytes == named.heap.hdr + 5
    assert culprit.message.endswith(": the same bytes go on from before it")


def test_an_overflow_is_not_followed_for_ever():
    heap = kheap.SysHeap(4 * LONGEST_RUN, kheap.Profile(bits=32), BASE)
    first = heap.alloc(32)
    for _ in range(8):
        heap.alloc(LONGEST_RUN // 4 - 4)
    heap.region[first : first + 2 * LONGEST_RUN] = b"A" * (2 * LONGEST_RUN)
    corruption = corruption_of(heap, diagnose(heap))
    assert corruption.culprit.overrun_bytes == LONGEST_RUN


def test_a_canary_tells_of_an_overflow(full):
    write(full, end(full, "d"), b"\xe1")
    corruption = judged(full)
    assert (corruption.field, corruption.chunk) == ("canary", full.at["d"])
    assert corruption.field_address == end(full, "d")
    assert (corruption.culprit.kind, corruption.culprit.chunk) == ("overflow", full.at["d"])
    assert corruption.culprit.overrun_bytes == 1
    assert "into its canary" in corruption.culprit.message


def test_an_overflow_across_a_canary(full):
    """The canary is counted in: it lies behind the block's end."""
    write(full, end(full, "d"), b"\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9")
    culprit = judged(full).culprit
    assert (culprit.kind, culprit.chunk) == ("overflow", full.at["d"])
    assert culprit.overrun_bytes == 9


def test_no_overflow_over_a_canary_that_is_intact(full):
    full.header(full.at["e"], 0x41414141, 0x41414141)
    culprit = judged(full).culprit
    assert (culprit.kind, culprit.chunk, culprit.overrun_bytes) == ("stray write", None, None)
    assert "canary below it is intact" in culprit.message


# ---------------------------------------------------------------------- others


def test_an_underflow(named):
    """What runs under a block's start meets its own size, and spares LEFT_SIZE."""
    width = named.width
    write(named, block(named, "e") - width, b"\xe1\xe2\xe3\xe4"[:width])
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("underflow", named.at["e"])
    assert culprit.address == block(named, "e")


@pytest.mark.parametrize("bit", [0, 3])
def test_a_bit_flip(named, bit):
    at = block(named, "e") - BASE - named.width
    named.heap.region[at] ^= 1 << bit
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("bit flip", named.at["e"])
    assert "double free" in culprit.message


@pytest.mark.parametrize("number", [2, 3])
def test_use_after_free(named, number):
    """What was a block begins with the links of a free chunk."""
    named.write(named.at["b"], number, 0x4141)
    corruption = judged(named)
    culprit = corruption.culprit
    assert (culprit.kind, culprit.chunk) == ("use after free", named.at["b"])
    assert culprit.address == corruption.address + named.heap.hdr
    assert corruption.field_address == corruption.address + number * named.width


def test_past_the_end_of_what_is_free(named):
    named.header(named.at["c"], 0x41, 0x4141)
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("use after free", named.at["b"])


def test_past_the_end_of_a_crumb():
    """A chunk too small for any list was free as well."""
    named = Named(kheap.Profile(bits=64))
    named.header(named.at["d"], 0x41, 0x4141)
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("use after free", named.at["crumb"])


def test_a_double_free_by_its_canary(full):
    write(full, end(full, "d"), 0xDEADBEEFDEADBEEF.to_bytes(8, "little"))
    culprit = judged(full).culprit
    assert (culprit.kind, culprit.chunk) == ("double free", full.at["d"])


@pytest.mark.parametrize("field", [0, 8, 12, 16])
def test_the_control_block_has_no_owner(named, field):
    if field == 16:
        field = named.heap.profile.layout().table_byte
    write(named, BASE + field, b"\xe1\xe2\xe3\xe4")
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk, culprit.address) == ("stray write", None, None)


def test_the_canary_of_the_control_block_has_no_owner(full):
    write(full, BASE + 8 * full.heap.c0 - 8, bytes(8))
    corruption = judged(full)
    assert (corruption.chunk, corruption.field) == (0, "canary")
    assert corruption.field_address == BASE + 8 * full.heap.c0 - 8
    assert (corruption.culprit.kind, corruption.culprit.chunk) == ("stray write", None)


def test_behind_the_control_block(named):
    named.header(named.at["a"], 0x41, 0x4141)
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("stray write", None)
    assert "control block" in culprit.message


def test_behind_what_cannot_be_read(named):
    named.header(named.at["a"], 0x41, 0x4141)
    named.header(named.at["e"], 0x41, 0x4141)
    assert judged(named).culprit.kind == "stray write"


def test_the_end_marker(named):
    named.write(named.heap.n, 1, 0x41)
    assert judged(named).culprit.kind == "stray write"
    named.header(named.heap.n, 0x41, 0x41)
    culprit = judged(named).culprit
    assert (culprit.kind, culprit.chunk) == ("use after free", named.at["tail"])


# ---------------------------------------------------------------------- the record


def test_the_message_and_the_place(named):
    old = named.size["d"]
    named.write(named.at["e"], 0, 0x41)
    corruption = judged(named)
    e = named.at["e"]
    assert corruption.message == (
        f"chunk {e} ({e:#x}) at {BASE + 8 * e:#x}: LEFT_SIZE is 0x41, should be {old:#x}"
        f" (I1: {INVARIANTS['I1']})"
    )
    assert (corruption.address, corruption.field_address) == (BASE + 8 * e, BASE + 8 * e)
    assert (corruption.invariant, corruption.rule) == ("I1", INVARIANTS["I1"])
    assert (corruption.met_at, corruption.unread) == (named.at["d"], [])
    low = corruption.edge_address - BASE
    assert corruption.edge == bytes(named.heap.region[low : low + EDGE_BEFORE + EDGE_BEHIND])
    assert corruption.field_address == corruption.edge_address + EDGE_BEFORE


PLACES = [("end_chunk", 8, 4), ("avail_buckets", 12, 4), ("LEFT_SIZE", 0, 2)]


@pytest.mark.parametrize(("field", "byte", "width"), PLACES)
def test_the_place_of_a_field_of_the_control_block(named, field, byte, width):
    write(named, BASE + byte, b"\xff" * width)
    corruption = judged(named)
    assert (corruption.chunk, corruption.field) == (0, field)
    assert corruption.field_address == BASE + byte
    assert corruption.message.startswith(f"the control block at {BASE:#x}: {field} is 0x")


def test_the_place_of_a_bucket(named):
    table = named.heap.profile.layout().table_byte
    for b in range(named.heap.nb):
        named = Named(named.heap.profile)
        write(named, BASE + table + 4 * b, b"\xfe\xff\xff\xff")
        corruption = judged(named)
        assert corruption.field == f"bucket {b}"
        assert corruption.field_address == BASE + table + 4 * b


@pytest.mark.parametrize("profile", [PROFILES[0], PROFILES[2]], ids=name_of)
def test_the_place_of_a_statistic(profile):
    word = profile.bits // 8
    for i, field in enumerate(("free_bytes", "allocated_bytes", "max_allocated_bytes")):
        named = Named(profile)
        write(named, BASE + 16 + i * word, b"\xff" * word)
        corruption = judged(named)
        assert (corruption.chunk, corruption.field) == (0, field)
        assert corruption.field_address == BASE + 16 + i * word


def test_the_edge_of_a_heap_is_cut(named):
    """Bytes before the region's first and behind its last are not shown."""
    write(named, BASE + 8, b"\xff")
    corruption = judged(named)
    assert corruption.edge_address == BASE
    assert corruption.edge == bytes(named.heap.region[: 8 + EDGE_BEHIND])
    named = Named(named.heap.profile)
    named.write(named.heap.n, 1, 0x41)
    corruption = judged(named)
    assert corruption.edge_address + len(corruption.edge) == BASE + named.heap.size_bytes


def test_a_region_that_begins_odd():
    """Addresses are those of the chunks, not of the region's first byte."""
    heap = kheap.SysHeap(500, kheap.Profile(bits=32), 0x20000003)
    blocks = [heap.alloc(20) for _ in range(4)]
    heap.region[blocks[2] - 4 : blocks[2]] = b"\xe1\xe2\xe3\xe4"
    corruption = corruption_of(heap, diagnose(heap))
    assert corruption.address == 0x20000003 + blocks[2] - 4
    assert corruption.address % 8 == 0
    assert corruption.field_address == corruption.address
    assert corruption.culprit.address == 0x20000003 + blocks[1]
    at = corruption.field_address - corruption.edge_address
    assert corruption.edge[at : at + 4] == b"\xe1\xe2\xe3\xe4"


def test_what_cannot_be_read_is_listed(named):
    start = named.heap.start
    first, last = named.at["a"], named.at["tail"]
    named.heap.region[start + 8 * first : start + 8 * last] = bytes(8 * (last - first))
    corruption = judged(named)
    assert corruption.chunk == first
    for address, size in corruption.unread:
        assert BASE + 8 * first <= address < address + size <= BASE + 8 * named.heap.n


def test_records_are_plain(named):
    """They can be compared and turned into JSON."""
    named.header(named.at["e"], 0x41, 0x4141)
    one, two = judged(named), judged(named)
    assert one == two
    assert dataclasses.asdict(one)["culprit"]["kind"] == "overflow"
