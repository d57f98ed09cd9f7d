"""A heap's map on a few lines: one character for so many bytes of address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kheap.heaps.view import Chunk

__all__ = ["heap_map"]

#: Empty, up to a third, up to two thirds, more, and wholly used: Unicode and its ASCII twin.
UNICODE = "·░▒▓█"
ASCII = ".:+%#"


def heap_map(
    chunks: Iterable[Chunk],
    heap_units: int,
    *,
    ascii_only: bool = False,
    width: int = 64,
    lines: int = 4,
) -> list[str]:
    """Draw a heap, addresses from left to right and on; the last line is the legend.

    Each character stands for a run of units as long as all others; what it shows is the part
    of them that lies in used chunks, headers and the control block included.

    Complexity: O(chunks + characters).
    """
    cells = max(1, min(width * lines, heap_units))
    used = _used_units(chunks, heap_units, cells)
    marks = ASCII if ascii_only else UNICODE
    bounds = [i * heap_units // cells for i in range(cells + 1)]
    text = "".join(marks[_shade(count, bounds[i + 1] - bounds[i])] for i, count in enumerate(used))
    rows = [text[i : i + width] for i in range(0, cells, width)]
    scale = 8 * heap_units / cells
    size = f"{scale:.0f}" if scale >= 10 else f"{scale:.1f}".removesuffix(".0")
    legend = (
        f"{marks[4]} used  {marks[1]}{marks[2]}{marks[3]} partly  {marks[0]} free;"
        f" one character is {size} bytes"
    )
    return [*rows, legend]


def _shade(used: int, units: int) -> int:
    if used == 0:
        return 0
    return 4 if used >= units else 1 + 3 * used // units


def _used_units(chunks: Iterable[Chunk], heap_units: int, cells: int) -> list[int]:
    counts = [0] * cells
    for first, last in _used_runs(chunks):
        cell = first * cells // heap_units
        while first < last:
            # The first unit of the next cell; cells are bounded by i * heap_units // cells.
            while (cell + 1) * heap_units // cells <= first:
                cell += 1
            edge = min(last, (cell + 1) * heap_units // cells)
            counts[cell] += edge - first
            first = edge
    return counts


def _used_runs(chunks: Iterable[Chunk]) -> Iterator[tuple[int, int]]:
    for c in chunks:
        if c.state in ("used", "control"):
            yield c.chunk, c.chunk + c.size_units
