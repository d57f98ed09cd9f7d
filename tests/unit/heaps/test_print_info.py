"""The printout of a heap, letter for letter."""

from __future__ import annotations

import pytest

import kheap

BASE = 0x20000000

# Output of the original: 64 bit without statistics, 256 bytes; alloc 40 twice, free the first.
ORIGINAL = """\
Heap at 0x20000000 contains 31 units in 5 buckets

  bucket#    min units        total      largest      largest
             threshold       chunks      (units)      (bytes)
  -----------------------------------------------------------
        2            5            1            6           48
        3            9            1           14          112

Chunk dump:
chunk    0: [*] size=5    left=0    right=5
chunk    5: [-] size=6    left=0    right=11
chunk   11: [*] size=6    left=5    right=17
chunk   17: [-] size=14   left=11   right=31
chunk   31: [*] size=0    left=17   right=31

144 free bytes, 40 allocated bytes, overhead = 72 bytes (28.1%)
"""
DUMP = ORIGINAL[ORIGINAL.index("\nChunk dump") : ORIGINAL.index("\n144 free")]


def example(release="4.4", **options):
    """The heap of the example."""
    profile = kheap.Profile(release=release, runtime_stats=False, **options)
    heap = kheap.SysHeap(256, profile, BASE)
    heap.free((heap.alloc(40), heap.alloc(40))[0])
    return heap


def test_the_original_with_a_dump():
    assert example().print_info(dump_chunks=True) == ORIGINAL


def test_the_original_without_a_dump():
    assert example().print_info() == ORIGINAL.replace(DUMP, "")


def test_main_prints_as_4_4():
    assert example("main").print_info(dump_chunks=True) == ORIGINAL


@pytest.mark.parametrize("release", ["2.6", "3.0", "3.7", "4.1"])
def test_before_4_2_the_largest_bytes_leave_the_header_out(release):
    wanted = ORIGINAL.replace("6           48", "6           40")
    wanted = wanted.replace("14          112", "14          104")
    assert example(release).print_info(dump_chunks=True) == wanted


@pytest.mark.parametrize("release", ["4.2", "4.3"])
def test_4_2_and_4_3_count_headers_as_bytes(release):
    wanted = ORIGINAL.replace(
        "144 free bytes, 40 allocated bytes, overhead = 72 bytes (28.1%)",
        "160 free bytes, 48 allocated bytes, overhead = 48 bytes (18.8%)",
    )
    assert example(release).print_info(dump_chunks=True) == wanted


def test_undersized_chunks_have_a_mark_of_their_own():
    heap = example()
    assert heap.alloc(32) == 48
    dump = heap.print_info(dump_chunks=True)
    assert "chunk   10: [.] size=1    left=5    right=11\n" in dump
    assert "\n104 free bytes, 72 allocated bytes, overhead = 80 bytes (31.3%)\n" in dump


def test_a_full_heap_has_an_empty_table():
    heap = kheap.SysHeap(256, kheap.Profile(), 0xFFFF0000)
    heap.alloc(heap.stats().largest_free_bytes)
    lines = heap.print_info().splitlines()
    assert lines[0] == "Heap at 0xffff0000 contains 31 units in 5 buckets"
    assert lines[4].strip("- ") == ""
    assert lines[5:] == ["", "0 free bytes, 176 allocated bytes, overhead = 80 bytes (31.3%)"]


def test_the_start_is_where_the_heap_starts():
    heap = kheap.SysHeap(256, kheap.Profile(), BASE + 3)
    assert heap.print_info().startswith("Heap at 0x20000008 contains 30 units")


def test_canaries_are_overhead():
    heap = kheap.SysHeap(256, kheap.Profile(runtime_stats=False, hardening="full"), BASE)
    heap.alloc(40)
    info = heap.print_info(dump_chunks=True)
    assert "chunk    6: [*] size=7    left=0    right=13\n" in info
    assert "\n128 free bytes, 40 allocated bytes, overhead = 88 bytes (34.4%)\n" in info


def test_small_heaps():
    heap = kheap.SysHeap(128, kheap.Profile(bits=32, header="small", runtime_stats=False), BASE)
    heap.free((heap.alloc(5), heap.alloc(12))[0])
    assert (
        heap.print_info(dump_chunks=True)
        == """\
Heap at 0x20000000 contains 15 units in 4 buckets

  bucket#    min units        total      largest      largest
             threshold       chunks      (units)      (bytes)
  -----------------------------------------------------------
        1            2            1            2           16
        2            4            1            7           56

Chunk dump:
chunk    0: [*] size=4    left=0    right=4
chunk    4: [-] size=2    left=0    right=6
chunk    6: [*] size=2    left=4    right=8
chunk    8: [-] size=7    left=6    right=15
chunk   15: [*] size=0    left=8    right=15

64 free bytes, 12 allocated bytes, overhead = 48 bytes (38.7%)
"""
    )


def test_a_broken_heap_is_not_printed():
    heap = example()
    heap.region[8 * 11] ^= 0xFF
    with pytest.raises(kheap.HeapCorruption):
        heap.print_info()
