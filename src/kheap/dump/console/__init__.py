"""Heaps told of in console text; ``log.py`` reads it, line by line."""

from kheap.dump.console._faults import Fault
from kheap.dump.console._heaptrace import (
    HeapGrowth,
    HeapResize,
    Heaptrace,
    ThreadUse,
    TracedBlock,
)
from kheap.dump.console._printed_heap import PrintedBucket, PrintedChunk, PrintedHeap
from kheap.dump.console._printed_layout import PrintedLayout
from kheap.dump.console.log import ConsoleLog, KernelHeap, read_console

__all__ = [
    "ConsoleLog",
    "Fault",
    "HeapGrowth",
    "HeapResize",
    "Heaptrace",
    "KernelHeap",
    "PrintedBucket",
    "PrintedChunk",
    "PrintedHeap",
    "PrintedLayout",
    "ThreadUse",
    "TracedBlock",
    "read_console",
]
