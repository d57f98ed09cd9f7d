"""Every real dump: each heap is found where the firmware had it, and holds what it said.

The dumps are of programs that ran: RAM, core dumps and cores of the same moments, what the
program printed then, and what its object in memory said.  They are read from the folder that
KHEAP_TEST_DATA names.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

import kheap
from helpers.build import TEST_DATA, real_data, real_files
from helpers.elf_maker import Section, Symbol, make_elf
from kheap.dump.chunk_table import STATES
from kheap.dump.inspection import inspect

RAM = 0x20000000
NATIVE = "real", "dumps", "native"
FIRMWARE = "real", "firmware_v440_hci"
CORES = "real", "coredump"
STRESS = 0x200008A8

needs_data = pytest.mark.skipif(real_data() is None, reason=f"{TEST_DATA} is unset: no dumps")
pytestmark = [needs_data, pytest.mark.slow]


def place(*parts):
    return real_data(*parts)


def loaded(*parts):
    return json.loads(place(*parts).read_text())


@cache
def opened(*parts, base=None):
    return kheap.open_dump(place(*parts), base=base)


def rows(heap):
    return [(c, units, STATES[state]) for c, units, state in heap.rows()]


def assert_sound(dump):
    """Its heaps are, and all that reports ask of them is answered."""
    for found in inspect(dump).heaps:
        heap = found.image
        assert heap.corruption is None
        heap.heap.check()
        assert heap.stats == heap.heap.stats()
        assert not heap.is_partial
        assert len(list(found.row_owners())) == len(heap.chunks)


def lines(text):
    """Those with something on them, without what the console adds to their ends."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


# ---------------------------------------------------------------------- a filling heap in QEMU


#: Of each moment: used and free chunks, allocated and free bytes.
MOMENTS = {
    "00": (45, 1, 720, 1328),
    "02": (123, 5, 1968, 80),
    "04": (66, 62, 1056, 992),
    "06": (64, 64, 1024, 1024),
    "08": (77, 1, 1232, 816),
    "10": (104, 24, 1664, 384),
    "12": (64, 64, 1024, 1024),
    "14": (19, 1, 304, 1744),
}


@pytest.mark.parametrize("path", real_files("qemu_ram", pattern="ram_*.bin"))
def test_a_moment_of_a_heap(path):
    """4,096 bytes in all, and every chunk of 16."""
    dump = kheap.open_dump(path, base=RAM)
    (heap,) = dump.heaps
    assert (heap.address, heap.size_bytes) == (STRESS, 2120)
    assert (heap.kind, heap.object_address) == ("k_heap", 0x200000A4)
    profile = heap.profile
    assert (profile.release, profile.bits, profile.runtime_stats) == ("4.3", 32, True)
    stats = heap.stats
    found = stats.used_count, stats.free_count, stats.allocated_bytes, stats.free_bytes
    assert found == MOMENTS[path.stem.removeprefix("ram_")]
    assert_sound(dump)


#: Where each printed moment is dumped as well, in whatever container.
PRINTED = {
    "00": [("qemu_ram", "ram_00.bin")],
    "02": [
        ("qemu_ram", "ram_02.bin"),
        ("coredumps", "cd_v2_crc.bin"),
        ("coredumps", "cd_v2_crc.log"),
        ("coredumps", "cd_v2_truncated.log"),
    ],
    "13": [
        ("qemu_ram", "ram_12.bin"),
        ("coredumps", "cd_v1.bin"),
        ("coredumps", "cd_v1.log"),
    ],
}


@pytest.mark.parametrize("moment", PRINTED)
def test_what_the_firmware_printed(moment):
    """The same text, letter for letter, from each container; and the same heap from the text."""
    text = place("console_logs", f"print_info_ram_{moment}.txt").read_text()
    (rebuilt,) = opened("console_logs", f"print_info_ram_{moment}.txt").heaps
    for source in PRINTED[moment]:
        (heap,) = opened(*source, base=RAM if source[0] == "qemu_ram" else None).heaps
        assert lines(heap.heap.print_info(dump_chunks=True)) == lines(text), source
        assert rows(rebuilt) == rows(heap)
        assert rebuilt.address == heap.address
        assert rebuilt.stats.free_bytes == heap.stats.free_bytes
        assert rebuilt.stats.allocated_bytes == heap.stats.allocated_bytes


def test_containers_of_one_moment_hold_the_same_heap():
    for sources in PRINTED.values():
        heaps = [
            opened(*source, base=RAM if source[0] == "qemu_ram" else None).heaps[0]
            for source in sources
        ]
        first = heaps[0]
        for heap in heaps:
            assert (heap.address, heap.object_address) == (first.address, first.object_address)
            assert rows(heap) == rows(first)


@pytest.mark.parametrize("path", real_files("coredumps", pattern="*"))
def test_core_dumps(path):
    dump = kheap.open_dump(path)
    if "noheap" in path.name:
        assert dump.heaps == []
        assert "CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_LINKER_RAM does" in dump.notes[-1]
        return
    assert [heap.address for heap in dump.heaps] == [STRESS]
    assert dump.container.machine == "arm"
    assert ("cut short" in " ".join(dump.notes)) == ("truncated" in path.name)
    assert_sound(dump)


# ---------------------------------------------------------------------- one stopped moment, thrice


LVGL = (("lvgl_arm.ram.bin", RAM), ("lvgl_arm.coredump.bin", None), ("lvgl_arm.uart.txt", None))


@pytest.mark.parametrize(("name", "base"), LVGL)
def test_a_moment_seen_by_a_debugger(name, base):
    """The fields of each control block, as gdb showed them."""
    dump = opened(*CORES, name, base=base)
    told = loaded(*CORES, "lvgl_arm.ram.json")
    fields = told["z_heap_fields_by_gdb"]
    heaps = {heap.first_address: heap for heap in dump.heaps}
    assert set(heaps) == {field["z_heap"] for field in fields.values()}
    for symbol, field in fields.items():
        heap = heaps[field["z_heap"]]
        assert heap.heap.n == field["end_chunk"]
        assert heap.stats.free_bytes == field["free_bytes"]
        assert heap.stats.allocated_bytes == field["allocated_bytes"]
        assert heap.stats.max_allocated_bytes == field["max_allocated_bytes"]
        if symbol == "_system_heap":
            assert heap.object_address == told["sys_heap_addresses"][symbol]
    assert_sound(dump)


def test_the_three_ways_show_the_same_bytes():
    dumps = [opened(*CORES, name, base=base) for name, base in LVGL]
    for heaps in zip(*(dump.heaps for dump in dumps), strict=True):
        assert len({bytes(heap.heap.region) for heap in heaps}) == 1


def test_a_moment_as_it_was_printed_and_dumped_at_once():
    """The text before the dump says which chunks there are, and the dump agrees."""
    dump = opened(*CORES, "lvgl_arm.uart.txt")
    (printed,) = dump.console.heaps
    heap = dump.heap(hex(printed.address))
    assert heap.profile.release == "3.5"
    assert (heap.stats.free_bytes, heap.stats.allocated_bytes) == (25180, 6748)
    text = place(*CORES, "lvgl_arm.uart.txt").read_text()
    mine = lines(heap.heap.print_info(dump_chunks=True))
    assert lines(text[text.index("Heap at") :])[: len(mine)] == mine


def test_names_from_symbols(tmp_path):
    """With the symbols of the program the heap of the system is called so."""
    symbols = [
        Symbol(each["name"], each["addr"], each["size"])
        for each in loaded(*CORES, "lvgl_arm.symbols.json")
    ]
    sections = [Section("ram", RAM, 83312)]
    elf = make_elf(tmp_path / "zephyr.elf", symbols=symbols, sections=sections)
    dump = kheap.open_dump(place(*CORES, "lvgl_arm.coredump.bin"), elf=elf)
    assert [heap.name for heap in dump.heaps] == ["heap@0x20000718", "_system_heap"]
    assert dump.heaps[1].object_address == 0x2000028C


def test_a_dump_of_one_thread():
    dump = opened(*CORES, "coredump_test_arm_min.uart.txt")
    assert dump.heaps == []
    assert "MEMORY_DUMP_MIN keeps no heap" in dump.notes[-1]


# ---------------------------------------------------------------------- a released firmware


def live_blocks(heap, told):
    """That exactly the blocks that were given and not taken back are used, each large enough.

    A pointer that was asked to be aligned lies further into its block.
    """
    live = sorted((int(pointer), size) for pointer, size in told["live"].items())
    blocks = heap.blocks
    assert len(blocks) == len(live)
    for (pointer, size), start, usable in zip(live, blocks.address, blocks.usable, strict=True):
        assert start <= pointer < pointer + size <= start + usable


@pytest.mark.parametrize("moment", ["boot", "op30", "op120"])
def test_the_blocks_of_a_firmware(moment):
    dump = opened(*FIRMWARE, f"{moment}.ram.bin", base=RAM)
    told = loaded(*FIRMWARE, f"{moment}.json")
    (heap,) = dump.heaps
    assert (heap.address, heap.size_bytes) == (told["init_mem"], told["init_bytes"])
    assert (heap.kind, heap.object_address) == ("k_heap", told["k_heap"])
    live_blocks(heap, told)
    assert_sound(dump)


@pytest.mark.parametrize("path", real_files(*FIRMWARE, pattern="hci_v440.*"))
def test_containers_of_a_firmware(path):
    """All are of the moment after 120 operations."""
    dump = kheap.open_dump(path)
    (heap,) = dump.heaps
    (same,) = opened(*FIRMWARE, "op120.ram.bin", base=RAM).heaps
    assert bytes(heap.heap.region) == bytes(same.heap.region)
    assert (heap.address, heap.object_address) == (same.address, same.object_address)
    live_blocks(heap, loaded(*FIRMWARE, "op120.json"))
    assert_sound(dump)


# ---------------------------------------------------------------------- programs on a workstation


def region_of(told):
    path = place(*NATIVE, told["file"])
    if path.exists():
        return path.read_bytes()
    return gzip.decompress(Path(f"{path}.gz").read_bytes())


@pytest.mark.parametrize("path", real_files(*NATIVE, pattern="*.core.gz"))
def test_the_core_of_a_program(path):
    """Each heap lies where its object said, and holds the bytes that were read beside it."""
    beside = path.with_name(path.name.replace(".core.gz", ".json"))
    dump = kheap.open_dump(path)
    if not beside.exists():
        symbols = json.loads((path.parent / f"{path.name.split('.')[0]}.symbols.json").read_text())
        buffers = [each for each in symbols if each["name"] == "lvgl_heap_mem"]
        assert [(heap.address, heap.size_bytes) for heap in dump.heaps] == [
            (each["addr"], each["size"]) for each in buffers
        ]
        return
    told = json.loads(beside.read_text())
    assert dump.container.bits == 8 * told["pointer_bytes"]
    assert len(dump.heaps) == len(told["heaps"])
    for each in told["heaps"]:
        heap = dump.heap(hex(each["mem"]))
        assert heap.first_address == each["z_heap"]
        assert heap.size_bytes == each["size"]
        assert bytes(heap.heap.region) == region_of(each)
        assert heap.profile.bits == 8 * told["pointer_bytes"]
        if each["struct_init_bytes"]:
            assert heap.object_address == each["sys_heap"]
    assert_sound(dump)


MOMENTS_OF_PROGRAMS = [
    *real_files(*NATIVE, pattern="*.op*.json"),
    *real_files(*NATIVE, pattern="*.end.json"),
    *real_files(*NATIVE, pattern="*.wait.json"),
]


@pytest.mark.parametrize("path", MOMENTS_OF_PROGRAMS)
def test_regions_alone(path):
    """Each is found in its file, and with the object of the program it is the same heap."""
    told = json.loads(path.read_text())
    for each in told["heaps"]:
        name = each["file"]
        source = place(*NATIVE, name)
        source = source if source.exists() else Path(f"{source}.gz")
        dump = kheap.open_dump(source, base=each["mem"])
        (heap,) = dump.heaps
        # Where one is no more, another was initialised at its place.
        there = [other for other in told["heaps"] if other["z_heap"] == each["mem"]]
        live = each if each["z_heap"] else there[0]
        assert (heap.address, heap.first_address) == (live["mem"], live["z_heap"])
        assert 0 <= live["size"] - heap.size_bytes < 8
        assert_sound(dump)
        stats = heap.profile.runtime_stats
        profile = kheap.Profile("3.5", bits=8 * told["pointer_bytes"], runtime_stats=stats)
        (again,) = kheap.open_dump(source, base=each["mem"], profile=profile).heaps
        assert rows(again) == rows(heap)
        assert again.profile == profile


def test_a_thread_that_waits_for_memory():
    """It asked for 1,536 of 2,048 bytes, and is in the queue of the heap that it asked."""
    told = loaded(*NATIVE, "n_kheap_api.waiter.json")
    found = inspect(opened(*NATIVE, "n_kheap_api.wait.core.gz"))
    waiting = {heap.image.object_address: heap.waiters for heap in found.heaps}
    (waiter,) = waiting.pop(told["call"]["a"]["heap"])
    assert waiter.address == told["waiting_thread"]
    assert list(waiting.values()) == [()]
