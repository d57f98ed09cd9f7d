"""``kheap.Block``: its buffer, its end, and how it is resized."""

from __future__ import annotations

import copy
import gc
import hashlib
import io
import pickle
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest

import kheap
from helpers.sleepers import Dormitory, at_once

BASE = 0x20000000
EXPORTS = kheap.COMPILED or sys.version_info >= (3, 12)
exporting = pytest.mark.skipif(not EXPORTS, reason="Python 3.11 in pure form exports no buffers")


@pytest.fixture
def heap():
    return kheap.Heap(4096, base_address=BASE)


def used(heap):
    return heap.stats().used_count


# ---------------------------------------------------------------------- what it is


def test_a_block_is_made_by_heaps_only():
    with pytest.raises(TypeError, match="alloc"):
        kheap.Block()


@pytest.mark.parametrize(
    "call",
    [
        lambda block: block.free(),
        lambda block: block.handle(),
        lambda block: block.realloc(5),
        lambda block: block.usable_bytes,
        lambda block: block.address,
        lambda block: block.__exit__(None, None, None),
        lambda block: kheap.Heap(1024).realloc(block, 5),
        lambda block: kheap.Heap(1024).free(block),
    ],
)
def test_a_block_that_no_heap_made_can_do_nothing(call):
    with pytest.raises((TypeError, kheap.InvalidFree)):
        call(kheap.Block.__new__(kheap.Block))


def test_a_block_tells_of_itself(heap):
    block = heap.alloc(21)
    assert repr(block) == f"<Block of 21 bytes at offset {block.offset}>"
    assert bool(block)
    block.free()
    assert repr(block).endswith(", closed>")
    assert block.nbytes == 21


#: What is a plain attribute in the pure build, as in any Python class, and sealed in the other.
FIELDS = ["offset", "nbytes", "heap"] if kheap.COMPILED else []


@pytest.mark.parametrize("name", ["closed", "address", *FIELDS])
def test_what_a_block_is_cannot_be_set(heap, name):
    block = heap.alloc(8)
    with pytest.raises(AttributeError):
        setattr(block, name, 5)


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_block_is_not_copied(heap, copier):
    with pytest.raises(TypeError, match="cannot be copied"):
        copier(heap.alloc(8))


def test_blocks_are_equal_to_themselves_only(heap):
    one, other = heap.alloc(8), heap.alloc(8)
    assert one == one and one != other
    assert len({one, other}) == 2


# ---------------------------------------------------------------------- its end


def test_the_last_reference_frees(heap):
    block = heap.alloc(8)
    alias = [block]
    del block
    assert used(heap) == 1
    alias.clear()
    assert used(heap) == 0


def test_with_frees(heap):
    with heap.alloc(8) as block:
        block.view()[:] = b"8 bytes!"
    assert block.closed
    assert used(heap) == 0


def test_with_takes_a_block_that_was_freed_within(heap):
    with heap.alloc(8) as block:
        block.free()
    with heap.alloc(8) as block:
        handle = block.handle()
    heap.adopt(handle).free()


def test_with_tells_of_views_that_live(heap):
    with pytest.raises(BufferError), heap.alloc(8) as block:
        view = block.view()
    assert not block.closed, "nothing was freed"
    view.release()
    block.free()


def test_with_hides_no_error_that_is_on_its_way(heap):
    with pytest.raises(KeyError), heap.alloc(8) as block:
        view = block.view()
        raise KeyError
    assert not block.closed
    view[:] = b"8 bytes!"
    del view, block
    assert used(heap) == 0


def test_with_frees_when_an_error_is_on_its_way(heap):
    with pytest.raises(KeyError), heap.alloc(8) as block:
        raise KeyError
    assert block.closed


def test_a_block_and_its_heap_may_end_with_the_interpreter():
    lines = (
        "import kheap",
        "heap = kheap.Heap(4096)",
        "blocks = [heap.alloc(10) for _ in range(5)]",
        "view = blocks[0].view()",
        "cycle = [heap.alloc(5)]",
        "cycle.append(cycle)",
    )
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


# ---------------------------------------------------------------------- its buffer


def test_the_buffer_is_what_was_asked_for(heap):
    block = heap.alloc(21)
    view = block.view()
    assert (view.nbytes, view.format, view.readonly, view.ndim) == (21, "B", False, 1)
    view[:] = bytes(range(21))
    assert heap.sys_heap.region[block.offset : block.offset + 21] == bytes(range(21))
    with pytest.raises(IndexError):
        view[21] = 0


def test_views_share_the_bytes(heap):
    block = heap.alloc(8)
    one, other = block.view(), block.view()
    one[0] = 65
    assert other[0] == 65
    one.release()
    with pytest.raises(BufferError):
        block.free()
    other.release()
    block.free()


def test_a_view_keeps_block_and_heap():
    view = kheap.Heap(1024).alloc(8).view()
    gc.collect()
    view[:] = b"8 bytes!"
    assert bytes(view) == b"8 bytes!"


def test_no_views_of_a_closed_block(heap):
    block = heap.alloc(8)
    block.free()
    with pytest.raises(BufferError, match="closed"):
        block.view()
    if EXPORTS:
        with pytest.raises(BufferError, match="closed"):
            memoryview(block)


@pytest.mark.skipif(EXPORTS, reason="here the buffer protocol works")
def test_where_no_buffer_can_be_exported_the_error_says_so(heap):
    with pytest.raises(TypeError):
        memoryview(heap.alloc(8))


VIEWS = {
    "view": lambda block: block.view(),
    "slice": lambda block: block.view()[2:4],
    "empty slice": lambda block: block.view()[:0],
    "cast": lambda block: block.view().cast("I"),
    "memoryview of a view": lambda block: memoryview(block.view()),
    "readonly": lambda block: block.view().toreadonly(),
    "frombuffer": lambda block: np.frombuffer(block.view(), "u2"),
    "array slice": lambda block: np.frombuffer(block.view(), "u1")[::2],
    "iterator": lambda block: iter(np.asarray(block.view())),
}
DIRECT = {
    "memoryview": memoryview,
    "frombuffer of the block": lambda block: np.frombuffer(block, "u1"),
    "asarray of the block": lambda block: np.asarray(memoryview(block)),
}


def refuses_while(heap, make):
    block = heap.alloc(8)
    view = make(block)
    before = bytes(heap.sys_heap.region)
    for call in (
        block.free,
        block.handle,
        lambda: heap.free(block),
        lambda: block.realloc(500),
        lambda: block.realloc(0),
        lambda: heap.realloc(block, 4),
    ):
        with pytest.raises(BufferError):
            call()
    assert not block.closed
    assert heap.sys_heap.region == before, "nothing has changed"
    del view
    block.free()


@pytest.mark.parametrize("kind", VIEWS)
def test_a_block_stays_while_views_live(heap, kind):
    refuses_while(heap, VIEWS[kind])


@exporting
@pytest.mark.parametrize("kind", DIRECT)
def test_a_block_stays_while_what_it_exported_lives(heap, kind):
    refuses_while(heap, DIRECT[kind])


def test_what_holds_the_block_but_no_view_keeps_it_alive(heap):
    array = np.ndarray((2,), "u4", buffer=heap.alloc(8).view())
    gc.collect()
    assert used(heap) == 1
    array[:] = 5
    del array
    assert used(heap) == 0


def test_an_array_of_the_heap_cannot_be_freed_beneath_itself(heap):
    array, base = heap.array((2, 3), "u2"), None
    block = array
    while isinstance(block, np.ndarray | memoryview):
        base, block = block, block.base if isinstance(block, np.ndarray) else block.obj
    assert isinstance(base, memoryview), "a view stands between the array and its block"
    if isinstance(block, kheap.Block):
        with pytest.raises(BufferError):
            block.free()
    pair = heap.array(3, np.dtype(("f4", (2,))))
    assert pair.shape == (3, 2)


def test_a_released_view_holds_nothing(heap):
    block = heap.alloc(8)
    view = block.view()
    part = view[2:]
    with pytest.raises(BufferError):
        block.free()
    part.release()
    view.release()
    block.free()


def test_an_array_outlives_the_block_object(heap):
    array = np.frombuffer(heap.alloc(16).view(), "u4")
    gc.collect()
    assert used(heap) == 1
    array[:] = 7
    part = array[1:]
    del array
    assert part.sum() == 21
    del part
    assert used(heap) == 0


def test_readinto_and_sockets_and_struct_and_hashes(heap):
    block = heap.alloc(8)
    with block.view() as view:
        assert io.BytesIO(b"from a file").readinto(view) == 8
        assert bytes(view) == b"from a f"
        struct.pack_into("<II", view, 0, 1, 2)
        assert struct.unpack_from("<II", view) == (1, 2)
        assert hashlib.sha256(view).digest() == hashlib.sha256(bytes(view)).digest()
        one, other = socket.socketpair()
        with one, other:
            assert one.send(view) == 8
            view[:] = bytes(8)
            assert other.recv_into(view) == 8
        assert struct.unpack_from("<II", view) == (1, 2)
        assert b"".join([view, b"!"]) == struct.pack("<II", 1, 2) + b"!"
    block.free()


@exporting
def test_the_block_itself_is_a_buffer(heap):
    block = heap.alloc(8)
    assert io.BytesIO(b"from a file").readinto(block) == 8
    assert bytes(block) == b"from a f"
    struct.pack_into("<I", block, 4, 0x41414141)
    assert hashlib.sha256(block).digest() == hashlib.sha256(b"fromAAAA").digest()
    one, other = socket.socketpair()
    with one, other:
        one.sendall(block)
        assert other.recv(8) == b"fromAAAA"
    with memoryview(block) as view:
        view[:5] = b"hello"
    assert bytearray(block) == b"helloAAA"
    block.free()


def test_views_of_many_threads_are_counted(heap):
    block, count = heap.alloc(64), 300
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def look():
        for _ in range(count):
            with block.view() as view, block.view() as other:
                view[0] = other[0]
                with pytest.raises(BufferError):
                    block.free()

    try:
        at_once([look] * 4)
    finally:
        sys.setswitchinterval(switch)
    block.free()


def test_a_view_and_a_free_at_once_are_one_or_the_other(heap):
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def view(block):
        try:
            return block.view()
        except BufferError:
            return None

    def free(block):
        try:
            block.free()
        except BufferError:
            return False
        return True

    try:
        for _ in range(60):
            block = heap.alloc(8)
            seen, freed = at_once([lambda b=block: view(b), lambda b=block: free(b)])
            assert block.closed == freed == (seen is None)
    finally:
        sys.setswitchinterval(switch)


# ---------------------------------------------------------------------- resizing


def stamped(heap, request, **named):
    block = heap.alloc(request, **named)
    with block.view() as view:
        view[:] = bytes(i % 251 for i in range(request))
    return block


def stamp_of(block, count):
    return bytes(block.view()[:count]) == bytes(i % 251 for i in range(count))


def test_realloc_grows_in_place(heap):
    block = stamped(heap, 40)
    offset = block.offset
    assert block.realloc(400) is block
    assert (block.offset, block.nbytes, block.requested_bytes) == (offset, 400, 400)
    assert block.view().nbytes == 400
    assert stamp_of(block, 40)
    heap.check()


def test_realloc_moves(heap):
    block, wall = stamped(heap, 40), heap.alloc(8)
    offset = block.offset
    assert heap.realloc(block, 400) is block
    assert block.offset > wall.offset
    assert stamp_of(block, 40)
    assert heap.alloc(40).offset == offset, "its old place is free"


def test_realloc_shrinks(heap):
    block = stamped(heap, 400)
    offset, room = block.offset, block.usable_bytes
    assert heap.realloc(block, 40) is block
    assert (block.offset, block.nbytes) == (offset, 40)
    assert block.usable_bytes < room
    assert stamp_of(block, 40)
    with pytest.raises(IndexError):
        block.view()[40]


@pytest.mark.parametrize("zero", [0, np.int64(0), False])
def test_realloc_to_0_frees(heap, zero):
    block = heap.alloc(40)
    assert heap.realloc(block, zero) is None
    assert block.closed
    assert used(heap) == 0
    with pytest.raises(kheap.InvalidFree):
        block.realloc(0)


def test_realloc_of_none_allocates(heap):
    block = heap.realloc(None, 40, align=64)
    assert (block.nbytes, block.address % 64) == (40, 0)
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(None, 0)
    with pytest.raises(kheap.OutOfMemory):
        heap.realloc(None, 5000)


def test_realloc_aligns(heap):
    block = stamped(heap, 40)
    assert block.realloc(40, align=512) is block
    assert block.address % 512 == 0
    assert stamp_of(block, 40)


@pytest.mark.parametrize(
    ("args", "named", "error"),
    [
        ((-1,), {}, ValueError),
        ((1.5,), {}, TypeError),
        ((0.0,), {}, TypeError),
        (("5",), {}, TypeError),
        ((5,), {"align": 12}, ValueError),
        ((5,), {"timeout": -1}, ValueError),
        ((5,), {"timeout": float("nan")}, ValueError),
        ((5000,), {}, kheap.OutOfMemory),
        ((5000,), {"timeout": None}, kheap.OutOfMemory),
        ((1 << 80,), {"timeout": 5}, kheap.OutOfMemory),
    ],
)
def test_a_refused_realloc_leaves_the_block(heap, args, named, error):
    block = stamped(heap, 40)
    before = list(heap.chunks())
    with pytest.raises(error):
        heap.realloc(block, *args, **named)
    assert not block.closed
    assert (block.nbytes, list(heap.chunks())) == (40, before)
    assert stamp_of(block, 40)
    block.free()


def test_realloc_waits_and_the_contents_survive():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block, wall = stamped(heap, 40), heap.alloc(500)
    sleeper = room.sleep(block.realloc, 700, timeout=5.0)
    assert heap.waiters == ((700, 0),)
    assert block.closed
    with pytest.raises(BufferError):
        block.view()
    for call in (block.free, block.handle, lambda: block.realloc(4)):
        with pytest.raises(kheap.InvalidFree):
            call()
    wall.free()
    assert room.wake(sleeper) is block
    assert (block.nbytes, block.closed) == (700, False)
    assert stamp_of(block, 40)
    heap.check()
    block.free()
    assert used(heap) == 0


def test_a_realloc_whose_time_is_up_leaves_the_block():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block, wall = stamped(heap, 40), heap.alloc(500)
    offset = block.offset
    sleeper = room.sleep(heap.realloc, block, 700, timeout=5.0)
    room.clock.advance(5.0)
    with pytest.raises(kheap.TimedOut):
        room.wake(sleeper)
    assert (block.offset, block.nbytes, block.closed) == (offset, 40, False)
    assert stamp_of(block, 40)
    assert heap.waiters == ()
    wall.free()
    block.free()
    heap.close()


def test_a_block_that_is_freed_while_its_realloc_returns_stays_closed():
    """Whoever is served is open at once; another thread may be quicker than the one it serves."""
    heap = kheap.Heap(1024)
    block, wall = heap.alloc(40), heap.alloc(500)
    freed = []

    class Clock:
        """Sleeps until the waiter is served, and frees its block before it wakes."""

        def now(self):
            return 0.0

        def sleep(self, bell, until):
            wall.free()
            block.free()
            freed.append(heap.stats().used_count)
            return bell.listen(None)

    heap._clock = Clock()
    assert heap.realloc(block, 700, timeout=None) is block
    assert freed == [0]
    assert block.closed
    with pytest.raises(kheap.InvalidFree):
        block.free()
    heap.close()


def test_a_realloc_that_gives_memory_back_serves_those_who_wait():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block = heap.alloc(800)
    shrunk = room.sleep(heap.alloc, 500, timeout=None)
    block.realloc(100)
    assert room.wake(shrunk).nbytes == 500


def test_a_realloc_that_moves_serves_those_who_wait():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block, wall = heap.alloc(300), heap.alloc(8)
    rest = heap.alloc(heap.stats().largest_free_bytes - 100)
    tail = heap.alloc(heap.stats().largest_free_bytes)
    waiting = room.sleep(heap.alloc, 290, timeout=None)
    moving = room.sleep(block.realloc, 350, timeout=None, priority=-1)
    assert heap.waiters == ((350, -1), (290, 0))
    rest.free()
    assert room.wake(moving).nbytes == 350
    assert room.wake(waiting).nbytes == 290, "the place that was left"
    assert not wall.closed and not tail.closed


def test_as_in_the_original_a_realloc_wakes_nobody():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock, original_waits=True)
    block = heap.alloc(800)
    sleeper = room.sleep(heap.alloc, 500, timeout=None)
    block.realloc(100)
    assert heap.waiters == ((500, 0),)
    heap.free(heap.alloc(8))
    assert room.wake(sleeper).nbytes == 500


def test_a_realloc_to_0_serves_those_who_wait():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block = heap.alloc(800)
    sleeper = room.sleep(heap.alloc, 500, timeout=None)
    assert block.realloc(0, timeout=None) is None
    assert room.wake(sleeper).nbytes == 500


def test_corruption_that_a_waiting_realloc_meets_is_its_own():
    room = Dormitory()
    heap = kheap.Heap(1024, clock=room.clock)
    block, wall = heap.alloc(40), heap.alloc(500)
    other = heap.alloc(8)
    sleeper = room.sleep(block.realloc, 700, timeout=None)
    region, at = heap.sys_heap.region, block.offset - 8
    was = bytes(region[at : at + 8])
    region[at : at + 4] = b"\xff" * 4
    other.free()
    with pytest.raises(kheap.KheapError):
        room.wake(sleeper)
    region[at : at + 8] = was
    assert not block.closed
    block.free()
    wall.free()
    heap.check()
    heap.close()


@pytest.mark.skipif(kheap.COMPILED, reason="in compiled form the buffer is no method")
def test_in_pure_form_the_buffer_is_a_method(heap):
    block = heap.alloc(8)
    view = block.__buffer__(0)
    assert view.nbytes == 8
    with pytest.raises(BufferError):
        block.free()
    block.__release_buffer__(view)
    view.release()
    block.free()
