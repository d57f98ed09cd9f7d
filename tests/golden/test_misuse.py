"""Nine kinds of misuse, and what compiled Zephyr code did with them.

Where the original stopped or crashed, kheap raises InvalidFree or HeapCorruption and leaves
the region as that step found it.  Where the original went on by luck, kheap raises likewise or
gives the result and the bytes that the original gave.
"""

import json
import zlib

import pytest

import kheap
from helpers.build import real_data

RELEASES = {"v4.0.0": "4.0", "v4.2.0-1599": "4.2", "v4.4.0": "4.4", "v4.4.0-8294": "main"}


def scenarios():
    folder = real_data("real", "misuse")
    if folder is None:
        mark = pytest.mark.skip(reason="KHEAP_TEST_DATA is unset: no real/misuse")
        return [pytest.param(None, "basic", marks=mark, id="no-data")]
    lines = (folder / "misuse.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        pytest.param(scenario, hardening, id=f"{release_of(scenario)}-{name}-{hardening}")
        for scenario in map(json.loads, lines)
        for name in [scenario["scenario"]]
        for hardening in hardenings(scenario)
    ]


def release_of(scenario):
    return RELEASES[scenario["library"].split()[0]]


def hardenings(scenario):
    """Each level that checks at least what the recorded build checked."""
    unchecked = "no checks" in scenario["library"]
    return ["none", "basic", "moderate"] if unchecked else ["basic", "moderate"]


@pytest.mark.parametrize(("scenario", "hardening"), scenarios())
def test_misuse(scenario, hardening):
    region = bytearray([scenario["initial_byte"]]) * scenario["size"]
    profile = kheap.Profile(
        release=release_of(scenario),
        bits=32,
        header="small",
        runtime_stats=False,
        hardening=hardening,
    )
    heap = kheap.SysHeap(region, profile=profile, base_address=scenario["mem_addr"])
    steps = scenario["steps"]
    for index, step in enumerate(steps[1:], 1):
        before = bytes(region)
        try:
            got = run(heap, region, step)
        except (kheap.InvalidFree, kheap.HeapCorruption) as error:
            assert region == before, f"step {index} {step}: {error!r} after a write"
            assert misused(steps[: index + 1]), f"step {index} {step}: {error!r} without cause"
            return
        assert "outcome" not in step, f"step {index} {step}: the original stopped here"
        assert got == step.get("result"), f"step {index} {step}: kheap says {got}"
        assert zlib.crc32(region) == step["crc32"], f"step {index} {step}: the bytes differ"
    assert region.hex() == scenario["region_hex"]


def run(heap, region, step):
    """One step; poke writes over the heap's bytes as a stray pointer would."""
    op, args = step["op"], step["args"]
    if op == "poke":
        at, data = args[0], bytes.fromhex(args[1])
        region[at : at + len(data)] = data
        return None
    return heap.try_alloc(*args) if op == "alloc" else heap.free(*args)


def misused(steps):
    """Whether a step up to the last is a misuse: a poke, or a free of what is not live."""
    live = set()
    for step in steps:
        if step["op"] == "alloc":
            live.add(step.get("result"))
        elif step["op"] == "poke" or (step["op"] == "free" and step["args"][0] not in live):
            return True
        elif step["op"] == "free":
            live.remove(step["args"][0])
    return False
