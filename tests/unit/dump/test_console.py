"""Console logs: lines, banners, totals, heaptrace, and what one log may ask for."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kheap
from helpers.build import real_files
from kheap.dump.console import HeapGrowth, HeapResize, KernelHeap, ThreadUse, read_console

SHELL = "uart:~$ kernel heap\nfree:           12\nallocated:      50904\nmax. allocated: 50907\n"


def test_nothing_in_it():
    for text in ("", "\n", "hello\r\n\0\ud800\u2028heap\n"):
        log = read_console(text)
        assert (log.heaps, log.totals, log.faults, log.notes) == ([], [], [], [])
        assert (log.heaptrace, log.release) == (None, None)


# ---------------------------------------------------------------------- totals


@pytest.mark.parametrize(
    "dress",
    [
        lambda line: line,
        lambda line: line + "\r",
        lambda line: f"\x1b[8D\x1b[J[00:00:01.000] {line}\x1b[m",
        lambda line: f"uart:~$ {line}\n[00:00:01] <inf> app: free: none",
    ],
)
def test_kernel_heap(dress):
    log = read_console("\n".join(map(dress, SHELL.splitlines())))
    (total,) = log.totals
    assert total == KernelHeap(total.line, 12, 50904, 50907)


def test_each_answer_of_kernel_heap_counts():
    second = SHELL.replace("12", "21068")
    assert [t.free_bytes for t in read_console(SHELL + second).totals] == [12, 21068]
    assert [t.line for t in read_console(SHELL + second).totals] == [2, 6]


@pytest.mark.parametrize(
    "text",
    [
        SHELL.replace("max. ", ""),
        SHELL.replace("free:           12\n", ""),
        SHELL.replace("allocated:      50904\n", ""),
        SHELL.replace("allocated:      50904\n", "\n" * 9 + "allocated:      50904\n"),
        SHELL.replace("50907", "50907 KiB"),
    ],
)
def test_an_answer_with_lines_missing_is_none(text):
    assert read_console(text).totals == []


def test_the_sample_of_heaps():
    log = read_console(
        "allocated 0, free 196, max allocated 0, heap size 256\n"
        "There are 2 heaps allocated:\n"
        "\t0 - address 0x20000118 allocated 156, free 36, max allocated 156, heap size 256\n"
        "\t1 - address 20000218 allocated 100, free 36, max allocated 100\n"
    )
    assert log.totals == [
        KernelHeap(1, 196, 0, 0, None, 256),
        KernelHeap(3, 36, 156, 156, 0x20000118, 256),
        KernelHeap(4, 36, 100, 100, 0x20000218, None),
    ]


# ---------------------------------------------------------------------- banners


@pytest.mark.parametrize(
    ("banner", "release"),
    [
        ("*** Booting Zephyr OS build v3.6.0-5736-gd78a9429450f ***", "3.6"),
        ("*** Booting Zephyr OS build zephyr-v3.5.0 ***", "3.5"),
        ("*** Booting Zephyr OS build v4.3.0-7319-g77c8e204882a ***\r", "4.3"),
        ("***** Booting Zephyr OS v2.7.1 *****", "2.7"),
        ("*** Booting Zephyr OS version 2.4.99  ***", "2.6"),
        ("*** Booting Zephyr OS build v4.5.0 ***", "main"),
        ("*** Booting Zephyr OS build 5f2c3e0 ***", None),
        ("*** Booting nRF Connect SDK v2.6.1 ***\n*** Using Zephyr OS v3.5.99-ncs1 ***", "3.5"),
        ("Zephyr version 3.5.0", "3.5"),
        ("built with Zephyr SDK 0.16.5", None),
    ],
)
def test_release(banner, release):
    assert read_console(f"noise\n[00:00:00] {banner}\nnoise").release == release


def test_the_last_banner_counts():
    log = read_console(
        "*** Booting Zephyr OS build v3.6.0 ***\n\n*** Booting Zephyr OS build v4.4.0 ***\n"
    )
    assert log.release == "4.4"


def test_dropped_messages_are_noted():
    log = read_console("ok\n--- 5 messages dropped ---\n")
    assert log.notes == ["line 2: the device dropped 5 messages here"]


# ---------------------------------------------------------------------- heaptrace


def block(address, time, thread="main", size=24):
    return (
        f"[heaptrace] ptr={address:#x} size={size} heap=sys_heap alloc_tid=0x20000400"
        f" alloc_thread={thread} alloc_cpu=0 alloc_ms={time}\n"
    )


def test_outstanding_blocks():
    log = read_console(
        "uart:~$ heaptrace dump all\n"
        + block(0x20001000, 17, "rx thread 1")
        + "[heaptrace]   backtrace: 0x08000123 0x8000456\n"
        + "[00:00:01] <inf> app: between\n"
        + block(0x20001020, 18, size=8)
        + "[heaptrace] outstanding_blocks=2 outstanding_bytes=32\r\n"
    )
    first, second = log.heaptrace.blocks
    assert (first.line, first.address, first.size_bytes, first.heap) == (
        2, 0x20001000, 24, "sys_heap",
    )  # fmt: skip
    assert (first.thread, first.tid, first.cpu, first.time_ms) == (
        "rx thread 1", 0x20000400, 0, 17,
    )  # fmt: skip
    assert first.backtrace == (0x08000123, 0x8000456)
    assert (second.thread, second.backtrace) == ("main", ())
    assert (log.heaptrace.outstanding_blocks, log.heaptrace.outstanding_bytes) == (2, 32)
    assert log.heaptrace.notes == []


@pytest.mark.parametrize("asked", ["", "uart:~$ heaptrace dump all\n"])
def test_the_last_dump_counts(asked):
    total = "[heaptrace] outstanding_blocks={} outstanding_bytes=24\n"
    log = read_console(
        block(0x1000, 1) + block(0x2000, 2) + total.format(2)
        + asked + block(0x1000, 1) + total.format(1)
    )  # fmt: skip
    assert [b.address for b in log.heaptrace.blocks] == [0x1000]
    assert log.heaptrace.notes == []


def test_missing_blocks_are_noted():
    log = read_console(block(0x1000, 1) + "[heaptrace] outstanding_blocks=3 outstanding_bytes=72\n")
    (note,) = log.heaptrace.notes
    assert note.startswith("line 2: 3 blocks are outstanding, 1 are listed")


def test_summaries_growth_and_resizes():
    log = read_console(
        "[heaptrace-summary] thread=rx q tid=0x20000400 blocks=3 bytes=120\n"
        "[heaptrace] heap=libc heap_id=0x0 start=0x20002000 end=0x20003000 growth=+512 max=1\n"
        "[heaptrace-resize] heap=libc old_end=0x20002e00 new_end=0x20003000 delta=+512 tid=0x1"
        " thread=main cpu=0 ms=77\n"
        "[heaptrace-resize] heap=libc old_end=0x20003000 new_end=0x20002e00 delta=-512 ms=80\n"
    )
    trace = log.heaptrace
    assert trace.threads == [ThreadUse(1, "rx q", 0x20000400, 3, 120)]
    assert trace.heaps == [HeapGrowth(2, "libc", 0, 0x20002000, 0x20003000, 512)]
    assert trace.resizes == [
        HeapResize(3, "libc", 0x20002E00, 0x20003000, 512, "main", 77),
        HeapResize(4, "libc", 0x20003000, 0x20002E00, -512, "", 80),
    ]


def test_use_by_thread():
    log = read_console(
        "[00:00:01] <inf> heap:   thread 0x20000400 (main (1)): 4096 bytes allocated\n"
        "  pre-scheduler boot:  128 bytes\n"
        "  overflow (untracked threads): 8 bytes\n"
    )
    assert log.heaptrace.threads == [
        ThreadUse(1, "main (1)", 0x20000400, None, 4096),
        ThreadUse(2, "pre-scheduler boot", None, None, 128),
        ThreadUse(3, "overflow (untracked threads)", None, None, 8),
    ]


def test_what_heaptrace_did_not_say_whole():
    log = read_console(
        "[heaptrace] ptr=0x1000 size=\n"
        "[heaptrace] ptr=what size=3\n"
        "[heaptrace-summary] thread=main\n"
        "[heaptrace] ptr=0x1000 size=12 alloc_ms=soon alloc_cpu=-\n"
        "[heaptrace] something new=1\n"
        "heaptrace: enabled\n"
    )
    assert log.heaptrace.notes == [
        "line 1: a block without address or size",
        "line 2: a block without address or size",
        "line 3: a summary without bytes",
    ]
    (only,) = log.heaptrace.blocks
    assert (only.address, only.size_bytes, only.time_ms, only.cpu) == (0x1000, 12, None, None)


# ---------------------------------------------------------------------- lines and limits


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
def test_line_ends(end):
    text = ("one\ntwo\n" + SHELL).replace("\n", end)
    (total,) = read_console(text).totals
    assert total.line == 4


def test_a_line_is_looked_at_up_to_its_4096th_character():
    fault = "heap validation failed"
    assert len(read_console("x" * (4096 - len(fault)) + fault).faults) == 1
    assert read_console("x" * (4097 - len(fault)) + fault).faults == []


def test_notes_are_limited():
    heap = kheap.SysHeap(4096, kheap.Profile(bits=32), base_address=0x20000000)
    blocks = [heap.alloc(8) for _ in range(120)]
    for one in blocks[::2]:
        heap.free(one)
    text = heap.print_info(dump_chunks=True).replace("left=", "left=9")
    (printed,) = read_console(text).heaps
    assert len(printed.notes) == 21
    assert printed.notes[-1].startswith("and ")
    assert printed.notes[-1].endswith(" more of the like")


@pytest.mark.slow
def test_too_many_records():
    head = "Heap at 0x20000000 contains 1 units in 1 buckets\n"
    other = head.replace("0x2", "0x3")
    with pytest.raises(kheap.DumpError) as caught:
        read_console((head + other) * 32768 + head, "board.log")
    assert str(caught.value) == (
        "board.log:65537: expected at most 1,048,576 records of heaps, found more"
    )


@pytest.mark.slow
def test_too_long_a_text():
    with pytest.raises(kheap.DumpError) as caught:
        read_console(" " * ((1 << 28) + 1))
    assert str(caught.value) == (
        "console text: expected at most 268,435,456 characters, found 268,435,457"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "1" + " " * 2000 + "1 1 1 " + " " * 2000 + "x",
        "1 " * 2000 + "x",
        "9" * 4000,
        "ASSERTION FAIL [" * 250,
        "heap.c " + "@ /heap/" * 500,
        "[heaptrace] " + "a= " * 1000,
        "bytes thread 1 (" * 250,
        "chunk 1: [*] size=1 left= " * 150,
        "allocated 1, free " * 220,
    ],
)
def test_no_line_takes_long(line):
    """Each is read some hundred times; a pattern that tries again and again would not end."""
    text = "Heap at 0x20000000 contains 4095 units in 12 buckets\n" + (line + "\n") * 300
    log = read_console(text)
    assert len(log.heaps) == 1
    assert (log.faults, log.totals) == ([], [])


PIECES = (
    "Heap at ", "0x20000400", " contains 127 units in 7 buckets", "3 9 2 14 112", "Chunk dump:",
    "chunk    6: [*] size=6    left=0    right=12", "left=", "752 free bytes, 152 allocated bytes,",
    " overhead = 120 bytes", "free: 1", "allocated: 1", "max. allocated: 1", "[heaptrace]",
    "[heaptrace-summary]", "[heaptrace-resize]", " ptr=0x10", " size=1", " growth=+5", " bytes=3",
    " outstanding_blocks=1", "  backtrace: 0x1", "heap corruption (double free?)", " at 0x10",
    "ASSERTION FAIL [x] @ heap.c:1", "*** Booting Zephyr OS build v4.4.0 ***", "\x1b[0m", "\r",
    "thread 0x1 (main): 5 bytes allocated", "pre-scheduler boot: 1", "99999999999", "-", " ",
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.sampled_from((*PIECES, "\n", "\n", "\n", "\n")), max_size=60))
def test_any_text_can_be_read(pieces):
    text = "".join(pieces)
    log = read_console(text)
    lines = text.count("\n") + text.count("\r") + 1
    for found in (*log.heaps, *log.totals, *log.faults):
        assert 1 <= found.line <= lines
    for heap in log.heaps:
        assert (heap.rebuild() is None) == (heap.obstacle() is not None)


def test_the_records_can_be_written_as_json():
    heap = kheap.SysHeap(512, kheap.Profile(bits=32), base_address=0x20000000)
    text = heap.print_info(dump_chunks=True) + SHELL + block(0x1000, 1) + "heap validation failed"
    record = json.loads(json.dumps(dataclasses.asdict(read_console(text))))
    assert record["heaps"][0]["end_chunk"] == 63
    assert record["faults"][0]["kind"] == "validation"


# ---------------------------------------------------------------------- real ones


@pytest.mark.parametrize("path", real_files("console_logs", pattern="kernel_heap_shell.txt"))
def test_real_answers_of_kernel_heap(path):
    log = read_console(path.read_text())
    assert log.release == "3.6"
    assert log.totals == [KernelHeap(4, 12, 50904, 50904), KernelHeap(8, 21068, 80892, 83400)]


@pytest.mark.parametrize("path", real_files("console_logs", pattern="qemu_stress_console.log"))
def test_a_real_console_without_heaps(path):
    log = read_console(path.read_bytes().decode())
    assert (log.release, log.heaps, log.totals, log.faults) == ("4.3", [], [], [])
    assert log.notes == []


@pytest.mark.parametrize("path", real_files("real", "coredump", pattern="*.uart.txt"))
def test_a_real_console_with_a_core_dump(path):
    log = read_console(path.read_bytes().decode())
    assert log.release == "3.5"
    assert log.faults == []
    assert log.heaptrace is None
    is_lvgl = path.name.startswith("lvgl")
    assert log.totals == ([KernelHeap(7, 4020, 0, 0)] if is_lvgl else [])
    assert [heap.notes for heap in log.heaps] == ([[]] if is_lvgl else [])
