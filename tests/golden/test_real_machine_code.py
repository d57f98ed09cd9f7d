"""Recordings of compiled Zephyr code, releases 3.5 to 4.4 and later, on ARM and x86.

Each operation's result and the CRC-32 of the whole region after it must be the same.
All recordings are run on the compiled build, every tenth on the pure one.
The recordings are not part of this repository: ``KHEAP_TEST_DATA`` names their folder.
"""

import json
import re

import pytest

from golden.machine import Machine, build_of, expected, profile_of, read_lines, region_matches
from helpers import spelling
from helpers.build import real_files, share

RECORDINGS = share(real_files("real", "golden", pattern="*/*.jsonl*"))
ALL_SNAPSHOTS = real_files("real", "golden", pattern="*/*.op*.bin")
SNAPSHOTS = share(ALL_SNAPSHOTS)
SNAPSHOT = re.compile(r"(.*)\.op(\d+)\.bin")


@pytest.mark.parametrize("path", RECORDINGS)
def test_recording(path):
    header, *rows, final = read_lines(path)
    machine = Machine(header)
    for row in rows:
        got = machine.run(row)
        assert got == expected(row), f"{path.name} op {row}: kheap says {got}"
        assert machine.crc() == row["crc32"], f"{path.name} op {row}: the regions differ"
    assert region_matches(machine.region, final), f"{path.name}: the final regions differ"
    assert {str(offset): size for offset, size in machine.live.items()} == final["live"]
    machine.heap.check()
    build = build_of(machine.profile)
    assert spelling.problems(machine.region, build, header["mem_addr"]) == []


@pytest.mark.parametrize("path", SNAPSHOTS)
def test_snapshot(path):
    """The region in the middle of a recording, and the blocks live in it."""
    name, last = SNAPSHOT.fullmatch(path.name).groups()
    (source,) = path.parent.glob(f"{name}.jsonl*")
    header, *rows, _ = read_lines(source)
    machine = Machine(header)
    for row in (row for row in rows if row["i"] <= int(last)):
        machine.run(row)
    assert machine.region == path.read_bytes(), f"the regions differ after op {last}"
    live = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["live"]
    assert {str(offset): size for offset, size in machine.live.items()} == live


@pytest.mark.parametrize("path", ALL_SNAPSHOTS)
def test_second_reader_on_snapshot(path):
    """The second reader finds real heaps sound, with a used chunk for each live block."""
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    (source,) = path.parent.glob(f"{SNAPSHOT.fullmatch(path.name)[1]}.jsonl*")
    build = build_of(profile_of(read_lines(source)[0]["source"]))
    region, address = path.read_bytes(), facts["mem_addr"]
    assert spelling.problems(region, build, address) == []
    image = spelling.read_heap(region, build, address)
    used = sorted(c.chunk for c in image.chunks if c.state == "used")
    assert used == sorted(image.chunk_of(int(offset)) for offset in facts["live"])
