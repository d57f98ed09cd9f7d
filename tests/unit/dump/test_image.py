"""What an ELF's header, sections and symbols tell; debug information: ``test_image_dwarf.py``."""

from __future__ import annotations

from random import Random

import pytest

from helpers.elf_maker import NOBITS, Section, Symbol, make_elf
from kheap.dump.program.image import default_offset, read_image
from kheap.errors import DumpError
from kheap.profile import Profile

RAM = 0x20000000
CODE = Section("text", 0x100, bytes(range(64)), writable=False)
DATA = Section("ram", RAM, bytes(range(200)))
NOINIT = Section("noinit", RAM + 0x1000, 4096)
BASICS = (CODE, DATA, NOINIT)


def k_heap_list(count, size, at=RAM):
    """The symbols around so many objects of k_heap."""
    return [
        Symbol("_k_heap_list_start", at, kind="other"),
        Symbol("_k_heap_list_end", at + count * size, kind="other"),
    ]


def read(tmp_path, symbols=(), sections=BASICS, **options):
    return read_image(
        make_elf(tmp_path / "zephyr.elf", symbols=symbols, sections=sections, **options)
    )


# ---------------------------------------------------------------------- what kind of program


@pytest.mark.parametrize(
    ("machine", "bits"),
    [("arm", 32), ("arm64", 64), ("riscv", 32), ("x86", 32), ("x86_64", 64), ("xtensa", 32)],
)
def test_machine_and_word_size(tmp_path, machine, bits):
    image = read(tmp_path, machine=machine, bits=bits)
    assert (image.machine, image.bits) == (machine, bits)
    assert image.path == str(tmp_path / "zephyr.elf")


def test_the_profile_comes_from_symbols_and_banner(tmp_path):
    config = {"SYS_HEAP_ALLOC_LOOPS": 5, "SYS_HEAP_SMALL_ONLY": 1}
    banner = Section("rodata", 0x4000, b"*** Booting Zephyr OS build v3.7.0 ***\0", writable=False)
    image = read(tmp_path, sections=[*BASICS, banner], config=config)
    wanted = Profile("3.7", 32, "small", runtime_stats=False, alloc_loops=5)
    assert image.profile == wanted == Profile.from_elf(image.path)
    assert image.config == {"SYS_HEAP_ALLOC_LOOPS": "5", "SYS_HEAP_SMALL_ONLY": "1"}
    assert not any("banner" in note for note in image.notes)


def test_without_a_banner_the_release_is_said_to_be_assumed(tmp_path):
    image = read(tmp_path, config={"SYS_HEAP_RUNTIME_STATS": 1})
    assert image.profile == Profile("4.4", 32, runtime_stats=True)
    assert "no boot banner tells the Zephyr release: taken to be 4.4" in image.notes


def test_without_configuration_there_is_no_profile(tmp_path):
    image = read(tmp_path, [Symbol("main", 0x100, 4, "func")])
    assert image.profile is None
    assert "no CONFIG_ symbols: not a Zephyr ELF, or stripped" in image.notes


def test_a_configuration_that_no_heap_can_have(tmp_path):
    banner = Section("rodata", 0x4000, b"Zephyr OS build v3.7.0", writable=False)
    image = read(tmp_path, sections=[banner], config={"SYS_HEAP_HARDENING_LEVEL": 4})
    assert image.profile is None
    assert any("3.7: canaries came with 4.4" in note for note in image.notes)


def test_a_stripped_program_still_has_memory(tmp_path):
    image = read(tmp_path, None)
    assert "no symbols: the file is stripped" in image.notes
    assert image.symbol_at(RAM) is None
    assert image.memory.word(RAM + 4, 4) == 0x07060504
    assert image.objects == []


# ---------------------------------------------------------------------- memory and sections


def test_memory_holds_contents_at_their_run_addresses(tmp_path):
    comment = Section("comment", None, b"not in memory")
    image = read(tmp_path, sections=[NOINIT, DATA, comment, CODE])
    assert bytes(image.memory.read(0x100, 64)) == bytes(range(64))
    assert bytes(image.memory.read(RAM + 10, 3)) == b"\x0a\x0b\x0c"
    assert image.memory.word(RAM + 0x1000, 1) is None
    assert [(s.name, s.address, s.size, s.writable) for s in image.sections] == [
        ("text", 0x100, 64, False),
        ("ram", RAM, 200, True),
        ("noinit", RAM + 0x1000, 4096, True),
    ]


def test_thread_local_sections_are_in_no_fixed_place(tmp_path):
    image = read(tmp_path, sections=[Section("tdata", 0x100, b"abcd", flags=0x400)])
    assert image.sections == []
    assert image.memory.byte_count == 0


def test_what_shares_bytes_with_a_range(tmp_path):
    symbols = [
        Symbol("buffer", RAM + 0x1000, 1024),
        Symbol("small", RAM + 0x1010, 4),
        Symbol("beside", RAM + 0x1800, 8),
        Symbol("label", RAM + 0x1010, kind="other"),
        Symbol("code", 0x100, 64, "func"),
    ]
    image = read(tmp_path, symbols)

    def names(start, end):
        return [each.name for each in image.overlapping(start, end)]

    assert names(RAM + 0x1000, RAM + 0x1800) == ["noinit", "buffer", "small"]
    assert names(RAM + 0x1014, RAM + 0x1015) == ["noinit", "buffer"]
    assert names(0x100, 0x104) == ["text"]
    assert names(RAM + 200, RAM + 0x1000) == []


# ---------------------------------------------------------------------- symbols


def test_the_innermost_symbol_around_an_address(tmp_path):
    symbols = [
        Symbol("outer", RAM, 64),
        Symbol("inner", RAM + 16, 16),
        Symbol("tail", RAM + 56, 32),
        Symbol("label", RAM + 120, kind="other"),
        Symbol("tls", RAM + 130, 4, "tls"),
    ]
    image = read(tmp_path, symbols)
    wanted = {
        0: "outer", 15: "outer+0xf", 16: "inner", 31: "inner+0xf", 32: "outer+0x20",
        56: "tail", 87: "tail+0x1f", 88: None, 120: "label", 121: None, 130: None, -1: None,
    }  # fmt: skip
    assert {offset: image.symbol_at(RAM + offset) for offset in wanted} == wanted


@pytest.mark.parametrize("seed", range(4))
def test_symbols_around_an_address_agree_with_a_search_of_all(tmp_path, seed):
    random = Random(seed)
    symbols = [
        Symbol(f"s{i}", RAM + random.randrange(180), random.randint(1, 40)) for i in range(30)
    ]
    image = read(tmp_path, symbols)
    for address in range(RAM - 2, RAM + 230):
        around = [s for s in symbols if s.address <= address < s.address + s.size]
        told = image.symbol_at(address)
        if not around:
            assert told is None
            continue
        # The latest start, then the earliest end; which of equal ones is told may be any.
        best = min((-s.address, s.size) for s in around)
        name, _, distance = told.partition("+")
        symbol = next(s for s in symbols if s.name == name)
        assert (-symbol.address, symbol.size) == best
        assert int(distance or "0", 16) == address - symbol.address


def test_sized_symbols_go_before_labels_and_global_ones_before_local(tmp_path):
    symbols = [
        Symbol("_image_ram_start", RAM, kind="other"),
        Symbol("buffer", RAM, 16),
        Symbol("alias", RAM, 16, binding="local"),
        Symbol("state", RAM + 32, 4, binding="local"),
        Symbol("state", RAM + 64, 4),
        Symbol("state", RAM + 96, 4, binding="weak"),
        Symbol("start", 0x100, kind="other"),
        Symbol("reset", 0x100, kind="func", binding="local"),
        Symbol("mark", RAM + 128),
        Symbol("count", RAM + 128, 4, binding="local"),
    ]
    image = read(tmp_path, symbols)
    assert image.exact_symbol(RAM).name == image.symbol_at(RAM) == "buffer"
    assert image.symbol_at(0x100) == "reset"
    assert image.exact_symbol(RAM + 128).name == "count"
    assert image.symbol("state") == ("state", RAM + 64, 4, "object")
    assert image.symbol("_image_ram_start").address == RAM
    assert image.symbol("nobody") is None
    assert image.exact_symbol(RAM + 1) is None


def test_absolute_symbols_have_a_name_but_are_at_no_address(tmp_path):
    image = read(tmp_path, [Symbol("_ram_size", 0x100, is_absolute=True)], config={"X": 0x104})
    assert image.symbol("_ram_size").address == 0x100
    assert image.symbol_at(0x100) is image.symbol_at(0x104) is None


def test_thumb_code_is_told_without_its_bit(tmp_path):
    symbols = [
        Symbol("$t", 0x100, kind="other"),
        Symbol("f", 0x101, 16, "func"),
        Symbol("d", RAM, 4),
    ]
    arm, riscv = read(tmp_path, symbols), read(tmp_path, symbols, machine="riscv")
    assert [arm.symbol_at(each) for each in (0x100, 0x101, 0x107)] == ["f", "f", "f+0x6"]
    assert arm.symbol_at(RAM + 1) == "d+0x1"
    assert riscv.symbol_at(0x101) == "f"
    assert riscv.symbol_at(0x100) is None


# ---------------------------------------------------------------------- heaps


@pytest.mark.parametrize(("bits", "size"), [(32, 20), (32, 24), (32, 28), (64, 40), (64, 48)])
def test_the_k_heap_list_is_cut_by_the_size_of_its_symbols(tmp_path, bits, size):
    names = ["_system_heap", "audio_heap", "net_heap"]
    symbols = [Symbol(name, RAM + size * i, size) for i, name in enumerate(names)]
    symbols += [Symbol("kheap_audio_heap", RAM + 0x1000, 512, binding="local")]
    image = read(tmp_path, symbols + k_heap_list(3, size), bits=bits)
    assert [(o.name, o.address, o.kind, o.buffer, o.how) for o in image.objects] == [
        ("_system_heap", RAM, "k_heap", None, "the k_heap list"),
        ("audio_heap", RAM + size, "k_heap", (RAM + 0x1000, 512), "the k_heap list"),
        ("net_heap", RAM + 2 * size, "k_heap", None, "the k_heap list"),
    ]


@pytest.mark.parametrize(
    ("bits", "length", "count"), [(32, 40, 2), (32, 72, 3), (64, 96, 2), (64, 80, 2)]
)
def test_a_list_without_symbols_is_cut_by_the_one_size_that_divides_it(
    tmp_path, bits, length, count
):
    image = read(tmp_path, k_heap_list(1, length), bits=bits)
    step = length // count
    assert [o.name for o in image.objects] == [f"k_heap@{RAM + step * i:#x}" for i in range(count)]


@pytest.mark.parametrize("length", [120, 33, 20 * 4099])
def test_a_list_of_an_unknown_size_is_said_not_to_be_read(tmp_path, length):
    sections = [Section("ram", RAM, 1 << 20)]
    image = read(tmp_path, k_heap_list(1, length), sections)
    assert image.objects == []
    reason = f"its {length:,} bytes cannot be cut into up to 4,096 heaps of one size"
    assert f"the k_heap list at 0x20000000 is not read: {reason}" in image.notes


def test_a_symbol_of_another_size_does_not_name_a_heap_in_the_list(tmp_path):
    symbols = [Symbol("heaps", RAM, 40), Symbol("last", RAM + 40, 20)]
    image = read(tmp_path, [*symbols, *k_heap_list(3, 20)])
    assert [o.name for o in image.objects] == ["k_heap@0x20000000", "k_heap@0x20000014", "last"]


def test_heaps_are_in_memory_that_the_program_may_write_to(tmp_path):
    symbols = [Symbol("_system_heap", 0x100, 20), Symbol("z_malloc_heap", RAM + 192, 12)]
    assert read(tmp_path, [*symbols, *k_heap_list(2, 20, at=0x110)]).objects == []


def test_an_empty_list_and_one_upside_down(tmp_path):
    assert read(tmp_path, k_heap_list(0, 20)).objects == []
    start, end = k_heap_list(2, 20)
    swapped = [start._replace(address=end.address), end._replace(address=start.address)]
    assert read(tmp_path, swapped).objects == []


def test_heaps_that_symbols_alone_tell(tmp_path):
    symbols = [
        Symbol("_system_heap", RAM, 20),
        Symbol("kheap__system_heap", RAM + 0x1000, 1024),
        Symbol("z_malloc_heap", RAM + 32, 12, binding="local"),
        Symbol("lost", RAM + 64, 24),
        Symbol("kheap_nothing", RAM + 0x1D00, 64),
        Symbol("kheap_lost", RAM + 0x1800, 64),
        Symbol("no_object", RAM + 96, 4),
        Symbol("kheap_no_object", RAM + 0x1C00, 64),
    ]
    image = read(tmp_path, symbols)
    assert [(o.name, o.kind, o.buffer, o.how) for o in image.objects] == [
        ("_system_heap", "k_heap", (RAM + 0x1000, 1024), "its symbol"),
        ("z_malloc_heap", "sys_heap", None, "its symbol"),
        ("lost", "k_heap", (RAM + 0x1800, 64), "its symbol"),
    ]


def test_a_libc_heap_of_another_size_is_none(tmp_path):
    assert read(tmp_path, [Symbol("z_malloc_heap", RAM, 16)]).objects == []


def test_two_heaps_of_one_name_are_told_apart(tmp_path):
    symbols = [
        Symbol("pool", RAM, 20, binding="local"),
        Symbol("pool", RAM + 20, 20, binding="local"),
        Symbol("kheap_pool", RAM + 0x1000, 64, binding="local"),
        Symbol("kheap_pool", RAM + 0x1100, 64, binding="local"),
    ]
    image = read(tmp_path, symbols + k_heap_list(2, 20))
    assert [o.name for o in image.objects] == ["pool@0x20000000", "pool@0x20000014"]
    assert [o.buffer for o in image.objects] == [None, None]


def test_the_array_of_pointers_to_heaps(tmp_path):
    symbols = [Symbol("heaps", RAM + 8, 16, binding="local"), Symbol("heaps", RAM + 40, 8)]
    assert read(tmp_path, symbols, config={"SYS_HEAP_ARRAY_SIZE": 4}).heap_array == (RAM + 8, 4)
    assert read(tmp_path, symbols, config={"SYS_HEAP_ARRAY_SIZE": 3}).heap_array is None
    assert read(tmp_path, symbols).heap_array is None
    two = read(
        tmp_path, [*symbols, Symbol("heaps", RAM + 80, 16)], config={"SYS_HEAP_ARRAY_SIZE": 4}
    )
    assert two.heap_array is None
    assert "there are 2 arrays 'heaps' of 16 bytes: not used" in two.notes


def test_layouts_without_debug_information(tmp_path):
    image = read(tmp_path)
    assert image.offset_of("k_heap", "wait_q") is image.size_of("k_heap") is None
    assert "no debug information: heaps are known by their symbols alone" in image.notes
    assert default_offset(32, "sys_heap", "init_bytes") == 8
    assert default_offset(64, "sys_heap", "init_mem") == 8
    assert default_offset(64, "k_heap", "wait_q") == 24
    assert default_offset(64, "k_heap", "lock") is None


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"order": ">"}, "big-endian"),
        ({"kind": 1}, "an object file, which is not linked"),
        ({"kind": 4}, "a core file: give it as the dump"),
        ({"kind": 9}, "of type 9, not a program"),
    ],
)
def test_what_is_no_linked_program(tmp_path, options, reason):
    with pytest.raises(DumpError, match=rf"zephyr\.elf: not a readable ELF file: {reason}"):
        read(tmp_path, **options)


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF", b"\x7fELF\x05\x01", b"\x7fELF\x01\x01"])
def test_what_is_no_elf(tmp_path, data):
    path = tmp_path / "zephyr.elf"
    path.write_bytes(data)
    with pytest.raises(DumpError, match=r"zephyr\.elf: not a readable ELF file: ."):
        read_image(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        read_image(tmp_path / "nowhere")


@pytest.mark.parametrize("bits", [32, 64])
def test_a_program_cut_short(tmp_path, bits):
    path = make_elf(tmp_path / "zephyr.elf", bits=bits, sections=BASICS)
    content = path.read_bytes()
    for count in range(0, len(content), 17):
        path.write_bytes(content[:count])
        with pytest.raises(DumpError, match=r"zephyr\.elf: not a readable ELF file: ."):
            read_image(path)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    path = make_elf(tmp_path / "e", sections=BASICS)
    monkeypatch.setattr("kheap.dump.program.image.MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(DumpError, match=r"e: more than the [\d,]+ bytes that a program may have"):
        read_image(path)


def test_too_many_sections(tmp_path):
    path = make_elf(tmp_path / "e", symbols=None, sections=[Section("s", None, b"")] * 9_999)
    with pytest.raises(DumpError, match="damaged: 10,001 section headers of 40 bytes at byte"):
        read_image(path)


def test_section_headers_that_are_too_short(tmp_path):
    path = make_elf(tmp_path / "e", sections=BASICS)
    content = bytearray(path.read_bytes())
    content[46] = 8
    path.write_bytes(content)
    with pytest.raises(DumpError, match="damaged: 7 section headers of 8 bytes at byte"):
        read_image(path)


def changed(path, *, section, field, value):
    """Overwrite a 32-bit field of a 32-bit ELF's section header."""
    content = bytearray(path.read_bytes())
    headers = int.from_bytes(content[32:36], "little")
    at = headers + 40 * section + 4 * field
    content[at : at + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_section_beyond_the_file(tmp_path):
    path = changed(make_elf(tmp_path / "e", sections=BASICS), section=2, field=5, value=1 << 31)
    with pytest.raises(
        DumpError, match=r"section ram ends at byte 2,147,483,\d+ of .*: it was cut short"
    ):
        read_image(path)


def test_sections_that_share_the_bytes_of_the_file(tmp_path):
    sections = [Section(f"s{i}", 0x1000 * i, bytes(100)) for i in range(1, 20)]
    path = make_elf(tmp_path / "e", sections=sections)
    for number in range(1, 20):
        changed(path, section=number, field=4, value=52)
        changed(path, section=number, field=5, value=path.stat().st_size - 52)
    with pytest.raises(DumpError, match="its sections overlap"):
        read_image(path)


def test_tables_of_symbols_that_are_only_reserved(tmp_path):
    """They have no bytes in the file, so none are made up for them."""
    path = make_elf(tmp_path / "e", symbols=[Symbol("main", 0x100)], sections=[CODE])
    for number in (2, 3):
        changed(path, section=number, field=1, value=2 if number == 2 else NOBITS)
        changed(path, section=number, field=5, value=0x7FFFFFFF if number == 3 else 32)
    with pytest.raises(DumpError, match=r"section \.strtab has 2,147,483,647 bytes of the"):
        read_image(path)
    changed(path, section=3, field=5, value=1000)
    assert read_image(path).symbol("main") is None


def test_a_table_of_symbols_without_names(tmp_path):
    path = make_elf(tmp_path / "e", symbols=[Symbol("main", 0x100)], sections=[CODE])
    assert read_image(changed(path, section=2, field=6, value=5)).notes[0].startswith("no symbols")


@pytest.mark.parametrize("bits", [32, 64])
def test_a_program_written_over(tmp_path, bits):
    """It is read, or refused with one line."""
    symbols = [Symbol("_system_heap", RAM, 20), *k_heap_list(2, 20), Symbol("f", 0x100, 8, "func")]
    path = make_elf(tmp_path / "zephyr.elf", bits=bits, symbols=symbols, sections=BASICS)
    content = path.read_bytes()
    random = Random(f"image/{bits}")
    outcomes = set()
    for _ in range(50):
        broken = bytearray(content)
        for _ in range(random.randint(1, 4)):
            at = random.choice((random.randrange(64), random.randrange(len(broken))))
            broken[at] = random.choice((0, 1, 0xFF, random.randrange(256)))
        path.write_bytes(broken)
        try:
            image = read_image(path)
            image.symbol_at(RAM)
            outcomes.add("read")
        except DumpError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
