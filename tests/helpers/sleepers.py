"""Threads that wait for memory, and an event loop whose time stands still: no test sleeps."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from kheap.heaps.waiting import VirtualClock

PATIENCE_S = 30.0  # After so long a test has failed; none needs it.


class Sleeper(threading.Thread):
    """A thread that makes one call; ``answer`` or ``error`` is what came of it."""

    def __init__(self, call: Callable[[], Any], log: list[Any], name: object) -> None:
        super().__init__(daemon=True)
        self.call, self.log, self.key = call, log, name
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answer = self.call()
        except BaseException as error:
            self.error = error
        self.log.append(self.key)

    def end(self) -> Any:
        """The answer, or the error, once the call has returned."""
        self.join(PATIENCE_S)
        assert not self.is_alive(), f"{self.key} still waits"
        if self.error is not None:
            raise self.error
        answer, self.answer = self.answer, None
        return answer


class Dormitory:
    """Threads that sleep on a virtual clock.

    Attributes:
        clock: The clock.
        log: The names of those whose calls have returned, in that order.
    """

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.log: list[Any] = []
        self.asleep = 0

    def sleep(
        self, call: Callable[..., Any], *args: Any, name: Any = None, **named: Any
    ) -> Sleeper:
        """Start a thread that makes the call, and return when it sleeps."""
        sleeper = Sleeper(lambda: call(*args, **named), self.log, name)
        sleeper.start()
        self.asleep += 1
        self.clock.wait_for_sleepers(self.asleep)
        return sleeper

    def wake(self, sleeper: Sleeper) -> Any:
        """The answer of one whose call is about to return."""
        try:
            return sleeper.end()
        finally:
            self.asleep -= 1


class _Jump(selectors.DefaultSelector):
    """Where a loop would sleep, its time jumps on."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            found = super().select(PATIENCE_S)
            assert found, "all tasks wait, and nobody will wake them"
            return found
        self.jumped_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that needs no time: its timers are due at once, in their order."""

    def __init__(self) -> None:
        self.jump = _Jump()
        super().__init__(self.jump)

    def time(self) -> float:
        return self.jump.jumped_s


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def turns(count: int = 5) -> None:
    """Let the other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make each call in a thread of its own, all at the same time; their answers."""
    gate = threading.Barrier(len(calls))

    def start(call: Callable[[], Any]) -> Callable[[], Any]:
        def begin() -> Any:
            gate.wait(PATIENCE_S)
            return call()

        return begin

    threads = [Sleeper(start(call), [], i) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    return [thread.end() for thread in threads]
