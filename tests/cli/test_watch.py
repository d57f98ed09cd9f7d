"""``kheap watch`` as a script meets it: lines, JSON, recordings, exit codes, and one bad line."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from helpers.gdb_stub import GdbStub
from helpers.small_target import SmallTarget
from kheap.cli import main
from kheap.dump.target.recording import Recording


def run(capsys, *arguments):
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def target():
    target = SmallTarget(my_heap=2048, pool=1024)
    target.step()
    return target


@pytest.fixture
def elf(target, tmp_path):
    return target.elf(tmp_path / "zephyr.elf")


@pytest.fixture
def recording(target, elf, tmp_path, capsys):
    path = tmp_path / "a.khr"
    with GdbStub(target.memory.read, step=target.step) as stub:
        arguments = ("--samples", 4, "--interval", 0, "--record", path)
        assert run(capsys, "watch", stub.url, "--elf", elf, *arguments)[0] == 0
    return path


# ---------------------------------------------------------------------- a target


def test_one_line_a_sample(capsys, target, elf):
    target.wait("pool", 5)
    stats = target.heaps["my_heap"].stats()
    with GdbStub(target.memory.read, step=target.step) as stub:
        code, out, err = run(
            capsys, "watch", stub.url, "--elf", elf, "--samples", 3, "--interval", 0
        )
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()
    assert first.startswith(
        f"     0.000 s  my_heap: {stats.free_bytes:,} bytes free, largest"
        f" {stats.largest_free_bytes:,}, {stats.allocated_bytes:,} allocated in"
        f" {stats.used_count} blocks; pool: "
    )
    assert first.endswith("waiting: 0x20000400 (priority 5)")
    assert " freed; pool: " in second
    assert third != second
    assert stub.running


def test_one_sample_as_text(capsys, target, elf):
    with GdbStub(target.memory.read) as stub:
        code, out, err = run(capsys, "watch", stub.url, "--elf", elf, "--once")
    assert (code, err) == (0, "")
    assert f"dump          {stub.url} (gdb remote, " in out
    assert "heap          my_heap: 2,048 bytes (2 KiB) at 0x20001000 (k_heap at 0x20000100)" in out
    assert "note          no debug information" in out


def test_one_sample_as_json(capsys, target, elf):
    stats = target.heaps["pool"].stats()
    with GdbStub(target.memory.read) as stub:
        code, out, _ = run(
            capsys, "watch", stub.url, "--elf", elf, "--once", "--json", "--heap", "pool"
        )
    assert code == 0
    answer = json.loads(out)
    assert (answer["dump"], answer["elf"]) == (stub.url, elf)
    (heap,) = answer["heaps"]
    assert heap["name"] == "pool"
    assert heap["free_bytes"] == stats.free_bytes
    assert heap["allocated_bytes"] == stats.allocated_bytes
    assert sum(chunk["state"] == "used" for chunk in heap["chunks"]) == stats.used_count


def test_json_of_many_samples_is_an_object_a_line(capsys, target, elf):
    with GdbStub(target.memory.read, step=target.step) as stub:
        code, out, _ = run(
            capsys, "watch", stub.url, "--elf", elf, "--json", "--samples", 2, "--interval", 0
        )
    first, second = map(json.loads, out.splitlines())
    assert (code, first["sample"], second["sample"]) == (0, 0, 1)
    assert first["t"] == 0.0 < second["t"]
    assert [heap["name"] for heap in second["heaps"]] == ["my_heap", "pool"]


@pytest.mark.parametrize("once", [True, False])
def test_corruption_is_exit_code_1(capsys, target, elf, once):
    target.overflow("my_heap")
    arguments = ["--once"] if once else ["--samples", 1]
    with GdbStub(target.memory.read) as stub:
        code, out, err = run(capsys, "watch", stub.url, "--elf", elf, *arguments)
        assert (code, err) == (1, "")
        assert "corrupt" in out
        assert once or "(read 4 times: corrupt each time)" in out
        assert stub.running


def test_no_heap_yet(capsys, target, elf):
    for address in target.object_address.values():
        target.ram[address - 0x20000000 : address - 0x20000000 + 12] = bytes(12)
    with GdbStub(target.memory.read) as stub:
        arguments = ("watch", stub.url, "--elf", elf)
        code, out, _ = run(capsys, *arguments, "--once")
        assert code == 1
        assert "pool is not initialised" in out
        code, out, _ = run(capsys, *arguments, "--samples", 1)
        assert (code, out) == (
            0,
            "     0.000 s  my_heap is not initialised: its object holds no heap;"
            " pool is not initialised: its object holds no heap\n",
        )


def test_without_halting(capsys, target, elf):
    with GdbStub(target.memory.read) as stub:
        arguments = ("--no-halt", "--samples", 2, "--interval", 0)
        code, out, _ = run(capsys, "watch", stub.url, "--elf", elf, *arguments)
    assert (code, len(out.splitlines()), stub.halts) == (0, 2, 0)


def test_the_profile_may_be_told(capsys, target, elf):
    with GdbStub(target.memory.read) as stub:
        arguments = ("--once", "--json", "--profile", "alloc_loops=5")
        _, out, _ = run(capsys, "watch", stub.url, "--elf", elf, *arguments)
    profile = json.loads(out)["heaps"][0]["profile"]
    assert (profile["alloc_loops"], profile["header"], profile["bits"]) == (5, "small", 32)


def test_a_signal_does_not_leave_the_target_stopped(target, elf):
    with GdbStub(target.memory.read, step=target.step) as stub:
        command = [sys.executable, "-m", "kheap", "watch", stub.url, "--elf", elf]
        watching = subprocess.Popen(
            [*command, "--interval", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        watching.stdout.readline()
        watching.send_signal(signal.SIGTERM)
        _, err = watching.communicate()
        assert (watching.returncode, err) == (128 + signal.SIGTERM, b"")
        assert stub.running
        assert stub.requests[-1] == "D"


# ---------------------------------------------------------------------- on a terminal


def on_terminal(*arguments, lacking=""):
    """What ``kheap watch`` writes to a terminal, and its exit code."""
    code = f"import sys; sys.modules.update({{name: None for name in {lacking.split()!r}}});"
    code += "from kheap.cli import main; sys.exit(main())"
    master, slave = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-c", code, "watch", *map(str, arguments)],
        stdin=slave, stdout=slave, stderr=slave,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    # The terminal's end is an error when nobody is left at the other.
    with suppress(OSError):
        while data := os.read(master, 4096):
            shown += data
    os.close(master)
    return shown.decode(), watching.wait()


def test_the_screen(target, elf):
    pytest.importorskip("textual")
    with GdbStub(target.memory.read) as stub:
        arguments = (stub.url, "--elf", elf, "--samples", 3, "--interval", 0.3)
        shown, code = on_terminal(*arguments)
        assert stub.running
    assert code == 0, shown[-3000:]
    assert "my_heap" in shown


def test_the_screen_tells_what_ended_it(target, elf):
    pytest.importorskip("textual")
    with GdbStub(target.memory.read, answers={"m": b"zz"}) as stub:
        shown, code = on_terminal(stub.url, "--elf", elf)
        assert stub.running, (shown[-3000:], stub.requests)
    assert code == 2
    assert f"kheap: {stub.url}: malformed answer to m20000000," in shown.splitlines()[-1]
    assert "Traceback" not in shown


def test_the_screen_notes_corruption(target, elf):
    pytest.importorskip("textual")
    target.overflow("pool")
    with GdbStub(target.memory.read) as stub:
        assert on_terminal(stub.url, "--elf", elf, "--samples", 1)[1] == 1


def test_without_textual_there_are_lines(recording):
    shown, code = on_terminal(recording, lacking="textual")
    note, *lines = shown.splitlines()
    assert note == "kheap: for the screen, pip install 'kheap[watch]'; without it:"
    assert (len(lines), code) == (4, 0)


# ---------------------------------------------------------------------- a recording


@pytest.mark.parametrize("elf_is_there", [True, False])
def test_a_recording_is_played_back(capsys, recording, elf, elf_is_there):
    if not elf_is_there:
        os.remove(elf)
    code, out, err = run(capsys, "watch", recording)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 4
    assert "my_heap: " in out
    assert "; pool: " in out
    assert out.splitlines()[:2] == run(capsys, "watch", recording, "--samples", 2)[1].splitlines()


def test_the_last_sample_of_a_recording(capsys, recording):
    _, out, _ = run(capsys, "watch", recording, "--json")
    last = json.loads(out.splitlines()[-1])
    code, out, _ = run(capsys, "watch", recording, "--once", "--json")
    whole = json.loads(out)
    assert code == 0
    assert whole["facts"]["sample"] == "4 of 4"
    assert whole["heaps"] == last["heaps"]
    code, out, _ = run(capsys, "watch", recording, "--once", "--heap", "pool")
    assert code == 0
    assert "heap          pool: " in out


def test_another_program_may_be_given(capsys, recording, target, elf, tmp_path):
    os.rename(elf, tmp_path / "moved.elf")
    _, out, _ = run(capsys, "watch", recording, "--once", "--json")
    assert json.loads(out)["elf"] is None
    _, out, _ = run(capsys, "watch", recording, "--once", "--json", "--elf", tmp_path / "moved.elf")
    assert json.loads(out)["elf"] == str(tmp_path / "moved.elf")
    # What lies where the program lay is another one.
    (tmp_path / "zephyr.elf").write_bytes(b"another")
    _, out, _ = run(capsys, "watch", recording, "--once", "--json")
    assert json.loads(out)["elf"] is None


def test_corruption_in_a_recording(capsys, target, elf, tmp_path):
    path = tmp_path / "a.khr"
    target.overflow("pool")
    with GdbStub(target.memory.read) as stub:
        arguments = ("--samples", 1, "--record", path)
        assert run(capsys, "watch", stub.url, "--elf", elf, *arguments)[0] == 1
    assert run(capsys, "watch", path)[0] == 1


def test_a_recording_replaces_another_only_when_there_is_a_sample(capsys, recording, elf):
    was = recording.read_bytes()
    code, _, _ = run(capsys, "watch", "gdb://127.0.0.1:1", "--elf", elf, "--record", recording)
    assert (code, recording.read_bytes()) == (2, was)
    assert len(Recording(recording)) == 4


# ---------------------------------------------------------------------- one line, exit code 2


def test_what_cannot_be_watched(capsys, recording, elf, tmp_path):
    absent = tmp_path / "absent"
    plain = tmp_path / "plain.gz"
    plain.write_bytes(gzip.compress(b"{}\n"))
    url = "gdb://127.0.0.1:1"
    for arguments, line in [
        (["my_segment"], "my_segment: expected gdb://HOST:PORT, or a recording"),
        ([tmp_path], f"{tmp_path}: expected gdb://HOST:PORT, or a recording"),
        (["gdb://localhost", "--elf", elf],
         "gdb://localhost: expected gdb://HOST:PORT, as in gdb://localhost:1234"),
        ([url, "--elf", elf], f"{url}: Connection refused"),
        ([url], f"{url}: --elf zephyr.elf must tell which heaps there are"),
        ([url, "--elf", absent], f"{absent}: No such file or directory"),
        ([url, "--elf", elf, "--heap", "x"],
         f"{elf}: no heap is called 'x'; there are: my_heap, pool"),
        ([url, "--elf", elf, "--profile", "bits=3"], "bits must be one of 32, 64, not 3"),
        ([plain], f"{plain}: not a recording of kheap watch"),
        ([recording, "--heap", "x"],
         f"{recording}: no heap is called 'x'; there are: my_heap, pool"),
        ([recording, "--record", absent], f"--record: {recording} is a recording already"),
    ]:  # fmt: skip
        code, out, err = run(capsys, "watch", *arguments)
        assert (code, out, err) == (2, "", f"kheap: {line}\n")


def test_a_program_that_is_none(capsys, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(100))
    code, _, err = run(capsys, "watch", "gdb://127.0.0.1:1", "--elf", path)
    assert code == 2
    assert err.startswith(f"kheap: {path}: not a readable ELF file")
    assert err.count("\n") == 1


def test_a_program_without_heaps(capsys, tmp_path):
    elf = SmallTarget().elf(tmp_path / "empty.elf")
    code, _, err = run(capsys, "watch", "gdb://127.0.0.1:1", "--elf", elf)
    assert (code, err) == (2, f"kheap: {elf}: no heap is found in this program\n")


def test_a_recording_that_cannot_be_written(capsys, target, elf, tmp_path):
    path = tmp_path / "no" / "a.khr"
    with GdbStub(target.memory.read) as stub:
        code, out, err = run(capsys, "watch", stub.url, "--elf", elf, "--once", "--record", path)
        assert (code, out, err) == (2, "", f"kheap: {path}: No such file or directory\n")
        assert stub.running


@pytest.mark.parametrize(
    ("option", "value"),
    [("--interval", "-1"), ("--interval", "soon"), ("--interval", "nan"), ("--interval", "1e300"),
     ("--samples", "0"), ("--samples", "-1"), ("--samples", "many")],
)  # fmt: skip
def test_wrong_usage(capsys, option, value):
    code, out, err = run(capsys, "watch", "a.khr", option, value)
    assert (code, out) == (2, "")
    assert err.startswith(f"kheap watch: argument {option}: not a ")
    assert err.count("\n") == 1
