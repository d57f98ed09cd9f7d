"""The operations that a benchmark plays, and playing them in bulk.

It owns the seeded op lists and the two bulk players: the loop of ``kheap replay``, and the
C library's malloc and free in a compiled loop over the same columns.
Not here: rounds, medians and ratios (``kheap.study.bench``).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from random import Random
from time import process_time_ns
from typing import NamedTuple

from kheap._core._native import Column, Loop, run
from kheap._core.replay import OpColumns, ReplayLoop
from kheap._core.yardstick import LibcLoop
from kheap.heaps.sys_heap import SysHeap
from kheap.study.replay import HUGE_PAGE, SIMULATED_ADDRESS, SLICE, simulated_region
from kheap.trace.model import ALLOC, FREE

__all__ = ["HeapPlayer", "LibcPlayer", "Load", "OpList", "make_ops"]

LEAST_BYTES = 16
SEED = 1


class Load(NamedTuple):
    """What a mix is like.

    Attributes:
        live_blocks: Blocks that are live at a time, about.
        most_bytes: The largest block; sizes go from 16 bytes to it, their logarithms evenly.
    """

    live_blocks: int
    most_bytes: int

    @property
    def sizes(self) -> str:
        """The distribution's name."""
        return f"log-uniform {LEAST_BYTES} B..{self.most_bytes >> 10} KiB"

    def size_table(self) -> list[int]:
        """Sizes to draw from, each as likely as the others."""
        growth, last = self.most_bytes / LEAST_BYTES, (1 << 16) - 1
        return [int(LEAST_BYTES * growth ** (step / last)) for step in range(last + 1)]


@dataclass(frozen=True, slots=True)
class OpList:
    """Operations as the columns of a trace.

    Attributes:
        load: What they are like.
        region_bytes: A region that serves them with room to spare: twice what is live.
        warm: How many of them come before the timed ones: they fill half of the slots, then
            toggle ``settling`` times as many, so that the free memory is scattered.
        op, id, size: The columns; ids are slots, ``2 * load.live_blocks`` of them.  A free has
            a size too, for who plays a part of the list and finds the slot empty.
    """

    load: Load
    region_bytes: int
    warm: int
    op: array[int]
    id: array[int]
    size: array[int]

    @property
    def slot_count(self) -> int:
        """Slots that may hold a block."""
        return 2 * self.load.live_blocks


def make_ops(load: Load, count: int, settling: float = 1.0) -> OpList:
    """The op list of ``count`` timed operations: each toggles a random slot.

    A slot that holds a block frees it, an empty one obtains a block of a random size.  Before
    them stand the warming ones.  The same arguments give the same list.
    """
    random = Random(SEED)
    table = load.size_table()
    live, slot_count = load.live_blocks, 2 * load.live_blocks
    warm = live + int(settling * live)
    numbers = array("I", random.randbytes(4 * (warm - live + count)))
    ids = array("q", range(live))
    ids.extend([number % slot_count for number in numbers])
    sizes = array("q", [table[i] for i in array("H", random.randbytes(2 * len(ids)))])
    codes = bytearray(slot_count)  # Of each slot's next operation.
    ops = array("b")
    for slot in ids:
        code = codes[slot]
        ops.append(code)
        codes[slot] = code ^ FREE
    mean_bytes = sum(table) // len(table) + 16
    region_bytes = -(-2 * live * mean_bytes // HUGE_PAGE) * HUGE_PAGE
    return OpList(load, region_bytes, warm, ops, ids, sizes)


def _play(loop: Loop, start: int, stop: int) -> int:
    """CPU nanoseconds of some operations, driven in slices as ``kheap replay`` does it."""
    began = process_time_ns()
    i = start
    while i < stop:
        end = min(i + SLICE, stop)
        i = run(loop, i, end)
        if i < end:
            raise MemoryError(f"operation {i} of the benchmark got no memory")
    return process_time_ns() - began


class HeapPlayer:
    """Plays an op list on a fresh heap in a region of huge pages, as ``kheap replay`` does."""

    name = "kheap, the loop of kheap replay"

    def __init__(self, ops: OpList) -> None:
        self.ops = ops
        self._region = simulated_region(ops.region_bytes)
        count = len(ops.op)
        given = (ops.op, ops.id, ops.size, array("q", bytes(8 * count)))
        offsets = array("q", bytes(8 * count))
        self._columns = OpColumns(*map(Column, (*given, array("i", bytes(4)), offsets)))

    def play(self) -> int:
        """CPU nanoseconds of the timed operations."""
        with SysHeap(self._region, base_address=SIMULATED_ADDRESS) as heap:
            blocks = Column(array("q", bytes(8 * self.ops.slot_count)))
            loop = ReplayLoop(heap, self._columns, -1, blocks, None)
            _play(loop, 0, self.ops.warm)
            return _play(loop, self.ops.warm, len(self.ops.op))


#: Freed once, it lets glibc keep so much free memory (mallopt(3), M_MMAP_THRESHOLD): else a mix
#: of large blocks would time the system's page faults, at times.
LIBC_KEEPS_BYTES = 16 << 20


class LibcPlayer:
    """Plays an op list on the C library's malloc and free, and frees what is left, untimed."""

    name = "C malloc and free, a C loop"

    def __init__(self, ops: OpList) -> None:
        self.ops = ops
        keeper = _libc_loop(
            array("b", (ALLOC, FREE)), array("q", (0, 0)), array("q", (LIBC_KEEPS_BYTES, 0)), 1
        )
        _play(keeper, 0, 2)

    def play(self) -> int:
        """CPU nanoseconds of the timed operations."""
        ops = self.ops
        loop = _libc_loop(ops.op, ops.id, ops.size, ops.slot_count)
        try:
            _play(loop, 0, ops.warm)
            return _play(loop, ops.warm, len(ops.op))
        finally:
            loop.give_all_back()


def _libc_loop(op: array[int], id: array[int], size: array[int], slot_count: int) -> LibcLoop:
    blocks = Column(array("q", bytes(8 * slot_count)))
    return LibcLoop(Column(op), Column(id), Column(size), blocks)
