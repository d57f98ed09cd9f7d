"""Who owns the blocks of a dump: by which call they came, what they are, and what holds them.

It owns reading a block's first words, and putting the answer into a few words:

* k_malloc and its family store the address of their heap's object in front of what they
  return; so such a block is told from one of ``k_heap_alloc()`` or ``sys_heap_alloc()``.
* The first word that points exactly to a constant of the program (a table of functions, a
  descriptor, a function, a string), else a text at the start, is the block's *signature*:
  blocks of one kind share it.
* What points to it, of the program's variables, stacks and other blocks: ``reach.py``.

The words themselves, as reports and ``chunks[].owner`` of ``kheap inspect --json`` have them:
:attr:`Owner.text`.

Not here: which blocks there are (``heap_image.py``), what became of them
(``diff.py``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from kheap.dump.memory import Memory
from kheap.dump.names import Names, quoted
from kheap.dump.program.image import Image
from kheap.dump.reach import (
    AT_START,
    UNREACHED,
    BlockTable,
    Reach,
    Region,
    find_reach,
    merged,
    outside,
    words_of_region,
)

__all__ = ["Group", "HeapOwners", "OwnedHeap", "Owner", "Owners", "find_owners", "grouped"]

#: Of more blocks than these it is not looked for what holds them.
MOST_BLOCKS = 1 << 22
#: A block's kind is looked for in so many words from its start on.
SIGNATURE_WORDS = 16

_NOT_BASED = "what holds the blocks is not known: nobody told the address of the image"
_HEAPS_ALONE = "what holds the blocks is not known: there is no memory but the heaps"

_TEXT = re.compile(rb"[ -~]{4,}")
_SURE_TEXT_BYTES = 12  # So many characters in a row are no chance, even without a zero behind.


class OwnedHeap(Region, Protocol):
    """What is to be known of a heap; a :class:`kheap.dump.heap_image.HeapImage` is one."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def kind(self) -> str:
        """As its object: "k_heap", "sys_heap", or "" where that was not found."""

    @property
    def object_address(self) -> int | None:
        """Address of its object."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns one block.

    Attributes:
        call: "k_malloc from NAME" with the heap's name, "k_heap_alloc" or "sys_heap_alloc";
            None where the heap's object was not found.
        signature: The constant that it points to first (``lv_label_class``), or a text in
            quotes; None without either.
        held_by: What holds a pointer to it: a variable and offset (``g_ctx+0x8``), "stack of
            thread NAME", "via block 0x...", or the address of a word that has no name.
        root: Where the chain of pointers to it begins; as ``held_by`` unless that is a block.
        at_start: Whether that pointer leads to its start; False for one further in.
        is_reached: False for a leak suspect; None where that cannot be known.
        text: All this in a word or two: the signature; else what holds it, or "via " and the
            root where that is a block; else "k_malloc" if that is the call; else None.
    """

    call: str | None
    signature: str | None
    held_by: str | None
    root: str | None
    at_start: bool
    is_reached: bool | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns the blocks of several heaps.

    Attributes:
        heaps: As the heaps were given.
        note: Why it is not known what holds the blocks; None where it is.
    """

    heaps: list[HeapOwners]
    note: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks that have something in common.

    Attributes:
        key: What: a size, an owner; None for those without.
        count: How many.
        chunk_bytes: What their chunks take.
    """

    key: int | str | None
    count: int
    chunk_bytes: int


def grouped(keys: Iterable[int | str | None], chunk_bytes: Iterable[int]) -> list[Group]:
    """The groups of blocks with equal keys, those with most bytes first."""
    counts: Counter[int | str | None] = Counter()
    sums: Counter[int | str | None] = Counter()
    for key, size in zip(keys, chunk_bytes, strict=True):
        counts[key] += 1
        sums[key] += size
    groups = [Group(key, counts[key], size) for key, size in sums.items()]
    return sorted(groups, key=lambda group: (-group.chunk_bytes, str(group.key)))


def find_owners(
    memory: Memory,
    heaps: Sequence[OwnedHeap],
    *,
    word_bytes: int,
    image: Image | None = None,
    is_based: bool = True,
) -> Owners:
    """Who owns the blocks of all heaps.

    What holds a block can only be known where all memory that could is in the dump: every
    writable section of the program; without a program, some memory besides the heaps.

    Args:
        memory: What is known of the target.
        heaps: All heaps in it: pointers lead from one to another.
        word_bytes: Bytes of a pointer, 4 or 8.
        image: The program; without it there are no names.
        is_based: Whether the memory lies at its real addresses; else pointers lead nowhere.

    Complexity: as :func:`kheap.dump.reach.find_reach`. The answers take about 20 bytes a
    block; up to 300 are in use until then, so no more than :data:`MOST_BLOCKS` are followed.
    """
    names = Names(memory, word_bytes, image)
    objects = {heap.object_address: heap.name for heap in heaps if heap.object_address}
    owned = [HeapOwners(heap, objects, names) for heap in heaps]
    note = _gap_in(memory, heaps, image) if is_based else _NOT_BASED
    if note is None and sum(map(len, owned)) > MOST_BLOCKS:
        note = f"what holds the blocks is not looked for: more than {MOST_BLOCKS:,}"
    if note is None:
        table = BlockTable(heaps, b"".join(each.lead for each in owned), word_bytes)
        constant = [(section.address, section.end) for section in names.constants]
        reach = find_reach(memory, table, constant=constant, on_stack=names.is_on_stack)
        for each, start in zip(owned, table.offsets, strict=False):
            each.take(reach, start)
        if reach is None:
            note = _HEAPS_ALONE
    return Owners(owned, note)


def _gap_in(memory: Memory, heaps: Sequence[Region], image: Image | None) -> str | None:
    """What of the program's variables is not in the dump, in words."""
    regions = merged((heap.address, heap.address + heap.size_bytes) for heap in heaps)
    for section in image.sections if image else ():
        if section.writable:
            for start, end in outside(section.address, section.end, regions):
                if memory.extent(start) < end - start:
                    return (
                        f"what holds the blocks is not known: section {section.name} at"
                        f" {section.address:#x} is not wholly in the dump"
                    )
    return None


class HeapOwners:
    """Who owns the blocks of one heap, by their number; worked out when it is asked for.

    Attributes:
        lead: For each block, the bytes in front of what the program was given: up to and with
            k_malloc's word; 0 for other blocks.
    """

    def __init__(self, heap: OwnedHeap, objects: dict[int, str], names: Names) -> None:
        self._heap, self._objects, self._names = heap, objects, names
        self._reach: Reach | None = None
        self._row = 0  # of the first block, in the columns of the reach
        self._width = names.word_bytes
        self._first, self._words = words_of_region(
            names.memory, heap.address, heap.size_bytes, self._width
        )
        self._data = self._words.cast("B")
        self.lead = self._leads() if objects else bytes(len(self))

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self._heap.blocks.address)

    def __iter__(self) -> Iterator[Owner]:
        """All of each block."""
        return map(self.__getitem__, range(len(self)))

    @property
    def knows_holders(self) -> bool:
        """Whether it is known what points to the blocks."""
        return self._reach is not None

    def take(self, reach: Reach | None, row: int) -> None:
        """Keep what is known of these blocks, from a row on."""
        self._reach, self._row = reach, row

    def __getitem__(self, block: int) -> Owner:
        """All that is known of one block."""
        held_by = root = None
        row = self._row + block
        is_reached = self.is_reached(block)
        if self._reach is not None and is_reached:
            held_by = root = self._names.place(self._reach.root[row])
            if self._reach.holder[row]:
                held_by = f"via block {self._reach.holder[row]:#x}"
        return Owner(
            call=self._call(block),
            signature=self.signatures[block],
            held_by=held_by,
            root=root,
            at_start=self._reach is not None and self._reach.how[row] == AT_START,
            is_reached=is_reached,
            text=self.text(block),
        )

    def text(self, block: int) -> str | None:
        """:attr:`Owner.text` of one block."""
        return self._told(block, self._names.place)

    def group(self, block: int) -> str | None:
        """As :meth:`text`, but a variable as a whole: what tables add up.

        ``g_ctx`` in the place of ``g_ctx+0x8``, "unnamed memory" in that of an address.
        """
        return self._told(block, self._names.variable)

    def _told(self, block: int, name: Callable[[int], str]) -> str | None:
        signature = self.signatures[block]
        row = self._row + block
        if signature is not None:
            return signature
        if self._reach is None or not self._reach.how[row]:
            return "k_malloc" if self.lead[block] else None
        root = name(self._reach.root[row])
        return f"via {root}" if self._reach.holder[row] else root

    def is_reached(self, block: int) -> bool | None:
        """Whether anything leads to a block; None where that cannot be known."""
        return None if self._reach is None else self._reach.how[self._row + block] != UNREACHED

    @cached_property
    def signatures(self) -> list[str | None]:
        """:attr:`Owner.signature` of all blocks."""
        return [self._signature(block) for block in range(len(self))]

    def _signature(self, block: int) -> str | None:
        for word in self._head(block, self.lead[block], SIGNATURE_WORDS):
            name = self._names.constant(word)
            if name is not None:
                return name
        return self._text_in(block)

    def _leads(self) -> bytes:
        blocks, width = self._heap.blocks, self._width
        words, objects = self._words, self._objects
        found = bytearray(len(self))
        known = len(words) - 8 // width
        for block, address in enumerate(blocks.address):
            at = (address - self._first) // width
            if at > known:
                break
            if words[at] in objects:
                found[block] = width
            elif width == 4 and words[at + 1] in objects:  # An aligned block may begin there.
                found[block] = 8
        return bytes(found)

    def _call(self, block: int) -> str | None:
        if self.lead[block]:
            last = self._head(block, self.lead[block] - self._width, 1)[0]
            return f"k_malloc from {self._objects[last]}"
        return f"{self._heap.kind}_alloc" if self._heap.kind else None

    def _head(self, block: int, skipped_bytes: int, most: int) -> memoryview:
        """The block's first words, behind some bytes."""
        blocks, width = self._heap.blocks, self._width
        at = (blocks.address[block] + skipped_bytes - self._first) // width
        count = (blocks.usable[block] - skipped_bytes) // width
        return self._words[at : at + min(most, count)]

    def _text_in(self, block: int) -> str | None:
        blocks, lead = self._heap.blocks, self.lead[block]
        start = blocks.address[block] + lead - self._first
        end = start + blocks.usable[block] - lead
        found = _TEXT.match(self._data, start, end)
        if found is None or len(set(found[0])) == 1:
            return None  # One character again and again is a fill pattern, such as 0x55.
        count = found.end() - start
        if count < _SURE_TEXT_BYTES and found.end() < end and self._data[found.end()]:
            return None
        if count < 8 and any(map(self._names.memory.extent, self._head(block, lead, 1))):
            return None  # It is a pointer whose bytes happen to be characters.
        return quoted(found[0].decode("ascii"))
