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
DUMPS = ROOT / "examples" / "dumps"
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


def inspected(name, *arguments, status):
    return answer(
        "inspect", DUMPS / name, "--elf", DUMPS / "gateway.elf", *arguments, status=status
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["gateway.bin"], SERVED),
        (["gateway-later.bin", "--heap", "_system_heap"], SERVED),
        (["gateway-overflow.bin"], FAILED),
        (["gateway.bin", "--would-fit", "400"], FAILED),
        (["gateway.bin", "--no-owners"], SERVED),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value),
)
def test_inspect(arguments, status):
    validator("inspect.json").validate(inspected(*arguments, status=status))


@pytest.mark.parametrize(
    ("at", "data"),
    [(0x4E0, b"scribble" * 60), (0x6C0, b"\0"), (0x400, bytes(24)), (0x7F8, b"\1\2\3\4\5")],
)
def test_inspect_of_damage(tmp_path, at, data):
    """By any field; also of what is no heap any more."""
    content = bytearray((DUMPS / "gateway.bin").read_bytes())
    start = len(content) - 2048 + at
    content[start : start + len(data)] = data
    path = tmp_path / "damaged.bin"
    path.write_bytes(content)
    found = answer("inspect", path, status=FAILED)
    validator("inspect.json").validate(found)
    assert [heap["corruption"] is None for heap in found["heaps"]].count(False) == 1


def test_inspect_of_a_log(tmp_path):
    path = tmp_path / "console.log"
    path.write_text("uart:~$ kernel uptime\n", encoding="utf-8")
    found = answer("inspect", path, status=FAILED)
    validator("inspect.json").validate(found)
    assert (found["format"], found["heaps"]) == ("text", [])


def test_watch():
    """Each line of it is what ``inspect`` would have said, and which sample that is."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["watch", str(DUMPS / "gateway.recording"), "--json"]) == SERVED
    samples = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [sample["sample"] for sample in samples] == [0, 1]
    check = validator("inspect.json")
    for sample in samples:
        check.validate(sample)
        del sample["t"]
        assert not check.is_valid(sample)


def parts_of(value):
    """All objects in an answer, each with the path of its keys."""
    if isinstance(value, list):
        for each in value:
            yield from parts_of(each)
    elif isinstance(value, dict):
        yield value
        for each in value.values():
            yield from parts_of(each)


def test_the_schema_of_inspect_would_notice():
    """In each object of an answer, a key too many or too few."""
    found = inspected("gateway-overflow.bin", "--would-fit", "100", status=FAILED)
    check = validator("inspect.json")
    for part in list(parts_of(found)):
        if part is found["facts"]:
            continue
        for key, value in list(part.items()):
            del part[key]
            assert not check.is_valid(found), key
            part[key] = value
        part["more"] = 1
        assert not check.is_valid(found)
        del part["more"]
    check.validate(found)


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
