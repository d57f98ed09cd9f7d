"""``heap_listener_*``: callbacks for what heaps give and take back, by their C names.

Callbacks are made with the heap locked, when the operation is complete; calling that heap from
one raises RuntimeError.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from kheap.zephyr.board import board
from kheap.zephyr.k_heaps import k_heap
from kheap.zephyr.sys_heaps import sys_heap

if TYPE_CHECKING:
    from kheap.heaps.k_heap import Heap
    from kheap.heaps.sys_heap import SysHeap
from kheap.heaps.watched_heap import Listener

__all__ = [
    "HEAP_ID_FROM_POINTER",
    "HEAP_LISTENER_ALLOC_DEFINE",
    "HEAP_LISTENER_FREE_DEFINE",
    "heap_listener",
    "heap_listener_register",
    "heap_listener_unregister",
]

Callback = Callable[[int, int, int], object]


class heap_listener:
    """Whom to call for which event of which heap; ``HEAP_LISTENER_ALLOC_DEFINE`` makes it.

    Attributes:
        name: What it is called.
        heap_id: The heap's, by ``HEAP_ID_FROM_POINTER``.
        event: "alloc" or "free".
        callback: Called with the heap's id, the address of the block, and its bytes.
    """

    def __init__(
        self, name: str, heap_id: int, event: Literal["alloc", "free"], callback: Callback
    ) -> None:
        self.name = name
        self.heap_id = heap_id
        self.event = event
        self.callback = callback
        self._heard: list[tuple[SysHeap | Heap, Listener]] = []

    def listen_to(self, heap: sys_heap | k_heap) -> None:
        """Listen to a heap object's heap, if the object has the listener's heap id."""
        hears = any(heap.heap is known for known, _ in self._heard)
        if heap.address == self.heap_id and not hears:
            listener = partial(self._told, heap.heap.base_address)
            heap.heap.add_listener(listener)
            self._heard.append((heap.heap, listener))

    def fall_silent(self) -> None:
        """Listen no longer."""
        for heap, listener in self._heard:
            heap.remove_listener(listener)
        self._heard.clear()

    def _told(self, base_address: int, event: str, offset: int, size_bytes: int) -> None:
        if event == self.event:
            self.callback(self.heap_id, base_address + offset, size_bytes)


def HEAP_ID_FROM_POINTER(heap: sys_heap | k_heap | Heap) -> int:
    """The id of a heap: the address of its object, which the ``heap`` in a k_heap shares."""
    if isinstance(heap, sys_heap | k_heap):
        return heap.address
    made: list[sys_heap | k_heap] = board().initialised
    return next(one for one in made if one.heap is heap).address


def HEAP_LISTENER_ALLOC_DEFINE(name: str, heap_id: int, alloc_cb: Callback) -> heap_listener:
    """A listener for what the heap gives: ``alloc_cb(heap_id, mem, size_bytes)``."""
    return heap_listener(name, heap_id, "alloc", alloc_cb)


def HEAP_LISTENER_FREE_DEFINE(name: str, heap_id: int, free_cb: Callback) -> heap_listener:
    """A listener for what the heap takes back: ``free_cb(heap_id, mem, size_bytes)``."""
    return heap_listener(name, heap_id, "free", free_cb)


def heap_listener_register(listener: heap_listener) -> None:
    """Let a listener hear of its heap, also of one that is initialised later.

    Raises:
        ValueError: It is registered already.
    """
    now = board()
    with now.lock:
        if listener in now.listeners:
            raise ValueError(f"the listener {listener.name!r} is registered already")
        now.listeners.append(listener)
        heaps = list(now.initialised)
    # A callback holds its heap's lock and may want the board's: never both here.
    for heap in heaps:
        listener.listen_to(heap)


def heap_listener_unregister(listener: heap_listener) -> None:
    """Let a listener hear no more; one that is not registered is left alone."""
    now = board()
    with now.lock:
        if listener in now.listeners:
            now.listeners.remove(listener)
    listener.fall_silent()
