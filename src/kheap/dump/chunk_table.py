"""The chunks of a heap as columns: a million of them are a few arrays, not objects.

It owns listing a heap whose chain may be broken: what was walked from the left, from the
right, or found between, with the stretches that cannot be read as rows of their own, so that
the rows tile the heap.  Not here: why a chain is broken (``diagnosis.py``).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import compress

from kheap._core._native import Column
from kheap._core.survey import Survey

__all__ = ["CONTROL", "DAMAGED", "END", "FREE", "STATES", "UNDERSIZED", "UNREAD", "USED"]
__all__ += ["Blocks", "ChunkTable", "Span"]

CONTROL, USED, FREE, UNDERSIZED, END, DAMAGED, UNREAD = range(7)

#: What the codes in :attr:`ChunkTable.state` mean.  A damaged chunk's header does not hold, but
#: its neighbours tell its extent; an unread stretch is no chunk.
STATES = ("control", "used", "free", "undersized", "end", "damaged", "unread")

_IS_USED = bytes(int(code == USED) for code in range(256))


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a heap, from chunk ``start`` up to chunk ``stop``.

    Attributes:
        start, stop: In units.
        state: -1 for a chain of chunks; else DAMAGED or UNREAD, for what is one row.
    """

    start: int
    stop: int
    state: int = -1


def _column() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Blocks:
    """The used blocks by address, as columns of equal length.

    Attributes:
        address: First byte of the block's memory, behind the chunk's header.
        usable: Bytes from there to the chunk's end, or to its canary.
        chunk: The chunk's id.
    """

    address: array[int] = field(default_factory=lambda: array("Q"))
    usable: array[int] = field(default_factory=_column)
    chunk: array[int] = field(default_factory=_column)

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self.chunk)


@dataclass(slots=True)
class ChunkTable:
    """All chunks by address; see the module's head.

    Attributes:
        chunk: Ids, ascending.
        units: Sizes in units, headers included; 0 for the end marker.
        state: An index into :data:`STATES` for each.
    """

    chunk: array[int] = field(default_factory=_column)
    units: array[int] = field(default_factory=_column)
    state: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, survey: Survey, spans: list[Span], end_chunk: int) -> ChunkTable:
        """List a heap along ``spans``, which tile it up to its end marker."""
        table = cls()
        for span in spans:
            if span.state >= 0:
                table._append(span.start, span.stop - span.start, span.state)
            else:
                table._extend(survey, span)
        table._append(end_chunk, 0, END)
        return table

    def _append(self, chunk: int, units: int, state: int) -> None:
        self.chunk.append(chunk)
        self.units.append(units)
        self.state.append(state)

    def _extend(self, survey: Survey, span: Span) -> None:
        rows = survey.length(span.start, span.stop)
        ids, units, state = (
            array("q", bytes(8 * rows)),
            array("q", bytes(8 * rows)),
            bytearray(rows),
        )
        column = Column(ids)
        survey.fill(span.start, span.stop, column, 0, rows)
        survey.states(column, rows, Column(units), Column(state))
        self.chunk += ids
        self.units += units
        self.state += state

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.chunk)

    def count(self, state: int) -> int:
        """Rows in that state."""
        return self.state.count(state)

    def sizes(self, state: int) -> list[int]:
        """The units of the chunks in that state, by address."""
        selected = self.state.translate(bytes(int(code == state) for code in range(256)))
        return list(compress(self.units, selected))

    def blocks(self, first_address: int, header_bytes: int, less_bytes: int) -> Blocks:
        """The used blocks of a heap whose chunk 0 lies at ``first_address``.

        ``less_bytes`` of a chunk are not the block's: header and canary.
        """
        selected = self.state.translate(_IS_USED)
        chunks = array("q", compress(self.chunk, selected))
        start = first_address + header_bytes
        return Blocks(
            array("Q", [start + 8 * c for c in chunks]),
            array("q", [8 * units - less_bytes for units in compress(self.units, selected)]),
            chunks,
        )
