"""Profiles: what each release does differently, and where a profile can be read from."""

from __future__ import annotations

import dataclasses
import struct
from random import Random

import pytest

import kheap
from kheap.profile import HARDENING_LEVELS, RELEASES, Profile, nearest_release

# ---------------------------------------------------------------------- the release table

# Release: statistics can be kept, requests are clamped, the header is counted, the gap is
# known on big heaps, events leave the gap out.
TABLE = {
    "2.6": (False, False, False, True, False),
    "2.7": (False, False, False, True, False),
    "3.0": (True, False, False, True, False),
    "3.1": (True, False, False, True, False),
    "3.2": (True, False, False, True, False),
    "3.3": (True, False, False, True, False),
    "3.4": (True, False, False, True, False),
    "3.5": (True, False, False, True, False),
    "3.6": (True, False, False, True, False),
    "3.7": (True, False, False, True, False),
    "4.0": (True, False, False, True, False),
    "4.1": (True, False, False, True, False),
    "4.2": (True, True, True, True, False),
    "4.3": (True, True, True, True, False),
    "4.4": (True, True, False, False, True),
    "main": (True, True, False, False, True),
}


def test_the_table_has_every_release():
    assert tuple(TABLE) == RELEASES


@pytest.mark.parametrize("release", TABLE)
def test_what_a_release_does(release):
    layout = Profile(release=release).layout()
    assert (
        layout.stats, layout.clamps, layout.counts_header, layout.big_gap, layout.event_gap
    ) == TABLE[release]  # fmt: skip


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("stats", [False, True])
def test_the_control_block(bits, stats):
    layout = Profile(bits=bits, runtime_stats=stats).layout()
    assert layout.word_bytes == bits // 8
    assert layout.table_byte == 16 + (3 * bits // 8 if stats else 0)


@pytest.mark.parametrize("level", HARDENING_LEVELS)
def test_levels_of_hardening(level):
    layout = Profile(hardening=level).layout()
    assert layout.checks == HARDENING_LEVELS.index(level)
    assert layout.trailer_units == (0, 0, 0, 1, 1)[layout.checks]


def test_the_default():
    assert Profile() == Profile("4.4", 64, "auto", True, 3, "basic")
    assert Profile().layout().alloc_loops == 3


@pytest.mark.parametrize(
    ("release", "version"), [("2.6", (2, 6)), ("3.7", (3, 7)), ("4.4", (4, 4)), ("main", (4, 4))]
)
def test_the_version(release, version):
    assert Profile(release=release).version == version


def test_a_profile_is_frozen_and_can_be_a_key():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Profile().bits = 32
    assert {Profile(): 1}[Profile()] == 1


# ---------------------------------------------------------------------- what no build can be


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"release": "2.5"}, "release must be one of 2.6, .* not '2.5'"),
        ({"release": 4.4}, "release must be one of"),
        ({"bits": 16}, "bits must be one of 32, 64, not 16"),
        ({"header": "huge"}, "header must be one of auto, small, big"),
        ({"hardening": "most"}, "hardening must be one of none, basic"),
        ({"alloc_loops": 0}, "alloc_loops must be a number from 1 on, not 0"),
        ({"alloc_loops": -3}, "alloc_loops"),
        ({"alloc_loops": "3"}, "alloc_loops"),
        ({"header": "small"}, "64-bit builds always have big headers"),
        ({"release": "4.3", "hardening": "full"}, "4.3: canaries came with 4.4"),
        ({"release": "2.6", "hardening": "extreme"}, "2.6: canaries came with 4.4"),
        ({"release": "main", "hardening": "full"}, "main: the layout of its canaries"),
    ],
)
def test_refused(options, match):
    with pytest.raises(ValueError, match=match):
        Profile(**options)


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_statistics_are_kept_or_not(value):
    with pytest.raises(TypeError, match="runtime_stats"):
        Profile(runtime_stats=value)


def test_the_lower_levels_can_be_had_for_every_release():
    for release in RELEASES:
        for level in HARDENING_LEVELS[:3]:
            assert Profile(release=release, hardening=level).layout().trailer_units == 0


def test_alloc_loops_beyond_any_ring():
    assert kheap.SysHeap(512, Profile(alloc_loops=(1 << 31) - 1)).alloc(8)
    with pytest.raises(ValueError, match="alloc_loops"):
        Profile(alloc_loops=1 << 31)


# ---------------------------------------------------------------------- from text


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("", Profile()),
        ("release=3.7,bits=32", Profile(release="3.7", bits=32)),
        (" release = 3.7 , bits = 32 ,", Profile(release="3.7", bits=32)),
        ("header=small,bits=32", Profile(bits=32, header="small")),
        ("runtime_stats=no", Profile(runtime_stats=False)),
        ("runtime_stats=OFF", Profile(runtime_stats=False)),
        ("runtime_stats=1", Profile()),
        ("alloc_loops=5,hardening=full", Profile(alloc_loops=5, hardening="full")),
        ("bits=64,bits=32", Profile(bits=32)),
    ],
)
def test_parse(text, profile):
    assert Profile.parse(text) == profile


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("release", "'release' is not one of release, bits, header, .* = value"),
        ("word=32", "'word=32' is not one of"),
        ("=32", "is not one of"),
        ("bits=thirty", "bits must be a number, not 'thirty'"),
        ("bits=", "bits must be a number, not ''"),
        ("alloc_loops=1.5", "alloc_loops must be a number"),
        ("bits=33", "bits must be one of"),
        ("runtime_stats=maybe", "runtime_stats must be true or false, not 'maybe'"),
        ("release=9.9", "release must be one of"),
        ("hardening=full,release=3.7", "canaries came with 4.4"),
    ],
)
def test_parse_refuses(text, match):
    with pytest.raises(ValueError, match=match):
        Profile.parse(text)


# ---------------------------------------------------------------------- from Kconfig


def config(tmp_path, text):
    path = tmp_path / ".config"
    path.write_text(text, encoding="utf-8")
    return path


FULL_CONFIG = """\
# Generated by Kconfig
CONFIG_ARM=y
# CONFIG_64BIT is not set
CONFIG_BOARD="qemu_cortex_m3"
CONFIG_SYS_HEAP_ALLOC_LOOPS=5
CONFIG_SYS_HEAP_RUNTIME_STATS=y
CONFIG_SYS_HEAP_SMALL_ONLY=y
# CONFIG_SYS_HEAP_BIG_ONLY is not set
CONFIG_SYS_HEAP_HARDENING_MODERATE=y
CONFIG_SYS_HEAP_HARDENING_LEVEL=2
"""


def test_a_config_file(tmp_path):
    path = config(tmp_path, FULL_CONFIG)
    wanted = Profile(release="3.7", bits=32, header="small", alloc_loops=5, hardening="moderate")
    assert Profile.from_kconfig(path, release="3.7") == wanted
    assert Profile.from_kconfig(str(path)).release == "4.4"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["CONFIG_64BIT=y"], {"bits": 64}),
        (["CONFIG_64BIT=y", "CONFIG_SYS_HEAP_SMALL_ONLY=y"], {"bits": 64}),
        (["CONFIG_64BIT=y", "CONFIG_SYS_HEAP_BIG_ONLY=y"], {"bits": 64, "header": "big"}),
        (["CONFIG_SYS_HEAP_BIG_ONLY=y"], {"header": "big"}),
        (["CONFIG_SYS_HEAP_AUTO=y"], {}),
        (["CONFIG_SYS_HEAP_RUNTIME_STATS=n"], {}),
        (["CONFIG_SYS_HEAP_RUNTIME_STATS=y"], {"runtime_stats": True}),
        (["  CONFIG_SYS_HEAP_ALLOC_LOOPS=0x10  "], {"alloc_loops": 16}),
        (["CONFIG_SYS_HEAP_HARDENING_LEVEL=0"], {"hardening": "none"}),
        (["CONFIG_SYS_HEAP_HARDENING_LEVEL=3"], {"hardening": "full"}),
        (["CONFIG_SYS_HEAP_HARDENING_LEVEL=9"], {"hardening": "extreme"}),
        (["CONFIG_SYS_HEAP_HARDENING_EXTREME=y"], {"hardening": "extreme"}),
        (["CONFIG_SYS_HEAP_HARDENING_LEVEL=x"], {}),
        (["nonsense", "", "#", "CONFIG_lower=y", "CONFIG_X"], {}),
    ],
)
def test_config_lines(lines, wanted):
    defaults = {"bits": 32, "runtime_stats": False}
    assert Profile.from_config_lines(lines, release="4.4") == Profile(**{**defaults, **wanted})


def test_64_bits_said_no_to():
    assert Profile.from_config_lines(["CONFIG_64BIT=n"], release="4.4").bits == 32


def test_a_file_without_options_is_no_config(tmp_path):
    with pytest.raises(ValueError, match="config"):
        Profile.from_kconfig(config(tmp_path, "# nothing\n"))


def test_a_config_that_no_build_can_have(tmp_path):
    path = config(tmp_path, "CONFIG_SYS_HEAP_ALLOC_LOOPS=many\n")
    with pytest.raises(ValueError, match="many"):
        Profile.from_kconfig(path)
    path = config(tmp_path, "CONFIG_SYS_HEAP_HARDENING_LEVEL=3\n")
    with pytest.raises(ValueError, match="canaries"):
        Profile.from_kconfig(path, release="3.7")


def test_a_config_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Profile.from_kconfig(tmp_path / "nowhere")


def test_a_config_of_other_bytes(tmp_path):
    path = tmp_path / "config"
    path.write_bytes(b"\xff\xfe\nCONFIG_SYS_HEAP_ALLOC_LOOPS=4\nCONFIG_X=\xc3\n")
    assert Profile.from_kconfig(path).alloc_loops == 4


# ---------------------------------------------------------------------- from an ELF

SHT_SYMTAB, SHT_STRTAB, SHT_PROGBITS = 2, 3, 1
SHN_ABS = 0xFFF1


def elf_image(symbols, *, bits=32, data=b"", table=b".symtab"):
    """An ELF file of four sections: a symbol table, its names, section names, read-only data.

    ``symbols`` maps names to values; a value ``(value, section)`` is not absolute.
    """
    big = bits == 64
    names, rows = b"\0", [bytes(24 if big else 16)]
    for name, value in symbols.items():
        value, section = value if isinstance(value, tuple) else (value, SHN_ABS)
        at = len(names)
        names += name.encode() + b"\0"
        rows.append(
            struct.pack("<IBBHQQ", at, 0x10, 0, section, value, 0)
            if big
            else struct.pack("<IIIBBH", at, value, 0, 0x10, 0, section)
        )
    section_names = b"\0" + table + b"\0.strtab\0.shstrtab\0.rodata\0"
    parts = [b"".join(rows), names, section_names, data]
    kinds = [(SHT_SYMTAB, table), (SHT_STRTAB, b".strtab"), (SHT_STRTAB, b".shstrtab"),
             (SHT_PROGBITS, b".rodata")]  # fmt: skip
    head_bytes, entry = (64, 64) if big else (52, 40)
    body, headers = b"", [bytes(entry)]
    for part, (kind, name) in zip(parts, kinds, strict=True):
        link = 2 if kind == SHT_SYMTAB else 0
        row = len(rows[0]) if kind == SHT_SYMTAB else 0
        place = (section_names.index(name), kind, 0, 0, head_bytes + len(body), len(part))
        headers.append(
            struct.pack("<IIQQQQIIQQ" if big else "<10I", *place, link, 1 if row else 0, 1, row)
        )
        body += part
    identity = b"\x7fELF" + bytes([2 if big else 1, 1, 1]) + bytes(9)
    tail = (head_bytes + len(body), 0, head_bytes, 0, 0, entry, 5, 3)
    head = struct.pack("<HHIQQQIHHHHHH" if big else "<HHIIIIIHHHHHH", 2, 40, 1, 0, 0, *tail)
    return identity + head + body + b"".join(headers)


CONFIG_SYMBOLS = {
    "CONFIG_SYS_HEAP_ALLOC_LOOPS": 4,
    "CONFIG_SYS_HEAP_RUNTIME_STATS": 1,
    "CONFIG_SYS_HEAP_SMALL_ONLY": 1,
    "main": (0x8000, 1),
    "CONFIG_SYS_HEAP_HARDENING_LEVEL": (4, 1),
}


def elf(tmp_path, *arguments, **options):
    path = tmp_path / "zephyr.elf"
    path.write_bytes(elf_image(*arguments, **options))
    return path


def test_a_32_bit_elf(tmp_path):
    wanted = Profile(bits=32, header="small", alloc_loops=4)
    assert Profile.from_elf(elf(tmp_path, CONFIG_SYMBOLS)) == wanted


def test_a_64_bit_elf(tmp_path):
    wanted = Profile(alloc_loops=4)
    assert Profile.from_elf(str(elf(tmp_path, CONFIG_SYMBOLS, bits=64))) == wanted


@pytest.mark.parametrize(
    ("banner", "release"),
    [
        (b"*** Booting Zephyr OS build v3.7.0-rc2 ***", "3.7"),
        (b"*** Booting Zephyr OS build zephyr-v2.6.0 ***", "4.4"),
        (b"*** Booting Zephyr OS version 2.7.99 ***", "2.7"),
        (b"Zephyr OS build 4.4.0", "4.4"),
        (b"Zephyr OS build v4.5.0", "main"),
        (b"Zephyr OS build v5.0.0", "main"),
        (b"Zephyr OS build v2.4.0", "2.6"),
        (b"nothing", "4.4"),
    ],
)
def test_the_banner_names_the_release(tmp_path, banner, release):
    path = elf(tmp_path, CONFIG_SYMBOLS, data=b"\0" * 9 + banner + b"\0")
    assert Profile.from_elf(path).release == release
    assert Profile.from_elf(path, release="4.0").release == "4.0"


@pytest.mark.parametrize(
    ("version", "release"),
    [((2, 5), "2.6"), ((2, 6), "2.6"), ((4, 4), "4.4"), ((4, 5), "main"), ((9, 0), "main")],
)
def test_the_nearest_release(version, release):
    assert nearest_release(*version) == release


def test_an_elf_without_configuration(tmp_path):
    for path in (
        elf(tmp_path, {"main": (0x8000, 1)}),
        elf(tmp_path, CONFIG_SYMBOLS, table=b".symtob"),
    ):
        with pytest.raises(ValueError, match="no CONFIG_ symbols: not a Zephyr ELF, or stripped"):
            Profile.from_elf(path)


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF", b"\x7fELF" + bytes(100), b"CONFIG_X=y"])
def test_what_is_no_elf(tmp_path, data):
    path = tmp_path / "zephyr.elf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"zephyr\.elf: not a readable ELF file"):
        Profile.from_elf(path)


def test_an_elf_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Profile.from_elf(tmp_path / "nowhere")


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_cut_short(tmp_path, bits):
    image = elf_image(CONFIG_SYMBOLS, bits=bits)
    path = tmp_path / "zephyr.elf"
    for count in range(0, len(image), 17):
        path.write_bytes(image[:count])
        with pytest.raises(ValueError, match=r"zephyr\.elf: "):
            Profile.from_elf(path)


def test_an_elf_that_leads_nowhere(tmp_path):
    image = bytearray(elf_image(CONFIG_SYMBOLS, bits=64))
    first_section = len(image) - 4 * 64
    image[first_section + 24 + 6] = 0x80
    path = tmp_path / "zephyr.elf"
    path.write_bytes(image)
    with pytest.raises(ValueError, match=r"zephyr\.elf: "):
        Profile.from_elf(path)


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_written_over(tmp_path, bits):
    """It is read, or refused; the reader's own errors do not come through."""
    image = elf_image(CONFIG_SYMBOLS, bits=bits)
    path = tmp_path / "zephyr.elf"
    random = Random(f"elf/{bits}")
    refused = 0
    for _ in range(20):
        broken = bytearray(image)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(broken))
            broken[at] = random.choice((0, 1, 0xFF, random.randrange(256)))
        path.write_bytes(broken)
        try:
            Profile.from_elf(path)
        except (ValueError, OSError):
            refused += 1
    assert refused
