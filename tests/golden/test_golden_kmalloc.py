"""The golden traces of the system heap: k_malloc and its family give what the original gave."""

from __future__ import annotations

import pytest

from golden.player import DATA, Player, number, profile_of, read_golden
from golden.test_golden import assert_ends_as, assert_views_agree, geometry
from kheap.heaps.system_heap import SystemHeap

KMALLOC = sorted(path.name for path in DATA.glob("*kmalloc*.jsonl"))


class SystemHeapPlayer(Player):
    """One golden trace on its way through a system heap."""

    def __init__(self, header: dict, hardening: str | None = None) -> None:
        super().__init__(header, hardening)
        self.heap.close()
        self.system = SystemHeap(
            self.region,
            profile=profile_of(header, hardening),
            base_address=self.address,
            heap_address=header["k_heap_addr"],
        )
        self.heap = self.system.heap
        self.plays |= {
            "km": self.play_malloc, "ka": self.play_system_aligned_alloc, "kc": self.play_calloc,
            "kr": self.play_system_realloc, "kf": self.play_system_free,
        }  # fmt: skip

    def keep(self, name: int, size: int, offset: int | None, want: int) -> tuple:
        self.blocks.pop(name, None)
        if offset is not None:
            self.blocks[name] = offset, size
        return want, number(offset)

    def play_malloc(self, name: int, size: int, want: int) -> tuple:
        return self.keep(name, size, self.system.malloc(size), want)

    def play_system_aligned_alloc(self, name: int, align: int, size: int, want: int) -> tuple:
        return self.keep(name, size, self.system.aligned_alloc(align, size), want)

    def play_calloc(self, name: int, count: int, size: int, want: int) -> tuple:
        offset = self.system.calloc(count, size)
        if offset is not None:
            assert not any(self.region[offset : offset + count * size]), "calloc clears"
        return self.keep(name, count * size, offset, want)

    def play_system_realloc(self, name: int, size: int, want: int) -> tuple:
        old, _ = self.blocks.get(name, (None, 0))
        offset = self.system.realloc(old, size)
        if size == 0 or offset is not None:
            return self.keep(name, size, offset, want)
        return want, number(offset)

    def play_system_free(self, name: int) -> tuple:
        offset, _ = self.blocks.pop(name, (None, 0))
        return None, self.system.free(offset)


def test_the_files_are_there():
    assert len(KMALLOC) == 5, f"golden files are missing from {DATA}"


@pytest.mark.parametrize("hardening", [None, "none", "moderate"])
@pytest.mark.parametrize("name", KMALLOC)
def test_trace(name, hardening):
    header, rows, final = read_golden(DATA / name)
    player = SystemHeapPlayer(header, hardening)
    assert geometry(player.region, player.build, player.address) == header["init"]
    player.play(rows)
    player.heap.check()
    assert_ends_as(player, final)
    assert_views_agree(player)


@pytest.mark.parametrize("name", KMALLOC)
def test_every_block_can_be_freed_in_the_end(name):
    header, rows, _ = read_golden(DATA / name)
    player = SystemHeapPlayer(header)
    player.play(rows)
    for offset, size in player.blocks.values():
        assert size <= len(player.system.view(offset)) <= player.system.usable_bytes(offset)
        player.system.free(offset)
    stats = player.system.stats()
    assert (stats.used_count, stats.free_count) == (0, 1)
