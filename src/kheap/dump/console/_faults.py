"""What Zephyr's heaps say before they stop: the lines of failed checks, and what they mean.

Sources: ``lib/heap/heap.c``, ``kernel/kheap.c`` and ``kernel/mempool.c`` of Zephyr: assertions
until 4.3, hardening messages (CONFIG_SYS_HEAP_HARDENING) from 4.4 on.

What it owns: the table of messages, and joining an assertion's place with its message.  What it
does not: looking for the fault in a heap (``kheap.SysHeap.check`` does).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from kheap.dump.console._console_lines import Lines

__all__ = ["Fault", "Faults"]


@dataclass(slots=True)
class Fault:
    """A failed check that the log tells of.

    Attributes:
        line: Number of its first line, from 1.
        text: What the log says, the place of the assertion and its message on one line.
        kind: The fault in a word or two.
        meaning: What the check found.
        cause: What most likely led to it.
        next_step: What to do next.
        address: The block's address as printed; None without one.
        hardening: The lowest hardening level with this check; None for assertions, which need
            CONFIG_ASSERT.
        place: File and line in Zephyr's sources; None where the log does not name it.
    """

    line: int
    text: str
    kind: str
    meaning: str
    cause: str
    next_step: str
    address: int | None = None
    hardening: str | None = None
    place: str | None = None

    @property
    def explanation(self) -> str:
        """Meaning, likely cause and next step, in plain sentences."""
        return f"{self.meaning} {self.cause} {self.next_step}"


class _Why(NamedTuple):
    """What is to be said of a kind of fault."""

    meaning: str
    cause: str
    next_step: str


_LOOK = "Take a dump of that moment and look at it with kheap inspect"
_HARDEN = "build with CONFIG_SYS_HEAP_HARDENING_FULL=y (4.4) to be told nearer to the cause"

_WHYS = {
    "double free": _Why(
        "The block that is freed is not marked used.",
        "It was freed before, or the address never came from this heap, or its header was"
        " written over.",
        f"{_LOOK}, find who freed the block first, and {_HARDEN}.",
    ),
    "not in use": _Why(
        "The block that is to be resized is not marked used.",
        "It was freed before, or the address never came from this heap.",
        f"{_LOOK}, find who freed the block, and {_HARDEN}.",
    ),
    "buffer overflow": _Why(
        "The chunk to the right of the block does not know the block's size.",
        "The owner of this block wrote beyond its end, or the block's own header was written"
        " over from the left.",
        f"{_LOOK}: the bytes behind the block often tell who wrote them; {_HARDEN}.",
    ),
    "left neighbour": _Why(
        "The chunk to the left of the block does not end where the block begins.",
        "The owner of the block to the left wrote beyond its end, into this block's header.",
        f"{_LOOK} and see whose block lies to the left; {_HARDEN}.",
    ),
    "free list": _Why(
        "The neighbours of a chunk in its free list do not point back to it.",
        "Memory was written to after it was freed: the links lie in the first bytes of a free"
        " chunk.",
        f"{_LOOK}, see what was written there, and {_HARDEN}.",
    ),
    "free chunk": _Why(
        "A chunk of the free list is not marked free, or its neighbours do not know it.",
        "Memory was written to after it was freed, or the block to its left was written beyond"
        " its end.",
        f"{_LOOK} and see the chunks around it; {_HARDEN}.",
    ),
    "canary: double free": _Why(
        "The canary behind the block is the one that a free leaves there.",
        "The block was freed before.",
        f"{_LOOK} and find who freed the block first.",
    ),
    "canary": _Why(
        "The canary behind the block is not the one that was put there.",
        "The owner of this block wrote beyond its end.",
        f"{_LOOK}: the bytes of the canary often tell who wrote them.",
    ),
    "validation": _Why(
        "Chunks, free lists or statistics of the heap do not agree; nothing tells where.",
        "Somebody wrote beyond a block or after its free, since the heap's call before this one.",
        f"{_LOOK}: it names the first chunk that is wrong.",
    ),
    "size": _Why(
        "A heap was to be made in a region that is too small for it, or too large.",
        "The size given to it does not count the heap's own needs, or needs big headers"
        " (CONFIG_SYS_HEAP_BIG_ONLY).",
        "Let kheap size find the size, from a trace of the requests.",
    ),
    "alignment": _Why(
        "An alignment was asked for that no heap gives.",
        "It is no power of two, or in older releases no multiple of a pointer's size.",
        "Correct the call that the place in the log leads to.",
    ),
    "interrupt": _Why(
        "A heap was to wait for memory in an interrupt.",
        "The call has another time limit than K_NO_WAIT.",
        "Give K_NO_WAIT there, or allocate in a thread.",
    ),
    "assertion": _Why(
        "An assertion in the code of the heap failed.",
        "The heap was given a wrong argument, or its chunks were written over.",
        f"Look up the place in the sources of the release. {_LOOK}, and {_HARDEN}.",
    ),
}


class _Message(NamedTuple):
    """A message as the log has it: its fault, its pattern, the level that prints it."""

    kind: str
    pattern: str
    hardening: str | None = None


_MESSAGES = (
    _Message("double free", r"heap corruption \(double[ -]free\?\)", "basic"),
    _Message("buffer overflow", r"heap corruption \(buffer overflow\?\)", "basic"),
    _Message("not in use", r"heap corruption \(not in use\?\)", "basic"),
    _Message("left neighbour", r"heap corruption \(left neighbou?r\?\)", "moderate"),
    _Message("free list", r"heap corruption \(free list linkage\)", "moderate"),
    _Message("free chunk", r"heap corruption \(free chunk linkage\)", "moderate"),
    _Message("canary: double free", r"heap canary: double free", "full"),
    _Message("canary", r"heap canary: corruption", "full"),
    _Message("validation", r"heap validation failed", "extreme"),
    _Message("double free", r"unexpected heap state \(double[ -]free\?\)"),
    _Message("buffer overflow", r"corrupted heap bounds \(buffer overflow\?\)"),
    _Message("size", r"heap size is too (?:small|big)"),
    _Message("alignment", r"align must be (?:a power of 2|a?\s?multiple of sizeof)"),
    _Message("double free", r"ASSERTION FAIL \[chunk_used\("),
    _Message("buffer overflow", r"ASSERTION FAIL \[left_chunk\(h, right_chunk\("),
)
_ANY = re.compile("|".join(f"({message.pattern})" for message in _MESSAGES))
#: One of these is in every line with a message or a place, and quicker to look for.
_HINTS = (
    "heap corruption", "heap canary", "heap validation", "heap state", "heap bounds",
    "heap size is", "align must", "ASSERTION", "heap.c", "heap_validate.c", "mempool.c",
)  # fmt: skip
_PLACE = re.compile(
    r"@ ((?:\S{0,400}?[/\\])?(?:heap|heap_validate|kheap|mempool|multi_heap|shared_multi_heap)\.c"
    r"(?::\d{1,6})?)"
)
_ADDRESS = re.compile(r"(?: for memory)? at (?:0x)?([0-9a-fA-F]{1,16})\b")

#: A message and the place of its assertion are at most so many lines apart.
_NEAR_LINES = 16
_MOST_TEXT = 300


class Faults:
    """Takes the lines of a log, one after another; ``faults`` has what was found."""

    def __init__(self, lines: Lines) -> None:
        self.faults: list[Fault] = []
        self._lines = lines

    def take(self, number: int, line: str) -> bool:
        """Whether the line tells of a failed check."""
        for hint in _HINTS:
            if hint in line:
                return self._take(number, line)
        return False

    def _take(self, number: int, line: str) -> bool:
        place = _PLACE.search(line)
        # What a log holds may not steer the terminal that it is shown on.
        text = "".join(c if c.isprintable() else "?" for c in line.strip()[:_MOST_TEXT])
        found = list(_ANY.finditer(line))
        for match in found:
            assert match.lastindex is not None
            message = _MESSAGES[match.lastindex - 1]
            address = _ADDRESS.match(line, match.end())
            self._add(
                Fault(
                    number,
                    text,
                    message.kind,
                    *_WHYS[message.kind],
                    address=int(address[1], 16) if address else None,
                    hardening=message.hardening,
                    place=place[1] if place else None,
                )
            )
        if place and not found:
            kind = "interrupt" if "in_isr" in line else "assertion"
            self._add(Fault(number, text, kind, *_WHYS[kind], place=place[1]))
        return bool(found or place)

    def _add(self, fault: Fault) -> None:
        """Keep a fault, or join it to the one before: an assertion's place and its message."""
        before = self.faults[-1] if self.faults else None
        if before is None or not _belong_together(before, fault):
            self._lines.count(fault.line)
            self.faults.append(fault)
            return
        told = before if fault.kind == "assertion" else fault
        self.faults[-1] = replace(
            told,
            line=before.line,
            text=f"{before.text} {fault.text}",
            place=before.place or fault.place,
        )


def _belong_together(before: Fault, fault: Fault) -> bool:
    if fault.line - before.line > _NEAR_LINES or (before.place and fault.place):
        return False
    if fault.kind == "assertion":
        return True
    is_message_of = before.place is not None and before.address is None
    return is_message_of and before.kind in ("assertion", fault.kind)
