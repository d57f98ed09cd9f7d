"""Heaps as print_info() prints them: read from text, judged, and made again."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kheap
from helpers.build import real_files
from kheap.dump.console import read_console

BASE = 0x20000400
PROFILES = [
    kheap.Profile(release, bits, header, stats, hardening=hardening)
    for release, hardening in (
        ("3.7", "basic"),
        ("4.3", "basic"),
        ("4.4", "basic"),
        ("4.4", "full"),
    )
    for bits, header in ((32, "small"), (32, "big"), (64, "auto"))
    for stats in (False, True)
]
ESCAPES = "\x1b[1;32muart:~$ \x1b[m\x1b[8D\x1b[J"


@st.composite
def heaps(draw):
    """A heap that has been used for a while."""
    profile = draw(st.sampled_from(PROFILES))
    size = 8 * draw(st.integers(24, 400))
    heap = kheap.SysHeap(size, profile, base_address=BASE)
    live = []
    for kind, number, align in draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(1, 70), st.sampled_from((0, 0, 16, 64))),
            min_size=5,
            max_size=40,
        )
    ):
        if kind < 2 or not live:
            offset = heap.try_alloc(number, align=align)
            live += [offset] if offset is not None else []
        elif kind == 2:
            heap.free(live.pop(number % len(live)))
        else:
            shrunk = live[number % len(live)]
            heap.realloc(shrunk, max(1, heap.usable_bytes(shrunk) - 8))
    return heap


def a_heap(profile=None):
    """One with used, free and undersized chunks."""
    profile = profile or kheap.Profile("4.4", 32, "big", runtime_stats=False)
    heap = kheap.SysHeap(1024, profile, base_address=BASE)
    blocks = [heap.alloc(size) for size in (40, 100, 24, 90, 56, 40)]
    heap.free(blocks[3])
    heap.free(blocks[1])
    heap.realloc(blocks[4], 48)
    return heap


def only_heap(text):
    (heap,) = read_console(text).heaps
    return heap


def opened(heap):
    region = heap.rebuild()
    assert region is not None, heap.obstacle()
    again = kheap.SysHeap.open(bytearray(region), heap.profile(), base_address=heap.address)
    again.check()
    return again


def states(heap):
    return [(c.chunk, c.size_units, c.state, c.left) for c in heap.chunks()]


@pytest.mark.slow
@settings(max_examples=200)
@given(heaps())
def test_print_read_rebuild_print(heap):
    text = heap.print_info(dump_chunks=True)
    printed = only_heap(text)
    assert printed.notes == []
    again = opened(printed)
    assert again.print_info(dump_chunks=True) == text
    assert states(again) == states(heap)
    assert (printed.free_bytes, printed.allocated_bytes) == (
        heap.stats().free_bytes,
        heap.stats().allocated_bytes,
    )


@pytest.mark.slow
@settings(max_examples=60)
@given(heaps())
def test_the_layout_is_never_wrong(heap):
    """What is left open is None; what is told is so, with chunks and without."""
    for dump_chunks in (True, False):
        layout = only_heap(heap.print_info(dump_chunks=dump_chunks)).layout()
        assert heap.profile.release in layout.releases
        facts = {
            "header_bytes": heap.geometry.header_bytes,
            "header": "big" if heap.geometry.big else "small",
            "largest_leaves_header_out": heap.profile.release == "3.7",
            "runtime_stats": heap.profile.runtime_stats,
            "bits": heap.profile.bits,
            "canaries": heap.profile.hardening == "full",
        }
        for name, value in facts.items():
            assert getattr(layout, name) in (None, value), name


@pytest.mark.slow
@settings(max_examples=100)
@given(heaps(), st.data())
def test_any_damage_is_refused_or_gives_a_sound_heap(heap, data):
    lines = heap.print_info(dump_chunks=True).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, len(lines) - 1))
        words = re.findall(r"[0-9]+|[^0-9]+", lines[i]) or [""]
        j = data.draw(st.integers(0, len(words) - 1))
        words[j] = data.draw(st.sampled_from(("", "0", "1", "7", "99999", "[-]", "[*]")))
        lines[i] = "".join(words)
    for printed in read_console("\n".join(lines)).heaps:
        region = printed.rebuild()
        assert (region is None) == (printed.obstacle() is not None)
        if region is not None:
            opened(printed)


@pytest.mark.parametrize(
    "dress",
    [
        lambda line, i: line + "\r",
        lambda line, i: f"[00:00:{i:02d}.318,000] <inf> app: {line}",
        lambda line, i: f"{ESCAPES}{line}\x1b[0m\r",
        lambda line, i: f"12:00:01.{i:03d} -> {line}",
        lambda line, i: f"{line}\n[00:00:03] <wrn> main: {i} chunks at 4 of 5 left\n",
        lambda line, i: re.sub(" +", " ", line),
        lambda line, i: line.replace("0x", ""),
        lambda line, i: f"> {line}",
    ],
    ids=["crlf", "log", "colours", "host time", "between", "no padding", "no 0x", "quoted"],
)
def test_whatever_stands_around_the_lines(dress):
    text = a_heap().print_info(dump_chunks=True)
    dressed = "\n".join(dress(line, i) for i, line in enumerate(text.splitlines()))
    assert opened(only_heap(dressed)).print_info(dump_chunks=True) == text


def test_lines_that_are_there_twice():
    text = a_heap().print_info(dump_chunks=True)
    log = read_console("".join(2 * line for line in text.splitlines(keepends=True)))
    (heap,) = log.heaps
    assert opened(heap).print_info(dump_chunks=True) == text
    assert heap.notes[0] == "line 2: the first line is there already, in line 1"
    assert any("chunk 0 is there already" in note for note in heap.notes)
    assert log.notes == []


def test_records_have_line_numbers():
    text = "\n\n" + a_heap().print_info(dump_chunks=True)
    heap = only_heap(text)
    lines = text.splitlines()
    assert "Heap at" in lines[heap.line - 1]
    for row in heap.buckets:
        assert lines[row.line - 1].split()[0] == str(row.bucket)
    for chunk in heap.chunks:
        assert lines[chunk.line - 1].startswith(f"chunk {chunk.id:4d}:")
    assert "overhead" in lines[heap.last.line - 1]


def test_without_a_chunk_dump():
    heap = only_heap(a_heap().print_info())
    assert heap.chunks is None
    assert heap.holes == []
    assert heap.obstacle() == "no chunk dump was printed"
    assert heap.notes == []


def test_several_heaps():
    first, second = a_heap(), kheap.SysHeap(512, base_address=0x30000000)
    texts = [heap.print_info(dump_chunks=True) for heap in (first, second)]
    found = read_console("".join(texts)).heaps
    assert [heap.address for heap in found] == [BASE, 0x30000000]
    assert [opened(heap).print_info(dump_chunks=True) for heap in found] == texts


def without(text, *ids):
    names = tuple(f"chunk {c:4d}:" for c in ids)
    return "".join(line for line in text.splitlines(True) if not line.startswith(names))


def test_missing_chunks_are_holes():
    text = a_heap().print_info(dump_chunks=True)
    ids = [chunk.id for chunk in only_heap(text).chunks]
    n = ids[-1]
    cases = {
        (ids[0],): [(0, ids[1])],
        (ids[2], ids[3]): [(ids[2], ids[4])],
        (ids[1], ids[3]): [(ids[1], ids[2]), (ids[3], ids[4])],
        (n,): [(n, n + 1)],
        (ids[-2], n): [(ids[-2], n + 1)],
        tuple(ids): [(0, n + 1)],
    }
    for missing, holes in cases.items():
        heap = only_heap(without(text, *missing))
        assert heap.holes == holes
        assert heap.rebuild() is None
        first, behind = holes[0]
        assert f"no chunk at units {first} to {behind - 1}" in heap.notes[0]
        assert f"no chunks at units {first} to {behind - 1}" in heap.obstacle()


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        ("size=14  ", "size=15", "ends at 27, not at 26"),
        ("size=14  ", "size=15", "chunk 26 lies within chunk 12 of 15 units"),
        ("left=26", "left=27", "has chunk 27 at its left, not chunk 26"),
        ("left=26", "left=-300", "has chunk -300 at its left"),
        ("right=43", "right=44", "ends at 43, not at 44"),
        (r"(chunk +57:.*)right=127", r"\1right=128", "ends at 127, not at 128"),
        ("size=70  ", "size=99", "does not end within the heap"),
        (r"\[-\](.*right=127)", r"[*]\1", "the chunks have 200 free bytes, not 752"),
        (r"\[\*\](.*right=57)", r"[-]\1", "chunks 50 and 51 are both free"),
        (r"(chunk +\d+: )\[.\]( size=0)", r"\1[-]\2", "the end marker"),
        (r"(chunk +0: )\[.\]", r"\1[-]", "chunk 0 should be used"),
        ("right=26\n", "right=26\nchunk 27: [*] size=1 left=20 right=28\n", "within"),
    ],
)
def test_chunks_that_do_not_agree(pattern, replacement, reason):
    text = a_heap().print_info(dump_chunks=True)
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text
    heap = only_heap(changed)
    (note,) = [note for note in heap.notes if reason in note]
    number = int(re.match(r"line (\d+): ", note)[1])
    assert re.match("chunk|.*overhead", changed.splitlines()[number - 1])


def test_a_dump_that_does_not_agree_is_not_made_again():
    text = a_heap().print_info(dump_chunks=True)
    changed = text.replace("left=26", "left=27")
    assert only_heap(changed).obstacle() == (
        f"line {only_heap(text).chunks[4].line}: chunk 30 has chunk 27 at its left, not chunk 26"
    )
    assert only_heap(changed).rebuild() is None


@pytest.mark.parametrize(
    ("chunk", "changed", "reason"),
    [
        ("chunk   50: [.]", "chunk   50: [*]", "no chunk of 1 units is marked *"),
        ("chunk   50: [.]", "chunk   50: [-]", "no chunk of 1 units is marked -"),
        ("chunk   12: [-]", "chunk   12: [.]", "no chunk of 14 units is marked ."),
        ("chunk    6: [*] size=6    left=0 ", "", "no layout has a chunk 0 of 12 units"),
    ],
)
def test_chunks_that_no_layout_has(chunk, changed, reason):
    text = a_heap().print_info(dump_chunks=True)
    if not changed:  # Chunk 0 takes the place of the chunk beside it.
        text = without(text, 6).replace("size=6    left=0    right=6", "size=12 left=0 right=12")
        text = text.replace("left=6 ", "left=0 ")
    heap = only_heap(text.replace(chunk, changed))
    assert heap.obstacle().endswith(f": {reason}")
    assert heap.rebuild() is None


def test_a_whole_dump_of_a_heap_too_small_to_be_one():
    heap = only_heap(
        "Heap at 0x100 contains 2 units in 1 buckets\nChunk dump:\n"
        "chunk 0: [*] size=1 left=0 right=1\nchunk 1: [-] size=1 left=0 right=2\n"
        "chunk 2: [*] size=0 left=1 right=2\n"
    )
    assert heap.obstacle() == "no heap has 2 units"


def test_a_chunk_behind_the_end():
    text = a_heap().print_info(dump_chunks=True)
    foreign = "chunk  128: [*] size=0    left=57   right=128\n"
    heap = only_heap(text.replace("chunk  127:", f"{foreign}chunk  127:"))
    assert any("chunk 128 would lie behind the end" in note for note in heap.notes)
    assert opened(heap).print_info(dump_chunks=True) == text


def test_a_chunk_printed_twice_with_other_numbers():
    text = a_heap().print_info(dump_chunks=True)
    heap = only_heap(re.sub("(chunk +6: .*\n)", r"\1chunk    6: [-] size=1 left=0 right=7\n", text))
    assert any("with other numbers, which are left out" in note for note in heap.notes)
    assert opened(heap).print_info(dump_chunks=True) == text


def test_the_last_line_is_missing():
    text = a_heap().print_info(dump_chunks=True)
    for after, reason in (
        ("", "the log ends"),
        ("*** Booting Zephyr OS build v4.4.0 ***\n", "the device boots"),
        ("Heap at 0x0 contains 20 units in 5 buckets\n", "another printout begins"),
    ):
        heap = read_console(text.rpartition("\n\n")[0] + "\n" + after).heaps[0]
        assert (heap.free_bytes, heap.allocated_bytes, heap.overhead_bytes) == (None,) * 3
        assert f"{reason} before the last line of the printout" in heap.notes[0]
        assert opened(heap).print_info(dump_chunks=True) == text


def test_the_first_line_is_missing():
    text = a_heap().print_info(dump_chunks=True).partition("\n")[2]
    log = read_console(text)
    assert log.heaps == []
    (note,) = log.notes
    assert "part of a printout whose first line is missing" in note


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ((r"(\d+) free bytes", "1 free bytes"), "the chunks have"),
        ((r"overhead = \d+", "overhead = 1"), "the bytes are"),
        ((r"in \d+ buckets", "in 3 buckets"), "units would have"),
        ((r"\n +\d+ +\d+ +\d+ +\d+ +\d+\n", "\n"), "the table has"),
        ((r"(\d+)\n\nChunk dump", r"8\n\nChunk dump"), "bytes, not 8"),
    ],
)
def test_numbers_that_do_not_agree_are_noted(damage, reason):
    heap = only_heap(re.sub(*damage, a_heap().print_info(dump_chunks=True), count=1))
    assert any(reason in note for note in heap.notes), heap.notes
    opened(heap)


#: Printed by real boards, from public pages: units, header, largest chunk, the last line.
PUBLIC = [
    (2047, 4, (9, 512, 1, 554, 4428), 5, (5468, 9692, 1220), [(0, 1, 5, 1, 4), (3, 8, 1, 9, 68),
     (4, 16, 1, 25, 196), (6, 64, 1, 95, 756)]),
    (2047, 4, (10, 1024, 1, 1550, 12396), 2, (12408, 3560, 412), [(1, 2, 1, 2, 12)]),
    (42841, 8, (15, 32769, 1, 42831, 342640), 1, (342640, 0, 96), []),
]  # fmt: skip


@pytest.mark.parametrize(("units", "header", "largest", "count", "last", "rows"), PUBLIC)
def test_what_public_printouts_tell(units, header, largest, count, last, rows):
    table = "\n".join(" ".join(map(str, row)) for row in [*rows, largest])
    head = f"Heap at 0x20001838 contains {units} units in {11 if header == 4 else 16} buckets"
    tail = "{} free bytes, {} allocated bytes, overhead = {} bytes (1.0%)".format(*last)
    heap = only_heap(f"{head}\n{table}\n\n{tail}\n")
    assert heap.notes == []
    assert len(heap.buckets) == count
    layout = heap.layout()
    assert (layout.header_bytes, layout.largest_leaves_header_out) == (header, True)
    assert (layout.releases[0], layout.releases[-1]) == ("2.6", "4.1")
    # Nothing is allocated in the big one, so that the size of its chunk 0 is known.
    assert layout.runtime_stats is (None if header == 4 else False)
    assert heap.profile() == kheap.Profile("3.7", 32, layout.header, runtime_stats=False)


def test_the_banner_names_the_release():
    heap = kheap.SysHeap(512, kheap.Profile("3.7", 32, "small"), base_address=BASE)
    text = heap.print_info(dump_chunks=True)
    for where in ("{banner}{text}", "{text}{banner}"):
        log = where.format(banner="*** Booting Zephyr OS build zephyr-v3.5.0 ***\n", text=text)
        assert only_heap(log).profile() == replace(heap.profile, release="3.5")
    later = only_heap("*** Booting Zephyr OS build v4.3.0 ***\n" + text)
    assert later.profile().release == "3.7"
    assert later.notes == ["line 2: the banner says 4.3, the numbers are those of 3.0 to 4.1"]


def test_each_heap_has_the_release_that_booted_before_it():
    texts = []
    for release in ("3.7", "4.0"):
        heap = kheap.SysHeap(512, kheap.Profile(release, 32, "small"), base_address=BASE)
        texts.append(f"*** Booting Zephyr OS build v{release}.0 ***\n{heap.print_info()}")
    assert [heap.release for heap in read_console("".join(texts)).heaps] == ["3.7", "4.0"]


def test_an_address_of_64_bits():
    profile = kheap.Profile("4.4", 64, runtime_stats=False)
    text = kheap.SysHeap(512, profile, base_address=0x4_0000_0000).print_info(dump_chunks=True)
    assert only_heap(text).profile().bits == 64
    assert only_heap(text.replace("0x400000000", "0x40000000")).profile().bits == 32


def test_canaries_are_computed():
    heap = a_heap(kheap.Profile("4.4", 32, "small", hardening="full"))
    printed = only_heap(heap.print_info(dump_chunks=True))
    region = bytearray(printed.rebuild())
    used = next(c for c in heap.chunks() if c.state == "used")
    region[used.offset + used.chunk_bytes - 1] ^= 1
    again = kheap.SysHeap.open(region, printed.profile(), base_address=BASE)
    with pytest.raises(kheap.HeapCorruption) as caught:
        again.check()
    assert (caught.value.chunk, caught.value.invariant) == (used.chunk, "I10")


def test_blocks_are_zero_and_the_heap_works():
    heap = a_heap(kheap.Profile("4.4", 32, "small"))
    again = opened(only_heap(heap.print_info(dump_chunks=True)))
    for chunk in again.chunks():
        if chunk.state == "used":
            assert not any(again.view(chunk.offset + 4))
    assert again.stats().max_allocated_bytes == again.stats().allocated_bytes
    again.alloc(80)
    again.check()


def test_an_undersized_chunk_right_behind_the_control_block():
    profile = kheap.Profile("4.4", 32, "big", runtime_stats=False)
    heap = kheap.SysHeap(512, profile, base_address=BASE + 16)
    first = next(c for c in heap.chunks() if c.state == "free").offset + BASE + 16
    heap.alloc(16, align=16 if first % 16 == 0 else 8 | 16)
    text = heap.print_info(dump_chunks=True)
    assert re.search(r"\[\.\] size=1 ", text)
    assert opened(only_heap(text)).print_info(dump_chunks=True) == text


def huge(units):
    return (
        f"Heap at 0x20000000 contains {units} units in 31 buckets\n"
        f"Chunk dump:\nchunk 0: [*] size=18 left=0 right=18\n"
        f"chunk 18: [-] size={units - 18} left=0 right={units}\n"
        f"chunk {units}: [*] size=0 left=18 right={units}\n"
    )


def test_a_few_lines_do_not_make_a_huge_region():
    heap = only_heap(huge(2**31 - 1))
    assert heap.rebuild() is None
    assert heap.obstacle() == "the heap has more than 256 MiB"


@pytest.mark.parametrize("units", [0, 1, 2, 2**31, 9999999999])
def test_no_heap_has_so_many_units(units):
    log = read_console(f"Heap at 0x20000000 contains {units} units in 1 buckets\n")
    notes = log.notes + [note for heap in log.heaps for note in heap.notes]
    assert any("units" in note for note in notes)
    for heap in log.heaps:
        assert heap.rebuild() is None
        assert heap.profile() == kheap.Profile(bits=32)
        assert heap.layout().releases == ()


def test_no_heap_starts_there():
    heap = only_heap(a_heap().print_info(dump_chunks=True).replace("0x20000400", "0x20000404"))
    assert heap.obstacle() == "no heap starts at 0x20000404"
    assert any("no multiple of 8" in note for note in heap.notes)


# ---------------------------------------------------------------------- real ones


@pytest.mark.parametrize("path", real_files("console_logs", pattern="print_info_ram_*.txt"))
def test_real_printouts_round_trip(path):
    text = path.read_text()
    heap = only_heap(text)
    assert heap.notes == []
    assert heap.profile() == kheap.Profile("4.3", 32, "small")
    assert opened(heap).print_info(dump_chunks=True) + "\n" == text


@pytest.mark.parametrize("path", real_files("console_logs", pattern="print_info_samples.txt"))
def test_real_printouts_of_public_pages(path):
    found = read_console(path.read_text()).heaps
    assert [heap.layout().header_bytes for heap in found] == [4, 4, 8, 4]
    assert [heap.free_bytes for heap in found] == [5468, 12408, 342640, None]
    assert [heap.notes for heap in found[:3]] == [[], [], []]
    assert states(opened(found[3])) == [
        (0, 4, "control", 0),
        (4, 1, "free", 0),
        (5, 0, "end", 4),
    ]


@pytest.mark.parametrize("path", real_files("real", "coredump", pattern="lvgl_arm.uart.txt"))
def test_a_real_printout_and_the_memory_of_the_same_moment(path):
    import json

    text = path.read_bytes().decode()
    facts = json.loads(path.with_name("lvgl_arm.ram.json").read_text())
    known = facts["z_heap_fields_by_gdb"]["lvgl_heap"]
    ram = path.with_name("lvgl_arm.ram.bin").read_bytes()
    heap = only_heap(text)
    assert heap.address == known["z_heap"]
    again = opened(heap)
    stats = again.stats()
    assert stats.free_bytes == known["free_bytes"] == 25180
    assert stats.allocated_bytes == known["allocated_bytes"] == 6748
    start = known["z_heap"] - facts["ram_start"]
    region = bytearray(ram[start : start + len(heap.rebuild())])
    real = kheap.SysHeap.open(region, heap.profile(), base_address=heap.address)
    real.check()
    assert states(again) == states(real)
    lines = text.replace("\r\n", "\n").splitlines(keepends=True)
    printed = "".join(lines[heap.line - 1 : heap.last.line])
    assert again.print_info(dump_chunks=True) == printed == real.print_info(dump_chunks=True)
