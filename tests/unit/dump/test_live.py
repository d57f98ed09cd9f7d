"""Samples of a running target and of its recording: numbers, changes, and unlucky moments."""

from __future__ import annotations

import pytest

from helpers.gdb_stub import GdbStub
from helpers.small_target import PROFILE, SmallTarget
from kheap.dump.memory import Memory
from kheap.dump.program.image import read_image
from kheap.dump.target.gdb_remote import GdbRemote
from kheap.dump.target.live import MOST_TAKES, LiveTarget, Replayed, UsedChunk
from kheap.dump.target.recording import Header, Recorder, Recording
from kheap.errors import DumpError


class Ticks:
    """A clock that goes on by half a second each time it is read."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 0.5
        return self.now


@pytest.fixture
def target():
    return SmallTarget(my_heap=2048, pool=1024)


@pytest.fixture
def image(target, tmp_path):
    return read_image(target.elf(tmp_path / "zephyr.elf"))


def watched(stub, image, **options):
    """Samples of the target behind ``stub``: its remote, and what takes them."""
    remote = GdbRemote(stub.url)
    return remote, LiveTarget(remote, image, clock=Ticks(), pause=lambda _: None, **options)


def numbers(sample):
    return {heap.image.name: heap.image.stats for heap in sample.heaps}


class States:
    """What the heaps are in each sample: at first, and after each time the target ran."""

    def __init__(self, target):
        self.target = target
        self.stats, self.used = [], []
        self.note()

    def note(self):
        heaps = self.target.heaps
        self.stats.append({name: heap.stats() for name, heap in heaps.items()})
        self.used.append({name: _used(heap) for name, heap in heaps.items()})

    def step(self):
        self.target.step()
        self.note()


def _used(heap):
    return {UsedChunk(c.chunk, c.size_units) for c in heap.chunks() if c.state == "used"}


def test_each_sample_is_the_heaps_of_one_moment(target, image):
    target.wait("pool", 5, -3)
    states = States(target)
    with GdbStub(target.memory.read, step=states.step) as stub:
        remote, live = watched(stub, image)
        with remote:
            samples = [live.sample() for _ in range(6)]
        assert stub.running
    for number, sample in enumerate(samples):
        assert (sample.number, sample.t, sample.takes) == (number, number * 0.5, 1)
        assert numbers(sample) == states.stats[number]
        assert not sample.is_corrupt
        my_heap, pool = sample.heaps
        assert my_heap.waiters == ()
        assert [waiter.priority for waiter in pool.waiters] == [5, -3]
    assert samples[0].changes == {}
    for number in range(1, 6):
        change = samples[number].changes["my_heap"]
        was, now = (states.used[i]["my_heap"] for i in (number - 1, number))
        assert (set(change.came), set(change.gone)) == (now - was, was - now)
        assert change.per_second(3) == 6.0


def test_no_time_no_rate(target, image):
    with GdbStub(target.memory.read, step=target.step) as stub, GdbRemote(stub.url) as remote:
        live = LiveTarget(remote, image, clock=lambda: 1.0)
        live.sample()
        assert live.sample().changes["pool"].per_second(1) is None


def test_only_the_wanted_heap_is_read(target, image):
    with GdbStub(target.memory.read) as stub:
        remote, live = watched(stub, image, heap="pool")
        with remote:
            assert list(numbers(live.sample())) == ["pool"]
            region = target.heaps["my_heap"].base_address
            assert live.sample().memory.extent(region + 1024) == 0
        remote, live = watched(stub, image, heap=hex(region))
        with remote:
            assert list(numbers(live.sample())) == ["my_heap"]


def test_a_sample_keeps_what_was_read_and_fetches_no_more(target, image):
    with GdbStub(target.memory.read) as stub:
        remote, live = watched(stub, image)
        with remote:
            sample = live.sample()
        count = len(stub.requests)
        assert sample.memory.read(target.heaps["pool"].base_address, 1024) is not None
        assert sample.memory.read(0x20007000, 4) is None
        assert len(stub.requests) == count


def test_a_heap_that_is_not_initialised_is_noted(target, image):
    address = target.object_address["pool"] - 0x20000000
    was, target.ram[address : address + 12] = target.ram[address : address + 12], bytes(12)

    def step():
        target.ram[address : address + 12] = was

    with GdbStub(target.memory.read, step=step) as stub:
        remote, live = watched(stub, image)
        with remote:
            sample = live.sample()
            assert list(numbers(sample)) == ["my_heap"]
            assert sample.inspection.dump.notes == [
                "pool is not initialised: its object holds no heap"
            ]
            sample = live.sample()
            assert list(numbers(sample)) == ["my_heap", "pool"]
            assert list(sample.changes) == ["my_heap"]


def test_a_heap_whose_size_only_its_control_block_tells(target, tmp_path):
    address = target.object_address["pool"] - 0x20000000
    target.ram[address + 4 : address + 12] = bytes(8)
    path = target.elf(tmp_path / "zephyr.elf")
    with open(path, "r+b") as file:
        content = file.read().replace(b"kheap_pool", b"other_pool")
        file.seek(0)
        file.write(content)
    with GdbStub(target.memory.read) as stub:
        remote, live = watched(stub, read_image(path))
        with remote:
            sample = live.sample()
    assert numbers(sample) == {name: heap.stats() for name, heap in target.heaps.items()}


# ---------------------------------------------------------------------- unlucky moments


def test_a_heap_met_in_the_middle_of_a_change_is_read_again(target, image):
    target.step()
    was = bytes(target.heaps["pool"].region)
    target.overflow("pool")

    def step():
        if stub.requests.count("vCont;c") == 2:
            target.repair("pool", was)

    with GdbStub(target.memory.read, step=step) as stub:
        remote, live = watched(stub, image)
        with remote:
            sample = live.sample()
    assert sample.takes == 3
    assert not sample.is_corrupt


def test_what_stays_corrupt_is_believed_and_not_read_again(target, image):
    target.step()
    with GdbStub(target.memory.read) as stub:
        remote, live = watched(stub, image)
        with remote:
            assert live.sample().takes == 1
            target.overflow("pool")
            sample = live.sample()
            assert sample.takes == MOST_TAKES
            assert sample.is_corrupt
            assert list(sample.changes) == ["my_heap"]
            assert live.sample().takes == 1


def test_an_error_while_reading_leaves_the_target_running(target, image):
    with GdbStub(target.memory.read) as stub:
        remote, live = watched(stub, image)
        with pytest.raises(DumpError, match="malformed"), remote:
            live.sample()
            stub.manners.answers = {"m": b"zz"}
            live.sample()
        assert stub.running


# ---------------------------------------------------------------------- recordings


@pytest.fixture
def recorded(target, image, tmp_path):
    """A recording of eight samples, with the statistics that each should have."""
    states = States(target)
    recorder = Recorder(tmp_path / "a.khr", Header.of("gdb://localhost:1", image, None))
    with GdbStub(target.memory.read, step=states.step) as stub:
        remote, live = watched(stub, image)
        with remote:
            for _ in range(8):
                sample = live.sample()
                recorder.add(sample.t, sample.memory)
    recorder.close()
    return Recording(tmp_path / "a.khr"), states.stats[:8]


@pytest.mark.parametrize("with_image", [True, False])
def test_a_recording_gives_the_same_samples(recorded, image, with_image):
    recording, expected = recorded
    replayed = Replayed(recording, image if with_image else None)
    assert [numbers(sample) for sample in replayed] == expected
    assert len(replayed) == 8
    for number in (7, 0, 3, 4, 2):
        sample = replayed.sample(number)
        assert (sample.number, sample.t) == (number, number * 0.5)
        assert numbers(sample) == expected[number]
        assert list(sample.changes) == (["my_heap", "pool"] if number else [])
        if number:
            more = sample.changes["pool"].allocated_bytes
            was, now = (expected[i]["pool"].allocated_bytes for i in (number - 1, number))
            assert more == now - was
            assert sample.changes["pool"].seconds == 0.5


def test_a_recording_knows_its_program(recorded, image, tmp_path):
    header = recorded[0].header
    assert header.profile == PROFILE
    assert [name for _, name in header.names] == ["my_heap", "pool"]
    assert header.is_of(image.path)
    (tmp_path / "other.elf").write_bytes(b"other")
    assert not header.is_of(str(tmp_path / "other.elf"))
    assert not header.is_of(str(tmp_path / "none.elf"))


def test_one_heap_of_a_recording(recorded):
    replayed = Replayed(recorded[0], heap="pool")
    assert [list(numbers(sample)) for sample in replayed] == [["pool"]] * 8


def test_an_empty_sample_holds_no_heap(tmp_path):
    recorder = Recorder(tmp_path / "a.khr", Header("gdb://localhost:1"))
    recorder.add(0.0, Memory())
    recorder.close()
    sample = Replayed(Recording(tmp_path / "a.khr")).sample(0)
    assert sample.heaps == []
    assert not sample.is_corrupt
