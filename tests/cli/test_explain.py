"""``kheap explain`` as a user meets it: text, JSON, exit codes, and one line for bad input."""

import json
from pathlib import Path

import pytest

from kheap.cli import main

ROOT = Path(__file__).parents[2]
SOCKETS = str(ROOT / "examples" / "traces" / "tcp_sockets.sys.jsonl.gz")
HEAP = ("--heap", "net_buf_mem_pool_rx_bufs")


def run(capsys, *arguments):
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_nothing_failed(capsys):
    code, out, err = run(capsys, "explain", SOCKETS)
    assert (code, err) == (0, "")
    assert "served        all of 204 ops; nothing failed" in out
    assert "why" not in out


def test_failures(capsys):
    code, out, err = run(capsys, "explain", SOCKETS, "--size", "256", *HEAP, "--limit", "2")
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert "failed        8 of 204 ops: 8 exhausted" in lines
    assert lines[6] == (
        "op 174        alloc of 44 bytes aligned to 4,"
        " by k_heap_aligned_alloc, in thread tcp_work_q"
    )
    assert lines[7] == (
        "why           exhausted: only 36 bytes are free;"
        " the largest free chunk has 36, and one with 44 is needed"
    )
    assert lines[8:11] == [
        "held          3 blocks: 135 bytes requested, 168 in chunks",
        "by size           blocks  requested  in chunks",
        "              45       3        135        168",
    ]
    assert lines[11] == "by call site  all of it: k_heap_aligned_alloc"
    assert lines[13] == (
        "would serve   4 bytes more (+1.6 %): a heap of 260 bytes, the smallest that does"
    )
    assert lines[-1] == "not shown     6 more; --limit 8 shows all"


def test_what_is_held_is_told_once(capsys):
    _, out, _ = run(capsys, "explain", SOCKETS, "--size", "256", *HEAP)
    assert out.count("held  ") == 8
    assert "as at op " in out


@pytest.mark.parametrize(
    ("text", "profile", "words"),
    [
        ("alloc,0,0,\n", "bits=32", "Zephyr answers a request for 0 bytes with NULL"),
        ("alloc,0,900,\n", "bits=32", "can never fit: no state of a heap of 252 bytes serves it"),
        (
            "alloc,0,245,\n",
            "bits=32,header=small,release=4.1,runtime_stats=no",
            "Zephyr 4.1 and older would have faulted here",
        ),
        ("alloc,0,150,64\n", "bits=32", "alignment padding: without the alignment it would"),
        ("alloc,0,40,\nrealloc,0,900,\n", "bits=32", "for a block of 40, which stays"),
    ],
)
def test_verdicts_in_words(capsys, tmp_path, text, profile, words):
    path = tmp_path / "trace.csv"
    path.write_text(f"op,id,size,align\n{text}", encoding="utf-8")
    code, out, _ = run(capsys, "explain", path, "--size", "252", "--profile", profile)
    assert code == 1
    assert words in out


def test_json(capsys):
    arguments = ("--size", "256", *HEAP, "--limit", "3", "--json")
    code, out, _ = run(capsys, "explain", SOCKETS, *arguments)
    answer = json.loads(out)
    assert code == 1
    assert (answer["ops"], answer["failed"], len(answer["failures"])) == (204, 8, 3)
    first = answer["failures"][0]
    assert first["verdict"] == "exhausted"
    assert first["larger"] == {"size_bytes": 260, "more_bytes": 4, "is_smallest": True}
    assert first["by_thread"][0]["key"] == "tcp_work_q"
    jsonschema = pytest.importorskip("jsonschema")
    path = ROOT / "docs" / "reference" / "schemas" / "explain.json"
    jsonschema.validate(answer, json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "kheap: missing.csv: No such file or directory\n"),
        ([SOCKETS, "--size", "1K"], "several heaps: name one of"),
        ([SOCKETS, "--limit", "0"], "argument --limit: not a number from 1 on: '0'"),
        ([SOCKETS, "--limit", "x"], "argument --limit: not a number from 1 on: 'x'"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    code, out, err = run(capsys, "explain", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
