"""``kheap report`` as a user meets it: files, JSON, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from kheap.cli import main

ROOT = Path(__file__).parents[2]
LVGL = str(ROOT / "examples" / "traces" / "lvgl_stress.sys.jsonl.gz")
SOCKETS = str(ROOT / "examples" / "traces" / "tcp_sockets.sys.jsonl.gz")
SIZE = ["--size", "16K", "--profile", "release=4.4,bits=32"]


def run(capsys, *arguments):
    try:
        code = main(["report", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_page_and_a_trace(tmp_path, capsys):
    page, trace = tmp_path / "report.html", tmp_path / "out.json"
    code, out, err = run(capsys, LVGL, *SIZE, "-o", page, "--chrome-trace", trace)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"{path}: {path.stat().st_size:,} bytes" for path in (page, trace)]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert sorted(tmp_path.iterdir()) == [trace, page]


def test_json(tmp_path, capsys):
    page = tmp_path / "report.html"
    code, out, _ = run(capsys, LVGL, *SIZE, "-o", page, "--json")
    answer = json.loads(out)
    assert code == 0
    size = page.stat().st_size
    assert answer["written"] == [{"kind": "html", "path": str(page), "bytes": size}]
    assert (answer["ops"], answer["blocks"], answer["failed"]) == (11_999, 8_014, 3)
    (heap,) = answer["heaps"]
    assert (heap["first_failure_op_index"], heap["peak_op_index"]) == (2440, 2436)
    assert heap["peak_allocated_bytes"] == 14_556
    assert (heap["free_bytes"], heap["largest_free_bytes"]) == (840, 436)


@pytest.mark.parametrize(
    ("trace", "arguments"),
    [
        (LVGL, SIZE),
        (LVGL, []),
        (SOCKETS, []),
        (SOCKETS, ["--size", "256", "--heap", "net_buf_mem_pool_rx_bufs"]),
    ],
)
def test_the_answer_is_what_the_schema_describes(trace, arguments, tmp_path, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/reference/schemas/report.json").read_text(encoding="utf-8"))
    page = tmp_path / "report.html"
    _, out, _ = run(capsys, trace, *arguments, "-o", page, "--json")
    check = jsonschema.Draft202012Validator(schema)
    answer = json.loads(out)
    check.validate(answer)
    assert not check.is_valid(answer | {"more": 1})
    for key in answer:
        assert not check.is_valid({k: v for k, v in answer.items() if k != key})


def test_heaps_without_operations_are_left_out_and_it_is_said(tmp_path, capsys):
    rows = [{"op": "init", "heap": i, "mem": 4096 * i, "size": 1024} for i in (1, 2)]
    rows.append({"op": "alloc", "heap": 1, "size": 8, "result": 4184})
    trace, page = tmp_path / "trace.jsonl", tmp_path / "report.html"
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, out, _ = run(capsys, trace, "-o", page, "--json")
    assert (code, [heap["name"] for heap in json.loads(out)["heaps"]]) == (0, ["0x1"])
    assert "heaps without any operation, not shown: 1" in page.read_text(encoding="utf-8")


def test_an_older_file_is_replaced_and_keeps_its_rights(tmp_path, capsys):
    page = tmp_path / "report.html"
    page.write_text("old", encoding="utf-8")
    page.chmod(0o640)
    link = tmp_path / "link.html"
    link.symlink_to(page)
    assert run(capsys, LVGL, *SIZE, "-o", link)[0] == 0
    assert link.is_symlink()
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


def test_what_fails_leaves_the_older_file(tmp_path, capsys):
    page = tmp_path / "report.html"
    page.write_text("old", encoding="utf-8")
    assert run(capsys, LVGL, "--size", "9", "-o", page)[0] == 2
    assert page.read_text(encoding="utf-8") == "old"
    assert [*tmp_path.iterdir()] == [page]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line(capsys):
    code, out, err = run(capsys, LVGL, *SIZE, "-o", "/dev/full")
    assert (code, out, err) == (2, "", "kheap: /dev/full: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([LVGL], "kheap: nothing to write: give -o FILE, --chrome-trace FILE, or both"),
        ([LVGL, "-o", LVGL], f"kheap: {LVGL}: is the trace too; choose another file"),
        (
            [LVGL, "-o", "x", "--chrome-trace", "./x"],
            "kheap: ./x: is the page too; choose another file",
        ),
        ([LVGL, "-o", "/nowhere/x.html"], "kheap: /nowhere/x.html: No such file or directory"),
        ([LVGL, "-o", "/"], "kheap: /: Is a directory"),
        (["/nowhere", "-o", "x"], "kheap: /nowhere: No such file or directory"),
        ([SOCKETS, "--size", "1K", "-o", "x"], f"kheap: {SOCKETS}: the trace has several heaps"),
        ([LVGL, "--profile", "bits=16", "-o", "x"], "kheap: bits must be one of 32, 64, not 16"),
        (["-o", "x"], "kheap report: the following arguments are required: TRACE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)
    assert os.listdir(tmp_path) == []
