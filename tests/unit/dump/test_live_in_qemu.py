"""A Cortex-M3 in QEMU, watched through QEMU's own GDB server."""

from __future__ import annotations

import pytest

from helpers.build import real_files
from helpers.elf_maker import Section, Symbol, make_elf
from helpers.qemu import COUNTER, RAM, microcontroller
from helpers.small_target import SmallTarget
from kheap import SysHeap
from kheap.dump.program.image import read_image
from kheap.dump.target.gdb_remote import GdbRemote
from kheap.dump.target.live import LiveTarget
from kheap.errors import DumpError
from kheap.profile import Profile

pytestmark = pytest.mark.slow


def counted(remote):
    return int.from_bytes(remote.read(COUNTER, 4), "little")


def until_more(url, count):
    """Look, again and again, until the program has counted on; what it counted to."""
    for _ in range(1000):
        with GdbRemote(url) as remote:
            now = counted(remote)
        if now > count:
            return now
    raise AssertionError(f"the program stands still at {count}")


def test_a_target_is_watched_and_runs_on(tmp_path):
    target = SmallTarget(my_heap=2048, pool=1024)
    for _ in range(5):
        target.step()
    target.wait("pool", 7)
    image = read_image(target.elf(tmp_path / "zephyr.elf"))
    with microcontroller(tmp_path, target.ram) as url:
        with GdbRemote(url) as remote:
            assert (remote.running, counted(remote)) == (False, 0)
            live = LiveTarget(remote, image)
            for _ in range(3):
                sample = live.sample()
                assert remote.running
                stats = {heap.image.name: heap.image.stats for heap in sample.heaps}
                assert stats == {name: heap.stats() for name, heap in target.heaps.items()}
                assert [waiter.priority for waiter in sample.heaps[1].waiters] == [7]
            remote.halt()
            assert remote.read(RAM, 0x7000) == bytes(target.ram[:0x7000])
            assert remote.read(0x90000000, 4) is None
        until_more(url, until_more(url, 0))


def test_qemu_cannot_be_read_while_it_runs_and_is_not_left_stopped(tmp_path):
    with microcontroller(tmp_path, bytes(64)) as url:
        hint = pytest.raises(DumpError, match="try without --no-halt")
        with hint, GdbRemote(url, halts=False) as remote:
            remote.timeout_s = 0.1
            remote.read(RAM, 4)
        until_more(url, until_more(url, 0))


#: Of the program that the real images are of: its ``struct k_heap``, and the region.
OBJECT, REGION, REGION_BYTES = 0x200000A4, 0x200008A8, 2120


@pytest.mark.parametrize("ram", real_files("qemu_ram", pattern="ram_*.bin"))
def test_the_heap_of_a_real_program(tmp_path, ram):
    content = ram.read_bytes()
    symbols = [
        Symbol("my_kernel_heap", OBJECT, 20),
        Symbol("kheap_my_kernel_heap", REGION, REGION_BYTES),
    ]
    elf = make_elf(
        tmp_path / "zephyr.elf",
        symbols=symbols,
        sections=[Section(".ram", RAM, len(content))],
        config={"SYS_HEAP_RUNTIME_STATS": 1},
    )
    profile = Profile(release="4.3", bits=32)
    with microcontroller(tmp_path, content) as url, GdbRemote(url) as remote:
        sample = LiveTarget(remote, read_image(elf), profile).sample()
    (heap,) = sample.heaps
    region = bytearray(content[REGION - RAM :][:REGION_BYTES])
    assert heap.image.corruption is None
    assert heap.image.stats == SysHeap.open(region, profile, REGION).stats()
    if ram.name == "ram_12.bin":
        # A checkerboard: 1,024 bytes are free, and a request for 16 fails.
        assert (heap.image.stats.free_count, heap.image.heap.why(16)) == (64, "fragmented")
