"""Who owns the blocks: by which call they came, what they are, and what points to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import build
from helpers.elf_maker import Section, Symbol, compile_elf, make_elf
from helpers.ram import RAM, Ram
from kheap.dump import owners as owners_module
from kheap.dump.dump import open_dump
from kheap.dump.formats.containers import read_container
from kheap.dump.memory import Memory
from kheap.dump.owners import Group, find_owners, grouped
from kheap.dump.program.image import read_image

OBJECT = RAM + 0x100
VARIABLES = RAM + 0x200
STACKS = RAM + 0x400
HEAP = RAM + 0x1000
CONSTANTS = 0x08004000
BITS = pytest.mark.parametrize("bits", [32, 64])


def small_ram(bits=32, **profile):
    ram = Ram(bits=bits)
    return ram, ram.heap("my_heap", HEAP, 0x1000, at=OBJECT, **profile)


def owners_of(ram, *, image=None, memory=None, **options):
    memory = memory or ram.memory()
    return find_owners(memory, ram.heaps, word_bytes=ram.width, image=image, **options)


def sole(ram, **options):
    """The owner of the only block."""
    (heap,) = owners_of(ram, **options).heaps
    assert len(heap) == 1
    return heap[0]


def program(tmp_path, symbols=(), constants=b"", bits=32, machine="arm", more=()):
    """A program with constants, and all RAM as its variables."""
    sections = (
        Section("rodata", CONSTANTS, constants or bytes(64), writable=False),
        Section("bss", RAM, 0x4000),
        *more,
    )
    path = tmp_path / "zephyr.elf"
    return read_image(
        make_elf(path, symbols=symbols, sections=sections, bits=bits, machine=machine)
    )


# ---------------------------------------------------------------------- the call


@BITS
def test_a_block_of_k_malloc_names_its_heap(bits):
    ram, heap = small_ram(bits)
    heap.k_malloc(20)
    heap.alloc(20)
    (found,) = owners_of(ram).heaps
    assert [owner.call for owner in found] == ["k_malloc from my_heap", "k_heap_alloc"]
    assert [owner.text for owner in found] == ["k_malloc", None]
    assert bytes(found.lead) == bytes((bits // 8, 0))


def test_the_word_may_lie_behind_the_gap_of_an_alignment():
    ram, heap = small_ram(header="big")
    user = heap.k_malloc(20, align=16)
    assert user - heap.blocks.address[0] == 8
    ram.put(VARIABLES, user)
    owner = sole(ram)
    assert (owner.call, owner.at_start) == ("k_malloc from my_heap", True)


def test_a_block_may_name_another_heap_and_objects_may_be_unknown():
    ram, heap = small_ram()
    other = ram.heap("other", RAM + 0x2000, 0x400, kind="sys_heap", at=RAM + 0x180)
    unknown = ram.heap("unknown", RAM + 0x3000, 0x400, kind="")
    ram.put(heap.alloc(20), other.object_address)
    other.alloc(20)
    unknown.alloc(20)
    calls = [found[0].call for found in owners_of(ram).heaps]
    assert calls == ["k_malloc from other", "sys_heap_alloc", None]


# ---------------------------------------------------------------------- the signature


@BITS
def test_the_first_pointer_to_a_constant_is_the_signature(tmp_path, bits):
    ram, heap = small_ram(bits)
    table, other = CONSTANTS + 8, CONSTANTS + 16
    ram.put(heap.k_malloc(60), 7, table + 1, table, other)
    symbols = [Symbol("label_class", table, 8), Symbol("other_class", other, 8)]
    owner = sole(ram, image=program(tmp_path, symbols, bits=bits))
    assert (owner.signature, owner.text) == ("label_class", "label_class")


def test_functions_are_signatures_with_the_thumb_bit_too(tmp_path):
    ram, heap = small_ram()
    symbols = [Symbol("handler", CONSTANTS + 9, 8, "func"), Symbol("odd", CONSTANTS + 16, 8)]
    image = program(tmp_path, symbols)
    ram.put(heap.alloc(20), CONSTANTS + 17, CONSTANTS + 9)
    assert sole(ram, image=image).signature == "handler"


@pytest.mark.parametrize(
    ("constants", "signature"),
    [
        (b"\0\0\0\0\0\0\0\0hello\0", '"hello"'),
        (b"\0\0\0\0\0\0\0\0a text that is longer than that\0", '"a text that is longer..."'),
        (b"\0\0\0\0\0\0\0xhello\0", None),
        (b"\0\0\0\0\0\0\0\0abc\0", None),
        (b"\0\0\0\0\0\0\0\0hello", None),
        (b"\0\0\0\0\0\0\0\0he\1lo\0", None),
    ],
)
def test_strings_without_a_symbol(tmp_path, constants, signature):
    ram, heap = small_ram()
    ram.put(heap.alloc(20), CONSTANTS + 8)
    assert sole(ram, image=program(tmp_path, constants=constants)).signature == signature


def test_a_string_may_be_the_first_constant(tmp_path):
    ram, heap = small_ram()
    ram.put(heap.alloc(20), CONSTANTS)
    assert sole(ram, image=program(tmp_path, constants=b"hello\0")).signature == '"hello"'


def test_a_constant_that_is_a_text_is_told_as_that(tmp_path):
    ram, heap = small_ram()
    ram.put(heap.alloc(20), CONSTANTS + 1)
    image = program(tmp_path, [Symbol("motd", CONSTANTS + 1, 6)], b"xhello\0")
    assert sole(ram, image=image).signature == '"hello"'


def test_what_is_no_constant_is_no_signature(tmp_path):
    ram, heap = small_ram()
    low = Section("vectors", 0, bytes(8192), writable=False)
    symbols = [
        Symbol("variable", VARIABLES, 8),
        Symbol("early", 4092, 4),
        Symbol("label", CONSTANTS + 4, 0, "other"),
        Symbol("table", CONSTANTS + 8, 8),
    ]
    image = program(tmp_path, symbols, more=[low])
    ram.put(heap.alloc(200), VARIABLES, 4092, CONSTANTS + 4, *[0] * 13, CONSTANTS + 8)
    assert sole(ram, image=image).signature is None
    assert image.exact_symbol(CONSTANTS + 8).name == "table"


def test_read_only_data_that_was_relocated_is_constant(tmp_path):
    ram, heap = small_ram()
    relocated = Section(".data.rel.ro.local", 0x30000000, bytes(16))
    image = program(tmp_path, [Symbol("ops", 0x30000008, 8)], more=[relocated])
    ram.put(heap.alloc(20), 0x30000008)
    memory = ram.memory()
    memory.add(0x30000000, bytes(16))
    assert sole(ram, image=image, memory=memory).signature == "ops"


@pytest.mark.parametrize(
    ("data", "signature"),
    [
        (b"eth0\0\x9c", '"eth0"'),
        (b"eth0\x9c", None),
        (b"eth\0", None),
        (b"GET /index.html \x9c", '"GET /index.html "'),
        (b"GET /index.html HTTP/1.1 and more", '"GET /index.html HTTP/..."'),
        (b"twelve chars", '"twelve chars"'),
        (b"eleven char", None),
        (b"U" * 40, None),
        (b"just twenty four letters\0", '"just twenty four letters"'),
    ],
)
def test_a_text_at_the_start(data, signature):
    ram, heap = small_ram()
    ram.write(heap.alloc(40), b"\x9c" * 40)
    ram.write(heap.blocks.address[0], data)
    assert sole(ram).signature == signature


def test_the_text_of_a_block_of_k_malloc_is_behind_its_word():
    ram, heap = small_ram()
    ram.write(heap.k_malloc(40), b"eth0\0")
    assert sole(ram).signature == '"eth0"'


def test_a_text_may_fill_the_block_to_its_last_byte():
    ram, heap = small_ram()
    ram.write(heap.alloc(12), b"eleven byte")
    ram.write(heap.alloc(12), b"twelve bytes")
    (found,) = owners_of(ram).heaps
    assert found.signatures == ['"eleven byte"', '"twelve bytes"']


def test_a_pointer_whose_bytes_are_characters_is_no_text():
    ram, heap = small_ram()
    ram.write(heap.alloc(40), b"ABC \0")  # 0x20434241
    memory = ram.memory()
    assert sole(ram, memory=memory).signature == '"ABC "'
    memory.add(0x20434200, bytes(256))
    assert sole(ram, memory=memory).signature is None


# ---------------------------------------------------------------------- what points to it


@BITS
def test_a_variable_holds_a_block(tmp_path, bits):
    ram, heap = small_ram(bits)
    ram.put(VARIABLES + 8, heap.alloc(20))
    owner = sole(ram, image=program(tmp_path, [Symbol("g_ctx", VARIABLES, 32)], bits=bits))
    assert (owner.held_by, owner.root, owner.text) == ("g_ctx+0x8",) * 3
    assert (owner.is_reached, owner.at_start) == (True, True)


def test_without_names_the_address_is_told():
    ram, heap = small_ram()
    ram.put(VARIABLES, heap.alloc(20))
    assert sole(ram).text == f"{VARIABLES:#x}"


@pytest.mark.parametrize(
    ("distance", "is_reached", "at_start"),
    [(-4, False, False), (0, True, True), (4, True, True), (8, True, False), (19, True, False),
     (20, False, False)],
)  # fmt: skip
def test_a_pointer_may_lead_anywhere_into_a_block(distance, is_reached, at_start):
    ram, heap = small_ram()
    ram.put(VARIABLES, heap.alloc(20) + distance)
    owner = sole(ram)
    assert (owner.is_reached, owner.at_start) == (is_reached, at_start)


@pytest.mark.parametrize(("distance", "at_start"), [(0, True), (8, True), (16, False)])
def test_what_k_malloc_returned_is_the_start(distance, at_start):
    ram, heap = small_ram(64)
    ram.put(VARIABLES, heap.k_malloc(40) - 8 + distance)
    owner = sole(ram)
    assert (owner.is_reached, owner.at_start) == (True, at_start)


def test_on_64_bits_nothing_but_the_first_byte_is_the_start():
    ram, heap = small_ram(64)
    ram.put(VARIABLES, heap.alloc(40) + 4)
    assert not sole(ram).at_start


def test_blocks_hold_blocks(tmp_path):
    ram, heap = small_ram()
    first, second, third = (heap.alloc(20) for _ in range(3))
    ram.put(VARIABLES + 4, first)
    ram.put(first + 4, second + 8)
    ram.put(second + 8, third)
    (found,) = owners_of(ram, image=program(tmp_path, [Symbol("list", VARIABLES, 16)])).heaps
    assert [owner.held_by for owner in found] == [
        "list+0x4", f"via block {first:#x}", f"via block {second:#x}"
    ]  # fmt: skip
    assert [owner.text for owner in found] == ["list+0x4", "via list+0x4", "via list+0x4"]
    assert [found.group(i) for i in range(3)] == ["list", "via list", "via list"]
    assert [owner.at_start for owner in found] == [True, False, True]


def test_blocks_that_only_point_at_each_other_are_suspects():
    ram, heap = small_ram()
    first, second, own = (heap.alloc(20) for _ in range(3))
    ram.put(first, second)
    ram.put(second, first)
    ram.put(own, own)
    (found,) = owners_of(ram).heaps
    assert [owner.is_reached for owner in found] == [False] * 3
    assert [owner.held_by for owner in found] == [None] * 3


def test_what_lies_in_free_chunks_and_in_headers_points_to_nothing():
    ram, heap = small_ram()
    freed, kept = heap.alloc(100), heap.alloc(20)
    ram.put(freed + 40, kept)
    heap.free(freed)
    assert [owner.is_reached for owner in owners_of(ram).heaps[0]] == [False]


def test_pointers_lie_at_multiples_of_the_word_size():
    ram, heap = small_ram()
    ram.put(VARIABLES + 2, heap.alloc(20))
    assert sole(ram).is_reached is False


def test_memory_may_begin_and_end_anywhere():
    ram, heap = small_ram()
    block = heap.alloc(20)
    ram.put(VARIABLES, block)
    memory = ram.memory(HEAP, 0x1000)
    memory.add(VARIABLES - 3, bytes(ram.bytes[VARIABLES - RAM - 3 :][:7]))
    assert sole(ram, memory=memory).held_by == f"{VARIABLES:#x}"
    memory = ram.memory(HEAP, 0x1000)
    memory.add(VARIABLES - 3, bytes(ram.bytes[VARIABLES - RAM - 3 :][:6]))
    assert sole(ram, memory=memory).is_reached is None


def test_a_variable_goes_before_a_stack_and_a_start_before_a_middle(tmp_path):
    ram, heap = small_ram()
    block = heap.alloc(60)
    stack, middle, start = VARIABLES, STACKS, STACKS + 0x40
    symbols = [
        Symbol("_k_thread_stack_rx", stack, 64),
        Symbol("g_middle", middle, 4),
        Symbol("g_start", start, 4),
    ]
    image = program(tmp_path, symbols)
    ram.put(stack + 8, block)
    owner = sole(ram, image=image)
    assert (owner.held_by, owner.text) == ("stack of thread rx",) * 2
    ram.put(middle, block + 16)
    owner = sole(ram, image=image)
    assert (owner.held_by, owner.at_start) == ("g_middle", False)
    ram.put(start, block)
    owner = sole(ram, image=image)
    assert (owner.held_by, owner.at_start) == ("g_start", True)


def test_heaps_hold_blocks_of_each_other():
    ram, heap = small_ram()
    other = ram.heap("other", RAM + 0x2000, 0x400, at=RAM + 0x180)
    inner, outer = heap.alloc(20), other.alloc(20)
    ram.put(VARIABLES, outer)
    ram.put(outer, inner)
    first, second = owners_of(ram).heaps
    assert first[0].held_by == f"via block {outer:#x}"
    assert second[0].held_by == f"{VARIABLES:#x}"


def test_a_heap_in_a_block_of_another(tmp_path):
    ram, heap = small_ram()
    lost = heap.alloc(20)
    around = heap.alloc(0x400)
    inner = ram.heap("inner", around + 12, 0x300, at=VARIABLES)
    kept, leaked = inner.alloc(20), inner.alloc(20)
    ram.put(leaked, lost)
    ram.put(around, kept)
    behind = inner.address + inner.size_bytes
    ram.put(behind, kept)
    image = program(tmp_path, [Symbol("inner", VARIABLES, 20)])
    outer, within = owners_of(ram, image=image).heaps
    # The object of the inner heap holds the block around it, which does not hold all in it.
    assert [owner.text for owner in outer] == [None, "inner"]
    assert [owner.is_reached for owner in outer] == [False, True]
    assert [owner.held_by for owner in within] == [f"via block {around:#x}", None]
    ram.put(around, 0)
    assert [owner.is_reached for owner in owners_of(ram).heaps[1]] == [True, False]
    ram.put(behind, 0)
    assert [owner.is_reached for owner in owners_of(ram).heaps[1]] == [False, False]


def test_a_pointer_between_the_blocks_of_an_inner_heap_is_one_to_the_block_around():
    ram, heap = small_ram()
    around = heap.alloc(0x400)
    inner = ram.heap("inner", around + 12, 0x300)
    block = inner.alloc(20)
    ram.put(VARIABLES, block + 40)
    outer, within = owners_of(ram).heaps
    assert outer[0].held_by == f"{VARIABLES:#x}"
    assert not within[0].is_reached


def test_variables_may_lie_in_the_upper_half_of_64_bits():
    ram, heap = small_ram(64)
    first, second = heap.alloc(20), heap.alloc(20)
    ram.put(first, second)
    memory = ram.memory(HEAP, 0x1000)
    memory.add(0xFFFF800000000000, first.to_bytes(8, "little"))
    (found,) = owners_of(ram, memory=memory).heaps
    assert [owner.text for owner in found] == ["0xffff800000000000", "via 0xffff800000000000"]


def test_constants_hold_nothing(tmp_path):
    ram, heap = small_ram()
    constants = heap.alloc(20).to_bytes(4, "little") * 16
    image = program(tmp_path, constants=constants)
    memory = ram.memory()
    memory.add(CONSTANTS, constants)
    assert sole(ram, memory=memory).is_reached is True
    assert sole(ram, memory=memory, image=image).is_reached is False


# ---------------------------------------------------------------------- where it is not known


def test_a_dump_of_the_heap_alone_tells_nothing_of_holders():
    ram, heap = small_ram()
    heap.k_malloc(20)
    found = owners_of(ram, memory=ram.memory(HEAP, 0x1000))
    assert found.note == "what holds the blocks is not known: there is no memory but the heaps"
    owner = found.heaps[0][0]
    assert (owner.is_reached, owner.held_by, owner.text) == (None, None, "k_malloc")


def test_a_variable_that_is_not_in_the_dump_may_hold_a_block(tmp_path):
    ram, heap = small_ram()
    heap.alloc(20)
    more = [Section("ccm_bss", 0x10000000, 64)]
    image = program(tmp_path, more=more)
    found = owners_of(ram, image=image)
    assert found.note == (
        "what holds the blocks is not known:"
        " section ccm_bss at 0x10000000 is not wholly in the dump"
    )
    assert found.heaps[0].is_reached(0) is None
    memory = ram.memory()
    memory.add(0x10000000, bytes(64))
    assert owners_of(ram, image=image, memory=memory).heaps[0].is_reached(0) is False


def test_a_heap_of_the_program_that_is_not_in_the_dump_hides_nothing_else(tmp_path):
    ram, heap = small_ram()
    heap.alloc(20)
    memory = ram.memory(size=HEAP - RAM)
    memory.add(HEAP + 0x1000, bytes(0x2000))
    found = owners_of(ram, image=program(tmp_path), memory=memory)
    assert found.note is None
    assert found.heaps[0].is_reached(0) is False


def test_an_image_at_an_unknown_address():
    ram, heap = small_ram()
    heap.alloc(20)
    found = owners_of(ram, is_based=False)
    assert found.note == "what holds the blocks is not known: nobody told the address of the image"
    assert found.heaps[0].is_reached(0) is None


def test_more_blocks_than_are_followed(monkeypatch):
    ram, heap = small_ram()
    ram.put(VARIABLES, heap.k_malloc(20))
    heap.alloc(20)
    monkeypatch.setattr(owners_module, "MOST_BLOCKS", 1)
    found = owners_of(ram)
    assert found.note == "what holds the blocks is not looked for: more than 1"
    assert [found.heaps[0].text(i) for i in range(2)] == ["k_malloc", None]
    monkeypatch.setattr(owners_module, "MOST_BLOCKS", 2)
    assert owners_of(ram).heaps[0].is_reached(0) is True


def test_a_heap_that_is_only_partly_in_the_dump():
    ram, heap = small_ram()
    first, last = heap.k_malloc(20), heap.alloc(100)
    ram.put(VARIABLES, last)
    ram.put(last + 80, first)
    (whole,) = owners_of(ram).heaps
    assert [owner.is_reached for owner in whole] == [True, True]
    (part,) = owners_of(ram, memory=ram.memory(size=last + 40 - RAM)).heaps
    assert [owner.is_reached for owner in part] == [False, True]
    (part,) = owners_of(ram, memory=ram.memory(size=first - 4 - RAM)).heaps
    assert [owner.call for owner in part] == ["k_heap_alloc", "k_heap_alloc"]
    assert [owner.signature for owner in part] == [None, None]


def test_heaps_may_be_given_in_any_order(tmp_path):
    ram, heap = small_ram()
    other = ram.heap("other", RAM + 0x2000, 0x400, at=RAM + 0x180)
    heap.alloc(20)
    ram.put(VARIABLES, other.alloc(20))
    ram.heaps.reverse()
    memory = ram.memory(size=HEAP - RAM)
    memory.add(HEAP + 0x1000, bytes(0x2000))
    found = owners_of(ram, image=program(tmp_path), memory=memory)
    assert found.note is None
    assert [each.is_reached(0) for each in found.heaps] == [True, False]


@BITS
def test_a_region_may_begin_anywhere_and_be_full(bits):
    ram = Ram(bits=bits)
    heap = ram.heap("my_heap", HEAP + 5, 256, at=OBJECT)
    blocks = []
    while heap.heap.stats().largest_free_bytes >= 2 * ram.width:
        blocks.append(heap.k_malloc(ram.width))
    ram.put(VARIABLES, blocks[-1])
    ram.put(blocks[-1], blocks[-2])
    memory = ram.memory(size=HEAP - RAM)
    memory.add(HEAP + 5, bytes(ram.bytes[HEAP + 5 - RAM :]))
    (found,) = owners_of(ram, memory=memory).heaps
    assert {owner.call for owner in found} == {"k_malloc from my_heap"}
    held = [owner.held_by for owner in found]
    assert held[-2:] == [f"via block {blocks[-1] - ram.width:#x}", f"{VARIABLES:#x}"]
    assert set(held[:-2]) == {None}


def test_no_heap_at_all():
    assert find_owners(Memory(), [], word_bytes=4).heaps == []


# ---------------------------------------------------------------------- against a model


@given(st.data())
def test_reach_is_what_a_plain_search_finds(data):
    bits = data.draw(st.sampled_from((32, 64)))
    ram, heap = small_ram(bits)
    sizes = data.draw(st.lists(st.integers(8, 60), min_size=1, max_size=12))
    starts = [heap.alloc(size) for size in sizes]
    number = st.integers(0, len(starts) - 1)
    edges = data.draw(st.lists(st.tuples(number, number, st.integers(0, 7)), max_size=20))
    roots = data.draw(st.lists(st.tuples(number, st.integers(0, 7)), max_size=3))
    room = dict.fromkeys(range(len(starts)), 0)
    kept = set()
    for source, target, distance in edges:
        if room[source] + ram.width <= sizes[source]:
            ram.put(starts[source] + room[source], starts[target] + distance)
            room[source] += ram.width
            kept.add((source, target))
    for i, (target, distance) in enumerate(roots):
        ram.put(VARIABLES + i * ram.width, starts[target] + distance)
    reached, grown = {target for target, _ in roots}, set()
    while reached != grown:
        grown = set(reached)
        reached |= {target for source, target in kept if source in grown}
    (found,) = owners_of(ram).heaps
    assert {i for i in range(len(starts)) if found.is_reached(i)} == reached
    for i in reached:
        holder = found[i].held_by.removeprefix("via block ")
        sources = {starts[source] for source, target in kept if target == i and source in reached}
        roots_at = {VARIABLES + j * ram.width for j, (target, _) in enumerate(roots) if target == i}
        assert int(holder, 16) in sources | roots_at


# ---------------------------------------------------------------------- tables


def test_groups_have_those_with_most_bytes_first():
    found = grouped(["b", None, "a", "b", "c"], [8, 16, 16, 40, 16])
    assert found == [
        Group("b", 2, 48), Group(None, 1, 16), Group("a", 1, 16), Group("c", 1, 16)
    ]  # fmt: skip


# ---------------------------------------------------------------------- stacks of the kernel's list

KERNEL = """
typedef __SIZE_TYPE__ size_t;
struct _thread_stack_info { size_t start; size_t size; size_t delta; };
struct k_thread { void *links[3]; char name[32]; struct k_thread *next_thread;
                  struct _thread_stack_info stack_info; };
struct z_kernel { void *current; struct k_thread *threads; };
struct z_kernel _kernel = { (void *) 1, 0 };
struct k_thread worker;
struct { void *before; char stack[240]; void *behind; } area;
void _start(void) { for (;;) { } }
"""


def test_stacks_are_those_of_the_kernel_s_threads(tmp_path):
    image = read_image(compile_elf(tmp_path, KERNEL))
    at = {name: image.symbol(name).address for name in ("_kernel", "worker", "area")}
    ram = Ram(bits=64)
    heap = ram.heap("my_heap", HEAP, 0x400)
    first, last, on_stack = (heap.alloc(20) for _ in range(3))

    def words(*values):
        return b"".join(value.to_bytes(8, "little") for value in values)

    contents = {
        "_kernel": words(1, at["worker"]),
        "worker": bytes(24) + b"worker".ljust(32, b"\0") + words(0, at["area"] + 8, 240, 0),
        "area": words(first, first, last, on_stack) + bytes(216) + words(last),
    }
    memory = ram.memory(HEAP, 0x400)
    for section in filter(lambda section: section.writable, image.sections):
        data = bytearray(section.size)
        for name, content in contents.items():
            if section.address <= at[name] < section.end:
                start = at[name] - section.address
                data[start : start + len(content)] = content
        memory.add(section.address, data)
    (found,) = owners_of(ram, memory=memory, image=image).heaps
    stack = "stack of thread worker"
    assert [owner.held_by for owner in found] == ["area", "area+0xf8", stack]


# ---------------------------------------------------------------------- real memory


@pytest.mark.parametrize("path", build.real_files("real/dumps/native", pattern="*.core.gz"))
def test_owners_in_the_memory_of_real_programs(path):
    """Held is what a plain search for pointers holds; k_malloc is where its word is."""
    dump = open_dump(path)
    width = dump.container.bits // 8
    found = find_owners(dump.memory, dump.heaps, word_bytes=width)
    assert found.note is None
    objects = {heap.object_address for heap in dump.heaps}
    regions = [range(heap.address, heap.address + heap.size_bytes) for heap in dump.heaps]
    roots = set()
    for segment in dump.memory.segments:
        for address in range(segment.address, segment.end, width):
            if not any(address in region for region in regions):
                roots.add(dump.memory.word(address, width))
    for heap, known in zip(dump.heaps, found.heaps, strict=True):
        rows = zip(heap.blocks.address, heap.blocks.usable, known, strict=True)
        for start, usable, owner in rows:
            is_direct = any(start <= word < start + usable for word in roots)
            assert is_direct == (owner.held_by is not None and owner.held_by == owner.root)
            is_k_malloc = (owner.call or "").startswith("k_malloc from ")
            assert (dump.memory.word(start, width) in objects) == is_k_malloc


def test_a_real_block_is_held_by_the_variables_of_the_lvgl_library():
    folder = build.real_data("real/dumps/native")
    if folder is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no real/dumps/native")
    dump = open_dump(folder / "n_lvgl_stress.op3000.core.gz")
    (found,) = find_owners(dump.memory, dump.heaps, word_bytes=4).heaps
    reached = [found.is_reached(i) for i in range(len(found))]
    assert (len(reached), reached.count(False)) == (149, 1)


def test_containers_know_whether_their_memory_is_based(tmp_path):
    path = tmp_path / "ram.bin"
    path.write_bytes(bytes(64))
    assert read_container([path]).based is False
    assert read_container([path], base=RAM).based is True
