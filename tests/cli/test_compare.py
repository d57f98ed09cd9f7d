"""``kheap compare`` as a user meets it: the table, JSON, exit codes, Ctrl-C."""

import json
from pathlib import Path

import pytest

from kheap.cli import main
from kheap.study import compare as study

ROOT = Path(__file__).parents[2]
SOCKETS = str(ROOT / "examples" / "traces" / "tcp_sockets.sys.jsonl.gz")
FEW = "op,id,size\nalloc,0,40\nalloc,1,300\nfree,0,\nalloc,2,100\nrealloc,1,350\n"
SMALL = ("--profile", "bits=32,header=small")


def run(capsys, *arguments):
    try:
        code = main([*map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def few(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text(FEW, encoding="utf-8")
    return path


def table(out):
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if "size/peak" in line)
    return lines[first : lines.index("", first)]


def test_the_table(capsys, few):
    code, out, err = run(capsys, "compare", few, "--size", "1K", *SMALL)
    assert (code, err) == (0, "")
    rows = table(out)
    assert rows[1].startswith("now")
    ends = {row.rstrip()[: rows[0].index("smallest") + 8][-1:].isdigit() for row in rows[1:]}
    assert ends == {True}, "the sizes stand in one column"
    assert "measured      allocated, failed and fragmentation, in 1,024 bytes (1 KiB)" in out
    assert "most is saved by two heaps above 128: 296 bytes" in out
    assert "a resize is played as malloc, copy and free" in out
    (quad,) = (row for row in rows if "quad, split only" in row)
    assert "4,096" in quad


def test_without_a_size_nothing_is_counted_as_failed(capsys, few):
    code, out, _ = run(capsys, "compare", few, *SMALL)
    assert code == 0
    assert "each in a heap of its safe size" in out


def test_json(capsys, few):
    code, out, _ = run(capsys, "compare", few, "--size", "1K", *SMALL, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["is_whole"]
    best = answer["rows"][answer["most_saving"]]
    assert (best["group"], best["choice"], best["saved_bytes"]) == ("split", "above 128", 296)
    jsonschema = pytest.importorskip("jsonschema")
    path = ROOT / "docs" / "reference" / "schemas" / "compare.json"
    jsonschema.validate(answer, json.loads(path.read_text(encoding="utf-8")))


def test_nothing_serves(capsys, tmp_path):
    path = tmp_path / "huge.csv"
    path.write_text("op,id,size\nalloc,0,300000\n", encoding="utf-8")
    code, out, _ = run(capsys, "compare", path, *SMALL)
    assert code == 1
    assert "no size was found that serves the trace now" in out


def interrupt_after(monkeypatch, count):
    rows = study.comparisons

    def some(*arguments):
        for i, row in enumerate(rows(*arguments)):
            if i == count:
                raise KeyboardInterrupt
            yield row
        raise AssertionError("the table has not so many rows")

    monkeypatch.setattr(study, "comparisons", some)


def test_ctrl_c_leaves_what_is_done(capsys, few, monkeypatch):
    interrupt_after(monkeypatch, 3)
    code, out, _ = run(capsys, "compare", few, *SMALL)
    assert code == 130
    assert len(table(out)) == 4
    assert "interrupted   this is a part of the table" in out


def test_ctrl_c_in_json(capsys, few, monkeypatch):
    interrupt_after(monkeypatch, 3)
    code, out, _ = run(capsys, "compare", few, *SMALL, "--json")
    answer = json.loads(out)
    assert (code, answer["is_whole"], len(answer["rows"])) == (130, False, 3)


def test_ctrl_c_before_the_first_row(capsys, few, monkeypatch):
    interrupt_after(monkeypatch, 0)
    assert run(capsys, "compare", few, *SMALL)[:2] == (130, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "kheap: missing.csv: No such file or directory\n"),
        ([SOCKETS], "several heaps: name one of"),
        ([SOCKETS, "--heap", "x"], "no heap 'x' in the trace"),
        ([SOCKETS, "--effort", "x"], "argument --effort: invalid choice: 'x'"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    code, out, err = run(capsys, "compare", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
