"""The text of ``kheap inspect``, line by line."""

from __future__ import annotations

import pytest

import kheap
from helpers.ram import RAM, Ram
from kheap.dump.inspection import inspect
from kheap.report.inspect_text import (
    MOST_ROWS,
    chunk_lines,
    hexdump_lines,
    inspect_lines,
    verdict_lines,
)

HEAP, OBJECT, SIZE = RAM + 0x400, RAM + 0x40, 1024


def target(sizes=(40,) * 8, **profile):
    """RAM with a k_heap, of whose blocks every second one is free."""
    ram = Ram()
    heap = ram.heap("pool", HEAP, SIZE, at=OBJECT, **profile).heap
    blocks = [heap.alloc(size) for size in sizes]
    for block in blocks[1::2]:
        heap.free(block)
    return ram


@pytest.fixture
def look(tmp_path):
    """What is found in RAM, or in so many bytes of it."""

    def look(ram, count=None, name=None, **options):
        path = tmp_path / "ram.bin"
        path.write_bytes(bytes(ram.bytes[:count]))
        return inspect(kheap.open_dump(path, base=RAM), name, **options)

    return look


def text(found, **options):
    return [str(line) for line in inspect_lines(found, **options)]


def labels(lines, label):
    """The words behind a label."""
    return [line[14:] for line in lines if line[:14].rstrip() == label]


def test_a_sound_heap(look):
    found = look(target(runtime_stats=True))
    lines = text(found)
    path = found.dump.path
    assert lines[:4] == [
        f"dump          {path} (raw, 16,384 bytes (16 KiB) of memory)",
        "",
        f"heap          heap@0x20000400: 1,024 bytes (1 KiB) at 0x20000400 (k_heap at {OBJECT:#x})",
        "found         found by scanning: the control block, all 4 used and 4 free chunks and the"
        f" statistics agree; a k_heap at {OBJECT:#x} points to it",
    ]
    assert labels(lines, "profile") == [
        "Zephyr 4.4, 32 bit, auto headers, runtime statistics on, ALLOC_LOOPS 3, hardening basic"
    ]
    assert labels(lines, "state") == ["sound; at most 352 bytes were allocated at once"]
    assert labels(lines, "now") == [
        "176 bytes allocated in 4 chunks, 752 free in 4, largest 620, overhead 92"
    ]
    assert labels(lines, "by chunk size") == ["           blocks       bytes"]
    assert "              48 bytes        4         192" in lines
    assert labels(lines, "corrupt") == labels(lines, "unread") == []


def test_no_statistics_no_maximum(look):
    assert labels(text(look(target())), "state") == ["sound"]


def test_no_heap(look):
    lines = text(look(Ram()))
    assert lines[1:] == ["heaps         none found"]


def test_the_map(look):
    lines = text(look(target()))
    start = next(i for i, line in enumerate(lines) if line.startswith("map"))
    rows = [line[14:] for line in lines[start : start + 3]]
    assert rows[0].startswith("█" * 12 + "······██████")
    assert rows[2].startswith("█ used  ░▒▓ partly  · free; one character is 8")
    assert all(line.isascii() for line in text(look(target()), ascii_only=True))


def test_several_heaps(look):
    ram = target()
    ram.heap("other", RAM + 0x1000, 512, at=RAM + 0x100)
    lines = text(look(ram))
    assert [words.split(":")[0] for words in labels(lines, "heap")] == [
        "heap@0x20000400",
        "heap@0x20001000",
    ]
    assert lines.count("") == 2
    one = text(look(ram, name="heap@0x20001000"))
    assert [words.split(":")[0] for words in labels(one, "heap")] == ["heap@0x20001000"]


def test_tables_are_short(look):
    """The rest is summed up in one row; those with most bytes go first."""
    ram = target(sizes=[size for i in range(10) for size in (8 * i + 8, 8)])
    lines = text(look(ram, owners=False))
    start = lines.index("by chunk size            blocks       bytes") + 1
    rows = [line.split() for line in lines[start : start + MOST_ROWS + 1]]
    assert [row[0] for row in rows[:3]] == ["88", "80", "72"]
    assert rows[-1] == ["2", "more", "2", "40"]
    total = sum(int(row[-1]) for row in rows)
    assert total == sum(8 * c.size_units for c in ram.heaps[0].heap.chunks() if c.state == "used")


def test_owners_that_all_differ_are_no_table(look):
    found = look(target())
    assert found.heaps[0].groups
    assert labels(text(found), "by owner") == []


def test_owners(look):
    ram = target()
    for c in ram.heaps[0].heap.chunks():
        if c.state == "used":
            ram.write(HEAP + c.offset + 4, b"same text\0")
    lines = text(look(ram))
    assert labels(lines, "by owner")
    assert any(line.split()[-2:] == ["4", "192"] and "same text" in line for line in lines)


# ---------------------------------------------------------------------- corrupt and partial


def test_a_corrupt_heap(look):
    ram = target()
    ram.write(HEAP + 8 * 18, b"\xe1\xe2\xe3\xe4")
    lines = text(look(ram))
    assert labels(lines, "state") == ["corrupt; the numbers are of what can be read"]
    (corrupt,) = labels(lines, "corrupt")
    assert corrupt.startswith(f"chunk 18 (0x12) at {HEAP + 144:#x}: header does not hold (I1")
    (likely,) = labels(lines, "likely")
    assert likely.split(":")[0] in ("overflow", "use after free")
    arrow = next(i for i, line in enumerate(lines) if line.endswith("^^ here"))
    column = lines[arrow].index("^^")
    assert lines[arrow - 1][column : column + 11] == "e1 e2 e3 e4"
    assert any("-- chunk 18, damaged" in line for line in lines)
    assert any("!" in line for line in lines[lines.index(corrupt_map(lines)) :][:4])
    assert any("! corrupt" in line for line in lines)


def corrupt_map(lines):
    return next(line for line in lines if line.startswith("map"))


def test_stretches_that_cannot_be_read(look):
    ram = target(sizes=(8,) * 60)
    for c in list(ram.heaps[0].heap.chunks())[4:58:6]:
        ram.write(HEAP + c.offset, b"\xe1\xe2\xe3\xe4" * 5)
    found = look(ram)
    unread = found.heaps[0].image.corruption.unread
    lines = text(found)
    assert len(unread) > MOST_ROWS
    assert len(labels(lines, "unread")) == MOST_ROWS
    assert f"{'':14}{len(unread) - MOST_ROWS} more such stretches" in lines


def test_a_heap_that_is_partly_there(tmp_path):
    """What is not known is not drawn as free."""
    ram = target()
    path = tmp_path / "ram.bin"
    path.write_bytes(bytes(ram.bytes[: 0x400 + 512]))
    finder_found = inspect(kheap.open_dump(path, base=RAM))
    lines = text(finder_found)
    assert labels(lines, "state") == ["sound"]
    assert any("the dump holds only 512 of its 1,024 bytes" in line for line in lines)
    rows = "".join(line[14:] for line in lines if set(line[14:]) <= set("█·?") and line[14:])
    assert rows.endswith("?" * 63)
    assert "!" not in rows
    assert any("? not known" in line for line in lines)


# ---------------------------------------------------------------------- what is asked for


def test_every_chunk(look):
    found = look(target())
    (heap,) = found.heaps
    head, *rows = chunk_lines(heap)
    assert head.split() == ["chunk", "address", "state", "bytes", "owner"]
    chunks = list(heap.image.heap.chunks())
    assert [row.split()[:4] for row in rows] == [
        [str(c.chunk), hex(HEAP + c.offset), c.state, f"{8 * c.size_units:,}"] for c in chunks
    ]
    assert not any(row.endswith(" ") for row in rows)


def test_verdicts(look):
    (heap,) = look(target()).heaps
    verdict = heap.image.heap.why(100)
    (line,) = verdict_lines(heap.image, verdict)
    assert str(line) == f"would fit     heap@0x20000400: {verdict.explanation}"
    (line,) = verdict_lines(heap.image, "cannot be told: why")
    assert str(line) == "would fit     heap@0x20000400: cannot be told: why"


def test_a_hexdump_names_the_chunks_in_it(look):
    (heap,) = look(target()).heaps
    data = bytes(heap.image.heap.region[:64])
    lines = list(hexdump_lines([heap.image], HEAP, data))
    chunks = [c for c in heap.image.heap.chunks() if c.offset < 64]
    assert [line.strip() for line in lines if "--" in line] == [
        f"-- chunk {c.chunk}, {c.state}, {8 * c.size_units} bytes" for c in chunks
    ]


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8, 9])
def test_a_chunk_that_begins_at_the_first_of_few_bytes(look, count):
    (heap,) = look(target()).heaps
    chunk = list(heap.image.heap.chunks())[2]
    address = HEAP + chunk.offset
    data = bytes(heap.image.heap.region[chunk.offset :][:count])
    marks = [line for line in hexdump_lines([heap.image], address, data) if "--" in line]
    assert [mark.split(",")[0].strip() for mark in marks] == [f"-- chunk {chunk.chunk}"]


def test_a_hexdump_beside_heaps_has_no_chunks(look):
    (heap,) = look(target()).heaps
    for address in (RAM, HEAP - 16, HEAP + SIZE):
        lines = list(hexdump_lines([heap.image], address, bytes(16)))
        assert len(lines) == 1
    around = list(hexdump_lines([heap.image], HEAP - 16, bytes(32)))
    assert sum("--" in line for line in around) == 1


# ---------------------------------------------------------------------- console logs


def test_what_a_log_says_besides(tmp_path):
    heap = kheap.SysHeap(SIZE, kheap.Profile(bits=32, runtime_stats=False), HEAP)
    log = tmp_path / "console.log"
    log.write_text(
        "free:           12\nallocated:      50904\nmax. allocated: 50907\n"
        f"{heap.print_info()}\nheap canary: corruption at 0x20000100\n"
    )
    lines = text(inspect(kheap.open_dump(log)))
    assert labels(lines, "heaps") == ["none found"]
    assert labels(lines, "kernel heap") == [
        "line 3: 12 bytes free, 50,904 allocated, at most 50,907"
    ] or labels(lines, "kernel heap") == ["line 1: 12 bytes free, 50,904 allocated, at most 50,907"]
    (printed,) = labels(lines, "printed")
    stats = heap.stats()
    assert printed.endswith(
        f"heap at {HEAP:#x}, {heap.n} units, {stats.free_bytes:,} bytes free, 0 allocated"
    )
    (message,) = labels(lines, "message")
    assert "heap canary: corruption at 0x20000100" in message


def test_a_printout_without_its_last_line(tmp_path):
    heap = kheap.SysHeap(SIZE, kheap.Profile(bits=32, runtime_stats=False), HEAP)
    log = tmp_path / "console.log"
    log.write_text("\n".join(heap.print_info().splitlines()[:-2]) + "\n")
    (printed,) = labels(text(inspect(kheap.open_dump(log))), "printed")
    assert printed.endswith(f"{heap.n} units, its last line is missing")
