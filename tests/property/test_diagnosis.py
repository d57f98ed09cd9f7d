"""One field of a used heap written over, ten thousand times: the right chunk is named.

Each case is looked at three ways: the region alone in a file, without its address; in RAM,
with the ``struct k_heap`` that points to it; and where the profile is told.  Then overflows,
headers that are gone, many fields at once, and bytes that are no heap: a diagnosis always
ends, and its rows tile the heap.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

import kheap
from helpers import damage
from kheap._core.chunk import plan
from kheap.dump.chunk_table import END, STATES
from kheap.dump.diagnosis import diagnose
from kheap.dump.heap_image import HeapImage
from property.broken import name_of

CORRUPTIONS = 10_000
HEADERS, OVERFLOWS, FUZZED = 2000, 2000, 1000
SIZES = (512, 2048, 4096)
VIEWS = ("alone", "in RAM", "profile told")
#: The part of single fields that is to be named rightly, of all and of each kind of field.
RIGHT = 0.99
#: Looks at a unit, and looks that any heap may take.
LOOKS, MORE_LOOKS = 8, 16

by_profile = pytest.mark.parametrize("profile", damage.PROFILES, ids=name_of)


class Seen:
    """A damaged region in files, opened in each way."""

    def __init__(self, folder, heap, region):
        self.heap, self.region = heap, bytes(region)
        self.file, self.ram = folder / "region.bin", folder / "ram.bin"
        self.file.write_bytes(self.region)
        self.base, ram = damage.ram_with_object(heap, self.region)
        self.ram.write_bytes(ram)

    def open(self, view):
        """The heaps that are found, none of them without its bound and its tiles."""
        if view == "alone":
            dump = kheap.open_dump(self.file)
        elif view == "in RAM":
            dump = kheap.open_dump(self.ram, base=self.base)
        else:
            profile, base = self.heap.profile, self.heap.base_address
            dump = kheap.open_dump(self.file, base=base, profile=profile)
        for found in dump.heaps:
            assert_bounded(found.diagnosis, found.heap)
            use(found)
        return dump.heaps

    def diagnosis(self, view):
        """That of the one heap that is to be found."""
        heaps = self.open(view)
        assert len(heaps) == 1, f"{view}: {heaps}"
        assert heaps[0].heap.n == self.heap.n, view
        return heaps[0]


def use(found):
    """Whatever a report asks of a heap."""
    stats = found.stats
    assert stats.free_bytes >= 0 <= stats.allocated_bytes
    assert len(found.blocks) == stats.used_count
    assert sum(1 for _ in found.rows()) == len(found.chunks)
    assert (found.corruption is None) == (found.diagnosis.finding is None)


def assert_bounded(diagnosis, heap):
    """It has ended in time, and each unit of the heap is in one row."""
    table = diagnosis.table
    assert diagnosis.visits <= LOOKS * (heap.n + 1) + MORE_LOOKS
    at = 0
    for c, units, state in zip(table.chunk, table.units, table.state, strict=True):
        assert c == at, f"row {c} begins at unit {at}"
        assert units > 0 or (c, state) == (heap.n, END), f"row {c} is empty"
        at += units
    assert (at, table.state[-1]) == (heap.n, END)


# ---------------------------------------------------------------------- single fields


def undetectable(heap, field, region):
    """Whether the bytes are still those of a sound heap.

    The most bytes allocated at once may be any from those allocated now to the heap's; a ring
    may begin with any of its chunks.
    """
    at = heap.start + field.at
    value = int.from_bytes(region[at : at + field.width], "little")
    if field.name == "statistics" and field.at == 16 + 2 * field.width:
        return heap.stats().allocated_bytes <= value <= 8 * heap.n
    if field.name == "bucket":
        rings = [bucket.chunks for bucket in heap.buckets() if field.old in bucket.chunks]
        return any(value in ring for ring in rings)
    return False


class Tally:
    """How many of each kind of field were named rightly."""

    def __init__(self):
        self.cases, self.right, self.wrong = Counter(), Counter(), []

    def add(self, field, diagnosis, told):
        """Compare a diagnosis with what was written over."""
        self.cases[field.name] += 1
        finding = diagnosis.finding
        if finding is not None and finding.chunk == field.chunk:
            self.right[field.name] += 1
        else:
            self.wrong.append(f"{told}: {finding}")

    def verify(self):
        """All in all, and each kind for which the heaps of a profile have enough fields."""
        assert self.right.total() >= RIGHT * self.cases.total(), self.wrong
        for name, cases in self.cases.items():
            assert self.right[name] >= RIGHT * cases - 1, (name, self.wrong)


@pytest.mark.slow
@by_profile
def test_the_first_bad_chunk_is_named(profile, tmp_path, scale):
    random = Random(f"single/{name_of(profile)}")
    tallies = {view: Tally() for view in VIEWS}
    hidden, count = 0, 0
    while count < CORRUPTIONS * scale / len(damage.PROFILES):
        heap = damage.used_heap(profile, random, random.choice(SIZES))
        fields = list(damage.fields(heap))
        for field in random.sample(fields, min(8, len(fields))):
            region = bytearray(heap.region)
            field.damage(region, random)
            seen = Seen(tmp_path, heap, region)
            told = f"{field} {heap!r}"
            count += 1
            if undetectable(heap, field, region):
                hidden += 1
                assert all(not seen.diagnosis(view).diagnosis.invariant for view in VIEWS), told
                continue
            for view in VIEWS:
                tallies[view].add(field, seen.diagnosis(view).diagnosis, told)
    for tally in tallies.values():
        assert tally.cases.total() == count - hidden
        tally.verify()
    assert hidden <= count / 50


def test_nothing_is_wrong_with_sound_heaps(tmp_path):
    random = Random("sound")
    for profile in damage.PROFILES * 3:
        heap = damage.used_heap(profile, random, random.choice(SIZES))
        seen = Seen(tmp_path, heap, heap.region)
        for view in VIEWS:
            found = seen.diagnosis(view)
            assert found.corruption is None
            wanted, exact = heap.stats(), profile.release != "3.7" or view == "profile told"
            assert found.stats == wanted if exact else found.stats.free_count == wanted.free_count
            chunks = [(c.chunk, c.size_units, c.state) for c in heap.chunks()]
            assert [(c, units, STATES[state]) for c, units, state in found.rows()] == chunks
            assert found.kind == ("k_heap" if view == "in RAM" else "")
            offsets = [block - heap.base_address for block in found.blocks.address]
            if view != "alone":
                assert [heap.usable_bytes(offset) for offset in offsets] == [*found.blocks.usable]


# ---------------------------------------------------------------------- more than a field


def fillings(random, count, before):
    """What may be written: zeros, ones, text, random bytes, or what stands before it again."""
    return random.choice((
        bytes(count),
        b"\xff" * count,
        (b"a line of text; " * 5)[:count],
        random.randbytes(count),
        before[-count:],
    ))  # fmt: skip


@pytest.mark.slow
@by_profile
def test_a_header_that_is_gone(profile, tmp_path, scale):
    """The chunk is named, and what lies before and behind it is still read."""
    random = Random(f"header/{name_of(profile)}")
    for _ in range(round(HEADERS * scale / len(damage.PROFILES))):
        heap = damage.used_heap(profile, random, random.choice(SIZES))
        chunk = random.choice(list(heap.chunks())[1:])
        region, at = bytearray(heap.region), heap.start + 8 * chunk.chunk
        region[at : at + heap.hdr] = fillings(random, heap.hdr, bytes(region[at - 8 : at]))
        if region == heap.region:
            continue
        seen = Seen(tmp_path, heap, region)
        for view in VIEWS:
            found = seen.diagnosis(view)
            assert found.corruption is not None
            assert found.corruption.chunk == chunk.chunk, (view, found.corruption.message)
            others = {(c.chunk, c.size_units) for c in heap.chunks() if c.chunk != chunk.chunk}
            assert others <= {(c, units) for c, units, _ in found.rows()}


@pytest.mark.slow
@by_profile
def test_an_overflow(profile, tmp_path, scale):
    """The block that was written past its end is named, whatever was written."""
    random = Random(f"overflow/{name_of(profile)}")
    right = cases = 0
    while cases < OVERFLOWS * scale / len(damage.PROFILES):
        heap = damage.used_heap(profile, random, random.choice(SIZES))
        blocks = [chunk for chunk in heap.chunks() if chunk.state == "used"]
        if not blocks:
            continue
        chunk = random.choice(blocks)
        behind = chunk.chunk + chunk.size_units
        edge = heap.start + 8 * (behind - heap.trail)
        region = bytearray(heap.region)
        data = fillings(random, random.randint(1, 64), bytes(region[:edge]))
        region[edge : edge + len(data)] = data[: len(region) - edge]
        if region == heap.region:
            continue
        cases += 1
        seen = Seen(tmp_path, heap, region)
        for view in VIEWS:
            corruption = seen.diagnosis(view).corruption
            # Its canary is the first that is bad, and tells less than the header behind it.
            places = (chunk.chunk, behind) if heap.trail else (behind,)
            culprit = corruption and corruption.culprit
            right += (
                corruption is not None
                and corruption.chunk in places
                and (culprit.kind, culprit.chunk) == ("overflow", chunk.chunk)
                and culprit.overrun_bytes >= 1
                and (culprit.overrun_bytes <= len(data) or "the same bytes" in culprit.message)
            )
    assert right >= RIGHT * cases * len(VIEWS)


# ---------------------------------------------------------------------- anything


def any_bytes(random, size):
    """What is no heap, but may be full of what a heap consists of."""
    kind = random.choice(("random", "same", "small", "words"))
    if kind == "random":
        return random.randbytes(size)
    if kind == "same":
        return bytes([random.choice((0, 1, 2, 0x41, 0xFF))]) * size
    width = random.choice((2, 4))
    most = 9 if kind == "small" else size // 4
    return b"".join(random.randrange(most).to_bytes(width, "little") for _ in range(size // width))


def many_damaged(heap, random):
    """The heap with some or most of its fields written over."""
    region, fields = bytearray(heap.region), list(damage.fields(heap))
    for field in random.sample(fields, random.choice((2, 4, len(fields)))):
        field.damage(region, random)
    return bytes(region)


def opened_anyhow(profile, data):
    """The bytes as such a heap, whatever they say."""
    geometry = plan(profile.layout(), damage.BASE, len(data))
    return kheap.SysHeap._opened_as(bytearray(data), profile, geometry, damage.BASE)


@pytest.mark.slow
@by_profile
def test_whatever_the_bytes_are(profile, tmp_path, scale):
    random = Random(f"anything/{name_of(profile)}")
    found = 0
    for i in range(round(FUZZED * scale / len(damage.PROFILES))):
        size = random.choice(SIZES)
        if i % 2:
            data = many_damaged(damage.used_heap(profile, random, size), random)
        else:
            data = any_bytes(random, size)
        heap = opened_anyhow(profile, data)
        for held in (None, random.randint(2, heap.n - 1)):
            diagnosis = diagnose(heap, held)
            assert_bounded(diagnosis, heap)
            use(HeapImage("any", heap, diagnosis, "", held_bytes=8 * held if held else size))
        seen = Seen(tmp_path, heap, data)
        found += sum(len(seen.open(view)) for view in VIEWS)
    assert found > 0


@pytest.mark.parametrize("filling", [0, 1, 0x41, 0xFF])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 15, 16, 40, 64, 100_000])
def test_files_of_one_byte(filling, size, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(bytes([filling]) * size)
    try:
        dump = kheap.open_dump(path, base=0x20000000)
    except kheap.DumpError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
    else:
        assert dump.heaps == []
