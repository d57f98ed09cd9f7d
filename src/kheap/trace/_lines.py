"""The lines of a trace file, whatever it is packed in.

What it owns: opening for reading only, unpacking gzip (RFC 1952) and Zstandard (RFC 8878)
as the first bytes say, cutting the stream into numbered lines with a limit on their length,
and what becomes of a line that cannot be read: an error with its place, or one more in the
count of skipped lines.

What it does not: any format; lines are bytes here.  Next: ``_columns.py``.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, cast

from kheap.errors import TraceError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: The longest line that is read; a usual one has 20 to 200 bytes, a header a few thousand.
MAX_LINE_BYTES = 1 << 20

_BLOCK_BYTES = 1 << 16  # small enough that the objects made of a batch stay in the cache
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_UTF8_MARK = b"\xef\xbb\xbf"
_DAMAGE = (gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError)
_SHOWN_CHARACTERS = 60


class Refused(ValueError):
    """A line that reads well but cannot be; its text is the whole reason."""


def shown(value: object) -> str:
    """A value, or the bytes of a line, short and plain enough for a message."""
    if value is None:
        return "nothing"
    text = repr(value)[1:] if isinstance(value, bytes) else ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class Lines:
    """The lines of one file.

    Attributes:
        path: The file, as the caller named it.
        head: What the file begins with, unpacked: up to 64 KiB.
        skipped: Lines refused so far; stays 0 unless ``lenient``.
        is_packed: Whether the file is gzip or Zstandard.
    """

    def __init__(
        self, path: str, stream: IO[bytes], *, lenient: bool = False, is_packed: bool = False
    ) -> None:
        self.path = path
        self.is_packed = is_packed
        self.skipped = 0
        self._stream = stream
        self._lenient = lenient
        self.head = self._read().removeprefix(_UTF8_MARK)

    def batches(self) -> Iterator[tuple[int, list[bytes]]]:
        """All lines, once, some thousand at a time: the number of the first, and each one.

        Numbers are from 1; lines are without their ends.  A line that is too long is refused,
        and then stands as an empty one.
        """
        number = 1
        rest = b""
        block = self.head
        while block:
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if lines and len(lines[0]) > MAX_LINE_BYTES:
                self._refuse_long(number)
                lines[0] = b""
            yield number, lines
            number += len(lines)
            block = self._read()
            if len(rest) > MAX_LINE_BYTES:
                self._refuse_long(number)
                rest = b""
                block = self._from_line_end(block)
        if rest:
            yield number, [rest]

    def content(self, limit_bytes: int) -> bytes:
        """The whole file, once, for a format that has no lines.

        Raises:
            TraceError: It is larger than ``limit_bytes``.
        """
        blocks = [self.head]
        count = len(self.head)
        while block := self._read():
            blocks.append(block)
            count += len(block)
            if count > limit_bytes:
                raise TraceError(f"expected at most {limit_bytes:,} bytes, found more", self.path)
        return b"".join(blocks)

    def refuse(self, number: int, line: bytes, expected: str, error: Exception) -> None:
        """Refuse a line: for the reason that ``error`` gives, else for not being ``expected``.

        Raises:
            TraceError: Unless the reading is lenient.
        """
        if isinstance(error, Refused):
            self.refuse_because(number, str(error))
        else:
            self.refuse_because(number, f"expected {expected}, found {shown(line.strip())}")

    def refuse_because(self, number: int | None, reason: str) -> None:
        """Refuse a line, or what is none, for a reason; raises as :meth:`refuse` does."""
        if not self._lenient:
            raise TraceError(reason, self.path, number)
        self.skipped += 1

    def _refuse_long(self, number: int) -> None:
        reason = f"expected lines of at most {MAX_LINE_BYTES:,} bytes, found a longer one"
        self.refuse_because(number, reason)

    def _from_line_end(self, block: bytes) -> bytes:
        """The stream from the next line end on, dropping what comes before it."""
        while block and b"\n" not in block:
            block = self._read()
        return block[block.find(b"\n") :]

    def _read(self) -> bytes:
        try:
            return self._stream.read(_BLOCK_BYTES)
        except _DAMAGE as error:
            reason = f"the compressed data is damaged or cut short ({error})"
            raise TraceError(reason, self.path) from None


@contextmanager
def open_lines(path: str, *, lenient: bool = False) -> Iterator[Lines]:
    """Open a file for reading its lines.

    Raises:
        OSError: The file cannot be opened or read.
        TraceError: Compressed data is damaged.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        magic = file.peek(len(_ZSTD_MAGIC))
        stream: IO[bytes] = file
        if magic.startswith(_GZIP_MAGIC):
            stream = cast("IO[bytes]", stack.enter_context(gzip.open(file, "rb")))
        elif magic.startswith(_ZSTD_MAGIC):
            stream = cast("IO[bytes]", stack.enter_context(zstd.open(file, "rb")))
        yield Lines(path, stream, lenient=lenient, is_packed=stream is not file)
