"""``kheap convert`` as a user meets it: files, standard output, losses, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kheap
from kheap.cli import main

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "examples" / "traces"
LVGL = TRACES / "lvgl_stress.sys.jsonl.gz"
SOCKETS = TRACES / "tcp_sockets.sys.jsonl.gz"
RX = "net_buf_mem_pool_rx_bufs"
REP = "100\n1\n2\n1\na 0 10\nf 0\n"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.rep").write_text(REP)


def run(capsysbinary, *arguments):
    try:
        code = main(["convert", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsysbinary.readouterr()
    return code, captured.out.decode(), captured.err.decode()


def test_to_a_file(capsysbinary):
    assert run(capsysbinary, "t.rep", "t.csv") == (
        0,
        "read          t.rep (rep), 2 ops\nwritten       t.csv (csv)\n",
        "",
    )
    assert kheap.read_trace("t.csv").op == kheap.read_trace("t.rep").op


def test_to_standard_output(capsysbinary):
    code, out, err = run(capsysbinary, "t.rep", "-", "--to", "jsonl")
    assert (code, err) == (0, "")
    assert out == '{"op": "alloc", "id": 0, "size": 10}\n{"op": "free", "id": 0}\n'


def test_what_is_lost(capsysbinary):
    code, out, err = run(capsysbinary, SOCKETS, "-", "--to", "rep", "--heap", RX)
    assert code == 0
    assert err == (
        "kheap: -: rep does not hold: alignments (102), threads (204), call sites (204),"
        " addresses, and which requests failed (102), names of heaps (1),"
        " sizes and addresses of heaps (1), the profile (1)\n"
    )
    assert out.splitlines()[2] == "204"


def test_nothing_is_lost(capsysbinary):
    assert run(capsysbinary, SOCKETS, "t.kh.zst")[2] == ""
    again, trace = kheap.read_trace("t.kh.zst"), kheap.read_trace(SOCKETS)
    assert kheap.replay(again).offsets == kheap.replay(trace).offsets


def test_json(capsysbinary):
    code, out, err = run(capsysbinary, "t.rep", "t.mtrace", "--json")
    assert code == 0
    assert json.loads(out) == {
        "input": "t.rep",
        "input_format": "rep",
        "output": "t.mtrace",
        "output_format": "mtrace",
        "ops": 2,
        "skipped_lines": 0,
        "notes": {},
        "lost": {"addresses, which are made up": 1},
    }
    assert err == "kheap: t.mtrace: mtrace does not hold: addresses, which are made up (1)\n"


def test_formats_may_be_named(capsysbinary):
    Path("odd.csv").write_text(REP)
    code, out, _ = run(capsysbinary, "odd.csv", "odd.txt", "--from", "rep", "--to", "valgrind")
    assert (code, out.splitlines()[1]) == (0, "written       odd.txt (valgrind)")
    assert kheap.read_trace("odd.txt").format == "valgrind"


def test_a_profile_may_be_given(capsysbinary):
    run(capsysbinary, "t.rep", "t.sys.jsonl", "--profile", "release=3.7,bits=32")
    assert kheap.read_trace("t.sys.jsonl").profile == kheap.Profile(release="3.7", bits=32)


def test_lenient(capsysbinary):
    Path("t.rep").write_text("a 0 10\nf\nf 0\nf 0\n")
    code, out, err = run(capsysbinary, "t.rep", "t.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("kheap: t.rep:2: expected")
    assert os.listdir() == ["t.rep"]
    code, out, _ = run(capsysbinary, "t.rep", "t.csv", "--lenient")
    assert (code, out.splitlines()[1]) == (0, "skipped       2 malformed lines")


def test_an_existing_file(capsysbinary):
    Path("t.csv").write_text("mine")
    assert run(capsysbinary, "t.rep", "t.csv") == (
        2,
        "",
        "kheap: t.csv: exists already; --force replaces it\n",
    )
    assert Path("t.csv").read_text() == "mine"
    assert run(capsysbinary, "t.rep", "t.csv", "--force")[0] == 0
    assert run(capsysbinary, "t.csv", "t.csv", "--force")[0] == 0
    assert len(kheap.read_trace("t.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["t.rep", "t"], "kheap: t: the name tells no format: give --to, one of syslog, rep"),
        (["t.rep", "-"], "kheap: -: the name tells no format: give --to, one of syslog, rep"),
        (["t.rep", "t.csv", "--to", "pdf"], "kheap: format 'pdf' cannot be written: expected one"),
        (["t.rep", "t.khring"], "kheap: format 'khring' cannot be written: expected one of"),
        (["t.rep", "t.csv", "--from", "pdf"], "kheap: t.rep: unknown trace format 'pdf'"),
        (["t.rep", "-", "--to", "csv", "--json"], "kheap: standard output cannot hold both"),
        (["t.rep", "t.csv", "--heap", "x"], "kheap: t.rep: no heap 'x' in the trace: it has heap"),
        ([SOCKETS, "s.rep"], f"kheap: {SOCKETS}: rep holds one heap: name one of {RX}"),
        (["t.rep", "no/t.csv"], "kheap: no/t.csv: No such file or directory"),
        (["t.rep", ".", "--to", "csv"], "kheap: .: Is a directory"),
        (["no.rep", "t.csv"], "kheap: no.rep: No such file or directory"),
        (["t.rep", "t.csv", "--profile", "bits=16"], "kheap: bits must be one of 32, 64, not 16"),
        (["t.rep"], "kheap convert: the following arguments are required: OUTPUT"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(capsysbinary, arguments, line):
    code, out, err = run(capsysbinary, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)
    assert os.listdir() == ["t.rep"]


def test_a_full_device_is_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    command = [sys.executable, "-m", "kheap", "convert", str(LVGL), "/dev/full", "--to", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kheap: /dev/full: No space left on device\n"


def test_a_pipe_that_closes():
    shown = subprocess.run(
        f"{sys.executable} -m kheap convert {LVGL} - --to csv 2>/dev/null | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert shown.stdout == "op,id,size,align,heap,time,thread,caller,result\n"
