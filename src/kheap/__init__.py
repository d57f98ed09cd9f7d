"""kheap: Zephyr's heap, for Python.

Names of the allocators are here at once; those that study traces and dumps are imported when
they are first used, so that whoever only allocates does not pay for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from kheap.dump.dump import Dump, open_dump
    from kheap.dump.heap_image import HeapImage
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
    "Dump",
    "DumpError",
    "Explanation",
    "Fragmentation",
    "Heap",
    "HeapCorruption",
    "HeapImage",
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
    "open_dump",
    "pool_size",
    "read_trace",
    "replay",
    "system_region_size",
    "write_trace",
]

#: Where the names that are imported later come from.
_LATER = {
    "kheap.dump.dump": ("Dump", "open_dump"),
    "kheap.dump.heap_image": ("HeapImage",),
    "kheap.study.compare": ("Comparison", "compare"),
    "kheap.study.explain": ("Explanation", "explain"),
    "kheap.study.replay": ("Replay", "replay"),
    "kheap.study.size": ("SizeAnswer", "find_size"),
    "kheap.trace": ("Trace", "read_trace", "write_trace"),
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name that is first used now (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return found


def __dir__() -> list[str]:
    """All names, whether they are imported yet or not."""
    return sorted({*globals(), *__all__})
