"""The answers of the ``heaptrace`` shell, and the per-thread lines: who holds which blocks.

Source: ``lib/heap/heaptrace.c`` of Zephyr's main branch after 4.4 (CONFIG_HEAPTRACE), and
CONFIG_SYS_HEAP_THREAD_STATS.  Fields are ``name=value``; unknown ones are passed over.

What it owns: these lines.  What it does not: traces that can be replayed (``kheap.trace``);
heaptrace keeps outstanding blocks only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from kheap.dump.console._console_lines import Lines, Notes

__all__ = ["HeapGrowth", "HeapResize", "Heaptrace", "HeaptraceReader", "ThreadUse", "TracedBlock"]


class TracedBlock(NamedTuple):
    """A block that was outstanding when heaptrace was asked.

    Attributes:
        line: Number of its line.
        address: Of the block.
        size_bytes: Its bytes as heaptrace counts them.
        heap: What the line says: "sys_heap" or "libc".
        thread: Name of the thread that allocated it, and ``tid`` its address.
        cpu: Where that was.
        time_ms: When that was, since boot.
        backtrace: Return addresses, innermost first.
    """

    line: int
    address: int
    size_bytes: int
    heap: str
    thread: str
    tid: int | None
    cpu: int | None
    time_ms: int | None
    backtrace: tuple[int, ...] = ()


class ThreadUse(NamedTuple):
    """What a thread holds; ``tid`` is its address, None where it is not one thread."""

    line: int
    thread: str
    tid: int | None
    block_count: int | None
    allocated_bytes: int


class HeapGrowth(NamedTuple):
    """A heap that can grow: its addresses, and by how many bytes it grew since boot."""

    line: int
    heap: str
    heap_id: int | None
    start: int | None
    end: int | None
    growth_bytes: int | None


class HeapResize(NamedTuple):
    """One time that a heap grew or shrank: its ends, and who asked for it."""

    line: int
    heap: str
    old_end: int | None
    new_end: int | None
    delta_bytes: int | None
    thread: str
    time_ms: int | None


@dataclass(slots=True)
class Heaptrace:
    """What heaptrace and the per-thread lines of a log tell.

    Attributes:
        blocks: Outstanding blocks, those of the last dump.
        outstanding_blocks, outstanding_bytes: Their sums as printed with that dump.
        threads: Use by thread, in order.
        heaps: Heaps that can grow.
        resizes: Their growth, in order.
        notes: What does not agree, with line numbers.
    """

    blocks: list[TracedBlock] = field(default_factory=list)
    outstanding_blocks: int | None = None
    outstanding_bytes: int | None = None
    threads: list[ThreadUse] = field(default_factory=list)
    heaps: list[HeapGrowth] = field(default_factory=list)
    resizes: list[HeapResize] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


_KEY = re.compile(r"(?:^|(?<=\s))([a-z_]{1,32})=")
_WORD = re.compile(r"0x[0-9a-fA-F]{1,16}\b")
_TAG = re.compile(r"\[heaptrace(-summary|-resize)?\]")
_THREAD = re.compile(
    r"thread (?:0x)?([0-9a-fA-F]{1,16}) \((.{0,64})\): +(\d{1,20}) bytes allocated"
)
_OTHERS = re.compile(r"(pre-scheduler boot|overflow \(untracked threads\)): +(\d{1,20})")
_ASKED = "heaptrace dump"


class HeaptraceReader:
    """Takes the lines of a log, one after another; ``found`` is None until there is one."""

    def __init__(self, lines: Lines) -> None:
        self.found: Heaptrace | None = None
        self._lines = lines
        self._notes = Notes()
        self._seen: set[tuple[int, int | None]] = set()
        self._told_line = 0

    def take(self, number: int, line: str) -> bool:
        """Whether the line is one of heaptrace's, or tells of a thread's use."""
        if "heaptrace" in line:
            if (tag := _TAG.search(line)) is not None:
                self._tagged(number, tag[1], line[tag.end() :])
                return True
            if _ASKED in line:
                self._forget_sums()
                self._begin_dump()
                return True
        if "bytes" in line and (thread := _THREAD.search(line)) is not None:
            self._use(number, thread[2], int(thread[1], 16), None, int(thread[3]))
            return True
        if ("pre-sched" in line or "overflow (" in line) and (other := _OTHERS.search(line)):
            self._use(number, other[1], None, None, int(other[2]))
            return True
        return False

    def end(self) -> None:
        """Compare the last dump with its sums."""
        trace = self.found
        if trace is None or trace.outstanding_blocks is None:
            return
        told, listed = trace.outstanding_blocks, len(trace.blocks)
        if listed and told != listed:
            text = f"{told} blocks are outstanding, {listed} are listed: lines are missing"
            self._notes.add(self._told_line, f"{text}, or the dump was filtered")

    def _trace(self) -> Heaptrace:
        if self.found is None:
            self.found = Heaptrace(notes=self._notes.texts)
        return self.found

    def _tagged(self, number: int, tag: str | None, rest: str) -> None:
        fields = _fields(rest)
        self._lines.count(number)
        blocks = self._trace().blocks
        if tag == "-summary":
            self._summary(number, fields)
        elif tag == "-resize":
            self._resize(number, fields)
        elif "ptr" in fields:
            self._block(number, fields)
        elif "outstanding_blocks" in fields:
            self._outstanding(number, fields)
        elif "growth" in fields:
            self._growth(number, fields)
        elif "backtrace:" in rest and blocks:
            frames = tuple(int(word, 16) for word in _WORD.findall(rest))
            blocks[-1] = blocks[-1]._replace(backtrace=frames)

    def _begin_dump(self) -> None:
        """The blocks that follow are another moment's."""
        if self.found is not None:
            self.found.blocks.clear()
        self._seen.clear()

    def _forget_sums(self) -> None:
        if self.found is not None:
            self.found.outstanding_blocks = self.found.outstanding_bytes = None

    def _block(self, number: int, fields: dict[str, str]) -> None:
        address, size = _hex(fields.get("ptr")), _number(fields.get("size"))
        if address is None or size is None:
            self._notes.add(number, "a block without address or size")
            return
        time = _number(fields.get("alloc_ms"))
        if (address, time) in self._seen:
            self._begin_dump()
        self._seen.add((address, time))
        self._trace().blocks.append(
            TracedBlock(
                number,
                address,
                size,
                fields.get("heap", ""),
                fields.get("alloc_thread", ""),
                _hex(fields.get("alloc_tid")),
                _number(fields.get("alloc_cpu")),
                time,
            )
        )

    def _outstanding(self, number: int, fields: dict[str, str]) -> None:
        trace = self._trace()
        trace.outstanding_blocks = _number(fields["outstanding_blocks"])
        trace.outstanding_bytes = _number(fields.get("outstanding_bytes"))
        self._told_line = number

    def _summary(self, number: int, fields: dict[str, str]) -> None:
        count, size = _number(fields.get("blocks")), _number(fields.get("bytes"))
        if size is None:
            self._notes.add(number, "a summary without bytes")
            return
        self._use(number, fields.get("thread", ""), _hex(fields.get("tid")), count, size)

    def _use(self, number: int, thread: str, tid: int | None, count: int | None, size: int) -> None:
        self._lines.count(number)
        self._trace().threads.append(ThreadUse(number, thread, tid, count, size))

    def _growth(self, number: int, fields: dict[str, str]) -> None:
        heap_id, start, end = (_hex(fields.get(key)) for key in ("heap_id", "start", "end"))
        growth = HeapGrowth(
            number, fields.get("heap", ""), heap_id, start, end, _number(fields["growth"])
        )
        self._trace().heaps.append(growth)

    def _resize(self, number: int, fields: dict[str, str]) -> None:
        self._trace().resizes.append(
            HeapResize(
                number,
                fields.get("heap", ""),
                _hex(fields.get("old_end")),
                _hex(fields.get("new_end")),
                _number(fields.get("delta")),
                fields.get("thread", ""),
                _number(fields.get("ms")),
            )
        )


def _fields(text: str) -> dict[str, str]:
    """``name=value`` pairs; a value, a thread's name say, may have blanks."""
    keys = list(_KEY.finditer(text))
    ends = [key.start() for key in keys[1:]] + [len(text)]
    return {key[1]: text[key.end() : end].strip() for key, end in zip(keys, ends, strict=False)}


def _number(text: str | None) -> int | None:
    """A decimal number with or without a sign; None for anything else."""
    found = re.match(r"[+-]?\d{1,20}(?!\w)", text or "")
    return int(found[0]) if found else None


def _hex(text: str | None) -> int | None:
    """An address, with or without 0x; None for anything else."""
    found = re.match(r"(?:0x)?([0-9a-fA-F]{1,16})(?!\w)", text or "")
    return int(found[1], 16) if found else None
