"""Lines of JSON to objects, checked.

What it owns: parsing without Python's extensions to JSON (NaN, Infinity) and without its
surprises (a RecursionError for deep nesting), and taking whole numbers out of an object.
What it does not: what the keys mean (``_syslog.py``, ``_rows_json.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kheap.trace._columns import INT64_MAX
from kheap.trace._lines import Refused, shown

_OBJECT_HEAD = re.compile(rb"\s*(\{[^\n]*)")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def parse_object(line: bytes) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        ValueError: The line holds anything else.
    """
    try:
        value = _decode(line.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None
    if type(value) is not dict:
        raise ValueError("not an object")
    return value


def parse_objects(lines: list[bytes]) -> list[dict[str, Any]]:
    """The objects of many lines, one in each.

    They are parsed as one array, in half the time.  The line ends between them keep a text
    from reaching over two lines.

    Raises:
        ValueError: Some line holds anything else.
    """
    try:
        rows: list[dict[str, Any]] = _decode("[" + b",\n".join(lines).decode() + "]")
    except RecursionError:
        raise ValueError("nested too deep") from None
    if len(rows) != len(lines) or set(map(type, rows)) != {dict}:
        raise ValueError("not an object a line")
    return rows


def parse_each(
    lines: list[bytes], first: int
) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Number, text and object of each line that is not blank; None: parse it by itself."""
    try:
        rows = parse_objects(lines)
    except ValueError:
        for number, line in enumerate(lines, first):
            if line and not line.isspace():
                yield number, line, None
    else:
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), first):
            yield number, line, row


def first_object(head: bytes) -> bytes:
    """The first line of a file if an object may begin there, else nothing."""
    match = _OBJECT_HEAD.match(head)
    return match[1] if match is not None else b""


def whole_number(row: dict[str, Any], key: str, limit: int = INT64_MAX) -> int:
    """The number from 0 to ``limit`` under a key.

    Raises:
        Refused: There is none.
    """
    value = row.get(key)
    if type(value) is not int or not 0 <= value <= limit:
        raise not_whole(key, value, limit)
    return value


def not_whole(key: str, value: object, limit: int = INT64_MAX) -> Refused:
    """The error of a value that should have been a number from 0 to ``limit``."""
    return Refused(f"expected a whole number from 0 to {limit:,} as {key!r}, found {shown(value)}")
