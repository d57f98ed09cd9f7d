"""Threads, as far as heaps need them: each has a priority, which orders those who wait."""

from __future__ import annotations

import operator
from threading import local

__all__ = ["k_current_get", "k_thread", "k_thread_priority_get", "k_thread_priority_set"]


class k_thread:
    """A thread; :func:`k_current_get` gives the current one.

    Attributes:
        priority: The smaller number is the more urgent.
    """

    priority = 0


class _Current(local):
    def __init__(self) -> None:
        self.thread = k_thread()


_current = _Current()


def k_current_get() -> k_thread:
    """The current thread."""
    return _current.thread


def k_thread_priority_set(thread: k_thread | int, priority: int | None = None) -> None:
    """Set the priority of a thread; with a priority alone, that of the current thread.

    A thread that waits keeps its place.
    """
    if isinstance(thread, k_thread) and priority is not None:
        thread.priority = operator.index(priority)
    elif not isinstance(thread, k_thread) and priority is None:
        k_current_get().priority = operator.index(thread)
    else:
        raise TypeError("a thread and a priority are wanted, or a priority alone")


def k_thread_priority_get(thread: k_thread | None = None) -> int:
    """The priority of a thread, 0 unless it was set; without one, that of the current thread."""
    return (thread or k_current_get()).priority
