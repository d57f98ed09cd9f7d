"""The map: every byte of the heap is in one character."""

import random

import pytest

import kheap
from kheap.report.heap_map import ASCII, UNICODE, heap_map

MARKS = {False: UNICODE, True: ASCII}


def by_unit(heap, width, lines):
    """The map, by counting units one by one."""
    units = heap.n
    used = [False] * units
    for c in heap.chunks():
        if c.state in ("used", "control"):
            used[c.chunk : c.chunk + c.size_units] = [True] * c.size_units
    cells = min(width * lines, units)
    shades = []
    for i in range(cells):
        cell = used[i * units // cells : (i + 1) * units // cells]
        part = sum(cell)
        shades.append(0 if part == 0 else 4 if part == len(cell) else 1 + 3 * part // len(cell))
    return shades


def columns(heap):
    """First units of the chunks, and for each its used units."""
    chunks = list(heap.chunks())
    used = [c.size_units if c.state in ("used", "control") else 0 for c in chunks]
    return [c.chunk for c in chunks], used


@pytest.mark.parametrize("size", [72, 500, 2048, 10_000])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_map(size, ascii_only):
    draw = random.Random(size)
    heap = kheap.SysHeap(size, kheap.Profile(bits=32, runtime_stats=False), 0x20000000)
    live = [p for _ in range(size // 40) if (p := heap.try_alloc(draw.randint(1, 60)))]
    for p in draw.sample(live, len(live) // 2):
        heap.free(p)
    *rows, legend = heap_map(*columns(heap), heap.n, ascii_only=ascii_only)
    marks = MARKS[ascii_only]
    assert "".join(rows) == "".join(marks[shade] for shade in by_unit(heap, 64, 4))
    assert len(rows) <= 4
    assert legend.isascii() is ascii_only
    assert "one character is" in legend


def test_what_is_corrupt_is_marked():
    heap = kheap.SysHeap(2048, kheap.Profile(bits=32, runtime_stats=False), 0x20000000)
    row, *_, legend = heap_map(
        *columns(heap), heap.n, width=51, lines=1, bad=[(50, 51), (100, 110)], ascii_only=True
    )
    # Each character stands for 5 of the 255 units.
    assert [i for i, mark in enumerate(row) if mark == "!"] == [10, 20, 21]
    assert "! corrupt" in legend


def test_what_is_not_known_is_marked():
    """What is corrupt as well is said to be that."""
    heap = kheap.SysHeap(2048, kheap.Profile(bits=32, runtime_stats=False), 0x20000000)
    row, *_, legend = heap_map(
        *columns(heap), heap.n, width=51, lines=1, bad=[(101, 102)], unknown=[(100, 255)]
    )
    assert row[20:] == "!" + 30 * "?"
    assert "?" not in row[:20]
    assert "? not known  ! corrupt" in legend
