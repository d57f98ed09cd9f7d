"""What the requested sizes cost: how often each is asked for, and how much it holds at once.

It owns the sums by requested size.  Not here: following a replay (``timeline.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CostMeter", "SizeCost"]


@dataclass(frozen=True, slots=True)
class SizeCost:
    """What the requests of one size took.

    Attributes:
        request_bytes: The size that was asked for.
        count: How many requests of it were served; resizes to it are requests.
        peak_count: Its blocks at the moment when they held the most.
        peak_chunk_bytes: What their chunks held then, headers included.
    """

    request_bytes: int
    count: int
    peak_count: int
    peak_chunk_bytes: int

    @property
    def peak_overhead_bytes(self) -> int:
        """Internal fragmentation at that moment: chunk bytes that nobody asked for."""
        return self.peak_chunk_bytes - self.peak_count * self.request_bytes


class CostMeter:
    """Counts blocks as they come and go."""

    def __init__(self) -> None:
        # For each size: requests, blocks and bytes now, blocks and bytes at the peak.
        self._of: dict[int, list[int]] = {}

    def add(self, request_bytes: int, chunk_bytes: int) -> None:
        """A block came."""
        entry = self._of.get(request_bytes)
        if entry is None:
            entry = self._of[request_bytes] = [0, 0, 0, 0, 0]
        entry[0] += 1
        entry[1] += 1
        entry[2] += chunk_bytes
        if entry[2] > entry[4]:
            entry[3:] = entry[1:3]

    def remove(self, request_bytes: int, chunk_bytes: int) -> None:
        """A block went."""
        entry = self._of[request_bytes]
        entry[1] -= 1
        entry[2] -= chunk_bytes

    def costs(self) -> list[SizeCost]:
        """The sizes, the one that held the most bytes at once first."""
        found = [
            SizeCost(size, count, peak_count, peak_bytes)
            for size, (count, _, _, peak_count, peak_bytes) in self._of.items()
        ]
        return sorted(found, key=lambda cost: (-cost.peak_chunk_bytes, cost.request_bytes))
