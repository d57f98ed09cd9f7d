"""The threads of a dump: those that wait for a heap, their names, and where their stacks lie.

It owns reading Zephyr's thread records and wait queues.  Without debug information their usual
layout is taken, and a priority believed only if what stands before it is as it must be::

  struct k_thread {                           _wait_q_t: head, tail; they point at the queue
      head, tail     links of the queue       itself where nobody waits.  The links of a thread
      pended_on      the queue's address      lead to its neighbours or to the queue.
      user_options   1 byte
      thread_state   1 byte, bit 1: pending   With CONFIG_WAITQ_SCALABLE the queue is a red-black
      prio           1 byte, signed           tree instead, and the links are left and right
      ...                                     child; bit 0 of the left one is a colour.

Every link is checked before it is followed, and no more than :data:`MOST_THREADS` are.
Not here: who holds the memory (``owners.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kheap.dump.memory import Memory
from kheap.dump.program.image import Image

__all__ = ["MOST_THREADS", "Stack", "Threads", "WaitQueue", "Waiter", "stack_of_symbol"]

#: No more threads of a queue, or of the kernel's list, are looked at.
MOST_THREADS = 4096
_PENDING = 1 << 1
_MOST_DEPTH = 64  # A red-black tree of 2 ** 32 threads is no deeper.
_THREAD_PREFIX, _STACK_PREFIX = "_k_thread_obj_", "_k_thread_stack_"  # of K_THREAD_DEFINE
_STACKS = {
    "z_main_stack": "stack of thread main",
    "z_idle_stacks": "stack of thread idle",
    "z_interrupt_stacks": "interrupt stack",
    "sys_work_q_stack": "stack of thread sysworkq",
}


@dataclass(frozen=True, slots=True)
class Waiter:
    """A thread that waits for memory of a heap.

    Attributes:
        address: Of its ``struct k_thread``.
        name: As the kernel knows it, else its variable's name, else its address.
        priority: As in Zephyr, the smaller the more urgent; None where it cannot be told.
        request_bytes: What it asked for; None, since only its stack holds that.
    """

    address: int
    name: str
    priority: int | None
    request_bytes: int | None = None


class WaitQueue(NamedTuple):
    """Who waits for a heap.

    Attributes:
        waiters: In the order in which they are served.
        note: What is wrong with the queue, so that there may be more; None for a sound one.
    """

    waiters: tuple[Waiter, ...]
    note: str | None


class Stack(NamedTuple):
    """A thread's stack: its first address, the one behind its last, and its thread's name."""

    start: int
    end: int
    name: str


class Threads:
    """The threads in a memory.

    Args:
        memory: What is known of the target.
        word_bytes: Bytes of a pointer, 4 or 8.
        image: Its program, for names, and for offsets where it has debug information.
    """

    def __init__(self, memory: Memory, word_bytes: int, image: Image | None = None) -> None:
        self._memory = memory
        self._width = word_bytes
        self._image = image

    # ------------------------------------------------------------------ one thread

    def name(self, thread: int) -> str:
        """A thread's name: the kernel's, its variable's, or its address."""
        at = self._offset("k_thread", "name")
        if at is not None:
            pointer = self._word(thread + at)
            # An array today, a pointer in old releases.
            known = self._text(thread + at) or (self._text(pointer) if pointer else None)
            if known:
                return known
        symbol = self._image.exact_symbol(thread) if self._image else None
        return f"{thread:#x}" if symbol is None else symbol.name.removeprefix(_THREAD_PREFIX)

    def priority(self, thread: int, queue: int) -> int | None:
        """The priority of a thread that waits in a queue; None where it cannot be told."""
        at = self._offset("k_thread", "base", "prio")
        if at is None:
            state = self._memory.word(thread + 3 * self._width + 1, 1)
            if self._word(thread + 2 * self._width) != queue or not (state or 0) & _PENDING:
                return None
            at = 3 * self._width + 2
        byte = self._memory.word(thread + at, 1)
        return None if byte is None else byte - (256 if byte > 127 else 0)

    # ------------------------------------------------------------------ all of them

    def stacks(self) -> list[Stack]:
        """The stacks of the kernel's list of threads, by address; [] where it is not known.

        It is known with CONFIG_THREAD_MONITOR and CONFIG_THREAD_STACK_INFO.
        """
        start = self._offset("k_thread", "stack_info", "start")
        size = self._offset("k_thread", "stack_info", "size")
        if start is None or size is None:
            return []
        found = []
        for thread in self._all():
            first, count = self._word(thread + start), self._word(thread + size)
            if first and count:
                found.append(Stack(first, first + count, self.name(thread)))
        return sorted(found)

    def _all(self) -> Iterator[int]:
        kernel = self._image.symbol("_kernel") if self._image else None
        head = self._offset("z_kernel", "threads")
        link = self._offset("k_thread", "next_thread")
        if kernel is None or head is None or link is None:
            return
        thread, seen = self._word(kernel.address + head), set[int]()
        while thread and thread not in seen and len(seen) < MOST_THREADS:
            seen.add(thread)
            yield thread
            thread = self._word(thread + link)

    # ------------------------------------------------------------------ those that wait

    def waiting_for(self, k_heap: int) -> WaitQueue:
        """The threads in the wait queue of the ``struct k_heap`` at an address."""
        at = self._offset("k_heap", "wait_q")
        queue = k_heap + (3 * self._width if at is None else at)
        found: list[Waiter] = []
        walk = self._tree(queue) if self._is_tree() else self._list(queue)
        note = None
        try:
            for thread in walk:
                found.append(Waiter(thread, self.name(thread), self.priority(thread, queue)))
        except _Broken as error:
            note = f"wait queue at {queue:#x}: {error}"
        return WaitQueue(tuple(found), note)

    def _is_tree(self) -> bool:
        return self._image is not None and self._image.config.get("WAITQ_SCALABLE") == "1"

    def _list(self, queue: int) -> Iterator[int]:
        head, tail = self._link(queue, 0), self._link(queue, 1)
        if head == tail == 0:  # Nobody has initialised it.
            return
        previous, node, seen = queue, head, {queue}
        while node != queue:
            self._admit(node, seen)
            if self._link(node, 1) != previous:
                raise _Broken(f"{node:#x} does not point back to {previous:#x}")
            yield node
            previous, node = node, self._link(node, 0)
        if tail != previous:
            raise _Broken(f"its tail is {tail:#x}, but its last thread {previous:#x}")

    def _tree(self, queue: int) -> Iterator[int]:
        seen: set[int] = set()
        path: list[int] = []
        node = self._link(queue, 0)
        while node or path:
            while node:
                self._admit(node, seen)
                if len(path) == _MOST_DEPTH:
                    raise _Broken(f"it is more than {_MOST_DEPTH} threads deep")
                path.append(node)
                node = self._link(node, 0) & ~1
            node = path.pop()
            yield node
            node = self._link(node, 1)

    def _link(self, node: int, number: int) -> int:
        link = self._word(node + number * self._width)
        if link is None:
            raise _Broken(f"{node:#x} is not in the dump")
        return link

    def _admit(self, node: int, seen: set[int]) -> None:
        if node in seen:
            raise _Broken(f"it leads to {node:#x} twice")
        if len(seen) > MOST_THREADS:
            raise _Broken(f"it has more than {MOST_THREADS:,} threads")
        seen.add(node)

    # ------------------------------------------------------------------ fields

    def _offset(self, struct: str, *members: str) -> int | None:
        return self._image.offset_of(struct, *members) if self._image else None

    def _word(self, address: int) -> int | None:
        return self._memory.word(address, self._width)

    def _text(self, address: int) -> str | None:
        text = self._memory.text(address)
        return self._image.memory.text(address) if text is None and self._image else text


class _Broken(Exception):
    """A link that cannot be."""


def stack_of_symbol(symbol: str) -> str | None:
    """The words for a place in a thread's stack, of a stack's symbol and offset.

    >>> stack_of_symbol("z_main_stack+0x3a0"), stack_of_symbol("_k_thread_stack_rx")
    ('stack of thread main', 'stack of thread rx')
    """
    name = symbol.partition("+")[0]
    if name.startswith(_STACK_PREFIX):
        return f"stack of thread {name.removeprefix(_STACK_PREFIX)}"
    return _STACKS.get(name)
