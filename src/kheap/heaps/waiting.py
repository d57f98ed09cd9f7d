"""Waiting for memory: the queue, the ways to sleep and to be woken, and the clock.

It owns the order of those who wait, and what a wait is: a :class:`Waiter` stands in a
:class:`WaitQueue` until an attempt made on its behalf gets it something, its time is up, or
whoever waits goes away.  Not here: what an attempt is (``k_heap.py``, ``mem_pool.py``), and the
lock (``kheap._core._native.Latch``).  The queue is touched only by who holds the latch.

The order is Zephyr's: the more urgent first (the smaller number), first come first served
among equals.  A free walks the whole queue once, head to tail; who cannot be served keeps his
place, and a small request behind him may be served.  Zephyr 1.6 does just that; the later
kernels ready all waiters, who then try again one by one: on one CPU, in this same order.
"""

from __future__ import annotations

import threading
import time
from _thread import allocate_lock
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from kheap.errors import KheapError

__all__ = [
    "Bell",
    "Clock",
    "RealClock",
    "ThreadBell",
    "VirtualClock",
    "WaitQueue",
    "Waiter",
    "abandon",
    "checked_timeout",
    "conclude",
    "wait",
]


#: The error of one who has gone: he leaves the queue with the next walk.
ABANDONED = RuntimeError("nobody waits any more")


class Bell(Protocol):
    """What wakes who waits; it may be rung by any thread, and more than once."""

    def ring(self) -> None:
        """Wake him. It neither waits nor fails."""


class ThreadBell:
    """Wakes a thread.  Who waits holds the GIL no longer, and a signal interrupts him."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread; if it does not sleep, its next sleep ends at once."""
        with suppress(RuntimeError):  # Rung already.
            self._lock.release()

    def listen(self, seconds: float | None) -> bool:
        """Sleep until the bell rings, at most so long; whether it rang."""
        if seconds is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class Clock(Protocol):
    """Where time comes from: :class:`RealClock`, or one that a test drives."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, bell: ThreadBell, until: float | None) -> bool:
        """Sleep until ``bell`` rings or the time has come; False if the time has come."""


class RealClock:
    """The monotonic clock of the machine."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, bell: ThreadBell, until: float | None) -> bool:
        """Sleep until ``bell`` rings or the time has come; False if the time has come."""
        if until is None:
            return bell.listen(None)
        return bell.listen(max(0.0, until - time.monotonic()))


class VirtualClock:
    """A clock that stands still until it is told to go on: tests need no sleeps.

    >>> clock = VirtualClock()
    >>> clock.advance(1.5)
    >>> clock.now()
    1.5
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._changed = threading.Condition()
        self._sleepers: list[tuple[ThreadBell, float | None]] = []

    def now(self) -> float:
        """Seconds that it was advanced by."""
        return self._now

    def sleep(self, bell: ThreadBell, until: float | None) -> bool:
        """Sleep until ``bell`` rings or the clock is advanced to ``until``."""
        sleeper = (bell, until)
        with self._changed:
            if until is not None and until <= self._now:
                return False
            self._sleepers.append(sleeper)
            self._changed.notify_all()
        try:
            bell.listen(None)
        finally:
            with self._changed:
                self._sleepers.remove(sleeper)
        return until is None or self._now < until

    def wait_for_sleepers(self, count: int) -> None:
        """Return when so many threads sleep on this clock."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._sleepers) >= count)

    def advance(self, seconds: float) -> None:
        """Let so much time pass; who sleeps no longer than that is woken."""
        with self._changed:
            self._now += seconds
            for bell, until in self._sleepers:
                if until is not None and until <= self._now:
                    bell.ring()


class Waiter:
    """One who waits.

    Attributes:
        request_bytes, priority: What he asks for, and how urgently.
        details: What else an attempt needs to know.
        bell: How he is woken.
        answer: What he got, None as long as he has nothing.
        error: What ends his wait instead.
    """

    __slots__ = ("answer", "bell", "details", "error", "place", "priority", "request_bytes")

    def __init__(self, request_bytes: int, priority: int, bell: Bell, details: Any = None) -> None:
        self.request_bytes = request_bytes
        self.priority = priority
        self.bell = bell
        self.details = details
        self.place = (priority, 0)
        self.answer: Any = None
        self.error: BaseException | None = None

    @property
    def waits(self) -> bool:
        """Whether he has neither got anything nor been told to stop."""
        return self.answer is None and self.error is None


class WaitQueue:
    """Those who wait, in the order in which they are served.

    Complexity: a place is found in O(log n); serving takes O(n) attempts.
    """

    __slots__ = ("_arrivals", "_waiters")

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters)

    def requests(self) -> tuple[tuple[int, int], ...]:
        """``(request_bytes, priority)`` of each, in queue order."""
        return tuple((w.request_bytes, w.priority) for w in self._waiters if w.waits)

    def add(self, waiter: Waiter) -> None:
        """Queue him behind all who are as urgent."""
        self._arrivals += 1
        waiter.place = (waiter.priority, self._arrivals)
        insort(self._waiters, waiter, key=_place)

    def discard(self, waiter: Waiter) -> None:
        """Take him out, if he is still there."""
        at = bisect_left(self._waiters, waiter.place, key=_place)
        if at < len(self._waiters) and self._waiters[at] is waiter:
            del self._waiters[at]

    def serve(self, attempt: Callable[[Waiter], Any]) -> None:
        """Walk the queue once: who gets something from ``attempt`` leaves it and is woken.

        So does he whose attempt raises an error of kheap's: it is his.  Another error ends the
        walk, and whoever was served by then is served.
        """
        try:
            for waiter in self._waiters:
                if waiter.error is None:
                    self._try(waiter, attempt)
        finally:
            served = [waiter for waiter in self._waiters if not waiter.waits]
            self._waiters = [waiter for waiter in self._waiters if waiter.waits]
            for waiter in served:
                waiter.bell.ring()

    def _try(self, waiter: Waiter, attempt: Callable[[Waiter], Any]) -> None:
        try:
            waiter.answer = attempt(waiter)
        except KheapError as error:
            waiter.error = error

    def dismiss(self, error: Exception) -> None:
        """End all waits with ``error``."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.error = error
            waiter.bell.ring()


def _place(waiter: Waiter) -> tuple[int, int]:
    return waiter.place


def wait(
    waiter: Waiter,
    queue: WaitQueue,
    latch: AbstractContextManager[None],
    clock: Clock,
    until: float | None,
    *,
    last_attempt: Callable[[Waiter], Any] | None = None,
    give_back: Callable[[Any], object],
) -> Any:
    """Let this thread, which queued ``waiter``, sleep until it is served or the time has come.

    Returns:
        What the waiter got; None if the time came first, and ``last_attempt`` got nothing.

    Whatever interrupts the sleep (a signal handler's exception) ends the wait: what was granted
    meanwhile goes to ``give_back``, and nothing is lost.
    """
    bell: ThreadBell = waiter.bell  # type: ignore[assignment]
    try:
        while waiter.waits:
            if not clock.sleep(bell, until):
                break
        return conclude(waiter, queue, latch, last_attempt)
    except BaseException:
        abandon(waiter, queue, latch, give_back)
        raise


def conclude(
    waiter: Waiter,
    queue: WaitQueue,
    latch: AbstractContextManager[None],
    last_attempt: Callable[[Waiter], Any] | None,
) -> Any:
    """End a wait whose time has come, or that was served: what the waiter got, or None."""
    if waiter.answer is not None:
        # Whoever served him has taken him out, or is about to.
        return waiter.answer
    with latch:
        queue.discard(waiter)
        if last_attempt is not None and waiter.waits:
            waiter.answer = last_attempt(waiter)
    if waiter.error is not None:
        raise waiter.error
    return waiter.answer


def abandon(
    waiter: Waiter,
    queue: WaitQueue,
    latch: AbstractContextManager[None],
    give_back: Callable[[Any], object],
) -> None:
    """End a wait that nobody listens for any more; what was granted is given back, once."""
    waiter.error = ABANDONED
    with latch:
        queue.discard(waiter)
        answer, waiter.answer = waiter.answer, None
    if answer is not None:
        give_back(answer)


def checked_timeout(timeout: float | None) -> float | None:
    """The time limit, ValueError if it is none."""
    if timeout is not None and not timeout >= 0:  # Not a number is none.
        raise ValueError(f"timeout {timeout!r} is no time: seconds from 0, or None for ever")
    return timeout
