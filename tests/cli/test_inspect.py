"""``kheap inspect`` as a user meets it: text, JSON, page, exit codes, one line for bad input."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random

import pytest

import kheap
from helpers import damage
from helpers.elf_maker import Section, Symbol, make_elf
from kheap.cli import main
from property.broken import name_of

DUMPS = Path(__file__).parents[2] / "examples" / "dumps"
SOUND, BROKEN = str(DUMPS / "gateway.bin"), str(DUMPS / "gateway-overflow.bin")
ELF = str(DUMPS / "gateway.elf")
BASE = 0x20000100

#: The names of the Contract, for a heap and for a chunk.
HEAP_NAMES = {
    "name", "address", "size_bytes", "profile", "free_bytes", "allocated_bytes",
    "max_allocated_bytes", "largest_free_bytes", "chunks", "waiters", "corruption",
}  # fmt: skip
CHUNK_NAMES = {"address", "state", "bytes", "owner"}


@pytest.fixture
def run(capsys):
    def call(*arguments):
        try:
            code = main(["inspect", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def heap(tmp_path):
    """A heap, and a function that writes it to a file."""
    heap = kheap.SysHeap(1024, kheap.Profile(bits=32), BASE)
    heap.free([heap.alloc(40 + 8 * i) for i in range(6)][2])
    return heap


def saved(heap, tmp_path, before=b""):
    path = tmp_path / "ram.bin"
    path.write_bytes(before + bytes(heap.region))
    return path


def test_a_sound_heap(run, heap, tmp_path):
    code, out, err = run(saved(heap, tmp_path), "--base", hex(BASE))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    stats = heap.stats()
    assert f"heap          heap@{BASE:#x}: 1,024 bytes (1 KiB) at {BASE:#x}" in lines
    assert any(line.startswith("state         sound; at most") for line in lines)
    assert any(f"{stats.allocated_bytes:,} bytes allocated in 5 chunks" in line for line in lines)


def test_json_has_the_names_of_the_contract(run, heap, tmp_path):
    code, out, _ = run(saved(heap, tmp_path), "--base", hex(BASE), "--json")
    (found,) = json.loads(out)["heaps"]
    assert code == 0 and set(found) >= HEAP_NAMES
    stats = heap.stats()
    for name in ("free_bytes", "allocated_bytes", "max_allocated_bytes", "largest_free_bytes"):
        assert found[name] == getattr(stats, name)
    assert all(set(chunk) == CHUNK_NAMES for chunk in found["chunks"])
    assert [(c["address"], c["state"], c["bytes"]) for c in found["chunks"]] == [
        (BASE + c.offset, c.state, c.chunk_bytes) for c in heap.chunks()
    ]
    assert found["corruption"] is None and found["waiters"] == []


def test_the_program_names_heaps_owners_and_waiters(run):
    code, out, _ = run(SOUND, "--elf", ELF, "--json")
    heaps = {heap["name"]: heap for heap in json.loads(out)["heaps"]}
    assert code == 0 and "packet_heap" in heaps
    packets = heaps["packet_heap"]
    assert [waiter["name"] for waiter in packets["waiters"]] == ["uplink"]
    assert "sensor_api" in {chunk["owner"] for chunk in packets["chunks"]}


def test_one_heap_by_name_and_by_address(run):
    by_name = json.loads(run(SOUND, "--elf", ELF, "--heap", "packet_heap", "--json")[1])["heaps"]
    assert [heap["name"] for heap in by_name] == ["packet_heap"]
    address = hex(by_name[0]["address"])
    assert json.loads(run(SOUND, "--elf", ELF, "--heap", address, "--json")[1])["heaps"] == by_name


def test_a_corrupt_heap_is_answered_with_1(run):
    code, out, _ = run(BROKEN, "--elf", ELF, "--heap", "packet_heap")
    assert code == 1
    assert "corrupt       chunk 48 (0x30)" in out and "overflow: the block at" in out
    found = json.loads(run(BROKEN, "--elf", ELF, "--heap", "packet_heap", "--json")[1])["heaps"][0]
    assert found["corruption"]["chunk"] == 48
    assert found["corruption"]["culprit"]["kind"] == "overflow"


@pytest.mark.parametrize(("request_", "code"), [("100", 0), ("2K", 1), ("600:64", 1)])
def test_whether_a_request_would_fit(run, heap, tmp_path, request_, code):
    path = saved(heap, tmp_path)
    answer, out, _ = run(path, "--base", hex(BASE), "--would-fit", request_)
    size, _, align = request_.partition(":")
    asked = kheap.units.parse_bytes(size)
    verdict = heap.why(asked, align=int(align or 0))
    assert answer == code == (verdict != "fits")
    assert verdict.explanation in out
    found = json.loads(run(path, "--base", hex(BASE), "--would-fit", request_, "--json")[1])
    assert found["heaps"][0]["would_fit"] is (verdict == "fits")


def test_every_chunk_and_the_bytes(run, heap, tmp_path):
    heap.view(next(iter(heap.chunks())).offset + heap.hdr + 8 * heap.c0)[:5] = b"hello"
    path = saved(heap, tmp_path)
    code, out, _ = run(path, "--base", hex(BASE), "--chunks", "--hexdump", f"{BASE:#x}:128")
    assert code == 0
    rows = [line for line in out.splitlines() if " used " in line and "0x" in line]
    assert sum(" used " in row for row in rows) >= 5
    assert "|" in out and "hello" in out and "-- chunk 0, control" in out


def test_a_map_in_ascii(run, heap, tmp_path):
    code, out, _ = run(saved(heap, tmp_path), "--base", hex(BASE), "--ascii")
    assert code == 0 and out.isascii()


@pytest.mark.parametrize(("dump", "word"), [(SOUND, "0"), (BROKEN, "corrupt")])
def test_a_page(run, tmp_path, dump, word):
    page = tmp_path / "page.html"
    run(dump, "--elf", ELF, "-o", page)
    text = page.read_text(encoding="utf-8")
    assert 'id="columns-0"' in text and "packet_heap" in text
    assert ("<dt>corrupt</dt>" in text) is (word == "corrupt")


def test_a_heap_that_is_only_partly_there(run, heap, tmp_path):
    elf = make_elf(
        tmp_path / "zephyr.elf",
        config={"SYS_HEAP_RUNTIME_STATS": 1, "SYS_HEAP_SMALL_ONLY": 1},
        sections=[Section("k_heap_area", BASE - 0x40, bytes(20)), Section(".noinit", BASE, 1024)],
        symbols=[
            Symbol("_k_heap_list_start", BASE - 0x40, 0, "other"),
            Symbol("_k_heap_list_end", BASE - 0x40 + 20, 0, "other"),
            Symbol("part", BASE - 0x40, 20, "object"),
            Symbol("kheap_part", BASE, 1024, "object"),
        ],
    )
    path = tmp_path / "part.bin"
    path.write_bytes(bytes(heap.region[:512]))
    code, out, _ = run(path, "--base", hex(BASE), "--elf", elf)
    assert code == 0
    assert "part: 1,024 bytes" in out and "the dump holds only 512 of its 1,024 bytes" in out


def test_several_heaps_and_a_console_log(run, heap, tmp_path):
    log = tmp_path / "console.log"
    log.write_text(f"uart:~$ heap\n{heap.print_info(dump_chunks=True)}\nuart:~$ \n")
    code, out, _ = run(log, "--json")
    (found,) = json.loads(out)["heaps"]
    assert code == 0 and found["address"] == BASE and "rebuilt" in found["found"]
    assert found["free_bytes"] == heap.stats().free_bytes
    assert len(json.loads(run(SOUND, "--json")[1])["heaps"]) >= 2


def test_no_heap_is_answered_with_1(run, tmp_path):
    path = tmp_path / "zeros.bin"
    path.write_bytes(bytes(4096))
    code, out, _ = run(path, "--base", "0x20000000")
    assert code == 1 and "none found" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.bin"], "missing.bin: No such file"),
        ([ELF], "an ELF program, not a dump"),
        ([SOUND, "--heap", "other"], "no heap is called 'other'"),
        ([SOUND, "--hexdump", "0x10"], "holds no memory at 0x10"),
        ([SOUND, "--hexdump", "there"], "not an address: 'there'"),
        ([SOUND, "--profile", "bits=33"], "bits must be one of 32, 64"),
        ([SOUND, "--would-fit", "many"], "not a size: 'many'"),
        ([SOUND, "--elf", SOUND], "not a readable"),
        ([SOUND, "--elf", "missing.elf"], "missing.elf: No such file"),
        ([SOUND, "--profile", "size=3"], "'size=3' is not one of release, bits"),
        ([SOUND, "--would-fit", "-1"], "not a size: '-1'"),
        ([SOUND, "--would-fit", "64:7"], "align 7 is no power of two"),
        ([SOUND, "--hexdump", "0x10", "--json"], "holds no memory at 0x10"),
        ([SOUND, "--hexdump", "0x20000000:0"], "from 1 to 1,048,576 can be"),
        ([SOUND, "--hexdump", "0x20000000:2M"], "from 1 to 1,048,576 can be"),
        ([str(DUMPS)], "Is a directory"),
        ([SOUND, "-o", "nowhere/page.html"], "nowhere/page.html: No such file"),
        (["--base", "-1", str(DUMPS / "gateway.elf")], "an ELF program, not a dump"),
        ([], "the following arguments are required: DUMP"),
        (["--base", "x", SOUND], "not an address: 'x'"),
    ],
)
def test_bad_input_gets_one_line(run, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1


def test_an_empty_file_gets_one_line(run, tmp_path):
    path = tmp_path / "empty.bin"
    path.write_bytes(b"")
    code, _, err = run(path)
    assert code == 2 and "empty" in err and err.count("\n") == 1


# ---------------------------------------------------------------------- profiles


def test_a_profile_need_not_be_told_whole(run, heap, tmp_path):
    """What is left open is as the bytes say."""
    path = saved(heap, tmp_path)
    code, out, _ = run(path, "--base", hex(BASE), "--profile", "alloc_loops=7", "--json")
    (found,) = json.loads(out)["heaps"]
    assert (code, found["profile"]["alloc_loops"], found["profile"]["bits"]) == (0, 7, 32)
    code, out, _ = run(path, "--base", hex(BASE), "--profile", "header=small", "--json")
    assert (code, json.loads(out)["heaps"][0]["profile"]["header"]) == (0, "small")


def test_a_profile_goes_before_what_the_program_says(run, tmp_path):
    heap = kheap.SysHeap(1024, kheap.Profile(bits=32, runtime_stats=False), BASE)
    path, elf = saved(heap, tmp_path), program(tmp_path, {"SYS_HEAP_ALLOC_LOOPS": 5})
    options = [path, "--base", hex(BASE), "--elf", elf, "--json"]
    (found,) = json.loads(run(*options, "--profile", "release=3.5")[1])["heaps"]
    told = found["profile"]
    assert (told["release"], told["bits"], told["alloc_loops"]) == ("3.5", 32, 5)
    (found,) = json.loads(run(*options)[1])["heaps"]
    assert (found["profile"]["release"], found["profile"]["alloc_loops"]) == ("4.4", 5)


def test_a_profile_that_the_heap_cannot_have(run, heap, tmp_path):
    path = saved(heap, tmp_path)
    code, out, err = run(path, "--base", hex(BASE), "--profile", "hardening=full,release=3.5")
    assert (code, out) == (2, "")
    assert "canaries came with 4.4" in err


def program(tmp_path, config=None, *, symbols=(), sections=None):
    """The program of one k_heap called "part", whose region is 1,024 bytes."""
    own = [Section("k_heap_area", BASE - 0x40, bytes(20)), Section(".noinit", BASE, 1024)]
    return make_elf(
        tmp_path / "zephyr.elf",
        config=config or {"SYS_HEAP_RUNTIME_STATS": 1},
        sections=own if sections is None else sections,
        symbols=[
            Symbol("_k_heap_list_start", BASE - 0x40, 0, "other"),
            Symbol("_k_heap_list_end", BASE - 0x40 + 20, 0, "other"),
            Symbol("part", BASE - 0x40, 20),
            Symbol("kheap_part", BASE, 1024),
            *symbols,
        ],
    )


# ---------------------------------------------------------------------- what is asked for


def test_what_would_fit_is_not_told_of_a_part(run, heap, tmp_path):
    path = tmp_path / "part.bin"
    path.write_bytes(bytes(heap.region[:512]))
    options = [path, "--base", hex(BASE), "--elf", program(tmp_path), "--would-fit", "8"]
    code, out, _ = run(*options)
    assert code == 1
    assert "would fit     part: cannot be told: the dump holds only a part of it" in out


def test_what_would_fit_is_not_told_of_a_corrupt_heap(run, heap, tmp_path):
    region = bytearray(heap.region)
    at = next(c.offset for c in heap.chunks() if c.state == "free")
    region[at : at + 4] = b"\xe1\xe2\xe3\xe4"
    path = tmp_path / "ram.bin"
    path.write_bytes(region)
    code, out, _ = run(path, "--base", hex(BASE), "--would-fit", "8")
    assert code == 1
    assert "cannot be told: heap corruption" in out
    (found,) = json.loads(run(path, "--base", hex(BASE), "--would-fit", "8", "--json")[1])["heaps"]
    assert found["would_fit"] is False


def test_one_of_several_heaps_that_serves_is_enough(run, tmp_path):
    full = kheap.SysHeap(512, kheap.Profile(bits=32), BASE)
    while full.try_alloc(16):
        pass
    other = kheap.SysHeap(512, kheap.Profile(bits=32), BASE + 512)
    path = tmp_path / "ram.bin"
    path.write_bytes(bytes(full.region) + bytes(other.region))
    code, out, _ = run(path, "--base", hex(BASE), "--would-fit", "100", "--json")
    assert code == 0
    assert [each["would_fit"] for each in json.loads(out)["heaps"]] == [False, True]
    assert run(path, "--base", hex(BASE), "--would-fit", "100", "--heap", hex(BASE))[0] == 1


def test_a_hexdump_of_a_few_bytes(run, heap, tmp_path):
    path, chunk = saved(heap, tmp_path), list(heap.chunks())[2]
    at = BASE + chunk.offset
    out = run(path, "--base", hex(BASE), "--hexdump", f"{at:#x}:4")[1]
    assert f"-- chunk {chunk.chunk}, used, {8 * chunk.size_units} bytes" in out
    out = run(path, "--base", hex(BASE), "--hexdump", f"{BASE + 1000:#x}")[1]
    assert out.splitlines()[-1].startswith(f"{BASE + 1008:08x}"), "memory ends there"


def test_addresses_of_64_bits(run, tmp_path):
    base = 0xFFFF_8000_0000_1000
    heap = kheap.SysHeap(1024, kheap.Profile(), base)
    heap.free([heap.alloc(40) for _ in range(4)][1])
    path, page = saved(heap, tmp_path), tmp_path / "page.html"
    options = ["--chunks", "--hexdump", f"{base:#x}:32", "--would-fit", "8", "-o", page]
    code, out, err = run(path, "--base", hex(base), *options)
    assert (code, err) == (0, "")
    assert f"heap@{base:#x}" in out and page.exists()
    (found,) = json.loads(run(path, "--base", hex(base), "--json")[1])["heaps"]
    assert found["address"] == base


def test_nothing_is_cut_where_it_is_piped(run, tmp_path):
    """Names may be longer than a line."""
    heap = kheap.SysHeap(1024, kheap.Profile(bits=32), BASE)
    path = tmp_path / ("long" * 40)
    path.write_bytes(bytes(heap.region))
    assert run(path, "--base", hex(BASE))[1].splitlines()[0].startswith(f"dump          {path} (")


# ---------------------------------------------------------------------- containers


def core_dump(*blocks):
    head = struct.pack("<2sHHBBI", b"ZE", 1, 3, 5, 0, 4) + b"A\x02\x00\x04\x00regs"
    rows = (struct.pack("<cHII", b"M", 1, at, at + len(data)) + data for at, data in blocks)
    return head + b"".join(rows)


def test_a_core_dump(run, heap, tmp_path):
    path = tmp_path / "core.bin"
    path.write_bytes(core_dump((BASE, bytes(heap.region))))
    code, out, _ = run(path)
    assert code == 0
    assert "coredump, version 1, target ARM Cortex-M, reason 4" in out
    answer = json.loads(run(path, "--json")[1])
    assert (answer["format"], answer["machine"]) == ("coredump", "arm")


def test_a_dump_of_one_thread_says_which_option_would_help(run, tmp_path):
    path = tmp_path / "core.bin"
    path.write_bytes(core_dump((BASE, bytes(180)), (BASE + 0x1000, bytes(1024))))
    code, out, _ = run(path)
    assert code == 1
    assert "CONFIG_DEBUG_COREDUMP_MEMORY_DUMP_LINKER_RAM does" in out
    answer = json.loads(run(path, "--json")[1])
    assert answer["heaps"] == []
    assert "MEMORY_DUMP_LINKER_RAM" in answer["notes"][-1]


def test_parts_of_one_memory(run, heap, tmp_path):
    halves = []
    for i, name in enumerate("ab"):
        halves.append(tmp_path / name)
        halves[i].write_bytes(bytes(heap.region[512 * i : 512 * i + 512]))
    code, out, _ = run(f"{halves[0]}@{BASE:#x}", f"{halves[1]}@{BASE + 512:#x}", "--json")
    (found,) = json.loads(out)["heaps"]
    assert (code, found["held_bytes"]) == (0, 1024)


def test_a_log_of_faults(run, tmp_path):
    """Nothing in it steers the terminal."""
    path = tmp_path / "console.log"
    path.write_text("\x1b]0;gone\x07heap corruption (double free?) at 0x20000100\n")
    code, out, _ = run(path)
    assert code == 1
    assert "heap corruption (double free?) at 0x20000100" in out
    assert all(character.isprintable() or character == "\n" for character in out)


@pytest.mark.parametrize(
    ("symbols", "sections"),
    [
        ([Symbol("stack_of_radio", BASE + 1000, 64)], None),
        ([], [Section("k_heap_area", BASE - 0x40, bytes(20)), Section(".noinit", BASE, 1024),
              Section("stack_of_radio", BASE + 1000, 64)]),
    ],
)  # fmt: skip
def test_what_lies_in_the_range_of_a_heap_is_reported(run, heap, tmp_path, symbols, sections):
    elf = program(tmp_path, symbols=symbols, sections=sections)
    path = saved(heap, tmp_path)
    out = run(path, "--base", hex(BASE), "--elf", elf)[1]
    assert f"its range {BASE:#x} to {BASE + 1024:#x} overlaps stack_of_radio: a fault of" in out
    assert "overlaps" not in run(path, "--base", hex(BASE), "--elf", program(tmp_path))[1]


# ---------------------------------------------------------------------- anything


@pytest.mark.slow
@pytest.mark.parametrize("profile", damage.PROFILES, ids=name_of)
def test_whatever_is_damaged_all_is_answered(run, tmp_path, profile, scale):
    """With every option; 1 for what is corrupt, and never anything on standard error."""
    random = Random(name_of(profile))
    page, path = tmp_path / "page.html", tmp_path / "ram.bin"
    options = [
        "--base",
        hex(damage.BASE),
        "--would-fit",
        "64:16",
        "--chunks",
        "--owners",
        "-o",
        page,
    ]
    for _ in range(max(2, round(20 * scale))):
        heap = damage.used_heap(profile, random, 1024)
        region, fields = bytearray(heap.region), list(damage.fields(heap))
        for field in random.sample(fields, random.choice((1, 3, 9))):
            field.damage(region, random)
        path.write_bytes(region)
        for more in ([], ["--json"]):
            code, out, err = run(path, *options, *more)
            assert (code in (0, 1), err) == (True, "")
            assert "!" in out or more or code == 0 or "none found" in out
            found = json.loads(out)["heaps"] if more else []
            assert all(each["free_bytes"] >= 0 <= each["allocated_bytes"] for each in found)


def test_what_a_console_log_says_besides(run, tmp_path):
    log = tmp_path / "console.log"
    log.write_text(
        "uart:~$ heaptrace dump all\n"
        "[heaptrace] ptr=0x20001000 size=64 heap=sys_heap alloc_tid=0x20000100"
        " alloc_thread=main alloc_cpu=0 alloc_ms=12\n"
        "[heaptrace] outstanding_blocks=1 outstanding_bytes=64\n"
        "uart:~$ kernel heap\nfree:           12\nallocated:      50904\nmax. allocated: 50904\n"
        "heap canary: double free at 0x20001000\n"
    )
    _, out, _ = run(log)
    assert "heaptrace     1 blocks outstanding, 64 bytes" in out
    assert "kernel heap   line 5: 12 bytes free, 50,904 allocated, at most 50,904" in out
    assert "message       line 8: heap canary: double free at 0x20001000" in out
    said = json.loads(run(log, "--json")[1])["console"]
    assert [block["thread"] for block in said["heaptrace"]] == ["main"]
    assert said["totals"][0]["allocated_bytes"] == 50904
    assert "freed before" in said["messages"][0]["explanation"]
