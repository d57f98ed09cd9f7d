"""Both builds compute the same: answers, errors, events and bytes, on sound and broken heaps.

It runs in the compiled build only, with the pure one beside it in the same process.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

import kheap
from property import pure_twin
from property.broken import PROFILES, Used, name_of, operations, outcome
from property.strategies import ABSURD, ALIGNMENTS

HEAPS, BREAKS = 3, 6
SOUND_OPERATIONS = 300

pytestmark = pytest.mark.skipif(not kheap.COMPILED, reason="there is only the pure build")


@pytest.fixture(scope="module")
def pure():
    twin = pure_twin.load()
    assert not twin.COMPILED
    assert kheap.COMPILED
    return twin


def twin_profile(pure, profile):
    names = ("release", "bits", "header", "runtime_stats", "alloc_loops", "hardening")
    return pure.Profile(**{name: getattr(profile, name) for name in names})


class Pair:
    """The same heap twice."""

    def __init__(self, pure, profile, size, address):
        self.regions = [bytearray(size), bytearray(size)]
        makers = (kheap.SysHeap, profile), (pure.SysHeap, twin_profile(pure, profile))
        self.heaps = [
            make(region, chosen, address)
            for (make, chosen), region in zip(makers, self.regions, strict=True)
        ]
        self.events = [], []
        for heap, heard in zip(self.heaps, self.events, strict=True):
            heap.add_listener(lambda *event, heard=heard: heard.append(event))

    def do(self, name, *args, **kwargs):
        """Call both; they must agree in everything."""
        said = [outcome(lambda h=h: getattr(h, name)(*args, **kwargs)) for h in self.heaps]
        said = [(kind, repr(value) if name == "stats" else value) for kind, value in said]
        assert said[0] == said[1], f"{name}{args}{kwargs}"
        assert self.regions[0] == self.regions[1], f"{name}{args}{kwargs}: the bytes differ"
        assert self.events[0] == self.events[1], f"{name}{args}{kwargs}: the events differ"
        return said[0]


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_sound_heaps(pure, profile):
    random = Random(f"two/{name_of(profile)}")
    pair = Pair(pure, profile, random.randint(200, 4000), 0x20000000 + random.randrange(8))
    live = []
    for _ in range(SOUND_OPERATIONS):
        size = random.choice((0, random.randint(1, 60), random.randint(1, 400)))
        size = random.choice((size,) * 15 + ABSURD[:1] + (random.choice(ABSURD),))
        align = random.choice((0, 0, random.choice(ALIGNMENTS)))
        name = random.choice(("alloc", "alloc", "realloc", "free", "usable_bytes", "why"))
        block = random.choice(live) if live else None
        block = random.choice((*(block,) * 12, None, random.randrange(4000), -1, 2**64))
        if name in ("alloc", "why"):
            said = pair.do(name, size, align=align)
        elif name == "realloc":
            said = pair.do(name, block, size, align=align & -align)
        else:
            said = pair.do(name, block)
        if name in ("free", "realloc") and said[0] == "answer" and block in live:
            live.remove(block)
        if name in ("alloc", "realloc") and said[0] == "answer" and said[1]:
            live.append(said[1])
    pair.do("print_info", dump_chunks=True)
    pair.do("stats")


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_broken_heaps(pure, profile):
    """The second heap is the pure build's, opened on a copy of each broken region."""
    random = Random(f"two/broken/{name_of(profile)}")
    seen = Counter()
    for _ in range(HEAPS):
        used = Used(profile, random)
        for _ in range(BREAKS):
            broken = used.break_it(random)
            state = bytes(used.region)
            copy = bytearray(state)
            seed = random.random()
            try:
                ours = kheap.SysHeap.open(used.region, profile, used.address)
                twin = pure.SysHeap.open(copy, twin_profile(pure, profile), used.address)
            except kheap.HeapCorruption:
                continue
            calls = operations(ours, used, Random(seed)), operations(twin, used, Random(seed))
            for name in calls[0]:
                said = [outcome(call[name]) for call in calls]
                assert said[0] == said[1], f"{name} with {broken}"
                assert used.region == copy, f"{name} with {broken}: the bytes differ"
                used.region[:] = copy[:] = state
                seen[said[0][0]] += 1
            ours.close()
            twin.close()
            used.restore()
    assert seen["answer"] > 0 < seen["HeapCorruption"]
