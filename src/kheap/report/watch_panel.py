"""One heap on the live screen: a frame with its name, and its lines at whatever width.

What it does not own: the lines (``watch_text.py``), and what is shown when
(``watch_screen.py``).  Like that module it needs Textual.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.text import Text
from textual.widget import Widget

from kheap.dump.inspection import HeapInspection
from kheap.dump.target.live import Change
from kheap.report.watch_text import DARK, LIGHT, Point, panel_lines

__all__ = ["HeapPanel"]


class HeapPanel(Widget):
    """One heap."""

    DEFAULT_CSS = """
    HeapPanel {
        height: auto; margin: 0 1; padding: 0 1;
        border: round $primary; border-title-style: bold; border-subtitle-color: $text-muted;
    }
    HeapPanel.corrupt { border: heavy $error; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._heap: HeapInspection | None = None
        self._change: Change | None = None
        self._history: Sequence[Point] = ()
        self._drawn: dict[tuple[int, bool], list[Text]] = {}

    def show(self, found: HeapInspection, change: Change | None, history: Sequence[Point]) -> None:
        """Show a sample of the heap."""
        self._heap, self._change, self._history = found, change, history
        self._drawn.clear()
        heap = found.image
        self.border_title = escape(heap.name)
        self.border_subtitle = f"{heap.size_bytes:,} bytes at {heap.address:#x}"
        self.set_class(heap.corruption is not None, "corrupt")
        self.refresh(layout=True)

    def _lines(self, width: int) -> list[Text]:
        """The lines of that width; they are asked for more than once."""
        if self._heap is None or width < 1:
            return []
        is_dark = self.app.current_theme.dark
        lines = self._drawn.get((width, is_dark))
        if lines is None:
            inks = DARK if is_dark else LIGHT
            lines = panel_lines(self._heap, self._change, self._history, width, inks)
            self._drawn[width, is_dark] = lines
        return lines

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As many lines as there are to show."""
        return len(self._lines(width))

    def render(self) -> Text:
        """The lines, cut where the screen is too narrow."""
        text = Text("\n", no_wrap=True, overflow="crop").join(self._lines(self.content_size.width))
        text.no_wrap, text.overflow = True, "crop"
        return text
