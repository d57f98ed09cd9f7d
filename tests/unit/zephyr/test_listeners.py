"""``heap_listener_*``: who hears what of which heap."""

from __future__ import annotations

import sys

import pytest

from kheap.zephyr import (
    HEAP_ID_FROM_POINTER,
    HEAP_LISTENER_ALLOC_DEFINE,
    HEAP_LISTENER_FREE_DEFINE,
    K_HEAP_DEFINE,
    K_NO_WAIT,
    configure,
    heap_listener_register,
    heap_listener_unregister,
    k_heap_alloc,
    k_heap_free,
    k_heap_realloc,
    static_memory,
    sys_heap,
    sys_heap_alloc,
    sys_heap_free,
    sys_heap_init,
    sys_heap_realloc,
)


@pytest.fixture
def heap():
    heap = sys_heap()
    sys_heap_init(heap, static_memory(512), 512)
    return heap


@pytest.fixture
def told():
    return []


def listeners(heap, told):
    """One for each event; what they are told begins with the event."""
    heap_id = HEAP_ID_FROM_POINTER(heap)
    made = (
        HEAP_LISTENER_ALLOC_DEFINE("a", heap_id, lambda *event: told.append(("alloc", *event))),
        HEAP_LISTENER_FREE_DEFINE("f", heap_id, lambda *event: told.append(("free", *event))),
    )
    for listener in made:
        heap_listener_register(listener)
    return made


def test_events_of_a_sys_heap(heap, told):
    listeners(heap, told)
    heap_id = HEAP_ID_FROM_POINTER(heap)
    block = sys_heap_alloc(heap, 21)
    assert sys_heap_realloc(heap, block, 28) == block
    assert sys_heap_realloc(heap, block, 100) == block
    sys_heap_free(heap, block)
    assert told == [
        ("alloc", heap_id, block, 28),
        ("alloc", heap_id, block, 100),
        ("free", heap_id, block, 28),
        ("free", heap_id, block, 100),
    ]


def test_events_of_a_k_heap(told):
    heap = K_HEAP_DEFINE("heap", 512)
    listeners(heap, told)
    assert HEAP_ID_FROM_POINTER(heap.heap) == HEAP_ID_FROM_POINTER(heap)
    block = k_heap_alloc(heap, 20, K_NO_WAIT)
    wall = k_heap_alloc(heap, 20, K_NO_WAIT)
    moved = k_heap_realloc(heap, block, 60, K_NO_WAIT)
    k_heap_free(heap, moved)
    assert [event[0::2] for event in told] == [
        ("alloc", block),
        ("alloc", wall),
        ("alloc", moved),
        ("free", block),
        ("free", moved),
    ]
    assert {event[1] for event in told} == {HEAP_ID_FROM_POINTER(heap)}


def test_another_heap_is_not_heard(heap, told):
    other = sys_heap()
    sys_heap_init(other, static_memory(512), 512)
    assert HEAP_ID_FROM_POINTER(other) != HEAP_ID_FROM_POINTER(heap)
    listeners(heap, told)
    sys_heap_free(other, sys_heap_alloc(other, 10))
    assert told == []


def test_a_heap_that_is_initialised_later_and_again(told):
    heap = sys_heap()
    listeners(heap, told)
    for _ in range(2):
        sys_heap_init(heap, static_memory(512), 512)
        sys_heap_alloc(heap, 10)
    assert [event[0] for event in told] == ["alloc", "alloc"]


def test_once_unregistered_it_hears_no_more(heap, told):
    sys_heap_init(heap, static_memory(512), 512)
    first, second = listeners(heap, told)
    with pytest.raises(ValueError, match="listener 'a' is registered already"):
        heap_listener_register(first)
    heap_listener_unregister(first)
    heap_listener_unregister(first)
    sys_heap_free(heap, sys_heap_alloc(heap, 10))
    assert [event[0] for event in told] == ["free"]
    heap_listener_unregister(second)
    sys_heap_init(heap, static_memory(512), 512)
    sys_heap_free(heap, sys_heap_alloc(heap, 10))
    assert len(told) == 1
    heap_listener_register(first)
    sys_heap_alloc(heap, 10)
    assert len(told) == 2


def test_another_board_knows_no_listeners(heap, told):
    (first, _) = listeners(heap, told)
    configure()
    sys_heap_init(heap, static_memory(512), 512)
    sys_heap_alloc(heap, 10)
    assert told == []
    heap_listener_unregister(first)


def test_a_listener_cannot_call_its_heap(heap, monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: raised.append(what.exc_value))
    listener = HEAP_LISTENER_ALLOC_DEFINE(
        "greedy", HEAP_ID_FROM_POINTER(heap), lambda *_: sys_heap_alloc(heap, 1)
    )
    heap_listener_register(listener)
    assert sys_heap_alloc(heap, 10)
    assert [type(error) for error in raised] == [RuntimeError]


def test_a_listener_may_call_another_heap(heap, told):
    other = K_HEAP_DEFINE("other", 512)
    listener = HEAP_LISTENER_ALLOC_DEFINE(
        "copy",
        HEAP_ID_FROM_POINTER(heap),
        lambda _, __, size: told.append(k_heap_alloc(other, size, K_NO_WAIT)),
    )
    heap_listener_register(listener)
    sys_heap_alloc(heap, 10)
    assert other.heap.stats().used_count == len(told) == 1
