"""Plays a golden trace on a block pool and compares every recorded answer.

The format stands in ``tests/data/golden_pool/README.md``.  Who waits is put into the pool's
queue, as ``alloc`` does it, with a bell that notes the order; so no thread is needed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from kheap.heaps.mem_pool import MemPool
from kheap.heaps.waiting import Waiter

DATA = Path(__file__).parent.parent / "data" / "golden_pool"

Trace = tuple[dict, list[dict]]


def read_traces() -> Iterator[Trace]:
    """All traces of all files: header and operations."""
    for path in sorted(DATA.glob("*.jsonl.gz")):
        header, rows = None, []
        for line in gzip.decompress(path.read_bytes()).splitlines():
            row = json.loads(line)
            if "trace" in row:
                if header:
                    yield header, rows
                header, rows = row, []
            else:
                rows.append(row)
        yield header, rows


def pool_of(header: dict, region: bytearray | None = None) -> MemPool:
    """The pool that a trace was recorded on."""
    return MemPool(
        region,
        min_bytes=header["min"],
        max_bytes=header["max"],
        n_max=header["n_max"],
        align=header["align"],
        model=header["model"],
        policy=header.get("policy", "split_before_defrag"),
    )


class NotingBell:
    """Writes down whom it would wake."""

    def __init__(self, name: int, woken: list[int]) -> None:
        self.name, self.woken = name, woken

    def ring(self) -> None:
        self.woken.append(self.name)


class PoolPlayer:
    """One golden trace on its way through a pool."""

    def __init__(self, header: dict, region: bytearray | None = None) -> None:
        self.pool = pool_of(header, region)
        self.hidden = header.get("hdr", 0)
        self.blocks: dict[int, int] = {}
        self.waiting: dict[int, Waiter] = {}
        self.woken: list[int] = []

    def play(self, rows: list[dict]) -> None:
        """Play all rows; an ``AssertionError`` names the first that differs."""
        for index, row in enumerate(rows):
            got = getattr(self, "play_" + row["op"])(row)
            want = {key: row[key] for key in ("off", "pend", "woken") if key in row}
            want |= {
                key: row[key]
                for key in ("free", "quads", "lists")
                if row["op"] == "table" and key in row
            }
            assert got == want, f"row {index}, {row}: kheap says {got}"

    def take(self, name: int, size: int) -> dict:
        offset = self.pool.try_alloc(size + self.hidden)
        if offset is None:
            return {"off": -1}
        self.blocks[name] = offset
        return {"off": offset + self.hidden}

    def play_alloc(self, row: dict) -> dict:
        return self.take(row["id"], row["size"])

    play_malloc = play_alloc

    def play_calloc(self, row: dict) -> dict:
        return self.take(row["id"], row["n"] * row["size"])

    def play_free(self, row: dict) -> dict:
        name = row["id"]
        self.pool.free(None if name is None else self.blocks.pop(name))
        return self.served()

    play_mfree = play_free

    def play_defrag(self, row: dict) -> dict:
        self.pool.defrag()
        return self.served()

    def served(self) -> dict:
        """Who has been woken, and what he got."""
        if not self.woken:
            return {}
        told = []
        for name in self.woken:
            offset = self.waiting.pop(name).answer
            self.blocks[name] = offset
            told.append([name, offset])
        self.woken.clear()
        return {"woken": told}

    def play_wait(self, row: dict) -> dict:
        name = row["id"]
        at_once = self.take(name, row["size"])
        if at_once["off"] >= 0:
            return at_once
        waiter = Waiter(row["size"], row["prio"], NotingBell(name, self.woken))
        self.pool._queue.add(waiter)
        self.waiting[name] = waiter
        return {"pend": True}

    def play_timeout(self, row: dict) -> dict:
        self.pool._queue.discard(self.waiting.pop(row["id"]))
        return {}

    def play_table(self, row: dict) -> dict:
        told = {"free": [[size, offsets] for size, offsets in self.pool.free_blocks().items()]}
        levels = self.pool.blocks()
        if "quads" in row:
            told["quads"] = [[one.block_bytes, self.quads(one.level)] for one in levels]
        if "lists" in row:
            told["lists"] = [[one.block_bytes, list(one.free)] for one in levels]
        return told

    def quads(self, level: int) -> list[list[int]]:
        """The quad-blocks of a level in the order of its list."""
        engine, told = self.pool._engine, []
        q = engine.quad_after(level, -1)
        while q >= 0:
            told.append([engine.place(4 * q), engine.mask_of(q)])
            q = engine.quad_after(level, q)
        return told
