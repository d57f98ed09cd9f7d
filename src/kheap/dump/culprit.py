"""Who wrote over a heap's own bytes, as far as the bytes tell.

It owns the reading of the evidence around the first bad field.  LEFT_SIZE comes first in a
header, so what runs over the end of a block meets its neighbour's LEFT_SIZE before anything
else, and what runs under the start of a block meets its own SIZE_AND_USED.  A free chunk's
links lie where its last owner's bytes were.  Not here: which field is bad (``diagnosis.py``).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from kheap._core.chunk import CANARY_SALT
from kheap.dump.chunk_table import CONTROL, FREE, UNDERSIZED, UNREAD, USED, ChunkTable
from kheap.dump.diagnosis import Diagnosis, Finding
from kheap.heaps.sys_heap import SysHeap

__all__ = ["Corruption", "Culprit", "corruption_of"]

#: Bytes shown before and behind the first bad one.
EDGE_BEFORE, EDGE_BEHIND = 32, 32
#: The most bytes that an overrun is followed.
LONGEST_RUN = 4096

_FREED = 0xDEADBEEFDEADBEEF.to_bytes(8, "little")


@dataclass(frozen=True, slots=True)
class Culprit:
    """The likely writer.

    Attributes:
        kind: "overflow" (past a block's end), "underflow" (before its start), "use after free",
            "double free", "bit flip" or "stray write".
        chunk: The chunk whose owner wrote; None for a stray write.
        address: First byte of that chunk's block; None likewise.
        overrun_bytes: For an overflow, at least so many bytes past the end were written.
        message: All that in a sentence.
    """

    kind: str
    chunk: int | None
    address: int | None
    overrun_bytes: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Corruption:
    """What is wrong with a heap.

    Attributes:
        chunk: The first bad chunk's id.
        address: Its address.
        invariant: The rule that the checker saw broken, "I1" to "I10".
        rule: The rule in words.
        met_at: The chunk where it saw that: the bad one or its neighbour.
        field: The bad field, as ``kheap._core.chunk`` calls it; "header" for both sizes.
        found, expected: What it says and what it should; None where that is not known.
        message: All that in a sentence.
        culprit: Who may have done it.
        unread: (address, bytes) of each stretch that could not be read as chunks.
        field_address: The address of the bad field.
        edge_address: The address of the first byte of ``edge``.
        edge: The bytes around the bad field.
    """

    chunk: int
    address: int
    invariant: str
    rule: str
    met_at: int
    field: str
    found: int | None
    expected: int | None
    message: str
    culprit: Culprit
    unread: list[tuple[int, int]]
    field_address: int
    edge_address: int
    edge: bytes


def corruption_of(heap: SysHeap, diagnosis: Diagnosis) -> Corruption | None:
    """The corruption that a diagnosis found, with its likely culprit; None for a sound heap."""
    finding = diagnosis.finding
    if finding is None:
        return None
    first = heap.base_address + heap.start
    offset = heap.start + _place_of(heap, finding)
    low = max(0, offset - EDGE_BEFORE)
    edge = bytes(heap.region[low : offset + EDGE_BEHIND])
    table = diagnosis.table
    unread = [
        (first + 8 * c, 8 * units)
        for c, units, state in zip(table.chunk, table.units, table.state, strict=True)
        if state == UNREAD
    ]
    return Corruption(
        finding.chunk,
        first + 8 * finding.chunk,
        diagnosis.invariant,
        diagnosis.rule,
        diagnosis.met_at,
        finding.field,
        finding.found,
        finding.expected,
        _message(finding, first + 8 * finding.chunk, diagnosis),
        _Evidence(heap, diagnosis.table, finding).culprit(),
        unread,
        heap.base_address + offset,
        heap.base_address + low,
        edge,
    )


def _place_of(heap: SysHeap, finding: Finding) -> int:
    """The byte of the bad field, from the heap start."""
    width, byte = heap.hdr // 2, 8 * finding.chunk
    if finding.field == "canary":
        units = heap._units_of(finding.chunk)
        return byte + 8 * max(1, units) - 8
    if finding.field.startswith("bucket "):
        return heap.profile.layout().table_byte + 4 * int(finding.field.split()[1])
    word = heap.profile.bits // 8
    within = {
        "LEFT_SIZE": 0, "header": 0, "SIZE_AND_USED": width, "FREE_PREV": 2 * width,
        "FREE_NEXT": 3 * width, "end_chunk": 8, "avail_buckets": 12, "free_bytes": 16,
        "allocated_bytes": 16 + word, "max_allocated_bytes": 16 + 2 * word,
    }  # fmt: skip
    return byte + within[finding.field]


def _message(finding: Finding, address: int, diagnosis: Diagnosis) -> str:
    where = (
        f"chunk {finding.chunk} ({finding.chunk:#x}) at {address:#x}"
        if finding.chunk
        else f"the control block at {address:#x}"
    )
    says = "" if finding.found is None else f" is {finding.found:#x}"
    should = "" if finding.expected is None else f", should be {finding.expected:#x}"
    verb = "" if says else " does not hold"
    return f"{where}: {finding.field}{says}{verb}{should} ({diagnosis.invariant}: {diagnosis.rule})"


class _Evidence:
    """What the bytes around a bad field tell."""

    def __init__(self, heap: SysHeap, table: ChunkTable, finding: Finding) -> None:
        self.heap, self.table, self.finding = heap, table, finding

    def culprit(self) -> Culprit:
        field = self.finding.field
        if field in ("LEFT_SIZE", "header") and self.finding.chunk:
            return self._from_below()
        if field == "SIZE_AND_USED" and self.finding.chunk:
            return self._size_field()
        if field in ("FREE_PREV", "FREE_NEXT"):
            return self._freed_block()
        if field == "canary" and self.finding.chunk:
            return self._canary()
        return self._stray("the control block lies before the first block: a stray write, or"
                           " what lies below the heap ran over its end")  # fmt: skip

    def _from_below(self) -> Culprit:
        row = bisect_left(self.table.chunk, self.finding.chunk) - 1
        c, state = self.table.chunk[row], self.table.state[row]
        if state == USED and self.heap.trail and self._has_canary(c, self.table.units[row]):
            return self._stray("the canary below it is intact: nothing ran over from there")
        if state == USED:
            count, certain = self._overrun()
            message = (
                f"the block at {self._block(c):#x} ({self._usable(c):,} bytes, chunk {c}) was"
                f" written past its end, by at least {count:,} bytes{certain}"
            )
            return Culprit("overflow", c, self._block(c), count, message)
        if state == CONTROL:
            return self._stray("the control block lies below, which no block's owner writes")
        if state in (FREE, UNDERSIZED):
            message = (
                f"the chunk below, {c} at {self._block(c):#x}, is free: its last owner wrote"
                " past its end after it was freed, or a stray write"
            )
            return Culprit("use after free", c, self._block(c), None, message)
        return self._stray("what lies below cannot be read: how far the damage goes is not known")

    def _size_field(self) -> Culprit:
        finding, c = self.finding, self.finding.chunk
        found, expected = finding.found, finding.expected
        if c == self.heap.n:
            return self._stray("only the second half of the end marker is wrong: a stray write")
        if found is not None and expected is not None and _is_flip(finding):
            message = "a single bit differs: a bit flip, a double free or a stray write"
            return Culprit("bit flip", c, self._block(c), None, message)
        message = (
            f"LEFT_SIZE before it is intact, so nothing ran over from below: the block at"
            f" {self._block(c):#x} was written before its start, or a stray write"
        )
        return Culprit("underflow", c, self._block(c), None, message)

    def _freed_block(self) -> Culprit:
        c = self.finding.chunk
        message = (
            f"free chunk {c} keeps its links where its last block began, at {self._block(c):#x}:"
            " it was written after it was freed"
        )
        return Culprit("use after free", c, self._block(c), None, message)

    def _canary(self) -> Culprit:
        c = self.finding.chunk
        place = self.heap.start + _place_of(self.heap, self.finding)
        if bytes(self.heap.region[place : place + 8]) == _FREED:
            message = f"the canary of chunk {c} is that of a freed block: freed, and marked used"
            return Culprit("double free", c, self._block(c), None, message)
        message = (
            f"the block at {self._block(c):#x} ({self._usable(c):,} bytes, chunk {c}) was"
            " written past its end, into its canary"
        )
        return Culprit("overflow", c, self._block(c), 1, message)

    def _stray(self, message: str) -> Culprit:
        return Culprit("stray write", None, None, None, message)

    def _block(self, c: int) -> int:
        return self.heap.base_address + self.heap.start + 8 * c + self.heap.hdr

    def _usable(self, c: int) -> int:
        row = bisect_left(self.table.chunk, c)
        return 8 * (self.table.units[row] - self.heap.trail) - self.heap.hdr

    def _has_canary(self, c: int, units: int) -> bool:
        heap = self.heap
        end = heap.start + 8 * (c + units)
        address = heap.base_address + heap.start + 8 * c
        canary = int.from_bytes(heap.region[end - 8 : end], "little")
        return canary == address ^ units ^ CANARY_SALT

    def _overrun(self) -> tuple[int, str]:
        """Bytes past the block's end that were written at least, and how that is known."""
        heap, finding = self.heap, self.finding
        width, gap = heap.hdr // 2, 8 * heap.trail
        least = gap + width + 1
        if finding.field == "LEFT_SIZE" and finding.found is not None:
            differing = finding.found ^ (finding.expected or 0)
            least = gap + max(1, min(width, (differing.bit_length() + 7) // 8))
        run = _run_across(heap.region, heap.start + 8 * finding.chunk - gap)
        if run > least:
            return run, ": the same bytes go on from before it"
        return least, ""


def _is_flip(finding: Finding) -> bool:
    assert finding.found is not None and finding.expected is not None
    return (finding.found ^ finding.expected).bit_count() == 1


def _run_across(region: memoryview, edge: int) -> int:
    """How far text, or one repeated byte, goes on across ``edge``; 0 if nothing does."""
    before = bytes(region[max(0, edge - 4) : edge])
    if len(before) < 4:
        return 0
    if len(set(before)) == 1:
        wanted = {before[0]}
    elif all(32 <= byte < 127 for byte in before):
        wanted = set(range(32, 127))
    else:
        return 0
    behind = bytes(region[edge : edge + LONGEST_RUN])
    return next((i for i, byte in enumerate(behind) if byte not in wanted), len(behind))
