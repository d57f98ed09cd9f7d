"""kheap: Zephyr's heap, for Python."""

from __future__ import annotations

from kheap._core._native import COMPILED
from kheap.errors import (
    DumpError,
    HeapCorruption,
    InvalidFree,
    KheapError,
    NotDefined,
    OutOfMemory,
    TimedOut,
    TraceError,
)
from kheap.heaps.k_heap import Block, Heap
from kheap.heaps.mem_pool import MemPool
from kheap.heaps.multi_heap import MultiHeap
from kheap.heaps.shared_multi_heap import RegionAttribute, SharedMultiHeap
from kheap.heaps.sizing import defined_size, min_size_for, pool_size, system_region_size
from kheap.heaps.stats import Fragmentation, HeapStats, Verdict
from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.system_heap import SystemHeap
from kheap.heaps.view import Bucket, Chunk
from kheap.heaps.waiting import VirtualClock
from kheap.profile import Profile
from kheap.study.compare import Comparison, compare
from kheap.study.explain import Explanation, explain
from kheap.study.replay import Replay, replay
from kheap.study.size import SizeAnswer, find_size
from kheap.trace import Trace, read_trace, write_trace

__all__ = [
    "COMPILED",
    "Block",
    "Bucket",
    "Chunk",
    "Comparison",
    "DumpError",
    "Explanation",
    "Fragmentation",
    "Heap",
    "HeapCorruption",
    "HeapStats",
    "InvalidFree",
    "KheapError",
    "MemPool",
    "MultiHeap",
    "NotDefined",
    "OutOfMemory",
    "Profile",
    "RegionAttribute",
    "Replay",
    "SharedMultiHeap",
    "SizeAnswer",
    "SysHeap",
    "SystemHeap",
    "TimedOut",
    "Trace",
    "TraceError",
    "Verdict",
    "VirtualClock",
    "compare",
    "defined_size",
    "explain",
    "find_size",
    "min_size_for",
    "pool_size",
    "read_trace",
    "replay",
    "system_region_size",
    "write_trace",
]
