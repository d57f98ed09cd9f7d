"""The golden traces of k_malloc over pools, played on a system heap with its descriptors."""

from __future__ import annotations

import pytest

from golden.pool_player import PoolPlayer, read_traces
from kheap.heaps.system_heap import SystemHeap

TRACES = [trace for trace in read_traces() if trace[0]["api"] == "heap"]


class PoolHeapPlayer(PoolPlayer):
    """One golden trace on its way through a system heap over a pool."""

    def __init__(self, header: dict) -> None:
        self.system = SystemHeap(
            header["heap_size"],
            implementation=header["model"],
            policy=header.get("policy", "split_before_defrag"),
            descriptor_bytes=header["hdr"],
        )
        self.pool = self.system.heap
        self.blocks: dict[int, int] = {}

    def keep(self, name: int, offset: int | None) -> dict:
        if offset is None:
            return {"off": -1}
        self.blocks[name] = offset
        return {"off": offset}

    def play_malloc(self, row: dict) -> dict:
        return self.keep(row["id"], self.system.malloc(row["size"]))

    def play_calloc(self, row: dict) -> dict:
        return self.keep(row["id"], self.system.calloc(row["n"], row["size"]))

    def play_mfree(self, row: dict) -> dict:
        name = row["id"]
        self.system.free(None if name is None else self.blocks.pop(name))
        return {}


def test_the_traces_are_there():
    assert (len(TRACES), len({header["heap_size"] for header, _ in TRACES})) == (104, 8)
    ops = {row["op"] for _, rows in TRACES for row in rows}
    assert ops == {"malloc", "calloc", "mfree", "table"}


@pytest.mark.parametrize(
    ("header", "rows"), [pytest.param(*trace, id=trace[0]["trace"]) for trace in TRACES]
)
def test_trace(header, rows):
    player = PoolHeapPlayer(header)
    player.play(rows)
    stats = player.system.stats()
    assert stats.used_count == len(player.blocks)
    for offset in player.blocks.values():
        player.system.free(offset)
    assert player.system.stats().used_count == 0
