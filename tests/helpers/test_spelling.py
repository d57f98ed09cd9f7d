"""The second reader reads the worked example of the layout, and misses no broken field."""

import pytest

from helpers import spelling
from helpers.spelling import Build

SMALL = Build(word_bytes=4, stats=False, header="small")
BIG = Build(word_bytes=8, stats=False)

# 128 bytes of zeros; alloc 5, alloc 12, free the first: what the original leaves behind.
SMALL_HEAP = bytes.fromhex(
    "00000900000000000f0000000600000000000000040000000800000000000000"
    "0400040004000400000000000000000002000500060006000000000000000000"
    "02000e0008000800" + "00" * 48 + "0700010000000000"
)
BIG_HEAP = bytes.fromhex(
    "00000000090000000f0000000500000004000000000000000900000000000000"
    "0400000004000000040000000400000002000000070000000600000006000000"
    "0000000000000000030000000c0000000900000009000000" + "00" * 32 + "0600000001000000"
)


def test_small_example():
    image = spelling.read_heap(SMALL_HEAP, SMALL)
    assert spelling.spell_chunks(image) == "|H4 -2 *2 -7 F"
    assert spelling.spell_rings(image) == "1:4 2:8"
    assert (image.end_chunk, image.header_bytes, image.bucket_count) == (15, 4, 4)
    assert [c.chunk for c in image.chunks] == [0, 4, 6, 8, 15]
    assert image.state_bytes("free") == 12 + 52
    assert image.largest_free_bytes == 52
    assert image.chunk_of(52) == 6


def test_big_example():
    assert spelling.spell(BIG_HEAP, BIG) == "|H4 -2 *3 -6 F"
    assert spelling.spell_rings(spelling.read_heap(BIG_HEAP, BIG)) == "0:4 2:9"
    assert spelling.problems(BIG_HEAP, BIG) == []


def test_stale_links_in_a_used_chunk_are_masked():
    blank = spelling.masked(SMALL_HEAP, spelling.read_heap(SMALL_HEAP, SMALL))
    changed = [at for at in range(128) if blank[at] != SMALL_HEAP[at]]
    assert changed == [52, 54], "only the stale links of chunk 6 are blanked"


def test_a_misaligned_heap_starts_at_the_next_unit():
    image = spelling.read_heap(b"\xa5" * 3 + SMALL_HEAP, SMALL, address=0x20000005)
    assert image.start == 3
    assert image.byte(4) == 35


@pytest.mark.parametrize(
    ("field", "which", "value"),
    [
        ("left", 6, 3),
        ("size", 4, 4 * 2),
        ("size", 6, 0),
        ("size", 4, 2 * 2 + 1),
        ("size", 6, 2 * 2),
        ("size", 15, 0),
        ("prev", 8, 4),
        ("next", 8, 4),
        ("next", 8, 0x7000),
        ("head", 2, 0),
        ("head", 0, 4),
        ("head", 3, 8),
        ("mask", 0, 7),
        ("end_chunk", 0, 14),
        ("end_chunk", 0, 0x7FFFFFFF),
    ],
)
def test_every_broken_field_is_a_problem(field, which, value):
    image = spelling.read_heap(SMALL_HEAP, SMALL)
    place = spelling.field_bytes(image, field, which)
    region = bytearray(SMALL_HEAP)
    region[place] = value.to_bytes(place.stop - place.start, "little")
    assert region != SMALL_HEAP, "the field was given the value that it had"
    assert spelling.problems(region, SMALL), f"{field} of {which} = {value} went unseen"


def test_a_sound_heap_has_no_problem():
    assert spelling.problems(SMALL_HEAP, SMALL) == []


def test_canary_of_the_original():
    # The same key everywhere: a chunk of 3 units at 0x20000038.
    assert spelling.canary(0x20000038, 3) == 0x5A6B7C8DBEAFB0FA
