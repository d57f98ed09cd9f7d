"""The lines of a console log, and the bounds of what one log may ask for.

What it owns: cutting text into numbered lines, colours and carriage returns taken off; the
limits below; errors with their place.  What it does not: what any line means.
Next: ``console.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kheap.errors import DumpError

__all__ = ["Lines", "Notes"]

#: The longest text that is read, in characters.
MOST_CHARACTERS = 1 << 28
#: What is looked at of one line; what Zephyr prints about heaps has up to some hundred.
MOST_LINE_CHARACTERS = 4096
#: The most records (chunks, blocks, faults and the like) that are kept of one log.
MOST_RECORDS = 1 << 20

_MOST_NOTES = 20
_ESCAPE = re.compile(r"\x1b\[[0-9;?]{0,32}[A-Za-z]")


class Lines:
    """The lines of one log.

    Raises:
        DumpError: The text is longer than 256 Mi characters.
    """

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source or "console text"
        self._records = 0
        if len(text) > MOST_CHARACTERS:
            found = f"expected at most {MOST_CHARACTERS:,} characters, found {len(text):,}"
            raise DumpError(f"{self._source}: {found}")

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Each line and its number, from 1; lines that are too long are cut."""
        text = self._text
        separator = "\n" if "\n" in text else "\r"
        start, number = 0, 1
        while start < len(text):
            end = text.find(separator, start)
            end = len(text) if end < 0 else end
            line = text[start : min(end, start + MOST_LINE_CHARACTERS)]
            if "\x1b" in line:
                line = _ESCAPE.sub("", line)
            yield number, line.strip("\r")
            start, number = end + 1, number + 1

    def count(self, number: int, records: int = 1) -> None:
        """Account for records that line ``number`` brings.

        Raises:
            DumpError: With these, the log has more than 1 Mi of them.
        """
        self._records += records
        if self._records > MOST_RECORDS:
            found = f"expected at most {MOST_RECORDS:,} records of heaps, found more"
            raise DumpError(f"{self._source}:{number}: {found}")


class Notes:
    """Notes for people: ``texts`` has the first twenty, and how many more there would be."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._left_out = 0

    def add(self, number: int, text: str) -> None:
        """Note something about a line."""
        if len(self.texts) < _MOST_NOTES:
            self.texts.append(f"line {number}: {text}")
            return
        if self._left_out:
            self.texts.pop()
        self._left_out += 1
        self.texts.append(f"and {self._left_out:,} more of the like")
