"""Every answer of the golden pool traces: what kheap gives must be what the original gave."""

import pytest

from golden.pool_player import PoolPlayer, read_traces

TRACES = list(read_traces())


def test_the_traces_are_there():
    models = [header["model"] for header, _ in TRACES]
    assert (len(models), models.count("quad")) == (271, 173)
    ops = {row["op"] for _, rows in TRACES for row in rows}
    assert ops == {
        "alloc", "calloc", "defrag", "free", "malloc", "mfree", "table", "timeout", "wait",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("header", "rows"), [pytest.param(*trace, id=trace[0]["trace"]) for trace in TRACES]
)
def test_trace(header, rows):
    player = PoolPlayer(header)
    player.play(rows)
    assert_adds_up(player)


def test_the_memory_is_not_touched():
    header, rows = next(trace for trace in TRACES if trace[0]["n_max"] > 4)
    region = bytearray(b"\xa5") * (header["n_max"] * header["max"])
    PoolPlayer(header, region).play(rows)
    assert set(region) == {0xA5}


def assert_adds_up(player):
    """The pool's numbers are those of the blocks that live, and no two blocks overlap."""
    stats, levels = player.pool.stats(), player.pool.blocks()
    used = {block.offset: one.block_bytes for one in levels for block in one.used}
    assert sorted(used) == sorted(player.blocks.values())
    assert stats.allocated_bytes == sum(used.values()) <= stats.max_allocated_bytes
    assert stats.free_bytes + stats.allocated_bytes + stats.lost_bytes == stats.size_bytes
    everything = used | {offset: one.block_bytes for one in levels for offset in one.free}
    end = 0
    for offset, size in sorted(everything.items()):
        assert offset >= end, f"the block at {offset} begins within the one before"
        end = offset + size
    assert end <= stats.size_bytes
