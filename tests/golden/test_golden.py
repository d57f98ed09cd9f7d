"""Every answer of the golden traces: what kheap gives must be what the original gave."""

import pytest

import kheap
from golden.player import DATA, Player, build_of, profile_of, read_golden
from helpers import spelling

# Files of the system heap are played beside this, in test_golden_kmalloc.py.
TRACES = sorted(
    path.name
    for path in DATA.glob("*.jsonl")
    if not path.name.startswith("limits") and "kmalloc" not in path.name
)
SHORT = [name for name in TRACES if (DATA / name).stat().st_size < 30_000]
LIMITS = sorted(path.name for path in DATA.glob("limits*.jsonl"))


def test_the_files_are_there():
    assert (len(TRACES), len(LIMITS)) == (77, 6), f"golden files are missing from {DATA}"


@pytest.mark.parametrize("name", TRACES)
def test_trace(name):
    header, rows, final = read_golden(DATA / name)
    player = Player(header)
    assert geometry(player.region, player.build, player.address) == header["init"]
    player.play(rows)
    player.heap.check()
    assert_ends_as(player, final)
    assert_views_agree(player)


@pytest.mark.parametrize("hardening", ["none", "moderate"])
@pytest.mark.parametrize("name", [name for name in SHORT if "canaries" not in name])
def test_checks_change_no_answer(name, hardening):
    play_with(name, hardening)


@pytest.mark.parametrize("name", [name for name in TRACES if "canaries" in name])
def test_validation_before_each_operation_changes_no_answer(name):
    play_with(name, "extreme")


def play_with(name, hardening):
    """Play a file on a heap that checks more or less than the recorded one."""
    header, rows, final = read_golden(DATA / name)
    player = Player(header, hardening)
    player.play(rows)
    assert_ends_as(player, final)


def assert_ends_as(player, final):
    """The heap is in the end what the file says: sums, lists, hashes of the region."""
    for key, got in player.summary().items():
        if final[key] is not None:
            assert got == final[key], f"{key} in the end; {player.picture()}"


def assert_views_agree(player):
    """What kheap tells of its chunks is what the second reader finds."""
    image = spelling.read_heap(player.region, player.build, player.address)
    assert spelling.problems(player.region, player.build, player.address) == []
    told = [(c.chunk, c.size_units, c.state) for c in player.heap.chunks()]
    assert told == [(c.chunk, c.size_units, c.state) for c in image.chunks]
    assert player.heap.stats().largest_free_bytes == image.largest_free_bytes


def geometry(region, build, address):
    """The geometry of a heap as a golden header spells it, read from the bytes."""
    image = spelling.read_heap(region, build, address)
    return {
        "hstart": image.start,
        "end_chunk": image.end_chunk,
        "chunk0": image.chunks[0].size_units,
        "buckets": image.bucket_count,
        "big": int(image.header_bytes == 8),
        "hdr": image.header_bytes,
    }


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    header, rows, _ = read_golden(DATA / name)
    profile, build = profile_of(header), build_of(header)
    for size, region_offset, fits, *want in rows:
        address = header["base"] + region_offset
        got = outcome(size, profile, build, address)
        assert got == want, f"{size} bytes at {address:#x}: fits {fits}"


def outcome(size, profile, build, address):
    """The row's end for a region: its geometry, or the refusal's reason."""
    region = bytearray(size)
    try:
        kheap.SysHeap(region, profile=profile, base_address=address)
    except ValueError as error:
        assert not any(region), f"{size} bytes at {address:#x}: refused, yet written"
        return [reason for reason in ("too small", "too big") if reason in str(error)]
    return list(geometry(region, build, address).values())
