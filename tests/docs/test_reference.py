"""The reference pages name what there is: options, names, formats, releases, verdicts."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import re

import pytest

import kheap
from docs.pages import DOCS, blocks, code_words, read, rows, section
from kheap import zephyr
from kheap._core.chunk import INVARIANTS, Layout
from kheap.cli import _parser
from kheap.dump.chunk_table import Blocks, ChunkTable
from kheap.dump.culprit import Corruption, Culprit
from kheap.dump.diagnosis import Diagnosis, Finding
from kheap.dump.inspection import HeapInspection, Inspection
from kheap.heaps.pool_view import PoolStats
from kheap.profile import HARDENING_LEVELS, RELEASES
from kheap.study.replay import Failure, HeapReplay, Timeline
from kheap.trace import FORMATS, WRITABLE, HeapInit, TraceHeap, writer

REFERENCE = DOCS / "reference"
CLI, PYTHON, HEAPS, C_NAMES, FORMAT_PAGE = (
    REFERENCE / name
    for name in ("cli.md", "python.md", "heaps.md", "c-names.md", "trace-formats.md")
)


# ---------------------------------------------------------------------- command line


def subparsers():
    (action,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


def option_rows(parser):
    """The rows of a parser's table, as the page writes them."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        names = ", ".join(action.option_strings) or action.metavar
        if action.option_strings and action.nargs != 0:
            names += " " + (action.metavar or action.dest.upper())
        found.append([f"`{names}`", action.help])
    return found


def documented_rows(text):
    return [row for row in rows(text) if re.match(r"`(-|[A-Z0-9]+`)", row[0])]


def test_options_of_kheap():
    text = read(CLI).partition("\n## ")[0]
    assert documented_rows(text) == option_rows(_parser())


def test_every_command_has_a_section():
    names = re.findall(r"^## kheap (\w+)$", read(CLI), re.MULTILINE)
    assert names == list(subparsers())


@pytest.mark.parametrize("name", sorted(subparsers()))
def test_options_of_a_command(name):
    parser, text = subparsers()[name], section(CLI, f"kheap {name}")
    assert documented_rows(text) == option_rows(parser)
    assert f"\n{parser.description}\n" in text


# ---------------------------------------------------------------------- Python


def page_of(name):
    """The page that has a section for a public name."""
    (page,) = (page for page in (PYTHON, HEAPS) if f"\n## {name}\n" in read(page))
    return page


@pytest.mark.parametrize("name", kheap.__all__)
def test_every_public_name_is_there(name):
    assert f"| `{name}` |" in section(PYTHON, "Errors") or page_of(name)


def own_names(cls):
    return {name for name in vars(cls) if not name.startswith("_")}


def public_names(cls):
    """The public names of a class, those of its bases in this package among them."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("kheap")]
    return set().union(*map(own_names, bases))


def test_every_call_of_sys_heap_is_there():
    text = section(PYTHON, "SysHeap")
    face = ("alloc", "try_alloc", "realloc", "free", "usable_bytes")
    words = set(re.findall(r"\w+", " ".join(code_words(text))))
    assert {*own_names(kheap.SysHeap), *face} - {"geometry"} <= words


#: What the engine shows on these classes, which is no part of them.
ENGINE = {
    "Heap": {"block_at", "drop", "enter", "free_block", "leave", "sweep"},
    "Block": {"be", "home", "is_shut", "shut"},
}


@pytest.mark.parametrize(
    "name",
    ["Heap", "Block", "SystemHeap", "MemPool", "MultiHeap", "SharedMultiHeap", "VirtualClock"],
)
def test_every_call_of_the_heaps_is_there(name):
    words = set(re.findall(r"\w+", " ".join(code_words(section(HEAPS, name)))))
    assert public_names(getattr(kheap, name)) - ENGINE.get(name, set()) <= words


#: How records are made and filled, which is no part of them either.
MAKERS = {"timeline_of", "from_walk", "from_levels", "of", "take_owners"}


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("Profile", kheap.Profile),
        ("Trace", kheap.Trace),
        ("Trace", HeapInit),
        ("Trace", TraceHeap),
        ("Replay", kheap.Replay),
        ("Replay", HeapReplay),
        ("Replay", Failure),
        ("Replay", Timeline),
        ("HeapStats", kheap.HeapStats),
        ("PoolStats", PoolStats),
        ("Fragmentation", kheap.Fragmentation),
        ("Chunk", kheap.Chunk),
        ("Bucket", kheap.Bucket),
        ("Dump", kheap.Dump),
        ("HeapImage", kheap.HeapImage),
        ("ChunkTable", ChunkTable),
        ("Blocks", Blocks),
        ("Corruption", Corruption),
        ("Culprit", Culprit),
        ("Diagnosis", Diagnosis),
        ("Diagnosis", Finding),
        ("Inspection", Inspection),
        ("Inspection", HeapInspection),
    ],
)
def test_every_field_is_there(heading, cls):
    text = section(page_of(heading), heading)
    fields = {*getattr(cls, "__dataclass_fields__", ()), *own_names(cls)} - MAKERS
    words = set(re.findall(r"\w+", " ".join(code_words(text))))
    assert fields <= words


def parameters(signature):
    return [(p.name, p.kind, p.default) for p in signature.parameters.values() if p.name != "self"]


def shown(arguments):
    """The parameters that a page shows."""
    return parameters(inspect.signature(eval(f"lambda {arguments}: 0", {"Profile": kheap.Profile})))


@pytest.mark.parametrize(
    "name",
    [name for name in kheap.__all__ if f"\n    kheap.{name}(" in read(PYTHON) + read(HEAPS)],
)
def test_signatures(name):
    """The line that shows a call has its arguments, in order, with their defaults."""
    line = re.search(rf"^    kheap\.{name}\((.*)\)$", section(page_of(name), name), re.MULTILINE)
    assert shown(line[1]) == parameters(inspect.signature(getattr(kheap, name)))


def shown_calls(text):
    """Name and arguments of the calls in the first cells of a text's tables."""
    return [
        call for row in rows(text) for call in re.findall(r"`(?:await )?(\w+)\((.*?)\)`", row[0])
    ]


@pytest.mark.parametrize(
    "name",
    ["Heap", "Block", "SystemHeap", "MemPool", "MultiHeap", "SharedMultiHeap", "VirtualClock"],
)
def test_signatures_in_tables(name):
    """So have the rows of a class; what is compiled cannot be asked for them."""
    cls = getattr(kheap, name)
    for call, arguments in shown_calls(section(HEAPS, name)):
        if call in ("memoryview", "len"):
            continue
        with contextlib.suppress(ValueError):
            actual = parameters(inspect.signature(getattr(cls, call)))
            assert shown(arguments) == actual, call


# ---------------------------------------------------------------------- C names


def test_every_c_name_is_there():
    words = set(re.findall(r"\w+", " ".join(code_words(read(C_NAMES)))))
    assert not (missing := set(zephyr.__all__) - words), missing


def test_every_c_name_is_one():
    """What the page calls is there, with these arguments."""
    shown_there = shown_calls(read(C_NAMES))
    line = re.search(r"^    configure\((.*)\)$", read(C_NAMES), re.MULTILINE)
    for call, arguments in [*shown_there, ("configure", line[1])]:
        actual = parameters(inspect.signature(getattr(zephyr, call)))
        assert call in zephyr.__all__
        assert shown(arguments) == actual, call
    assert len(shown_there) > 60


def test_errors():
    fields = {row[0].strip("`"): code_words(row[3]) for row in rows(section(PYTHON, "Errors"))}
    for name, attributes in fields.items():
        assert issubclass(getattr(kheap, name), kheap.KheapError)
        arguments = inspect.getfullargspec(getattr(kheap, name).__init__).args[2:]
        assert attributes == arguments if attributes else True
    assert set(fields) == {
        name
        for name in kheap.__all__
        if isinstance(value := getattr(kheap, name), type) and issubclass(value, Exception)
    }


# ---------------------------------------------------------------------- trace formats


def sample(name):
    """The sample of a format: the first block of text in its section, or bytes in hexadecimal."""
    text = re.search(r"^```text\n(.*?)^```$", section(FORMAT_PAGE, name), re.M | re.S)[1]
    return bytes.fromhex(text) if re.fullmatch(r"[0-9a-f\n]+", text) else text.encode()


def test_every_format_is_there():
    assert re.findall(r"^## (\w+)$", read(FORMAT_PAGE), re.MULTILINE) == list(FORMATS)


#: A capture of memray is no text, and tied to the memray that wrote it.
SHOWN = [name for name in FORMATS if name != "memray"]


@pytest.mark.parametrize("name", SHOWN)
def test_samples(name, tmp_path):
    path = tmp_path / "sample"
    path.write_bytes(sample(name))
    trace = kheap.read_trace(path)
    assert trace.format == name
    assert trace.skipped == 0
    assert len(trace) == {"syslog": 4, "mtrace": 7, "valgrind": 7, "heaptrack": 6}.get(name, 5)
    replay = kheap.replay(trace, None if trace.inits else 4096)
    assert replay.failed == 0
    assert replay.heaps[0].final.used_count == (1 if name == "syslog" else 0)
    if trace.inits:
        assert replay.first_difference() is None


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_format_has(name, tmp_path):
    """The table at the head of the page."""
    (cells,) = (row[3:] for row in rows(read(FORMAT_PAGE)) if row[0] == f"[`{name}`](#{name})")
    path = tmp_path / "sample"
    path.write_bytes(sample(name))
    trace = kheap.read_trace(path)
    found = [
        any(trace.align),
        any(trace.time),
        any(i >= 0 for i in trace.thread),
        any(i >= 0 for i in trace.caller),
        any(address > 0 for address in trace.result),
    ]
    claimed = [cell == "yes" for cell in cells]
    assert [had <= said for had, said in zip(found, claimed, strict=True)] == [True] * 5


def test_every_note_is_there():
    text = section(FORMAT_PAGE, "All formats")
    modules = (
        "_blocks", "_columns", "_kh_records", "_ltrace", "_memray", "_rep", "_syslog",
        "_valgrind", "_rows_json",
    )  # fmt: skip
    for module in modules:
        for name, note in vars(importlib.import_module(f"kheap.trace.{module}")).items():
            if name.startswith("NOTE_"):
                assert note in text, f"{note!r} is not explained"


def test_what_a_written_file_holds():
    """The table of what each format holds, and that of what becomes of the rest."""
    text = section(FORMAT_PAGE, "What a written file holds")
    table = {row[0].strip("`"): row[1:] for row in rows(text) if row[0].startswith("`")}
    assert list(table) == list(WRITABLE)
    words = ("heaps", "align", "time", "thread", "caller", "result", "inits", "profile")
    for name, cells in table.items():
        told = {word for word, cell in zip(words, cells, strict=True) if cell == "yes"}
        assert told == set(words) & writer._TARGETS[name].holds, name
    for module in ("_shape", "_mtrace", "_valgrind", "writer"):
        for name, reason in vars(importlib.import_module(f"kheap.trace.{module}")).items():
            if name.startswith(("LOST_", "MADE_")):
                assert reason in text, f"{reason!r} is not explained"


# ---------------------------------------------------------------------- the rest


def test_releases():
    page = REFERENCE / "releases.md"
    assert f"\n    {' '.join(RELEASES)}\n" in read(page)
    switches = {word for row in rows(read(page)) for word in code_words(row[-1])}
    fixed = {"word_bytes", "header", "alloc_loops"}
    assert switches - {"version"} == set(Layout._fields) - fixed


def test_hardening_levels():
    text = section(PYTHON, "Profile")
    assert ", ".join(f'"{level}"' for level in HARDENING_LEVELS) in text


def test_verdicts():
    told = [row[0] for row in rows(section(REFERENCE / "verdicts.md", "The words"))]
    table = re.split(r"^=+ =+$", inspect.getdoc(kheap.Verdict), flags=re.MULTILINE)[1]
    words = re.findall(r"^(\w+) +\S", table, re.MULTILINE)
    assert sorted(told) == sorted(f"`{word}`" for word in words)
    helps = rows(section(DOCS / "how-to" / "find-out-why-it-failed.md", "Ask before you allocate"))
    assert {row[0] for row in helps} == set(told) - {"`fits`"}


def test_invariants():
    text = section(DOCS / "explanation" / "layout.md", "Invariants")
    assert [row[0] for row in rows(text)] == list(INVARIANTS)
    owner = importlib.import_module("kheap._core.chunk").__doc__
    for name, rule in rows(text):
        first_words = " ".join(rule.replace("`", "").split()[:4])
        told = " ".join(owner.split())
        assert f"{name} {first_words}".lower() in told.lower(), f"chunk.py tells {name} otherwise"


def test_layout_picture_is_that_of_the_code():
    picture = blocks(DOCS / "explanation" / "layout.md", "")[0][1]
    owner = importlib.import_module("kheap._core.chunk").__doc__
    assert picture.strip() in owner
