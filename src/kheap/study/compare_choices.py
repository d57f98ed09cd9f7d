"""The choices that a comparison tries: releases, Kconfig options, old pools, and two heaps.

It owns which they are and what they are called.  Not here: trying them (``compare.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kheap.heaps.pool_shape import Model, Policy
from kheap.profile import Profile
from kheap.trace.model import Trace

__all__ = ["Choice", "choices"]

RELEASES = ("2.6", "3.7", "4.3", "4.4")
LOOPS = (1, 3, 5, 8, 16)
HARDENING = ("none", "basic", "moderate", "full", "extreme")
POOLS: tuple[tuple[Model, Policy], ...] = (
    ("quad", "split_before_defrag"),
    ("quad", "defrag_before_split"),
    ("quad", "split_only"),
    ("buddy", "split_before_defrag"),
)

#: How many sizes are tried at which requests part.
SPLITS = 4


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that could be chosen.

    Attributes:
        group: "now", "release", "header", "runtime_stats", "alloc_loops",
            "hardening", "pool" or "split".
        name: What is chosen, within the group.
        profile: Which Zephyr; None for a pool.
        pool: Model and policy; None for a heap.
        split_bytes: Requests of up to so many bytes have a heap of their own; None: all share.
        note: What else has to change with it.
    """

    group: str
    name: str
    profile: Profile | None
    pool: tuple[Model, Policy] | None = None
    split_bytes: int | None = None
    note: str = ""


def choices(profile: Profile, trace: Trace) -> list[Choice]:
    """All choices beside a profile, which comes first, for the requests of a trace."""
    return [
        Choice("now", "as it is", profile),
        *_releases(profile),
        *_headers(profile),
        *_statistics(profile),
        *(Choice("alloc_loops", str(n), replace(profile, alloc_loops=n)) for n in LOOPS),
        *_hardening(profile),
        *_pools(),
        *(
            Choice("split", f"above {size:,}", profile, split_bytes=size)
            for size in _split_sizes(trace)
        ),
    ]


def _releases(profile: Profile) -> Iterator[Choice]:
    for release in RELEASES:
        hardening, note = profile.hardening, ""
        if hardening in ("full", "extreme") and release != "4.4":
            hardening, note = "moderate", "without canaries"
        wanted = replace(profile, release=release, hardening=hardening)
        if wanted.runtime_stats != profile.runtime_stats:
            note = "; ".join(filter(None, (note, "without runtime statistics")))
        yield Choice("release", release, wanted, note=note)


def _headers(profile: Profile) -> Iterator[Choice]:
    # Headers of 64-bit builds are always big.
    for header in ("auto", "small", "big") if profile.bits == 32 else ():
        yield Choice("header", header, replace(profile, header=header))


def _statistics(profile: Profile) -> Iterator[Choice]:
    # Releases before 3.0 have none.
    for on in (True, False) if profile.version >= (3, 0) else ():
        yield Choice("runtime_stats", "on" if on else "off", replace(profile, runtime_stats=on))


def _hardening(profile: Profile) -> Iterator[Choice]:
    for level in HARDENING:
        if profile.release == "4.4" or level not in ("full", "extreme"):
            yield Choice("hardening", level, replace(profile, hardening=level))


def _pools() -> Iterator[Choice]:
    for model, policy in POOLS:
        name = f"{model}, {policy.replace('_', ' ')}" if model == "quad" else model
        yield Choice("pool", name, None, pool=(model, policy))


def _split_sizes(trace: Trace) -> list[int]:
    """Powers of two with requests on both sides, spread over those there are."""
    sizes = sorted(set(trace.size) - {0})
    # Several powers between two sizes would part the requests alike: the first one does.
    parts: dict[int, int] = {}
    for n in range(3, sizes[-1].bit_length() if sizes else 0):
        below = bisect_right(sizes, 1 << n)
        if 0 < below < len(sizes):
            parts.setdefault(below, 1 << n)
    powers = list(parts.values())
    if len(powers) <= SPLITS:
        return powers
    return [powers[(len(powers) - 1) * i // (SPLITS - 1)] for i in range(SPLITS)]
