"""What changed in the heaps between two dumps of one target.

It owns matching heaps and blocks, and the sums of what came and went.  A block is the same in
both if its chunk, its size and its signature are: another block in the place of a freed one
of the same kind cannot be told from it, and a text buffer with another text in it counts as
another block.  What appeared and is pointed to by nothing is a leak suspect.

Not here: who owns a block (``owners.py``), how the answer is written (``kheap.report``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kheap.dump.dump import Dump
from kheap.dump.heap_image import HeapImage
from kheap.dump.owners import Group, HeapOwners, find_owners, grouped
from kheap.errors import DumpError

__all__ = ["BlockChange", "DumpDiff", "Growth", "HeapDiff", "HeapTotals", "diff"]


@dataclass(frozen=True, slots=True)
class HeapTotals:
    """A heap in one of the dumps.

    Attributes:
        name: Its name.
        address: Of its region.
        size_bytes: Of its region.
        used_count: Used chunks.
        used_bytes: What they take, headers included.
        free_bytes: As the heap's statistics count them.
        largest_free_bytes: Likewise.
        unreached_count: Blocks that nothing points to; None where that cannot be known.
        unreached_bytes: What their chunks take.
        corruption: What is wrong with it, in words; None for a sound heap.
    """

    name: str
    address: int
    size_bytes: int
    used_count: int
    used_bytes: int
    free_bytes: int
    largest_free_bytes: int
    unreached_count: int | None
    unreached_bytes: int | None
    corruption: str | None


@dataclass(frozen=True, slots=True)
class BlockChange:
    """A block that is in one of the dumps only.

    Attributes:
        address: First byte of its memory.
        chunk_bytes: What its chunk takes, header included.
        owner: Who owns it, in a word or two; None where nothing tells.
        signature, call, held_by, is_reached: As in :class:`kheap.dump.owners.Owner`.
    """

    address: int
    chunk_bytes: int
    owner: str | None
    signature: str | None
    call: str | None
    held_by: str | None
    is_reached: bool | None


@dataclass(frozen=True, slots=True)
class Growth:
    """Blocks that have something in common, before and after.

    Attributes:
        key: What: the bytes of their chunks, an owner, a signature; None for those without.
        before_count, after_count: How many.
        before_bytes, after_bytes: What their chunks take.
    """

    key: int | str | None
    before_count: int
    after_count: int
    before_bytes: int
    after_bytes: int

    @property
    def change_count(self) -> int:
        """How many more there are."""
        return self.after_count - self.before_count

    @property
    def change_bytes(self) -> int:
        """What these take."""
        return self.after_bytes - self.before_bytes


@dataclass(frozen=True, slots=True)
class HeapDiff:
    """What changed in a heap.

    Attributes:
        before, after: The heap in each dump.
        stayed_count, stayed_bytes: Blocks that are in both.
        appeared, went: Blocks that are in one only, those with most bytes first.
        by_size, by_owner, by_signature: Where the changes are, growth first; what is as it was
            is left out. Sizes are those of chunks; a variable is one owner, whatever its parts.
        suspects: Blocks that appeared and that nothing points to; None where that cannot be
            known.
    """

    before: HeapTotals
    after: HeapTotals
    stayed_count: int
    stayed_bytes: int
    appeared: tuple[BlockChange, ...]
    went: tuple[BlockChange, ...]
    by_size: tuple[Growth, ...]
    by_owner: tuple[Growth, ...]
    by_signature: tuple[Growth, ...]
    suspects: tuple[BlockChange, ...] | None

    @property
    def change_bytes(self) -> int:
        """How many bytes more are used, headers included."""
        return self.after.used_bytes - self.before.used_bytes


@dataclass(frozen=True, slots=True)
class DumpDiff:
    """What changed between two dumps.

    Attributes:
        before, after: The dumps' paths.
        heaps: Heaps that are in both.
        only_before, only_after: Heaps that are in one only.
        notes: What could not be known, a sentence each.
    """

    before: str
    after: str
    heaps: tuple[HeapDiff, ...]
    only_before: tuple[HeapTotals, ...]
    only_after: tuple[HeapTotals, ...]
    notes: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether no heap in both dumps grew, has a leak suspect, or is corrupt."""
        return not any(
            heap.change_bytes > 0
            or heap.suspects
            or heap.before.corruption is not None
            or heap.after.corruption is not None
            for heap in self.heaps
        )


def diff(before: Dump, after: Dump, heap: str | None = None) -> DumpDiff:
    """Compare two dumps of one target.

    Heaps are matched by name and address, else by name, else by address; blocks by their
    place in the heap, so that a heap may have moved.

    Args:
        before: The earlier dump.
        after: The later one.
        heap: The name of one heap to compare; None: all.

    Raises:
        DumpError: A dump has no heap of that name, or no heap is in both.

    Complexity: O(blocks + words of memory) for each dump; see :func:`find_owners`.
    """
    old, new = _Side(before, heap), _Side(after, heap)
    pairs = _pairs(old.heaps, new.heaps)
    if not pairs:
        raise DumpError(f"{after.path}: no heap in it is in {before.path} too")
    old_ids, new_ids = {id(one) for one, _ in pairs}, {id(other) for _, other in pairs}
    return DumpDiff(
        before.path,
        after.path,
        tuple(_heap_diff(old.blocks(one), new.blocks(other)) for one, other in pairs),
        tuple(old.blocks(one).totals() for one in old.heaps if id(one) not in old_ids),
        tuple(new.blocks(one).totals() for one in new.heaps if id(one) not in new_ids),
        tuple(_notes(old, new)),
    )


class _Side:
    """The heaps of one of the dumps that are compared."""

    def __init__(self, dump: Dump, name: str | None) -> None:
        self.dump = dump
        self.heaps = dump.heaps if name is None else [dump.heap(name)]
        # Pointers lead from heap to heap, so all are looked at.
        known = [each for each in dump.heaps if each.has_contents]
        owners = find_owners(
            dump.memory,
            known,
            word_bytes=_bits(dump) // 8,
            image=dump.image,
            is_based=dump.container.based,
        )
        self._owners = {id(each): one for each, one in zip(known, owners.heaps, strict=True)}
        notes = [*dump.notes, *(note for each in self.heaps for note in each.notes), owners.note]
        self.notes = dict.fromkeys(note for note in notes if note is not None)

    def blocks(self, heap: HeapImage) -> _Blocks:
        """The blocks of one of the heaps."""
        return _Blocks(heap, self._owners.get(id(heap)))


def _bits(dump: Dump) -> int:
    if dump.image is not None:
        return dump.image.bits
    profiles = [heap.profile for heap in dump.heaps]
    return dump.container.bits or (profiles[0].bits if profiles else 32)


class _Blocks:
    """The blocks of a heap in one of the dumps."""

    def __init__(self, heap: HeapImage, owners: HeapOwners | None) -> None:
        self._heap, self._owners = heap, owners
        self.chunk = heap.blocks.chunk
        around = heap.heap.hdr + 8 * heap.heap.trail
        self.bytes = [usable + around for usable in heap.blocks.usable]
        self.has_contents = owners is not None
        nothing = [None] * len(self.chunk)
        self.signatures = nothing if owners is None else owners.signatures
        self.owners = nothing if owners is None else list(map(owners.group, range(len(owners))))

    def unreached(self, blocks: Iterable[int]) -> list[int] | None:
        """Those of some blocks that nothing points to; None where that cannot be known."""
        if self._owners is None or not self._owners.knows_holders:
            return None
        return [block for block in blocks if not self._owners.is_reached(block)]

    def records(self, blocks: Iterable[int]) -> tuple[BlockChange, ...]:
        """Some of the blocks, those with most bytes first."""
        return tuple(map(self._record, sorted(blocks, key=lambda block: -self.bytes[block])))

    def totals(self) -> HeapTotals:
        """The heap in numbers."""
        heap, stats = self._heap, self._heap.stats
        lost = self.unreached(range(len(self.chunk)))
        return HeapTotals(
            name=heap.name,
            address=heap.address,
            size_bytes=heap.size_bytes,
            used_count=len(self.chunk),
            used_bytes=sum(self.bytes),
            free_bytes=stats.free_bytes,
            largest_free_bytes=stats.largest_free_bytes,
            unreached_count=None if lost is None else len(lost),
            unreached_bytes=None if lost is None else sum(map(self.bytes.__getitem__, lost)),
            corruption=heap.corruption.message if heap.corruption else None,
        )

    def _record(self, block: int) -> BlockChange:
        address, size = self._heap.blocks.address[block], self.bytes[block]
        if self._owners is None:
            return BlockChange(address, size, None, None, None, None, None)
        owner = self._owners[block]
        return BlockChange(
            address, size, owner.text, owner.signature, owner.call, owner.held_by, owner.is_reached
        )


def _pairs(old: Sequence[HeapImage], new: Sequence[HeapImage]) -> list[tuple[HeapImage, HeapImage]]:
    """The heaps that are in both dumps, in the order of the later one."""
    keys = (
        lambda heap: (heap.name, heap.address),
        lambda heap: heap.name,
        lambda heap: heap.address,
    )
    partner: dict[int, HeapImage] = {}
    left = list(old)
    for key in keys:
        found = {key(heap): heap for heap in reversed(left)}
        for heap in new:
            if id(heap) not in partner and key(heap) in found:
                partner[id(heap)] = found.pop(key(heap))
        taken = {id(heap) for heap in partner.values()}
        left = [heap for heap in left if id(heap) not in taken]
    return [(partner[id(heap)], heap) for heap in new if id(heap) in partner]


def _heap_diff(before: _Blocks, after: _Blocks) -> HeapDiff:
    went = dict(zip(before.chunk, range(len(before.chunk)), strict=True))
    appeared, stayed_bytes = [], 0
    knows_kinds = before.has_contents and after.has_contents
    for block, chunk in enumerate(after.chunk):
        old = went.get(chunk)
        if (
            old is not None
            and before.bytes[old] == after.bytes[block]
            and (not knows_kinds or before.signatures[old] == after.signatures[block])
        ):
            del went[chunk]
            stayed_bytes += after.bytes[block]
        else:
            appeared.append(block)
    suspects = after.unreached(appeared)
    return HeapDiff(
        before=before.totals(),
        after=after.totals(),
        stayed_count=len(after.chunk) - len(appeared),
        stayed_bytes=stayed_bytes,
        appeared=after.records(appeared),
        went=before.records(went.values()),
        by_size=_growth(before, after, before.bytes, after.bytes),
        by_owner=_growth(before, after, before.owners, after.owners),
        by_signature=_growth(before, after, before.signatures, after.signatures),
        suspects=None if suspects is None else after.records(suspects),
    )


def _growth(
    before: _Blocks,
    after: _Blocks,
    old_keys: Sequence[int | str | None],
    new_keys: Sequence[int | str | None],
) -> tuple[Growth, ...]:
    """What changed, by the keys of the blocks; what grew most is first."""
    old = {group.key: group for group in grouped(old_keys, before.bytes)}
    new = {group.key: group for group in grouped(new_keys, after.bytes)}
    rows = []
    for key in {**new, **old}:
        one, other = old.get(key, Group(key, 0, 0)), new.get(key, Group(key, 0, 0))
        if one != other:
            rows.append(Growth(key, one.count, other.count, one.chunk_bytes, other.chunk_bytes))
    return tuple(sorted(rows, key=lambda row: (-row.change_bytes, str(row.key))))


def _notes(old: _Side, new: _Side) -> Iterable[str]:
    """The notes of both dumps; those of one only with its path."""
    for note in {**old.notes, **new.notes}:
        sides = [side for side in (old, new) if note in side.notes]
        yield note if len(sides) == 2 else f"{sides[0].dump.path}: {note}"
