"""``kheap inspect`` as a user meets it: text, JSON, page, exit codes, one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kheap
from helpers.elf_maker import Section, Symbol, make_elf
from kheap.cli import main

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
