"""Opening what may be no heap: random bytes, random heaps behind a sound control block, and
real heaps written over.  It opens, or raises HeapCorruption; what opened does no worse than
report, whatever is asked of it.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

import kheap
from property.broken import GUARD, PROFILES, Used, name_of, number, try_all

ATTEMPTS = 1000
REOPENED = [*PROFILES, None]


def name(profile):
    return name_of(profile) if profile else "detected"


class Found:
    """A region of somebody else's bytes between two guards, opened as a heap."""

    def __init__(self, data, profile, address, random):
        self.memory = bytearray(b"\xa5") * GUARD + data + bytearray(b"\xa5") * GUARD
        self.region = memoryview(self.memory)[GUARD : GUARD + len(data)]
        self.live = [random.randrange(len(data) or 1) for _ in range(3)]
        self.dead = [8 * c for c in self.live]
        self.opened = True
        try:
            self.heap = kheap.SysHeap.open(self.region, profile, address)
        except kheap.HeapCorruption as error:
            assert (error.chunk, error.invariant) == (0, "I6")
            self.opened = False
        assert self.region == data, "opening has written"

    guards_hold = Used.guards_hold


def fuzz(data, profile, address, random, told):
    """Open, try everything; whether it opened."""
    found = Found(data, profile, address, random)
    if found.opened:
        try_all(found, random, told)
    assert found.guards_hold()
    return found.opened


@pytest.mark.slow
@pytest.mark.parametrize("profile", REOPENED, ids=name)
def test_random_bytes(profile, scale):
    random = Random(f"bytes/{name(profile)}")
    for _ in range(round(ATTEMPTS * scale) // len(REOPENED)):
        data = random.randbytes(random.choice((0, 1, 7, 15, 16, 40, 64, 500)))
        assert not fuzz(data, profile, 0x20000000 + random.randrange(8), random, "random bytes")


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_random_chunks_behind_a_sound_control_block(profile, scale):
    random = Random(f"chunks/{name_of(profile)}")
    for _ in range(round(ATTEMPTS * scale) // len(PROFILES)):
        region = bytearray(random.randint(128, 600))
        with kheap.SysHeap(region, profile, 0x20000000) as heap:
            rest = heap.start + 8 * heap.c0
            end_chunk = heap.n
        words = [number(random, end_chunk) for _ in range(len(region) // 2)]
        words = b"".join((word & 0xFFFF).to_bytes(2, "little") for word in words)
        region[rest:] = words[: len(region) - rest]
        assert fuzz(bytes(region), profile, 0x20000000, random, "random chunks")


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_real_heaps_written_over(profile, scale):
    random = Random(f"real/{name_of(profile)}")
    opened = Counter()
    for _ in range(max(1, round(ATTEMPTS * scale) // len(PROFILES) // 5)):
        used = Used(profile, random)
        for _ in range(5):
            told = used.break_it(random)
            for chosen in (profile, None):
                data = bytes(used.region)
                opened[chosen] += fuzz(data, chosen, used.address, random, told)
            used.restore()
    assert opened[profile] > 0 < opened[None]


# ---------------------------------------------------------------------- detection


def expected(profile, heap):
    """The profile that the bytes tell of: what leaves no trace is taken for 4.4's default."""
    small = not heap.geometry.big
    told = profile.runtime_stats or small
    bits = profile.bits if told else 64
    return kheap.Profile(
        bits=bits,
        header="auto" if bits == 64 else "small" if small else "big",
        runtime_stats=profile.runtime_stats,
        hardening="full" if heap.trail else "basic",
    )


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.version >= (4, 4)], ids=name_of)
def test_the_layout_is_detected(profile):
    random = Random(f"detect/{name_of(profile)}")
    for size in (128, 200, 1024, *(random.randrange(128, 4096) for _ in range(6))):
        region, address = bytearray(size), 0x20000000 + random.randrange(8)
        with kheap.SysHeap(region, profile, address) as fresh:
            wanted, geometry = expected(profile, fresh), fresh.geometry
            with kheap.SysHeap.open(region, base_address=address) as found:
                assert found.profile == wanted, f"fresh, {size} bytes"
                assert found.geometry == geometry
            while fresh.try_alloc(random.randint(1, 60)) is not None:
                pass
            with kheap.SysHeap.open(region, base_address=address) as found:
                assert found.profile == wanted, f"full, {size} bytes"
                assert list(found.chunks()) == list(fresh.chunks())
                assert found.stats().free_bytes == fresh.stats().free_bytes
                found.check()


@pytest.mark.parametrize("profile", [p for p in PROFILES if p.version >= (4, 4)], ids=name_of)
def test_a_broken_heap_is_opened_as_what_it_fits_best(profile):
    """The first fault lies behind the control block, so that it can be inspected."""
    random = Random(f"best/{name_of(profile)}")
    used = Used(profile, random)
    used.region[-20:] = bytes(20)
    with kheap.SysHeap.open(used.region, base_address=used.address) as found:
        assert found.profile == expected(profile, used.heap)
        assert found.geometry == used.heap.geometry
        with pytest.raises(kheap.HeapCorruption):
            found.check()


@pytest.mark.parametrize("release", ["4.2", "4.3"])
def test_a_sound_heap_of_any_release_is_sound(release):
    region = bytearray(512)
    with kheap.SysHeap(region, kheap.Profile(release=release), 0x20000000) as old:
        old.alloc(100)
        old.check()
        with kheap.SysHeap.open(region, base_address=0x20000000) as found:
            found.check()


@pytest.mark.parametrize("release", ["2.6", "3.7", "4.0"])
@pytest.mark.parametrize("stats", [False, True])
def test_an_older_heap_is_opened_as_4_4(release, stats):
    region = bytearray(512)
    profile = kheap.Profile(release=release, bits=32, header="small", runtime_stats=stats)
    with kheap.SysHeap(region, profile, 0x20000000) as old:
        old.alloc(100)
        with kheap.SysHeap.open(region, base_address=0x20000000) as found:
            assert found.profile.release == "4.4"
            assert found.profile.runtime_stats == profile.runtime_stats
            assert list(found.chunks()) == list(old.chunks())
            found.check()


@pytest.mark.parametrize(
    "profile",
    [
        kheap.Profile(),
        kheap.Profile(bits=32, header="small"),
        kheap.Profile(bits=32, header="big"),
        kheap.Profile(runtime_stats=False),
    ],
    ids=name_of,
)
def test_a_heap_is_not_opened_as_another(profile):
    region = bytearray(512)
    with kheap.SysHeap(region, profile, 0x20000000):
        pass
    others = [p for p in PROFILES if p.hardening == "basic" and p.release == "4.4"]
    opened = []
    for other in others:
        try:
            kheap.SysHeap.open(region, other, 0x20000000).close()
            opened.append(name_of(other))
        except kheap.HeapCorruption as error:
            assert (error.chunk, error.invariant) == (0, "I6")
            assert str(other) in str(error)
    alike = {name_of(profile)}
    if not profile.runtime_stats:
        alike.add(name_of(kheap.Profile(bits=32, header="big", runtime_stats=False)))
    assert set(opened) == alike
