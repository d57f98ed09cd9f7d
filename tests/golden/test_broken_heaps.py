"""A broken heap gives a report: no crash, no endless loop, no byte outside the region.

Seeded: heaps of several builds are used for a while, blocks full of numbers that look like
headers and links; then up to three fields are written over, and one operation is called.
It must raise InvalidFree or HeapCorruption and leave the region alone, or go on within it.
The region lies between two guards, which a far link of a small heap cannot jump over.
"""

import struct
from random import Random

import pytest

import kheap
from helpers import spelling
from helpers.spelling import Build

SIZE = 2048
GUARD = 0x90000
BASE = 0x20000000
HEAPS = 30
ATTEMPTS_A_HEAP = 25
FIELDS = ("left", "size", "prev", "next", "head", "mask", "end_chunk")
PROFILES = [
    {"bits": 32, "header": "small", "runtime_stats": False},
    {"bits": 32, "header": "big", "runtime_stats": True},
    {"bits": 64},
    {"bits": 64, "release": "3.7", "runtime_stats": False},
]


class Guarded:
    """A heap between two guards."""

    def __init__(self, **options):
        self.profile = kheap.Profile(**options)
        self.memory = bytearray(b"\xa5") * (SIZE + 2 * GUARD)
        self.guards = self.outside()
        self.region = memoryview(self.memory)[GUARD : GUARD + SIZE]
        self.heap = kheap.SysHeap(self.region, profile=self.profile, base_address=BASE)
        self.live = []

    def outside(self):
        return self.memory[:GUARD], self.memory[GUARD + SIZE :]

    @property
    def build(self):
        return Build(
            word_bytes=self.profile.bits // 8,
            stats=self.profile.runtime_stats,
            trailer_units=int(self.profile.hardening in ("full", "extreme")),
            header=self.profile.header,
        )

    def use(self, random):
        """Fill the heap with blocks and holes; the blocks are full of likely numbers."""
        while (offset := self.heap.try_alloc(random.randint(1, 120))) is not None:
            count = self.heap.usable_bytes(offset) // 4
            words = [number(random) | number(random) << 16 for _ in range(count)]
            struct.pack_into(f"<{count}I", self.region, offset, *words)
            self.live.append(offset)
        random.shuffle(self.live)
        for _ in range(random.randrange(len(self.live))):
            self.heap.free(self.live.pop())

    def break_fields(self, random):
        """Write over up to three fields; say which."""
        image = spelling.read_heap(self.region, self.build, BASE)
        told = []
        for _ in range(random.randint(1, 3)):
            field = random.choice(FIELDS)
            with_links = image.chunks[1:-1] if field in ("prev", "next") else image.chunks
            which = random.choice(with_links).chunk
            which = random.randrange(image.bucket_count) if field == "head" else which
            place = spelling.field_bytes(image, field, which)
            value = number(random)
            self.region[place] = value.to_bytes(8, "little")[: place.stop - place.start]
            told.append(f"{field} of {which} = {value}")
        return ", ".join(told)

    def call(self, random):
        """Draw one operation on the heap; answer its words and how to do it."""
        size, align = random.randint(1, 300), random.choice((0, 0, 16, 64, 0x24))
        offset = random.choice(self.live) if self.live else None
        return random.choice(
            [
                (f"try_alloc({size}, {align})", lambda: self.heap.try_alloc(size, align=align)),
                (f"free({offset})", lambda: self.heap.free(offset)),
                (f"realloc({offset}, {size})", lambda: self.heap.realloc(offset, size)),
                ("check()", self.heap.check),
                ("stats()", self.heap.stats),
                ("chunks()", lambda: list(self.heap.chunks())),
                ("buckets()", lambda: list(self.heap.buckets())),
                (f"why({size})", lambda: self.heap.why(size, align=align)),
            ]
        )


def number(random):
    """What a field may be overwritten with: mostly ids and sizes within the heap."""
    return random.choice(
        (0, 1, 2, SIZE // 8 - 1, SIZE // 8, 0xFFFF, *(random.randrange(SIZE // 4),) * 6)
    )


def test_no_memory_in_a_broken_heap():
    """A search that fails moves a bucket's head; an error after that is no HeapCorruption."""
    guarded = Guarded(bits=32, header="small", runtime_stats=False)
    heap, region = guarded.heap, guarded.region
    holes = [(heap.alloc(size), heap.alloc(1))[0] for size in (28, 28, 28, 28)]
    while heap.try_alloc(1) is not None:
        pass
    for offset in holes:
        heap.free(offset)
    image = spelling.read_heap(region, guarded.build, BASE)
    last = spelling.field_bytes(image, "left", image.chunks[-2].chunk)
    region[last] = b"\xff\xff"
    before = bytes(region)
    try:
        heap.alloc(52)
    except kheap.HeapCorruption:
        assert region == before, "HeapCorruption after a write"
    except kheap.OutOfMemory as error:
        assert error.request_bytes == 52


@pytest.mark.parametrize("hardening", ["none", "basic", "moderate", "full", "extreme"])
@pytest.mark.parametrize("options", PROFILES, ids=lambda o: "-".join(map(str, o.values())))
def test_broken_heap(options, hardening, scale):
    if hardening in ("full", "extreme") and "release" in options:
        pytest.skip("canaries came with 4.4")
    random = Random(f"broken/{options}/{hardening}")
    for _ in range(round(HEAPS * scale)):
        guarded = Guarded(**options, hardening=hardening)
        guarded.use(random)
        sound = bytes(guarded.region)
        for _ in range(ATTEMPTS_A_HEAP):
            attempt(guarded, random)
            guarded.region[:] = sound


def attempt(guarded, random):
    broken = guarded.break_fields(random)
    words, call = guarded.call(random)
    before = bytes(guarded.region)
    try:
        call()
    except (kheap.InvalidFree, kheap.HeapCorruption) as error:
        assert guarded.region == before, f"{words} with {broken}: {error!r} after a write"
    except kheap.OutOfMemory:
        pass
    except Exception as error:
        pytest.fail(f"{words} with {broken}: {error!r}")
    assert guarded.outside() == guarded.guards, f"{words} with {broken}: wrote outside"


@pytest.mark.parametrize(("request_bytes", "align"), [(52, 0), (40, 16)])
@pytest.mark.parametrize("hardening", ["none", "basic", "moderate"])
def test_a_link_into_a_block_full_of_lies(hardening, request_bytes, align):
    """One stale write to a link; the block it leads to names a far place as its PREV.

    The search leaves that block as the head of its bucket, takes a chunk from the bucket
    above, and puts the rest into the first: before a head that leads out of the region.
    """
    guarded = Guarded(bits=32, header="small", runtime_stats=False, hardening=hardening)
    heap, region = guarded.heap, guarded.region
    victim, _, block = heap.alloc(28), heap.alloc(1), heap.alloc(60)
    last, _ = heap.alloc(84), heap.alloc(1)
    while heap.try_alloc(1) is not None:
        pass
    heap.free(last)
    heap.free(victim)
    lie = block // 8 + 1
    struct.pack_into("<4H", region, 8 * lie, 0, 2, 0xFFFF, lie)
    struct.pack_into("<H", region, victim + 2, lie)
    before = bytes(region)
    with pytest.raises(kheap.HeapCorruption):
        heap.try_alloc(request_bytes, align=align)
    assert region == before, "HeapCorruption after a write"
    assert guarded.outside() == guarded.guards, "written outside the region"
