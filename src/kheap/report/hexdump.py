"""Bytes as hexadecimal numbers and text, sixteen a line, with what lies where beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["hexdump"]

ROW = 16


def hexdump(
    address: int, data: bytes, marks: Mapping[int, str] | None = None, *, bad: int | None = None
) -> Iterator[str]:
    r"""The lines of ``data``, whose first byte lies at ``address``.

    Args:
        address: Lines begin at its multiple of 16.
        data: The bytes.
        marks: For addresses what begins there; it is said in a line of its own before it.
        bad: The address of a byte to point at.

    >>> print(*hexdump(0x1008, b"abc", {0x1008: "chunk 1"}), sep="\n")
              -- chunk 1
    00001000                           61 62 63                 |        abc     |
    """
    marks = marks or {}
    end = address + len(data)
    for start in range(address - address % ROW, end, ROW) if data else ():
        for at in range(max(start, address), min(start + ROW, end)):
            if at in marks:
                yield f"          -- {marks[at]}"
        places = range(start, start + ROW)
        row = [data[at - address] if address <= at < end else None for at in places]
        yield f"{start:08x}  {_numbers(row)}  |{_text(row)}|"
        if bad is not None and start <= bad < start + ROW:
            column = len(f"{start:08x}  ") + 3 * (bad - start) + (bad - start >= ROW // 2)
            yield " " * column + "^^ here"


def _numbers(row: list[int | None]) -> str:
    cells = ["  " if byte is None else f"{byte:02x}" for byte in row]
    return " ".join(cells[: ROW // 2]) + "  " + " ".join(cells[ROW // 2 :])


def _text(row: list[int | None]) -> str:
    return "".join(" " if byte is None else chr(byte) if 32 <= byte < 127 else "." for byte in row)
