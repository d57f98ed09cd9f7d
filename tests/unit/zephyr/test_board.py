"""The board: its configuration, its memory, and one board after the other."""

from __future__ import annotations

import threading
from array import array

import pytest

import kheap
from kheap import VirtualClock, zephyr
from kheap.zephyr import *  # noqa: F403  (the module is made for it)
from kheap.zephyr import (
    K_HEAP_DEFINE,
    K_NO_WAIT,
    NULL,
    configure,
    k_current_get,
    k_free,
    k_heap,
    k_heap_alloc,
    k_heap_array_get,
    k_heap_init,
    k_malloc,
    k_thread_priority_get,
    k_thread_priority_set,
    memory,
    static_memory,
    sys_heap,
    sys_heap_alloc,
    sys_heap_init,
)
from kheap.zephyr.board import board


def test_a_star_import_brings_all_names_and_no_others():
    assert set(zephyr.__all__) <= set(globals())
    assert not {"board", "Board", "low_level", "mapped"} & set(zephyr.__all__)
    assert list(zephyr.__all__) == sorted(zephyr.__all__)


# ---------------------------------------------------------------------- configuration


def test_the_board_of_kconfigs_defaults():
    now = configure()
    assert now is board()
    assert (now.release, now.version) == ("4.4", (4, 4))
    assert now.profile == kheap.Profile(bits=32, runtime_stats=False)
    assert now.system_heap_bytes() == 0


def test_a_dict_with_or_without_the_prefix():
    options = {
        "CONFIG_64BIT": True,
        "SYS_HEAP_RUNTIME_STATS": "y",
        "CONFIG_SYS_HEAP_ALLOC_LOOPS": 7,
        "HEAP_MEM_POOL_SIZE": "0x1000",
    }
    now = configure(options)
    assert now.profile == kheap.Profile(bits=64, runtime_stats=True, alloc_loops=7)
    assert now.system_heap_bytes() == 4096


@pytest.mark.parametrize(
    ("value", "is_set"),
    [(True, True), (False, False), ("y", True), ("n", False), (1, True), (0, False), ("", False)],
)
def test_a_boolean_option_may_be_spelled_in_many_ways(value, is_set):
    assert configure({"CONFIG_MEM_POOL_SPLIT_ONLY": value}).is_set("MEM_POOL_SPLIT_ONLY") is is_set


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_config_file(tmp_path, kind):
    path = tmp_path / ".config"
    path.write_text(
        "# a comment\n"
        "CONFIG_HEAP_MEM_POOL_SIZE=2048\n"
        'CONFIG_BOARD="nrf52_bsim"\n'
        "  CONFIG_SYS_HEAP_SMALL_ONLY=y\n"
        "# CONFIG_MULTITHREADING is not set\n"
        "NO_OPTION=1\n"
    )
    now = configure(kind(path), release="4.2")
    assert now.profile == kheap.Profile("4.2", bits=32, header="small", runtime_stats=False)
    assert now.system_heap_bytes() == 2048
    assert now.config == {
        "HEAP_MEM_POOL_SIZE": "2048",
        "BOARD": "nrf52_bsim",
        "SYS_HEAP_SMALL_ONLY": "y",
        "MULTITHREADING": "n",
    }


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(OSError, match=r"\.config"):
        configure(tmp_path / ".config")
    (tmp_path / "prj").write_text("hello\n")
    with pytest.raises(ValueError, match=r"prj: no CONFIG_NAME=value lines"):
        configure(tmp_path / "prj")


@pytest.mark.parametrize(
    ("release", "profiles"),
    [
        ("1.6", "2.6"), ("1.14", "2.6"), ("2.0", "2.6"), ("2.4", "2.6"), ("2.5", "2.6"),
        ("2.7", "2.7"), ("3.0", "3.0"), ("3.7", "3.7"), ("4.0", "4.0"), ("4.4", "4.4"),
        ("main", "main"),
    ],
)  # fmt: skip
def test_releases(release, profiles):
    now = configure(release=release)
    assert (now.release, now.profile.release) == (release, profiles)
    assert now.has_sys_heap == (release in {"2.5", "2.7", "3.0", "3.7", "4.0", "4.4", "main"})


@pytest.mark.parametrize("release", ["1.5", "1.15", "2.8", "3.8", "3.99", "4.5", "5.0", "4.-1"])
def test_releases_that_do_not_exist(release):
    with pytest.raises(ValueError, match=f"release {release} is not known: 1.6 to 4.4, or main"):
        configure(release=release)


@pytest.mark.parametrize("release", ["", "4", "4.4.0", "v4.4", "latest"])
def test_releases_that_are_none(release):
    with pytest.raises(ValueError, match=r"is not like '4\.4' or '1\.7'"):
        configure(release=release)


def test_a_release_is_a_text_as_1_10_is_not_1_1():
    with pytest.raises(TypeError, match=r"1\.10 and 1\.1 are one number"):
        configure(release=1.10)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"HEAP_MEM_POOL_SIZE": "many"}, "CONFIG_HEAP_MEM_POOL_SIZE must be a number"),
        ({"HEAP_MEM_POOL_SIZE": -1}, "CONFIG_HEAP_MEM_POOL_SIZE must be a number from 0 on"),
        ({"HEAP_MEM_POOL_ADD_SIZE_WIFI": "n"}, "CONFIG_HEAP_MEM_POOL_ADD_SIZE_WIFI"),
        ({"SYS_HEAP_ALLOC_LOOPS": 0}, "alloc_loops"),
    ],
)
def test_values_that_no_build_can_have_leave_the_board_as_it_was(config, match):
    before = configure({"HEAP_MEM_POOL_SIZE": 512})
    with pytest.raises(ValueError, match=match):
        configure(config)
    assert board() is before


# ---------------------------------------------------------------------- one after the other


def test_two_boards_one_after_the_other():
    configure({"HEAP_MEM_POOL_SIZE": 1024}, release="1.7")
    old = K_HEAP_DEFINE("old", 512)
    first = k_malloc(10)
    memory(first, 3)[:] = b"old"
    k_free(first)
    configure({"HEAP_MEM_POOL_SIZE": 2048, "SYS_HEAP_RUNTIME_STATS": True})
    assert k_heap_array_get() == []
    assert old not in k_heap_array_get()
    second = k_malloc(10)
    assert bytes(memory(second, 3)) == bytes(3)
    assert (first, second) == (0x20000210, 0x20000048)


def test_a_second_board_is_refused_while_blocks_of_the_system_heap_live():
    before = configure({"HEAP_MEM_POOL_SIZE": 1024})
    blocks = [k_malloc(1), k_malloc(1)]
    with pytest.raises(kheap.KheapError, match="2 blocks of the system heap live, and a program"):
        configure({"HEAP_MEM_POOL_SIZE": 1024})
    assert board() is before
    for block in blocks:
        k_free(block)
    assert configure() is not before


def test_blocks_of_other_heaps_do_not_hold_the_board():
    block = k_heap_alloc(K_HEAP_DEFINE("h", 512), 10, K_NO_WAIT)
    assert block is not NULL
    configure()
    with pytest.raises(ValueError, match="the board has no memory there"):
        memory(block, 1)


# ---------------------------------------------------------------------- memory


def test_static_memory_is_zero_and_aligned():
    first, second = static_memory(5), static_memory(100, 64)
    assert (first, second % 64, second >= first + 5) == (0x20000000, 0, True)
    assert bytes(memory(second, 100)) == bytes(100)
    memory(second + 98, 2)[:] = b"ab"
    assert bytes(memory(second + 97, 3)) == b"\0ab"


@pytest.mark.parametrize("align", [0, -8, 3])
def test_static_memory_is_aligned_to_powers_of_two(align):
    with pytest.raises(ValueError, match=f"align {align} is no power of two"):
        static_memory(8, align)


@pytest.mark.parametrize(("before", "size"), [(0, 17), (-1, 1), (8, 9), (16, 1), (0, -1), (17, -2)])
def test_memory_has_bounds(before, size):
    address = static_memory(16) + before
    with pytest.raises(ValueError, match=f"^{size} bytes at {address:#x}: the board has no memory"):
        memory(address, size)


def test_memory_of_no_bytes():
    assert bytes(memory(static_memory(16) + 16, 0)) == b""


@pytest.mark.parametrize("null", [NULL, 0])
def test_there_is_no_memory_at_null(null):
    with pytest.raises(ValueError, match="4 bytes at 0x0: the board has no memory there"):
        memory(null, 4)


def test_any_writable_buffer_is_memory():
    buffer = array("I", [0] * 128)
    heap = sys_heap()
    sys_heap_init(heap, buffer, 512)
    block = sys_heap_alloc(heap, 4)
    memory(block, 4)[:] = b"\1\2\3\4"
    assert 0x04030201 in buffer
    with pytest.raises(BufferError):
        sys_heap_init(sys_heap(), bytes(512), 512)
    with pytest.raises(TypeError):
        sys_heap_init(sys_heap(), NULL, 512)


def test_a_buffer_keeps_its_address():
    buffer = bytearray(1024)
    heap = k_heap()
    k_heap_init(heap, buffer, 1024)
    first = k_heap_alloc(heap, 100, K_NO_WAIT)
    k_heap_init(heap, buffer, 1024)
    assert k_heap_alloc(heap, 100, K_NO_WAIT) == first
    upper = sys_heap()
    sys_heap_init(upper, memoryview(buffer)[512:], 512)
    assert upper.heap.base_address == heap.heap.base_address + 512


def test_more_than_a_buffer_has_is_refused():
    with pytest.raises(ValueError, match="513 bytes at 0x20000000: the board has no memory there"):
        sys_heap_init(sys_heap(), bytearray(512), 513)


def test_threads_may_define_memory_together():
    taken = []

    def define():
        taken.extend(static_memory(24) for _ in range(50))

    threads = [threading.Thread(target=define) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(0x20000000, 0x20000000 + 24 * 200, 24))


# ---------------------------------------------------------------------- threads and the clock


def test_a_thread_has_priority_0_unless_it_was_set():
    assert k_thread_priority_get() == 0
    k_thread_priority_set(-3)
    try:
        assert k_thread_priority_get() == k_thread_priority_get(k_current_get()) == -3
        others = []
        thread = threading.Thread(target=lambda: others.append(k_thread_priority_get()))
        thread.start()
        thread.join()
        assert others == [0]
    finally:
        k_thread_priority_set(k_current_get(), 0)
    assert k_thread_priority_get() == 0


@pytest.mark.parametrize("arguments", [(1, 2), (NULL, 2)])
def test_a_priority_is_set_for_a_thread(arguments):
    with pytest.raises(TypeError, match="a thread and a priority are wanted, or a priority alone"):
        k_thread_priority_set(*arguments)
    with pytest.raises(TypeError, match="a thread and a priority"):
        k_thread_priority_set(k_current_get())
    with pytest.raises(TypeError):
        k_thread_priority_set(1.5)


def test_the_clock_is_the_boards():
    clock = VirtualClock()
    assert configure(clock=clock).clock is clock
    assert configure().clock is not clock
