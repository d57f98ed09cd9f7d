"""Finding heaps: by the program, by scanning, by objects; and what is said of those not found."""

from __future__ import annotations

from random import Random

import pytest

import kheap
from helpers.damage import BASE, PROFILES, used_heap
from helpers.elf_maker import Section, Symbol, make_elf
from helpers.ram import RAM, Ram
from kheap.dump import find
from kheap.dump.find import Finder, heaps_in
from kheap.dump.memory import Memory
from kheap.dump.program.image import read_image
from property.broken import name_of

OBJECT, HEAP, SIZE = RAM + 0x40, RAM + 0x400, 1024
TOP = 0x4000


def look(memory, image=None, profile=None, **options):
    finder = Finder(memory, image, profile, **options)
    finder.look()
    return finder


def target(bits=32, **profile):
    """RAM with one k_heap in use."""
    ram = Ram(bits=bits)
    placed = ram.heap("pool", HEAP, SIZE, at=OBJECT, **profile)
    use(placed.heap)
    return ram


def use(heap):
    blocks = [heap.alloc(40) for _ in range(8)]
    for block in blocks[1::2]:
        heap.free(block)


def program(tmp_path, ram, *, symbols=(), sections=None, config=None, initial=True):
    """The ELF of a target: its heaps' objects and buffers."""
    made = []
    objects = [heap for heap in ram.heaps if heap.object_address is not None]
    size = 5 * ram.width
    for heap in objects:
        made.append(Symbol(heap.name, heap.object_address, size))
        made.append(Symbol(f"kheap_{heap.name}", heap.address, heap.size_bytes))
    data = bytearray(TOP)
    for heap in objects if initial else ():
        at = heap.object_address - RAM + ram.width
        data[at : at + ram.width] = heap.address.to_bytes(ram.width, "little")
        data[at + ram.width : at + 2 * ram.width] = heap.size_bytes.to_bytes(ram.width, "little")
    settings = {"SYS_HEAP_ALLOC_LOOPS": 3} | (config or {})
    path = make_elf(
        tmp_path / "zephyr.elf",
        bits=ram.bits,
        machine="arm" if ram.bits == 32 else "x86_64",
        symbols=[*made, *symbols],
        sections=[Section("ram", RAM, bytes(data))] if sections is None else sections,
        config=settings,
    )
    return read_image(path)


# ---------------------------------------------------------------------- without a program


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("stats", [False, True])
def test_a_heap_and_its_object(bits, stats):
    ram = target(bits, runtime_stats=stats)
    finder = look(ram.memory())
    (heap,) = finder.heaps
    assert (heap.address, heap.size_bytes, heap.held_bytes) == (HEAP, SIZE, SIZE)
    assert (heap.kind, heap.object_address) == ("k_heap", OBJECT)
    assert heap.name == f"heap@{HEAP:#x}"
    assert heap.profile.bits == bits
    assert heap.profile.runtime_stats == stats
    assert heap.corruption is None
    assert heap.how.startswith("found by scanning: the control block, all 4 used and")
    assert heap.how.endswith(f"a k_heap at {OBJECT:#x} points to it")
    assert finder.notes == heap.notes == []
    assert heap.stats == ram.heaps[0].heap.stats()


def test_a_heap_without_an_object():
    """Its region is said to end with it."""
    ram = Ram()
    use(ram.heap("pool", HEAP, SIZE).heap)
    (heap,) = heaps_in(ram.memory())
    assert (heap.kind, heap.object_address) == ("", None)
    assert (heap.address, heap.size_bytes) == (HEAP, SIZE)


def test_the_region_that_an_object_names():
    """It may begin before the heap and end behind it."""
    ram = Ram()
    for lead in range(1, 8):
        region = memoryview(ram.bytes)[0x401 + 8 - lead - 1 :][: SIZE + lead]
        heap = kheap.SysHeap(region, kheap.Profile(bits=32, runtime_stats=False), HEAP + 8 - lead)
        ram.put(OBJECT, HEAP + 8, HEAP + 8 - lead, SIZE + lead, OBJECT + 12, OBJECT + 12)
        (found,) = heaps_in(ram.memory())
        assert (found.address, found.size_bytes) == (heap.base_address, heap.size_bytes)
        assert found.first_address == HEAP + 8
        assert found.corruption is None
        ram = Ram()


def test_several_heaps_by_address():
    ram = Ram()
    for i, size in enumerate((2048, 200, 1000, 512)):
        use_little(ram.heap(f"h{i}", RAM + 0x1000 * (3 - i) + 0x200, size, at=RAM + 0x20 * i).heap)
    found = heaps_in(ram.memory())
    assert [heap.address for heap in found] == [RAM + 0x1000 * i + 0x200 for i in range(4)]
    assert [heap.size_bytes for heap in found] == [512, 1000, 200, 2048]
    assert [heap.object_address for heap in found] == [RAM + 0x20 * i for i in (3, 2, 1, 0)]


def use_little(heap):
    heap.free(heap.alloc(8))
    heap.alloc(8)


def test_a_sys_heap():
    ram = Ram()
    use(ram.heap("pool", HEAP, SIZE).heap)
    ram.put(OBJECT, HEAP, HEAP, SIZE)
    (heap,) = heaps_in(ram.memory())
    assert (heap.kind, heap.object_address) == ("sys_heap", OBJECT)


def test_heaps_in_blocks_are_not_looked_for():
    outer = kheap.SysHeap(8192, kheap.Profile(bits=32), BASE)
    block = outer.alloc(2048)
    inner = memoryview(outer.region)[block + 4 : block + 1028]
    kheap.SysHeap(inner, kheap.Profile(bits=32), BASE + block + 4)
    memory = Memory()
    memory.add(BASE, bytes(outer.region))
    assert [heap.address for heap in heaps_in(memory)] == [BASE]


def test_no_heap():
    for data in (bytes(5000), b"\xff" * 5000, Random(1).randbytes(5000), b""):
        memory = Memory()
        memory.add(RAM, data)
        finder = look(memory)
        assert (finder.heaps, finder.notes) == ([], [])


def test_a_profile_that_is_told():
    told = kheap.Profile("3.5", bits=32, runtime_stats=False)
    ram = target(runtime_stats=False)
    (heap,) = heaps_in(ram.memory(), profile=told)
    assert heap.profile == told


def test_a_profile_that_is_wrong_is_said():
    ram = target(runtime_stats=True)
    wrong = kheap.Profile("3.5", bits=32, runtime_stats=False)
    finder = look(ram.memory(), profile=wrong)
    (heap,) = finder.heaps
    assert heap.profile.runtime_stats
    assert finder.notes == [f"{HEAP:#x} is no heap of {wrong} but of {heap.profile}"]


def test_not_more_heaps_than_any_program_has(monkeypatch):
    monkeypatch.setattr(find, "MOST_HEAPS", 5)
    one = bytes(kheap.SysHeap(256, kheap.Profile(bits=32), RAM).region)
    for count, notes in ((4, 0), (5, 0), (6, 1), (9, 1)):
        memory = Memory()
        memory.add(RAM, one * count)
        finder = look(memory)
        assert len(finder.heaps) == min(count, 5)
        assert len(finder.notes) >= notes


# ---------------------------------------------------------------------- damaged ones


@pytest.mark.parametrize("profile", PROFILES, ids=name_of)
def test_a_control_block_that_is_gone(profile):
    """Its object still tells where it is, the region how large."""
    ram = Ram(bits=profile.bits)
    region = memoryview(ram.bytes)[HEAP - RAM :][:SIZE]
    heap = kheap.SysHeap(region, profile, HEAP)
    use(heap)
    queue = OBJECT + 3 * ram.width
    ram.put(OBJECT, HEAP, HEAP, SIZE, queue, queue)
    ram.write(HEAP, b"\xee" * 12)
    (found,) = heaps_in(ram.memory())
    assert (found.address, found.size_bytes, found.heap.n) == (HEAP, SIZE, heap.n)
    assert found.corruption.chunk == 0
    assert found.how == f"found by the object at {OBJECT:#x} that points to it"
    assert found.kind == "k_heap"


def test_a_file_that_is_one_region():
    """Whatever the control block says, the file ends with the heap."""
    random = Random("region")
    for profile in PROFILES:
        heap = used_heap(profile, random, 1024)
        region = bytearray(heap.region)
        region[8:12] = b"\xee" * 4
        region[0:2] = b"\xee" * 2
        memory = Memory()
        memory.add(BASE, bytes(region))
        (found,) = heaps_in(memory)
        assert (found.heap.n, found.corruption.chunk) == (heap.n, 0)
        assert found.how == "found by taking the file for one heap's region"


def test_a_wrong_size_that_leads_to_a_chunk():
    """Then the region tells, or the object."""
    ram = target()
    heap = ram.heaps[0].heap
    whole = bytes(ram.bytes[HEAP - RAM :][:SIZE])
    for chunk in list(heap.chunks())[1:-1]:
        size = chunk.chunk.to_bytes(4, "little")
        ram.write(HEAP + 8, size)
        (found,) = heaps_in(ram.memory())
        assert (found.heap.n, found.corruption.field) == (heap.n, "end_chunk"), chunk
        memory = Memory()
        memory.add(HEAP, whole[:8] + size + whole[12:])
        (found,) = heaps_in(memory)
        assert (found.heap.n, found.corruption.field) == (heap.n, "end_chunk"), chunk


def test_a_damaged_heap_is_found_once(tmp_path):
    ram = target()
    ram.write(HEAP + 8 * 20, b"\xee" * 40)
    for image in (None, program(tmp_path, ram)):
        (heap,) = heaps_in(ram.memory(), image)
        assert heap.corruption is not None
        assert (heap.kind, heap.object_address) == ("k_heap", OBJECT)
        assert heap.name == ("pool" if image else f"heap@{HEAP:#x}")


def test_not_more_damaged_heaps_than_any_program_has(monkeypatch):
    """By their objects, where their control blocks are gone."""
    ram = Ram()
    for i in range(6):
        at = RAM + 0x1000 + 0x100 * i
        ram.heap(f"h{i}", at, 256, at=RAM + 0x20 * i)
        ram.write(at, b"\xee" * 8)
    assert len(look(ram.memory()).heaps) == 6
    monkeypatch.setattr(find, "MOST_HEAPS", 4)
    finder = look(ram.memory())
    assert len(finder.heaps) == 4
    assert finder.notes[-1] == "there may be more heaps: after 4 the search has ended"


def test_stray_objects_cost_little(monkeypatch):
    """Bytes that name heaps everywhere: none is read that is not like one."""
    taken = []
    monkeypatch.setattr(Finder, "_add", lambda self, place, **options: taken.append(place))
    ram = Ram()
    for i in range(200):
        at = RAM + 0x200 + 8 * i
        ram.put(RAM + 0x1000 + 12 * i, at, at, (16 << 20) - 8)
    look(ram.memory())
    assert [place for place in taken if place.how.startswith("found by the object")] == []


# ---------------------------------------------------------------------- named by a program


@pytest.mark.parametrize("bits", [32, 64])
def test_a_heap_of_the_program(tmp_path, bits):
    ram = target(bits)
    finder = look(ram.memory(), program(tmp_path, ram))
    (heap,) = finder.heaps
    assert (heap.name, heap.kind, heap.object_address) == ("pool", "k_heap", OBJECT)
    assert (heap.address, heap.size_bytes) == (HEAP, SIZE)
    assert heap.how == "named by its symbol"
    assert heap.corruption is None
    assert heap.notes == []


def test_the_program_tells_the_profile(tmp_path):
    ram = target(runtime_stats=True)
    image = program(tmp_path, ram, config={"SYS_HEAP_RUNTIME_STATS": 1, "SYS_HEAP_ALLOC_LOOPS": 7})
    (heap,) = heaps_in(ram.memory(), image)
    assert (heap.profile.runtime_stats, heap.profile.alloc_loops) == (True, 7)


def test_an_object_before_it_is_initialised(tmp_path):
    ram = target()
    ram.put(OBJECT, 0)
    finder = look(ram.memory(), program(tmp_path, ram))
    assert "pool is not initialised: its object holds no heap" in finder.notes


def test_an_object_that_is_damaged(tmp_path):
    """The file of the program still tells the region."""
    ram = target()
    for words in ((0x41414141,), (0x41414141, 0x41414141, 0x41414141), (HEAP + 64,)):
        ram.put(OBJECT, *words)
        finder = look(ram.memory(), program(tmp_path, ram))
        (heap,) = finder.heaps
        assert (heap.name, heap.address, heap.size_bytes) == ("pool", HEAP, SIZE)
        assert heap.corruption is None
        assert finder.notes[0].endswith(f"the object at {OBJECT:#x} is damaged")


@pytest.mark.parametrize("size", [0, 8, 500, SIZE + 64, 0x41414141, 0xFFFFFFFF])
def test_an_object_with_a_wrong_size(tmp_path, size):
    """That of the file counts where the one in memory leads to no heap."""
    ram = target()
    ram.put(OBJECT + 8, size)
    finder = look(ram.memory(), program(tmp_path, ram))
    (heap,) = finder.heaps
    assert (heap.name, heap.address, heap.heap.n) == ("pool", HEAP, ram.heaps[0].heap.n)
    assert heap.corruption is None
    assert not heap.is_partial


def test_an_object_that_is_not_in_the_dump(tmp_path):
    ram = target()
    finder = look(ram.memory(HEAP, SIZE), program(tmp_path, ram))
    (heap,) = finder.heaps
    assert (heap.name, heap.address, heap.corruption) == ("pool", HEAP, None)


def test_a_heap_that_is_not_in_the_dump(tmp_path):
    ram = target()
    finder = look(ram.memory(RAM, 0x300), program(tmp_path, ram))
    assert finder.heaps == []
    assert finder.notes == [f"pool: the dump holds 0 of its 1,024 bytes at {HEAP:#x}"]


def test_neither_of_them_is_in_the_dump(tmp_path):
    """The file may tell the region, or nobody does."""
    ram = target()
    finder = look(Memory(), program(tmp_path, ram))
    assert finder.notes == [f"pool: the dump holds 0 of its 1,024 bytes at {HEAP:#x}"]
    symbols = [Symbol("z_malloc_heap", RAM + 0x80, 12)]
    finder = look(Memory(), program(tmp_path, Ram(), symbols=symbols))
    (note,) = finder.notes
    assert note == f"z_malloc_heap: its object at {RAM + 0x80:#x} is not in the dump"


def test_a_heap_that_is_partly_in_the_dump(tmp_path):
    ram = target()
    for held in (100, 400, SIZE - 8):
        finder = look(ram.memory(RAM, HEAP - RAM + held), program(tmp_path, ram))
        (heap,) = finder.heaps
        assert (heap.is_partial, heap.held_bytes, heap.size_bytes) == (True, held, SIZE)
        assert heap.corruption is None
        assert heap.notes == [
            f"the dump holds only {held:,} of its 1,024 bytes; what is behind them is not judged"
        ]
        known = [c for c in ram.heaps[0].heap.chunks() if 8 * (c.chunk + c.size_units) + 4 <= held]
        assert [c for c, _, _ in heap.rows()][: len(known)] == [c.chunk for c in known]
        assert heap.stats.used_count == sum(c.state == "used" for c in known)


def test_memory_that_holds_no_heap_of_that_name(tmp_path):
    ram = target()
    image = program(tmp_path, ram)
    ram.write(HEAP, b"\xee" * SIZE)
    finder = look(ram.memory(), image)
    assert finder.heaps == []
    assert finder.notes == [f"pool: no heap can be made out in the 1,024 bytes at {HEAP:#x}"]


def test_a_libc_heap_by_its_own_word(tmp_path):
    """Nobody tells its region: it has all memory that is left."""
    ram = Ram()
    use(ram.heap("z_malloc_heap", RAM + 0x1000, 0x2000).heap)
    ram.put(RAM + 0x80, RAM + 0x1000, 0, 0)
    image = program(tmp_path, Ram(), symbols=[Symbol("z_malloc_heap", RAM + 0x80, 12)])
    (heap,) = heaps_in(ram.memory(), image)
    assert (heap.name, heap.kind) == ("z_malloc_heap", "sys_heap")
    assert (heap.address, heap.heap.n) == (RAM + 0x1000, 0x2000 // 8 - 1)
    assert heap.corruption is None
    for wrong in (0xFFFFFFFF, 0x10000000, 0, 5):
        ram.put(RAM + 0x1008, wrong)
        finder = look(ram.memory(), image)
        assert len(finder.heaps) <= 1
        assert all(heap.corruption for heap in finder.heaps)
        assert finder.heaps or finder.notes


def test_a_libc_heap_that_is_not_in_the_dump(tmp_path):
    ram = Ram()
    ram.put(RAM + 0x80, RAM + 0x1000, 0, 0)
    image = program(tmp_path, Ram(), symbols=[Symbol("z_malloc_heap", RAM + 0x80, 12)])
    finder = look(ram.memory(RAM, 0x800), image)
    assert finder.heaps == []
    assert finder.notes == [f"z_malloc_heap: its memory at {RAM + 0x1000:#x} is not in the dump"]


def test_a_heap_of_the_array_whose_region_nobody_tells(tmp_path):
    """``sys_heap_init()`` does not note it in its object."""
    ram = Ram()
    use(ram.heap("other", RAM + 0x1000, 2048).heap)
    ram.put(RAM + 0x100, RAM + 0x1000, 0, 0)
    ram.put(RAM + 0x200, RAM + 0x100)
    symbols = [Symbol("heaps", RAM + 0x200, 4)]
    image = program(tmp_path, Ram(), symbols=symbols, config={"SYS_HEAP_ARRAY_SIZE": 1})
    (heap,) = heaps_in(ram.memory(), image, scan=False)
    assert (heap.name, heap.address, heap.heap.n) == ("heap@0x20001000", RAM + 0x1000, 255)
    assert (heap.kind, heap.object_address) == ("sys_heap", RAM + 0x100)
    assert heap.corruption is None


def test_the_array_of_heaps(tmp_path):
    """Those that it points to, and nobody else names."""
    ram = target()
    other = ram.heap("other", RAM + 0x1000, 2048)
    use(other.heap)
    ram.put(RAM + 0x100, RAM + 0x1000, RAM + 0x1000, 2048)
    ram.put(RAM + 0x200, OBJECT, RAM + 0x100, 0, RAM + 0x100)
    symbols = [Symbol("heaps", RAM + 0x200, 16), Symbol("ctx", RAM + 0x100, 64)]
    image = program(tmp_path, ram, symbols=symbols, config={"SYS_HEAP_ARRAY_SIZE": 4})
    found = heaps_in(ram.memory(), image)
    assert [(heap.name, heap.address) for heap in found] == [
        ("pool", HEAP),
        ("ctx", RAM + 0x1000),
    ]
    assert found[1].how == "in the array of heaps"


def test_heaps_that_the_program_does_not_name(tmp_path):
    ram = target()
    use(ram.heap("other", RAM + 0x1000, 2048).heap)
    image = program(tmp_path, ram)
    assert [heap.name for heap in heaps_in(ram.memory(), image)] == ["pool", "heap@0x20001000"]
    assert [heap.name for heap in heaps_in(ram.memory(), image, scan=False)] == ["pool"]


# ---------------------------------------------------------------------- overlaps


def overlaps(tmp_path, ram, symbols=(), sections=None):
    image = program(tmp_path, ram, symbols=symbols, sections=sections)
    (heap,) = heaps_in(ram.memory(), image)
    return [note for note in heap.notes if "overlaps" in note]


def test_a_symbol_in_the_range_of_a_heap(tmp_path):
    ram = target()
    inside = [Symbol("stack", HEAP + 64, 64), Symbol("tail", HEAP + SIZE - 4, 32)]
    notes = overlaps(tmp_path, ram, [*inside, Symbol("behind", HEAP + SIZE, 32)])
    assert notes == [
        f"its range {HEAP:#x} to {HEAP + SIZE:#x} overlaps {name}: a fault of the linker script,"
        " or of the address it was given"
        for name in ("stack", "tail")
    ]


def test_a_section_in_the_range_of_a_heap(tmp_path):
    ram = target()
    sections = [
        Section("ram", RAM, bytes(0x400)),
        Section("noinit", HEAP, SIZE),
        Section("late", HEAP + SIZE - 8, 64),
    ]
    (note,) = overlaps(tmp_path, ram, sections=sections)
    assert "overlaps late:" in note


def test_what_a_heap_lies_in_is_its_own(tmp_path):
    """Its buffer, what that is a member of, and sections around it."""
    ram = target()
    symbols = [Symbol("ctx", HEAP - 64, SIZE + 128), Symbol("alias", HEAP, SIZE)]
    assert overlaps(tmp_path, ram, symbols) == []


def test_two_symbols_of_one_name(tmp_path):
    """Static variables may be called alike."""
    ram = target()
    symbols = [
        Symbol("buf", HEAP, SIZE, binding="local"),
        Symbol("buf", RAM + 0x3000, SIZE + 64, binding="local"),
    ]
    assert overlaps(tmp_path, ram, symbols) == []
    assert overlaps(tmp_path, ram, symbols[::-1]) == []


def test_the_rest_of_memory_is_no_buffer_of_that_name(tmp_path):
    """A heap that fills what is left overlaps nothing that lies before it."""
    ram = Ram()
    use(ram.heap("z_malloc_heap", RAM + 0x1000, 0x3000).heap)
    ram.put(RAM + 0x80, RAM + 0x1000, 0, 0)
    symbols = [Symbol("z_malloc_heap", RAM + 0x80, 12), Symbol("last", RAM + 0xFF0, 16)]
    sections = [Section("ram", RAM, bytes(0x1000))]
    image = program(tmp_path, Ram(), symbols=symbols, sections=sections)
    (heap,) = heaps_in(ram.memory(), image)
    assert heap.notes == []
