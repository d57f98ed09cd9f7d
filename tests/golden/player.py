"""Plays a golden file on kheap and compares every recorded answer.

The format stands in ``tests/data/golden/README.md``.  A :class:`Player` holds one heap and the
blocks by id; each row's letter names the method that plays it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import kheap
from helpers import spelling
from helpers.spelling import Build

DATA = Path(__file__).parent.parent / "data" / "golden"
NULL = -1


def read_golden(path: Path) -> tuple[dict, list, dict | None]:
    """The header, the rows and the final object (limits files have none)."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    final = lines.pop() if isinstance(lines[-1], dict) else None
    return lines[0], lines[1:], final


def profile_of(header: dict, hardening: str | None = None) -> kheap.Profile:
    """The profile that a golden file was recorded with, or one that checks more or less."""
    cfg = header["cfg"]
    return kheap.Profile(
        release="4.4",
        bits=8 * header["ptr"],
        header="big" if cfg["big_only"] else "auto",
        runtime_stats=cfg["stats"],
        alloc_loops=cfg["alloc_loops"],
        hardening=hardening or ("full" if cfg.get("canaries") else "basic"),
    )


def build_of(header: dict) -> Build:
    """The same for the second reader, which knows no profiles."""
    cfg = header["cfg"]
    return Build(
        word_bytes=header["ptr"],
        stats=cfg["stats"],
        trailer_units=1 if cfg.get("canaries") else 0,
        header="big" if cfg["big_only"] else "auto",
    )


class Player:
    """One golden trace on its way through a heap."""

    def __init__(self, header: dict, hardening: str | None = None) -> None:
        self.header = header
        self.build = build_of(header)
        self.address = header["base"] + header["region_offset"]
        self.region = bytearray([header["fill"]]) * header["heap_size"]
        self.heap = kheap.SysHeap(
            self.region, profile=profile_of(header, hardening), base_address=self.address
        )
        self.blocks: dict[int, tuple[int, int]] = {}
        self.events: list[list] = []
        if header["cfg"]["listener"]:
            self.heap.add_listener(self.hear)
        self.plays = {
            "a": self.play_alloc, "A": self.play_aligned_alloc, "r": self.play_realloc,
            "R": self.play_aligned_realloc, "f": self.play_free, "u": self.play_usable,
            "s": self.play_stats, "v": self.play_check, "x": self.play_reset,
            "w": self.play_write, "c": self.play_crc,
        }  # fmt: skip

    def hear(self, kind: str, offset: int, count: int) -> None:
        """Listener: note an event as a golden row spells it."""
        self.events.append(["E+" if kind == "alloc" else "E-", offset, count])

    def play(self, rows: list) -> None:
        """Play all rows; an ``AssertionError`` names the first row that differs."""
        for index, row, events in with_events(rows):
            self.raises = index % 8 == 0
            want, got = self.plays[row[0]](*row[1:])
            assert got == want, f"row {index}, {row}: kheap says {got}; {self.picture()}"
            if events or self.events:
                heard, self.events = self.events, []
                assert heard == events, f"row {index}, {row}: events {heard}, not {events}"

    def picture(self) -> str:
        """The heap on one line, where that is not too long."""
        text = spelling.spell(self.region, self.build, self.address)
        return text if len(text) < 1000 else f"{len(text.split())} chunks"

    def play_alloc(self, name: int, size: int, want: int) -> tuple:
        return self.play_aligned_alloc(name, 0, size, want)

    def play_aligned_alloc(self, name: int, align: int, size: int, want: int) -> tuple:
        offset = self.alloc(size, align) if self.raises else self.try_alloc(size, align)
        self.blocks.pop(name, None)
        if offset is not None:
            self.blocks[name] = offset, size
        return want, number(offset)

    def alloc(self, size: int, align: int) -> int | None:
        """The allocation that raises, which few rows take: an error counts all chunks."""
        try:
            return self.heap.alloc(size, align=align)
        except kheap.OutOfMemory as error:
            assert error.request_bytes == size, f"the error speaks of {error.request_bytes} bytes"
            return None

    def try_alloc(self, size: int, align: int) -> int | None:
        return self.heap.try_alloc(size, align=align)

    def play_realloc(self, name: int, size: int, want: int) -> tuple:
        return self.play_aligned_realloc(name, 0, size, want)

    def play_aligned_realloc(self, name: int, align: int, size: int, want: int) -> tuple:
        old, _ = self.blocks.get(name, (None, 0))
        try:
            offset = self.heap.realloc(old, size, align=align)
        except kheap.OutOfMemory as error:
            assert error.request_bytes == size, f"the error speaks of {error.request_bytes} bytes"
            assert size or old is None, "realloc(p, 0) frees; it never fails"
            return want, NULL
        if offset is not None:
            self.blocks[name] = offset, size
        elif size == 0:
            self.blocks.pop(name, None)
        return want, number(offset)

    def play_free(self, name: int) -> tuple:
        offset, _ = self.blocks.pop(name, (None, 0))
        return None, self.heap.free(offset)

    def play_usable(self, name: int, want: int) -> tuple:
        return want, self.heap.usable_bytes(self.blocks[name][0])

    def play_stats(self, *want: int) -> tuple:
        return want, self.stats()

    def play_check(self, _ok: int) -> tuple:
        return None, self.heap.check()

    def play_reset(self) -> tuple:
        return None, self.heap.reset_max()

    def play_write(self, name: int, seed: int) -> tuple:
        offset, size = self.blocks[name]
        self.region[offset : offset + size] = bytes((seed + 31 * i) & 0xFF for i in range(size))
        return None, None

    def play_crc(self, name: int, count: int, want: str) -> tuple:
        offset, _ = self.blocks[name]
        return want, f"{zlib.crc32(self.region[offset : offset + count]):08x}"

    def stats(self) -> tuple[int, int, int]:
        """The statistics as a golden row gives them."""
        stats = self.heap.stats()
        assert (stats.max_allocated_bytes is None) == (not self.build.stats), (
            "max_allocated_bytes is None without runtime statistics, and only then"
        )
        return stats.free_bytes, stats.allocated_bytes, number(stats.max_allocated_bytes)

    def summary(self) -> dict:
        """What the heap is in the end, as the final object of a file says it."""
        image = spelling.read_heap(self.region, self.build, self.address)
        free, allocated, most = self.stats()
        return {
            "free": free,
            "alloc": allocated,
            "max": most,
            "live": len(self.blocks),
            "chunks": len(image.chunks),
            "lists": spelling.spell_rings(image),
            "sha256_raw": hashlib.sha256(self.region).hexdigest(),
            "sha256_masked": hashlib.sha256(spelling.masked(self.region, image)).hexdigest(),
        }


def number(value: int | None) -> int:
    """None is -1 in golden files."""
    return NULL if value is None else value


def with_events(rows: list) -> Iterator[tuple[int, list, list]]:
    """Each operation with its line number and the events that follow it."""
    at = 0
    while at < len(rows):
        end = at + 1
        while end < len(rows) and rows[end][0] in ("E+", "E-"):
            end += 1
        yield at + 2, rows[at], rows[at + 1 : end]
        at = end
