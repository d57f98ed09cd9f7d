"""Broken heaps: real ones that have been in use, then written over.

A region lies between two guards, which no chunk id of a small heap can lead across, so that a
read or write outside it is seen.  :func:`outcome` runs an operation and says in plain values
what came of it, so that two builds can be compared; :func:`operations` lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import kheap
from helpers import spelling
from helpers.spelling import HeapImage
from kheap.profile import HARDENING_LEVELS
from property.model import build_of

GUARD = 1 << 20
BASE = 0x20000000
ALLOWED = ("HeapCorruption", "InvalidFree", "OutOfMemory")

Call = Callable[[], Any]


def _profiles() -> Iterator[kheap.Profile]:
    for bits, header in ((32, "small"), (32, "big"), (64, "auto")):
        for stats in (False, True):
            for hardening in HARDENING_LEVELS:
                yield kheap.Profile(
                    bits=bits, header=header, runtime_stats=stats, hardening=hardening
                )
        for release in ("3.7", "4.2"):
            yield kheap.Profile(release=release, bits=bits, header=header)


#: One of each kind: width of headers, statistics, level of checks, and two old releases.
PROFILES = tuple(_profiles())


def name_of(profile: kheap.Profile) -> str:
    """A profile as the id of a test."""
    stats = "stats" if profile.runtime_stats else "nostats"
    return f"{profile.release}-{profile.bits}{profile.header}-{stats}-{profile.hardening}"


class Used:
    """A sound heap that has been in use, between two guards.

    Attributes:
        heap: The heap; ``region`` its bytes, of which ``sound`` is a copy.
        live: Offsets of its blocks; ``dead`` some of those that it had.
        image: The sound heap, read.
    """

    def __init__(self, profile: kheap.Profile, random: Random, size: int = 1024) -> None:
        self.profile, self.build = profile, build_of(profile)
        self.address = BASE + random.choice((0, 0, 0, 5))
        self.memory = bytearray(b"\xa5") * (2 * GUARD + size)
        self.region = memoryview(self.memory)[GUARD:-GUARD]
        self.heap = kheap.SysHeap(self.region, profile, self.address)
        self.live: list[int] = []
        self.dead: list[int] = []
        self.use(random)
        self.image: HeapImage = spelling.read_heap(self.region, self.build, self.address)
        self.sound = bytes(self.region)
        assert spelling.problems(self.region, self.build, self.address) == []

    def use(self, random: Random) -> None:
        """Fill the heap with blocks, their memory with likely numbers, then make holes."""
        while (offset := self.place(random)) is not None:
            self.live.append(offset)
            view = self.heap.view(offset)
            view[:] = bytes(number(random, 128) & 0xFF for _ in range(len(view)))
        random.shuffle(self.live)
        for _ in range(random.randrange(len(self.live))):
            self.dead.append(self.live.pop())
            self.heap.free(self.dead[-1])
        if self.live:
            block = self.live.pop()
            self.live.append(self.heap.realloc(block, min(6, len(self.heap.view(block)))))

    def place(self, random: Random) -> int | None:
        align = random.choice((0, 0, 0, 16, 0x14, 64))
        return self.heap.try_alloc(random.randint(1, 100), align=align)

    def restore(self) -> None:
        """Make the heap sound again."""
        self.region[:] = self.sound

    def guards_hold(self) -> bool:
        """Whether nothing has been written outside the region."""
        ends = self.memory[:GUARD], self.memory[-GUARD:]
        return all(end == b"\xa5" * GUARD for end in ends)

    def break_it(self, random: Random) -> str:
        """Write over one field, or a few bytes; say which."""
        if random.random() < 0.3:
            at, count = random.randrange(len(self.region)), random.randint(1, 4)
            data = bytes(random.randrange(256) for _ in self.region[at : at + count])
            self.region[at : at + count] = data
            return f"bytes {data.hex()} at {at}"
        field, which = random.choice(list(fields(self.image)))
        place = spelling.field_bytes(self.image, field, which)
        place = slice(place.start, min(place.stop, len(self.region)))
        value = number(random, self.image.end_chunk)
        value ^= random.choice((0, int.from_bytes(self.region[place], "little")))
        data = (value & (1 << 64) - 1).to_bytes(8, "little")
        self.region[place] = data[: place.stop - place.start]
        return f"{field} of {which} = {value:#x}"


def fields(image: HeapImage) -> Iterator[tuple[str, int]]:
    """Every field of a heap that a test can corrupt, as :func:`spelling.field_bytes` names it."""
    for chunk in image.chunks:
        yield "left", chunk.chunk
        yield "size", chunk.chunk
        if chunk.state == "free":
            yield "prev", chunk.chunk
            yield "next", chunk.chunk
        if chunk.state in ("used", "control") and image.build.trailer_units:
            yield "canary", chunk.chunk
    for name in ("end_chunk", "mask"):
        yield name, 0
    for name in ("free", "allocated", "max_allocated") if image.build.stats else ():
        yield name, 0
    for bucket in range(image.bucket_count):
        yield "head", bucket


def number(random: Random, end_chunk: int) -> int:
    """A number that a broken field may hold: mostly an id or a size within the heap."""
    near = (0, 1, 2, 3, end_chunk - 1, end_chunk, end_chunk + 1, 0x7FFF, 0xFFFF, 0xFFFFFFFF)
    return random.choice((random.choice(near), random.randrange(2 * end_chunk + 2)))


def operations(heap: Any, used: Used, random: Random) -> dict[str, Call]:
    """All operations, with arguments drawn for this heap."""
    size, align = random.randint(1, 300), random.choice((8, 16, 64, 0x24, 0x11))
    anywhere = random.randrange(len(used.region))
    block = random.choice(used.live or used.dead or [anywhere])
    dead = random.choice(used.dead or [anywhere])
    return {
        f"alloc({size})": lambda: heap.alloc(size),
        f"alloc({size}, align={align})": lambda: heap.alloc(size, align=align),
        f"try_alloc({size})": lambda: heap.try_alloc(size),
        f"free({block})": lambda: heap.free(block),
        f"free({dead}), dead": lambda: heap.free(dead),
        f"free({anywhere}), anywhere": lambda: heap.free(anywhere),
        f"realloc({block}, {size})": lambda: heap.realloc(block, size),
        f"realloc({block}, {size}, align=64)": lambda: heap.realloc(block, size, align=64),
        f"realloc({block}, 0)": lambda: heap.realloc(block, 0),
        f"usable_bytes({block})": lambda: heap.usable_bytes(block),
        f"view({block})": lambda: bytes(heap.view(block)),
        f"why({size})": lambda: str(heap.why(size)),
        f"why({size}, align={align})": lambda: str(heap.why(size, align=align)),
        "chunks()": lambda: list(map(repr, heap.chunks())),
        "buckets()": lambda: list(map(repr, heap.buckets())),
        "stats()": lambda: repr(heap.stats()),
        "print_info()": lambda: heap.print_info(dump_chunks=True),
        "check()": heap.check,
        "reset_max()": heap.reset_max,
    }


def outcome(call: Call) -> tuple[str, Any]:
    """What came of a call: "answer" and its value, or an error's name and its fields."""
    try:
        return "answer", call()
    except Exception as error:
        names = ("chunk", "invariant", "offset", "request_bytes", "free_bytes")
        told = [getattr(error, name, None) for name in names]
        return type(error).__name__, [*told, str(error)]


def try_all(used: Used, random: Random, broken: str) -> None:
    """Run each operation on a broken heap: a report or an answer, and no write before a report."""
    state = bytes(used.region)
    for name, call in operations(used.heap, used, random).items():
        kind, answer = outcome(call)
        assert kind in ("answer", *ALLOWED), f"{name} with {broken}: {kind} {answer}"
        if kind in ("HeapCorruption", "InvalidFree"):
            assert used.region == state, f"{name} with {broken}: {kind} {answer} after a write"
        used.region[:] = state
