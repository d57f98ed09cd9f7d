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
from kheap.heaps.stats import Fragmentation, HeapStats, Verdict
from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.view import Bucket, Chunk
from kheap.profile import Profile
from kheap.study.replay import Replay, replay
from kheap.trace import Trace, read_trace

__all__ = [
    "COMPILED",
    "Block",
    "Bucket",
    "Chunk",
    "DumpError",
    "Fragmentation",
    "Heap",
    "HeapCorruption",
    "HeapStats",
    "InvalidFree",
    "KheapError",
    "NotDefined",
    "OutOfMemory",
    "Profile",
    "Replay",
    "SysHeap",
    "TimedOut",
    "Trace",
    "TraceError",
    "Verdict",
    "read_trace",
    "replay",
]
