"""Waiting for memory in an asyncio task: the twin of ``waiting.wait``.

It stands apart so that only who waits in a task imports asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from kheap.heaps.waiting import Waiter, WaitQueue, abandon, conclude

__all__ = ["TaskBell", "wait_in_task"]


class TaskBell:
    """Wakes the task that made it."""

    __slots__ = ("_loop", "rung")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.rung = self._loop.create_future()

    def ring(self) -> None:
        """Wake the task, from any thread."""
        if _running_loop() is self._loop:
            # In its own thread a loop need not be woken, which costs a system call.
            self.end()
            return
        with suppress(RuntimeError):  # Its loop is closed: nobody listens any more.
            self._loop.call_soon_threadsafe(self.end)

    def ring_after(self, seconds: float) -> asyncio.TimerHandle:
        """Wake the task when so much time has passed."""
        return self._loop.call_later(seconds, self.end)

    def end(self) -> None:
        """End the wait; to be called in the loop."""
        if not self.rung.done():
            self.rung.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def wait_in_task(
    waiter: Waiter,
    queue: WaitQueue,
    latch: AbstractContextManager[None],
    timeout: float | None,
    *,
    last_attempt: Callable[[Waiter], Any],
    give_back: Callable[[Any], object],
) -> Any:
    """Let this task, which queued ``waiter``, wait until it is served or the time is up.

    Returns:
        What the waiter got; None if the time was up, and ``last_attempt`` got nothing.

    A task that is cancelled gives back what it was granted at that very moment.
    """
    bell: TaskBell = waiter.bell  # type: ignore[assignment]
    timer = None
    try:
        timer = None if timeout is None else bell.ring_after(timeout)
        await bell.rung
        return conclude(waiter, queue, latch, last_attempt)
    except GeneratorExit:
        # The collector may end a forgotten task in a section that this thread has locked.
        with suppress(RuntimeError):
            abandon(waiter, queue, latch, give_back)
        raise
    except BaseException:
        abandon(waiter, queue, latch, give_back)
        raise
    finally:
        if timer is not None:
            timer.cancel()
