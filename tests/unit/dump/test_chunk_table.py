"""The chunks of a heap as columns."""

from __future__ import annotations

import pytest

import kheap
from helpers.damage import Named
from kheap._core.survey import Survey
from kheap.dump.chunk_table import (
    CONTROL,
    DAMAGED,
    END,
    FREE,
    STATES,
    UNDERSIZED,
    UNREAD,
    USED,
    Blocks,
    ChunkTable,
    Span,
)

PROFILES = [kheap.Profile(bits=32), kheap.Profile(bits=64), kheap.Profile(hardening="full")]


@pytest.fixture(params=PROFILES, ids=str)
def named(request):
    return Named(request.param)


def rows(table):
    return list(zip(table.chunk, table.units, table.state, strict=True))


def test_names_of_states():
    codes = CONTROL, USED, FREE, UNDERSIZED, END, DAMAGED, UNREAD
    names = "control", "used", "free", "undersized", "end", "damaged", "unread"
    assert dict(zip(codes, names, strict=True)) == dict(enumerate(STATES))


def test_a_sound_heap(named):
    heap = named.heap
    table = ChunkTable.of(Survey(heap), [Span(0, heap.n)], heap.n)
    wanted = [(c.chunk, c.size_units, STATES.index(c.state)) for c in named.chunks]
    assert rows(table) == wanted
    assert len(table) == len(named.chunks)
    for code, name in enumerate(STATES):
        sizes = [c.size_units for c in named.chunks if c.state == name]
        assert table.sizes(code) == sizes
        assert table.count(code) == len(sizes)


def test_spans_that_are_one_row(named):
    heap, at = named.heap, named.at
    spans = [Span(0, at["b"]), Span(at["b"], at["d"], UNREAD), Span(at["d"], heap.n)]
    table = ChunkTable.of(Survey(heap), spans, heap.n)
    names = ("control", "a", "b", "d", "e", "f", "tail", "end")
    assert [row[0] for row in rows(table)] == [at[name] for name in names]
    assert (at["b"], at["d"] - at["b"], UNREAD) in rows(table)
    damaged = ChunkTable.of(Survey(heap), [Span(0, heap.n, DAMAGED)], heap.n)
    assert rows(damaged) == [(0, heap.n, DAMAGED), (heap.n, 0, END)]


def test_blocks(named):
    heap = named.heap
    table = ChunkTable.of(Survey(heap), [Span(0, heap.n)], heap.n)
    blocks = table.blocks(heap.base_address, heap.hdr, heap.hdr + 8 * heap.trail)
    used = [c for c in named.chunks if c.state == "used"]
    assert list(blocks.chunk) == [c.chunk for c in used]
    offsets = [8 * c.chunk + heap.hdr for c in used]
    assert [address - heap.base_address for address in blocks.address] == offsets
    assert list(blocks.usable) == [heap.usable_bytes(offset) for offset in offsets]
    assert len(blocks) == len(used)


@pytest.mark.parametrize("address", [0, 0xFFFF_8000_0000_0000, (1 << 64) - 1024])
def test_blocks_at_any_address(address):
    named = Named(kheap.Profile())
    heap = named.heap
    table = ChunkTable.of(Survey(heap), [Span(0, heap.n)], heap.n)
    blocks = table.blocks(address, heap.hdr, heap.hdr)
    assert blocks.address[0] == address + 8 * named.at["a"] + heap.hdr


def test_nothing():
    assert len(ChunkTable()) == len(Blocks()) == 0
    assert ChunkTable().sizes(USED) == []
    blocks = ChunkTable().blocks(0x20000000, 4, 4)
    assert (len(blocks), list(blocks.address)) == (0, [])
