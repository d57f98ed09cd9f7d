"""Wrong frees and broken heaps, in a released firmware and in kheap.

Where a check of the firmware fails, or its code runs astray, kheap raises InvalidFree or
HeapCorruption before its first write.  Where the firmware is fooled by a free, kheap either
raises likewise or does the same to every byte.  An alloc in a broken heap is only held to
raise without a write or to answer with a place in the region: neither checks all that it
follows, and what they then write is anybody's guess.
"""

from random import Random

import pytest

import kheap

pytest.importorskip("unicorn", reason="unicorn is not installed (extra: oracle)")

from helpers import spelling
from oracle.firmware import Panic
from oracle.operations import Operations, make_plan
from oracle.pair import BUILD, Pair

pytestmark = pytest.mark.oracle

RUNS = 10
HEAPS = 15
ATTEMPTS_A_HEAP = 40
INSTRUCTIONS = 20_000
HEADER_FIELDS = ("left", "size")
LIST_FIELDS = ("prev", "next", "head", "mask")


@pytest.mark.parametrize("run", range(RUNS))
def test_wrong_free(firmware, oracle_seed, scale, run):
    for pair, random in used_heaps(firmware, f"{oracle_seed}/wrong/{run}", scale):
        for _ in attempts(pair):
            offset = wrong_offset(pair, random)
            if offset not in pair.live:
                attempt(pair, "free", offset, "a sound heap")


@pytest.mark.parametrize("fields", [HEADER_FIELDS, LIST_FIELDS])
@pytest.mark.parametrize("run", range(RUNS))
def test_free_in_a_broken_heap(firmware, oracle_seed, scale, run, fields):
    for pair, random in used_heaps(firmware, f"{oracle_seed}/free/{run}", scale):
        for _ in attempts(pair) if pair.live else ():
            what = break_field(pair, random, fields)
            attempt(pair, "free", random.choice(pair.live), what)


@pytest.mark.parametrize("fields", [HEADER_FIELDS, LIST_FIELDS])
@pytest.mark.parametrize("run", range(RUNS))
def test_alloc_in_a_broken_heap(firmware, oracle_seed, scale, run, fields):
    for pair, random in used_heaps(firmware, f"{oracle_seed}/alloc/{run}", scale):
        for _ in attempts(pair):
            what = break_field(pair, random, fields)
            attempt(pair, "alloc", random.randint(1, 2 * pair.plan.typical), what)


def used_heaps(firmware, seed, scale):
    """Heaps in the middle of their use, with the generator to go on with."""
    random = Random(seed)
    for _ in range(round(HEAPS * scale)):
        plan = make_plan(random)._replace(odd=0.0)
        pair, operations = Pair(firmware, plan), Operations(plan, random)
        for _ in range(random.randrange(20, 200)):
            pair.do(operations.draw(len(pair.live)), operations)
        yield pair, random


def attempts(pair):
    """So many tries, each from the same sound heap."""
    sound = pair.memory()
    for number in range(ATTEMPTS_A_HEAP):
        yield number
        pair.restore(sound)


def wrong_offset(pair, random):
    """A block given back before, a place inside or near a live one, or anywhere."""
    kind = random.randrange(3)
    if kind == 0 and pair.freed:
        return random.choice(pair.freed)
    if kind == 1 and pair.live:
        return random.choice(pair.live) + random.choice((-8, -4, 4, 8, 16, 24))
    return random.randrange(0, pair.plan.size + 16, random.choice((1, 4)))


def break_field(pair, random, fields):
    """Write over one field of both heaps; say which."""
    image = spelling.read_heap(pair.region, BUILD, pair.firmware.address)
    field = random.choice(fields)
    free = [chunk for ring in image.rings.values() for chunk in ring]
    if field in ("prev", "next") and not free:
        field = "mask"
    which = {
        "prev": free,
        "next": free,
        "head": range(image.bucket_count),
    }.get(field, [c.chunk for c in image.chunks[1:]])
    chosen = random.choice(which)
    place = spelling.field_bytes(image, field, chosen)
    old = int.from_bytes(pair.region[place], "little")
    ids = [c.chunk for c in image.chunks]
    new = random.choice((0, old ^ 1, old + 2, max(0, old - 2), 0xFFFF, random.choice(ids)))
    pair.write(place.start, new.to_bytes(4, "little")[: place.stop - place.start])
    return f"{field} of {chosen} {new} instead of {old}"


def attempt(pair, kind, argument, what):
    """A call that meets a wrong state, on both."""
    what = f"{kind}({argument}) in {what}"
    before, story = bytes(pair.region), pair.story()
    stopped = firmware_stops(pair, kind, argument)
    try:
        got = pair.heap.free(argument) if kind == "free" else pair.heap.try_alloc(argument)
    except (kheap.InvalidFree, kheap.HeapCorruption) as error:
        assert pair.region == before, f"{what}: {error!r} after a write; {story}"
        return
    assert not stopped, f"{what}: {stopped}, but kheap says {got}; {story}"
    if kind == "free":
        pair.compare(what, None, got)
    else:
        assert got is None or 0 < got < pair.plan.size, f"{what}: kheap says {got}; {story}"


def firmware_stops(pair, kind, argument):
    """Why the firmware does not come back from a call; empty if it does."""
    try:
        getattr(pair.firmware, kind)(argument, limit=INSTRUCTIONS)
    except Panic as panic:
        return str(panic)
    return ""
