"""One heap twice: in the emulated firmware and in kheap, step by step."""

from __future__ import annotations

from collections import deque

import kheap
from helpers import spelling
from helpers.spelling import Build
from oracle.firmware import Firmware
from oracle.operations import Operations, Plan

PROFILE = kheap.Profile(release="4.4", bits=32, header="small", runtime_stats=False)
BUILD = Build(word_bytes=4, stats=False, header="small")


class Pair:
    """A heap in the firmware and its twin in kheap, which must never differ.

    ``live`` has the offsets of the blocks, ``freed`` those of blocks that were given back.
    """

    def __init__(self, firmware: Firmware, plan: Plan) -> None:
        self.firmware, self.plan = firmware, plan
        firmware.init(plan.size, plan.fill, plan.misalignment)
        self.region = bytearray([plan.fill]) * plan.size
        self.heap = kheap.SysHeap(self.region, profile=PROFILE, base_address=firmware.address)
        self.live: list[int] = []
        self.freed: list[int] = []
        self.last: deque = deque(maxlen=12)
        self.compare("init", None, None)

    def do(self, operation: tuple, operations: Operations) -> None:
        """One operation on both, and the owner's bytes over the block that it gave."""
        kind, *args = operation
        wanted, got = self.free(*args) if kind == "free" else self.alloc(kind, args)
        self.last.append((*operation, wanted))
        self.compare(operation, wanted, got)
        if got is not None:
            self.live.append(got)
            self.write(got, operations.pattern(self.heap.usable_bytes(got)))

    def alloc(self, kind: str, args: list[int]) -> tuple[int | None, int | None]:
        """An allocation on both."""
        align = args[0] if kind == "aligned_alloc" else 0
        wanted = getattr(self.firmware, kind)(*args)
        return wanted, self.heap.try_alloc(args[-1], align=align)

    def free(self, index: int | None) -> tuple[None, None]:
        """A free of a live block on both."""
        offset = None if index is None else self.live.pop(index)
        if offset is not None:
            self.freed.append(offset)
        return self.firmware.free(offset), self.heap.free(offset)

    def write(self, offset: int, data: bytes) -> None:
        """The owner of a block writes into it."""
        self.firmware.write(offset, data)
        self.region[offset : offset + len(data)] = data

    def memory(self) -> tuple[bytes, bytes]:
        """All bytes of both, to be given to :meth:`restore`."""
        return self.firmware.memory(), bytes(self.region)

    def restore(self, memory: tuple[bytes, bytes]) -> None:
        """Both become what they were; a heap lives wholly in its bytes."""
        self.firmware.restore(memory[0])
        self.region[:] = memory[1]

    def compare(self, operation: object, wanted: int | None, got: int | None) -> None:
        """Same answer, same bytes."""
        assert got == wanted, f"{operation}: kheap {got}, firmware {wanted}; {self.story()}"
        bytes_wanted = self.firmware.region()
        assert self.region == bytes_wanted, f"{operation}: {self.difference(bytes_wanted)}"

    def difference(self, wanted: bytes) -> str:
        """The first bytes that differ."""
        at = next(i for i, (a, b) in enumerate(zip(self.region, wanted, strict=True)) if a != b)
        ours, theirs = self.region[at : at + 16].hex(), wanted[at : at + 16].hex()
        return f"from byte {at} on kheap {ours}, firmware {theirs}; {self.story()}"

    def story(self) -> str:
        """What a developer needs to see it again."""
        try:
            picture = spelling.spell(self.firmware.region(), BUILD, self.firmware.address)
        except spelling.Unreadable as error:
            picture = str(error)
        return f"{self.plan}; last {list(self.last)}; firmware {picture[-2000:]}"
