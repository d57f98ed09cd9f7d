"""The screen of ``kheap watch``: the heaps of a running target.

What it owns: the screen, its keys, and when the next sample is shown.  Samples are taken and
decoded in a thread of their own, so that a slow target does not hold up the keys.  What it
does not: samples (``kheap.dump.target.live``), how a heap is drawn (``watch_panel.py``), and
the keys of a recording (``watch_replay.py``).  These three modules need Textual, which is
there with ``kheap[watch]``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Footer, Static

from kheap.dump.target.live import LiveTarget, Sample
from kheap.report.watch_panel import HeapPanel
from kheap.report.watch_text import LEGEND, Point, points_of, takes_words

__all__ = ["MOST_POINTS", "LiveScreen", "Taken", "WatchScreen"]

#: So many samples of history are kept for a sparkline: more than any terminal is wide.
MOST_POINTS = 1000


class Taken(Message):
    """A sample is there to be shown."""

    def __init__(self, sample: Sample) -> None:
        super().__init__()
        self.sample = sample


class Failed(Message):
    """No more samples can be had."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class WatchScreen(App[None]):
    """The screen; :meth:`run` it.

    Args:
        title: What is watched.

    Attributes:
        sample: The sample that is shown.
        error: What ended the samples; None where nothing did.
        met_corruption: Whether a heap of any sample shown was corrupt.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #title { height: 1; padding: 0 2; background: $panel; }
    #legend { height: auto; padding: 0 2; color: $text-muted; }
    #notes { height: auto; padding: 0 3; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "pause", priority=True),
        Binding("t", "theme", "light/dark"),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.watched = title
        self.sample: Sample | None = None
        self.error: Exception | None = None
        self.met_corruption = False
        self.is_paused = False
        self.points: dict[int, dict[str, Point]] = {}
        self._title, self._notes = Static(id="title"), Static(id="notes")
        self._panels: dict[str, HeapPanel] = {}
        self._feeder = Thread(target=self._guarded_feed, daemon=True)
        self._ended = Event()

    def compose(self) -> ComposeResult:
        """The parts of the screen."""
        yield self._title
        with VerticalScroll():
            yield self._notes
        yield Static(Text(LEGEND), id="legend")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to take samples."""
        self._tell()
        # Whoever ends the program lets it leave the target running.  Not in every system, and
        # not in every thread.
        with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._feeder.start()

    def on_unmount(self) -> None:
        """Take no more samples."""
        self.stop()

    def stop(self) -> None:
        """Wait until no sample is being taken, and take no more."""
        self._ended.set()
        self._wake()
        if self._feeder.ident is not None:
            self._feeder.join()

    # ------------------------------------------------------------------ the feeder's thread

    def _guarded_feed(self) -> None:
        try:
            self._feed()
        except Exception as error:
            self.post_message(Failed(error))

    def _feed(self) -> None:
        """Take samples until the screen closes."""
        raise NotImplementedError

    def _wake(self) -> None:
        """Let the feeder see that the screen closes."""

    # ------------------------------------------------------------------ what it says

    def on_failed(self, message: Failed) -> None:
        """End; the caller tells why."""
        self.error = message.error
        self.exit()

    def show(self, sample: Sample) -> None:
        """Show a sample, unless the screen has closed meanwhile."""
        if not self._title.is_attached:
            return
        self.sample = sample
        self.met_corruption |= sample.is_corrupt
        names = {heap.image.name for heap in sample.heaps}
        for name in self._panels.keys() - names:
            self._panels.pop(name).remove()
        history = self._history(sample.number)
        for heap in sample.heaps:
            name = heap.image.name
            panel = self._panels.get(name)
            if panel is None:
                panel = self._panels[name] = HeapPanel()
                self.query_one(VerticalScroll).mount(panel)
            known = [points[name] for points in history if name in points]
            panel.show(heap, sample.changes.get(name), known)
        self._tell()

    def _history(self, number: int) -> list[dict[str, Point]]:
        """The known samples up to that one, without a gap."""
        first = number
        while first > max(0, number - MOST_POINTS) and first - 1 in self.points:
            first -= 1
        return [self.points[i] for i in range(first, number + 1) if i in self.points]

    def _tell(self) -> None:
        """Say what is watched, and what is to be said besides."""
        sample = self.sample
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append("kheap watch", "bold").append(f"   {self._state()}")
        if sample is not None:
            line.append(f"   {sample.t:,.1f} s").append(takes_words(sample), "bold")
        line.append(f"   {self.watched}")
        self._title.update(line)
        words = list(sample.inspection.dump.notes) if sample else ["waiting for the first sample"]
        if sample is not None and not sample.heaps:
            words.append("no heap found")
        self._notes.update(Text("\n".join(words)))
        self._notes.display = bool(words)

    def _state(self) -> str:
        """What is going on, in words."""
        raise NotImplementedError

    # ------------------------------------------------------------------ keys

    def action_pause(self) -> None:
        """Stop or go on."""
        self.is_paused = not self.is_paused
        self._tell()

    def action_theme(self) -> None:
        """Change between dark and light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"
        for panel in self._panels.values():
            panel.refresh()


class LiveScreen(WatchScreen):
    """A running target.

    Args:
        title: What is watched.
        target: Takes the samples.
        interval_s: Seconds from one sample to the next.
        count: So many are taken; None: until it is left.
        on_sample: Called with each, in the feeder's thread.
    """

    def __init__(
        self,
        title: str,
        target: LiveTarget,
        *,
        interval_s: float = 1.0,
        count: int | None = None,
        on_sample: Callable[[Sample], object] = lambda sample: None,
    ) -> None:
        super().__init__(title)
        self._target, self._interval_s, self._count = target, interval_s, count
        self._on_sample = on_sample
        self._newest: Sample | None = None
        #: One for each sample that the screen has dealt with: no more are taken until then.
        self._dealt_with: SimpleQueue[None] = SimpleQueue()

    def _feed(self) -> None:
        due = monotonic()
        while not self._ended.is_set():
            sample = self._target.sample()
            self._on_sample(sample)
            self.post_message(Taken(sample))
            self._dealt_with.get()
            due = max(due + self._interval_s, monotonic())
            self._ended.wait(due - monotonic())

    def on_taken(self, message: Taken) -> None:
        """Show the newest sample, unless the screen is paused."""
        sample = self._newest = message.sample
        self.met_corruption |= sample.is_corrupt
        self.points[sample.number] = points_of(sample)
        self.points.pop(sample.number - MOST_POINTS, None)
        if not self.is_paused:
            self.show(sample)
        if sample.number + 1 == self._count:
            self._ended.set()
            self.exit()
        self._dealt_with.put(None)

    def _wake(self) -> None:
        self._dealt_with.put(None)

    def action_pause(self) -> None:
        """Hold what is shown, or go on with the newest sample."""
        super().action_pause()
        if not self.is_paused and self._newest is not None:
            self.show(self._newest)

    def _state(self) -> str:
        number = f"sample {self.sample.number + 1:,}" if self.sample else "connected"
        return number + ("   paused: the target runs on" if self.is_paused else "")
