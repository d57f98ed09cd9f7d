"""Which Zephyr a heap belongs to: release, word size and Kconfig choices.

A :class:`Profile` is what users write; :meth:`Profile.layout` turns it into the frozen
description that the engine, the checker and the dump reader all use.  What each release
does differently is told here and nowhere else, in the table of :meth:`Profile.layout`.

Not here: where a heap lies in one region (``kheap._core.chunk``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from kheap._core.chunk import Layout

__all__ = ["HARDENING_LEVELS", "RELEASES", "Profile"]

RELEASES = (
    "2.6", "2.7", "3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7",
    "4.0", "4.1", "4.2", "4.3", "4.4", "main",
)  # fmt: skip
HARDENING_LEVELS = ("none", "basic", "moderate", "full", "extreme")
HEADERS = ("auto", "small", "big")

_BANNER = re.compile(rb"Zephyr OS (?:build|version) v?([0-9]+)\.([0-9]+)")
_KCONFIG_LINE = re.compile(r"CONFIG_([A-Z0-9_]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Profile:
    """A Zephyr release and the Kconfig choices that its heaps depend on.

    Attributes:
        release: "2.6" to "4.4", or "main": 4.4 without canaries, whose layout there is
            not known.
        bits: Word size, 32 or 64.
        header: "small" (CONFIG_SYS_HEAP_SMALL_ONLY), "big" (.._BIG_ONLY) or "auto".
            64-bit builds are always big.
        runtime_stats: CONFIG_SYS_HEAP_RUNTIME_STATS. Releases before 3.0 have none, so
            there it is always False.
        alloc_loops: CONFIG_SYS_HEAP_ALLOC_LOOPS, at least 1.
        hardening: CONFIG_SYS_HEAP_HARDENING. "full" and "extreme" put a canary behind each
            block and came with 4.4; the lower levels change no byte, so they may be
            chosen for every release.

    Raises:
        ValueError: A value is not one of these, or this release has no such build.
    """

    release: str = "4.4"
    bits: int = 64
    header: str = "auto"
    runtime_stats: bool = True
    alloc_loops: int = 3
    hardening: str = "basic"

    def __post_init__(self) -> None:
        """Refuse what no build of Zephyr can be."""
        _one_of("release", self.release, RELEASES)
        _one_of("bits", self.bits, (32, 64))
        _one_of("header", self.header, HEADERS)
        _one_of("hardening", self.hardening, HARDENING_LEVELS)
        if not isinstance(self.runtime_stats, bool):
            raise TypeError(f"runtime_stats must be True or False, not {self.runtime_stats!r}")
        if not isinstance(self.alloc_loops, int) or not 1 <= self.alloc_loops < 1 << 31:
            raise ValueError(f"alloc_loops must be a number from 1 on, not {self.alloc_loops!r}")
        if self.bits == 64 and self.header == "small":
            raise ValueError("header: 64-bit builds always have big headers")
        if self.hardening in ("full", "extreme") and self.release != "4.4":
            why = (
                "main: the layout of its canaries is not known"
                if self.release == "main"
                else f"{self.release}: canaries came with 4.4"
            )
            raise ValueError(f"hardening={self.hardening} cannot be had on {why}")
        if self.version < (3, 0):
            object.__setattr__(self, "runtime_stats", False)

    @property
    def version(self) -> tuple[int, int]:
        """The release as numbers; main counts as 4.4."""
        major, minor = ("4.4" if self.release == "main" else self.release).split(".")
        return int(major), int(minor)

    def layout(self) -> Layout:
        """The layout of this profile's heaps: every difference between releases, as a switch.

        ======== ==================================================================
        release  what changed
        ======== ==================================================================
        2.6      placement and bytes as today; no statistics, no listeners
        3.0      runtime statistics and listeners; both leave the header out
        4.2      oversized requests are clamped to the heap's units, where before a
                 request just below its size read beyond the bucket table; statistics
                 and events count the header in
        4.4      statistics and events leave header and trailer out, events the gap
                 of aligned blocks too; usable sizes on big heaps forget that gap;
                 hardening levels and canaries
        ======== ==================================================================

        In Zephyr: the releases' ``lib/heap/heap.c``; ``main`` is as 4.4.
        """
        version = self.version
        return Layout(
            word_bytes=self.bits // 8,
            header=self.header,
            stats=self.runtime_stats,
            trailer_units=1 if self.hardening in ("full", "extreme") else 0,
            alloc_loops=self.alloc_loops,
            checks=HARDENING_LEVELS.index(self.hardening),
            clamps=version >= (4, 2),
            counts_header=(4, 2) <= version < (4, 4),
            big_gap=version < (4, 4),
            event_gap=version >= (4, 4),
        )

    @classmethod
    def parse(cls, text: str, *, base: Profile | None = None) -> Profile:
        """Read ``release=4.4,bits=32``: the fields of this class, with commas between.

        Fields not named are as in ``base``, or have their defaults.

        Raises:
            ValueError: An unknown key, or a value that the field cannot take.

        >>> Profile.parse("release=3.7,bits=32").version
        (3, 7)
        """
        values: dict[str, object] = {}
        for item in filter(None, text.split(",")):
            key, separator, value = item.partition("=")
            key = key.strip()
            if not separator or key not in _FIELDS:
                raise ValueError(f"profile: {item!r} is not one of {', '.join(_FIELDS)} = value")
            values[key] = _read_value(key, value.strip())
        return replace(base or cls(), **values)  # type: ignore[arg-type]

    @classmethod
    def from_kconfig(cls, path: str | Path, *, release: str = "4.4") -> Profile:
        """The profile of a ``.config`` file.

        A ``.config`` does not name its Zephyr release, so ``release`` does.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no ``CONFIG_NAME=value`` line, or values no build can have.
        """
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        if not any(map(_KCONFIG_LINE.match, lines)):
            raise ValueError(f"{path}: no CONFIG_NAME=value lines: not a .config")
        return cls.from_config_lines(lines, release=release)

    @classmethod
    def from_config_lines(cls, lines: list[str], *, release: str) -> Profile:
        """The profile of ``CONFIG_NAME=value`` lines; others are passed over."""
        matches = filter(None, map(_KCONFIG_LINE.fullmatch, map(str.strip, lines)))
        options = {name: value.strip('"') for name, value in (m.groups() for m in matches)}
        return profile_of_options(options, release, bits=64 if options.get("64BIT") == "y" else 32)

    @classmethod
    def from_elf(cls, path: str | Path, *, release: str | None = None) -> Profile:
        """The profile of a Zephyr ELF: word size, ``CONFIG_`` symbols, boot banner.

        Zephyr keeps each Kconfig value as an absolute symbol. The release comes from the
        boot banner where the image has one and ``release`` is not given, else it is 4.4.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no ELF file, or has no ``CONFIG_`` symbols.
        """
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection

        with open(path, "rb") as stream:
            try:
                elf = ELFFile(stream)
                table = elf.get_section_by_name(".symtab")
                symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
                options = {
                    symbol.name.removeprefix("CONFIG_"): str(symbol["st_value"])
                    for symbol in symbols
                    if symbol.name.startswith("CONFIG_") and symbol["st_shndx"] == "SHN_ABS"
                }
            except (ELFError, OSError, ValueError, KeyError, AttributeError) as error:
                raise ValueError(f"{path}: not a readable ELF file: {error}") from None
            if not options:
                raise ValueError(f"{path}: no CONFIG_ symbols: not a Zephyr ELF, or stripped")
            if release is None:
                stream.seek(0)
                release = banner_release(stream.read()) or "4.4"
            return profile_of_options(options, release, bits=elf.elfclass)


_FIELDS = tuple(field.name for field in fields(Profile))


def nearest_release(major: int, minor: int) -> str:
    """The release in :data:`RELEASES` that a version number stands for; newer ones are main."""
    name = f"{major}.{minor}"
    return name if name in RELEASES else ("main" if (major, minor) > (4, 4) else "2.6")


def banner_release(image: bytes) -> str | None:
    """The release that the boot banner in an image names; None where there is no banner."""
    banner = _BANNER.search(image)
    return nearest_release(int(banner[1]), int(banner[2])) if banner else None


def profile_of_options(options: dict[str, str], release: str, *, bits: int) -> Profile:
    """The profile of Kconfig names (without ``CONFIG_``) and values.

    Raises:
        ValueError: No build can have these values.
    """

    def is_set(name: str) -> bool:
        return options.get(name, "n") not in ("n", "0", "")

    header = "small" if is_set("SYS_HEAP_SMALL_ONLY") else "auto"
    hardening = "basic"
    if options.get("SYS_HEAP_HARDENING_LEVEL", "").isdigit():
        level = int(options["SYS_HEAP_HARDENING_LEVEL"])
        hardening = HARDENING_LEVELS[min(level, len(HARDENING_LEVELS) - 1)]
    for level_name in HARDENING_LEVELS:
        if is_set(f"SYS_HEAP_HARDENING_{level_name.upper()}"):
            hardening = level_name
    return Profile(
        release=release,
        bits=bits,
        header="big" if is_set("SYS_HEAP_BIG_ONLY") else header if bits == 32 else "auto",
        runtime_stats=is_set("SYS_HEAP_RUNTIME_STATS"),
        alloc_loops=int(options.get("SYS_HEAP_ALLOC_LOOPS", "3"), 0),
        hardening=hardening,
    )


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


def _read_value(key: str, text: str) -> object:
    if key in ("bits", "alloc_loops"):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{key} must be a number, not {text!r}") from None
    if key == "runtime_stats":
        words = {"1": True, "true": True, "yes": True, "y": True, "on": True,
                 "0": False, "false": False, "no": False, "n": False, "off": False}  # fmt: skip
        if text.lower() not in words:
            raise ValueError(f"runtime_stats must be true or false, not {text!r}")
        return words[text.lower()]
    return text
