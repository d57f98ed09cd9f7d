"""``kheap bench``: its text, its JSON, its exit codes; on a plan that takes no time."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

import kheap
from kheap.cli.bench import BenchCommand
from kheap.study import bench
from kheap.study.bench_ops import Load

SCHEMA = Path(__file__).parents[2] / "docs/reference/schemas/bench.json"
SOME = Load(live_blocks=20, most_bytes=1 << 10)
TINY = bench.Plan(
    rounds=2,
    pairs=20,
    mix_ops=60,
    bulk_ops=60,
    shared_ops=40,
    handovers=8,
    mixes=(SOME,),
    bulks=(SOME,),
    threads=(1, 3),
)

pytestmark = pytest.mark.slow


def run(*arguments: str) -> int:
    command = BenchCommand()
    parser = argparse.ArgumentParser()
    command.prepare(parser)
    return command.run(parser.parse_args(arguments))


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", TINY)


def test_json_is_one_object_by_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert run("--quick", "--json", "--rounds", "1") == 0
    answer = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert (answer["rounds"], answer["compiled"]) == (1, kheap.COMPILED)
    assert len(answer["targets"]) == 10
    clocks = {row["group"]: row["clock"] for row in answer["rows"]}
    assert [group for group, clock in clocks.items() if clock == "wall"] == [
        "threads",
        "handover",
        "handover_async",
    ]


def test_text_names_the_build_the_sizes_and_each_target(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--quick") == 0
    text = capsys.readouterr().out
    head, *_ = text.splitlines()
    assert ("(compiled)" in head) == kheap.COMPILED
    assert "sizes log-uniform 16 B..1 KiB" in text
    assert "floor: two calls that do nothing" in text
    assert "\n1 thread, 4 live blocks in each thread, sizes" in text
    assert "\n3 threads, 4 live blocks in each thread, sizes" in text
    assert "\nsizes 512 B; wall time; ratio to asyncio.Queue, put to get" in text
    for name in (
        "pair_to_floor",
        "block_to_numpy",
        "multiprocessing_heap_to_pair",
        "bulk_cost_1m_to_1000",
    ):
        assert name in text
    assert "not measured" in text


@pytest.mark.parametrize("rounds", ["0", "-1", "many", "1001"])
def test_a_number_of_rounds_that_cannot_be_is_wrong_usage(
    rounds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run("--rounds", rounds)
    assert left.value.code == 2
    assert f"'{rounds}' is no number from 1 to 1000" in capsys.readouterr().err
