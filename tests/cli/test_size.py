"""``kheap size``: what it prints, its exit codes, its JSON."""

from __future__ import annotations

import json

import pytest

from kheap.cli import main

TRACE = "examples/traces/tcp_sockets.sys.jsonl.gz"
HEAP = ("--heap", "net_buf_mem_pool_rx_bufs")


@pytest.fixture
def run(capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)

    def run(*arguments):
        status = main(["size", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_heap_of_a_trace(run):
    status, out, _ = run(TRACE, *HEAP, "--overhead", "k_malloc")
    assert status == 0
    assert "smallest      440 bytes" in out
    assert "CONFIG_HEAP_MEM_POOL_SIZE=" in out
    sums = [line.split() for line in out[out.index("sum ") :].splitlines()[:-1]]
    numbers = [int(words[words[0] == "sum"].replace(",", "")) for words in sums]
    assert sum(numbers[:-1]) == numbers[-1], "the parts add up"


def test_all_heaps_of_a_trace(run):
    status, out, _ = run(TRACE, "--json")
    answer = json.loads(out)
    assert status == 0 and answer["together"] is None
    assert len({entry["heap"] for entry in answer["answers"]}) == len(answer["answers"]) > 1


def test_the_texts_of_several_heaps_stand_apart(run):
    count = len(json.loads(run(TRACE, "--json")[1])["answers"])
    texts = run(TRACE)[1].split("\n\ntrace ")
    assert len(texts) == count and all("smallest " in text for text in texts)


def test_traces_one_after_the_other(run, tmp_path):
    for name, sizes in (("a", (100, 200)), ("b", (300,))):
        lines = [f'{{"op":"alloc","id":{i},"size":{size}}}' for i, size in enumerate(sizes)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    status, out, _ = run(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--json")
    answer = json.loads(out)
    assert status == 0 and len(answer["answers"]) == 2
    assert answer["together"]["peak_request_bytes"] == 600


def test_what_no_heap_serves(run, tmp_path):
    path = tmp_path / "huge.jsonl"
    path.write_text('{"op":"alloc","id":0,"size":1099511627776}\n')
    status, out, _ = run(str(path))
    assert status == 1 and "no size serves it" in out
    assert json.loads(run(str(path), "--json")[1])["safe_bytes"] is None


def test_a_little_effort_leaves_a_proved_answer(run, tmp_path, monkeypatch):
    lines = []
    for i in range(600):
        lines.append(f'{{"op":"alloc","id":{i},"size":{8 + 37 * i % 900}}}')
        if i % 3 == 2:
            lines.append(f'{{"op":"free","id":{i - 2}}}')
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(lines) + "\n")
    whole = json.loads(run(str(path), "--json")[1])
    monkeypatch.setattr("kheap.study.size._BUDGET_OPS", {"quick": 5 * len(lines)})
    answer = json.loads(run(str(path), "--effort", "quick", "--json")[1])
    assert whole["is_complete"] and not answer["is_complete"]
    assert answer["safe_is_proved"] and answer["safe_bytes"] >= whole["safe_bytes"]


def test_a_plan_for_blocks(run):
    status, out, _ = run("--blocks", "4x64,2x200:align=16", "--add-size", "bt=1K", "--json")
    plan = json.loads(out)
    assert status == 0 and plan["requested_bytes"] == 656
    assert plan["recommended_bytes"] >= max(plan["guaranteed_bytes"], plan["churned_bytes"])
    assert plan["pool_bytes"] == plan["config_bytes"] + 1024


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing to size"),
        ((TRACE, "--blocks", "1x8"), "go without a trace"),
        (("--blocks", "1x8:step=2"), "1x8:step=2"),
        (("--blocks", "1x8:align=3"), "no power of two"),
        (("--blocks", "0"), "at least 1 byte"),
        (("--blocks", "1000000x8"), "more than 100000"),
        (("--add-size", "wifi"), "is not like wifi=40960"),
        (("no-such-file",), "no-such-file: No such file"),
        ((TRACE, "--heap", "other"), "no heap 'other' in the trace"),
        ((TRACE, TRACE), f"{TRACE}: several heaps cannot be put one after the other"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, reason):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert reason in err and err.count("\n") == 1
