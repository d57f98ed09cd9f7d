"""Which blocks of a dump something still points to, and from where.

It owns the search: every word of the known memory outside the heaps is taken for a pointer if
it leads into a block, and so is every word of a block that was reached.  What nothing leads to
is a leak suspect; so are blocks that only point at each other.  The search is conservative: a
number, or what an ended call left on a stack, may look like a pointer and hide a leak.

Not here: what a block is (``owners.py``); where threads keep their stacks (``waiters.py``).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import add, itemgetter
from typing import NamedTuple, Protocol

from kheap.dump.memory import Memory

__all__ = ["AT_START", "INSIDE", "UNREACHED", "BlockColumns", "BlockTable", "Interval", "Reach"]
__all__ += ["Region", "find_reach", "merged", "outside", "words_of_region"]

UNREACHED, INSIDE, AT_START = range(3)

_NO_BLOCK = -1
_BEST_RANK = 2 * AT_START  # a pointer to the start, not from a stack

#: From the first address to the one behind the last.
Interval = tuple[int, int]


class BlockColumns(Protocol):
    """The used blocks of one heap, ascending by address: columns of equal length."""

    @property
    def address(self) -> array[int]:
        """First byte of each block's memory, a multiple of the word size."""

    @property
    def usable(self) -> array[int]:
        """Bytes of each block's memory."""


class Region(Protocol):
    """Where a heap lies, and its blocks."""

    @property
    def address(self) -> int:
        """First byte of the region."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the region."""

    @property
    def blocks(self) -> BlockColumns:
        """The used blocks in it."""


class Reach(NamedTuple):
    """How each block is reached: columns of equal length.

    Attributes:
        how: :data:`UNREACHED`; :data:`AT_START` of the block, where an allocation may have
            returned that very address, or :data:`INSIDE` it.
        root: Address of the word outside the heaps that the chain of pointers begins at.
        holder: Address of the block that holds the last pointer; 0 where the root is that.
    """

    how: bytearray
    root: array[int]
    holder: array[int]


class BlockTable:
    """The blocks of several heaps by number: heap after heap, by address within each.

    A heap may lie in a block of another one; an address then belongs to the innermost block.

    Args:
        heaps: The heaps; their regions are apart or within each other.
        lead: For each block, how far into it the pointer lies that the program was given.
        word_bytes: Bytes of a pointer, 4 or 8.

    Attributes:
        offsets: The number of each heap's first block, and at the end the count of all.
        start, usable: Columns of all blocks.
        returned: The blocks by the address that the program was given for them.
    """

    def __init__(self, heaps: Sequence[Region], lead: bytes, word_bytes: int) -> None:
        self.heaps = heaps
        self.word_bytes = word_bytes
        self.offsets = list(accumulate((len(heap.blocks.address) for heap in heaps), initial=0))
        self.start = array("Q", chain.from_iterable(heap.blocks.address for heap in heaps))
        self.usable = array("Q", chain.from_iterable(heap.blocks.usable for heap in heaps))
        self._lead = lead
        # Alignment alone can move what is returned by less than a chunk unit.
        self._least_lead = 8 - word_bytes
        # Most pointers lead to what was returned, and a dictionary finds these at once.
        self.returned = dict(zip(map(add, self.start, lead), range(len(lead)), strict=True))
        self._order = sorted(range(len(lead)), key=self.start.__getitem__)
        self._ordered = array("Q", map(self.start.__getitem__, self._order))
        self._around = [_NO_BLOCK] * len(heaps)
        for h in sorted(range(len(heaps)), key=lambda h: -heaps[h].size_bytes):
            self._around[h] = self._block_around(heaps[h])

    def heap_of(self, block: int) -> int:
        """The heap that a block belongs to."""
        return bisect_right(self.offsets, block) - 1

    def find(self, pointer: int) -> int:
        """The block that an address lies in, or -1. Complexity: O(log blocks)."""
        found = self.returned.get(pointer)
        return self._search(pointer) if found is None else found

    def how(self, pointer: int, block: int) -> int:
        """Whether an allocation may have returned that address in the block: AT_START."""
        distance = pointer - self.start[block]
        return AT_START if distance <= max(self._lead[block], self._least_lead) else INSIDE

    def inner_regions(self) -> dict[int, list[Interval]]:
        """The regions of heaps that lie in blocks of others, by these blocks."""
        found: dict[int, list[Interval]] = {}
        for heap, block in zip(self.heaps, self._around, strict=True):
            if block != _NO_BLOCK:
                found.setdefault(block, []).append((heap.address, heap.address + heap.size_bytes))
        return {block: merged(regions) for block, regions in found.items()}

    def _search(self, pointer: int) -> int:
        at = bisect_right(self._ordered, pointer) - 1
        block = self._order[at] if at >= 0 else _NO_BLOCK
        while block != _NO_BLOCK and pointer >= self.start[block] + self.usable[block]:
            block = self._around[self.heap_of(block)]
        return block

    def _block_around(self, heap: Region) -> int:
        block = self._search(heap.address)
        # Each step outwards leads to a larger heap, so the steps end.
        if block != _NO_BLOCK and self.heaps[self.heap_of(block)].size_bytes > heap.size_bytes:
            return block
        return _NO_BLOCK


def find_reach(
    memory: Memory,
    table: BlockTable,
    *,
    constant: Iterable[Interval] = (),
    on_stack: Callable[[int], bool] = lambda address: False,
) -> Reach | None:
    """Follow the pointers from all memory outside the heaps; None where none of it is known.

    Args:
        memory: What is known.
        table: The blocks.
        constant: Memory that the program cannot write: it holds no pointers to blocks.
        on_stack: Whether an address lies in a thread's stack. A variable is preferred to a
            stack, and a pointer to a block's start to one further in.

    Complexity: O(words outside the heaps + words of the reached blocks), and O(log blocks)
    for each that may be a pointer but not to a block's start.
    """
    search = _Search(memory, table)
    regions = [(heap.address, heap.address + heap.size_bytes) for heap in table.heaps]
    if not search.take_roots(memory, merged([*regions, *constant]), on_stack):
        return None
    search.spread()
    return Reach(search.how, search.root, search.holder)


class _Search:
    """One search; the columns are those of :class:`Reach`."""

    def __init__(self, memory: Memory, table: BlockTable) -> None:
        self.table = table
        count = len(table.start)
        self.how = bytearray(count)
        self.root = array("Q", bytes(8)) * count
        self.holder = array("Q", bytes(8)) * count
        self._low = min(table.start, default=0)
        self._high = max(map(add, table.start, table.usable), default=0)
        self._inner = table.inner_regions()
        self._words = [
            words_of_region(memory, heap.address, heap.size_bytes, table.word_bytes)
            for heap in table.heaps
        ]

    def take_roots(
        self, memory: Memory, aside: list[Interval], on_stack: Callable[[int], bool]
    ) -> int:
        """Take all words but those ``aside`` for pointers; how many words there are."""
        width, low, high = self.table.word_bytes, self._low, self._high
        rank = bytearray(len(self.how))
        seen = 0
        for segment in memory.segments:
            for start, end in outside(segment.address, segment.end, aside):
                first = start + -start % width
                data = segment.data[first - segment.address : end - segment.address]
                words = _as_words(data, width)
                seen += len(words)
                for i in [i for i, word in enumerate(words) if low <= word < high]:
                    self._take_root(words[i], first + i * width, rank, on_stack)
        return seen

    def _take_root(
        self, word: int, address: int, rank: bytearray, on_stack: Callable[[int], bool]
    ) -> None:
        block = self.table.find(word)
        if block == _NO_BLOCK or rank[block] == _BEST_RANK:
            return
        how = self.table.how(word, block)
        value = how if on_stack(address) else how + AT_START
        if value > rank[block]:
            rank[block] = value
            self.how[block], self.root[block] = how, address

    def spread(self) -> None:
        """Follow the pointers in blocks, nearest to the roots first."""
        table, low, high = self.table, self._low, self._high
        returned, how, root, holder = table.returned, self.how, self.root, self.holder
        queue = [block for block, state in enumerate(how) if state]
        for block in queue:  # It grows on the way.
            for word in self._words_in(block):
                if low <= word < high:
                    found, state = returned.get(word), AT_START
                    if found is None:
                        found = table.find(word)
                        state = table.how(word, found)
                    if not how[found] and found != _NO_BLOCK:
                        how[found] = state
                        root[found] = root[block]
                        holder[found] = table.start[block]
                        queue.append(found)

    def _words_in(self, block: int) -> Iterable[int]:
        """The words of a block, without those of a heap that lies in it."""
        table = self.table
        first, words = self._words[table.heap_of(block)]
        start, usable, width = table.start[block], table.usable[block], table.word_bytes
        if block not in self._inner:
            at = (start - first) // width
            return words[at : at + usable // width]
        parts = outside(start, start + usable, self._inner[block])
        return chain.from_iterable(
            words[(a + -a % width - first) // width : (b - first) // width] for a, b in parts
        )


def words_of_region(
    memory: Memory, address: int, size_bytes: int, word_bytes: int
) -> tuple[int, memoryview]:
    """The aligned words of a region, as far as it is known from its start on.

    Returns:
        The address of the first one, and the words.
    """
    first = address + -address % word_bytes
    count = max(0, address + size_bytes - first)
    data = memory.read(first, count)
    if data is None:
        data = memory.read(first, min(count, memory.extent(first)))
    return first, _as_words(data or memoryview(b""), word_bytes)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same addresses in intervals that ascend and do not touch each other.

    >>> merged([(90, 200), (10, 20), (15, 30), (30, 31)])
    [(10, 31), (90, 200)]
    """
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def outside(start: int, end: int, taken: Sequence[Interval]) -> Iterator[Interval]:
    """What of ``start`` .. ``end - 1`` lies in none of some intervals of :func:`merged`.

    >>> list(outside(0, 100, [(10, 30), (90, 200)]))
    [(0, 10), (30, 90)]
    """
    at = bisect_right(taken, start, key=itemgetter(1))
    while at < len(taken) and taken[at][0] < end:
        first, last = taken[at]
        if start < first:
            yield start, first
        start, at = last, at + 1
    if start < end:
        yield start, end


def _as_words(data: memoryview, width: int) -> memoryview:
    return data[: len(data) // width * width].cast("I" if width == 4 else "Q")
