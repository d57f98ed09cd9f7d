"""A contest: the rows of one group at work side by side, round by round.

It owns how they take turns, the share that a slow one does, and the note that a row gets where
something keeps it from working.  Not here: who they are (``peers.py``, ``bench_threads.py``,
``bench_handover.py``), nor what they do (``bench.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, Protocol, TypeVar

from kheap.study.bench_rows import Group

__all__ = ["Contest"]


class Contestant(Protocol):
    """Who takes turns."""

    def end(self) -> None:
        """Give back what it holds."""


SomeContestant = TypeVar("SomeContestant", bound=Contestant)


class Contest(Generic[SomeContestant]):
    """All contestants of a group; what keeps one from working becomes its row's note.

    Args:
        group: Where the times go.
        stack: Ends the contestants when it is closed.
    """

    def __init__(self, group: Group, stack: ExitStack) -> None:
        self._group, self._stack = group, stack
        self._at_work: list[tuple[str, int, SomeContestant]] = []

    def enter(self, name: str, make: Callable[[], SomeContestant], slowness: int = 1) -> None:
        """Add a row, and who fills it; he does one operation in ``slowness``."""
        series = self._group.add(name)
        try:
            contestant = make()
        except ImportError:
            series.note = "not installed"
        except OSError as error:
            series.note = f"not run: {error}"
        else:
            self._stack.callback(contestant.end)
            self._at_work.append((name, slowness, contestant))

    def stay_out(self, name: str, reason: str) -> None:
        """Add a row that says why nobody fills it."""
        self._group.add(name).note = f"not run: {reason}"

    def prepare(self, work: Callable[[SomeContestant, int], int], count: int) -> None:
        """Let each do ``count`` operations that are not timed."""
        self._each(lambda name, slowness, contestant: work(contestant, count))

    def turn(self, work: Callable[[SomeContestant, int], int], count: int) -> None:
        """Let each do ``count`` operations, or its share of them, and note the time."""

        def timed(name: str, slowness: int, contestant: SomeContestant) -> None:
            share = max(1, count // slowness)
            series = self._group.series[name]
            series.ns.append(work(contestant, share) / share)
            series.note = "" if share == count else f"{share:,} a round"

        self._each(timed)

    def _each(self, work: Callable[[str, int, SomeContestant], object]) -> None:
        for entry in list(self._at_work):
            try:
                work(*entry)
            except OSError as error:
                self._at_work.remove(entry)
                series = self._group.series[entry[0]]
                series.ns.clear()
                series.note = f"not run: {error}"
