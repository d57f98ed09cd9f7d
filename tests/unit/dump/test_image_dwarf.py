"""What debug information tells: heaps in variables, and layouts; and where it is damaged."""

from __future__ import annotations

from random import Random
from struct import pack
from typing import NamedTuple
from zlib import compress

import pytest

from helpers.elf_maker import HEAP_TYPES, Section, Symbol, compile_elf, make_elf
from kheap.dump.program._debug_types import MOST_ELEMENTS
from kheap.dump.program.image import read_image
from kheap.errors import DumpError

# ---------------------------------------------------------------------- real programs

PROGRAM = (
    HEAP_TYPES
    + """
#define KEPT __attribute__((used))
#define LISTED __attribute__((used, section("k_heap_area"), aligned(sizeof(void *))))
typedef struct k_heap heap_t;
typedef const volatile heap_t settled_heap_t;
struct inner { int x; struct { struct sys_heap hidden; }; };
struct ctx {
    char id;
    settled_heap_t pool;
    struct inner inner[2];
    union { struct sys_heap as_heap; int as_int; } u;
    struct k_heap *elsewhere;
};
struct holder { void *first; struct sys_heap only; };
struct k_thread {
    struct { union { void *node; struct { signed char prio; }; }; int state; } base;
    char name[32];
};

KEPT char kheap_my_heap[256];
LISTED struct k_heap my_heap = {{0, kheap_my_heap, 256}};
LISTED heap_t second_heap;
KEPT struct ctx ctx;
KEPT static struct sys_heap row[3];
KEPT static heap_t grid[2][2];
KEPT static struct holder holders[2];
KEPT struct k_heap none[0];
KEPT struct ctx *pointer;
KEPT struct k_heap *pointers[4];
KEPT struct k_thread thread;
extern struct k_heap far_heap, bare_heap, wrong_size;

KEPT void *touch(int i)
{
    static struct sys_heap local KEPT;
    volatile struct k_heap automatic;
    automatic.heap.heap = far_heap.heap.heap = bare_heap.heap.heap = 0;
    wrong_size.heap.heap = 0;
    {
        static struct ctx deeper KEPT;
        return i ? (void *)&local : (void *)&deeper;
    }
}
extern char __start_k_heap_area[], __stop_k_heap_area[];
char *bounds[2] = {__start_k_heap_area, __stop_k_heap_area};
void _start(void) { touch(bounds[0] == bounds[1]); }
"""
)
#: Here the types are only declared.
FIRST_FILE = "struct k_heap; struct k_heap *early; struct k_thread; struct k_thread *current;\n"
OTHER_FILE = HEAP_TYPES + "struct k_heap far_heap; static struct sys_heap *unused;\n"
BOUNDS = (
    "-Wl,--defsym=_k_heap_list_start=__start_k_heap_area",
    "-Wl,--defsym=_k_heap_list_end=__stop_k_heap_area",
)
#: Symbols without debug information, as variables of libraries have; "automatic" is not the
#: variable of a function that has this name.
BARE = """__asm__(".comm bare_heap, {size}, 8");
__asm__(".comm automatic, {size}, 8");
__asm__(".comm wrong_size, 4, 8");
"""


class Flavour(NamedTuple):
    """A compiler and its switches."""

    compiler: str
    bits: int
    flags: tuple[str, ...]


CC = ("-no-pie",)
ARM = ("-mcpu=cortex-m3", "-mthumb")
FLAVOURS = {
    "dwarf5": Flavour("cc", 64, (*CC, "-gdwarf-5")),
    "dwarf4": Flavour("cc", 64, (*CC, "-gdwarf-4", "-O2")),
    "dwarf2": Flavour("cc", 64, (*CC, "-gdwarf-2", "-gstrict-dwarf")),
    "bits32": Flavour("cc", 32, (*CC, "-gdwarf-5", "-O2")),
    "zlib": Flavour("cc", 64, (*CC, "-gz=zlib", "-Os")),
    "arm-dwarf4": Flavour("arm-none-eabi-gcc", 32, (*ARM, "-gdwarf-4", "-Os")),
    "arm-dwarf5": Flavour("arm-none-eabi-gcc", 32, (*ARM, "-gdwarf-5", "-O0")),
    "clang": Flavour("clang-14", 64, (*CC, "-gdwarf-5", "-O1")),
}


@pytest.fixture(scope="module", params=FLAVOURS)
def flavour(request):
    return FLAVOURS[request.param]


@pytest.fixture(scope="module")
def image(flavour, tmp_path_factory):
    sources = (FIRST_FILE, PROGRAM, OTHER_FILE, BARE.format(size=5 * flavour.bits // 8))
    path = compile_elf(
        tmp_path_factory.mktemp("program"),
        *sources,
        bits=flavour.bits,
        compiler=flavour.compiler,
        flags=(*flavour.flags, *BOUNDS),
    )
    return read_image(path)


def test_every_heap_of_a_program_is_found(image, flavour):
    word = image.bits // 8

    def at(variable, words=0):
        return image.symbol(variable).address + words * word

    wanted = {
        "my_heap": (at("my_heap"), "k_heap"),
        "second_heap": (at("second_heap"), "k_heap"),
        "far_heap": (at("far_heap"), "k_heap"),
        "bare_heap": (at("bare_heap"), "k_heap"),
        "ctx.pool": (at("ctx", 1), "k_heap"),
        "ctx.inner[0].hidden": (at("ctx", 7), "sys_heap"),
        "ctx.inner[1].hidden": (at("ctx", 11), "sys_heap"),
        "ctx.u.as_heap": (at("ctx", 14), "sys_heap"),
        "row[0]": (at("row"), "sys_heap"),
        "row[1]": (at("row", 3), "sys_heap"),
        "row[2]": (at("row", 6), "sys_heap"),
        "grid[0][0]": (at("grid"), "k_heap"),
        "grid[0][1]": (at("grid", 5), "k_heap"),
        "grid[1][0]": (at("grid", 10), "k_heap"),
        "grid[1][1]": (at("grid", 15), "k_heap"),
        "holders[0].only": (at("holders", 1), "sys_heap"),
        "holders[1].only": (at("holders", 5), "sys_heap"),
    }
    if flavour.compiler.startswith("clang"):
        del wanted["bare_heap"]  # clang says nothing about variables of other files.
    found = {o.name: (o.address, o.kind) for o in image.objects}
    assert {name: found.get(name) for name in wanted} == wanted
    # Static variables of functions: compilers number or qualify their symbols.
    rest = {name: image.symbol_at(found[name][0]) for name in found.keys() - wanted.keys()}
    assert set(rest) == {
        "local", "deeper.pool", "deeper.inner[0].hidden", "deeper.inner[1].hidden",
        "deeper.u.as_heap",
    }  # fmt: skip
    assert "local" in rest["local"]
    assert all("deeper" in rest[name] for name in rest.keys() - {"local"})
    assert [o.address for o in image.objects] == sorted(address for address, _ in found.values())


def test_who_tells_a_heap_and_where_its_region_is(image):
    heaps = {o.name: o for o in image.objects}
    assert heaps["my_heap"].buffer == (image.symbol("kheap_my_heap").address, 256)
    assert heaps["second_heap"].buffer is None
    assert {name: heaps[name].how for name in ("my_heap", "second_heap", "far_heap", "row[1]")} == {
        "my_heap": "the k_heap list",
        "second_heap": "the k_heap list",
        "far_heap": "DWARF: struct k_heap",
        "row[1]": "DWARF: struct sys_heap",
    }
    initial = image.memory.word(heaps["my_heap"].address + 2 * image.bits // 8, image.bits // 8)
    assert initial == 256


def test_offsets_and_sizes_of_structures(image):
    word = image.bits // 8
    wanted = {
        ("k_heap", "wait_q"): 3 * word,
        ("k_heap", "wait_q", "waitq", "tail"): 4 * word,
        ("k_heap", "heap", "init_bytes"): 2 * word,
        ("k_heap",): 0,
        ("heap_t", "wait_q"): 3 * word,
        ("ctx", "pool", "wait_q"): 4 * word,
        ("inner", "hidden", "init_mem"): 2 * word,
        ("k_thread", "base", "prio"): 0,
        ("k_thread", "base", "state"): word,
        ("k_thread", "name"): 2 * word,
        ("k_thread", "no_such"): None,
        ("k_thread", "name", "length"): None,
        ("ctx", "elsewhere", "heap"): None,
        ("z_heap", "end_chunk"): None,
        ("no_such_struct", "x"): None,
    }
    assert {key: image.offset_of(*key) for key in wanted} == wanted
    sizes = ("k_heap", "sys_heap", "ctx", "heap_t", "k_thread", "z_heap", "nothing")
    assert [image.size_of(each) for each in sizes] == [
        5 * word, 3 * word, 18 * word, 5 * word, 2 * word + 32, None, None,
    ]  # fmt: skip


def test_nothing_is_amiss(image, flavour):
    assert image.notes == ["no CONFIG_ symbols: not a Zephyr ELF, or stripped"]
    assert image.bits == flavour.bits


def test_a_program_linked_as_one_unit(tmp_path):
    """With -flto the addresses are in a unit of their own, which names no type."""
    path = compile_elf(
        tmp_path,
        PROGRAM.replace("KEPT static", "static"),
        OTHER_FILE,
        BARE.format(size=40),
        flags=("-no-pie", "-flto", "-ffat-lto-objects", "-O2", *BOUNDS),
    )
    found = {o.name for o in read_image(path).objects}
    assert found >= {"my_heap", "second_heap", "ctx.pool", "local", "deeper.pool", "bare_heap"}


def test_a_heap_that_the_linker_dropped(tmp_path):
    source = HEAP_TYPES + "struct k_heap kept, dropped; void _start(void) { kept.heap.heap = 0; }"
    flags = ("-no-pie", "-O1", "-fdata-sections", "-Wl,--gc-sections")
    image = read_image(compile_elf(tmp_path, source, flags=flags))
    assert [o.name for o in image.objects] == ["kept"]


def test_a_real_program_that_was_stripped(tmp_path):
    source = HEAP_TYPES + "struct k_heap one; void _start(void) { one.heap.heap = 0; }"
    image = read_image(compile_elf(tmp_path, source, flags=("-no-pie", "-Wl,--strip-all")))
    assert image.notes == [
        "no symbols: the file is stripped",
        "no CONFIG_ symbols: not a Zephyr ELF, or stripped",
        "no debug information: heaps are known by their symbols alone",
    ]
    assert image.objects == []


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("struct sys_heap many[1000]", [("", 256)]),
        ("struct { struct sys_heap a[200], b[200]; } many", [(".a", 200), (".b", 56)]),
        ("struct { struct sys_heap a[200]; } many[3]", [("[0].a", 200), ("[1].a", 56)]),
    ],
)
def test_heaps_of_large_variables_are_told_up_to_a_bound(tmp_path, kind, members):
    source = HEAP_TYPES + kind + "; void _start(void) { *(int *)&many = 0; }"
    image = read_image(compile_elf(tmp_path, source, flags=("-no-pie",)))
    wanted = [f"many{path}[{i}]" for path, count in members for i in range(count)]
    assert len(wanted) == MOST_ELEMENTS
    assert [o.name for o in image.objects] == wanted


# ---------------------------------------------------------------------- written byte by byte

UNIT, STRUCTURE, VARIABLE, ARRAY, MEMBER, TYPEDEF, SUBRANGE = 0x11, 0x13, 0x34, 1, 0x0D, 0x16, 0x21
AT = {"sibling": 1, "location": 2, "name": 3, "byte_size": 0xB, "upper_bound": 0x2F,
      "member_location": 0x38, "type": 0x49}  # fmt: skip
FORM = {"data1": 0xB, "string": 8, "ref4": 0x13, "exprloc": 0x18, "data4": 6, "flag": 0x19}
RAM = 0x20000000


def abbreviations(*rows):
    """A table: of each row the tag, whether children follow, and (attribute, form) pairs."""
    table = b""
    for code, (tag, has_children, *attributes) in enumerate(rows, 1):
        table += bytes((code, tag, has_children))
        for name, form in attributes:
            table += bytes((AT.get(name, 0), FORM.get(form, form)))
        table += b"\0\0"
    return table + b"\0"


NAME, SIZE, TYPE = ("name", "string"), ("byte_size", "data1"), ("type", "ref4")
PLACE, LOCATION = ("member_location", "data1"), ("location", "exprloc")
TABLE = abbreviations(
    (UNIT, 1),
    (STRUCTURE, 1, NAME, SIZE),
    (MEMBER, 0, NAME, TYPE, PLACE),
    (VARIABLE, 0, NAME, TYPE, LOCATION),
    (ARRAY, 1, TYPE),
    (SUBRANGE, 0, ("upper_bound", "data4")),
    (TYPEDEF, 0, NAME, TYPE),
    (STRUCTURE, 1, NAME, SIZE, ("sibling", "ref4")),
)
FIRST = 12  # offset of the first entry below that of the unit


def member(name, place, offset):
    return b"\x03" + name + b"\0" + pack("<IB", place, offset)


def variable(name, place, address=RAM):
    return b"\x04" + name + b"\0" + pack("<IBBI", place, 5, 3, address)


def structure(name, size, *members):
    return b"\x02" + name + b"\0" + bytes((size,)) + b"".join(members) + b"\0"


def unit(*entries, table_at=0, version=4):
    body = b"\x01" + b"".join(entries) + b"\0"
    return pack("<IHIB", 7 + len(body), version, table_at, 4) + body


def read(tmp_path, info, table=TABLE, size=64, symbols=(), ram=RAM, **helpers):
    debug = {"debug_info": info, "debug_abbrev": table, **helpers}
    sections = [Section(f".{name}", None, data) for name, data in debug.items()]
    code = Section("text", 0x100, bytes(64), writable=False)
    sections += [code, Section("ram", ram, size)]
    path = make_elf(tmp_path / "zephyr.elf", sections=sections, symbols=symbols)
    return read_image(path)


K_HEAP = structure(b"k_heap", 20)


def test_a_unit_by_hand(tmp_path):
    image = read(tmp_path, unit(K_HEAP, variable(b"one", FIRST)))
    assert [(o.name, o.address) for o in image.objects] == [("one", RAM)]
    assert image.size_of("k_heap") == 20


@pytest.mark.parametrize("address", [RAM - 4, RAM + 45, 0, 0x100])
def test_variables_that_are_not_in_the_target_s_memory(tmp_path, address):
    """Linkers leave the entries of what they dropped, mostly with address 0."""
    assert read(tmp_path, unit(K_HEAP, variable(b"one", FIRST, address))).objects == []


@pytest.mark.parametrize("named", [True, False])
def test_where_memory_begins_at_0_a_symbol_decides(tmp_path, named):
    symbols = [Symbol("one", 0, 20)] if named else []
    info = unit(K_HEAP, variable(b"one", FIRST, 0))
    image = read(tmp_path, info, ram=0, symbols=symbols)
    assert [o.name for o in image.objects] == ["one"] * named


def test_a_list_that_the_size_of_a_heap_does_not_divide(tmp_path):
    symbols = [Symbol("_k_heap_list_start", RAM, kind="other"),
               Symbol("_k_heap_list_end", RAM + 50, kind="other")]  # fmt: skip
    image = read(tmp_path, unit(K_HEAP), symbols=symbols)
    assert image.objects == []
    assert any("its 50 bytes cannot be cut" in note for note in image.notes)


@pytest.mark.parametrize(("form", "last"), [(0x0D, b"\x7f"), (0x0D, b"\x70"), (6, b"\xff" * 4)])
def test_arrays_without_elements(tmp_path, form, last):
    """Compilers write -1 as the last element of ``[0]``, in several forms."""
    table = TABLE.replace(bytes((AT["upper_bound"], 6)), bytes((AT["upper_bound"], form)))
    array = b"\x05" + pack("<I", FIRST) + b"\x06" + last + b"\0"
    place = FIRST + len(K_HEAP)
    info = K_HEAP + array
    ctx = structure(b"ctx", 4, member(b"flexible", place, 4))
    image = read(tmp_path, unit(info, ctx, variable(b"one", FIRST + len(info))), table)
    assert image.objects == []


def test_more_heaps_than_are_told(tmp_path):
    array = b"\x05" + pack("<I", FIRST) + b"\x06" + pack("<I", 255) + b"\0"
    entries = [structure(b"sys_heap", 12), array]
    place = FIRST + len(entries[0])
    entries += [variable(b"v%d" % i, place, RAM + 3072 * i) for i in range(17)]
    image = read(tmp_path, unit(*entries), size=17 * 3072)
    assert len(image.objects) == 4096
    assert "of more than 4,096 heaps, only so many are told" in image.notes


def test_entries_that_refer_to_each_other_too_often(tmp_path, monkeypatch):
    """Thousands of structures, each in the one before and all of them members of one."""
    monkeypatch.setattr("kheap.dump.program._debug_units._LEAST_READS", 1 << 14)
    count = 1500
    inner = b"\x02s\0\x04" * count + b"\0" * count
    top = structure(b"ctx", 4, *(member(b"m", FIRST + 4 * i, 0) for i in range(count)))
    info = unit(inner, top, variable(b"one", FIRST + len(inner)), K_HEAP)
    image = read(tmp_path, info)
    assert image.objects == []
    reason = "the entries refer to each other too often"
    assert f"debug information cannot be read: {reason}" in image.notes


@pytest.mark.parametrize(("kind", "extra"), [(1, 0), (2, 12), (4, 8)])
def test_units_of_dwarf_5(tmp_path, kind, extra):
    body = bytes(extra) + b"\x01" + K_HEAP + variable(b"one", FIRST + 1 + extra) + b"\0"
    info = pack("<IHBBI", 8 + len(body), 5, kind, 4, 0) + body
    image = read(tmp_path, info)
    assert image.size_of("k_heap") == 20
    assert [o.name for o in image.objects] == ["one"]


def test_names_that_share_the_end_of_very_many(tmp_path):
    table = abbreviations((UNIT, 1), (STRUCTURE, 1, ("name", 0x0E), SIZE))
    strings = b"".join(b"%d_k_heap\0" % i for i in range(100))
    entry = b"\x02" + pack("<I", len(strings) - 7) + b"\x14\0"
    image = read(tmp_path, unit(entry), table, debug_str=strings)
    assert image.size_of("k_heap") == 20


def test_units_before_and_behind_a_damaged_one_count(tmp_path):
    sound = [unit(K_HEAP, variable(name, FIRST, RAM + at))
             for name, at in ((b"one", 0), (b"two", 32))]  # fmt: skip
    broken = unit(K_HEAP, b"\x7f" * 20)
    image = read(tmp_path, sound[0] + broken + sound[1])
    assert [o.name for o in image.objects] == ["one", "two"]
    assert "debug information cannot be read: its entries are damaged" in image.notes


@pytest.mark.parametrize("version", [0, 1, 6, 0xFFFF])
def test_units_of_unknown_versions_are_passed_over(tmp_path, version):
    info = unit(b"", version=version) + unit(K_HEAP, variable(b"one", FIRST))
    assert [o.name for o in read(tmp_path, info).objects] == ["one"]


def test_a_unit_longer_than_the_section_ends_the_list(tmp_path):
    info = unit(K_HEAP, variable(b"one", FIRST))
    image = read(tmp_path, info + pack("<IHIB", 1 << 30, 4, 0, 4) + bytes(20))
    assert [o.name for o in image.objects] == ["one"]


def test_a_structure_that_holds_itself(tmp_path):
    place = FIRST + len(K_HEAP)
    members = [member(b"again", place, 0), member(b"x", place, 4), member(b"heap", FIRST, 8)]
    image = read(tmp_path, unit(K_HEAP, structure(b"ctx", 28, *members), variable(b"one", place)))
    assert [(o.name, o.address) for o in image.objects] == [("one.heap", RAM + 8)]
    assert image.offset_of("ctx", "again", "x", "heap") == 12
    assert image.offset_of("ctx", "no_such") is None


def test_anonymous_members_without_end(tmp_path):
    members = [member(b"", FIRST, 0) for _ in range(30)]
    image = read(tmp_path, unit(structure(b"ctx", 20, *members)))
    assert image.offset_of("ctx", "no_such") is None


@pytest.mark.parametrize(("count", "offset"), [(100, 99), (2000, None)])
def test_anonymous_members_in_each_other(tmp_path, count, offset):
    step = len(structure(b"", 20, member(b"", 0, 0)))
    info = b"".join(structure(b"", 20, member(b"", FIRST + step * i, 1)) for i in range(1, count))
    last = structure(b"", 20, member(b"x", FIRST, 0))
    top = b"\x07ctx\0" + pack("<I", FIRST)
    assert read(tmp_path, unit(info, last, top)).offset_of("ctx", "x") == offset


def test_a_typedef_of_itself(tmp_path):
    info = unit(b"\x07sys_heap\0" + pack("<I", FIRST), variable(b"one", FIRST))
    image = read(tmp_path, info)
    assert image.objects == []
    assert image.size_of("sys_heap") is None


def test_arrays_of_arrays_grow_no_larger_than_the_bound(tmp_path):
    info, inner = K_HEAP, FIRST
    for _ in range(6):
        place = FIRST + len(info)
        info += b"\x05" + pack("<I", inner) + b"\x06" + pack("<I", 0x7FFFFFFE) + b"\0"
        inner = place
    image = read(tmp_path, unit(info, variable(b"one", inner)))
    assert image.objects == []  # It would reach beyond memory.
    many = structure(b"ctx", 1, *(member(b"m", inner, 0) for _ in range(50)))
    place = FIRST + len(info)
    assert read(tmp_path, unit(info, many, variable(b"one", place))).objects[0].address == RAM


@pytest.mark.parametrize("behind", [0, 13, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_subtree_that_ends_before_it_begins_or_nowhere(tmp_path, behind):
    entry = b"\x08k_heap\0\x14" + pack("<I", behind) + b"\0"
    image = read(tmp_path, unit(entry, variable(b"one", FIRST)))
    assert image.objects == []
    assert any("has no end" in note for note in image.notes)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (abbreviations((UNIT, 1), (STRUCTURE, 1, NAME, ("name", 0x7E))), "its entries are damaged"),
        (abbreviations((UNIT, 1), (STRUCTURE, 1, *[NAME] * 300)), "more than 256 attributes"),
        (b"\x01\x11\x01\0\0" + b"\xff" * 20, "its entries are damaged"),
        (b"\x01\x11\x01\0\0" + b"\xff" * 5000, "a number of more than 4,096 bytes"),
        (b"\x01\x11", "its entries are damaged"),
        (b"", "its entries are damaged"),
    ],
)
def test_damaged_abbreviations(tmp_path, table, reason):
    image = read(tmp_path, unit(K_HEAP, variable(b"one", FIRST)), table)
    assert image.objects == []
    assert any(note.startswith("debug information cannot be read: ") and reason in note
               for note in image.notes)  # fmt: skip


@pytest.mark.parametrize(
    ("most", "reason"), [(30, "more than 30 bytes of abbreviations"), (1 << 21, None)]
)
def test_more_abbreviations_than_are_read(tmp_path, monkeypatch, most, reason):
    monkeypatch.setattr("kheap.dump.program._debug_units._MOST_ABBREVIATION_BYTES", most)
    image = read(tmp_path, unit(K_HEAP, variable(b"one", FIRST)))
    assert [o.name for o in image.objects] == ["one"] * (reason is None)
    assert (f"debug information cannot be read: {reason}" in image.notes) is (reason is not None)


def test_attributes_without_bytes_are_paid_for(tmp_path, monkeypatch):
    """Each of these entries of a byte has two hundred of them."""
    monkeypatch.setattr("kheap.dump.program._debug_units._LEAST_READS", 1 << 14)
    flags = [("byte_size", 0x19)] * 200
    table = abbreviations((UNIT, 1), (STRUCTURE, 1, NAME, SIZE), (STRUCTURE, 0, *flags))
    image = read(tmp_path, unit(b"\x03" * 1000, K_HEAP), table)
    assert image.size_of("k_heap") is None
    reason = "the entries refer to each other too often"
    assert f"debug information cannot be read: {reason}" in image.notes


def test_more_entries_than_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("kheap.dump.program._debug_units._MOST_READS", 1000)
    info = unit(K_HEAP, variable(b"one", FIRST), *[variable(b"x", FIRST, 0)] * 99)
    image = read(tmp_path, info)
    assert [o.name for o in image.objects] == ["one"]
    reason = "the entries are too many: not all were read"
    assert f"debug information cannot be read: {reason}" in image.notes


def test_siblings_that_lead_backwards_below_one_without(tmp_path):
    """A walk that follows them would not end."""
    inner = b"\x08k_heap\0\x14" + pack("<I", FIRST) + b"\0"
    image = read(tmp_path, unit(b"\x02outer\0\x14" + inner + b"\0", variable(b"one", FIRST)))
    assert image.objects == []
    assert any("has no end" in note for note in image.notes)


@pytest.mark.parametrize("depth", [5, 5000])
def test_entries_in_each_other(tmp_path, depth):
    info = unit(K_HEAP, variable(b"one", FIRST), b"\x02s\0\x04" * depth, b"\0" * depth,
                variable(b"two", FIRST, RAM + 32))  # fmt: skip
    assert [o.name for o in read(tmp_path, info).objects] == ["one", "two"]


def test_a_table_of_abbreviations_somewhere_else(tmp_path):
    image = read(tmp_path, unit(K_HEAP, table_at=1 << 31) + unit(K_HEAP, table_at=len(TABLE) - 1))
    assert "debug information cannot be read: its entries are damaged" in image.notes


def test_more_units_than_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("kheap.dump.program._debug_units._MOST_UNITS", 10)
    sound = unit(K_HEAP, variable(b"one", FIRST))
    assert [o.name for o in read(tmp_path, unit(b"") * 9 + sound).objects] == ["one"]
    image = read(tmp_path, unit(b"") * 10 + sound)
    assert image.objects == []
    assert "debug information cannot be read: more than 10 units" in image.notes


def test_names_in_tables_that_are_not_there(tmp_path):
    table = abbreviations((UNIT, 1), (STRUCTURE, 0, ("name", 0x0E)), (STRUCTURE, 0, ("name", 0x25)))
    strings = b"k_heap\0"
    image = read(tmp_path, unit(b"\x03\x00", b"\x02" + pack("<I", 0)), table, debug_str=strings)
    assert image.size_of("k_heap") is None
    assert "debug information cannot be read: its entries are damaged" in image.notes
    outside = read(tmp_path, unit(b"\x02" + pack("<I", 0), b"\x02" + pack("<I", 99)), table,
                   debug_str=strings)  # fmt: skip
    assert outside.size_of("heap") is None
    assert outside.offset_of("no_such") is None


def test_a_damaged_unit_that_could_name_heaps_in_a_table(tmp_path):
    info = unit(table_at=len(TABLE) + 9) + unit(K_HEAP, variable(b"one", FIRST))
    image = read(tmp_path, info, debug_str=b"k_heap\0", debug_str_offsets=bytes(16))
    assert [o.name for o in image.objects] == ["one"]
    assert "debug information cannot be read: its entries are damaged" in image.notes


def test_compressed_sections_that_grow_too_large_together(tmp_path, monkeypatch):
    monkeypatch.setattr("kheap.dump.program.image.MOST_BYTES", 100_000)
    data = pack("<III", 1, 60_000, 1) + compress(bytes(60_000))
    sections = [Section(f".debug_{name}", None, data, flags=0x800) for name in ("str", "info")]
    notes = read_image(make_elf(tmp_path / "e", sections=sections)).notes
    assert any(".debug_info has 60,000 bytes of the 40,000 that are read" in each for each in notes)


def test_a_compressed_section_that_claims_too_much(tmp_path):
    head = pack("<III", 1, 1 << 30, 1)
    path = make_elf(
        tmp_path / "e", sections=[Section(".debug_info", None, head + b"x" * 50, flags=0x800)]
    )
    notes = read_image(path).notes
    assert any(".debug_info has 1,073,741,824 bytes of the 268,435,456" in each for each in notes)


@pytest.mark.parametrize(("claim", "is_damaged"), [(0, False), (1, False), (2001, True)])
def test_a_compressed_section_of_another_size(tmp_path, claim, is_damaged):
    """No more bytes than it claims are made of it, be it none."""
    data = pack("<III", 1, claim, 1) + compress(bytes(2000))
    notes = read_image(make_elf(tmp_path / "e", sections=[Section(".debug_info", None, data,
                                                                  flags=0x800)])).notes  # fmt: skip
    assert any("section .debug_info is damaged" in each for each in notes) is is_damaged


@pytest.mark.parametrize(("kind", "reason"), [(1, "is damaged"), (2, "not with zlib")])
def test_a_compressed_section_that_is_none(tmp_path, kind, reason):
    head = pack("<III", kind, 100, 1)
    path = make_elf(
        tmp_path / "e", sections=[Section(".debug_info", None, head + b"x" * 50, flags=0x800)]
    )
    notes = read_image(path).notes
    assert any(f"section .debug_info is {reason}" in each or reason in each for each in notes)


def test_debug_information_written_over(tmp_path):
    """Heaps that are found are in memory; nothing but DumpError comes out."""
    path = compile_elf(tmp_path, PROGRAM, BARE.format(size=40), OTHER_FILE,
                       flags=("-no-pie", *BOUNDS))  # fmt: skip
    content = path.read_bytes()
    sound = read_image(path)
    spans = [(s.address, s.end) for s in sound.sections if s.writable]
    random = Random("dwarf")
    changed = 0
    for _ in range(40):
        broken = bytearray(content)
        for _ in range(random.randint(1, 30)):
            at = random.randrange(len(broken) // 3, len(broken))
            broken[at] = random.choice((0, 1, 0x7F, 0xFF, random.randrange(256)))
        path.write_bytes(broken)
        try:
            image = read_image(path)
        except DumpError as error:
            assert "\n" not in str(error)
            continue
        image.offset_of("k_thread", "base", "prio")
        changed += image.objects != sound.objects
        if image.sections == sound.sections:
            assert all(any(a <= o.address < b for a, b in spans) for o in image.objects)
    assert changed
