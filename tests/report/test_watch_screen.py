"""The live screen: what stands on it, and its keys, for a target and for a recording."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from time import monotonic

import pytest

pytest.importorskip("textual")

from helpers.gdb_stub import GdbStub
from helpers.small_target import SmallTarget
from kheap.dump.program.image import read_image
from kheap.dump.target.gdb_remote import GdbRemote
from kheap.dump.target.live import LiveTarget, Replayed
from kheap.dump.target.recording import Header, Recorder, Recording
from kheap.errors import DumpError
from kheap.report.watch_panel import HeapPanel
from kheap.report.watch_replay import ReplayScreen
from kheap.report.watch_screen import LiveScreen

pytestmark = pytest.mark.slow

#: Longer than anything takes that comes at all.
PATIENCE_S = 30.0
SAMPLES = 6


@pytest.fixture
def target():
    target = SmallTarget(my_heap=1024, pool=2048)
    target.step()
    return target


@pytest.fixture
def image(target, tmp_path):
    return read_image(target.elf(tmp_path / "zephyr.elf"))


@pytest.fixture
def replayed(target, image, tmp_path):
    """A recording of six samples, a quarter of an hour apart; the fifth is corrupt."""
    recorder = Recorder(tmp_path / "a.khr", Header.of("gdb://localhost:1", image, None))
    for number in range(SAMPLES):
        was = bytes(target.ram)
        if number == 4:
            target.overflow("pool")
        recorder.add(900.0 * number, target.memory)
        target.ram[:] = was
        target.step()
    recorder.close()
    return Replayed(Recording(tmp_path / "a.khr"), image)


async def until(pilot, condition):
    """Let the screen go on until so it is."""
    end = monotonic() + PATIENCE_S
    while not condition():
        assert monotonic() < end, "it did not come to be"
        await pilot.pause()


def shows(screen, number):
    return lambda: screen.sample is not None and screen.sample.number == number


def words(screen):
    """What is to be read on the screen, with one space between words."""
    runs = re.findall(r"<text[^>]*>([^<]*)</text>", screen.export_screenshot())
    return " ".join(unescape(" ".join(runs)).replace("\xa0", " ").split())


async def reads(pilot, *texts):
    """Let the screen go on until all this is to be read on it."""
    await until(pilot, lambda: all(text in words(pilot.app) for text in texts))


def on(screen, test, size=(120, 40)):
    """Run the screen, and a test with its pilot."""

    async def go():
        async with screen.run_test(size=size) as pilot:
            await test(pilot)

    asyncio.run(go())


# ---------------------------------------------------------------------- a recording


def test_a_recording_is_stepped_through(replayed):
    screen = ReplayScreen("a.khr", replayed)
    allocated = [
        {heap.image.name: heap.image.stats.allocated_bytes for heap in sample.heaps}
        for sample in replayed
    ]

    async def test(pilot):
        await until(pilot, shows(screen, 0))
        await reads(pilot, "kheap watch sample 1 of 6 playing 0.0 s a.khr")
        for key, number in [("right", 1), ("right", 2), ("left", 1), ("end", 5), ("right", 5),
                            ("home", 0), ("left", 0), ("right", 1)]:  # fmt: skip
            await pilot.press(key)
            await until(pilot, shows(screen, number))
            await reads(pilot, f"sample {number + 1} of 6 paused {900 * number:,}.0 s")
            await reads(pilot, *(f"allocated {count:,} B" for count in allocated[number].values()))

    on(screen, test)


def test_a_recording_plays_to_its_end(replayed):
    screen = ReplayScreen("a.khr", replayed, interval_s=0.0)

    async def test(pilot):
        await until(pilot, shows(screen, 5))
        await reads(pilot, "sample 6 of 6 paused")
        assert screen.met_corruption

    on(screen, test)


def test_from_its_end_it_is_played_from_the_start(replayed):
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await pilot.press("end")
        await until(pilot, shows(screen, 5))
        await pilot.press("space")
        await until(pilot, shows(screen, 0))
        await reads(pilot, "sample 1 of 6 playing")

    on(screen, test)


def test_pause_stops_it(replayed):
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await until(pilot, shows(screen, 0))
        await pilot.press("space")
        await reads(pilot, "sample 1 of 6 paused")
        await pilot.press("space")
        await until(pilot, shows(screen, 1))
        await reads(pilot, "sample 2 of 6 playing")

    on(screen, test)


def test_only_so_many_samples(replayed):
    screen = ReplayScreen("a.khr", replayed, count=3)

    async def test(pilot):
        await pilot.press("end")
        await until(pilot, shows(screen, 2))
        await reads(pilot, "sample 3 of 3 paused")

    on(screen, test)


def test_the_history_is_there_after_a_jump(replayed):
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await pilot.press("end")
        await until(pilot, shows(screen, 5))
        await until(pilot, lambda: len(screen.points) == SAMPLES)
        await pilot.pause()
        assert len(screen._panels["pool"]._history) == SAMPLES

    on(screen, test)


def test_corruption_is_marked(replayed):
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await until(pilot, shows(screen, 0))
        assert not screen.met_corruption
        for _ in range(4):
            await pilot.press("right")
        await until(pilot, shows(screen, 4))
        await pilot.pause()
        assert screen._panels["pool"].has_class("corrupt")
        assert not screen._panels["my_heap"].has_class("corrupt")
        await reads(pilot, "corrupt chunk ")
        assert screen.met_corruption

    on(screen, test)


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (40, 10), (8, 3)])
def test_any_size_and_either_theme(replayed, size):
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await until(pilot, shows(screen, 0))
        before = screen.current_theme.dark
        await pilot.press("t")
        await pilot.pause()
        assert screen.current_theme.dark is not before
        for panel in screen.query(HeapPanel):
            lines = panel.render().plain.splitlines()
            assert len(lines) == panel.content_size.height or not panel.content_size.width
            assert max(map(len, lines), default=0) <= panel.content_size.width
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        panel = screen._panels["pool"]
        assert len(panel.render().plain.splitlines()) == panel.content_size.height

    on(screen, test, size)


def test_a_damaged_sample_ends_it(replayed, tmp_path):
    replayed.recording._samples[1].segments.append((0, b"damaged"))
    screen = ReplayScreen("a.khr", replayed)

    async def test(pilot):
        await until(pilot, shows(screen, 0))
        await pilot.press("right")
        await until(pilot, lambda: screen.error is not None)

    on(screen, test)
    assert isinstance(screen.error, DumpError)


def test_quit(replayed):
    for key in ("q", "ctrl+c"):
        screen = ReplayScreen("a.khr", replayed)

        async def test(pilot, screen=screen, key=key):
            await until(pilot, shows(screen, 0))
            await pilot.press(key)
            await until(pilot, lambda: not screen._feeder.is_alive() or screen._exit)

        on(screen, test)
        assert not screen._feeder.is_alive()
        assert screen.error is None


# ---------------------------------------------------------------------- a target


def test_a_target_is_watched(target, image):
    with GdbStub(target.memory.read, step=target.step) as stub:
        with GdbRemote(stub.url) as remote:
            screen = LiveScreen(stub.url, LiveTarget(remote, image), interval_s=0.05)

            async def test(pilot):
                await until(pilot, lambda: screen.sample and screen.sample.number >= 3)
                await pilot.press("space")
                await reads(pilot, "kheap watch sample ", stub.url)
                for heap in screen.sample.heaps:
                    stats = heap.image.stats
                    await reads(
                        pilot,
                        heap.image.name,
                        f"free {stats.free_bytes:,} B",
                        f"allocated {stats.allocated_bytes:,} B",
                        f"blocks {stats.used_count}",
                    )

            on(screen, test)
        assert stub.running
    assert (screen.error, screen.met_corruption) == (None, False)


def test_only_so_many_samples_of_a_target(target, image):
    seen = []
    with GdbStub(target.memory.read, step=target.step) as stub, GdbRemote(stub.url) as remote:
        live = LiveTarget(remote, image)
        screen = LiveScreen(stub.url, live, interval_s=0.0, count=4, on_sample=seen.append)

        async def test(pilot):
            await until(pilot, lambda: not screen._feeder.is_alive())

        on(screen, test)
    assert [sample.number for sample in seen] == [0, 1, 2, 3]


def test_pause_holds_the_screen_and_not_the_target(target, image):
    with GdbStub(target.memory.read, step=target.step) as stub, GdbRemote(stub.url) as remote:
        screen = LiveScreen(stub.url, LiveTarget(remote, image), interval_s=0.05)

        async def test(pilot):
            await until(pilot, lambda: screen.sample is not None)
            await pilot.press("space")
            number = screen.sample.number
            await reads(pilot, "paused: the target runs on")
            await until(pilot, lambda: screen._newest.number > number + 2)
            assert screen.sample.number == number
            await pilot.press("space")
            assert screen.sample.number > number + 2

        on(screen, test)


def test_a_target_without_a_heap_yet(target, image):
    for address in target.object_address.values():
        target.ram[address - 0x20000000 : address - 0x20000000 + 12] = bytes(12)
    with GdbStub(target.memory.read) as stub, GdbRemote(stub.url) as remote:
        screen = LiveScreen(stub.url, LiveTarget(remote, image), interval_s=0.0)

        async def test(pilot):
            await until(pilot, lambda: screen.sample is not None)
            await reads(pilot, "pool is not initialised")
            await reads(pilot, "no heap found")
            assert not screen.query(HeapPanel)

        on(screen, test)


def test_a_target_that_is_gone_ends_it(target, image):
    with GdbStub(target.memory.read) as stub, GdbRemote(stub.url) as remote:
        screen = LiveScreen(stub.url, LiveTarget(remote, image), interval_s=0.0)

        async def test(pilot):
            await until(pilot, lambda: screen.sample is not None)
            stub.manners.answers = {"m": b"W00"}
            await until(pilot, lambda: screen.error is not None)

        on(screen, test)
    assert str(screen.error) == f"{stub.url}: the target has exited"
