"""One board after each test, as it was at the start; threads that sleep on a virtual clock."""

from __future__ import annotations

import threading

import pytest

from kheap import VirtualClock
from kheap.zephyr import configure, k_free
from kheap.zephyr.board import board

PATIENCE_S = 30


@pytest.fixture(autouse=True)
def _fresh_board():
    yield
    for address in list(board().taken):
        k_free(address)
    configure()


@pytest.fixture
def clock():
    return VirtualClock()


class Waiting(threading.Thread):
    """A thread that makes one call; ``end()`` is the answer."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call = call
        self.answer = self.error = None

    def run(self):
        try:
            self.answer = self.call()
        except BaseException as error:
            self.error = error

    def end(self):
        self.join(PATIENCE_S)
        assert not self.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def waiting(clock):
    """Start a thread with a call, and return when so many sleep on the clock."""
    started = []

    def start(call, *args):
        started.append(Waiting(lambda: call(*args)))
        started[-1].start()
        clock.wait_for_sleepers(sum(thread.is_alive() for thread in started))
        return started[-1]

    return start
