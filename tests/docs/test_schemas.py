"""What ``--json`` prints is what the schemas describe."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from docs.pages import DOCS, ROOT
from kheap.cli import main
from kheap.trace import FORMATS, WRITABLE

jsonschema = pytest.importorskip("jsonschema")

SCHEMAS = DOCS / "reference" / "schemas"
TRACES = ROOT / "examples" / "traces"
LVGL, TCP = TRACES / "lvgl_stress.sys.jsonl.gz", TRACES / "tcp_sockets.sys.jsonl.gz"
SERVED, FAILED = 0, 1


def validator(name):
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def answer(*arguments, status):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main([*map(str, arguments), "--json"]) == status
    return json.loads(said.getvalue())


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_schemas_are_schemas(path):
    validator(path.name)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([LVGL], SERVED),
        ([LVGL, "--size", "17K", "--profile", "bits=32"], SERVED),
        ([LVGL, "--size", "16K", "--profile", "bits=32"], FAILED),
        ([LVGL, "--size", "8K", "--profile", "bits=32,release=4.3"], FAILED),
        ([LVGL, "--size", "16K", "--profile", "release=2.6"], FAILED),
        ([LVGL, "--size", "20K", "--profile", "hardening=full"], FAILED),
        ([TCP], SERVED),
        ([TCP, "--size", "256", "--heap", "net_buf_mem_pool_rx_bufs"], FAILED),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(map(str, value[1:])) or "plain",
)
def test_replay(arguments, status):
    found = answer("replay", *arguments, status=status)
    validator("replay.json").validate(found)
    assert bool(found["failed"]) == (status == FAILED)
    assert (found["first_failure"] is None) == (status == SERVED)


def test_replay_of_several_heaps():
    found = answer("replay", TCP, status=SERVED)
    assert len(found["heaps"]) == 2
    several = ("base_address", "peak_allocated_bytes", "peak_offset_bytes", "final")
    assert [found[key] for key in several] == [None] * 4


def test_replay_with_notes_and_skipped_lines(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("op,id,size,x\nalloc,1,0,\nnonsense\nfree,9,,\nfree,1,,\n", encoding="utf-8")
    found = answer("replay", path, "--size", "1K", "--lenient", status=FAILED)
    validator("replay.json").validate(found)
    assert found["skipped_lines"] == 1
    assert found["notes"] == {
        "column 'x' is not read": 1,
        "free of an id that holds no block": 1,
    }
    assert found["failed_by_verdict"] == {"too_big": 1}


def test_replay_of_a_heap_that_is_initialised_again(tmp_path):
    init = {"op": "init", "heap": 1, "mem": 4096, "size": 256}
    alloc = {"op": "alloc", "heap": 1, "size": 8, "result": 4184}
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [init, alloc] * 2), encoding="utf-8")
    found = answer("replay", path, status=SERVED)
    validator("replay.json").validate(found)
    assert [heap["name"] for heap in found["heaps"]] == ["0x1", "0x1 #2"]


@pytest.mark.parametrize("target", WRITABLE)
def test_convert(tmp_path, target):
    heap = ["--heap", "net_buf_mem_pool_rx_bufs"]
    found = answer("convert", TCP, tmp_path / "t", "--to", target, *heap, status=SERVED)
    check = validator("convert.json")
    check.validate(found)
    assert bool(found["lost"]) == (target not in ("syslog", "kh"))
    for key in found:
        assert not check.is_valid({k: v for k, v in found.items() if k != key})
    assert not check.is_valid(found | {"more": 1})


def test_the_formats_of_convert():
    properties = validator("convert.json").schema["properties"]
    assert properties["input_format"]["enum"] == list(FORMATS)
    assert properties["output_format"]["enum"] == list(WRITABLE)
    assert validator("replay.json").schema["properties"]["format"]["enum"] == list(FORMATS)


def test_the_schema_would_notice():
    """A key too many, and one too few, are no valid answer."""
    found = answer("replay", TCP, status=SERVED)
    check = validator("replay.json")
    assert check.is_valid(found)
    assert not check.is_valid(found | {"more": 1})
    for key in found:
        assert not check.is_valid({k: v for k, v in found.items() if k != key})
    heap = found["heaps"][0]
    assert not check.is_valid(found | {"heaps": [heap | {"more": 1}]})
    assert not check.is_valid(found | {"failed": -1})
