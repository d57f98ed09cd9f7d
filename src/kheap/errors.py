"""The errors of kheap, one family under :class:`KheapError`.

Each carries the numbers it speaks of as fields, so that a program need not
read the text.  Wrong arguments are plain ``ValueError`` and ``TypeError``.

Every constructor can do with the text alone: so they can be pickled, which makes them again
from the text and then sets the fields.
"""

from __future__ import annotations

__all__ = [
    "CommandError",
    "DumpError",
    "HeapCorruption",
    "InvalidFree",
    "KheapError",
    "NotDefined",
    "OutOfMemory",
    "TimedOut",
    "TraceError",
]


class KheapError(Exception):
    """The root of all errors that kheap raises on its own account."""


class OutOfMemory(KheapError, MemoryError):
    """No free chunk serves the request; no live block has changed.

    Attributes:
        request_bytes: What was asked.
        free_bytes: Bytes in all free chunks, as the statistics count them.
        largest_free_bytes: Bytes in the largest free chunk, counted alike.
    """

    def __init__(
        self,
        message: str,
        request_bytes: int = 0,
        free_bytes: int = 0,
        largest_free_bytes: int = 0,
    ) -> None:
        super().__init__(message)
        self.request_bytes = request_bytes
        self.free_bytes = free_bytes
        self.largest_free_bytes = largest_free_bytes


class TimedOut(KheapError, TimeoutError):
    """The time limit of a wait ran out before memory was free."""


class InvalidFree(KheapError):
    """A free (or realloc) of something that is no live block of this heap.

    Raised before the first write.

    Attributes:
        offset: What was given, in bytes from the region's first byte.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class HeapCorruption(KheapError):
    """The region breaks an invariant of the layout; raised before the first write.

    Attributes:
        chunk: Id of the first bad chunk (its offset from the heap start in 8-byte units).
        invariant: The invariant's name, "I1" to "I10"; ``kheap._core.chunk`` lists them.
    """

    def __init__(self, message: str, chunk: int = 0, invariant: str = "") -> None:
        super().__init__(message)
        self.chunk = chunk
        self.invariant = invariant


class NotDefined(KheapError):
    """A heap of size 0: the configuration defines no such heap."""


class TraceError(KheapError):
    """A trace file that cannot be read.

    Attributes:
        path: The file, as the caller named it.
        line: Number of the bad line, from 1; None where no single line is at fault.
    """

    def __init__(self, reason: str, path: str = "", line: int | None = None) -> None:
        place = path if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {reason}" if place else reason)
        self.path = path
        self.line = line


class DumpError(KheapError):
    """A dump that cannot be read, or that holds no heap."""


class CommandError(KheapError):
    """A command was used wrongly or cannot go on: one line and an exit code.

    Attributes:
        exit_code: 2 for wrong usage or unreadable input.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
