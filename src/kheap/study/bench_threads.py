"""Threads that share a heap, and what programs share instead.

It owns the peers of the "threads" group and the runner that lets threads play at once.  Times
are wall time, of all threads together: two that hinder each other take longer, not more CPU.
Not here: rounds and ratios (``bench.py``), the loop (``peers.py``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter_ns

from kheap.heaps.sys_heap import SysHeap
from kheap.study.peers import BLOCK, BYTEARRAY, KHEAP, LOOP, Peer, mix_loop

__all__ = ["BUFFER_BYTES", "REGION_BYTES", "SHARED_HEAP", "SHARED_PEERS", "ThreadsRunner"]

#: What the threads share.
REGION_BYTES = 1 << 18
#: A pool's buffers serve the largest request, and are as many as the region has room for.
BUFFER_BYTES = 1 << 10


class LockedSysHeap:
    """What a program would do without ``kheap.Heap``: a lock around each call."""

    def __init__(self, region_bytes: int) -> None:
        self._heap, self._lock = SysHeap(region_bytes), threading.Lock()

    def alloc(self, request_bytes: int) -> int:
        """An offset."""
        with self._lock:
            return self._heap.alloc(request_bytes)

    def free(self, offset: int) -> None:
        """Give it back."""
        with self._lock:
            self._heap.free(offset)


def _pool(
    kind: Callable[[], queue.Queue[bytearray] | queue.SimpleQueue[bytearray]],
) -> Callable[[int], object]:
    def make(region_bytes: int) -> object:
        pool = kind()
        for _ in range(region_bytes // BUFFER_BYTES):
            pool.put(bytearray(BUFFER_BYTES))
        return pool

    return make


SHARED_HEAP = replace(BLOCK, name="kheap.Heap")

#: In the order of the report.  A bytearray is there for what sharing costs: it is malloc's.
SHARED_PEERS = (
    LOOP,
    SHARED_HEAP,
    replace(KHEAP, name="kheap.SysHeap and a Lock", make=LockedSysHeap),
    Peer("queue.SimpleQueue of buffers", _pool(queue.SimpleQueue), "it.get()", "it.put(block)"),
    Peer("queue.Queue of buffers", _pool(queue.Queue), "it.get()", "it.put(block)"),
    BYTEARRAY,
)


class ThreadsRunner:
    """Runs one peer's mix in several threads at once, which share what the peer has made.

    Args:
        peer: Whose mix.
        threads: How many.
        region_bytes: What they share.
        slot_count: Slots of each thread.
    """

    def __init__(self, peer: Peer, threads: int, region_bytes: int, slot_count: int) -> None:
        self._it = peer.make(region_bytes)
        self._mix = mix_loop(peer)
        self._blocks: list[list[object]] = [[None] * slot_count for _ in range(threads)]
        self._start = threading.Barrier(threads)
        self._pool = ThreadPoolExecutor(threads)

    def mix(self, slots: Sequence[int], sizes: Sequence[int]) -> int:
        """Wall nanoseconds until all are done, each with a part of the operations.

        It begins when the first of them does; by then all are made.
        """
        threads = len(self._blocks)
        each = -(-len(slots) // threads)
        parts = [slice(i * each, (i + 1) * each) for i in range(threads)]
        played = self._pool.map(
            self._play, [slots[p] for p in parts], [sizes[p] for p in parts], self._blocks
        )
        spans = list(played)
        return max(ended for _, ended in spans) - min(began for began, _ in spans)

    def _play(
        self, slots: Sequence[int], sizes: Sequence[int], blocks: list[object]
    ) -> tuple[int, int]:
        self._start.wait()
        began = perf_counter_ns()
        self._mix(self._it, slots, sizes, blocks)
        return began, perf_counter_ns()

    def end(self) -> None:
        """End the threads, and give back what they hold."""
        self._pool.shutdown()
        self._blocks.clear()
        self._it = None
