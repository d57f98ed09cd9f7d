"""How long to wait, as Zephyr's C code says it: ``K_NO_WAIT``, ``K_MSEC(100)``, ``K_FOREVER``."""

from __future__ import annotations

from dataclasses import dataclass

from kheap.heaps.waiting import checked_timeout
from kheap.zephyr.board import board

__all__ = [
    "K_FOREVER",
    "K_HOURS",
    "K_MINUTES",
    "K_MSEC",
    "K_NO_WAIT",
    "K_NSEC",
    "K_SECONDS",
    "K_TICKS",
    "K_TIMEOUT_EQ",
    "K_USEC",
    "k_timeout_t",
    "seconds_of",
]

_DEFAULT_TICKS_PER_SECOND = 10_000  # Kconfig's default on systems with tickless timers.
_FOREVER = -1


@dataclass(frozen=True, slots=True)
class k_timeout_t:
    """A time to wait.

    Attributes:
        seconds: So long; None: for ever.
    """

    seconds: float | None


K_NO_WAIT = k_timeout_t(0.0)
K_FOREVER = k_timeout_t(None)


def K_SECONDS(s: float) -> k_timeout_t:
    """So many seconds; below 0 is no wait, as in Zephyr."""
    return k_timeout_t(max(0.0, s))


def K_MINUTES(m: float) -> k_timeout_t:
    """So many minutes."""
    return K_SECONDS(60 * m)


def K_HOURS(h: float) -> k_timeout_t:
    """So many hours."""
    return K_SECONDS(3600 * h)


def K_MSEC(ms: float) -> k_timeout_t:
    """So many milliseconds."""
    return K_SECONDS(ms / 1_000)


def K_USEC(us: float) -> k_timeout_t:
    """So many microseconds."""
    return K_SECONDS(us / 1_000_000)


def K_NSEC(ns: float) -> k_timeout_t:
    """So many nanoseconds."""
    return K_SECONDS(ns / 1_000_000_000)


def K_TICKS(ticks: int) -> k_timeout_t:
    """So many ticks of the system clock (CONFIG_SYS_CLOCK_TICKS_PER_SEC); -1 is for ever.

    Raises:
        ValueError: The option is no number of ticks.
    """
    rate = int(board().config.get("SYS_CLOCK_TICKS_PER_SEC", _DEFAULT_TICKS_PER_SECOND))
    if rate < 1:
        raise ValueError(f"CONFIG_SYS_CLOCK_TICKS_PER_SEC is {rate}: the clock does not tick")
    return K_FOREVER if ticks == _FOREVER else K_SECONDS(ticks / rate)


def K_TIMEOUT_EQ(a: k_timeout_t, b: k_timeout_t) -> bool:
    """Whether two times to wait are the same; C cannot compare them with ``==``."""
    return a == b


def seconds_of(timeout: k_timeout_t | int) -> float | None:
    """The time limit in seconds, None for ever.

    A plain number is one of Zephyr 1.x and early 2.x: milliseconds, -1 for ever.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(timeout, k_timeout_t):
        return checked_timeout(timeout.seconds)
    if not isinstance(timeout, int) or isinstance(timeout, bool):
        raise TypeError(f"timeout {timeout!r} is none: K_NO_WAIT, K_FOREVER, K_MSEC(100) ...")
    return None if timeout == _FOREVER else checked_timeout(timeout / 1_000)
