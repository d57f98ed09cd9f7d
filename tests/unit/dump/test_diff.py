"""What changed between two dumps: which blocks came and went, what grew, what may have leaked."""

from __future__ import annotations

from itertools import pairwise

import pytest

from helpers import build
from helpers.elf_maker import Section, Symbol, make_elf
from helpers.ram import RAM, Ram
from kheap.dump.diff import Growth, diff
from kheap.dump.dump import open_dump
from kheap.errors import DumpError

OBJECT, OTHER_OBJECT = RAM + 0x100, RAM + 0x114
VARIABLES = RAM + 0x200
HEAP, OTHER = RAM + 0x1000, RAM + 0x2000
CONSTANTS = 0x08004000


class Target:
    """A program with two heaps and a table of pointers, whose RAM is dumped at two moments."""

    def __init__(self, folder, bits=32, **profile):
        self.folder = folder
        self.ram = Ram(bits=bits)
        self.heap = self.ram.heap("my_heap", HEAP, 0x800, at=OBJECT, **profile)
        self.other = self.ram.heap("other", OTHER, 0x400, at=OTHER_OBJECT, **profile)
        self.count = 0
        self.elf = make_elf(
            folder / "zephyr.elf",
            bits=bits,
            symbols=[
                Symbol("my_heap", OBJECT, 20),
                Symbol("other", OTHER_OBJECT, 20),
                Symbol("_k_heap_list_start", OBJECT, kind="other"),
                Symbol("_k_heap_list_end", OBJECT + 40, kind="other"),
                Symbol("table", VARIABLES, 256),
                Symbol("label_class", CONSTANTS, 8),
                Symbol("arc_class", CONSTANTS + 8, 8),
            ],
            sections=[
                Section("rodata", CONSTANTS, bytes(16), writable=False),
                Section("bss", RAM, 0x4000),
            ],
        )

    def keep(self, number, address):
        """Hold a block."""
        self.ram.put(VARIABLES + number * self.ram.width, address)
        return address

    def path(self):
        self.count += 1
        path = self.folder / f"{self.count}.bin"
        path.write_bytes(self.ram.bytes)
        return path

    def dump(self, *, elf=True, base=RAM):
        return open_dump(self.path(), elf=self.elf if elf else None, base=base)


@pytest.fixture
def target(tmp_path):
    return Target(tmp_path)


def compared(before, after, name="my_heap"):
    """What is said of one heap."""
    found = diff(before, after)
    return next(heap for heap in found.heaps if heap.after.name == name)


# ---------------------------------------------------------------------- blocks


def test_nothing_changed(target):
    target.keep(0, target.heap.k_malloc(20))
    found = diff(target.dump(), target.dump())
    assert found.is_clean
    assert [heap.after.name for heap in found.heaps] == ["my_heap", "other"]
    heap = found.heaps[0]
    assert (heap.stayed_count, heap.stayed_bytes, heap.change_bytes) == (1, 32, 0)
    assert heap.appeared == heap.went == heap.by_size == heap.by_owner == heap.by_signature == ()
    assert heap.suspects == ()
    assert heap.before == heap.after


def test_blocks_came_and_went(target):
    target.keep(0, target.heap.alloc(20))
    freed = target.keep(1, target.heap.alloc(100))
    before = target.dump()
    target.heap.free(freed)
    new = target.keep(1, target.heap.alloc(40))
    leaked = target.heap.k_malloc(60)
    heap = compared(before, target.dump())
    assert [(block.address, block.chunk_bytes) for block in heap.went] == [(freed, 104)]
    assert [(block.address, block.chunk_bytes) for block in heap.appeared] == [
        (leaked - 4, 72),
        (new, 48),
    ]
    assert (heap.stayed_count, heap.stayed_bytes) == (1, 24)
    assert heap.change_bytes == 48 + 72 - 104
    assert heap.by_size == (
        Growth(72, 0, 1, 0, 72),
        Growth(48, 0, 1, 0, 48),
        Growth(104, 1, 0, 104, 0),
    )
    assert heap.by_owner == (
        Growth("k_malloc", 0, 1, 0, 72),
        Growth("table", 2, 2, 128, 72),
    )
    assert heap.suspects == (heap.appeared[0],)
    suspect = heap.suspects[0]
    assert suspect.call == "k_malloc from my_heap"
    assert (suspect.owner, suspect.held_by, suspect.is_reached) == ("k_malloc", None, False)
    kept = heap.appeared[1]
    assert (kept.call, kept.held_by, kept.is_reached) == ("k_heap_alloc", "table+0x4", True)


def test_a_block_of_another_size_or_kind_at_the_same_place_is_another(target):
    first, second, third = (target.keep(i, target.heap.alloc(40)) for i in range(3))
    target.ram.put(first, CONSTANTS)
    target.ram.put(second, CONSTANTS)
    target.ram.put(third, CONSTANTS)
    before = target.dump()
    target.ram.put(second, CONSTANTS + 8)
    target.heap.free(third)
    assert target.heap.alloc(20) == third
    heap = compared(before, target.dump())
    assert {block.address for block in heap.went} == {second, third}
    assert {block.address for block in heap.appeared} == {second, third}
    assert heap.stayed_count == 1
    assert heap.by_signature == (
        Growth("arc_class", 0, 1, 0, 48),
        Growth(None, 0, 1, 0, 24),
        Growth("label_class", 3, 1, 144, 48),
    )


def test_growth_by_signature(target):
    for i in range(3):
        target.ram.put(target.keep(i, target.heap.alloc(40)), CONSTANTS)
    before = target.dump()
    for i in range(3, 5):
        target.ram.put(target.keep(i, target.heap.alloc(40)), CONSTANTS)
    target.ram.put(target.keep(5, target.heap.alloc(20)), CONSTANTS + 8)
    heap = compared(before, target.dump())
    assert (
        heap.by_signature
        == heap.by_owner
        == (
            Growth("label_class", 3, 5, 144, 240),
            Growth("arc_class", 0, 1, 0, 24),
        )
    )
    assert [row.change_count for row in heap.by_signature] == [2, 1]
    assert [row.change_bytes for row in heap.by_signature] == [96, 24]


def test_blocks_that_were_lost_before_are_no_suspects(target):
    target.heap.alloc(20)
    before = target.dump()
    target.keep(0, target.heap.alloc(20))
    heap = compared(before, target.dump())
    assert heap.suspects == ()
    assert (heap.before.unreached_count, heap.before.unreached_bytes) == (1, 24)
    assert (heap.after.unreached_count, heap.after.unreached_bytes) == (1, 24)


@pytest.mark.parametrize(("bits", "profile"), [(64, {}), (32, {"hardening": "full"})])
def test_chunks_with_wide_headers_and_with_canaries(tmp_path, bits, profile):
    target = Target(tmp_path, bits, **profile)
    # The program's objects are those of 32 bits, so the heaps are scanned for.
    before = target.dump(elf=False)
    target.keep(0, target.heap.alloc(20))
    chunk = next(chunk for chunk in target.heap.heap.chunks() if chunk.state == "used")
    heap = compared(before, target.dump(elf=False), f"heap@{HEAP:#x}")
    assert [block.chunk_bytes for block in heap.appeared] == [chunk.chunk_bytes]
    assert heap.after.used_bytes == chunk.chunk_bytes
    assert heap.appeared[0].is_reached


# ---------------------------------------------------------------------- when it is clean


def test_a_heap_that_grew_is_not_clean_even_if_all_is_held(target):
    before = target.dump()
    target.keep(0, target.heap.alloc(20))
    after = target.dump()
    assert not diff(before, after).is_clean
    assert diff(before, after).heaps[0].suspects == ()
    assert diff(after, before).is_clean
    assert diff(before, after, "other").is_clean


def test_a_heap_that_shrank_may_have_a_leak(target):
    freed = target.keep(0, target.heap.alloc(200))
    before = target.dump()
    target.heap.free(freed)
    target.keep(0, 0)
    target.heap.alloc(20)
    found = diff(before, target.dump())
    assert found.heaps[0].change_bytes < 0
    assert len(found.heaps[0].suspects) == 1
    assert not found.is_clean


@pytest.mark.parametrize("is_first", [True, False])
def test_a_corrupt_heap_is_not_clean(target, is_first):
    for i in range(6):
        target.keep(i, target.heap.alloc(20))
    sound = target.dump()
    target.ram.write(target.heap.blocks.address[2], b"overflowing" * 4)
    broken = target.dump()
    before, after = (broken, sound) if is_first else (sound, broken)
    found = diff(before, after)
    assert not found.is_clean
    told = [totals.corruption for totals in (found.heaps[0].before, found.heaps[0].after)]
    assert [text is None for text in told] == [not is_first, is_first]
    assert "LEFT_SIZE" in told[not is_first] or "header" in told[not is_first]


# ---------------------------------------------------------------------- matching heaps


def test_one_heap_alone(target):
    before = target.dump()
    target.other.alloc(20)
    after = target.dump()
    found = diff(before, after, "other")
    assert [heap.after.name for heap in found.heaps] == ["other"]
    with pytest.raises(DumpError, match=r"1\.bin: no heap is called 'nonsense'"):
        diff(before, after, "nonsense")


def test_heaps_that_are_in_one_dump_only(target):
    before = target.dump(elf=False)
    target.ram.heap("late", RAM + 0x3000, 0x400).alloc(20)
    target.ram.write(OTHER, bytes(0x400))
    found = diff(before, target.dump(elf=False))
    assert [heap.after.address for heap in found.heaps] == [HEAP]
    assert [totals.address for totals in found.only_before] == [OTHER]
    assert [(totals.address, totals.used_count) for totals in found.only_after] == [
        (RAM + 0x3000, 1)
    ]
    assert found.is_clean


def test_a_heap_that_moved_is_matched_by_name(target):
    target.keep(0, target.heap.alloc(20))
    before = target.dump()
    moved = Ram()
    heap = moved.heap("my_heap", HEAP + 0x800, 0x800, at=OBJECT)
    moved.heap("other", OTHER, 0x400, at=OTHER_OBJECT)
    moved.put(VARIABLES, heap.alloc(20))
    target.ram = moved
    found = compared(before, target.dump())
    assert (found.before.address, found.after.address) == (HEAP, HEAP + 0x800)
    assert (found.stayed_count, found.appeared, found.went) == (1, (), ())


def test_heaps_of_one_name_are_told_apart_by_their_addresses(target):
    target.heap.alloc(20)
    before, after = target.dump(), target.dump()
    for dump in (before, after):
        for heap in dump.heaps:
            heap.name = "static_heap"
    before.heaps.reverse()
    found = diff(before, after)
    assert [heap.before.address for heap in found.heaps] == [HEAP, OTHER]
    assert found.is_clean


def test_a_heap_that_got_its_name_from_the_program_in_one_dump_only(target):
    found = diff(target.dump(elf=False), target.dump())
    assert [heap.before.name for heap in found.heaps] == [f"heap@{HEAP:#x}", f"heap@{OTHER:#x}"]
    assert [heap.after.name for heap in found.heaps] == ["my_heap", "other"]


def test_dumps_without_a_common_heap(target, tmp_path):
    empty = tmp_path / "empty.bin"
    empty.write_bytes(bytes(4096))
    with pytest.raises(DumpError, match=r"empty\.bin: no heap in it is in .*1\.bin too"):
        diff(target.dump(), open_dump(empty, base=0x30000000))


# ---------------------------------------------------------------------- what is not known


def test_an_image_without_an_address(target):
    before = target.dump(elf=False, base=None)
    target.heap.alloc(20)
    found = diff(before, target.dump(elf=False, base=None))
    heap = found.heaps[0]
    assert heap.suspects is None
    assert heap.after.unreached_count is heap.after.unreached_bytes is None
    told = "what holds the blocks is not known: nobody told the address of the image"
    assert found.notes.count(told) == 1


def test_printouts_tell_sizes_and_places_alone(target, tmp_path):
    logs = []
    for count in (1, 2):
        target.keep(count, target.heap.alloc(20 * count))
        logs.append(tmp_path / f"{count}.log")
        logs[-1].write_text(target.heap.heap.print_info(dump_chunks=True), "utf-8")
    before, after = (open_dump(path) for path in logs)
    (heap,) = diff(before, after).heaps
    assert (heap.stayed_count, heap.change_bytes, heap.suspects) == (1, 48, None)
    assert [(block.chunk_bytes, block.owner) for block in heap.appeared] == [(48, None)]
    # What a dump knows of the kinds of blocks a printout does not deny.
    target.ram.put(target.heap.blocks.address[1], CONSTANTS)
    assert diff(after, target.dump()).heaps[0].stayed_count == 2


def test_a_note_of_one_dump_has_its_path(target):
    before = target.dump(elf=False)
    after = target.dump(elf=False, base=None)
    for heap in after.heaps:
        heap.name = f"heap@{heap.address + RAM:#x}"
    notes = diff(before, after).notes
    told = "2.bin: what holds the blocks is not known: nobody told the address of the image"
    assert any(note.endswith(told) for note in notes)


# ---------------------------------------------------------------------- real ones


def test_a_real_heap_as_it_fills_and_drains():
    folder = build.real_data("qemu_ram")
    if folder is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no qemu_ram")
    moments = [open_dump(path, base=RAM) for path in sorted(folder.glob("ram_*.bin"))[1:]]
    assert len(moments) == 7
    for before, after in pairwise(moments):
        (heap,) = diff(before, after).heaps
        came, went = (sum(b.chunk_bytes for b in part) for part in (heap.appeared, heap.went))
        assert came - went == heap.change_bytes == heap.after.used_bytes - heap.before.used_bytes
        assert heap.stayed_bytes + came == heap.after.used_bytes
        assert heap.stayed_bytes + went == heap.before.used_bytes
        for rows in (heap.by_size, heap.by_owner, heap.by_signature):
            assert sum(row.change_bytes for row in rows) == heap.change_bytes
        # The program keeps all its blocks in an array.
        assert heap.suspects == ()
