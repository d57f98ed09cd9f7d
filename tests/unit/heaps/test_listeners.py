"""Listeners: what they are told, in which order, and what they may not do."""

from __future__ import annotations

import sys

import pytest

import kheap

BASE = 0x20000000
DEFAULT = kheap.Profile()


def listening(profile=DEFAULT, size=1024):
    """A heap and the list of its events."""
    heap = kheap.SysHeap(size, profile, BASE)
    events = []
    heap.add_listener(lambda *event: events.append(event))
    return heap, events


# ---------------------------------------------------------------------- what is told


def test_alloc_and_free_are_told():
    heap, events = listening()
    first = heap.alloc(20)
    second = heap.try_alloc(20, align=64)
    third = heap.realloc(None, 5)
    heap.free(first)
    heap.realloc(second, 0)
    assert events == [
        ("alloc", first, 24),
        ("alloc", second, 24),
        ("alloc", third, 8),
        ("free", first, 24),
        ("free", second, 24),
    ]


def test_what_fails_is_not_told():
    heap, events = listening(size=200)
    for call in (
        lambda: heap.alloc(0),
        lambda: heap.alloc(500),
        lambda: heap.alloc(-1),
        lambda: heap.alloc(8, align=7),
        lambda: heap.free(80),
        lambda: heap.realloc(80, 8),
        lambda: heap.realloc(None, 0),
    ):
        with pytest.raises((kheap.KheapError, ValueError)):
            call()
    assert heap.try_alloc(500) is None
    heap.free(None)
    assert events == []
    block = heap.alloc(8)
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(block, 500)
    assert events == [("alloc", block, 8)]


def test_a_resize_in_place_tells_the_new_size_and_frees_the_old():
    heap, events = listening()
    block = heap.alloc(40)
    events.clear()
    heap.realloc(block, 38)
    assert events == [], "the same units are no event"
    heap.realloc(block, 20)
    heap.realloc(block, 60)
    assert events == [
        ("alloc", block, 24),
        ("free", block, 40),
        ("alloc", block, 64),
        ("free", block, 24),
    ]


def test_a_move_allocates_before_it_frees():
    heap, events = listening()
    block, _ = heap.alloc(40), heap.alloc(8)
    events.clear()
    moved = heap.realloc(block, 100)
    assert events == [("alloc", moved, 104), ("free", block, 40)]


@pytest.mark.parametrize(
    ("release", "plain", "aligned"),
    [("3.0", 20, 28), ("3.7", 20, 28), ("4.1", 20, 28), ("4.2", 24, 32), ("4.3", 24, 32),
     ("4.4", 20, 24), ("main", 20, 24)],
)  # fmt: skip
def test_bytes_are_told_as_the_release_counts_them(release, plain, aligned):
    """Before 4.2 without the header, then with it, from 4.4 without header and gap."""
    heap, events = listening(kheap.Profile(release=release, bits=32, header="small"))
    block = heap.alloc(20)
    gapped = heap.alloc(20, align=8)
    heap.free(block)
    heap.free(gapped)
    assert [event[2] for event in events] == [plain, aligned, plain, aligned]


def test_canaries_are_not_told():
    heap, events = listening(kheap.Profile(hardening="full"))
    heap.free(heap.alloc(20))
    assert [event[2] for event in events] == [24, 24]


# ---------------------------------------------------------------------- who is told


def test_listeners_are_called_in_turn_for_each_event():
    heap = kheap.SysHeap(1024)
    heard = []
    heap.add_listener(lambda *event: heard.append(("first", event[0])))
    heap.add_listener(lambda *event: heard.append(("second", event[0])))
    block, _ = heap.alloc(40), heap.alloc(8)
    heard.clear()
    heap.realloc(block, 100)
    assert heard == [("first", "alloc"), ("second", "alloc"), ("first", "free"), ("second", "free")]


def test_a_removed_listener_is_called_no_more():
    heap = kheap.SysHeap(1024)
    events = []
    heap.add_listener(events.append)
    heap.remove_listener(events.append)
    heap.alloc(8)
    assert events == []
    with pytest.raises(ValueError, match="not in list"):
        heap.remove_listener(events.append)


def test_a_listener_sees_what_was_done():
    """The region's bytes may be looked at; a second object on them may even be asked."""
    region = bytearray(1024)
    heap = kheap.SysHeap(region, base_address=BASE)
    used = []

    def look(*_event):
        with kheap.SysHeap.open(region, heap.profile, BASE) as other:
            used.append(other.stats().used_count)

    heap.add_listener(look)
    heap.free(heap.alloc(8))
    assert used == [1, 0]


# ---------------------------------------------------------------------- what it may not do


def forbidden(heap, block):
    return {
        "alloc": lambda: heap.alloc(8),
        "aligned alloc": lambda: heap.alloc(8, align=64),
        "alloc of nothing": lambda: heap.alloc(0),
        "try_alloc": lambda: heap.try_alloc(8),
        "free": lambda: heap.free(block),
        "realloc": lambda: heap.realloc(block, 100),
        "realloc of nothing": lambda: heap.realloc(None, 100),
        "usable_bytes": lambda: heap.usable_bytes(block),
        "view": lambda: heap.view(block),
        "stats": heap.stats,
        "reset_max": heap.reset_max,
        "check": heap.check,
        "chunks": lambda: list(heap.chunks()),
        "buckets": lambda: list(heap.buckets()),
        "print_info": heap.print_info,
        "why": lambda: heap.why(8),
        "why, negative": lambda: heap.why(-8),
    }


@pytest.mark.parametrize("hardening", ["basic", "extreme"])
def test_calling_the_heap_from_a_listener_is_refused(hardening):
    heap = kheap.SysHeap(1024, kheap.Profile(hardening=hardening), BASE)
    block = heap.alloc(8)
    refused = []

    def call_back(*_event):
        for name, call in forbidden(heap, block).items():
            before = bytes(heap.region)
            with pytest.raises(RuntimeError, match="from one of its listeners"):
                call()
            assert heap.region == before
            refused.append(name)

    heap.add_listener(call_back)
    heap.alloc(8)
    assert refused == list(forbidden(heap, block))
    heap.remove_listener(call_back)
    heap.free(block)
    heap.check()


def test_closing_the_heap_from_a_listener_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda _unraisable: None)
    heap = kheap.SysHeap(1024)
    heap.add_listener(lambda *_event: heap.close())
    block = heap.alloc(8)
    heap.check()
    heap.free(block)


@pytest.mark.parametrize("change", ["add_listener", "remove_listener"])
def test_changing_the_listeners_from_a_listener_is_refused(change, monkeypatch):
    caught = []
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    heap = kheap.SysHeap(1024)
    heard = []

    def first(*_event):
        heard.append("first")
        if len(heard) < 10:
            getattr(heap, change)(first)

    heap.add_listener(first)
    heap.add_listener(lambda *_event: heard.append("second"))
    heap.alloc(8)
    assert heard == ["first", "second"]
    assert [unraisable.exc_type for unraisable in caught] == [RuntimeError]


def test_what_a_listener_raises_goes_to_the_hook(monkeypatch):
    caught, heard = [], []
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    heap = kheap.SysHeap(1024)

    def broken(*event):
        raise OSError(f"no room for {event[0]}")

    heap.add_listener(broken)
    heap.add_listener(lambda *event: heard.append(event[0]))
    block = heap.alloc(8)
    heap.free(block)
    assert heard == ["alloc", "free"], "the operation is done and the others are told"
    assert heap.stats().used_count == 0
    assert [str(report.exc_value) for report in caught] == ["no room for alloc", "no room for free"]
    assert caught[0].exc_type is OSError
    assert caught[0].exc_traceback.tb_lineno
    assert "broken" in caught[0].exc_value.__notes__[0]


def test_an_interrupt_in_a_listener_goes_through_and_leaves_the_heap_in_order():
    heap = kheap.SysHeap(1024)

    def interrupted(*_event):
        raise KeyboardInterrupt

    heap.add_listener(interrupted)
    with pytest.raises(KeyboardInterrupt):
        heap.alloc(8)
    heap.remove_listener(interrupted)
    assert heap.stats().used_count == 1
    heap.check()


def test_a_broken_heap_announces_nothing():
    heap, events = listening()
    block, _ = heap.alloc(40), heap.alloc(8)
    events.clear()
    heap.view(block)
    heap.region[block + 40] ^= 0xFF
    for call in (lambda: heap.free(block), lambda: heap.realloc(block, 500)):
        with pytest.raises(kheap.HeapCorruption):
            call()
    assert events == []
