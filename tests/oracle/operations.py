"""Seeded operations for a heap: what a hard-pressed firmware asks, and what a fuzzer asks.

An operation is a tuple: ``("alloc", size)``, ``("noalign_alloc", align, size)``,
``("aligned_alloc", align, size)`` or ``("free", index)`` with the index of a live block or
None for NULL.  All come from one ``random.Random``, so a seed fixes them.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

SIZE_MAX = (1 << 32) - 1
SMALL_MAX_BYTES = 0x7FFF * 8 + 7
ABSURD = (SIZE_MAX, SIZE_MAX - 3, SIZE_MAX - 7, SIZE_MAX - 8, 1 << 31, (1 << 31) - 1, 1 << 29)


class Plan(NamedTuple):
    """How one heap is used: its region, and the odds of each kind of request."""

    size: int
    misalignment: int
    fill: int
    typical: int
    aligned: float
    odd: float

    def __str__(self) -> str:
        place = f"{self.size} bytes at 8 n + {self.misalignment} over {self.fill:#x}"
        return f"{place}, typical {self.typical}, aligned {self.aligned:.2f}, odd {self.odd:.2f}"


def make_plan(random: Random) -> Plan:
    """Draw a region from 64 bytes to 32 KiB, now and then the largest of this build."""
    size = int(64 * 512 ** random.random())
    if random.random() < 0.03:
        size = random.randint(SMALL_MAX_BYTES - 4096, SMALL_MAX_BYTES)
    return Plan(
        size=size,
        misalignment=random.choice((0, 0, 0, *range(8))),
        fill=random.choice((0x00, 0xA5, 0xFF, random.randrange(256))),
        typical=max(2, int(size * random.choice((0.003, 0.006, 0.012, 0.03, 0.08, 0.2)))),
        aligned=random.choice((0.0, 0.2, 0.5, 0.9)),
        odd=random.choice((0.0, 0.03, 0.1)),
    )


class Operations:
    """Draws operations so that the heap fills up, empties, and fills up again."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self.plan, self.random = plan, random
        self.share_of_allocs = 0.7

    def draw(self, live_count: int) -> tuple:
        """The next operation for a heap with so many live blocks."""
        random = self.random
        if random.random() < 0.02 or (live_count == 0 and self.share_of_allocs < 0.5):
            self.share_of_allocs = random.choice((0.3, 0.45, 0.5, 0.6, 0.7, 0.9))
        if random.random() >= self.share_of_allocs:
            held = live_count and random.random() >= self.plan.odd / 4
            return "free", random.randrange(live_count) if held else None
        if random.random() < self.plan.aligned:
            return "aligned_alloc", self.align(), self.request()
        if random.random() < 0.3:
            return "noalign_alloc", self.align(), self.request()
        return "alloc", self.request()

    def align(self) -> int:
        """0, a power of two up to 512, rarely more, often with a rewind bit below."""
        random = self.random
        if random.random() < self.plan.odd:
            return random.choice((0, 1024, 4096, 1 << 16))
        bit = random.randrange(10)
        rewind = random.randrange(bit) if bit and random.random() < 0.4 else bit
        return 1 << bit | 1 << rewind

    def request(self) -> int:
        """Mostly about the plan's typical size; now and then nothing, all, or absurd."""
        random, size = self.random, self.plan.size
        if random.random() >= self.plan.odd:
            return 1 + int(random.expovariate(1 / self.plan.typical))
        kind = random.randrange(4)
        if kind == 0:
            return 0
        if kind == 1:
            return random.choice(ABSURD)
        if kind == 2:
            return max(0, size - random.randrange(64))
        return random.randint(1, 2 * size)

    def pattern(self, count: int) -> bytes:
        """What the owner writes over a block: noise, or one byte."""
        if count <= 64:
            return self.random.randbytes(count)
        return bytes([self.random.randrange(256)]) * count
