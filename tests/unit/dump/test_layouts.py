"""What debug information says of a heap's layout goes before what the configuration says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kheap.dump.layouts import checked_profile
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
