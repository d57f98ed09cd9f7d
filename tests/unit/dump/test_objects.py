"""The heap objects of a target: reading them, and finding them by what they point to."""

from __future__ import annotations

import pytest

import kheap
from helpers.ram import RAM, Ram
from kheap.dump import objects
from kheap.dump.memory import Memory
from kheap.dump.objects import HeapRecord, lost_records, read_record, records_of

HEAP, SIZE, OBJECT = RAM + 0x400, 1024, RAM + 0x40
WIDTHS = pytest.mark.parametrize("bits", [32, 64])


@pytest.fixture(params=[32, 64])
def ram(request):
    ram = Ram(bits=request.param)
    ram.heap("pool", HEAP, SIZE, at=OBJECT)
    return ram


def profile_of(ram):
    return ram.heaps[0].heap.profile


# ---------------------------------------------------------------------- reading


def test_an_object(ram):
    record = read_record(ram.memory(), OBJECT, ram.width)
    assert record == HeapRecord(OBJECT, HEAP, HEAP, SIZE, True)
    assert record.region == (HEAP, SIZE)


def test_the_heap_of_a_region_that_begins_odd():
    """``init_mem`` may be misaligned; the heap begins at the next multiple of 8."""
    for lead in range(8):
        ram = Ram()
        ram.put(OBJECT, HEAP + 8, HEAP + 8 - lead, 100)
        assert read_record(ram.memory(), OBJECT, 4).region == (HEAP + 8 - lead, 100)
    ram.put(OBJECT, HEAP + 8, HEAP, 100)
    assert read_record(ram.memory(), OBJECT, 4).region is None


def test_words_that_name_no_region(ram):
    """``sys_heap_init()`` fills in neither; before it the heap is 0."""
    for words in ((HEAP, 0, 0), (HEAP, HEAP, 0), (0, HEAP, SIZE), (HEAP, HEAP + 8, SIZE)):
        ram.put(OBJECT, *words)
        record = read_record(ram.memory(), OBJECT, ram.width)
        assert (record.heap, record.region) == (words[0], None)


def test_an_object_that_memory_does_not_hold(ram):
    memory = ram.memory(RAM, 0x40 + 2 * ram.width)
    assert read_record(memory, OBJECT, ram.width) is None
    assert read_record(memory, RAM - 8, ram.width) is None
    assert read_record(Memory(), OBJECT, ram.width) is None


def test_a_queue(ram):
    queue, thread = OBJECT + 3 * ram.width, RAM + 0x100
    for head, tail, has_queue in (
        (queue, queue, True),
        (thread, thread, True),
        (thread, queue, False),
        (queue, thread, False),
        (0x10, 0x10, False),
        (0, 0, False),
    ):
        ram.put(queue, head, tail)
        assert read_record(ram.memory(), OBJECT, ram.width).has_queue == has_queue, (head, tail)


def test_an_object_at_the_end_of_memory(ram):
    memory = ram.memory(RAM, 0x40 + 3 * ram.width)
    record = read_record(memory, OBJECT, ram.width)
    assert (record.heap, record.has_queue) == (HEAP, False)


# ---------------------------------------------------------------------- finding


def test_the_object_that_points_to_a_heap(ram):
    heap = ram.heaps[0].heap
    (record,) = records_of(ram.memory(), [], HEAP, heap.n, profile_of(ram))
    assert record == read_record(ram.memory(), OBJECT, ram.width)


def test_objects_of_another_region_are_none(ram):
    heap, memory = ram.heaps[0].heap, ram.memory()
    assert records_of(memory, [], HEAP, heap.n - 1, profile_of(ram)) == []
    assert records_of(memory, [], HEAP + 8, heap.n, profile_of(ram)) == []
    ram.put(OBJECT, HEAP, HEAP, 3)
    assert records_of(ram.memory(), [], HEAP, heap.n, profile_of(ram)) == []


def test_objects_in_heaps_are_none(ram):
    """What lies in a block is the program's, such as a copy."""
    heap, memory = ram.heaps[0].heap, ram.memory()
    assert records_of(memory, [(RAM, RAM + 0x100)], HEAP, heap.n, profile_of(ram)) == []
    assert len(records_of(memory, [(HEAP, HEAP + SIZE)], HEAP, heap.n, profile_of(ram))) == 1


def test_objects_lie_at_multiples_of_a_word(ram):
    heap = ram.heaps[0].heap
    found = ram.bytes[OBJECT - RAM : OBJECT - RAM + 5 * ram.width]
    for lead in range(1, ram.width):
        other = Ram(bits=ram.bits)
        other.heap("pool", HEAP, SIZE)
        other.write(OBJECT + lead, bytes(found))
        assert records_of(other.memory(), [], HEAP, heap.n, profile_of(ram)) == []


def test_bytes_before_an_object_that_are_like_it():
    """0x20002000 begins two bytes before as well, where no word lies."""
    ram = Ram()
    heap = ram.heap("pool", RAM + 0x2000, SIZE, at=OBJECT).heap
    ram.write(OBJECT - 2, b"\x00\x20")
    assert len(records_of(ram.memory(), [], RAM + 0x2000, heap.n, heap.profile)) == 1


@pytest.mark.parametrize("address", [0, 1 << 32, 1 << 64, -8])
def test_addresses_that_no_word_holds(address):
    ram = Ram()
    ram.heap("pool", HEAP, SIZE, at=OBJECT)
    assert records_of(ram.memory(), [], address, 100, profile_of(ram)) == []


def test_an_object_over_the_border_of_pieces(ram):
    heap, whole = ram.heaps[0].heap, bytes(ram.bytes)
    for cut in (1, ram.width, 2 * ram.width + 1):
        memory = Memory()
        at = OBJECT - RAM + cut
        memory.add(RAM, whole[:at])
        memory.add(RAM + at, whole[at:])
        assert len(records_of(memory, [], HEAP, heap.n, profile_of(ram))) == 1
        assert len(lost_records(memory, [], ram.width)) == 1


# ---------------------------------------------------------------------- heaps that are no more


def test_objects_whose_words_agree(ram):
    heap = ram.heaps[0]
    heap.heap.region[:] = bytes(SIZE)
    (record,) = lost_records(ram.memory(), [], ram.width)
    assert record == HeapRecord(OBJECT, HEAP, HEAP, SIZE, True)
    assert lost_records(ram.memory(), [(RAM, RAM + 0x200)], ram.width) == []


@pytest.mark.parametrize(
    "words",
    [
        (HEAP + 4, HEAP + 4, SIZE),
        (HEAP, HEAP - 8, SIZE),
        (HEAP, HEAP + 1, SIZE),
        (HEAP, HEAP, 40),
        (0, 0, SIZE),
        (0x10, 0x10, SIZE),
        (RAM + 0x3FF8, RAM + 0x3FF8, SIZE),
    ],
)
def test_words_that_do_not_agree(words):
    ram = Ram()
    ram.put(OBJECT, *words)
    assert lost_records(ram.memory(), [], 4) == []


def test_no_more_than_so_many_places_are_looked_at(monkeypatch):
    monkeypatch.setattr(objects, "MOST_RECORDS", 5)
    ram = Ram()
    heap = ram.heap("pool", HEAP, SIZE).heap
    for i in range(8):
        ram.put(RAM + 0x40 + 12 * i, HEAP, HEAP, SIZE if i == 7 else 100)
    assert len(lost_records(ram.memory(), [], 4)) == 5
    assert records_of(ram.memory(), [], HEAP, heap.n, heap.profile) == []
    monkeypatch.setattr(objects, "MOST_RECORDS", 100)
    assert len(records_of(ram.memory(), [], HEAP, heap.n, heap.profile)) == 1


def test_no_more_than_so_many_bytes_are_looked_at(monkeypatch):
    ram = Ram()
    ram.put(RAM + 0x300, HEAP, HEAP, SIZE)
    for limit, count in ((0x300 + 12, 1), (0x300 + 8, 0), (0, 0)):
        monkeypatch.setattr(objects, "SEARCH_LIMIT", limit)
        assert len(lost_records(ram.memory(), [], 4)) == count


@pytest.mark.parametrize("size", [0, 1, 11, 12, 13])
def test_memory_too_small_for_an_object(size):
    memory = Memory()
    memory.add(RAM + 1, b"\xff" * size)
    assert lost_records(memory, [], 4) == []
    assert records_of(memory, [], HEAP, 10, kheap.Profile(bits=32)) == []
