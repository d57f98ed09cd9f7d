"""Recordings: what was read of a running target, sample by sample, in a file.

A recording is gzip'd JSON lines.  The first is the header::

    {"format": "kheap-recording", "version": 1, "target": "gdb://localhost:1234",
     "elf": "build/zephyr/zephyr.elf", "elf_sha256": "9f86...", "profile": {"release": "4.4", ...},
     "names": [[address, "my_heap"], ...]}

Then one line for each sample::

    {"t": 1.002, "full": false, "ranges": [[address, bytes], ...],
     "segments": [[address, base64 of zlib'd bytes], ...]}

``ranges`` is what the sample holds, by address, and is left out where that is as before;
``segments`` are the bytes of it that were not so before.  A ``full`` sample needs none before
it: the first is full, and one at least of any 64.

What it owns: this format, written and read.  What it does not: where samples come from
(``live.py``), and heaps (``dump.py``).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kheap.dump.memory import Memory
from kheap.dump.target._deltas import Piece, changes, pieces_of, put, ranges_of
from kheap.errors import DumpError
from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.dump.program.image import Image

__all__ = ["Header", "Recorder", "Recording"]

FORMAT, VERSION = "kheap-recording", 1
#: So many samples at most need the ones before them.
MOST_DELTAS = 63

# What is read at most, whatever the file says.
MOST_SAMPLE_BYTES = 1 << 26
MOST_RANGES = 1 << 16
MOST_TEXT_BYTES = 1 << 28


#: What reading the fields of a line raises where they are not as they should be.
_MALFORMED = (
    AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording says of itself.

    Attributes:
        target: What was watched.
        elf: Its ELF file, as it was named then; None: there was none.
        elf_sha256: That file's SHA-256, in hex.
        profile: Which Zephyr; None where it was not known.
        names: Address and name of each heap's object, so that heaps have names without the
            ELF file too.
    """

    target: str
    elf: str | None = None
    elf_sha256: str | None = None
    profile: Profile | None = None
    names: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(cls, target: str, image: Image, profile: Profile | None) -> Header:
        """The header for a target that runs this program; its file is read for the SHA-256.

        Raises:
            OSError: The file cannot be read.
        """
        names = tuple((found.address, found.name) for found in image.objects)
        return cls(target, image.path, _sha256(image.path), profile or image.profile, names)

    def is_of(self, path: str) -> bool:
        """Whether that file is the target's ELF file; False where it cannot be read."""
        try:
            return _sha256(path) == self.elf_sha256
        except OSError:
            return False


class Recorder:
    """Writes a recording; each sample is in the file when :meth:`add` returns.

    Args:
        path: The file; one that is there is replaced.
        header: The first line.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: str | Path, header: Header) -> None:
        self._file = gzip.open(path, "wb")  # noqa: SIM115  (closed by close)
        self._pieces: list[Piece] = []
        self._deltas = MOST_DELTAS
        self._write({"format": FORMAT, "version": VERSION, **asdict(header)})

    def add(self, t: float, memory: Memory) -> None:
        """Write a sample: what was read ``t`` seconds after watching began.

        Raises:
            OSError: It cannot be written.

        Complexity: O(bytes of the sample).
        """
        is_full = self._deltas >= MOST_DELTAS
        self._deltas = 0 if is_full else self._deltas + 1
        old = [] if is_full else self._pieces
        self._pieces = pieces_of(memory)
        line: dict[str, Any] = {"t": round(t, 6), "full": is_full}
        if ranges_of(old) != ranges_of(self._pieces):
            line["ranges"] = ranges_of(self._pieces)
        line["segments"] = [
            [address, base64.b64encode(zlib.compress(data)).decode("ascii")]
            for address, data in changes(old, self._pieces)
        ]
        self._write(line)

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sample as it stands in the file, its bytes still compressed."""

    t: float
    is_full: bool
    ranges: list[tuple[int, int]] | None
    segments: list[tuple[int, bytes]]


class Recording:
    """A recording that was read.

    It takes 256 MiB of lines and 64 MiB of bytes in a sample at most.

    Attributes:
        path: The file.
        header: What it says of itself.
        times: When each sample was taken, in seconds after watching began.
        is_cut_short: Whether the file broke off; what is whole before that was read.

    Raises:
        DumpError: It is no recording, or a line of it is not as it should be.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.is_cut_short = False
        lines = self._lines()
        self.header = self._header(next(lines, b""))
        self._samples: list[_Sample] = []
        deltas = MOST_DELTAS
        for number, line in enumerate(lines, 2):
            sample = self._sample(number, line)
            deltas = 0 if sample.is_full else deltas + 1
            if deltas > MOST_DELTAS:
                raise self._refusal(number, f"expected a full sample in any {MOST_DELTAS + 1}")
            if self._samples and sample.t < self._samples[-1].t:
                raise self._refusal(number, "the time goes backwards")
            self._samples.append(sample)
        if not self._samples:
            raise DumpError(f"{self.path}: the recording holds no sample")
        self.times = [sample.t for sample in self._samples]
        self._at: tuple[int, list[Piece]] = (-1, [])

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._samples)

    def memory(self, number: int) -> Memory:
        """The memory as it was read for that sample, counted from 0.

        Raises:
            IndexError: There is no such sample.
            DumpError: It is damaged.

        Complexity: that of one sample for the one after that last asked for; of up to 64 else.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        last, pieces = self._at
        first = number
        while first != last + 1 and not self._samples[first].is_full:
            first -= 1
        for i in range(first, number + 1):
            pieces = self._next([] if self._samples[i].is_full else pieces, i)
        self._at = number, pieces
        memory = Memory()
        for address, data in pieces:
            memory.add(address, bytes(data), f"{self.path}, sample {number + 1}")
        return memory

    def _next(self, old: list[Piece], number: int) -> list[Piece]:
        """The sample behind one that held ``old``."""
        sample = self._samples[number]
        ranges = ranges_of(old) if sample.ranges is None else sample.ranges
        new = [(address, bytearray(count)) for address, count in ranges]
        for address, data in old:
            put(new, address, data)
        left = MOST_SAMPLE_BYTES
        for address, packed in sample.segments:
            unpacked = self._unpacked(packed, left, number + 2)
            left -= len(unpacked)
            put(new, address, unpacked)
        return new

    def _unpacked(self, packed: bytes, limit: int, number: int) -> bytes:
        try:
            return _inflated(base64.b64decode(packed, validate=True), limit)
        except (ValueError, zlib.error):
            raise self._refusal(number, "a segment is damaged, or too large") from None

    # ------------------------------------------------------------------ lines

    def _lines(self) -> Iterator[bytes]:
        """The whole lines."""
        left = MOST_TEXT_BYTES
        with gzip.open(self.path) as file:
            try:
                while line := file.readline(left):
                    left -= len(line)
                    if left <= 0:
                        raise DumpError(f"{self.path}: more than {MOST_TEXT_BYTES:,} bytes of text")
                    if not line.endswith(b"\n"):
                        self.is_cut_short = True
                        return
                    yield line
            except (EOFError, gzip.BadGzipFile, zlib.error):
                self.is_cut_short = True

    def _header(self, line: bytes) -> Header:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise DumpError(f"{self.path}: not a recording of kheap watch")
        if values.get("version") != VERSION:
            raise self._refusal(1, f"expected version {VERSION}, found {values.get('version')!r}")
        try:
            return _header(values)
        except (TypeError, ValueError) as error:
            raise self._refusal(1, str(error)) from None

    def _sample(self, number: int, line: bytes) -> _Sample:
        try:
            return _sample(json.loads(line))
        except _MALFORMED:
            raise self._refusal(number, "expected a sample: t, full, ranges, segments") from None

    def _refusal(self, number: int, reason: str) -> DumpError:
        return DumpError(f"{self.path}: line {number}: {reason}")


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------- a line's fields


def _header(values: dict[str, Any]) -> Header:
    target, elf, elf_sha256 = (values.get(name) for name in ("target", "elf", "elf_sha256"))
    if not isinstance(target, str) or not all(isinstance(t, str | None) for t in (elf, elf_sha256)):
        raise ValueError("expected texts as target, elf and elf_sha256")
    profile = values.get("profile")
    names = tuple((_number(address), str(name)) for address, name in values.get("names", ()))
    return Header(target, elf, elf_sha256, None if profile is None else Profile(**profile), names)


def _sample(values: dict[str, Any]) -> _Sample:
    t = float(values["t"])
    if not isfinite(t):
        raise ValueError
    ranges = values.get("ranges")
    return _Sample(
        t,
        values["full"] is True,
        None if ranges is None else _checked(ranges),
        [(_number(address), text.encode("ascii")) for address, text in values["segments"]],
    )


def _checked(values: list[Any]) -> list[tuple[int, int]]:
    """Ranges by address, none empty, that do not overlap and are not too large."""
    ranges = [(_number(address), _number(count)) for address, count in values]
    total = sum(count for _, count in ranges)
    if (
        len(ranges) > MOST_RANGES
        or total > MOST_SAMPLE_BYTES
        or not all(count for _, count in ranges)
        or any(address + count > after for (address, count), (after, _) in pairwise(ranges))
    ):
        raise ValueError
    return ranges


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ValueError
    return value


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, limit + 1)
    if len(inflated) > limit or not inflater.eof:
        raise ValueError
    return inflated
