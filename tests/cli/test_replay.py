"""``kheap replay`` as a user meets it: text, JSON, exit codes, and one line for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kheap.cli import main

TRACES = Path(__file__).parents[2] / "examples" / "traces"
LVGL = str(TRACES / "lvgl_stress.sys.jsonl.gz")
SOCKETS = str(TRACES / "tcp_sockets.sys.jsonl.gz")
PROFILE = "release=4.4,bits=32,header=small"


def run(capsys, *arguments):
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_served(capsys):
    code, out, err = run(capsys, "replay", LVGL, "--size", "17K", "--profile", PROFILE)
    assert (code, err) == (0, "")
    assert "served        all of 11,999 ops" in out


def test_failed(capsys):
    code, out, err = run(capsys, "replay", LVGL, "--size", "0x4000", "--profile", PROFILE)
    assert (code, err) == (1, "")
    assert "op 2,440, alloc of 384 bytes: free memory is fragmented (792 free, largest 348)" in out


def test_json_of_a_failed_replay(capsys):
    code, out, _ = run(capsys, "replay", LVGL, "--size", "16KiB", "--profile", PROFILE, "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["size_bytes"] == 16384
    assert (answer["ops"], answer["failed"]) == (11_999, 3)
    assert answer["base_address"] == 0x20000000
    assert answer["peak_allocated_bytes"] == 14_556
    assert answer["peak_offset_bytes"] == 16_352
    assert answer["first_failure"] == {
        "op_index": 2440,
        "op": "alloc",
        "id": answer["first_failure"]["id"],
        "request_bytes": 384,
        "align": 0,
        "verdict": "fragmented",
        "needed_bytes": 392,
        "free_bytes": 792,
        "largest_free_bytes": 348,
        "explanation": "384 bytes: free memory is fragmented (792 free, largest 348)",
    }
    assert answer["final"]["free_bytes"] == 840
    shares = answer["fragmentation"]
    assert shares["one_minus_largest_over_free"] == pytest.approx(1 - 436 / 840)
    assert set(shares) == {"one_minus_largest_over_free", "one_minus_root_sum_squares"}


def test_several_heaps(capsys):
    code, out, _ = run(capsys, "replay", SOCKETS, "--json")
    answer = json.loads(out)
    assert code == 0
    assert [heap["ops"] for heap in answer["heaps"]] == [204, 362]
    assert answer["peak_allocated_bytes"] is None
    name = "net_buf_mem_pool_tx_bufs"
    code, out, _ = run(capsys, "replay", SOCKETS, "--size", "600", "--heap", name, "--json")
    assert (code, json.loads(out)["ops"]) == (0, 362)


def test_ascii_map(capsys):
    _, out, _ = run(capsys, "replay", LVGL, "--ascii")
    assert out.isascii()
    assert "# used" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([SOCKETS, "--size", "1K"], f"kheap: {SOCKETS}: the trace has several heaps: name one of"),
        ([LVGL, "--size", "9"], f"kheap: {LVGL}: region of 9 bytes is too small for a heap"),
        ([LVGL, "--size", "1T"], "kheap replay: argument --size: not a size: '1T'"),
        ([LVGL, "--size", "17179869184G"], f"kheap: {LVGL}: region of 18446744073709551616"),
        ([LVGL, "--profile", "bits=16"], "kheap: bits must be one of 32, 64, not 16"),
        ([LVGL, "--profile", "x"], "kheap: profile: 'x' is not one of release"),
        ([LVGL, "--elf", LVGL], f"kheap: {LVGL}: not a readable ELF file"),
        ([LVGL, "--elf", "/nowhere"], "kheap: /nowhere: No such file or directory"),
        ([LVGL, "--base-address", "here"], "kheap replay: argument --base-address: not an address"),
        ([LVGL, "--format", "what"], f"kheap: {LVGL}: unknown trace format 'what'"),
        (["/nowhere"], "kheap: /nowhere: No such file or directory"),
        (["/"], "kheap: /: Is a directory"),
        ([], "kheap replay: the following arguments are required: TRACE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, line):
    code, out, err = run(capsys, "replay", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)


def test_a_malformed_line_is_named(tmp_path, capsys):
    path = tmp_path / "t.rep"
    path.write_text("100\n2\n2\n1\na 0 10\nf\n")
    code, _, err = run(capsys, "replay", path, "--size", "4K")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"kheap: {path}:6: ")
    code, out, _ = run(capsys, "replay", path, "--size", "4K", "--lenient")
    assert code == 0
    assert "1 malformed line" in out


def test_a_trace_without_a_size_needs_one(tmp_path, capsys):
    path = tmp_path / "t.rep"
    path.write_text("100\n1\n1\n1\na 0 10\n")
    code, _, err = run(capsys, "replay", path)
    assert code == 2
    assert "records no heap's size: give one" in err


def test_no_command(capsys):
    code, _, err = run(capsys)
    assert (code, err.count("\n")) == (2, 1)


def test_module_and_closed_pipe():
    shown = subprocess.run(
        f"{sys.executable} -m kheap replay {LVGL} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith("trace")
    assert shown.stderr == ""
