"""The heap objects of a target: ``struct k_heap`` and ``struct sys_heap``, and where they point.

::

  struct sys_heap { heap: W bytes, -> struct z_heap, 0 before init
                    init_mem: W, init_bytes: W }        the region; 0 unless K_HEAP_DEFINE set them
  struct k_heap   { struct sys_heap, wait queue: 2 W (points at itself when empty), ... }

It owns reading them from memory, and finding them there without symbols by the heap they point
to.  Not here: the heaps themselves (``recognise.py``), who waits (``waiters.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from kheap._core.chunk import plan
from kheap.dump.memory import Memory, Segment
from kheap.profile import Profile

__all__ = ["HeapRecord", "lost_records", "read_record", "records_of"]

#: Bytes of memory that are searched for objects of heaps that no longer look like heaps.
SEARCH_LIMIT = 32 << 20
#: The most objects, and places that point to one heap, that are looked at: a heap has one.
MOST_RECORDS = 1 << 14


@dataclass(frozen=True, slots=True)
class HeapRecord:
    """What an object says.

    Attributes:
        address: Of the object.
        heap: Where its ``struct z_heap`` lies; 0 before it is initialised.
        init_mem, init_bytes: Its region; 0 where it does not say.
        has_queue: Whether a wait queue follows, so that it is a k_heap.
    """

    address: int
    heap: int
    init_mem: int
    init_bytes: int
    has_queue: bool

    @property
    def region(self) -> tuple[int, int] | None:
        """Address and size of the region, if the object's words agree with each other."""
        if self.init_bytes and self.init_mem <= self.heap < self.init_mem + 8:
            return self.init_mem, self.init_bytes
        return None


def read_record(memory: Memory, address: int, word_bytes: int) -> HeapRecord | None:
    """The object at ``address``; None where memory does not hold it."""
    words = [memory.word(address + i * word_bytes, word_bytes) for i in range(3)]
    if None in words:
        return None
    heap, init_mem, init_bytes = (word or 0 for word in words)
    queue = address + 3 * word_bytes
    head, tail = memory.word(queue, word_bytes), memory.word(queue + word_bytes, word_bytes)
    linked = head is not None and tail is not None and (head == queue) == (tail == queue)
    has_queue = linked and memory.word(head or 0, word_bytes) is not None
    return HeapRecord(address, heap, init_mem, init_bytes, has_queue)


def records_of(
    memory: Memory,
    known: list[tuple[int, int]],
    heap: int,
    end_chunk: int,
    profile: Profile,
) -> list[HeapRecord]:
    """The objects outside known heaps that point to a heap and name a region like its own.

    Args:
        memory: Where to look.
        known: (first, end) addresses of heaps.
        heap: The address of its ``struct z_heap``.
        end_chunk: Its units.
        profile: Which Zephyr.

    Complexity: O(bytes held and not known), by a search in C.
    """
    width = profile.bits // 8
    if not 0 < heap < 1 << 8 * width:
        return []
    needle = heap.to_bytes(width, "little")
    found = []
    for address in islice(_places(memory, known, needle, width), MOST_RECORDS):
        record = read_record(memory, address, width)
        if record is not None and record.region and _units_of(record, profile) == end_chunk:
            found.append(record)
    return found


def _places(
    memory: Memory, known: list[tuple[int, int]], needle: bytes, align: int
) -> Iterator[int]:
    # A regular expression searches any buffer where it is; find() would need a copy.
    pattern = re.compile(re.escape(needle))
    for start, end in _stretches(memory, known):
        data, at = memory.read(start, end - start) or b"", 0
        # From the next byte on, not behind the match: what is not aligned may overlap what is.
        while match := pattern.search(data, at):
            at = match.start() + 1
            if (start + match.start()) % align == 0:
                yield start + match.start()


def lost_records(memory: Memory, known: list[tuple[int, int]], width: int) -> list[HeapRecord]:
    """Objects whose three words agree, wherever they lie, whatever their heaps look like.

    Args:
        memory: Where to look.
        known: (first, end) addresses of heaps; objects are not looked for in those.
        width: Bytes of a word.

    Complexity: O(words held and not known), of the first 32 MiB and 16,384 likely places.
    """
    found, left, places = [], SEARCH_LIMIT, MOST_RECORDS
    for start, end in _stretches(memory, known):
        stop = min(end, start + left)
        data = memory.read(start, stop - start)
        if data is None or stop - start < 3 * width:
            continue
        left -= stop - start
        for address in islice(_likely(Segment(start, data), width), places):
            places -= 1
            record = read_record(memory, address, width)
            region = record and record.region
            if record and region and memory.extent(region[0]) >= 16:
                found.append(record)
    return found


def _stretches(memory: Memory, known: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is held and not known, by address."""
    for run in memory.runs():
        start = run.address
        for low, high in sorted(known):
            if start < high and low < run.end:
                if start < low:
                    yield start, low
                start = max(start, high)
        if start < run.end:
            yield start, run.end


def _likely(segment: Segment, width: int) -> Iterator[int]:
    skip = -segment.address % width
    data = segment.data[skip:]
    words = data[: len(data) - len(data) % width].cast("I" if width == 4 else "Q")
    first = segment.address + skip
    return (
        first + width * i
        for i, (heap, mem, count) in enumerate(zip(words, words[1:], words[2:], strict=False))
        if 0 <= heap - mem < 8 and heap and count > 40 and heap % 8 == 0
    )


def _units_of(record: HeapRecord, profile: Profile) -> int:
    try:
        return plan(profile.layout(), record.init_mem, record.init_bytes).end_chunk
    except ValueError:
        return -1
