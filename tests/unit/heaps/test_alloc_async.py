"""``Heap.alloc_async``: tasks that wait, and that are cancelled at the worst moment."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

import kheap
from helpers.sleepers import Dormitory, Sleeper, run, turns


class Full:
    """A heap without free memory, and blocks of 200 bytes that stay apart when freed."""

    def __init__(self, count=4, block_bytes=200, **named):
        self.heap = kheap.Heap(bytearray(16384), **named)
        self.blocks = [self.heap.alloc(block_bytes) for _ in range(2 * count)]
        self.walls = self.blocks[1::2]
        self.blocks = self.blocks[::2]
        while (size := self.heap.stats().largest_free_bytes) > 0:
            self.walls.append(self.heap.alloc(size))

    def free_one(self):
        block = self.blocks.pop(0)
        offset = block.offset
        block.free()
        return offset

    async def end_in_loop(self):
        await turns()  # The loop's last handle holds what was awaited last.
        self.end()

    def end(self):
        self.blocks.clear()
        self.walls.clear()
        gc.collect()
        assert self.heap.waiters == ()
        assert self.heap.stats().used_count == 0
        self.heap.check()
        self.heap.close()


def waits(heap, request, **named):
    return asyncio.create_task(heap.alloc_async(request, **named))


def test_free_memory_is_given_at_once():
    async def main():
        heap = kheap.Heap(1024)
        block = await heap.alloc_async(100, align=64)
        assert (block.nbytes, block.address % 64) == (100, 0)

    run(main())


def test_a_task_waits_for_ever_unless_told_otherwise():
    async def main():
        full = Full()
        task = waits(full.heap, 200)
        await asyncio.sleep(1e5)
        assert full.heap.waiters == ((200, 0),)
        offset = full.free_one()
        assert full.heap.waiters == ()
        assert (await task).offset == offset
        del task
        await full.end_in_loop()

    run(main())


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_no_time_is_no_wait(timeout):
    async def main():
        full = Full()
        with pytest.raises(kheap.OutOfMemory):
            await full.heap.alloc_async(200, timeout=timeout)
        assert (await kheap.Heap(1024).alloc_async(8, timeout=0)).nbytes == 8
        await full.end_in_loop()

    run(main())


def test_a_wait_ends_when_its_time_has_come():
    async def main():
        full = Full()
        loop = asyncio.get_running_loop()
        with pytest.raises(kheap.TimedOut, match=r"within 2\.5 s"):
            await full.heap.alloc_async(200, timeout=2.5)
        assert 2.5 <= loop.time() < 2.6
        assert full.heap.waiters == ()
        await full.end_in_loop()

    run(main())


def test_a_wait_that_is_served_cancels_its_timer():
    async def main():
        full = Full()
        task = waits(full.heap, 200, timeout=100.0)
        await turns()
        full.free_one()
        await task
        loop = asyncio.get_running_loop()
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]

    run(main())


def test_at_the_end_of_its_time_it_tries_again():
    async def main():
        full = Full()
        task = waits(full.heap, 200, timeout=2.0)
        await turns()
        block = full.blocks.pop()
        block.handle()
        full.heap.sys_heap.free(block.offset)
        assert (await task).offset == block.offset

    run(main())


@pytest.mark.parametrize(
    ("args", "named", "error"),
    [
        ((-1,), {}, ValueError),
        ((8,), {"align": 3}, ValueError),
        ((8,), {"timeout": -1}, ValueError),
        ((8,), {"timeout": float("nan")}, ValueError),
        (("8",), {}, TypeError),
        ((0,), {}, kheap.OutOfMemory),
        ((5000,), {}, kheap.OutOfMemory),
        ((5000,), {"timeout": 5}, kheap.OutOfMemory),
    ],
)
def test_what_cannot_be_is_refused_at_once(args, named, error):
    async def main():
        heap = kheap.Heap(1024)
        with pytest.raises(error):
            await heap.alloc_async(*args, **named)
        heap.close()
        with pytest.raises(ValueError, match="closed"):
            await heap.alloc_async(8)

    run(main())


@pytest.mark.parametrize("timeout", [10**400, 1j])
def test_a_time_that_cannot_be_reckoned_leaves_no_waiter(timeout):
    async def main():
        full = Full()
        with pytest.raises((OverflowError, TypeError)):
            await full.heap.alloc_async(200, timeout=timeout)
        await full.end_in_loop()

    run(main())


def test_without_a_loop_it_does_not_wait():
    full = Full()
    with pytest.raises(RuntimeError, match="no running event loop"):
        full.heap.alloc_async(200).send(None)
    full.end()


def test_as_in_the_original_what_never_fits_waits():
    async def main():
        heap = kheap.Heap(1024, original_waits=True)
        with pytest.raises(kheap.TimedOut):
            await heap.alloc_async(0, timeout=3.0)
        with pytest.raises(kheap.TimedOut):
            await heap.alloc_async(1 << 70, timeout=3.0)

    run(main())


def test_tasks_and_threads_stand_in_one_queue():
    room = Dormitory()
    full = Full(clock=room.clock)

    async def main():
        first = waits(full.heap, 200, priority=1)
        await turns()
        urgent = room.sleep(full.heap.alloc, 200, timeout=None, priority=-1)
        last = waits(full.heap, 200, priority=1)
        await turns()
        assert full.heap.waiters == ((200, -1), (200, 1), (200, 1))
        offset = full.free_one()
        kept = [room.wake(urgent)]
        assert kept[-1].offset == offset
        offset = full.free_one()
        kept.append(await first)
        assert kept[-1].offset == offset
        assert not last.done()
        offset = full.free_one()
        assert (await last).offset == offset

    run(main())
    full.end()


def test_another_thread_serves_a_task():
    async def main():
        full = Full()
        task = waits(full.heap, 200)
        await turns()
        thread = Sleeper(full.free_one, [], "freeing")
        thread.start()
        block = await task
        assert block.offset == thread.end()

    run(main())


def test_close_ends_the_wait_of_a_task():
    async def main():
        heap = kheap.Heap(1024, original_waits=True)
        task = waits(heap, 5000)
        await turns()
        heap.close()
        with pytest.raises(ValueError, match="closed"):
            await task

    run(main())


def test_corruption_that_a_task_meets_is_its_own():
    async def main():
        full = Full()
        task = waits(full.heap, 200)
        await turns()
        full.heap._queue.serve(_corrupt)
        with pytest.raises(kheap.HeapCorruption):
            await task
        full.free_one()
        del task
        await full.end_in_loop()

    def _corrupt(_):
        raise kheap.HeapCorruption("of that request")

    run(main())


# ---------------------------------------------------------------------- cancelling


def test_who_is_cancelled_leaves_the_queue():
    async def main():
        full = Full()
        task, other = waits(full.heap, 200), waits(full.heap, 200)
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert full.heap.waiters == ((200, 0),)
        full.free_one()
        assert (await other).nbytes == 200
        del other
        await full.end_in_loop()

    run(main())


@pytest.mark.parametrize(
    ("frees", "steps", "is_cancelled"),
    [
        ("the loop", 0, True),
        ("the loop", 1, False),
        ("the loop", 2, False),
        ("a thread", 0, True),
        ("a thread", 1, True),
        ("a thread", 2, False),
    ],
)
def test_who_is_cancelled_when_served_gives_it_to_the_next(frees, steps, is_cancelled):
    """Cancelled so many steps of the loop after the grant.

    In its own thread the loop rings the bell at once, and the task runs in the next step.  For
    another thread it rings the bell in that step, and the task runs in the one behind it.
    """

    async def main():
        full = Full()
        task, other = waits(full.heap, 200), waits(full.heap, 200)
        await turns()
        if frees == "the loop":
            offset = full.free_one()
        else:
            thread = Sleeper(full.free_one, [], "freeing")
            thread.start()
            offset = thread.end()
        assert full.heap.waiters == ((200, 0),), "the first was granted"
        loop = asyncio.get_running_loop()
        if steps == 0:
            task.cancel()
        elif steps == 1:
            loop.call_soon(task.cancel)
        else:
            loop.call_soon(loop.call_soon, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled() == is_cancelled
        if is_cancelled:
            assert (await other).offset == offset, "the grant went on"
        else:
            assert task.result().offset == offset, "it had run"
            other.cancel()
            await asyncio.wait([other])
        del task, other
        await full.end_in_loop()

    run(main())


def test_a_chain_of_cancelled_grants_ends_with_memory_free():
    async def main():
        full = Full()
        tasks = [waits(full.heap, 200) for _ in range(20)]
        await turns()
        full.free_one()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert full.heap.try_alloc(200).nbytes == 200
        tasks.clear()
        await full.end_in_loop()

    run(main())


def test_wait_for_gives_back_what_comes_too_late():
    async def main():
        full = Full()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(full.heap.alloc_async(200), 3.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await full.heap.alloc_async(200)
        await full.end_in_loop()

    run(main())


def test_a_failing_group_gives_all_back():
    async def main():
        full = Full()

        async def fail():
            await turns()
            full.free_one()
            raise KeyError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(full.heap.alloc_async(200))
                group.create_task(fail())
        await full.end_in_loop()

    run(main())


def test_a_loop_that_ends_leaves_nobody_in_the_queue():
    full = Full()

    async def main():
        waits(full.heap, 200).add_done_callback(lambda task: None)
        await turns()
        assert full.heap.waiters == ((200, 0),)

    run(main())
    full.end()


def test_a_task_whose_loop_is_closed_harms_nobody():
    full = Full()

    async def wait():
        await full.heap.alloc_async(200)

    loop = asyncio.new_event_loop()
    coroutine = wait()

    async def begin():
        coroutine.send(None)

    loop.run_until_complete(begin())
    loop.close()
    assert full.heap.waiters == ((200, 0),)
    full.free_one()
    assert full.heap.waiters == ()
    coroutine.close()
    assert full.heap.try_alloc(200).nbytes == 200
    full.end()


def test_a_forgotten_wait_that_is_collected_in_a_locked_section_is_no_more():
    full = Full()
    heap = full.heap

    async def begin():
        cycle = [heap.alloc_async(200)]
        cycle[0].send(None)
        cycle.append(cycle)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(begin())
        assert heap.waiters == ((200, 0),)
        listener = lambda *event: gc.collect()  # noqa: E731
        heap.add_listener(listener)
        full.free_one()
        heap.remove_listener(listener)
    finally:
        gc.enable()
    assert heap.waiters == ()
    assert heap.try_alloc(200).nbytes == 200
    full.end()


# ---------------------------------------------------------------------- many


@pytest.mark.slow
def test_1000_tasks_are_woken_in_order_none_lost_none_twice():
    async def main():
        full = Full(count=2, block_bytes=24)
        rng, log, loop = random.Random(3), [], asyncio.get_running_loop()
        asked = [(rng.randrange(-9, 9), i) for i in range(1000)]

        async def hold(ask):
            block = await full.heap.alloc_async(24, priority=ask[0])
            log.append(ask)
            with block.view() as view:
                view[:] = bytes([ask[1] & 0xFF]) * 24
                await turns(2)
                assert bytes(view) == bytes([ask[1] & 0xFF]) * 24
            block.free()

        tasks = [asyncio.create_task(hold(ask)) for ask in asked]
        await turns()
        assert full.heap.waiters == tuple((24, p) for p, _ in sorted(asked))
        full.free_one()
        await asyncio.gather(*tasks)
        assert log == sorted(asked)
        assert loop.time() == 0
        tasks.clear()
        await full.end_in_loop()

    run(main())


def test_all_are_woken_by_one_free():
    async def main():
        full = Full(count=1, block_bytes=6000)
        tasks = [waits(full.heap, 8) for _ in range(200)]
        await turns()
        full.free_one()
        blocks = await asyncio.gather(*tasks)
        assert [block.offset for block in blocks] == sorted(block.offset for block in blocks)
        assert len({block.offset for block in blocks}) == 200
        blocks.clear()
        tasks.clear()
        await full.end_in_loop()

    run(main())
