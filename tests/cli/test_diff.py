"""``kheap diff`` as a user meets it: text, JSON, exit codes, and one line for bad input."""

import json
from pathlib import Path

import pytest

from helpers import build
from helpers.elf_maker import Section, Symbol, make_elf
from helpers.ram import RAM, Ram
from kheap.cli import main

SCHEMA = Path(__file__).parents[2] / "docs/reference/schemas/diff.json"
OBJECT, VARIABLES, HEAP = RAM + 0x100, RAM + 0x200, RAM + 0x1000


def run(capsys, *arguments):
    try:
        code = main(["diff", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Dumps:
    """A program whose list grows by two nodes, and that loses three blocks."""

    def __init__(self, folder):
        ram = Ram()
        heap = ram.heap("my_heap", HEAP, 0x800, at=OBJECT)
        self.before, self.after, self.later = (folder / f"{n}.bin" for n in ("one", "two", "three"))
        nodes = [heap.alloc(20) for _ in range(2)]
        ram.put(VARIABLES, nodes[0])
        ram.put(nodes[0], nodes[1])
        passing = heap.alloc(300)
        ram.put(VARIABLES + 4, passing)
        self.before.write_bytes(ram.bytes)
        nodes += [heap.alloc(20) for _ in range(2)]
        ram.put(nodes[1], nodes[2])
        ram.put(nodes[2], nodes[3])
        self.lost = [heap.k_malloc(60), heap.k_malloc(60), heap.k_malloc(12)]
        ram.write(self.lost[2], b"eth0\0")
        self.after.write_bytes(ram.bytes)
        heap.free(passing)
        self.later.write_bytes(ram.bytes)
        self.elf = make_elf(
            folder / "zephyr.elf",
            symbols=[
                Symbol("my_heap", OBJECT, 20),
                Symbol("_k_heap_list_start", OBJECT, kind="other"),
                Symbol("_k_heap_list_end", OBJECT + 20, kind="other"),
                Symbol("g_list", VARIABLES, 4),
                Symbol("g_buffer", VARIABLES + 4, 4),
            ],
            sections=[Section("bss", RAM, 0x4000)],
        )


@pytest.fixture
def dumps(tmp_path):
    return Dumps(tmp_path)


def test_growth_and_leaks(capsys, dumps):
    code, out, err = run(capsys, dumps.before, dumps.after, "--base", hex(RAM), "--elf", dumps.elf)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[:2] == [f"before        {dumps.before}", f"after         {dumps.after}"]
    assert lines[lines.index("") :] == [
        "",
        "heap          my_heap: 2,048 bytes (2 KiB) at 0x20001000",
        "before        3 blocks in 352 bytes of chunks, 1,636 free, largest 1,636",
        "after         8 blocks in 568 bytes of chunks, 1,420 free, largest 1,420;"
        " nothing points to 3 (168 bytes of chunks)",
        "change        +216 bytes: 5 blocks appeared (216), 0 went (0), 3 stayed (352)",
        "by size           before  after  change  bytes",
        "              72       0      2      +2   +144",
        "              24       2      5      +3    +72",
        "by owner                  before  after  change  bytes",
        "              k_malloc         0      2      +2   +144",
        "              via g_list       1      3      +2    +48",
        '              "eth0"           0      1      +1    +24',
        "by signature             before  after  change  bytes",
        "              not known       3      7      +4   +192",
        '              "eth0"          0      1      +1    +24',
        "suspects      3 blocks appeared that nothing points to: 168 bytes of chunks",
        f"              {dumps.lost[0] - 4:#x}, 72 bytes, k_malloc from my_heap",
        f"              {dumps.lost[1] - 4:#x}, 72 bytes, k_malloc from my_heap",
        f'              {dumps.lost[2] - 4:#x}, 24 bytes, k_malloc from my_heap, "eth0"',
        "",
        "answer        1 heap grew by 216 bytes, 3 leak suspects",
    ]


def test_the_rows_that_are_shown(capsys, dumps):
    _, out, _ = run(capsys, dumps.before, dumps.after, "--base", hex(RAM), "--most", "1")
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("by size"))
    assert lines[at + 1 : at + 3] == [
        "                  72       0      2      +2   +144",
        "              1 more       2      5      +3    +72",
    ]
    assert "              2 more; --most 3 shows all" in lines
    _, out, _ = run(capsys, dumps.before, dumps.after, "--base", hex(RAM), "--most", "3")
    assert " more" not in out
    _, out, _ = run(capsys, dumps.before, dumps.after, "--base", hex(RAM), "--most", "2")
    assert out.count(" more") == 2  # an owner, and a suspect


def test_a_heap_that_shrank(capsys, dumps):
    code, out, _ = run(capsys, dumps.after, dumps.later, "--base", hex(RAM))
    assert code == 0
    assert "change        -304 bytes: 0 blocks appeared (0), 1 went (304), 7 stayed (264)" in out
    assert out.endswith("\nanswer        no heap grew\n")
    assert "suspects" not in out


def test_a_shrinking_heap_with_a_leak(capsys, dumps):
    code, out, _ = run(capsys, dumps.before, dumps.later, "--base", hex(RAM))
    assert code == 1
    assert out.endswith("\nanswer        3 leak suspects\n")


def test_a_corrupt_heap(capsys, dumps):
    content = bytearray(dumps.later.read_bytes())
    content[dumps.lost[0] - RAM : dumps.lost[0] - RAM + 80] = b"overflow" * 10
    dumps.later.write_bytes(content)
    code, out, _ = run(capsys, dumps.after, dumps.later, "--base", hex(RAM))
    assert code == 1
    assert "\n              corrupt: " in out
    assert out.endswith("1 corrupt heap\n")
    code, out, _ = run(capsys, dumps.later, dumps.after, "--base", hex(RAM), "--elf", dumps.elf)
    assert code == 1
    assert out.endswith("1 heap corrupt before\n")


def test_an_image_without_an_address(capsys, dumps):
    code, out, _ = run(capsys, dumps.after, dumps.later)
    assert code == 0
    assert "note          what holds the blocks is not known: nobody told the address" in out
    assert out.endswith("answer        no heap grew; leak suspects are not known, see the note\n")


def test_heaps_in_one_dump_only_and_a_heap_that_moved(capsys, tmp_path):
    paths = []
    for name, second, address in (("one", "early", HEAP), ("two", "late", HEAP + 0x400)):
        ram = Ram()
        ram.heap("my_heap", address, 0x400, at=OBJECT).alloc(20)
        at = RAM + (0x2000 if second == "early" else 0x3000)
        ram.heap(second, at, 0x400, at=OBJECT + 20)
        image = tmp_path / f"{name}.bin"
        image.write_bytes(ram.bytes)
        paths.append(image)
    code, out, _ = run(capsys, *paths, "--base", hex(RAM), "--heap", f"heap@{HEAP:#x}")
    assert code == 2  # Without the program, they have no names but their addresses.
    elf = make_elf(
        tmp_path / "zephyr.elf",
        symbols=[
            Symbol("my_heap", OBJECT, 20),
            Symbol("_k_heap_list_start", OBJECT, kind="other"),
            Symbol("_k_heap_list_end", OBJECT + 20, kind="other"),
        ],
        sections=[Section("bss", RAM, 0x4000)],
    )
    code, out, _ = run(capsys, *paths, "--base", hex(RAM), "--elf", elf)
    lines = out.splitlines()
    place = "1,024 bytes (1 KiB) at"
    assert f"heap          my_heap: {place} 0x20001400, before {place} 0x20001000" in lines
    nothing = "0 blocks in 0 bytes of chunks, 964 free, largest 964"
    assert f"only before   heap@0x20002000: {place} 0x20002000, {nothing}" in lines
    assert f"only after    heap@0x20003000: {place} 0x20003000, {nothing}" in lines


def test_json(capsys, dumps):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    options = ("--base", hex(RAM), "--elf", dumps.elf, "--json", "--most", "1")
    code, out, _ = run(capsys, dumps.before, dumps.after, *options)
    found = json.loads(out)
    validator.validate(found)
    assert (code, found["clean"]) == (1, False)
    (heap,) = found["heaps"]
    assert heap["name"] == "my_heap"
    assert (heap["change_bytes"], heap["stayed_count"]) == (216, 3)
    assert [len(heap[key]) for key in ("appeared", "went", "suspects", "by_size")] == [5, 0, 3, 2]
    assert heap["by_size"][0] == {
        "key": 72, "before_count": 0, "after_count": 2, "before_bytes": 0, "after_bytes": 144,
        "change_count": 2, "change_bytes": 144,
    }  # fmt: skip
    assert heap["suspects"][2] == {
        "address": dumps.lost[2] - 4, "chunk_bytes": 24, "owner": '"eth0"', "signature": '"eth0"',
        "call": "k_malloc from my_heap", "held_by": None, "is_reached": False,
    }  # fmt: skip
    code, out, _ = run(capsys, dumps.before, dumps.before, "--json")
    found = json.loads(out)
    validator.validate(found)
    assert (code, found["clean"], found["heaps"][0]["suspects"]) == (0, True, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("missing.bin", "{after}"), "kheap: missing.bin: No such file or directory"),
        (("{before}", "{after}", "--heap", "nonsense"), "no heap is called 'nonsense'"),
        (("{before}", "{after}", "--base", "here"), "not an address: 'here'"),
        (("{before}", "{after}", "--most", "0"), "not a number from 1 on: '0'"),
        (("{before}", "{after}", "--most", "few"), "not a number from 1 on: 'few'"),
        (("{before}", "{after}", "--profile", "bits=7"), "bits must be one of"),
        (("{before}",), "the following arguments are required: DUMP2"),
    ],
)
def test_bad_input_is_told_in_one_line(capsys, dumps, arguments, told):
    places = {"before": dumps.before, "after": dumps.after}
    code, out, err = run(capsys, *(argument.format(**places) for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_real_cores(capsys):
    folder = build.real_data("real/dumps/native")
    if folder is None:
        pytest.skip("KHEAP_TEST_DATA is unset: no real/dumps/native")
    core = folder / "n64_tcpsock.op300.core.gz"
    code, out, _ = run(capsys, core, core)
    assert code == 0
    assert out.count("0 blocks appeared") == 2
    assert "2 stayed" in out
