"""Dumps of real Zephyr programs: every heap is found, and is what the firmware said it was.

The dumps are not part of this repository: ``KHEAP_TEST_DATA`` names their folder.
"""

from __future__ import annotations

import gzip
import json

import pytest

import kheap
from helpers import build

DUMPS = build.real_data()
RAM = 0x20000000
HEAP = 0x200008A8

pytestmark = pytest.mark.skipif(DUMPS is None, reason="KHEAP_TEST_DATA is unset: no dumps")


def read(name):
    path = DUMPS / name
    return gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()


def records(folder, pattern):
    """(file, content) of JSON files, none where there is no data."""
    found = sorted((DUMPS / folder).glob(pattern)) if DUMPS is not None else []
    return [(path, json.loads(path.read_text())) for path in found]


def the_heap(dump, address=HEAP):
    (heap,) = (heap for heap in dump.heaps if heap.first_address == address)
    assert heap.corruption is None
    heap.heap.check()
    return heap


@pytest.mark.parametrize("number", [0, 2])
def test_the_printout_of_an_image_is_the_firmware_s(number):
    dump = kheap.open_dump(DUMPS / f"qemu_ram/ram_{number:02}.bin", base=RAM)
    heap = the_heap(dump)
    assert len(dump.heaps) == 1
    assert (heap.kind, heap.object_address) == ("k_heap", 0x200000A4)
    printed = (DUMPS / f"console_logs/print_info_ram_{number:02}.txt").read_text()
    assert heap.heap.print_info(dump_chunks=True).split() == printed.split()


@pytest.mark.parametrize("number", range(0, 16, 2))
def test_every_image_of_ram_has_its_one_heap(number):
    dump = kheap.open_dump(DUMPS / f"qemu_ram/ram_{number:02}.bin", base=RAM)
    assert [heap.first_address for heap in dump.heaps] == [HEAP]
    assert the_heap(dump).profile == kheap.Profile("4.3", 32)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("coredumps/cd_v1.bin", "coredumps/cd_v1.log"),
        ("coredumps/cd_v2_crc.bin", "coredumps/cd_v2_crc.log"),
        ("coredumps/cd_v2_crc.bin", "coredumps/cd_v2_truncated.log"),
    ],
)
def test_each_container_holds_the_same_heap(first, second):
    one, other = (the_heap(kheap.open_dump(DUMPS / name)) for name in (first, second))
    assert bytes(one.heap.region) == bytes(other.heap.region)
    assert (one.object_address, one.kind) == (other.object_address, other.kind)


@pytest.mark.parametrize("name", ["hci_v440.arm.core", "hci_v440.coredump_v1.bin",
                                  "hci_v440.coredump_v1.log", "hci_v440.coredump_v2_T.bin",
                                  "hci_v440.coredump_v2_T.log"])  # fmt: skip
def test_each_container_of_a_released_firmware(name):
    folder = DUMPS / "real/firmware_v440_hci"
    said = json.loads((folder / "op120.json").read_text())
    heap = the_heap(kheap.open_dump(folder / name), said["init_mem"] + -said["init_mem"] % 8)
    whole = kheap.open_dump(folder / "op120.ram.bin", base=said["ram_start"])
    assert bytes(heap.heap.region) == bytes(whole.heaps[0].heap.region)
    assert heap.object_address == said["k_heap"]


@pytest.mark.parametrize("name", ["boot", "op30", "op120"])
def test_the_live_blocks_of_a_released_firmware(name):
    folder = DUMPS / "real/firmware_v440_hci"
    said = json.loads((folder / f"{name}.json").read_text())
    (heap,) = kheap.open_dump(folder / f"{name}.ram.bin", base=said["ram_start"]).heaps
    assert (heap.address, heap.size_bytes) == (said["init_mem"], said["init_bytes"])
    assert heap.object_address == said["k_heap"]
    live = {int(address): size for address, size in said["live"].items()}
    # An aligned block begins up to 7 bytes behind its chunk's header.
    ends = dict(zip(heap.blocks.address, heap.blocks.usable, strict=True))
    assert len(ends) == len(live)
    for address, size in live.items():
        (start,) = (start for start in ends if start <= address < start + 8)
        assert address + size <= start + ends[start]


def test_one_moment_seen_three_ways():
    folder = DUMPS / "real/coredump"
    said = json.loads((folder / "lvgl_arm.ram.json").read_text())["z_heap_fields_by_gdb"]
    dumps = [
        kheap.open_dump(folder / "lvgl_arm.uart.txt"),
        kheap.open_dump(folder / "lvgl_arm.coredump.bin"),
        kheap.open_dump(folder / "lvgl_arm.ram.bin", base=RAM),
    ]
    for fields in said.values():
        heaps = [the_heap(dump, fields["z_heap"]) for dump in dumps]
        assert len({bytes(heap.heap.region) for heap in heaps}) == 1
        stats = heaps[0].stats
        assert heaps[0].heap.n == fields["end_chunk"]
        for name in ("free_bytes", "allocated_bytes", "max_allocated_bytes"):
            assert getattr(stats, name) == fields[name]
    text = (folder / "lvgl_arm.uart.txt").read_text(errors="replace").replace("\r", "")
    printed = the_heap(dumps[0], said["lvgl_heap"]["z_heap"]).heap.print_info(dump_chunks=True)
    assert (
        printed.split() == text[text.index("Heap at 0x20000718") :].split()[: len(printed.split())]
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (path, said)
        for path, said in records("real/dumps/native", "*.json")
        if path.stem.endswith(".end") or ".op" in path.stem
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_regions_of_native_programs(path, said):
    for number, each in enumerate(said["heaps"]):
        if each["z_heap"] == 0:  # Its object had gone; what its memory holds is another's.
            continue
        name = next(path.parent.glob(f"{path.stem}.heap{number}.bin*"))
        data = read(str(name.relative_to(DUMPS)))
        dump = kheap.open_dump(name, base=each["mem"])
        heap = the_heap(dump, each["z_heap"])
        assert heap.profile.bits == 8 * said["pointer_bytes"] or heap.profile.header == "big"
        assert bytes(heap.heap.region) == data[: heap.size_bytes]
        assert len(data) - heap.size_bytes in range(8)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (path, said)
        for path, said in records("real/dumps/native", "*.json")
        if path.with_suffix(".core.gz").exists() and "heaps" in said
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_cores_of_native_programs(path, said):
    dump = kheap.open_dump(path.with_suffix(".core.gz"))
    for number, each in enumerate(said["heaps"]):
        heap = the_heap(dump, each["z_heap"])
        data = read(f"real/dumps/native/{path.stem}.heap{number}.bin")
        assert bytes(heap.heap.region) == data[: heap.size_bytes]
    assert len(dump.heaps) == len(said["heaps"])


def test_the_thread_that_waits():
    from kheap.dump.inspection import inspect

    folder = DUMPS / "real/dumps/native"
    said = json.loads((folder / "n_kheap_api.waiter.json").read_text())
    found = inspect(kheap.open_dump(folder / "n_kheap_api.wait.core.gz"))
    waiting = {heap.image.object_address: heap.waiters for heap in found.heaps if heap.waiters}
    assert list(waiting) == [said["call"]["a"]["heap"]]
    assert [waiter.address for waiter in waiting[said["call"]["a"]["heap"]]] == [
        said["waiting_thread"]
    ]


@pytest.mark.parametrize("name", ["coredumps/cd_min_noheap.bin",
                                  "real/coredump/coredump_test_arm_min.uart.txt"])  # fmt: skip
def test_a_dump_without_heaps_names_the_option_that_would_keep_them(name):
    dump = kheap.open_dump(DUMPS / name)
    assert dump.heaps == []
    assert any("MEMORY_DUMP_LINKER_RAM" in note for note in dump.notes)
