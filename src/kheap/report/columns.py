"""Columns of numbers, packed small: what a page of a million operations is embedded as.

It owns the encoding, whose other half is ``page/decode.js``.  A column is turned into
differences where that makes it smaller, its least value is taken off, and what is left is
cut into planes: first the lowest byte of every number, then the second, as many as the
largest number needs.  All planes of all columns are deflated as one and written in base64.

Not here: which columns there are (``model.py``).
"""

from __future__ import annotations

import sys
import zlib
from array import array
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from operator import sub

__all__ = ["Column", "pack"]

#: Numbers from here on need a wider array in the page.
LIMIT = 1 << 31


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: What the page calls it.
        values: Its numbers.
        steady: Whether neighbours are close, so that differences are to be written.
    """

    name: str
    values: array[int]
    steady: bool = False


def pack(columns: Iterable[Column]) -> tuple[list[list[int | str]], str]:
    """The directory of the columns, and their bytes in base64.

    An entry of the directory has the column's name, the count of its numbers, the planes of
    each, the least value, 1 if differences are written, and 1 if a number needs more than 31
    bits.

    Complexity: O(numbers).

    >>> pack([Column("a", array("q", [5, 6, 8]), steady=True)])[0]
    [['a', 3, 1, 1, 1, 0]]
    """
    directory: list[list[int | str]] = []
    deflate = zlib.compressobj(6)
    parts: list[bytes] = []
    for column in columns:
        values = column.values
        wide = min(values, default=0) < -LIMIT or max(values, default=0) >= LIMIT
        if column.steady and values:
            values = array("q", values[:1]) + array("q", map(sub, values[1:], values))
        least = min(values, default=0)
        values = array("q", map(sub, values, repeat(least)))
        planes = (max(values, default=0).bit_length() + 7) // 8
        if sys.byteorder == "big":
            values.byteswap()
        raw = values.tobytes()
        parts += [deflate.compress(raw[plane::8]) for plane in range(planes)]
        directory.append([column.name, len(values), planes, least, int(column.steady), int(wide)])
    parts.append(deflate.flush())
    return directory, b64encode(b"".join(parts)).decode("ascii")
