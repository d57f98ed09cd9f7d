"""Heaps of a dump as JSON: its schema, and the numbers of the heaps."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random

import pytest

import kheap
from helpers import damage
from helpers.ram import RAM, Ram
from kheap.dump import inspection
from kheap.dump.inspection import inspect
from kheap.report.machine_inspect import inspect_object
from property.broken import name_of

SCHEMA = Path(__file__).parents[3] / "docs/reference/schemas/inspect.json"
HEAP, OBJECT, SIZE = RAM + 0x400, RAM + 0x40, 1024


@pytest.fixture(scope="module")
def valid():
    """Check an object against the schema, as JSON has it."""
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

    def valid(found, verdicts=None):
        answer = json.loads(json.dumps(inspect_object(found, verdicts)))
        check.validate(answer)
        assert not check.is_valid(answer | {"more": 1})
        return answer

    return valid


@pytest.fixture
def look(tmp_path):
    def look(content, base=RAM, name=None, **options):
        path = tmp_path / "ram.bin"
        path.write_bytes(bytes(content))
        return inspect(kheap.open_dump(path, base=base), name, **options)

    return look


def target(**profile):
    ram = Ram()
    heap = ram.heap("pool", HEAP, SIZE, at=OBJECT, **profile).heap
    for block in [heap.alloc(40) for _ in range(8)][1::2]:
        heap.free(block)
    return ram


def test_a_sound_heap(valid, look):
    ram = target(runtime_stats=True)
    found = look(ram.bytes)
    answer = valid(found)
    heap, stats = ram.heaps[0].heap, ram.heaps[0].heap.stats()
    (told,) = answer.pop("heaps")
    assert answer == {
        "dump": found.dump.path,
        "format": "raw",
        "machine": None,
        "elf": None,
        "facts": {},
        "notes": [],
        "console": None,
    }
    assert told.pop("chunks") == [
        {"address": HEAP + c.offset, "state": c.state, "bytes": 8 * c.size_units, "owner": None}
        for c in heap.chunks()
    ]
    assert "points to it" in told.pop("found")
    assert told == {
        "name": "heap@0x20000400",
        "kind": "k_heap",
        "address": HEAP,
        "object_address": OBJECT,
        "size_bytes": SIZE,
        "held_bytes": SIZE,
        "profile": {
            "release": "4.4",
            "bits": 32,
            "header": "auto",
            "runtime_stats": True,
            "alloc_loops": 3,
            "hardening": "basic",
        },
        "free_bytes": stats.free_bytes,
        "allocated_bytes": stats.allocated_bytes,
        "max_allocated_bytes": 352,
        "largest_free_bytes": stats.largest_free_bytes,
        "overhead_bytes": stats.overhead_bytes,
        "fragmentation": {
            "one_minus_largest_over_free": stats.fragmentation.one_minus_largest_over_free,
            "one_minus_root_sum_squares": stats.fragmentation.one_minus_root_sum_squares,
        },
        "waiters": [],
        "unreached_blocks": 4,
        "corruption": None,
        "notes": ["nothing points to 4 of its blocks: leak suspects"],
    }


def test_the_accounting_identity(valid, look):
    (heap,) = valid(look(target().bytes))["heaps"]
    total = heap["free_bytes"] + heap["allocated_bytes"] + heap["overhead_bytes"]
    assert total == SIZE - 4
    assert sum(chunk["bytes"] for chunk in heap["chunks"]) == SIZE - 8


def test_no_heap(valid, look):
    assert valid(look(bytes(5000)))["heaps"] == []


def test_one_of_several(valid, look):
    ram = target()
    ram.heap("other", RAM + 0x1000, 512)
    assert [heap["address"] for heap in valid(look(ram.bytes))["heaps"]] == [HEAP, RAM + 0x1000]
    (heap,) = valid(look(ram.bytes, name="0x20001000"))["heaps"]
    assert heap["address"] == RAM + 0x1000


def test_owners_and_waiters(valid, look):
    ram = target()
    queue, thread = OBJECT + 12, RAM + 0x200
    ram.put(queue, thread, thread)
    ram.put(thread, queue, queue, queue)
    ram.write(thread + 12, bytes((0, 2, 0xFF)))
    used = [c for c in ram.heaps[0].heap.chunks() if c.state == "used"]
    ram.write(HEAP + used[0].offset + 4, b"a name\0")
    (heap,) = valid(look(ram.bytes))["heaps"]
    assert heap["waiters"] == [
        {"address": thread, "name": hex(thread), "priority": -1, "request_bytes": None}
    ]
    assert [chunk["owner"] for chunk in heap["chunks"]].count('"a name"') == 1
    assert {chunk["owner"] for chunk in heap["chunks"] if chunk["state"] != "used"} == {None}


def test_blocks_whose_owners_were_not_looked_for(valid, look):
    (heap,) = valid(look(target().bytes, owners=False))["heaps"]
    assert (heap["unreached_blocks"], heap["notes"]) == (None, [])


def test_owners_of_many_blocks_are_looked_for_if_asked(valid, look, monkeypatch):
    monkeypatch.setattr(inspection, "OWNED_BLOCKS", 3)
    content = target().bytes
    (heap,) = valid(look(content))["heaps"]
    assert heap["notes"] == ["4 blocks are many: who owns them is worked out with --owners"]
    assert heap["unreached_blocks"] is None
    (heap,) = valid(look(content, owners=True))["heaps"]
    assert heap["unreached_blocks"] == 4


def test_blocks_of_a_heap_that_is_only_printed_have_no_owners(valid, tmp_path):
    """Beside one whose memory is there."""
    ram, log = target(), tmp_path / "console.log"
    other = kheap.SysHeap(512, kheap.Profile(bits=32), RAM + 0x8000)
    other.alloc(40)
    lines = [other.print_info(dump_chunks=True), "#CD:BEGIN#"]
    content = struct.pack("<2sHHBBI", b"ZE", 1, 3, 5, 0, 4)
    content += struct.pack("<cHII", b"M", 1, RAM, RAM + len(ram.bytes)) + bytes(ram.bytes)
    lines += [f"#CD:{content[i : i + 32].hex()}" for i in range(0, len(content), 32)]
    log.write_text("\n".join([*lines, "#CD:END#", ""]))
    first, second = valid(inspect(kheap.open_dump(log)))["heaps"]
    assert (first["unreached_blocks"], second["unreached_blocks"]) == (4, None)


def test_verdicts(valid, look):
    found = look(target().bytes)
    verdict = found.heaps[0].image.heap.why(100)
    (heap,) = valid(found, [verdict])["heaps"]
    assert (heap["would_fit"], heap["verdict"]) == (True, "fits")
    verdict = found.heaps[0].image.heap.why(100_000)
    (heap,) = valid(found, [verdict])["heaps"]
    assert (heap["would_fit"], heap["verdict"]) == (False, "too_big")
    (heap,) = valid(found, ["cannot be told: why"])["heaps"]
    assert (heap["would_fit"], heap["verdict"]) == (False, "cannot be told: why")


def test_a_corrupt_heap(valid, look):
    ram = target()
    ram.write(HEAP + 8 * 18, b"\xe1\xe2\xe3\xe4" * 3)
    found = look(ram.bytes)
    (heap,) = valid(found)["heaps"]
    told, corruption = heap["corruption"], found.heaps[0].image.corruption
    assert (told["chunk"], told["address"]) == (18, HEAP + 144)
    assert bytes.fromhex(told["edge"]) == corruption.edge
    assert told["culprit"]["message"] == corruption.culprit.message
    assert told["message"] == corruption.message


@pytest.mark.parametrize("profile", damage.PROFILES, ids=name_of)
def test_whatever_is_damaged(valid, look, profile):
    """Each field of a heap, with the least and the most that it can hold."""
    random = Random(name_of(profile))
    heap = damage.used_heap(profile, random, 512)
    states = set()
    for field in damage.fields(heap):
        for value in (0, (1 << 8 * field.width) - 1):
            region = bytearray(heap.region)
            at = heap.start + field.at
            region[at : at + field.width] = value.to_bytes(field.width, "little")
            answer = valid(look(region, damage.BASE))
            for found in answer["heaps"]:
                states.update(chunk["state"] for chunk in found["chunks"])
                assert sum(chunk["bytes"] for chunk in found["chunks"]) == 8 * heap.n
    assert {"control", "free", "end", "damaged"} <= states


def test_a_part_of_a_heap_rebuilt_or_cut(valid, look, tmp_path):
    ram = target()
    (heap,) = valid(look(ram.bytes[: 0x400 + 500]))["heaps"]
    assert (heap["held_bytes"], heap["size_bytes"]) == (500, SIZE)
    assert heap["chunks"][-2]["state"] == "unread"
    log = tmp_path / "log.txt"
    log.write_text(ram.heaps[0].heap.print_info(dump_chunks=True))
    (heap,) = valid(inspect(kheap.open_dump(log)))["heaps"]
    assert heap["kind"] is heap["unreached_blocks"] is heap["max_allocated_bytes"] is None
