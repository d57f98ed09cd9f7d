"""Finding the heaps in memory: those that the program names, then those that only look so.

It owns the order of trust.  A symbol or the debug information says where an object is; the
object says where its heap is; where the object is damaged or not in the dump, the program's
file still says how large the heap is.  What is left of memory is scanned.
Read next: ``objects.py`` and ``scan.py`` (where to look), ``recognise.py`` (what is there).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kheap.dump.canaries import address_by_canaries, notes_of_canaries
from kheap.dump.heap_image import HeapImage
from kheap.dump.memory import Memory
from kheap.dump.objects import HeapRecord, lost_records, read_record, records_of
from kheap.dump.program.layouts import checked_profile
from kheap.dump.program.overlaps import note_overlaps
from kheap.dump.recognise import (
    ENOUGH_FACTS,
    Recognised,
    facts_that_hold,
    likely_profiles,
    may_be_heap,
    recognise,
)
from kheap.dump.scan import Interval, candidates
from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.dump.program.image import HeapObject, Image

__all__ = ["Finder", "heaps_in"]

#: A heap that is not wholly in the dump is looked at if it is at most so large.
PARTIAL_LIMIT = 16 << 20
#: Heaps that are looked for besides those that the program names; no program has so many, and
#: each costs a search for its object.
MOST_HEAPS = 256


class _Place(NamedTuple):
    """Where a heap is said to lie."""

    name: str
    kind: str
    object_address: int | None
    address: int
    size_bytes: int
    # Whether size_bytes is the region's; else there are that many bytes, and it ends somewhere.
    is_whole: bool
    how: str


def heaps_in(
    memory: Memory,
    image: Image | None = None,
    profile: Profile | None = None,
    *,
    scan: bool = True,
) -> list[HeapImage]:
    """Every heap in memory, by address.

    Args:
        memory: What is known of the target.
        image: Its program.
        profile: Which Zephyr; None: as the program says, else as the bytes say.
        scan: Also look for heaps that the program does not name; memory that is fetched from
            a target is never scanned.

    Complexity: O(bytes held).
    """
    finder = Finder(memory, image, profile)
    finder.look(scan=scan)
    return finder.heaps


class Finder:
    """The search; after :meth:`look` it has what was found.

    Attributes:
        heaps: By address.
        notes: What was not found, and why, a sentence each.
        told_base: Where an image whose address nobody told lies, by the canaries of its heaps.
    """

    def __init__(
        self,
        memory: Memory,
        image: Image | None = None,
        profile: Profile | None = None,
        *,
        bits: int | None = None,
        release: str | None = None,
        is_based: bool = True,
    ) -> None:
        self.memory, self.image = memory, image
        self.heaps: list[HeapImage] = []
        self.notes: list[str] = []
        self.profile = profile or (checked_profile(image, self.notes) if image else None)
        self.guesses_release = profile is None and image is not None and not image.knows_release
        self.bits = image.bits if image else self.profile.bits if self.profile else bits
        self.release, self.is_based = release, is_based
        self.told_base: int | None = None

    def look(self, *, scan: bool = True) -> None:
        """Find all heaps."""
        for place in self._named_places():
            self._add(place)
        if scan:
            self._scan()
        self.heaps.sort(key=lambda heap: heap.address)
        if self.image is not None:
            for heap in self.heaps:
                note_overlaps(heap, self.image)

    # ------------------------------------------------------------------ what the program names

    def _named_places(self) -> list[_Place]:
        if self.image is None:
            return []
        places = [self._place_of(found) for found in self.image.objects]
        return [place for place in [*places, *self._array_places(places)] if place is not None]

    def _place_of(self, found: HeapObject) -> _Place | None:
        """Where the heap of an object of the program lies."""
        image, width = self.image, (self.bits or 32) // 8
        assert image is not None
        record = read_record(self.memory, found.address, width)
        if record is not None and record.heap == 0:
            self.notes.append(f"{found.name} is not initialised: its object holds no heap")
            return None
        told = _told_region(read_record(image.memory, found.address, width))
        region = told or found.buffer
        said = record.region if record else None
        how = f"named by {found.how}"
        if region is None and record is not None:
            region = said
        if region is not None:
            if record is not None and not region[0] <= record.heap < region[0] + 8:
                self.notes.append(
                    f"{found.name}: its object points to {record.heap:#x}, outside its region at"
                    f" {region[0]:#x}: the object at {found.address:#x} is damaged"
                )
            # Its symbol tells how much there is, of which it may have been given less.
            if told is None and said and said[0] == region[0] and said[1] <= region[1]:
                region = said
            return _Place(found.name, found.kind, found.address, *region, True, how)
        if record is None:
            self.notes.append(f"{found.name}: its object at {found.address:#x} is not in the dump")
            return None
        return self._open_ended(found.name, found.kind, found.address, record.heap, how)

    def _open_ended(
        self, name: str, kind: str, object_address: int | None, heap: int, how: str
    ) -> _Place | None:
        """A heap whose region nobody tells: its own control block says where it ends."""
        end_chunk = self.memory.word(heap + 8, 4)
        if end_chunk is None:
            self.notes.append(f"{name}: its memory at {heap:#x} is not in the dump")
            return None
        size = 8 * end_chunk + 8
        if self.memory.read(heap, size) is None:
            size = min(size, max(self.memory.extent(heap), 16))
        return _Place(name, kind, object_address, heap, size, False, how)

    def _array_places(self, places: list[_Place | None]) -> list[_Place | None]:
        """Heaps that Zephyr's own array of them points to and nobody else names."""
        image, width = self.image, (self.bits or 32) // 8
        if image is None or image.heap_array is None:
            return []
        known = {place.object_address for place in places if place is not None}
        address, count = image.heap_array
        found = []
        for i in range(count):
            pointer = self.memory.word(address + i * width, width)
            record = read_record(self.memory, pointer, width) if pointer else None
            if record is None or record.heap == 0 or record.address in known:
                continue
            known.add(record.address)
            name = image.symbol_at(record.address) or f"heap@{record.heap:#x}"
            found.append(self._from_record(record, name, "in the array of heaps"))
        return found

    def _from_record(self, record: HeapRecord, name: str, how: str) -> _Place | None:
        kind = "k_heap" if record.has_queue else "sys_heap"
        if record.region is None:
            return self._open_ended(name, kind, record.address, record.heap, how)
        return _Place(name, kind, record.address, *record.region, True, how)

    # ------------------------------------------------------------------ what only looks so

    def _scan(self) -> None:
        known = self._known()
        for address, size in candidates(self.memory, known, self.bits, aligned=self.is_based):
            if self._is_full():
                return
            if self._add(_Place("", "", None, address, size, False, "")):
                known[:] = self._known()
        if self.image is None:
            self._scan_objects(known)
        self._take_whole()

    def _is_full(self) -> bool:
        if len(self.heaps) < MOST_HEAPS:
            return False
        self.notes.append(f"there may be more heaps: after {MOST_HEAPS} the search has ended")
        return True

    def _known(self) -> list[Interval]:
        """Where sound heaps lie: what is in their blocks is the program's."""
        return [
            (heap.first_address, heap.address + heap.size_bytes)
            for heap in self.heaps
            if heap.diagnosis.finding is None
        ]

    def _scan_objects(self, known: list[Interval]) -> None:
        """Heaps whose control block is damaged, by the objects that point to them."""
        found = {first for first, _ in known}
        for width in (4, 8) if self.bits is None else (self.bits // 8,):
            for record in lost_records(self.memory, known, width):
                if self._is_full():
                    return
                if record.heap not in found and self._may_be_heap(record):
                    found.add(record.heap)
                    how = f"found by the object at {record.address:#x} that points to it"
                    place = self._from_record(record, f"heap@{record.heap:#x}", how)
                    if place is not None:
                        self._add(place, is_guess=True)

    def _may_be_heap(self, record: HeapRecord) -> bool:
        """Whether the bytes are worth to be copied: a stray object may claim any."""
        if record.region is None:
            return False
        address, size = record.region
        data = self.memory.read(address, min(size, self.memory.extent(address)))
        return data is not None and may_be_heap(data, address, size, self._profiles())

    def _take_whole(self) -> None:
        """A file may be one heap's region and nothing else, whatever the heap says of its size."""
        starts = {heap.first_address for heap in self.heaps if heap.diagnosis.finding is not None}
        how = "found by taking the file for one heap's region"
        for segment in self.memory.segments:
            address, size = segment.address, len(segment.data)
            if not self.heaps or address + -address % 8 in starts:
                place = _Place(f"heap@{address:#x}", "", None, address, size, True, how)
                self._add(place, is_guess=True)

    # ------------------------------------------------------------------ reading one

    def _add(self, place: _Place, *, is_guess: bool = False) -> bool:
        """Read the heap at a place; whether there is one."""
        data, held = self._bytes_of(place)
        if data is None:
            if not is_guess:
                self.notes.append(
                    f"{place.name}: the dump holds {held:,} of its {place.size_bytes:,} bytes"
                    f" at {place.address:#x}"
                )
            return False
        profiles = self._profiles()
        if not self.is_based and self.told_base is None:
            told = address_by_canaries(data, profiles, whole=place.is_whole)
            self.told_base = told and told - place.address
        found = recognise(data, self._based(place), profiles, held_bytes=held, whole=place.is_whole)
        if self.profile is not None and (found is None or found.diagnosis.finding):
            found = self._of_another_profile(place, data, held) or found
        if found is None or (is_guess and found.facts < ENOUGH_FACTS):
            if place.name and not is_guess:
                self.notes.append(f"{place.name}: no heap can be made out in the {len(data):,}"
                                  f" bytes at {place.address:#x}")  # fmt: skip
            return False
        if not self._is_news(found, is_guess=is_guess):
            return False
        self._keep(place, found, held)
        return True

    def _of_another_profile(self, place: _Place, data: bytearray, held: int) -> Recognised | None:
        """The heap as one of a profile that nobody told, if that makes it sound."""
        found = recognise(
            data, self._based(place), [*likely_profiles()], held_bytes=held, whole=place.is_whole
        )
        if found is None or found.diagnosis.finding is not None:
            return None
        self.notes.append(
            f"{place.name or hex(place.address)} is no heap of {self.profile}"
            f" but of {found.heap.profile}"
        )
        return found

    def _is_news(self, found: Recognised, *, is_guess: bool) -> bool:
        """Whether no heap was found there yet; a broken one goes for a guess that fits better."""
        first = found.heap.base_address + found.heap.start
        at = next((i for i, heap in enumerate(self.heaps) if heap.first_address == first), -1)
        if at < 0:
            return True
        old = self.heaps[at]
        if not is_guess or old.diagnosis.finding is None or old.heap.n == found.heap.n:
            return False
        if facts_that_hold(old.heap.region[old.heap.start :], old.heap.geometry) > found.facts:
            return False
        del self.heaps[at]
        return True

    def _profiles(self) -> list[Profile]:
        if self.profile is None:
            return [*likely_profiles(self.bits, self.release)]
        if self.guesses_release and self.profile.hardening not in ("full", "extreme"):
            # Statistics tell 4.2 and 4.3, which count headers, from the others.
            return [self.profile, replace(self.profile, release="4.3")]
        return [self.profile]

    def _based(self, place: _Place) -> int:
        """The address, rounded where nobody told any: a heap starts at a multiple of 8."""
        return place.address if self.is_based else place.address & ~7

    def _bytes_of(self, place: _Place) -> tuple[bytearray | None, int]:
        whole = self.memory.read(place.address, place.size_bytes)
        if whole is not None:
            return bytearray(whole), place.size_bytes
        held = min(self.memory.extent(place.address), place.size_bytes)
        if held < 16 or place.size_bytes > PARTIAL_LIMIT:
            return None, held
        part = self.memory.read(place.address, held)
        assert part is not None
        return bytearray(part) + bytes(place.size_bytes - held), held

    def _keep(self, place: _Place, found: Recognised, held: int) -> None:
        heap = HeapImage(
            place.name or f"heap@{place.address:#x}",
            found.heap,
            found.diagnosis,
            place.how,
            place.kind,
            place.object_address,
            held,
        )
        if not place.how:
            self._identify(heap, found)
        if found.diagnosis.finding is not None and self.is_based:
            heap.notes += notes_of_canaries(found.heap, self._profiles(), whole=place.is_whole)
        if heap.is_partial:
            heap.notes.append(
                f"the dump holds only {held:,} of its {heap.size_bytes:,} bytes; what is behind"
                " them is not judged"
            )
        self.heaps.append(heap)

    def _identify(self, heap: HeapImage, found: Recognised) -> None:
        """Look for the object of a heap found by scanning, and say how sure it is one."""
        heap.how = f"found by scanning: {found.evidence}"
        profile = heap.profile
        for bits in {profile.bits, 32} if self.bits is None else {self.bits}:
            if bits < 64 and profile.bits == 64 and profile.runtime_stats:
                continue
            narrow = _with_bits(profile, bits)
            own = (heap.address, heap.address + heap.size_bytes)
            records = records_of(
                self.memory, [*self._known(), own], heap.first_address, heap.heap.n, narrow
            )
            if not records:
                continue
            record = records[0]
            heap.object_address = record.address
            heap.kind = "k_heap" if record.has_queue else "sys_heap"
            heap.how += f"; a {heap.kind} at {record.address:#x} points to it"
            self._widen(heap, record, narrow)
            return

    def _widen(self, heap: HeapImage, record: HeapRecord, profile: Profile) -> None:
        """Take the region that the object names: it may reach beyond what a heap uses of it."""
        assert record.region is not None
        data = self.memory.read(*record.region)
        if data is None:
            return
        found = recognise(bytearray(data), record.region[0], [profile])
        if found is not None:
            heap.heap, heap.diagnosis = found.heap, found.diagnosis
            heap.held_bytes = len(data)


def _told_region(record: HeapRecord | None) -> tuple[int, int] | None:
    """The region that an object's initial contents name: K_HEAP_DEFINE fills them in."""
    if record is None or not record.init_mem or not record.init_bytes:
        return None
    return record.init_mem, record.init_bytes


def _with_bits(profile: Profile, bits: int) -> Profile:
    header = "big" if bits == 32 and profile.bits == 64 else profile.header
    return Profile(
        profile.release, bits, header, profile.runtime_stats, hardening=profile.hardening
    )
