"""Threads that wait for memory: the order, the time, and that nothing is lost."""

from __future__ import annotations

import _thread
import decimal
import gc
import random
import signal
import sys
import threading

import pytest

import kheap
from helpers.sleepers import PATIENCE_S, Dormitory
from kheap.heaps.waiting import (
    RealClock,
    ThreadBell,
    VirtualClock,
    Waiter,
    WaitQueue,
    checked_timeout,
)


class Full:
    """A heap without free memory, whose blocks are freed by number, and its sleepers."""

    def __init__(self, count=4, block_bytes=200, **named):
        self.room = Dormitory()
        self.heap = kheap.Heap(bytearray(16384), clock=self.room.clock, **named)
        self.blocks = [self.heap.alloc(block_bytes) for _ in range(count)]
        self.walls = []
        while (size := self.heap.stats().largest_free_bytes) > 0:
            self.walls.append(self.heap.alloc(size))
        # Freed blocks stay apart: between any two lies a used one.
        self.free_list = self.blocks[::2]

    def sleep(self, request, name=None, **named):
        return self.room.sleep(self.heap.alloc, request, name=name, **{"timeout": None, **named})

    def end(self):
        self.blocks.clear()
        self.walls.clear()
        self.free_list.clear()
        gc.collect()  # Tracebacks of errors that were expected hold blocks.
        assert self.heap.stats().used_count == 0
        self.heap.check()
        self.heap.close()


@pytest.fixture
def full():
    return Full()


# ---------------------------------------------------------------------- order


def test_a_free_serves_before_it_returns(full):
    sleeper = full.sleep(200)
    offset = full.blocks[0].offset
    full.blocks[0].free()
    assert full.heap.waiters == ()
    assert full.heap.stats().free_count == 0
    block = full.room.wake(sleeper)
    assert block.offset == offset
    del block
    full.end()


def test_the_last_reference_that_goes_serves_too(full):
    sleeper = full.sleep(200)
    full.free_list.pop(0)
    del full.blocks[0]
    assert full.room.wake(sleeper).nbytes == 200


def test_the_more_urgent_and_then_the_first_comes_first():
    full = Full(count=12, block_bytes=40)
    asked = [(5, "a"), (0, "b"), (5, "c"), (-3, "d"), (0, "e"), (-3, "f")]
    sleepers = {name: full.sleep(40, name, priority=priority) for priority, name in asked}
    order = ["d", "f", "b", "e", "a", "c"]
    assert [p for _, p in full.heap.waiters] == [-3, -3, 0, 0, 5, 5]
    kept = []
    for name, block in zip(order, full.free_list, strict=True):
        block.free()
        kept.append(full.room.wake(sleepers[name]))
        assert full.room.log[-1] == name
    kept.clear()
    full.end()


def test_a_small_request_passes_a_large_one_that_does_not_fit(full):
    large, small = full.sleep(3000), full.sleep(100)
    full.blocks[0].free()
    assert full.room.wake(small).nbytes == 100
    assert full.heap.waiters == ((3000, 0),)
    full.walls.clear()
    assert full.room.wake(large).nbytes == 3000
    full.end()


def test_who_does_not_fit_keeps_his_place(full):
    full.room.asleep = 0
    sleepers = [full.sleep(3000, priority=1), full.sleep(2500), full.sleep(9000, priority=-1)]
    places = full.heap.waiters
    assert places == ((9000, -1), (2500, 0), (3000, 1))
    for block in full.free_list:
        block.free()
        assert full.heap.waiters == places
    full.walls.clear()
    for sleeper in sleepers:
        full.room.wake(sleeper)
    full.end()


def test_one_free_serves_several(full):
    sleepers = [full.sleep(40, i) for i in range(3)]
    full.blocks[0].free()
    assert full.heap.waiters == ()
    offsets = [full.room.wake(sleeper).offset for sleeper in sleepers]
    assert offsets == sorted(offsets), "in the order of the queue"
    full.end()


def test_waiters_are_told_in_queue_order(full):
    assert full.heap.waiters == ()
    sleepers = [full.sleep(300 + i, priority=-i) for i in range(3)]
    assert full.heap.waiters == ((302, -2), (301, -1), (300, 0))
    full.walls.clear()
    for sleeper in sleepers:
        full.room.wake(sleeper)
    full.end()


def test_who_comes_when_memory_is_free_does_not_queue(full):
    large = full.sleep(3000)
    full.blocks[0].free()
    block = full.heap.alloc(100, timeout=5.0, priority=100)
    assert block.nbytes == 100
    full.walls.clear()
    full.room.wake(large)


def test_placement_is_that_of_the_heap_beneath_in_the_specified_order():
    heap = kheap.Heap(4096, clock=(room := Dormitory()).clock)
    model = kheap.SysHeap(4096)
    sizes = [300] * 12
    blocks, offsets = [heap.alloc(n) for n in sizes], [model.alloc(n) for n in sizes]
    while (size := model.stats().largest_free_bytes) > 0:
        blocks.append(heap.alloc(size))
        offsets.append(model.alloc(size))
    asked = [(150, 2), (700, 0), (20, 1), (90, 0), (1000, -1)]
    sleepers = {ask: room.sleep(heap.alloc, ask[0], priority=ask[1], timeout=None) for ask in asked}
    queue = sorted(asked, key=lambda ask: ask[1])
    for which in (3, 7, 8, 0, 10, 9, 11, 6, 5, 1, 2, 4):
        blocks[which].free()
        model.free(offsets[which])
        left = []
        for ask in queue:
            want = model.try_alloc(ask[0])
            if want is None:
                left.append(ask)
                continue
            blocks.append(room.wake(sleepers[ask]))
            assert blocks[-1].offset == want
        queue = left
        assert heap.waiters == tuple(queue)
    assert not queue
    assert [c.state for c in heap.chunks()] == [c.state for c in model.chunks()]


# ---------------------------------------------------------------------- time


def test_a_wait_ends_when_its_time_has_come(full):
    sleeper, other = full.sleep(200, timeout=2.0), full.sleep(200, timeout=3.0)
    full.room.clock.advance(1.999)
    assert len(full.heap.waiters) == 2
    full.room.clock.advance(0.001)
    with pytest.raises(kheap.TimedOut, match=r"200 bytes within 2\.0 s") as caught:
        full.room.wake(sleeper)
    assert isinstance(caught.value, TimeoutError)
    assert full.heap.waiters == ((200, 0),)
    full.blocks[0].free()
    assert full.room.wake(other).nbytes == 200


def test_the_deadline_is_set_once(full):
    sleeper = full.sleep(3000, timeout=2.0)
    for block in full.free_list:
        full.room.clock.advance(0.9)
        block.free()
    full.room.clock.advance(0.3)
    with pytest.raises(kheap.TimedOut):
        full.room.wake(sleeper)


def test_a_wait_for_ever_outlives_all_time(full):
    sleeper = full.sleep(200)
    full.room.clock.advance(1e12)
    full.blocks[0].free()
    assert full.room.wake(sleeper).nbytes == 200


def test_at_the_end_of_its_time_it_tries_again(full):
    """What was made free without a free that serves: the last attempts find it."""
    sleeper = full.sleep(200, timeout=2.0)
    block = full.blocks[0]
    block.handle()
    full.heap.sys_heap.free(block.offset)
    full.room.clock.advance(2.0)
    assert full.room.wake(sleeper).offset == block.offset
    del block
    full.end()


def test_the_last_attempts_are_two(full):
    sleeper = full.sleep(200, timeout=2.0)
    attempts = []
    (waiter,) = full.heap._queue
    details = waiter.details
    waiter.details = lambda: attempts.append(1) or details()
    full.room.clock.advance(2.0)
    with pytest.raises(kheap.TimedOut):
        full.room.wake(sleeper)
    assert len(attempts) == 2


def test_a_grant_at_the_moment_of_the_deadline_is_kept(full):
    sleeper = full.sleep(200, timeout=2.0)
    full.blocks[0].free()
    full.room.clock.advance(2.0)
    assert full.room.wake(sleeper).nbytes == 200
    assert full.heap.waiters == ()


@pytest.mark.parametrize("timeout", [0, 0.0, -0.0, False])
def test_no_time_is_no_wait(full, timeout):
    with pytest.raises(kheap.OutOfMemory):
        full.heap.alloc(200, timeout=timeout)
    assert full.heap.waiters == ()


def test_a_time_already_over_is_not_slept(full):
    class Over(VirtualClock):
        def now(self):
            self.advance(1.0)
            return super().now() - 10

    full.heap._clock = Over()
    with pytest.raises(kheap.TimedOut):
        full.heap.alloc(200, timeout=1.0)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(10**400, OverflowError), (decimal.Decimal(1), TypeError), (1j, TypeError)],
)
def test_a_time_that_cannot_be_reckoned_leaves_no_waiter(full, timeout, error):
    block = full.blocks[0]
    for call in (full.heap.alloc, block.realloc):
        with pytest.raises(error):
            call(3000, timeout=timeout)
        assert full.heap.waiters == ()
    assert not block.closed
    del block, call
    full.end()


def test_real_time_passes_too(full):
    full.heap._clock = RealClock()
    with pytest.raises(kheap.TimedOut):
        full.heap.alloc(200, timeout=1e-9)
    assert full.heap.waiters == ()


def test_a_real_wait_for_ever_ends_with_a_free(full):
    full.heap._clock = RealClock()
    answer = []
    thread = threading.Thread(target=lambda: answer.append(full.heap.alloc(200, timeout=None)))
    timed = threading.Thread(target=lambda: answer.append(full.heap.alloc(200, timeout=1e9)))
    thread.start()
    timed.start()
    full.blocks.clear()
    full.free_list.clear()
    thread.join(PATIENCE_S)
    timed.join(PATIENCE_S)
    assert [block.nbytes for block in answer] == [200, 200]


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("-inf"), float("nan")])
def test_what_is_no_time_is_refused(timeout):
    with pytest.raises(ValueError, match="no time"):
        checked_timeout(timeout)


# ---------------------------------------------------------------------- as the original


@pytest.mark.parametrize("request_bytes", [0, 1 << 20, 1 << 70])
def test_as_in_the_original_what_never_fits_waits(request_bytes):
    full = Full(original_waits=True)
    for call in (full.heap.alloc, lambda n, **named: full.heap.calloc(1, n, **named)):
        if request_bytes >> 64 and call != full.heap.alloc:
            continue
        sleeper = full.room.sleep(call, request_bytes, timeout=2.0)
        assert full.heap.waiters == ((request_bytes, 0),)
        full.blocks.pop().free()
        full.room.clock.advance(2.0)
        with pytest.raises(kheap.TimedOut):
            full.room.wake(sleeper)
    full.end()


def test_as_in_the_original_it_still_need_not_wait():
    full = Full(original_waits=True)
    with pytest.raises(kheap.OutOfMemory):
        full.heap.alloc(0)
    assert full.heap.try_alloc(1 << 70) is None


# ---------------------------------------------------------------------- the end of a heap


def test_close_ends_all_waits():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock, original_waits=True)
    sleepers = [room.sleep(heap.alloc, 5000, timeout=timeout) for timeout in (None, 5.0)]
    heap.close()
    for sleeper in sleepers:
        with pytest.raises(ValueError, match="closed"):
            room.wake(sleeper)
    assert heap.waiters == ()


def test_close_with_blocks_leaves_who_waits(full):
    sleeper = full.sleep(200)
    with pytest.raises(BufferError):
        full.heap.close()
    full.blocks[0].free()
    assert full.room.wake(sleeper).nbytes == 200


# ---------------------------------------------------------------------- interrupts


class Interrupted(Exception):
    """What a signal handler raises."""


@pytest.fixture
def handler():
    """Lets SIGUSR1 raise."""

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


class ClockOf:
    """Does something where a thread would sleep, and then sleeps."""

    def __init__(self, deed):
        self.deed = deed

    def now(self):
        return 0.0

    def sleep(self, bell, until):
        self.deed()
        return bell.listen(None)


INTERRUPTS = {
    "raise_signal": (Interrupted, lambda: signal.raise_signal(signal.SIGUSR1)),
    "pthread_kill": (
        Interrupted,
        lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1),
    ),
    "interrupt_main": (KeyboardInterrupt, _thread.interrupt_main),
}


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("way", INTERRUPTS)
def test_an_interrupt_ends_a_wait_and_loses_nothing(full, way):
    error, interrupt = INTERRUPTS[way]
    full.heap._clock = ClockOf(interrupt)
    block = full.blocks[0]
    for call in (full.heap.alloc, block.realloc):
        with pytest.raises(error):
            call(3000, timeout=None)
        assert full.heap.waiters == ()
        assert not block.closed
    del block, call
    full.end()


@pytest.mark.usefixtures("handler")
def test_an_interrupt_from_another_thread_wakes_a_sleeper(full):
    main = threading.main_thread().ident

    def deed():
        threading.Thread(target=signal.pthread_kill, args=(main, signal.SIGUSR1)).start()

    full.heap._clock = ClockOf(deed)
    with pytest.raises(Interrupted):
        full.heap.alloc(200, timeout=None)
    assert full.heap.waiters == ()
    full.end()


@pytest.mark.usefixtures("handler")
def test_what_was_granted_to_who_is_interrupted_goes_to_the_next(full):
    next_one = full.sleep(200, priority=1)

    def deed():
        full.blocks[0].free()
        assert full.heap.waiters == ((200, 1),), "granted to the interrupted one"
        signal.raise_signal(signal.SIGUSR1)

    virtual, full.heap._clock = full.heap._clock, ClockOf(deed)
    with pytest.raises(Interrupted):
        full.heap.alloc(200, timeout=None)
    full.heap._clock = virtual
    assert full.room.wake(next_one).offset == full.blocks[0].offset
    full.end()


@pytest.mark.usefixtures("handler")
def test_a_realloc_that_is_interrupted_when_served_is_done(full):
    block = full.blocks[0]

    def deed():
        full.walls.clear()
        signal.raise_signal(signal.SIGUSR1)

    full.heap._clock = ClockOf(deed)
    with pytest.raises(Interrupted):
        block.realloc(3000, timeout=None)
    assert (block.nbytes, block.closed) == (3000, False)
    block.view()[:] = bytes(3000)
    del block
    full.end()


def test_a_handler_that_raises_nothing_lets_the_wait_go_on(full):
    calls = []

    def handle(*_):
        calls.append(full.heap.waiters)
        if len(calls) == 2:
            full.blocks[0].free()

    def deed():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        full.heap._clock = ClockOf(deed)
        assert full.heap.alloc(200, timeout=None).nbytes == 200
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert calls == [((200, 0),), ((200, 0),)]


def test_a_clock_that_fails_leaves_no_waiter(full):
    class Broken:
        def now(self):
            raise OSError("no clock")

    full.heap._clock = Broken()
    block = full.blocks[0]
    for call in (full.heap.alloc, block.realloc):
        with pytest.raises(OSError, match="no clock"):
            call(3000, timeout=1.0)
        assert full.heap.waiters == ()
    assert not block.closed


def test_an_error_in_the_walk_leaves_nobody_out(full):
    """RecursionError and the like may strike anywhere; they are the freeing thread's own."""
    first, second, third = (full.sleep(40, i) for i in range(3))
    waiter = list(full.heap._queue)[1]
    details, struck = waiter.details, []

    def strike():
        if not struck:
            struck.append(1)
            raise RecursionError
        return details()

    waiter.details = strike
    block = full.blocks[0]
    with pytest.raises(RecursionError):
        block.free()
    assert block.closed, "it was freed before the walk"
    for sleeper in (first, second, third):
        assert full.room.wake(sleeper).nbytes == 40
    del block, waiter
    full.end()


@pytest.mark.skipif(not kheap.COMPILED, reason="in pure form the engine itself recurses")
def test_recursion_that_is_too_deep_loses_nothing():
    """A free and an alloc at every depth from the limit on: done, or not done."""
    full = Full(count=80, block_bytes=40)
    sleeper = full.sleep(9000)
    limit = sys.getrecursionlimit()

    def descend(depth, call):
        if depth:
            return descend(depth - 1, call)
        return call()

    here = 0
    frame = sys._getframe()
    while frame:
        here, frame = here + 1, frame.f_back
    errors = 0
    for left in range(2, 26):
        block = full.blocks[2 * left]
        live = len(full.blocks) + len(full.walls)
        try:
            descend(limit - here - left, block.free)
        except RecursionError:
            errors += 1
        full.heap.check()
        assert block.closed == (full.heap.stats().used_count < live)
        with pytest.raises(kheap.InvalidFree) if block.closed else _nothing():
            block.free()
        full.blocks[2 * left] = None
        del block
        full.blocks[2 * left] = full.heap.alloc(40)
    assert errors, "no depth was too deep"
    full.walls.clear()
    assert full.room.wake(sleeper).nbytes == 9000
    full.end()


class _nothing:  # noqa: N801
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


# ---------------------------------------------------------------------- many


@pytest.mark.slow
def test_200_threads_are_woken_in_order_none_lost_none_twice():
    full = Full(count=400, block_bytes=8)
    full.heap.check()
    rng = random.Random(5)
    asked = [(rng.randrange(-5, 5), i) for i in range(200)]
    sleepers = {ask: full.sleep(8, ask, priority=ask[0]) for ask in asked}
    order, kept = sorted(asked), []
    assert [p for _, p in full.heap.waiters] == [p for p, _ in order]
    for ask, block in zip(order, full.free_list, strict=True):
        offset = block.offset
        block.free()
        kept.append(full.room.wake(sleepers[ask]))
        assert kept[-1].offset == offset
    assert full.room.log == order
    assert len({block.offset for block in kept}) == 200
    kept.clear()
    full.end()


def test_all_are_woken_by_one_free():
    full = Full(count=1, block_bytes=4000)
    sleepers = [full.sleep(8, i) for i in range(40)]
    full.blocks[0].free()
    blocks = [full.room.wake(sleeper) for sleeper in sleepers]
    assert len({block.offset for block in blocks}) == 40
    blocks.clear()
    full.end()


# ---------------------------------------------------------------------- the parts


def test_the_queue_forgets_who_is_discarded():
    queue = WaitQueue()
    waiters = [Waiter(i, 0, ThreadBell()) for i in range(4)]
    for waiter in waiters:
        queue.add(waiter)
    queue.discard(waiters[1])
    queue.discard(waiters[1])
    queue.discard(Waiter(9, 0, ThreadBell()))
    assert [w.request_bytes for w in queue] == [0, 2, 3]
    assert len(queue) == 3
    assert queue.requests() == ((0, 0), (2, 0), (3, 0))


def test_a_bell_may_be_rung_twice():
    bell = ThreadBell()
    bell.ring()
    bell.ring()
    assert bell.listen(0)
    assert not bell.listen(0)
    assert not bell.listen(1e-9)


def test_the_real_clock_runs():
    clock, bell = RealClock(), ThreadBell()
    first = clock.now()
    assert clock.now() >= first
    assert not clock.sleep(bell, first)
    bell.ring()
    assert clock.sleep(bell, None)
    bell.ring()
    assert clock.sleep(bell, float("inf"))


def test_the_virtual_clock_stands_still():
    clock, bell = VirtualClock(), ThreadBell()
    assert clock.now() == clock.now() == 0
    assert not clock.sleep(bell, 0)
    clock.advance(2)
    assert not clock.sleep(bell, 1.5)
    bell.ring()
    assert clock.sleep(bell, 3)
    bell.ring()
    assert clock.sleep(bell, None)


def test_who_has_gone_is_passed_by_and_forgotten(full):
    """A waiter that nobody listens for gets nothing, wherever it went away."""
    ghost = Waiter(200, -1, ThreadBell(), lambda: pytest.fail("nobody waits"))
    full.heap._queue.add(ghost)
    sleeper = full.sleep(200)
    ghost.error = RuntimeError("gone")
    assert full.heap.waiters == ((200, 0),)
    full.blocks[0].free()
    assert full.room.wake(sleeper).nbytes == 200
    assert len(full.heap._queue) == 0
    gc.collect()
    full.end()
