"""What debug information says of a heap's layout goes before what the configuration says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helpers.elf_maker import Section, make_elf
from kheap.dump.find import heaps_in
from kheap.dump.memory import Memory
from kheap.dump.program.image import read_image
from kheap.dump.program.layouts import checked_profile
from kheap.heaps.sys_heap import SysHeap
from kheap.profile import Profile


def program(profile, *, bits=32, trailer=None, **offsets):
    """A program whose debug information knows these members of ``struct z_heap``."""
    return SimpleNamespace(
        profile=profile,
        bits=bits,
        offset_of=lambda struct, member: offsets.get(member),
        size_of=lambda struct: trailer,
    )


@pytest.mark.parametrize("profile", [None, Profile(bits=32)])
def test_without_debug_information_nothing_changes(profile):
    notes = []
    assert checked_profile(program(profile), notes) is profile
    assert notes == []


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("said", [False, True])
def test_statistics_are_kept_if_the_structure_has_them(keeps, said):
    offsets = {"buckets": 28, "free_bytes": 16} if keeps else {"buckets": 16}
    notes = []
    found = checked_profile(program(Profile(bits=32, runtime_stats=said), **offsets), notes)
    assert found == Profile(bits=32, runtime_stats=keeps)
    assert notes == []


def test_without_a_configuration_the_structure_alone_tells():
    found = checked_profile(program(None, bits=64, buckets=40, free_bytes=16), [])
    assert found == Profile(bits=64, runtime_stats=True)


def test_a_structure_that_keeps_more_is_said_to():
    notes = []
    checked_profile(program(Profile(bits=32), buckets=32, free_bytes=16), notes)
    assert len(notes) == 1 and "buckets at byte 32" in notes[0] and "at 28" in notes[0]


@pytest.mark.parametrize(("hardening", "count"), [("basic", 1), ("full", 0)])
def test_a_trailer_that_is_not_known_is_said_to_be_there(hardening, count):
    notes = []
    profile = Profile(bits=32, hardening=hardening)
    checked_profile(program(profile, trailer=8, buckets=28, free_bytes=16), notes)
    assert len(notes) == count


@pytest.mark.parametrize("release", ["4.3", "4.4"])
def test_statistics_tell_a_release_that_no_banner_names(tmp_path, release):
    address = 0x20000100
    heap = SysHeap(1024, Profile(release=release, bits=32, header="small"), address)
    heap.free([heap.alloc(20) for _ in range(5)][2])
    path = make_elf(
        tmp_path / "zephyr.elf",
        bits=32,
        machine="arm",
        config={"SYS_HEAP_RUNTIME_STATS": 1, "SYS_HEAP_SMALL_ONLY": 1},
        sections=[Section(".noinit", 0x20000000, 4096)],
    )
    memory = Memory()
    memory.add(address, heap.region)
    (found,) = heaps_in(memory, read_image(path))
    assert found.corruption is None
    assert found.profile.release == release
