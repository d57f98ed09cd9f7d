"""``kheap.open_dump``: files in, heaps out."""

from __future__ import annotations

import dataclasses
import gzip
import struct
from pathlib import Path

import pytest

import kheap
from helpers.elf_maker import Section, Symbol, make_elf
from helpers.ram import RAM, Ram
from kheap.dump.chunk_table import STATES

HEAP, OBJECT, SIZE = RAM + 0x400, RAM + 0x40, 1024


def used(heap):
    blocks = [heap.alloc(40) for _ in range(8)]
    for block in blocks[1::2]:
        heap.free(block)
    return heap


def target(**profile):
    ram = Ram()
    used(ram.heap("pool", HEAP, SIZE, at=OBJECT, **profile).heap)
    return ram


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def write(content, name="ram.bin"):
        path = tmp_path / name
        path.write_bytes(bytes(content))
        return path

    return write


def core_dump(*blocks):
    head = struct.pack("<2sHHBBI", b"ZE", 2, 3, 5, 0, 4) + b"A\x02\x00\x04\x00regs"
    rows = (struct.pack("<cHII", b"M", 1, at, at + len(data)) + data for at, data in blocks)
    return head + b"".join(rows)


# ---------------------------------------------------------------------- one file


@pytest.mark.parametrize("as_path", [str, Path])
def test_an_image_with_its_address(write, as_path):
    ram = target()
    path = as_path(write(ram.bytes))
    for dump in (
        kheap.open_dump(path, base=RAM),
        kheap.open_dump(f"{path}@{RAM:#x}"),
        kheap.open_dump([path], base=RAM),
    ):
        (heap,) = dump.heaps
        assert (heap.address, heap.kind, heap.object_address) == (HEAP, "k_heap", OBJECT)
        assert heap.stats == ram.heaps[0].heap.stats()
        assert dump.notes == []
        assert (dump.format, dump.image, dump.console) == ("raw", None, None)
        assert dump.path.startswith(str(path))


def test_an_image_without_its_address(write):
    (heap,) = (dump := kheap.open_dump(write(target().bytes))).heaps
    assert (heap.address, heap.corruption) == (0x400, None)
    assert dump.notes == ["addresses count from the file's first byte: --base tells its address"]
    assert dump.memory.segments[0].address == 0


@pytest.mark.parametrize("lead", [0, 64, 4, 60])
def test_canaries_tell_the_address(write, lead):
    ram = Ram()
    used(ram.heap("pool", HEAP, SIZE, at=OBJECT, hardening="full").heap)
    base = HEAP - lead
    dump = kheap.open_dump(write(ram.bytes[base - RAM :]))
    (heap,) = dump.heaps
    assert (heap.address, heap.corruption) == (HEAP, None)
    assert dump.memory.segments[0].address == base
    assert dump.notes == [f"by the canaries of its heaps the image lies at {base:#x}"]
    assert dump.container.based


def test_an_address_that_was_told_counts(write):
    """Then the canaries are those of another heap, and it is said of which."""
    for bits in (32, 64):
        ram = Ram(bits=bits)
        used(ram.heap("pool", HEAP, SIZE, hardening="full").heap)
        dump = kheap.open_dump(write(ram.bytes), base=RAM + 0x1000)
        assert dump.memory.segments[0].address == RAM + 0x1000
        (heap,) = dump.heaps
        assert heap.corruption is not None
        assert heap.notes == [
            f"its canaries are those of a heap at {HEAP:#x}: is the dump's address right?"
        ]


def test_the_file_is_not_changed(write):
    path = write(target().bytes)
    before = path.read_bytes()
    (heap,) = kheap.open_dump(path, base=RAM).heaps
    assert heap.heap.try_alloc(16) is not None
    heap.heap.check()
    assert path.read_bytes() == before
    assert kheap.open_dump(path, base=RAM).heaps[0].heap.region != heap.heap.region


def test_what_would_have_fitted(write):
    """A heap of a dump is a heap: it can be allocated from."""
    (heap,) = kheap.open_dump(write(target().bytes), base=RAM).heaps
    largest = heap.stats.largest_free_bytes
    assert heap.heap.why(largest) == "fits"
    assert heap.heap.why(largest + 8) == "fragmented"
    heap.heap.alloc(largest)
    assert heap.heap.why(largest) == "exhausted"


def test_packed_files(write):
    content = bytes(target().bytes)
    path = write(gzip.compress(content), "ram.bin.gz")
    assert [heap.address for heap in kheap.open_dump(path, base=RAM).heaps] == [HEAP]


def test_a_core_dump(write):
    ram = target()
    dump = kheap.open_dump(write(core_dump((RAM, bytes(ram.bytes)))))
    assert (dump.format, dump.container.machine) == ("coredump", "arm")
    assert [heap.address for heap in dump.heaps] == [HEAP]
    assert not any("one thread" in note for note in dump.notes)


def test_a_core_dump_of_one_thread(write):
    blocks = (RAM, bytes(200)), (RAM + 0x1000, bytes(1024))
    dump = kheap.open_dump(write(core_dump(*blocks)))
    assert dump.heaps == []
    assert dump.notes[-1] == (
        "it seems to hold one thread only: CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_MIN keeps no heap;"
        " CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_LINKER_RAM does"
    )


# ---------------------------------------------------------------------- several files


def test_parts_of_one_memory(write):
    """A heap, its object, and what points to it may be in different files."""
    ram = target()
    whole = bytes(ram.bytes)
    first, second = write(whole[:0x500], "a.bin"), write(whole[0x500:], "b.bin")
    dump = kheap.open_dump([f"{first}@{RAM:#x}", f"{second}@{RAM + 0x500:#x}"])
    (heap,) = dump.heaps
    assert (heap.address, heap.object_address, heap.corruption) == (HEAP, OBJECT, None)
    assert heap.held_bytes == SIZE
    assert dump.path == f"{first}@{RAM:#x}"


def test_a_core_dump_and_an_image(write):
    ram = target()
    whole = bytes(ram.bytes)
    core = write(core_dump((RAM, whole[:0x200])), "core.bin")
    rest = write(whole[0x200:], "rest.bin")
    (heap,) = kheap.open_dump([core, f"{rest}@{RAM + 0x200:#x}"]).heaps
    assert (heap.address, heap.object_address) == (HEAP, OBJECT)


def test_only_one_image_can_be_moved(write):
    """Canaries of a heap whose address is known tell nothing of another file."""
    ram = Ram()
    used(ram.heap("pool", HEAP, SIZE, hardening="full").heap)
    core, other = write(core_dump((RAM, bytes(ram.bytes))), "core.bin"), write(bytes(64), "x.bin")
    dump = kheap.open_dump([core, other])
    (heap,) = dump.heaps
    assert heap.address == HEAP
    assert RAM in [segment.address for segment in dump.memory.segments]
    assert not dump.container.based


# ---------------------------------------------------------------------- with its program


def program(tmp_path, *symbols, config=None):
    return make_elf(
        tmp_path / "zephyr.elf",
        symbols=[Symbol("pool", OBJECT, 20), Symbol("kheap_pool", HEAP, SIZE), *symbols],
        sections=[Section("ram", RAM, 0x4000)],
        config={"SYS_HEAP_ALLOC_LOOPS": 3} | (config or {}),
    )


def test_names_come_from_the_program(write, tmp_path):
    elf = program(tmp_path)
    for given in (elf, str(elf)):
        dump = kheap.open_dump(write(target().bytes), elf=given, base=RAM)
        (heap,) = dump.heaps
        assert heap.name == "pool"
        assert dump.image.path == str(elf)
        assert dump.heap("pool") is heap


def test_a_heap_by_name_or_address(write, tmp_path):
    ram = target()
    ram.heap("other", RAM + 0x1000, 1024)
    dump = kheap.open_dump(write(ram.bytes), elf=program(tmp_path), base=RAM)
    first, second = dump.heaps
    assert dump.heap("pool") is dump.heap(hex(HEAP)) is first
    assert dump.heap("heap@0x20001000") is dump.heap("0x20001000") is second
    for name in ("nothing", "", "0x0", "POOL", hex(HEAP + 8)):
        with pytest.raises(kheap.DumpError) as caught:
            dump.heap(name)
        assert str(caught.value) == (
            f"{dump.path}: no heap is called {name!r}; there are: pool, heap@0x20001000"
        )


def test_a_heap_that_begins_odd_by_either_address(write):
    ram = Ram()
    region = memoryview(ram.bytes)[0x403 : 0x403 + SIZE]
    kheap.SysHeap(region, kheap.Profile(bits=32), RAM + 0x403)
    ram.put(OBJECT, RAM + 0x408, RAM + 0x403, SIZE, OBJECT + 12, OBJECT + 12)
    dump = kheap.open_dump(write(ram.bytes), base=RAM)
    (heap,) = dump.heaps
    assert (heap.address, heap.first_address) == (RAM + 0x403, RAM + 0x408)
    assert dump.heap(hex(RAM + 0x403)) is dump.heap(hex(RAM + 0x408)) is heap


def test_an_address_may_be_written_in_any_way(write):
    dump = kheap.open_dump(write(target().bytes), base=RAM)
    for name in ("0x20000400", "0X20000400", "0x0020000400", str(HEAP)):
        assert dump.heap(name) is dump.heaps[0]
    for name in ("20000400", "0x", "0x2000040g", "-1"):
        with pytest.raises(kheap.DumpError):
            dump.heap(name)


def test_no_heap_of_any_name(write):
    dump = kheap.open_dump(write(bytes(5000)), base=RAM)
    with pytest.raises(kheap.DumpError, match="no heap is called 'pool'; there are: none"):
        dump.heap("pool")


def test_a_profile_goes_before_that_of_the_program(write, tmp_path):
    told = kheap.Profile("3.5", bits=32, runtime_stats=False)
    ram, elf = target(runtime_stats=False), program(tmp_path)
    (heap,) = kheap.open_dump(write(ram.bytes), elf=elf, base=RAM, profile=told).heaps
    assert heap.profile == told
    (heap,) = kheap.open_dump(write(ram.bytes), elf=elf, base=RAM).heaps
    assert heap.profile.release == "4.4"


# ---------------------------------------------------------------------- a console log


def printed(heap, *, dump_chunks=True):
    return heap.print_info(dump_chunks=dump_chunks)


@pytest.mark.parametrize("stats", [False, True])
def test_a_heap_rebuilt_from_a_printout(write, stats):
    heap = used(kheap.SysHeap(SIZE, kheap.Profile(bits=32, runtime_stats=stats), HEAP))
    text = f"*** Booting Zephyr OS build v4.4.0 ***\n{printed(heap)}"
    dump = kheap.open_dump(write(text.encode(), "console.log"))
    assert dump.format == "text"
    (found,) = dump.heaps
    assert (found.name, found.address) == (f"heap@{HEAP:#x}", HEAP)
    assert [(c, u, STATES[s]) for c, u, s in found.rows()] == [
        (c.chunk, c.size_units, c.state) for c in heap.chunks()
    ]
    assert found.stats == dataclasses.replace(heap.stats(), max_allocated_bytes=None)
    assert not found.has_contents
    assert found.stats.max_allocated_bytes is None, "a printout does not tell"
    assert found.how.startswith("rebuilt from the chunk dump at line ")


def test_of_several_printouts_of_a_heap_the_last_whole_one_counts(write):
    heap = kheap.SysHeap(SIZE, kheap.Profile(bits=32, runtime_stats=False), HEAP)
    texts = []
    for size in (40, 50, 60):
        heap.alloc(size)
        texts.append(printed(heap))
    cut = texts[2][: len(texts[2]) // 2]
    for shown, count in ((texts, 3), ([*texts[:2], cut], 2), ([texts[0], cut], 1)):
        dump = kheap.open_dump(write("\n".join(shown).encode(), "console.log"))
        (found,) = dump.heaps
        assert found.stats.used_count == count


def test_heaps_of_a_printout_by_address(write):
    heaps = [kheap.SysHeap(512, kheap.Profile(bits=32), RAM + at) for at in (0x2000, 0, 0x1000)]
    text = "\n".join(map(printed, heaps))
    dump = kheap.open_dump(write(text.encode(), "console.log"))
    assert [heap.address for heap in dump.heaps] == [RAM, RAM + 0x1000, RAM + 0x2000]


def test_a_heap_that_is_printed_and_dumped_is_there_once(write):
    """The memory is better; other heaps that are only printed are added."""
    ram = target()
    other = kheap.SysHeap(512, kheap.Profile(bits=32), RAM - 0x1000)
    content = core_dump((RAM, bytes(ram.bytes)))
    lines = [f"#CD:{content[i : i + 32].hex()}" for i in range(0, len(content), 32)]
    shown = [printed(ram.heaps[0].heap), printed(other)]
    text = "\n".join([*shown, "#CD:BEGIN#", *lines, "#CD:END#", ""])
    dump = kheap.open_dump(write(text.encode(), "console.log"))
    assert dump.format == "coredump log"
    assert [(heap.address, heap.has_contents) for heap in dump.heaps] == [
        (RAM - 0x1000, False),
        (HEAP, True),
    ]


def test_a_printout_without_chunks_is_no_heap(write):
    heap = kheap.SysHeap(512, kheap.Profile(bits=32), RAM)
    text = printed(heap, dump_chunks=False)
    dump = kheap.open_dump(write(text.encode(), "console.log"))
    assert dump.heaps == []
    assert [p.address for p in dump.console.heaps] == [RAM]


# ---------------------------------------------------------------------- what cannot be read


def test_an_empty_file(write):
    path = write(b"")
    with pytest.raises(kheap.DumpError, match="an empty file"):
        kheap.open_dump(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        kheap.open_dump(tmp_path / "nothing.bin")
    with pytest.raises(ValueError, match="at least one file"):
        kheap.open_dump([])


def test_a_program_is_no_dump(tmp_path):
    path = program(tmp_path)
    with pytest.raises(kheap.DumpError) as caught:
        kheap.open_dump(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_dump_is_no_program(write):
    path = write(target().bytes)
    with pytest.raises(kheap.DumpError) as caught:
        kheap.open_dump(path, elf=path, base=RAM)
    assert str(caught.value).startswith(f"{path}: ")
