"""Recorded lists of requests and frees: reading and writing their files, and holding them."""

from kheap.trace.model import (
    ALLOC,
    FREE,
    NO_RESULT,
    OP_NAMES,
    REALLOC,
    HeapInit,
    Trace,
    TraceHeap,
)
from kheap.trace.reader import FORMATS, read_trace
from kheap.trace.writer import WRITABLE, write_trace

__all__ = [
    "ALLOC",
    "FORMATS",
    "FREE",
    "NO_RESULT",
    "OP_NAMES",
    "REALLOC",
    "WRITABLE",
    "HeapInit",
    "Trace",
    "TraceHeap",
    "read_trace",
    "write_trace",
]
