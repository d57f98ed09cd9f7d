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
from kheap.dump.chunk_table import END
from kheap.dump.diagnosis import diagnose
from property.broken import name_of, number

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
        found = heaps[0]
        assert found.heap.n == self.heap.n, view
        assert found.kind == "k_heap" or view != "in RAM", found.how
        return found


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
