"""Handing over: from the free that makes room to the one who waits for it, and its peers.

It owns the rallies: two threads, or two tasks, that wake each other in turn, so that each
hand-over ends a sleep.  All of them are alike but for what sleeps and wakes; times are wall
time, since a sleeper uses no CPU.  Not here: rounds and ratios (``bench.py``).

The memory of a heap is handed over both ways at once: of two heaps with room for one block each,
either side holds the block of one and waits for the other's.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine
from itertools import repeat
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

from kheap.heaps.k_heap import Heap

__all__ = [
    "BLOCK_BYTES",
    "HEAP",
    "LOCKS",
    "RALLIES",
    "TASK_HEAP",
    "TASK_QUEUE",
    "TASK_RALLIES",
    "Rally",
    "TaskRally",
]

#: Too large for a region of this size to hold a second one.
BLOCK_BYTES = 512
REGION_BYTES = 1024
#: Hand-overs in one turn of each side's loop: there and back, twice.
STRIDE = 4

Side = Callable[[int], object]
TaskSide = Callable[[int], Coroutine[Any, Any, object]]


class Sides(NamedTuple):
    """The two who play; each is called with a number of strides, ``second`` waits first."""

    first: Side
    second: Side


class TaskSides(NamedTuple):
    """The same for two tasks."""

    first: TaskSide
    second: TaskSide


# ---------------------------------------------------------------------- threads


def _heap_sides() -> Sides:
    """A free, and an alloc that waits for it."""
    here, there = Heap(REGION_BYTES), Heap(REGION_BYTES)
    firsts, seconds = here.alloc(BLOCK_BYTES), there.alloc(BLOCK_BYTES)

    def first(count: int) -> None:
        nonlocal firsts
        for _ in repeat(None, count):
            firsts.free()
            firsts = there.alloc(BLOCK_BYTES, timeout=None)
            firsts.free()
            firsts = here.alloc(BLOCK_BYTES, timeout=None)

    def second(count: int) -> None:
        nonlocal seconds
        for _ in repeat(None, count):
            got = here.alloc(BLOCK_BYTES, timeout=None)
            seconds.free()
            seconds = there.alloc(BLOCK_BYTES, timeout=None)
            got.free()

    return Sides(first, second)


class Link(Protocol):
    """What one thread puts and another, who waits, gets."""

    def put(self, item: None) -> object:
        """Wake who waits."""

    def get(self) -> object:
        """Wait to be woken."""


class LockLink:
    """A lock that one thread takes and another lets go: what threads wait with at least."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def put(self, item: None) -> None:
        """Wake who waits."""
        self._lock.release()

    def get(self) -> None:
        """Wait to be woken."""
        self._lock.acquire()


class ConditionLink:
    """A condition variable and the flag that it guards."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = False

    def put(self, item: None) -> None:
        """Wake who waits."""
        with self._changed:
            self._given = True
            self._changed.notify()

    def get(self) -> None:
        """Wait to be woken."""
        with self._changed:
            while not self._given:
                self._changed.wait()
            self._given = False


def _link_sides(make: Callable[[], Link]) -> Sides:
    there, back = make(), make()

    def first(count: int) -> None:
        for _ in repeat(None, STRIDE // 2 * count):
            there.put(None)
            back.get()

    def second(count: int) -> None:
        for _ in repeat(None, STRIDE // 2 * count):
            there.get()
            back.put(None)

    return Sides(first, second)


HEAP = "kheap.Heap, free to a waiting alloc"
LOCKS = "floor: two locks, release to acquire"

#: By name, in the order of the report.
RALLIES: dict[str, Callable[[], Sides]] = {
    LOCKS: lambda: _link_sides(LockLink),
    HEAP: _heap_sides,
    "threading.Condition, notify to wait": lambda: _link_sides(ConditionLink),
    "queue.Queue, put to get": lambda: _link_sides(queue.Queue),
    "queue.SimpleQueue, put to get": lambda: _link_sides(queue.SimpleQueue),
}


class Rally:
    """Two threads that play, of which this one is the first."""

    def __init__(self, make: Callable[[], Sides]) -> None:
        self._sides = make()

    def play(self, handovers: int) -> int:
        """Wall nanoseconds of so many hand-overs; the fewest that are played are a stride's.

        An interrupted run ends with the program: the other thread is one that nobody waits for.
        """
        count = max(1, handovers // STRIDE)
        other = threading.Thread(target=self._sides.second, args=(count,), daemon=True)
        other.start()
        began = perf_counter_ns()
        self._sides.first(count)
        other.join()
        return (perf_counter_ns() - began) * handovers // (STRIDE * count)

    def end(self) -> None:
        """Nothing is held but by the sides."""


# ---------------------------------------------------------------------- tasks


def _heap_task_sides() -> TaskSides:
    """As :func:`_heap_sides`."""
    here, there = Heap(REGION_BYTES), Heap(REGION_BYTES)
    firsts, seconds = here.alloc(BLOCK_BYTES), there.alloc(BLOCK_BYTES)

    async def first(count: int) -> None:
        nonlocal firsts
        for _ in repeat(None, count):
            firsts.free()
            firsts = await there.alloc_async(BLOCK_BYTES)
            firsts.free()
            firsts = await here.alloc_async(BLOCK_BYTES)

    async def second(count: int) -> None:
        nonlocal seconds
        for _ in repeat(None, count):
            got = await here.alloc_async(BLOCK_BYTES)
            seconds.free()
            seconds = await there.alloc_async(BLOCK_BYTES)
            got.free()

    return TaskSides(first, second)


def _queue_task_sides() -> TaskSides:
    there: asyncio.Queue[None] = asyncio.Queue()
    back: asyncio.Queue[None] = asyncio.Queue()

    async def first(count: int) -> None:
        for _ in repeat(None, STRIDE // 2 * count):
            there.put_nowait(None)
            await back.get()

    async def second(count: int) -> None:
        for _ in repeat(None, STRIDE // 2 * count):
            await there.get()
            back.put_nowait(None)

    return TaskSides(first, second)


TASK_HEAP = "kheap.Heap, free to a waiting alloc_async"
TASK_QUEUE = "asyncio.Queue, put to get"

#: By name, in the order of the report.
TASK_RALLIES: dict[str, Callable[[], TaskSides]] = {
    TASK_QUEUE: _queue_task_sides,
    TASK_HEAP: _heap_task_sides,
}


class TaskRally:
    """Two tasks that play, in an event loop of its own."""

    def __init__(self, make: Callable[[], TaskSides]) -> None:
        self._make = make
        self._runner = asyncio.Runner()

    def play(self, handovers: int) -> int:
        """As :meth:`Rally.play`."""
        count = max(1, handovers // STRIDE)
        taken: int = self._runner.run(_rally(self._make(), count))
        return taken * handovers // (STRIDE * count)

    def end(self) -> None:
        """Close the loop."""
        self._runner.close()


async def _rally(sides: TaskSides, count: int) -> int:
    began = perf_counter_ns()
    both: Awaitable[object] = asyncio.gather(sides.second(count), sides.first(count))
    await both
    return perf_counter_ns() - began
