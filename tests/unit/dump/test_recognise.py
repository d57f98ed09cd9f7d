"""Which heap lies in bytes: the vote of its ends, of its canary, and of its chunks."""

from __future__ import annotations

from random import Random

import pytest

import kheap
from helpers.damage import BASE, PROFILES, used_heap
from kheap.dump.canaries import address_by_canaries
from kheap.dump.recognise import (
    ALL_FACTS,
    facts_that_hold,
    likely_profiles,
    may_be_heap,
    recognise,
)
from property.broken import name_of

EVERY = list(likely_profiles())
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=name_of)


def region_of(heap):
    return bytearray(heap.region)


# ---------------------------------------------------------------------- profiles to try


def test_profiles_that_are_likely():
    assert len(EVERY) == len(set(EVERY))
    assert {profile.release for profile in EVERY} == {"4.3", "4.4"}
    assert {profile.bits for profile in likely_profiles(32)} == {32}
    assert {profile.bits for profile in likely_profiles(64)} == {64}
    assert set(likely_profiles(32)) | set(likely_profiles(64)) == set(EVERY)


@pytest.mark.parametrize("release", ["2.6", "3.7", "4.2", "4.3", "main"])
def test_a_release_that_is_known(release):
    """Without canaries, which came with 4.4."""
    profiles = list(likely_profiles(release=release))
    assert {profile.release for profile in profiles} == {release}
    assert {profile.hardening for profile in profiles} == {"basic"}


# ---------------------------------------------------------------------- sound heaps


@by_profile
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_heap(profile, seed):
    heap = used_heap(profile, Random(seed), (300, 1024, 2044, 4096)[seed])
    found = recognise(region_of(heap), BASE, EVERY)
    assert found.diagnosis.finding is None
    assert found.facts == ALL_FACTS
    assert found.heap.geometry == heap.geometry
    assert (found.heap.trail, found.heap.uncounted) == (heap.trail, heap.uncounted) or (
        not profile.runtime_stats
    )
    assert [*found.heap.chunks()] == [*heap.chunks()]


def test_the_region_is_left_alone():
    heap = used_heap(PROFILES[0], Random(1))
    region = region_of(heap)
    recognise(region, BASE, EVERY)
    assert region == heap.region


def test_one_profile_of_several_that_fit():
    """The first of those that make no difference."""
    heap = used_heap(kheap.Profile(bits=32, runtime_stats=False), Random(1))
    two = [kheap.Profile(r, bits=32, runtime_stats=False) for r in ("3.7", "4.0")]
    assert recognise(region_of(heap), BASE, two).heap.profile == two[0]
    assert recognise(region_of(heap), BASE, two[::-1]).heap.profile == two[1]


def test_statistics_tell_the_releases_that_count_headers():
    for release in ("4.3", "4.4"):
        heap = used_heap(kheap.Profile(release, bits=32), Random(1))
        assert recognise(region_of(heap), BASE, EVERY).heap.profile.release == release


def test_a_heap_that_takes_less_than_its_region():
    """Its own word is asked where the region's size leads to nothing."""
    heap = used_heap(PROFILES[0], Random(1), 1024)
    for more in (8, 64, 5000):
        found = recognise(region_of(heap) + bytes(more), BASE, EVERY)
        assert found.heap.n == heap.n
        assert found.diagnosis.finding is None


def test_a_region_that_begins_odd():
    for lead in range(8):
        heap = kheap.SysHeap(1024, kheap.Profile(bits=32), BASE + lead)
        heap.alloc(100)
        found = recognise(region_of(heap), BASE + lead, EVERY)
        assert found.heap.geometry == heap.geometry
        assert found.diagnosis.finding is None


# ---------------------------------------------------------------------- canaries


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_canary_decides(bits, stats):
    """Layouts with statistics and with canaries may have the same ends."""
    profile = kheap.Profile(bits=bits, runtime_stats=stats, hardening="full")
    random = Random(f"{bits}/{stats}")
    for size in range(300, 3000, 60):
        heap = used_heap(profile, random, size)
        region = region_of(heap)
        free = [c for c in heap.chunks() if c.state == "free"]
        for chunk in free[:1]:
            at = heap.start + 8 * chunk.chunk + heap.hdr
            region[at : at + heap.hdr] = b"\xee" * heap.hdr
        found = recognise(region, BASE, EVERY)
        assert found.heap.trail == 1, size
        assert (found.diagnosis.finding is None) == (not free)


def test_a_heap_without_canaries_has_none_found():
    random = Random("none")
    for size in range(300, 3000, 60):
        heap = used_heap(kheap.Profile(bits=32), random, size)
        region = region_of(heap)
        region[heap.start + 8 * heap.c0] ^= 1
        assert recognise(region, BASE, EVERY).heap.trail == 0


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("address", [8, 0x1000, 0x20000100, 0xFFFFF000])
def test_canaries_tell_the_address(bits, address):
    profile = kheap.Profile(bits=bits, hardening="full")
    heap = kheap.SysHeap(1024, profile, address)
    region = region_of(heap)
    assert address_by_canaries(region, [profile]) == address
    assert address_by_canaries(region, EVERY) == address
    blocks = [heap.alloc(50) for _ in range(5)]
    heap.free(blocks[2])
    region = region_of(heap)
    assert address_by_canaries(region, EVERY) == address
    region[8 * heap.c0 - 8 : 8 * heap.c0] = b"A" * 8
    assert address_by_canaries(region, EVERY) == address, "most of them tell"
    assert address_by_canaries(region, EVERY, whole=False) == address


def test_upper_addresses_of_64_bits():
    profile = kheap.Profile(hardening="full")
    for address, told in ((0xFFFF800000001000, True), (0x1234567800000000, False)):
        region = region_of(kheap.SysHeap(1024, profile, address))
        assert address_by_canaries(region, EVERY) == (address if told else None)


def test_heaps_without_canaries_tell_no_address():
    random = Random("address")
    for profile in PROFILES:
        if not profile.layout().trailer_units:
            for size in (300, 1024, 4096):
                region = region_of(used_heap(profile, random, size))
                assert address_by_canaries(region, EVERY) is None
                assert address_by_canaries(region, [profile]) is None
    assert address_by_canaries(bytearray(1024), EVERY) is None
    assert address_by_canaries(bytearray(8), EVERY) is None


# ---------------------------------------------------------------------- damaged ends


def test_the_region_tells_where_the_heap_ends():
    """A wrong end_chunk may lead to what looks like an end."""
    for profile in PROFILES[:5]:
        heap = used_heap(profile, Random(3), 2048)
        for chunk in list(heap.chunks())[2:-1]:
            region = region_of(heap)
            region[8:12] = chunk.chunk.to_bytes(4, "little")
            found = recognise(region, BASE, EVERY)
            assert found.heap.n == heap.n
            assert found.diagnosis.finding.field == "end_chunk"
            assert found.diagnosis.finding.expected == heap.n


@by_profile
def test_two_facts_may_be_wrong(profile):
    heap = used_heap(profile, Random(2), 1024)
    region = region_of(heap)
    assert facts_that_hold(memoryview(region), heap.geometry) == ALL_FACTS
    region[0:2] = b"\xee\xee"
    region[8:12] = b"\xee" * 4
    assert facts_that_hold(memoryview(region), heap.geometry) == ALL_FACTS - 2
    found = recognise(region, BASE, [profile])
    assert found.heap.n == heap.n
    assert found.diagnosis.finding.chunk == 0
    region[8 * heap.c0 : 8 * heap.c0 + 2] = b"\xee\xee"
    assert recognise(region, BASE, [profile]) is None


@pytest.mark.parametrize("size", [0, 1, 8, 15, 16, 40, 100, 1000])
def test_what_is_no_heap(size):
    for data in (bytes(size), b"\xff" * size, Random(size).randbytes(size)):
        assert recognise(bytearray(data), BASE, EVERY) is None
        assert recognise(bytearray(data), BASE, EVERY, whole=False) is None
        assert not may_be_heap(memoryview(data), BASE, size, EVERY)


def test_another_profile_is_none():
    heap = used_heap(kheap.Profile(bits=32), Random(1))
    assert recognise(region_of(heap), BASE, [kheap.Profile(bits=64)]) is None


# ---------------------------------------------------------------------- a part of a heap


@by_profile
def test_the_first_part_of_a_heap(profile):
    heap = used_heap(profile, Random(5), 2048)
    for held in (8 * heap.c0 + 16, 600, 1024, 2000):
        region = region_of(heap)[:held] + bytes(2048 - held)
        found = recognise(region, BASE, [profile], held_bytes=held)
        assert found.heap.n == heap.n
        assert found.diagnosis.finding is None, found.diagnosis
        known = [c.chunk for c in heap.chunks() if 8 * (c.chunk + c.size_units + 1) <= held]
        assert [*found.diagnosis.table.chunk][: len(known)] == known
        assert may_be_heap(memoryview(region)[:held], BASE, 2048, [profile])
