"""``k_heap_*`` by C's meaning: definitions, NULL, waiting, and two threads at one address."""

from __future__ import annotations

import gc
import threading

import pytest

import kheap
from kheap.zephyr import (
    K_FOREVER,
    K_HEAP_DEFINE,
    K_HEAP_DEFINE_NOCACHE,
    K_MSEC,
    K_NO_WAIT,
    K_SECONDS,
    NULL,
    configure,
    k_heap,
    k_heap_aligned_alloc,
    k_heap_alloc,
    k_heap_array_get,
    k_heap_calloc,
    k_heap_free,
    k_heap_init,
    k_heap_realloc,
    k_thread_priority_set,
    memory,
    static_memory,
    sys_heap_validate,
)

HUGE = 2**32 - 1


@pytest.fixture
def heap(clock):
    configure(clock=clock)
    return K_HEAP_DEFINE("heap", 512)


def used(heap):
    return heap.heap.stats().used_count


def take(heap, size=100, timeout=K_NO_WAIT):
    mem = k_heap_alloc(heap, size, timeout)
    assert mem is not NULL
    return mem


# ---------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("config", "least"),
    [
        ({"64BIT": True}, 56),
        ({"64BIT": True, "SYS_HEAP_RUNTIME_STATS": True}, 80),
        ({"SYS_HEAP_SMALL_ONLY": True}, 44),
        ({"SYS_HEAP_RUNTIME_STATS": True}, 52),
        ({"SYS_HEAP_BIG_ONLY": True}, 56),
        ({"SYS_HEAP_BIG_ONLY": True, "SYS_HEAP_RUNTIME_STATS": True}, 64),
    ],
)
def test_the_least_size_of_a_defined_heap(config, least):
    configure(config)
    for size in (0, 1, least - 1, least):
        heap = K_HEAP_DEFINE("tiny", size)
        assert heap.heap.size_bytes == least
        assert heap.heap.base_address % 8 == 0
        assert k_heap_alloc(heap, 1, K_NO_WAIT) is not NULL
    assert K_HEAP_DEFINE("larger", least + 5).heap.size_bytes == least + 5


def test_the_array_of_defined_heaps():
    first, second = K_HEAP_DEFINE("first", 256), K_HEAP_DEFINE_NOCACHE("second", 256)
    k_heap_init(k_heap(), static_memory(256), 256)
    assert k_heap_array_get() == [first, second]
    assert first.heap.name == "first"
    k_heap_array_get().clear()
    assert len(k_heap_array_get()) == 2


def test_init_over_an_address_and_over_a_buffer():
    configure()
    address, buffer, heap = static_memory(600), bytearray(600), k_heap()
    k_heap_init(heap, address + 64, 512)
    assert (heap.heap.base_address, heap.heap.size_bytes) == (address + 64, 512)
    mem = take(heap)
    assert address + 64 < mem < address + 576
    k_heap_init(heap, buffer, 300, name="other")
    mem = take(heap, 5)
    memory(mem, 5)[:] = b"hello"
    assert b"hello" in buffer
    assert heap.heap.name == "other"


@pytest.mark.parametrize("size", [8, 43])
def test_init_of_too_little(size):
    with pytest.raises(ValueError, match="too small"):
        k_heap_init(k_heap(), static_memory(512), size)


def test_init_once_more_forgets_all_blocks():
    heap, address = k_heap(), static_memory(512)
    k_heap_init(heap, address, 512)
    blocks = [take(heap, 40) for _ in range(5)]
    k_heap_init(heap, address, 512)
    gc.collect()
    assert used(heap) == 0
    assert sys_heap_validate(heap.heap)
    with pytest.raises(kheap.InvalidFree):
        k_heap_free(heap, blocks[2])
    assert [take(heap, 40) for _ in range(5)] == blocks


def test_a_heap_object_that_goes_writes_nothing():
    address, old, new = static_memory(512), k_heap(), k_heap()
    k_heap_init(old, address, 512)
    blocks = [take(old, 40) for _ in range(5)]
    k_heap_init(new, address, 512)
    again = [take(new, 40) for _ in range(5)]
    del old
    gc.collect()
    assert again == blocks
    assert used(new) == 5
    assert sys_heap_validate(new.heap)


# ---------------------------------------------------------------------- without waiting


@pytest.mark.parametrize("size", [0, 513, HUGE])
def test_null_for_nothing_and_for_too_much(heap, size):
    assert k_heap_alloc(heap, size, K_NO_WAIT) is NULL
    assert k_heap_aligned_alloc(heap, 16, size, K_NO_WAIT) is NULL
    assert k_heap_calloc(heap, 1, size, K_NO_WAIT) is NULL
    assert used(heap) == 0


def test_a_calloc_clears_just_its_bytes(heap):
    mem = take(heap, 24)
    memory(mem, 24)[:] = b"\xff" * 24
    k_heap_free(heap, mem)
    assert k_heap_calloc(heap, 3, 7, K_NO_WAIT) == mem
    assert bytes(memory(mem, 24)) == bytes(21) + b"\xff" * 3


def test_aligned_allocs(heap):
    for align in (0, 1, 2, 4, 8, 64):
        mem = k_heap_aligned_alloc(heap, align, 5, K_NO_WAIT)
        assert mem % max(align, 4) == 0
        k_heap_free(heap, mem)
    for align in (3, 12, -8):
        with pytest.raises(ValueError, match=f"align {align} is neither 0 nor a power of two"):
            k_heap_aligned_alloc(heap, align, 5, K_NO_WAIT)


def test_realloc_in_place_moved_and_refused(heap):
    mem, wall = take(heap, 40), take(heap, 40)
    memory(mem, 40)[:] = b"0123456789" * 4
    assert k_heap_realloc(heap, mem, 30, K_NO_WAIT) == mem
    moved = k_heap_realloc(heap, mem, 80, K_NO_WAIT)
    assert moved > wall
    assert bytes(memory(moved, 30)) == b"0123456789" * 3
    with pytest.raises(kheap.InvalidFree):
        k_heap_free(heap, mem)
    assert k_heap_realloc(heap, moved, 600, K_NO_WAIT) is NULL
    assert bytes(memory(moved, 30)) == b"0123456789" * 3
    k_heap_free(heap, moved)
    k_heap_free(heap, wall)
    assert used(heap) == 0


@pytest.mark.parametrize("timeout", [K_NO_WAIT, K_MSEC(10), K_FOREVER])
def test_realloc_to_nothing_frees_once(heap, timeout):
    mem, other = take(heap), take(heap)
    assert k_heap_realloc(heap, mem, 0, timeout) is NULL
    assert used(heap) == 1
    with pytest.raises(kheap.InvalidFree):
        k_heap_free(heap, mem)
    k_heap_free(heap, other)


@pytest.mark.parametrize("null", [NULL, 0])
def test_null_as_an_argument(heap, null):
    k_heap_free(heap, null)
    mem = k_heap_realloc(heap, null, 10, K_NO_WAIT)
    assert mem is not NULL
    assert k_heap_realloc(heap, null, 0, K_NO_WAIT) is NULL


def test_frees_of_foreign_pointers(heap):
    other = K_HEAP_DEFINE("other", 512)
    mem = take(heap)
    for wrong, of in [(mem + 4, heap), (mem, other), (4, heap), (1 << 70, heap)]:
        with pytest.raises(kheap.InvalidFree, match=f"no live block of this heap at {wrong:#x}"):
            k_heap_free(of, wrong)
        with pytest.raises(kheap.InvalidFree):
            k_heap_realloc(of, wrong, 8, K_NO_WAIT)
    k_heap_free(heap, mem)
    with pytest.raises(kheap.InvalidFree):
        k_heap_free(heap, mem)


def test_wrong_sizes(heap):
    mem = take(heap)
    for call in (
        lambda n: k_heap_alloc(heap, n, K_NO_WAIT),
        lambda n: k_heap_calloc(heap, 1, n, K_NO_WAIT),
        lambda n: k_heap_realloc(heap, mem, n, K_NO_WAIT),
    ):
        with pytest.raises(ValueError, match="negative"):
            call(-1)
        with pytest.raises(TypeError):
            call(1.5)
    with pytest.raises(TypeError, match="K_NO_WAIT"):
        k_heap_alloc(heap, 8, None)
    k_heap_free(heap, mem)


def test_a_corrupt_block_stays_a_block(heap):
    mem = take(heap)
    header = memory(mem - 4, 4)
    before = bytes(header)
    header[:] = b"\xff" * 4
    for call in (lambda: k_heap_free(heap, mem), lambda: k_heap_realloc(heap, mem, 8, K_NO_WAIT)):
        with pytest.raises((kheap.HeapCorruption, kheap.InvalidFree)):
            call()
    header[:] = before
    k_heap_free(heap, mem)


# ---------------------------------------------------------------------- waiting


def test_a_free_wakes_who_waits_for_ever(heap, waiting):
    held = take(heap, 400)
    sleeper = waiting(k_heap_alloc, heap, 300, K_FOREVER)
    assert heap.heap.waiters == ((300, 0),)
    k_heap_free(heap, held)
    assert sleeper.end() == held
    k_heap_free(heap, held)


@pytest.mark.parametrize("size", [0, 300, 600, HUGE])
def test_time_runs_out_whatever_was_wanted(heap, waiting, clock, size):
    take(heap, 400)
    sleeper = waiting(k_heap_alloc, heap, size, K_MSEC(100))
    clock.advance(0.099)
    assert sleeper.is_alive()
    assert heap.heap.waiters == ((size, 0),)
    clock.advance(0.001)
    assert sleeper.end() is NULL
    assert heap.heap.waiters == ()


@pytest.mark.parametrize("bits", [32, 64])
def test_a_calloc_whose_product_overflows_is_null_at_once(clock, waiting, bits):
    configure({"64BIT": bits == 64}, clock=clock)
    heap, half = K_HEAP_DEFINE("heap", 512), 1 << bits // 2
    assert k_heap_calloc(heap, half, half, K_FOREVER) is NULL
    sleeper = waiting(k_heap_calloc, heap, half, half - 1, K_SECONDS(1))
    clock.advance(1)
    assert sleeper.end() is NULL


def test_a_calloc_and_an_aligned_alloc_that_wait(heap, waiting):
    held = take(heap, 400)
    memory(held, 400)[:] = b"\xff" * 400
    zeros = waiting(k_heap_calloc, heap, 10, 10, K_FOREVER)
    aligned = waiting(k_heap_aligned_alloc, heap, 128, 100, K_FOREVER)
    k_heap_free(heap, held)
    assert bytes(memory(zeros.end(), 100)) == bytes(100)
    assert aligned.end() % 128 == 0


def test_the_more_urgent_is_served_first_and_the_small_overtakes(heap, waiting):
    blocks = [take(heap, 100) for _ in range(4)]

    def ask(size, priority):
        k_thread_priority_set(priority)
        return k_heap_alloc(heap, size, K_FOREVER)

    order = [(100, 5), (100, 3), (300, 1), (100, 3)]
    sleepers = [waiting(ask, size, priority) for size, priority in order]
    assert heap.heap.waiters == ((300, 1), (100, 3), (100, 3), (100, 5))
    k_heap_free(heap, blocks[2])
    assert sleepers[1].end() == blocks[2]
    k_heap_free(heap, blocks[0])
    assert sleepers[3].end() == blocks[0]
    assert heap.heap.waiters == ((300, 1), (100, 5))
    k_heap_free(heap, blocks[1])
    assert sleepers[0].end() == blocks[1]
    for block in blocks[:3]:
        k_heap_free(heap, block)
    assert sleepers[2].end() == blocks[0]


def test_a_realloc_that_waits(heap, waiting):
    mem, held = take(heap, 40), take(heap, 400)
    memory(mem, 5)[:] = b"hello"
    sleeper = waiting(k_heap_realloc, heap, mem, 200, K_FOREVER)
    with pytest.raises(kheap.InvalidFree):
        k_heap_free(heap, mem)
    k_heap_free(heap, held)
    moved = sleeper.end()
    assert bytes(memory(moved, 5)) == b"hello"
    k_heap_free(heap, moved)
    assert used(heap) == 0


def test_a_realloc_whose_time_runs_out_leaves_the_block(heap, waiting, clock):
    mem = take(heap, 40)
    sleeper = waiting(k_heap_realloc, heap, mem, 1000, K_MSEC(5))
    clock.advance(0.005)
    assert sleeper.end() is NULL
    k_heap_free(heap, mem)


def test_a_realloc_that_shrinks_wakes_nobody(heap, waiting, clock):
    mem = take(heap, 450)
    sleeper = waiting(k_heap_alloc, heap, 300, K_MSEC(5))
    assert k_heap_realloc(heap, mem, 40, K_NO_WAIT) == mem
    assert heap.heap.waiters == ((300, 0),)
    clock.advance(0.005)
    # Who wakes tries once more.
    assert sleeper.end() is not NULL


def test_without_multithreading_nobody_waits():
    configure({"MULTITHREADING": False})
    heap = K_HEAP_DEFINE("heap", 512)
    mem = take(heap, 100, K_FOREVER)
    assert k_heap_alloc(heap, 1000, K_FOREVER) is NULL
    assert k_heap_calloc(heap, 2, 500, K_SECONDS(10)) is NULL
    assert k_heap_realloc(heap, mem, 1000, K_FOREVER) is NULL
    with pytest.raises(TypeError):
        k_heap_alloc(heap, 1, None)


# ---------------------------------------------------------------------- two threads, one address


class Gate:
    """Lets a thread stop in the middle of a call of a heap: when the call is over."""

    def __init__(self, call):
        self.call = call
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *args, **named):
        answer = self.call(*args, **named)
        self.reached.set()
        assert self.go.wait(30)
        return answer


def stopped(heap, mem, name, call, *args):
    """A thread whose ``call`` has freed ``mem`` and not returned yet, and its gate."""
    block = heap.blocks[mem]
    gate = Gate(getattr(block, name))

    class Slow:
        address = property(lambda self: block.address)
        closed = property(lambda self: block.closed)
        _shut, _reopen = block._shut, block._reopen

    setattr(Slow, name, staticmethod(gate))
    heap.blocks[mem] = Slow()
    thread = threading.Thread(target=call, args=args)
    thread.start()
    assert gate.reached.wait(30)
    return thread, gate


def test_a_freed_address_may_be_given_again_before_the_free_returns(heap):
    mem = take(heap)
    thread, gate = stopped(heap, mem, "free", k_heap_free, heap, mem)
    assert take(heap) == mem
    gate.go.set()
    thread.join()
    assert used(heap) == 1
    assert take(heap) != mem
    k_heap_free(heap, mem)


def test_so_may_the_old_address_of_a_block_that_moves(heap):
    mem, wall = take(heap, 40), take(heap, 40)
    call = (k_heap_realloc, heap, mem, 80, K_NO_WAIT)
    thread, gate = stopped(heap, mem, "realloc", *call)
    assert take(heap, 40) == mem
    gate.go.set()
    thread.join()
    assert used(heap) == 3
    for address in (mem, wall):
        k_heap_free(heap, address)


def test_threads_hand_addresses_on():
    configure()
    heap = K_HEAP_DEFINE("heap", 256)
    errors = []

    def work():
        try:
            for size in range(1, 40):
                mem = k_heap_alloc(heap, size % 90 + 1, K_FOREVER)
                mem = k_heap_realloc(heap, mem, size % 40 + 1, K_FOREVER)
                k_heap_free(heap, mem)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert (used(heap), heap.blocks) == (0, {})
    assert sys_heap_validate(heap.heap)
