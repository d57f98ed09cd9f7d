"""A watched heap in lines: its map and marks, its numbers, its history, at any width."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from helpers.small_target import PROFILE, SmallTarget
from kheap.dump.memory import Memory
from kheap.dump.program.image import read_image
from kheap.dump.target.live import Replayed
from kheap.dump.target.recording import Header, Recorder, Recording
from kheap.report.watch_text import DARK, Point, panel_lines, points_of, sample_line


@pytest.fixture
def target():
    return SmallTarget(my_heap=1024)


@pytest.fixture
def samples(target, tmp_path):
    """A function: the samples of the target's memory, each at so many seconds."""
    image = read_image(target.elf(tmp_path / "zephyr.elf"))

    def of(*moments):
        recorder = Recorder(tmp_path / "a.khr", Header.of("gdb://localhost:1", image, None))
        for t, ram in moments:
            memory = Memory()
            memory.add(0x20000000, ram)
            recorder.add(t, memory)
        recorder.close()
        return list(Replayed(Recording(tmp_path / "a.khr"), image))

    return of


def lines_of(sample, width=110, history=()):
    (heap,) = sample.heaps
    change = sample.changes.get("my_heap")
    return [line.plain for line in panel_lines(heap, change, history, width, DARK)]


def numbers(lines):
    """The words of all lines, with one space between them."""
    return " ".join(" ".join(lines).split())


def test_the_map_and_what_changed_in_it(target, samples):
    heap = target.heaps["my_heap"]
    first, second = heap.alloc(100), heap.alloc(100)
    before = bytes(target.ram)
    heap.free(first)
    heap.alloc(300)
    sample = samples((0, before), (2, bytes(target.ram)))[1]
    row, changes, *_ = lines_of(sample, width=127)
    # 127 units of 8 bytes: control block 7, then chunks of 13, 13 and 38.
    assert row == "█" * 7 + "·" * 13 + "█" * 13 + "█" * 38 + "·" * 56
    assert changes == " " * 7 + "-" * 13 + " " * 13 + "+" * 38 + " " * 56
    assert heap.usable_bytes(second) == 100
    for width in (20, 200):
        row, changes, *_ = lines_of(sample, width)
        assert (len(row), len(changes)) == (width, width)
        assert re.fullmatch(r"█+[▓▒░]?·+[▓▒░]?█+[▓▒░]?·+", row)
        assert re.fullmatch(r" +-+ *[+]+ +", changes)


def test_a_place_where_blocks_came_and_went(target, samples):
    heap = target.heaps["my_heap"]
    block = heap.alloc(16)
    before = bytes(target.ram)
    heap.free(block)
    heap.alloc(40)
    sample = samples((0, before), (1, bytes(target.ram)))[1]
    assert lines_of(sample, width=10)[1].strip() == "±+"


def test_the_numbers(target, samples):
    heap = target.heaps["my_heap"]
    heap.alloc(100)
    block = heap.alloc(40)
    heap.alloc(16)
    before = bytes(target.ram)
    heap.free(block)
    heap.alloc(200)
    first, second = samples((0, before), (2, bytes(target.ram)))
    stats = heap.stats()
    for width in (110, 72, 40):
        words = numbers(lines_of(second, width))
        free, allocated = stats.free_bytes, stats.allocated_bytes
        assert f"free {free:,} B {100 * free / 1024:.0f} %" in words
        assert f"allocated {allocated:,} B {100 * allocated / 1024:.0f} %" in words
        assert f"max allocated {stats.max_allocated_bytes:,} B" in words
        assert f"largest free {stats.largest_free_bytes:,} B" in words
        share = stats.fragmentation.one_minus_largest_over_free
        assert f"fragmentation {100 * share:.1f} %" in words
        assert "blocks 3" in words
        assert "rate +80 B/s" in words
        assert "new blocks +0.5 /s" in words
        assert "freed blocks -0.5 /s" in words
        assert all(len(line) <= width for line in lines_of(second, width))
    assert "rate - B/s" in numbers(lines_of(first))


@pytest.mark.parametrize(
    ("values", "bars", "span"),
    [
        ([], "", "0 B"),
        ([5], "▁", "5 B"),
        ([0, 7, 14], "▁▄█", "0 to 14 B"),
        ([1000, 1001], "▁█", "1,000 to 1,001 B"),
        ([*range(200)], None, "72 to 199 B"),
    ],
)
def test_the_history(target, samples, values, bars, span):
    (sample,) = samples((0, bytes(target.ram)))
    lines = lines_of(sample, 166, [Point(value, 0) for value in values])
    ends = f"  {span}"
    (line,) = [line for line in lines if line.startswith("allocated") and line.endswith(ends)]
    drawn = line.removeprefix("allocated").removesuffix(ends).strip()
    assert drawn == bars if bars is not None else len(drawn) == 128


def test_a_highest_value_that_is_not_kept(tmp_path):
    target = SmallTarget(replace(PROFILE, runtime_stats=False), my_heap=1024)
    header = Header.of("gdb://localhost:1", read_image(target.elf(tmp_path / "a.elf")), None)
    recorder = Recorder(tmp_path / "a.khr", header)
    recorder.add(0.0, target.memory)
    recorder.close()
    sample = Replayed(Recording(tmp_path / "a.khr")).sample(0)
    assert "max allocated not kept" in numbers(lines_of(sample))


def test_those_who_wait(target, samples):
    target.wait("my_heap", 5, -3)
    (sample,) = samples((0, bytes(target.ram)))
    assert "waiting 0x20000400 (priority 5), 0x20000480 (priority -3)" in numbers(lines_of(sample))
    assert all(len(line) <= 40 for line in lines_of(sample, 40))


def test_a_corrupt_heap(target, samples):
    for _ in range(4):
        target.step()
    was = bytes(target.ram)
    target.overflow("my_heap")
    before, after = samples((0, was), (1, bytes(target.ram)))
    assert "!" not in lines_of(before)[0]
    lines = lines_of(after)
    assert "!" in lines[0]
    assert lines[1].strip() == ""
    assert "the numbers are of what can be read" in numbers(lines)
    assert "likely overflow: " in numbers(lines)
    assert sample_line(after).startswith("     1.000 s  my_heap: corrupt: chunk ")


def test_points(target, samples):
    target.step()
    (sample,) = samples((0, bytes(target.ram)))
    stats = target.heaps["my_heap"].stats()
    assert points_of(sample) == {"my_heap": (stats.allocated_bytes, stats.largest_free_bytes)}


def test_one_line(target, samples):
    heap = target.heaps["my_heap"]
    before = bytes(target.ram)
    heap.alloc(100)
    target.wait("my_heap", 5)
    first, second = map(sample_line, samples((0, before), (12.5, bytes(target.ram))))
    free = heap.stats().free_bytes
    assert first == (
        f"     0.000 s  my_heap: {free + 104:,} bytes free, largest {free + 104:,},"
        " 0 allocated in 0 blocks"
    )
    assert second == (
        f"    12.500 s  my_heap: {free:,} bytes free, largest {free:,}, 100 allocated in 1 block,"
        " +100 bytes, 1 allocated and 0 freed, waiting: 0x20000400 (priority 5)"
    )
