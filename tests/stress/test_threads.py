"""Eight threads on one heap: a million operations, stamped contents, and nothing lost."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

import kheap
from helpers.sleepers import PATIENCE_S

OPERATIONS = 1_000_000
THREADS = 6
LOOPS = 2
TASKS = 20
REGION = 1 << 16
LIVE = 14  # Blocks that one worker holds at most: together they sometimes want more than there is.


class Stamps:
    """The live blocks of one worker, each filled with its token."""

    def __init__(self, rng):
        self.rng = rng
        self.blocks = []

    def add(self, block):
        if block is None:
            return
        token = self.rng.randrange(256)
        with block.view() as view:
            view[:] = bytes((token,)) * len(view)
        self.blocks.append((block, token))

    def take(self):
        """Any of them, once its contents are verified."""
        at = self.rng.randrange(len(self.blocks))
        self.blocks[at], self.blocks[-1] = self.blocks[-1], self.blocks[at]
        block, token = self.blocks.pop()
        with block.view() as view:
            assert view == bytes((token,)) * len(view), f"{block!r} has changed"
        return block, token

    def size(self):
        return self.rng.choice((8, 24, 40, 100, 250, 600, 1500, self.rng.randrange(1, 2000)))

    def full(self):
        return len(self.blocks) >= LIVE

    def end(self):
        while self.blocks:
            self.take()[0].free()


def resized(heap, stamps, rng):
    block, token = stamps.take()
    kept = min(block.nbytes, size := stamps.size())
    try:
        block.realloc(size, timeout=rng.choice((0.0, 0.0, 1e-5)), priority=rng.randrange(3))
    except (kheap.OutOfMemory, kheap.TimedOut):
        kept = block.nbytes
    with block.view() as view:
        assert view[:kept] == bytes((token,)) * kept, f"{block!r} has changed"
    stamps.add(block)


def work(heap, seed, count):
    """One thread's share of the operations."""
    rng = random.Random(seed)
    stamps = Stamps(rng)
    for _ in range(count):
        kind = rng.random()
        if stamps.blocks and (stamps.full() or kind < 0.44):
            block, _ = stamps.take()
            if kind < 0.1:
                del block
            elif kind < 0.15:
                heap.adopt(block.handle()).free()
            else:
                block.free()
        elif stamps.blocks and kind < 0.5:
            resized(heap, stamps, rng)
        elif kind < 0.96:
            stamps.add(heap.try_alloc(stamps.size(), align=rng.choice((0, 0, 0, 64))))
        else:
            try:
                timeout = rng.choice((0.0, 1e-6, 1e-5))
                stamps.add(heap.alloc(stamps.size(), timeout=timeout, priority=rng.randrange(3)))
            except (kheap.OutOfMemory, kheap.TimedOut):
                pass
    stamps.end()


async def task_work(heap, seed, count):
    """One task's share; it ends early where it is cancelled."""
    rng = random.Random(seed)
    stamps = Stamps(rng)
    try:
        for turn in range(count):
            if stamps.blocks and (len(stamps.blocks) > 3 or rng.random() < 0.5):
                stamps.take()[0].free()
                continue
            try:
                timeout = rng.choice((0.0, 1e-5, 1e-4))
                priority = rng.randrange(3)
                block = await heap.alloc_async(stamps.size(), timeout=timeout, priority=priority)
                stamps.add(block)
            except (kheap.OutOfMemory, kheap.TimedOut):
                pass
            if turn % 8 == 0:
                await asyncio.sleep(0)
    finally:
        stamps.end()
        stamps = None


async def loop_work(heap, seed, count):
    """Rounds of tasks, of which some are cancelled at any moment."""
    rng, share = random.Random(seed), 50
    rounds = max(1, count // (TASKS * share))
    for turn in range(rounds):
        tasks = [
            asyncio.create_task(task_work(heap, seed * 10**6 + turn * 100 + i, share))
            for i in range(TASKS)
        ]
        for task in rng.sample(tasks, TASKS // 4):
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_million_operations_in_eight_threads(scale, seed):
    heap = kheap.Heap(bytearray(REGION))
    count = round(OPERATIONS * scale) // (THREADS + LOOPS)
    errors = []

    def start(call):
        def run():
            try:
                call()
            except BaseException as error:
                errors.append(error)
                raise

        return threading.Thread(target=run, daemon=True)

    threads = [start(lambda i=i: work(heap, seed * 100 + i, count)) for i in range(THREADS)]
    threads += [
        start(lambda i=i: asyncio.run(loop_work(heap, seed * 100 + i, count)))
        for i in range(THREADS, THREADS + LOOPS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10 * PATIENCE_S)
    assert not errors
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert heap.waiters == ()
    heap.check()
    stats = heap.stats()
    assert (stats.used_count, stats.free_count, stats.allocated_bytes) == (0, 1, 0)
    heap.close()
