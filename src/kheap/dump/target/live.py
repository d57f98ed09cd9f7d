"""Samples of a running target, or of a recording of one: its heaps, one moment after the other.

It owns taking a sample whole: the target stands still while it is read, and a heap that was
met in the middle of a change is read again.  It also owns what changed between two samples.
What it does not: how a target is read (``gdb_remote.py``), how heaps are found (``find.py``),
and when to take a sample; that is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import compress
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from kheap.dump.chunk_table import USED
from kheap.dump.dump import Dump
from kheap.dump.find import Finder
from kheap.dump.formats.containers import Container
from kheap.dump.inspection import HeapInspection, Inspection, inspect
from kheap.dump.memory import Memory

if TYPE_CHECKING:
    from kheap.dump.heap_image import HeapImage
    from kheap.dump.program.image import Image
    from kheap.dump.target.gdb_remote import GdbRemote
    from kheap.dump.target.recording import Recording
    from kheap.profile import Profile

__all__ = ["MOST_TAKES", "Change", "LiveTarget", "Replayed", "Sample", "UsedChunk", "change_of"]

#: A sample with a heap that seems corrupt is taken so often before that is believed.
MOST_TAKES = 4
#: Seconds that the target runs before a sample is taken again.
BETWEEN_TAKES_S = 0.01

_IS_USED = bytes(int(code == USED) for code in range(256))


class UsedChunk(NamedTuple):
    """A chunk in use: its id, and its size in units."""

    chunk: int
    units: int


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a heap from one sample to the next.

    A block that was freed and allocated again in the same place and size in between is not
    seen; so the counts are the least that can have happened.

    Attributes:
        seconds: Time between the two.
        allocated_bytes: By so much more is allocated.
        came: Chunks that were not in use before, by address.
        gone: Chunks that are no longer in use, by address.
    """

    seconds: float
    allocated_bytes: int
    came: list[UsedChunk]
    gone: list[UsedChunk]

    def per_second(self, count: int) -> float | None:
        """A count as a rate; None where no time has passed."""
        return count / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Sample:
    """The heaps at one moment.

    Attributes:
        number: Its place in the series, from 0.
        t: Seconds since the series began.
        inspection: The heaps and who waits for them, as those of a dump.
        changes: What changed since the sample before, by the heap's name; a heap that was not
            there then, or is corrupt in either, is not here.
        takes: How often it was read; where that is :data:`MOST_TAKES`, a heap was found
            corrupt each time.
    """

    number: int
    t: float
    inspection: Inspection
    changes: dict[str, Change] = field(default_factory=dict)
    takes: int = 1

    @property
    def heaps(self) -> list[HeapInspection]:
        """By address."""
        return self.inspection.heaps

    @property
    def memory(self) -> Memory:
        """What was read for it."""
        return self.inspection.dump.memory

    @property
    def is_corrupt(self) -> bool:
        """Whether any heap is."""
        return any(heap.image.corruption is not None for heap in self.heaps)


class _Search:
    """Finds the wanted heaps in one moment's memory."""

    def __init__(self, image: Image | None, profile: Profile | None, name: str | None) -> None:
        self._image = image if image is None or name is None else _narrowed(image, name)
        self._profile = profile
        self._name = name

    def look(self, container: Container, names: dict[int, str] | None = None) -> Inspection:
        """The heaps in a container's memory, with all that is wanted of it read.

        ``names`` are those of their objects; with them, memory is scanned for heaps.
        """
        memory, image = container.memory, self._image
        finder = Finder(memory, image, self._profile)
        finder.look(scan=names is not None)
        for heap in finder.heaps:
            heap.name = (names or {}).get(heap.object_address or -1, heap.name)
        heaps = [heap for heap in finder.heaps if self._is_wanted(heap)]
        # Only a part of memory is read, so that nobody can tell what nothing points to.
        return inspect(Dump(container, heaps, image, notes=finder.notes), owners=False)

    def _is_wanted(self, heap: HeapImage) -> bool:
        names = (heap.name, hex(heap.address), hex(heap.first_address))
        return self._name is None or self._name in names


def _narrowed(image: Image, name: str) -> Image:
    """The program as if it had that heap only, so that no other is read; if it knows it."""
    chosen = [found for found in image.objects if found.name == name]
    if not chosen:
        return image
    narrow = copy(image)
    narrow.objects, narrow.heap_array = chosen, None
    return narrow


class LiveTarget:
    """A running target.

    Args:
        remote: Its debugger's server.
        image: Its program.
        profile: Which Zephyr; None: as the program says.
        heap: The name or address of the one heap that is wanted; None: all.
        clock: Tells seconds.
        pause: Lets so many seconds pass.
    """

    def __init__(
        self,
        remote: GdbRemote,
        image: Image,
        profile: Profile | None = None,
        *,
        heap: str | None = None,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], object] = sleep,
    ) -> None:
        self._remote = remote
        self._machine = image.machine
        self._search = _Search(image, profile, heap)
        self._clock, self._pause = clock, pause
        self._began = 0.0
        self._last: Sample | None = None

    def sample(self) -> Sample:
        """Take the next sample; the target runs again afterwards.

        Where a heap seems corrupt, and was not in the sample before, the target was perhaps
        met in the middle of a change: then the sample is taken again, :data:`MOST_TAKES` times
        in all.

        Raises:
            DumpError: The target does not answer; close its :class:`GdbRemote` then.
        """
        takes = 1
        while (sample := self._take()).is_corrupt and takes < MOST_TAKES and self._is_news(sample):
            takes += 1
            self._pause(BETWEEN_TAKES_S)
        self._last = _since(self._last, sample, takes)
        return self._last

    def _take(self) -> Sample:
        number = 0 if self._last is None else self._last.number + 1
        self._remote.halt()
        now = self._clock()
        if number == 0:
            self._began = now
        memory = Memory(self._remote.read)
        container = Container(self._remote.url, "gdb remote", memory, self._machine)
        inspection = self._search.look(container)
        self._remote.resume()
        container.memory = _closed(memory)
        return Sample(number, now - self._began, inspection)

    def _is_news(self, sample: Sample) -> bool:
        return self._last is None or _faults(sample) != _faults(self._last)


class Replayed:
    """A recording, as samples.

    Args:
        recording: What was read.
        image: The program; None: the memory that was read is scanned for heaps.
        profile: Which Zephyr; None: what the recording says, else as for :class:`LiveTarget`.
        heap: As for :class:`LiveTarget`.
    """

    def __init__(
        self,
        recording: Recording,
        image: Image | None = None,
        profile: Profile | None = None,
        *,
        heap: str | None = None,
    ) -> None:
        self.recording = recording
        self._search = _Search(image, profile or recording.header.profile, heap)
        self._names = dict(recording.header.names) if image is None else None
        self._last: Sample | None = None

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.recording)

    def __iter__(self) -> Iterator[Sample]:
        """All samples, from the first on."""
        return map(self.sample, range(len(self)))

    def sample(self, number: int) -> Sample:
        """A sample, counted from 0.

        Raises:
            IndexError: There is no such sample.
            DumpError: It is damaged.

        Complexity: that of reading one sample for the one after that last asked for, of two
        for any other.
        """
        before = self._last
        if number == 0:
            before = None
        elif before is None or before.number != number - 1:
            before = self._read(number - 1)
        self._last = _since(before, self._read(number))
        return self._last

    def _read(self, number: int) -> Sample:
        recording = self.recording
        t = recording.times[number]
        facts = {"sample": f"{number + 1:,} of {len(self):,}", "after": f"{t:.3f} s"}
        container = Container(recording.path, "recording", recording.memory(number), facts=facts)
        return Sample(number, t, self._search.look(container, self._names))


def _closed(memory: Memory) -> Memory:
    """What was read, and no more."""
    closed = Memory()
    for segment in memory.segments:
        closed.add(segment.address, segment.data, segment.source)
    return closed


def _faults(sample: Sample) -> list[tuple[str, int, str]]:
    return [
        (heap.image.name, heap.image.corruption.chunk, heap.image.corruption.invariant)
        for heap in sample.heaps
        if heap.image.corruption is not None
    ]


def _since(before: Sample | None, after: Sample, takes: int = 1) -> Sample:
    """The sample, with what changed since the one before."""
    known = _sound(before) if before else {}
    seconds = after.t - before.t if before else 0.0
    changes = {
        name: change_of(known[name], heap, seconds)
        for name, heap in _sound(after).items()
        if name in known
    }
    return replace(after, changes=changes, takes=takes)


def _sound(sample: Sample) -> dict[str, HeapImage]:
    images = (heap.image for heap in sample.heaps)
    return {image.name: image for image in images if image.corruption is None}


def change_of(before: HeapImage, after: HeapImage, seconds: float) -> Change:
    """What became of a heap.  Complexity: O(chunks log chunks)."""
    was, now = _used(before), _used(after)
    more = after.stats.allocated_bytes - before.stats.allocated_bytes
    return Change(seconds, more, sorted(now - was), sorted(was - now))


def _used(heap: HeapImage) -> set[UsedChunk]:
    table = heap.chunks
    rows = map(UsedChunk, table.chunk, table.units)
    return set(compress(rows, table.state.translate(_IS_USED)))
