"""Control blocks in memory without symbols: where they are seen, and where none is."""

from __future__ import annotations

from random import Random
from struct import pack

import pytest

import kheap
from helpers.damage import PROFILES, used_heap
from helpers.ram import RAM, Ram
from kheap.dump import scan
from kheap.dump.memory import Memory
from kheap.dump.recognise import likely_profiles
from kheap.dump.scan import SLAB_WORDS, candidates
from property.broken import name_of


def found(memory, known=(), bits=None, **options):
    return list(candidates(memory, list(known), bits, **options))


def memory_of(*pieces):
    memory = Memory()
    for address, data in pieces:
        memory.add(address, data)
    return memory


# ---------------------------------------------------------------------- heaps are seen


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
@pytest.mark.parametrize("size", [200, 1024, 5000])
def test_a_heap_of_any_profile(profile, size):
    heap = used_heap(profile, Random(size), size)
    for address in (0x20000100, 0x20000008):
        memory = memory_of((address - 64, bytes(64) + bytes(heap.region) + bytes(640)))
        ((at, count),) = found(memory)
        assert at == address
        assert 8 * heap.n + heap.hdr <= count <= size + 8


def test_every_layout_is_among_those_that_are_tried():
    """Whatever a profile may be, another one of the list lies in memory alike."""

    def geometry(profile, size):
        layout = profile.layout()
        return layout.table_byte, layout.trailer_units, profile.bits == 64 or (
            profile.header == "big" or (profile.header == "auto" and size > 0x7FFF * 8)
        )  # fmt: skip

    for size in (1024, 1 << 20):
        known = {geometry(profile, size) for profile in likely_profiles()}
        for bits in (32, 64):
            for header in ("auto", "small", "big") if bits == 32 else ("auto", "big"):
                if header == "small" and size > 0x7FFF * 8:
                    continue
                for stats in (False, True):
                    for hardening in ("none", "basic", "moderate", "full", "extreme"):
                        made = kheap.Profile("4.4", bits, header, stats, hardening=hardening)
                        assert geometry(made, size) in known, made


@pytest.mark.parametrize("units", [1, 3, 100])
@pytest.mark.parametrize("profile", PROFILES[:5], ids=name_of)
def test_small_and_odd_regions(profile, units):
    """The least that a heap can be, and regions that are no multiples of 8."""
    least = next(s for s in range(40, 400) if _is_heap(profile, s))
    for size in range(least + 8 * units - 8, least + 8 * units):
        heap = kheap.SysHeap(size, profile, RAM)
        ((at, count),) = found(memory_of((RAM, bytes(heap.region))))
        assert at == RAM
        assert 8 * heap.n < count <= size


def _is_heap(profile, size):
    try:
        kheap.SysHeap(size, profile, RAM).close()
    except ValueError:
        return False
    return True


def test_large_heaps():
    for bits, size in (
        (32, 0x7FFF * 8 + 4),
        (32, 0x8000 * 8 + 8),
        (32, 0x40000 * 8),
        (64, 1 << 21),
    ):
        heap = kheap.SysHeap(size, kheap.Profile(bits=bits), RAM)
        heap.alloc(1000)
        ((at, count),) = found(memory_of((RAM, bytes(heap.region))))
        assert (at, count // 8) == (RAM, size // 8)


def test_heaps_on_the_border_of_what_is_looked_at_in_one_go():
    heap = kheap.SysHeap(256, kheap.Profile(bits=32), RAM)
    for words in (SLAB_WORDS - 1, SLAB_WORDS, SLAB_WORDS + 1, 2 * SLAB_WORDS - 3):
        memory = memory_of((RAM - 8 * words, bytes(8 * words) + bytes(heap.region)))
        assert [at for at, _ in found(memory)] == [RAM]


def test_over_the_border_of_pieces():
    """Pieces that touch are looked at as one."""
    data = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region)
    for cut in (4, 8, 100, 508):
        pieces = (RAM, data[:cut]), (RAM + cut, data[cut:])
        assert [at for at, _ in found(memory_of(*pieces))] == [RAM]


def test_a_piece_that_begins_anywhere():
    data = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region)
    for lead in range(1, 9):
        memory = memory_of((RAM - lead, bytes(lead) + data))
        assert [at for at, _ in found(memory)] == [RAM]


def test_addresses_that_nobody_told():
    """A file may begin at a multiple of 4."""
    data = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region)
    memory = memory_of((0, bytes(12) + data))
    assert found(memory) == []
    assert [at for at, _ in found(memory, aligned=False)] == [12]


def test_one_fact_may_be_wrong():
    """Of a control block only its first word must hold."""
    random = Random("facts")
    for profile in PROFILES:
        heap = used_heap(profile, random, 1024)
        width = heap.hdr // 2
        sound = bytes(heap.region)
        for byte in (8 * heap.c0, 8 * heap.n, 8 * heap.n + width):
            region = bytearray(sound)
            region[byte : byte + width] = b"\xee" * width
            assert [at for at, _ in found(memory_of((RAM, region)))] == [RAM], byte


# ---------------------------------------------------------------------- what is passed over


def test_known_ranges_are_passed_over():
    ram = Ram()
    ram.heap("one", RAM + 0x100, 1024)
    ram.heap("two", RAM + 0x1000, 1024)
    memory = ram.memory()
    assert [at for at, _ in found(memory)] == [RAM + 0x100, RAM + 0x1000]
    assert [at for at, _ in found(memory, [(RAM + 0x100, RAM + 0x500)])] == [RAM + 0x1000]
    assert found(memory, [(RAM, RAM + 0x4000)]) == []


def test_what_the_caller_adds_is_passed_over():
    """Heaps in the blocks of a heap are the program's."""
    outer = kheap.SysHeap(8192, kheap.Profile(bits=32), RAM)
    block = outer.alloc(2048)
    at = block + -(RAM + block) % 8
    inner = memoryview(outer.region)[at : at + 1024]
    kheap.SysHeap(inner, kheap.Profile(bits=32), RAM + at)
    memory = memory_of((RAM, bytes(outer.region)))
    assert [address for address, _ in found(memory)] == [RAM, RAM + at]
    known = []
    looked = []
    for address, size in candidates(memory, known, None):
        looked.append(address)
        known.append((address, address + size))
    assert looked == [RAM]


def test_a_word_size_that_is_known():
    ram = Ram(bits=64)
    ram.heap("one", RAM + 0x100, 1024, runtime_stats=True)
    assert found(ram.memory(), bits=64)
    assert found(ram.memory(), bits=32) == []


# ---------------------------------------------------------------------- nothing is there


@pytest.mark.parametrize("filling", [0, 1, 7, 0x41, 0xFF])
def test_nothing_in_memory_of_one_byte(filling):
    assert found(memory_of((RAM, bytes([filling]) * 100_000))) == []


@pytest.mark.parametrize("size", [0, 1, 7, 8, 12, 15, 16, 31])
def test_nothing_in_pieces_too_small_for_a_heap(size):
    start = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region[:size])
    assert found(memory_of((RAM, start))) == []


def test_a_heap_that_goes_on_behind_its_piece_is_not_seen_by_its_ends():
    data = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region)
    assert found(memory_of((RAM, data[:500]))) == []
    assert found(memory_of((RAM, data[:256]), (RAM + 0x1000, data[256:]))) == []


def test_control_blocks_without_end(monkeypatch):
    """What only looks like control blocks is looked at so often, and not for ever."""
    monkeypatch.setattr(scan, "MOST_PLACES", 100)
    heap = bytes(kheap.SysHeap(512, kheap.Profile(bits=32), RAM).region)
    for count, seen in ((99, [(RAM + 16 * 99, 512)]), (100, [])):
        data = pack("<IIII", 13 << 16, 0, 1000, 0) * count
        assert found(memory_of((RAM, data + heap))) == seen
