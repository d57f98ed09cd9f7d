"""The page of a dump: a report of one moment, whose columns are the heaps' own."""

from __future__ import annotations

import pytest

import kheap
from helpers.ram import RAM, Ram
from kheap.dump.inspection import inspect
from kheap.report.dump_model import dump_report
from kheap.report.html import html_page

HEAP, OBJECT, SIZE = RAM + 0x400, RAM + 0x40, 1024


def target(**profile):
    ram = Ram()
    heap = ram.heap("pool", HEAP, SIZE, at=OBJECT, **profile).heap
    for block in [heap.alloc(40) for _ in range(8)][1::2]:
        heap.free(block)
    return ram


@pytest.fixture
def model(tmp_path):
    def model(ram, count=None, name=None):
        path = tmp_path / "ram.bin"
        path.write_bytes(bytes(ram.bytes[:count]))
        return dump_report(inspect(kheap.open_dump(path, base=RAM), name))

    return model


def blocks_of(heap):
    blocks = heap.timeline.blocks
    return list(zip(blocks.chunk, blocks.units, strict=True))


def test_a_sound_heap(model):
    ram = target()
    report = model(ram)
    (heap,) = report.heaps
    assert (heap.timeline.is_moment, heap.timeline.name) == (True, "heap@0x20000400")
    used = [(c.chunk, c.size_units) for c in ram.heaps[0].heap.chunks() if c.state == "used"]
    assert blocks_of(heap) == used
    stats = ram.heaps[0].heap.stats()
    line = heap.timeline
    assert line.final == stats
    assert [*line.allocated_bytes, *line.free_bytes, *line.largest_free_bytes] == [
        stats.allocated_bytes,
        stats.free_bytes,
        stats.largest_free_bytes,
    ]
    assert heap.corruption is None
    assert report.source_format == "raw"
    assert report.caller_word == "owner"
    assert report.block_count == len(used)


def test_offsets_are_those_of_the_blocks(model):
    (heap,) = model(target()).heaps
    blocks = heap.timeline.blocks
    assert [*blocks.offset] == [8 * c + 4 for c in blocks.chunk]


def test_owners_are_names(model):
    ram = target()
    used = [c for c in ram.heaps[0].heap.chunks() if c.state == "used"]
    for c, text in zip(used, (b"one text\0", b"two texts\0", b"one text\0"), strict=False):
        ram.write(HEAP + c.offset + 4, text)
    report = model(ram)
    (heap,) = report.heaps
    callers = [report.callers[i] if i >= 0 else None for i in heap.timeline.blocks.caller]
    assert callers == ['"one text"', '"two texts"', '"one text"', None]
    assert len(report.callers) == len(set(report.callers)) == 2


def test_names_are_shared_by_all_heaps(model):
    ram = target()
    other = ram.heap("other", RAM + 0x1000, 512)
    ram.write(other.alloc(40), b"one text\0")
    ram.write(
        HEAP + next(c for c in ram.heaps[0].heap.chunks() if c.chunk).offset + 4, b"one text\0"
    )
    report = model(ram)
    assert report.callers == ['"one text"']
    assert [heap.timeline.blocks.caller[0] for heap in report.heaps] == [0, 0]


def test_what_is_damaged_is_drawn(model):
    """By its state, with the reason beside it."""
    ram = target()
    ram.write(HEAP + 8 * 18, b"\xe1\xe2\xe3\xe4" * 15)
    report = model(ram)
    (heap,) = report.heaps
    assert {"damaged", "unread"} & set(report.callers)
    drawn = {c: report.callers[i] for (c, _), i in zip(
        blocks_of(heap), heap.timeline.blocks.caller, strict=True) if i >= 0}  # fmt: skip
    assert drawn[18] in ("damaged", "unread")
    assert heap.corruption.startswith(f"chunk 18 (0x12) at {HEAP + 144:#x}: ")
    assert "; likely " in heap.corruption


def test_what_is_not_known_is_drawn(model):
    report = model(target(), 0x400 + 512)
    (heap,) = report.heaps
    assert report.callers[-1] == "unread"
    last = blocks_of(heap)[-1]
    assert sum(last) == heap.timeline.heap.n
    assert any("holds only 512" in note for note in report.notes)


def test_notes_name_their_heaps(model):
    ram = target()
    queue, thread = OBJECT + 12, RAM + 0x200
    ram.put(queue, thread, thread)
    ram.put(thread, queue, queue)
    report = model(ram)
    assert "heap@0x20000400: 0x20000200 waits for memory" in report.notes
    assert all(note.startswith("heap@0x20000400: ") for note in report.notes)


def test_no_heap(model):
    report = model(Ram())
    assert (report.heaps, report.callers, report.notes) == ([], [], [])
    assert "<!doctype html>" in html_page(report)


@pytest.mark.parametrize("damage", [b"", b"\xe1\xe2\xe3\xe4" * 40])
def test_the_page(model, damage):
    """Whole, with the columns of each heap, and no way out of it."""
    ram = target(runtime_stats=True)
    ram.heap("other", RAM + 0x1000, 512)
    ram.write(HEAP + 8 * 18, damage)
    page = html_page(model(ram))
    assert page.startswith("<!doctype html>")
    assert page.count('id="columns-') == 2
    assert ("<dt>corrupt</dt>" in page) == bool(damage)
    assert "heap@0x20000400" in page and "heap@0x20001000" in page
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page


def test_names_cannot_leave_their_place(model):
    """A block may hold markup."""
    ram = target()
    used = [c for c in ram.heaps[0].heap.chunks() if c.state == "used"]
    ram.write(HEAP + used[0].offset + 4, b"</script><img src=x>\0")
    report = model(ram)
    assert report.callers == ['"</script><img src=x>"']
    assert "<img src=x>" not in html_page(report)
