"""The screen of ``kheap watch`` for a recording: it plays, and is stepped through.

What it owns: which sample comes when, and the history before it, which a jump leaves to be
found out.  What it does not: the screen itself (``watch_screen.py``).
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from kheap.dump.target.live import Replayed
from kheap.report.watch_screen import MOST_POINTS, Taken, WatchScreen
from kheap.report.watch_text import Point, points_of

__all__ = ["ReplayScreen"]

#: So many samples are drawn at once, where they are found one after the other.
SURVEYED_AT_ONCE = 50
#: The next sample of a recording never takes longer, whatever its times say.
LONGEST_S = 3600.0


class Surveyed(Message):
    """The numbers of samples that were not shown are there."""

    def __init__(self, points: dict[int, dict[str, Point]]) -> None:
        super().__init__()
        self.points = points


class ReplayScreen(WatchScreen):
    """A recording.

    Args:
        title: What is watched.
        replayed: The samples.
        interval_s: Seconds from one sample to the next; None: as they were taken.
        count: So many are played; None: all.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "back", priority=True),
        Binding("right", "step(1)", "on", priority=True),
        Binding("home", "go(0)", "first", priority=True),
        Binding("end", "go(-1)", "last", priority=True),
    ]

    def __init__(
        self,
        title: str,
        replayed: Replayed,
        *,
        interval_s: float | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__(title)
        self._replayed, self._interval_s = replayed, interval_s
        self._last = min(count or len(replayed), len(replayed)) - 1
        self._wanted: SimpleQueue[int | None] = SimpleQueue()
        self._wanted.put(0)
        self._asked = 0

    # ------------------------------------------------------------------ the feeder's thread

    def _feed(self) -> None:
        number, known, found = 0, set[int](), dict[int, dict[str, Point]]()
        while not self._ended.is_set():
            unknown = self._unknown(known, number)
            wanted = self._wish(wait=unknown is None)
            if wanted is not None:
                number = wanted
                self.post_message(Taken(self._replayed.sample(number)))
                known.add(number)
            elif unknown is not None:
                found[unknown] = points_of(self._replayed.sample(unknown))
                known.add(unknown)
                if len(found) == SURVEYED_AT_ONCE or self._unknown(known, number) is None:
                    self.post_message(Surveyed(found))
                    found = {}

    def _wish(self, *, wait: bool) -> int | None:
        """The sample that was asked for last, if any was."""
        wanted = None
        try:
            wanted = self._wanted.get(block=wait)
            while True:
                wanted = self._wanted.get_nowait()
        except Empty:
            return wanted

    def _unknown(self, known: set[int], number: int) -> int | None:
        """A sample before that one that the history lacks."""
        before = range(max(0, number - MOST_POINTS), number)
        return next((i for i in before if i not in known), None)

    def _wake(self) -> None:
        self._wanted.put(None)

    # ------------------------------------------------------------------ keys and time

    def on_taken(self, message: Taken) -> None:
        """Show the sample, and have the next one come when it is due."""
        sample = message.sample
        self.points[sample.number] = points_of(sample)
        if sample.number == self._asked:
            self.is_paused |= sample.number == self._last
            self.show(sample)
            self._play()

    def on_surveyed(self, message: Surveyed) -> None:
        """Draw a longer history."""
        self.points.update(message.points)
        if self.sample is not None:
            self.show(self.sample)

    def _play(self) -> None:
        """Have the next sample come when it is due."""
        times = self._replayed.recording.times
        if not self.is_paused:
            here = self._asked
            delay = times[here + 1] - times[here]
            if self._interval_s is not None:
                delay = self._interval_s
            self.set_timer(min(max(delay, 0.001), LONGEST_S), lambda: self._go_on(here))

    def _go_on(self, number: int) -> None:
        if number == self._asked and not self.is_paused:
            self._ask(number + 1)

    def _ask(self, number: int) -> None:
        self._asked = min(max(number, 0), self._last)
        self._wanted.put(self._asked)

    def action_pause(self) -> None:
        """Stop, or play on; at the end from the start."""
        super().action_pause()
        if not self.is_paused:
            self._ask(0 if self._asked == self._last else self._asked + 1)

    def action_step(self, count: int) -> None:
        """Go so many samples on, and stop there."""
        self.is_paused = True
        self._ask(self._asked + count)

    def action_go(self, number: int) -> None:
        """Go to that sample, and stop there."""
        self.is_paused = True
        self._ask(number if number >= 0 else self._last)

    def _state(self) -> str:
        shown = self.sample.number + 1 if self.sample else 0
        state = "paused" if self.is_paused else "playing"
        return f"sample {shown:,} of {self._last + 1:,}   {state}"
