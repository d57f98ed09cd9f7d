"""Bytes and chunk units: the sizes that users read and write.

Sizes are read as ``16384``, ``16K``, ``16KiB`` or ``0x4000`` and written in bytes
with a readable form beside.  Arithmetic on chunks lives in ``kheap._core``.
"""

from __future__ import annotations

import re

__all__ = ["CHUNK_UNIT_BYTES", "NO_WAIT", "format_bytes", "parse_bytes"]

#: The time limit of a request that does not wait, in seconds; a default is known by being it.
NO_WAIT = 0.0

#: The step of all chunk sizes and offsets (Zephyr: ``CHUNK_UNIT``).
CHUNK_UNIT_BYTES = 8

_SIZE = re.compile(r"(0x[0-9a-f]+|[0-9]+)\s*(?:([kmg])(?:i?b)?|b)?", re.IGNORECASE)
_FACTOR = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_NAMES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def parse_bytes(text: str) -> int:
    """Read a size: a decimal or ``0x`` number, with K, M or G (powers of 1,024) behind it.

    Raises:
        ValueError: The text is not such a size.

    >>> parse_bytes("16K"), parse_bytes("0x4000"), parse_bytes("16384")
    (16384, 16384, 16384)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text!r} (write 16384, 16K, 16KiB or 0x4000)")
    number, factor = match.groups()
    value = int(number, 16 if number[:2].lower() == "0x" else 10)
    return value * _FACTOR[factor.lower()] if factor else value


def format_bytes(count: int) -> str:
    """Write a size: bytes, and a readable form beside where it says more.

    >>> format_bytes(16384), format_bytes(100)
    ('16,384 bytes (16 KiB)', '100 bytes')
    """
    plain = f"{count:,} byte" if count == 1 else f"{count:,} bytes"
    for factor, name in _NAMES:
        if count >= factor:
            value = f"{count / factor:.1f}".removesuffix(".0")
            return f"{plain} ({value} {name})"
    return plain
