"""A trace in the shape that a format can hold, before it is written.

What it owns: one heap taken out of several; initialisations turned into frees, for formats
that have none; ids for formats that cannot say that a request failed; addresses for formats
that know blocks by nothing else; names without the characters that a format gives a meaning.

What it does not: text (the formats' own modules), files (``writer.py``).
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import compress, islice

from kheap.trace.model import ALLOC, FREE, HeapInit, Trace

__all__ = [
    "clock_start",
    "joined",
    "keyed_calls",
    "one_heap",
    "parts",
    "plain_names",
    "pointer_calls",
    "with_frees_for_inits",
]

LOST_NAMES = "names as they are (blanks, control characters)"
LOST_EMPTY = "frees of ids that hold no block"
LOST_START = "the time of the beginning, written as 0"
LOST_TIMES = "times"
LOST_FINE_TIMES = "times finer than the format's"
MADE_FREES = "blocks that end as their heap is initialised again, written as freed"
MADE_ADDRESSES = "addresses, which are made up"

#: Operations that are written at a time.
PART = 1 << 12

#: Made-up addresses: the first, the step, and the most that one block moves the next one up.
_FIRST_ADDRESS = 0x10000000
_STEP = 16
_MOST_ROOM = 1 << 30

_COLUMNS = ("op", "id", "size", "align", "heap", "time", "thread", "caller", "result")


def parts(trace: Trace) -> Iterator[slice]:
    """The trace in slices of some thousand operations."""
    return (slice(start, start + PART) for start in range(0, len(trace), PART))


def joined(lines: Iterator[str]) -> Iterator[bytes]:
    """Lines, some thousand at a time."""
    while part := "".join(islice(lines, PART)):
        yield part.encode()


def plain_names(
    names: list[str], unfit: re.Pattern[str], stand_in: str, lost: Counter[str]
) -> list[str]:
    """Names without what is unfit for a format and blanks around them; no two become one."""
    plain: dict[str, None] = {}
    for name in names:
        text = base = unfit.sub(stand_in, name).strip() or "_"
        if text != name:
            lost[LOST_NAMES] += 1
        number = 1
        while text in plain:
            number += 1
            text = f"{base}#{number}"
        plain[text] = None
    return list(plain)


def clock_start(trace: Trace, limit_s: float, lost: Counter[str]) -> float | None:
    """The time that is to be written as 0; None where the times are not to be written.

    Args:
        trace: The trace.
        limit_s: The format holds times from 0 to below this.
        lost: What the format cannot hold is counted here.
    """
    first, last = min(trace.time, default=0.0), max(trace.time, default=0.0)
    if first == last == 0.0:
        return None
    if first >= 0 and last < limit_s:
        return 0.0
    if last - first < limit_s:
        lost[LOST_START] += 1
        return first
    lost[LOST_TIMES] += len(trace)
    return None


def one_heap(trace: Trace, name: str) -> Trace:
    """The operations of one heap.

    Raises:
        ValueError: The trace has no such heap.
    """
    names = [entry.name for entry in trace.heaps]
    if name not in names:
        raise ValueError(f"no heap {name!r} in the trace: it has {', '.join(names) or 'no names'}")
    index = names.index(name)
    chosen = [heap == index for heap in trace.heap]
    alone = _emptied(trace)
    for column in _COLUMNS:
        getattr(alone, column).extend(compress(getattr(trace, column), chosen))
    alone.heap = array("i", bytes(4 * len(alone)))
    alone.heaps = [trace.heaps[index]]
    alone.inits = [
        replace(init, op_index=sum(chosen[: init.op_index]), heap=0)
        for init in trace.inits
        if init.heap == index
    ]
    return alone


def with_frees_for_inits(trace: Trace, lost: Counter[str]) -> Trace:
    """The same trace, with each block freed whose heap is initialised again."""
    inits = [init for init in trace.inits if init.op_index]
    if not inits:
        return trace
    shaped = _emptied(trace)
    live: dict[int, int] = {}
    done = 0
    for init in inits:
        _copy(trace, shaped, done, init.op_index, live)
        done = init.op_index
        gone = [id for id, heap in live.items() if heap == init.heap]
        if gone:
            lost[MADE_FREES] += len(gone)
        for id in gone:
            del live[id]
            shaped.add(FREE, id, heap=init.heap, time=trace.time[done - 1])
    _copy(trace, shaped, done, len(trace), live)
    return shaped


def _emptied(trace: Trace) -> Trace:
    """The same trace without operations and initialisations."""
    empty = replace(trace, inits=[])
    for column in _COLUMNS:
        setattr(empty, column, getattr(trace, column)[:0])
    return empty


def _copy(source: Trace, target: Trace, start: int, stop: int, live: dict[int, int]) -> None:
    """Copy operations, and keep account of the live blocks: their heap by their id."""
    for name in _COLUMNS:
        getattr(target, name).extend(getattr(source, name)[start:stop])
    for i in range(start, stop):
        op, result = source.op[i], source.result[i]
        if op == FREE or (op != ALLOC and not source.size[i] and result <= 0):
            live.pop(source.id[i], None)
        elif op == ALLOC and result:
            live[source.id[i]] = source.heap[i]


def keyed_calls(trace: Trace, lost: Counter[str]) -> Iterator[tuple[int, int, int]]:
    """``(op, key, size)`` of each operation, for formats that know ids but no failures.

    A key names one block at a time, whatever became of its request; the keys are those that
    reading the file again will give.
    """
    keys: dict[int, int] = {}
    unused: list[int] = []
    count = 0
    for op, id, size, result in zip(trace.op, trace.id, trace.size, trace.result, strict=True):
        key = keys.get(id)
        if op == FREE or (key is not None and op != ALLOC and not size):
            if key is None:
                lost[LOST_EMPTY] += 1
                continue
            unused.append(keys.pop(id))
        elif op == ALLOC or key is None:
            op = ALLOC
            if unused:
                key = unused.pop()
            else:
                key = count
                count += 1
            if result:
                keys[id] = key
        yield op, key, size


def pointer_calls(trace: Trace, lost: Counter[str]) -> Iterator[tuple[int, int, int]]:
    """``(op, old, new)`` of each operation: addresses of its block before and after it.

    0 stands for no block.  Addresses are the recorded ones where all are recorded and each
    names one block at a time; else all are made up, and no two blocks have the same.
    """
    if _addresses_serve(trace):
        results: Iterator[int] = iter(trace.result)
    else:
        lost[MADE_ADDRESSES] += sum(op != FREE for op in trace.op)
        results = _made_up_addresses(trace)
    pointers: dict[int, int] = {}
    for op, id, size, result in zip(trace.op, trace.id, trace.size, results, strict=True):
        if op == FREE:
            yield op, pointers.pop(id, 0), 0
            continue
        old = pointers.get(id, 0) if op != ALLOC else 0
        if result:
            pointers[id] = result
        elif op != ALLOC and not size:
            pointers.pop(id, None)
        yield op, old, result


def _addresses_serve(trace: Trace) -> bool:
    """Whether every request has its address, and no live block is known by another's."""
    owners = _Owners(trace.inits)
    rows = zip(trace.op, trace.id, trace.size, trace.heap, trace.result, strict=True)
    for i, (op, id, size, heap, result) in enumerate(rows):
        owners.initialise(i)
        if op != FREE and result < 0:
            return False
        if op != ALLOC and not owners.leave(id, stays=op != FREE and size > 0 and not result):
            return False
        if op != FREE and result:
            owners.settle(id, (heap, result))
    return True


class _Owners:
    """Which id has the block at a heap's address."""

    def __init__(self, inits: list[HeapInit]) -> None:
        self._inits = inits[::-1]
        self._owners: dict[tuple[int, int], int] = {}
        self._places: dict[int, tuple[int, int]] = {}

    def initialise(self, op_index: int) -> None:
        """Forget the blocks of heaps that are initialised before an operation."""
        while self._inits and self._inits[-1].op_index <= op_index:
            heap = self._inits.pop().heap
            self._owners = {place: id for place, id in self._owners.items() if place[0] != heap}

    def leave(self, id: int, *, stays: bool) -> bool:
        """The block of an id is freed or moves; whether its address is still its own."""
        place = self._places.get(id)
        if place is None:
            return True
        own = self._owners.get(place, id) == id
        if own and not stays:
            self._owners.pop(place, None)
        return own

    def settle(self, id: int, place: tuple[int, int]) -> None:
        """An id has its block here now, whoever had one before."""
        self._places[id] = place
        self._owners[place] = id


def _made_up_addresses(trace: Trace) -> Iterator[int]:
    """An address for each request that may have been served, 0 for others."""
    address = _FIRST_ADDRESS
    for op, size, align, result in zip(
        trace.op, trace.size, trace.align, trace.result, strict=True
    ):
        if op == FREE or not result or (op != ALLOC and not size and result < 0):
            yield 0
            continue
        step = 1 << align.bit_length() >> 1 if align < _MOST_ROOM else 0
        address += -address % max(step, _STEP)
        yield address
        address += min(size, _MOST_ROOM) + _STEP
