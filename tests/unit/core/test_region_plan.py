"""Where a heap lies in its region: the smallest, the largest, and the window between flavours."""

from __future__ import annotations

import pytest

import kheap
from kheap._core.chunk import BIG_MAX_UNITS, INVARIANTS, SMALL_MAX_UNITS, geometry_of, plan
from property.broken import PROFILES, name_of
from property.model import build_of

BASE = 0x20000000
SMALLEST = [
    (kheap.Profile(bits=64, runtime_stats=False), 56),
    (kheap.Profile(bits=64), 80),
    (kheap.Profile(bits=32, header="small", runtime_stats=False), 44),
    (kheap.Profile(bits=32, header="small"), 52),
    (kheap.Profile(bits=32, header="auto", runtime_stats=False), 44),
    (kheap.Profile(bits=32, header="big", runtime_stats=False), 56),
    (kheap.Profile(bits=32, header="big"), 64),
]
ids = [f"{name_of(profile)}-{size}" for profile, size in SMALLEST]


@pytest.mark.parametrize(("profile", "size"), SMALLEST, ids=ids)
def test_the_smallest_usable_region(profile, size):
    heap = kheap.SysHeap(size, profile, BASE)
    heap.check()
    assert heap.alloc(1)
    assert heap.try_alloc(1) is None
    with pytest.raises(ValueError, match=f"region of {size - 1} bytes is too small for a heap"):
        kheap.SysHeap(size - 1, profile, BASE)


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_a_heap_fits_or_is_refused_at_every_small_size(profile):
    fitted = []
    for misalignment in (0, 1, 4, 7):
        sizes = []
        for size in range(36, 130):
            region = bytearray(b"\xa5") * size
            try:
                heap = kheap.SysHeap(region, profile, BASE + misalignment)
            except ValueError:
                assert region == b"\xa5" * size, "a refusal has written"
                continue
            heap.check()
            assert heap.alloc(1)
            heap.check()
            sizes.append(size)
        assert sizes == list(range(sizes[0], 130)), "what fits, fits in all larger regions"
        fitted.append(sizes[0])
    assert max(fitted) - fitted[0] <= 8


@pytest.mark.parametrize("misalignment", range(8))
def test_the_start_is_rounded_up_and_the_end_down(misalignment):
    layout = kheap.Profile().layout()
    for size in range(200, 217):
        geometry = plan(layout, BASE + misalignment, size)
        start = geometry.start
        assert start == -misalignment % 8
        end = start + 8 * geometry.end_chunk + geometry.header_bytes
        assert size - 8 < end <= size


@pytest.mark.parametrize(
    ("size", "footer_unused", "big", "end_chunk"),
    [(262143, 3, False, 32767), (262144, 4, False, 32767), (262151, 11, False, 32767),
     (262152, 0, True, 32768)],
)  # fmt: skip
def test_the_flavour_follows_the_units_but_the_footer_the_bytes(
    size, footer_unused, big, end_chunk
):
    """In this window a small heap leaves room for the end marker of a big one."""
    geometry = plan(kheap.Profile(bits=32).layout(), BASE, size)
    assert (geometry.big, geometry.end_chunk) == (big, end_chunk)
    assert size - (8 * end_chunk + geometry.header_bytes) == footer_unused


def test_small_headers_hold_no_more_than_their_units():
    layout = kheap.Profile(bits=32, header="small").layout()
    assert plan(layout, BASE, 262143).end_chunk == SMALL_MAX_UNITS
    with pytest.raises(ValueError, match="262144 bytes is too big for small headers"):
        plan(layout, BASE, 262144)


def test_big_headers_hold_no_more_than_theirs():
    for layout in (kheap.Profile().layout(), kheap.Profile(bits=32).layout()):
        assert plan(layout, BASE, 8 * BIG_MAX_UNITS + 7).end_chunk == BIG_MAX_UNITS - 1
        with pytest.raises(ValueError, match="too big"):
            plan(layout, BASE, 8 * BIG_MAX_UNITS + 8)


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_the_bucket_table_fits_the_largest_chunk(profile):
    layout, build = profile.layout(), build_of(profile)
    for end_chunk in (*range(300), 1023, 1024, 1025, SMALL_MAX_UNITS):
        geometry = geometry_of(layout, 0, end_chunk)
        if geometry is None:
            assert end_chunk < 14, "a heap of so many units exists"
            continue
        largest = end_chunk - geometry.chunk0_units
        assert largest >= geometry.min_units
        assert (largest - geometry.min_units + 1).bit_length() <= geometry.buckets
        table = build.table_byte + 4 * geometry.buckets
        assert 0 <= 8 * (geometry.chunk0_units - build.trailer_units) - table < 8
    assert geometry_of(layout, 0, BIG_MAX_UNITS + 1) is None
    assert (geometry_of(layout, 0, SMALL_MAX_UNITS + 1) is None) == (layout.header == "small")


def test_invariants_are_numbered_once():
    assert list(INVARIANTS) == [f"I{number}" for number in range(1, 11)]
