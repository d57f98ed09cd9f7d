"""Runs recordings of real machine code on kheap, operation by operation.

A recording is a file of one header, operations with their results and the CRC-32 of the whole
region after each, and a final line.  :class:`Machine` holds the heap and the live blocks.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path

import kheap
from helpers.spelling import Build

VERSION = re.compile(r"v?(\d)\.(\d+)\.\d+")
AFTER_RELEASE = re.compile(r"v4\.4\.0-\d+-g")
USABLE_SIZE = "sys_heap_usable_size"
BETWEEN_RELEASES = {"unknown_4.1..4.2": "4.2"}


def read_lines(path: Path) -> list[dict]:
    """The JSON values of a file, one a line, packed or not."""
    content = path.read_bytes()
    text = gzip.decompress(content) if path.suffix == ".gz" else content
    return [json.loads(line) for line in text.splitlines()]


def release_of(zephyr: str) -> str:
    """The release that a recording's version text stands for."""
    if AFTER_RELEASE.match(zephyr):
        return "main"
    if zephyr in BETWEEN_RELEASES:
        return BETWEEN_RELEASES[zephyr]
    major, minor = VERSION.match(zephyr).groups()
    return f"{major}.{minor}"


def profile_of(source: dict) -> kheap.Profile:
    """The profile of a recording, from its header's words."""
    words = source["heap"]
    return kheap.Profile(
        release=release_of(source["zephyr"]),
        bits=64 if source["arch"] == "x86-64" else 32,
        header=header_of(words),
        runtime_stats="RUNTIME_STATS" in words,
    )


def header_of(words: str) -> str:
    """The header choice that a configuration's words or lines name."""
    if "SYS_HEAP_SMALL_ONLY" in words:
        return "small"
    return "big" if "SYS_HEAP_BIG_ONLY" in words else "auto"


def build_of(profile: kheap.Profile) -> Build:
    """What the second reader must know of a profile."""
    return Build(
        word_bytes=profile.bits // 8,
        stats=profile.runtime_stats,
        header=profile.header,
        counts_header=profile.release in ("4.2", "4.3"),
    )


class Machine:
    """A heap beside a recording."""

    def __init__(self, header: dict) -> None:
        self.header = header
        self.profile = profile_of(header["source"])
        self.region = bytearray([header["initial_byte"]]) * header["size"]
        self.heap = kheap.SysHeap(
            self.region, profile=self.profile, base_address=header["mem_addr"]
        )
        self.live: dict[int, int] = {}
        linked = header["source"].get("functions", [USABLE_SIZE])
        self.fills_usable = USABLE_SIZE in linked

    def run(self, row: dict) -> int | None:
        """Do one operation; the result is as the recording gives it."""
        return getattr(self, row["op"])(row)

    def crc(self) -> int:
        """What the recording notes after each operation."""
        return zlib.crc32(self.region)

    def init(self, _row: dict) -> None:
        """Done already: the first row of each file."""

    def alloc(self, row: dict) -> int | None:
        return self.keep(self.heap.try_alloc(row["size"]), row)

    noalign_alloc = alloc

    def aligned_alloc(self, row: dict) -> int | None:
        return self.keep(self.heap.try_alloc(row["size"], align=row["align"]), row)

    def keep(self, offset: int | None, row: dict) -> int | None:
        """Note a new block, and fill it where the recording did.

        Builds without sys_heap_usable_size had the requested bytes filled.
        """
        if offset is not None:
            self.live[offset] = row["size"]
            if self.header["fill"]:
                count = self.heap.usable_bytes(offset) if self.fills_usable else row["size"]
                self.region[offset : offset + count] = bytes([row["i"] & 0xFF]) * count
        return offset

    def realloc(self, row: dict) -> int | None:
        return self.move(row, 0)

    def aligned_realloc(self, row: dict) -> int | None:
        return self.move(row, row["align"])

    def move(self, row: dict, align: int) -> int | None:
        old, size = row["ptr"], row["size"]
        try:
            offset = self.heap.realloc(old, size, align=align)
        except kheap.OutOfMemory:
            return None
        self.live.pop(old, None)
        if offset is not None:
            self.live[offset] = size
        return offset

    def free(self, row: dict) -> None:
        self.live.pop(row["ptr"], None)
        self.heap.free(row["ptr"])

    def usable_size(self, row: dict) -> int:
        return self.heap.usable_bytes(row["ptr"])


def expected(row: dict) -> int | None:
    """The result that a row records; operations without one have None."""
    return row["usable"] if row["op"] == "usable_size" else row.get("result")


def region_matches(region: bytearray, final: dict) -> bool:
    """Whether a region is the one of a final line, which has its bytes or their hash."""
    if "region_hex" in final:
        return region == bytes.fromhex(final["region_hex"])
    return hashlib.sha256(region).hexdigest() == final["region_sha256"]
