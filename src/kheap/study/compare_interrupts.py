"""Ctrl-C noted: for work that goes on after it, where the whole is to end.

It owns noting the signal.  Not here: what is done about it (``compare.py``).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["noting_interrupts"]


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C does what it does, and is noted; the function tells of it."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread gets signals, and may say what they do.
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(before):
            before(number, frame)

    if not callable(before):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
