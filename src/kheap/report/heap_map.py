"""A heap's map on a few lines: one character for so many bytes of address."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

__all__ = ["heap_map"]

#: Empty, up to a third, up to two thirds, more, and wholly used: Unicode and its ASCII twin.
UNICODE = "·░▒▓█"
ASCII = ".:+%#"
BAD = "!"
UNKNOWN = "?"


def heap_map(
    starts: Sequence[int],
    used: Iterable[int],
    heap_units: int,
    *,
    bad: Iterable[tuple[int, int]] = (),
    unknown: Iterable[tuple[int, int]] = (),
    ascii_only: bool = False,
    width: int = 64,
    lines: int = 4,
) -> list[str]:
    """Draw a heap, addresses from left to right and on; the last line is the legend.

    Each character stands for a run of units as long as all others; what it shows is the part
    of them that lies in used chunks, headers and the control block included.

    Args:
        starts: First units of the chunks, ascending from 0.
        used: For each the units of it that are used: all of a used chunk, none of a free one.
        heap_units: Units of the heap.
        bad: (first, end) units of what is corrupt; each is marked.
        unknown: Likewise of what is not known.
        ascii_only: Draw with ASCII.
        width: Characters in a line.
        lines: Lines, at most.

    Complexity: O(chunks + characters), in C.
    """
    cells = max(1, min(width * lines, heap_units))
    marks = ASCII if ascii_only else UNICODE
    bounds = [i * heap_units // cells for i in range(cells + 1)]
    before = _used_before(starts, list(used), bounds)
    shades = (
        marks[_shade(before[i + 1] - before[i], bounds[i + 1] - bounds[i])] for i in range(cells)
    )
    drawn = list(shades)
    words = ""
    for mark, word, stretches in ((UNKNOWN, "not known", unknown), (BAD, "corrupt", bad)):
        if _mark(drawn, mark, stretches, bounds):
            words += f"  {mark} {word}"
    text = "".join(drawn)
    rows = [text[i : i + width] for i in range(0, cells, width)]
    return [*rows, _legend(marks, words, 8 * heap_units / cells)]


def _used_before(starts: Sequence[int], used: list[int], bounds: list[int]) -> list[int]:
    """Used units below each of the bounds."""
    sums = [0, *accumulate(used)]
    found = []
    for bound in bounds:
        row = bisect_right(starts, bound) - 1
        found.append(sums[row] + min(used[row], bound - starts[row]))
    return found


def _shade(used: int, units: int) -> int:
    if used == 0:
        return 0
    return 4 if used >= units else 1 + 3 * used // units


def _mark(
    cells: list[str], mark: str, stretches: Iterable[tuple[int, int]], bounds: list[int]
) -> bool:
    """Put a mark on each cell of the stretches; whether there is one."""
    found = False
    for first, end in stretches:
        found = True
        low = min(bisect_right(bounds, first) - 1, len(cells) - 1)
        high = max(low, bisect_right(bounds, end - 1) - 1)
        cells[low : high + 1] = mark * len(cells[low : high + 1])
    return found


def _legend(marks: str, words: str, scale: float) -> str:
    size = f"{scale:.0f}" if scale >= 10 else f"{scale:.1f}".removesuffix(".0")
    return (
        f"{marks[4]} used  {marks[1]}{marks[2]}{marks[3]} partly  {marks[0]} free"
        f"{words}; one character is {size} bytes"
    )
