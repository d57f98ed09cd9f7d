"""A heap lives wholly in its region: two objects on the same bytes are one heap.

Golden traces are played with every operation on another object than the one before, and
blocks that one object placed are freed by the other.
"""

import itertools

import pytest

import kheap
from golden.player import DATA, Player, profile_of, read_golden

NAMES = [
    "32-03-512-mid",
    "32-nostats-03-512-mid",
    "32-full-canaries",
    "32big-rewind4",
    "64-rewind4",
]


class Alternating:
    """Passes each call on to the next of several heaps."""

    def __init__(self, *heaps):
        self.turn = itertools.cycle(heaps)

    def __getattr__(self, name):
        return getattr(next(self.turn), name)


@pytest.mark.parametrize("name", NAMES)
def test_trace_by_turns(name):
    header, rows, final = read_golden(DATA / f"{name}.jsonl")
    player = Player(header)
    second = kheap.SysHeap.open(
        player.region, profile=profile_of(header), base_address=player.address
    )
    player.heap = Alternating(player.heap, second)
    player.play(rows)
    assert player.summary()["sha256_raw"] == final["sha256_raw"]


def two_heaps(header):
    region = bytearray(1024)
    profile = kheap.Profile(bits=32, header=header)
    first = kheap.SysHeap(region, profile=profile, base_address=0x20000000)
    return first, kheap.SysHeap.open(region, profile=profile, base_address=0x20000000)


@pytest.mark.parametrize("align", [0, 0x20, 0x21, 0x22, 0x24, 0x28])
@pytest.mark.parametrize("header", ["small", "big"])
def test_what_the_first_places_the_second_frees(header, align):
    first, second = two_heaps(header)
    offset = first.alloc(10, align=align)
    assert first.usable_bytes(offset) == second.usable_bytes(offset)
    second.free(offset)
    assert first.stats().allocated_bytes == 0


@pytest.mark.parametrize("align", [0, 0x20, 0x28])
@pytest.mark.parametrize("header", ["small", "big"])
def test_what_the_second_places_the_first_frees(header, align):
    first, second = two_heaps(header)
    first.free(second.alloc(10, align=align))
    assert second.stats().allocated_bytes == 0


def test_a_rewind_that_the_first_has_not_given_is_misaligned_to_it():
    """It knows which steps it has given, and takes any other for a wrong free."""
    first, second = two_heaps("big")
    offset = second.alloc(10, align=0x24)
    with pytest.raises(kheap.InvalidFree, match="misaligned"):
        first.free(offset)
    first.alloc(10, align=0x24)
    first.free(offset)
