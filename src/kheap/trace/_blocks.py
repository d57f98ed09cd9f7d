"""From pointers, or a file's own ids, to the dense ids of a trace's blocks.

What it owns: the rules by which a recorded request or free becomes an operation, written
once for all formats:

- Ids are small: a freed id serves the next request, so that there are as many as blocks
  were ever live at once.
- A request that failed takes an id but does not hold it; a failed realloc keeps its block.
- What concerns a block that the trace never saw is no operation (a free) or a plain
  request (a realloc), and is counted in ``Trace.notes``.

It fills the columns op, id, size and, for pointers, heap and result; each method returns
whether it added an operation, so that the caller can fill the others.

What it does not: reading text and checking numbers (``_columns.py``).
"""

from __future__ import annotations

from collections import defaultdict

from kheap.trace._columns import INT64_MAX, Columns
from kheap.trace._lines import Refused, shown
from kheap.trace.model import ALLOC, FREE, NO_RESULT, REALLOC

NOTE_FREE_NULL = "free of NULL"
NOTE_FREE_UNKNOWN = "free of a block from before the trace"
NOTE_REALLOC_UNKNOWN = "realloc of a block from before the trace"
NOTE_STILL_LIVE = "request answered with the address of a live block (a free is missing)"
NOTE_CLIPPED = "failed request of 2**63 bytes or more, kept as 2**63 - 1"
NOTE_FREE_EMPTY = "free of an id that holds no block"
NOTE_REALLOC_EMPTY = "realloc of an id that holds no block"


class _Blocks:
    """The live blocks of each heap, by the file's word for them, and the unused ids."""

    def __init__(self, columns: Columns) -> None:
        self._notes = columns.notes
        self._op = columns.op
        self._id = columns.id
        self._size = columns.size
        self._live: defaultdict[int, dict[int, int]] = defaultdict(dict)
        self._unused: list[int] = []
        self._id_count = 0

    def _new_id(self) -> int:
        self._id_count += 1
        return self._id_count - 1


class PointerBlocks(_Blocks):
    """Blocks that the file knows by their address.

    Numbers are not negative and addresses below 2**63; 0 is NULL.
    """

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self._heap = columns.heap
        self._result = columns.result

    def alloc(self, pointer: int, size: int, heap: int = 0) -> bool:
        """A request for ``size`` bytes was answered with ``pointer``."""
        if size > INT64_MAX:
            size = self._clip(size, pointer)
        unused = self._unused
        if pointer:
            live = self._live[heap]
            if pointer in live:
                self._notes[NOTE_STILL_LIVE] += 1
            live[pointer] = id = unused.pop() if unused else self._new_id()
        else:
            id = unused[-1] if unused else self._id_count
        self._op.append(ALLOC)
        self._id.append(id)
        self._size.append(size)
        self._heap.append(heap)
        self._result.append(pointer)
        return True

    def realloc(self, old: int, pointer: int, size: int, heap: int = 0) -> bool:
        """A request to resize ``old`` to ``size`` bytes was answered with ``pointer``."""
        live = self._live[heap]
        id = live.get(old)
        if id is None:
            return self._realloc_unknown(old, pointer, size, heap)
        if size > INT64_MAX:
            size = self._clip(size, pointer)
        if pointer and pointer != old:
            if pointer in live:
                self._notes[NOTE_STILL_LIVE] += 1
            del live[old]
            live[pointer] = id
        elif not pointer and not size:
            del live[old]
            self._unused.append(id)
        self._op.append(REALLOC)
        self._id.append(id)
        self._size.append(size)
        self._heap.append(heap)
        self._result.append(pointer)
        return True

    def free(self, pointer: int, heap: int = 0) -> bool:
        """``pointer`` was freed."""
        id = self._live[heap].pop(pointer, None)
        if id is None:
            self._notes[NOTE_FREE_UNKNOWN if pointer else NOTE_FREE_NULL] += 1
            return False
        self._unused.append(id)
        self._op.append(FREE)
        self._id.append(id)
        self._size.append(0)
        self._heap.append(heap)
        self._result.append(NO_RESULT)
        return True

    def holds(self, pointer: int, heap: int = 0) -> bool:
        """Whether a live block is at an address."""
        return pointer in self._live[heap]

    def forget(self, heap: int) -> None:
        """The heap was initialised anew: none of its blocks lives on."""
        self._unused.extend(self._live[heap].values())
        self._live[heap].clear()

    def _realloc_unknown(self, old: int, pointer: int, size: int, heap: int) -> bool:
        if not old:
            return self.alloc(pointer, size, heap)
        if not size and not pointer:
            return self.free(old, heap)
        added = self.alloc(pointer, size, heap)
        self._notes[NOTE_REALLOC_UNKNOWN] += 1
        return added

    def _clip(self, size: int, pointer: int) -> int:
        """Programs do ask for SIZE_MAX bytes; no heap serves that, nor 2**63 - 1."""
        if pointer:
            raise Refused(f"expected sizes below 2**63, found {shown(size)}")
        self._notes[NOTE_CLIPPED] += 1
        return INT64_MAX


class IdBlocks(_Blocks):
    """Blocks that the file gives ids of its own, which need be neither small nor dense.

    Args:
        columns: Where the operations go.
        strict: Refuse a free or realloc of an id without a block, unless a realloc to 0
            bytes emptied it.  Otherwise such an id is NULL: its request may have failed.
    """

    def __init__(self, columns: Columns, *, strict: bool) -> None:
        super().__init__(columns)
        self._strict = strict
        self._emptied: set[tuple[int, int]] = set()
        self._lines: list[int] = []

    def alloc(
        self, key: int, size: int, heap: int = 0, line: int = 0, result: int = NO_RESULT
    ) -> bool:
        """Request ``size`` bytes for the id ``key``, as line number ``line`` says.

        Args:
            key: The file's word for the block.
            size: Requested bytes.
            heap: Index of the heap.
            line: Number of the line, for messages.
            result: 0 where the file says that the request failed; then the id holds nothing.
        """
        live = self._live[heap]
        if key in live:
            born = self._lines[live[key]]
            raise Refused(f"id {key} still holds a block, allocated at line {born}")
        if self._emptied:
            self._emptied.discard((heap, key))
        if not result:
            id = self._unused[-1] if self._unused else self._id_count
        elif self._unused:
            live[key] = id = self._unused.pop()
            self._lines[id] = line
        else:
            live[key] = id = self._new_id()
            self._lines.append(line)
        self._op.append(ALLOC)
        self._id.append(id)
        self._size.append(size)
        return True

    def realloc(
        self, key: int, size: int, heap: int = 0, line: int = 0, result: int = NO_RESULT
    ) -> bool:
        """Resize the block of ``key``; to 0 bytes: free it, unless it was given an address."""
        live = self._live[heap]
        id = live.get(key)
        if id is None:
            self._note_empty(key, heap, NOTE_REALLOC_EMPTY)
            return self.alloc(key, size, heap, line, result)
        if not size and result <= 0:
            del live[key]
            self._unused.append(id)
            self._emptied.add((heap, key))
        self._op.append(REALLOC)
        self._id.append(id)
        self._size.append(size)
        return True

    def free(
        self, key: int, size: int = 0, heap: int = 0, line: int = 0, result: int = NO_RESULT
    ) -> bool:
        """Free the block of ``key``; the rest is there to be called as the others."""
        id = self._live[heap].pop(key, None)
        if id is None:
            self._note_empty(key, heap, NOTE_FREE_EMPTY)
            return False
        self._unused.append(id)
        self._op.append(FREE)
        self._id.append(id)
        self._size.append(0)
        return True

    def _note_empty(self, key: int, heap: int, note: str) -> None:
        if self._strict and (heap, key) not in self._emptied:
            raise Refused(f"id {key} holds no block")
        self._notes[note] += 1
