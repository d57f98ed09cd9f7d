"""Captures of memray, the memory profiler of Python programs.

Read through the package ``memray`` itself (``pip install kheap[memray]``), since a capture is
tied to the memray that wrote it.  What it traces becomes requests and frees of one heap: what
the C library served, and with ``--trace-python-allocators`` what Python's own allocators did.

memray records a realloc as a free and a request, failures not at all; alignments and the time
of each call neither.  Mappings (mmap, munmap) are no requests of a heap, and left out.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kheap.errors import TraceError
from kheap.trace._blocks import PointerBlocks
from kheap.trace._columns import INT64_MAX, NOT_RECORDED, Columns
from kheap.trace._lines import Lines, Refused, shown

__all__ = ["Reader", "looks_like"]

NOTE_MAPPING = "mapping (mmap, munmap)"

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_NAME = b"memray\0"
_HEAD_BYTES = 64
_BATCH = 1 << 12
_FREES = ("FREE", "PYMALLOC_FREE")
_MAPPINGS = ("MMAP", "MUNMAP")


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a capture of memray."""
    return head.startswith(_NAME) or (head.startswith(_LZ4_MAGIC) and _NAME in head[:_HEAD_BYTES])


class Reader:
    """Reads a capture, by its path: the lines of such a file mean nothing."""

    def __init__(self, lines: Lines, columns: Columns) -> None:
        self._lines = lines
        self._columns = columns
        self._blocks = PointerBlocks(columns)
        self._threads: dict[int, int] = {}
        self._nameless: set[int] = set()
        self._callers: dict[int, int] = {}

    def read(self, first: int, batch: list[bytes]) -> None:
        """There is nothing to be had from lines."""

    def end(self) -> None:
        """Read the whole capture."""
        path = self._lines.path
        if not self._lines.head.strip():
            return
        if self._lines.is_packed:
            raise TraceError("memray cannot read a packed capture: unpack it first", path)
        if not looks_like(self._lines.head):
            raise TraceError("this is no capture of memray", path)
        memray = _memray(path)
        try:
            with memray.FileReader(path) as capture:
                self._take(capture, memray.AllocatorType)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            if isinstance(error, Refused):
                raise TraceError(str(error), path) from None
            words = " ".join(ascii(str(error))[1:-1].replace(path, "the file").split())
            raise TraceError(f"memray cannot read it: {words[:200]}", path) from None

    def _take(self, capture: Any, types: Any) -> None:
        frees = {int(types[name]) for name in _FREES}
        mappings = {int(getattr(types, name, -1)) for name in _MAPPINGS}
        columns, blocks = self._columns, self._blocks
        for record in capture.get_allocation_records():
            allocator, address = record.allocator, record.address
            if allocator in mappings:
                columns.notes[NOTE_MAPPING] += 1
                continue
            if allocator in frees:
                caller, added = NOT_RECORDED, blocks.free(address)
            else:
                _check(address, record.size)
                caller, added = self._caller(record), blocks.alloc(address, record.size)
            if added:
                columns.caller.append(caller)
                columns.thread.append(self._thread(record))
            if len(columns.op) >= _BATCH:
                columns.flush()

    def _thread(self, record: Any) -> int:
        """The thread of a record; it gets its name only once it runs, so later records tell."""
        thread = self._threads.get(record.tid)
        if thread is None:
            thread = self._threads[record.tid] = self._columns.threads[f"{record.tid:#x}"]
            self._nameless.add(thread)
        if thread in self._nameless and record.thread_name:
            names = self._columns.threads.names
            name = record.thread_name
            names[thread] = f"{name}@{record.tid:#x}" if name in names else name
            self._nameless.remove(thread)
        return thread

    def _caller(self, record: Any) -> int:
        """The innermost Python function that asked."""
        caller = self._callers.get(record.stack_id)
        if caller is None:
            frames = record.stack_trace(max_stacks=1)
            name = "{1}:{2}:{0}".format(*frames[0]) if frames else ""
            caller = self._callers[record.stack_id] = self._columns.callers[name]
        return caller


def _memray(path: str) -> Any:
    """The package, told not to warn of what only its own reports need."""
    try:
        memray = import_module("memray")
    except ImportError:
        reason = "captures of memray need the package memray: pip install 'kheap[memray]'"
        raise TraceError(reason, path) from None
    memray.set_log_level(40)
    return memray


def _check(address: int, size: int) -> None:
    if not 0 <= address <= INT64_MAX or not 0 <= size <= INT64_MAX:
        raise Refused(f"expected addresses and sizes below 2**63, found {shown((address, size))}")
