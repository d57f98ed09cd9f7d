"""Recordings: every sample comes back as it was, in any order, from a file of any end."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kheap.dump.memory import Memory
from kheap.dump.target.recording import MOST_DELTAS, Header, Recorder, Recording
from kheap.errors import DumpError
from kheap.profile import Profile

RAM = 0x20000000
HEADER = Header(
    "gdb://localhost:1234", "zephyr.elf", "9f86", Profile(release="3.7", bits=32), ((RAM, "a"),)
)


def held(pieces):
    """A memory of (address, bytes)."""
    memory = Memory()
    for address, data in pieces:
        memory.add(address, data)
    return memory


def content(memory):
    """What a memory holds, however it is cut: address and byte."""
    return {s.address + i: byte for s in memory.segments for i, byte in enumerate(s.data)}


def record(path, samples, header=HEADER):
    recorder = Recorder(path, header)
    for t, pieces in enumerate(samples):
        recorder.add(t, held(pieces))
    recorder.close()
    return Recording(path)


def edited(path, edit):
    """Write the file again, its lines as objects put through ``edit``."""
    with gzip.open(path) as file:
        lines = [json.loads(line) for line in file]
    edit(lines)
    with gzip.open(path, "wb") as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in lines)


PIECES = st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=200)), max_size=4)


@settings(max_examples=60)
@given(samples=st.lists(PIECES, min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_every_sample_comes_back_in_any_order(tmp_path_factory, samples, order):
    recording = record(tmp_path_factory.mktemp("r") / "a.khr", samples)
    assert recording.times == list(range(len(samples)))
    for number in order.choices(range(len(samples)), k=12):
        assert content(recording.memory(number)) == content(held(samples[number]))


def test_the_header_comes_back(tmp_path):
    assert record(tmp_path / "a.khr", [[(RAM, b"x")]]).header == HEADER
    bare = Header("gdb://localhost:1234")
    assert record(tmp_path / "a.khr", [[(RAM, b"x")]], bare).header == bare


def test_steps_back_over_many_samples(tmp_path):
    ram = bytearray(512)
    samples = []
    for i in range(3 * MOST_DELTAS):
        ram[i % 512] = i % 256
        samples.append([(RAM, bytes(ram))])
    recording = record(tmp_path / "a.khr", samples)
    for number in reversed(range(len(samples))):
        assert bytes(recording.memory(number).read(RAM, 512)) == samples[number][0][1]


def test_only_what_changed_is_written(tmp_path):
    noise = zlib.compress(bytes(range(256)) * 300, 0)[:65536]
    changed = bytearray(noise)
    changed[40000] ^= 1
    whole = record(tmp_path / "one.khr", [[(RAM, noise)]])
    assert content(whole.memory(0)) == content(held([(RAM, noise)]))
    record(tmp_path / "many.khr", [[(RAM, noise)], [(RAM, bytes(changed))], [(RAM, noise)]])
    with gzip.open(tmp_path / "many.khr") as file:
        _, full, *deltas = [json.loads(line) for line in file]
    assert full["full"]
    assert full["ranges"] == [[RAM, 65536]]
    for delta in deltas:
        assert "ranges" not in delta
        assert not delta["full"]
        ((address, data),) = delta["segments"]
        assert address == RAM + 40000
        assert len(zlib.decompress(base64.b64decode(data))) == 64


def test_each_sample_is_in_the_file_when_it_was_added(tmp_path):
    recorder = Recorder(tmp_path / "a.khr", HEADER)
    recorder.add(0.5, held([(RAM, b"first")]))
    recording = Recording(tmp_path / "a.khr")
    assert (len(recording), recording.times, recording.is_cut_short) == (1, [0.5], True)
    recorder.close()
    assert not Recording(tmp_path / "a.khr").is_cut_short


def test_a_file_cut_anywhere_gives_the_samples_before(tmp_path):
    samples = [[(RAM, bytes([i]) * 40)] for i in range(5)]
    path = tmp_path / "a.khr"
    record(path, samples)
    whole = path.read_bytes()
    counts = []
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            recording = Recording(path)
        except DumpError as error:
            counts.append(0)
            assert str(error) in (
                f"{path}: not a recording of kheap watch",
                f"{path}: the recording holds no sample",
            )
            continue
        counts.append(len(recording))
        assert recording.is_cut_short
        for number in range(len(recording)):
            assert content(recording.memory(number)) == content(held(samples[number]))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4, 5}


def test_a_sample_that_is_not_there(tmp_path):
    recording = record(tmp_path / "a.khr", [[(RAM, b"x")]])
    for number in (-1, 1):
        with pytest.raises(IndexError):
            recording.memory(number)


# ---------------------------------------------------------------------- what is no recording


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF" + bytes(60), gzip.compress(b""), gzip.compress(b"[]\n"),
     gzip.compress(b'{"format": "other"}\n'), gzip.compress(b"[" * 100_000 + b"\n")],
    ids=["empty", "elf", "nothing", "list", "other", "deep"],
)  # fmt: skip
def test_not_a_recording(tmp_path, data):
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    with pytest.raises(DumpError) as caught:
        Recording(path)
    assert str(caught.value) == f"{path}: not a recording of kheap watch"


A_SAMPLE = "expected a sample: t, full, ranges, segments"


@pytest.mark.parametrize(
    ("line", "field", "value", "reason"),
    [
        (1, "version", 2, "expected version 1, found 2"),
        (1, "target", None, "expected texts as target, elf and elf_sha256"),
        (1, "elf", 3, "expected texts as target, elf and elf_sha256"),
        (1, "profile", {"bits": 16}, "bits"),
        (1, "profile", {"cores": 2}, "cores"),
        (1, "profile", [], "mapping"),
        (1, "names", [RAM], "line 1: "),
        (1, "names", [["", "x"]], "line 1: "),
        (2, "t", "soon", A_SAMPLE),
        (2, "t", None, A_SAMPLE),
        (2, "t", 10**400, A_SAMPLE),
        (2, "t", float("nan"), A_SAMPLE),
        (2, "t", 5, "line 3: the time goes backwards"),
        (2, "full", False, "expected a full sample in any 64"),
        (2, "ranges", [[RAM, 8], [RAM + 7, 8]], A_SAMPLE),
        (2, "ranges", [[RAM + 16, 8], [RAM, 8]], A_SAMPLE),
        (2, "ranges", [[RAM, 0]], A_SAMPLE),
        (2, "ranges", [[RAM, -1]], A_SAMPLE),
        (2, "ranges", [[RAM, 1 << 40]], A_SAMPLE),
        (2, "ranges", [[1 << 70, 1]], A_SAMPLE),
        (2, "ranges", [[2 * i, 1] for i in range((1 << 16) + 1)], A_SAMPLE),
        (2, "ranges", [RAM, 8], A_SAMPLE),
        (2, "segments", [[RAM]], A_SAMPLE),
        (2, "segments", [[RAM, 5]], A_SAMPLE),
        (2, "segments", [["RAM", ""]], A_SAMPLE),
        (2, "segments", None, A_SAMPLE),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_line_that_is_not_as_it_should_be(tmp_path, line, field, value, reason):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"12345678")], [(RAM, b"12345679")]])
    edited(path, lambda lines: lines[line - 1].update({field: value}))
    with pytest.raises(DumpError) as caught:
        Recording(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        "not base64",
        base64.b64encode(b"not zlib").decode(),
        base64.b64encode(zlib.compress(b"cut off")[:-6]).decode(),
        base64.b64encode(zlib.compress(bytes((1 << 26) + 1))).decode(),
    ],
    ids=["base64", "zlib", "cut", "bomb"],
)
def test_a_damaged_segment(tmp_path, text):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"12345678")], [(RAM, b"12345679")]])
    edited(path, lambda lines: lines[2]["segments"].append([RAM, text]))
    recording = Recording(path)
    assert bytes(recording.memory(0).read(RAM, 8)) == b"12345678"
    with pytest.raises(DumpError) as caught:
        recording.memory(1)
    assert str(caught.value) == f"{path}: line 3: a segment is damaged, or too large"


def test_a_segment_outside_all_ranges_is_nowhere(tmp_path):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"12345678")]])
    data = base64.b64encode(zlib.compress(b"abcd")).decode()
    edited(path, lambda lines: lines[1]["segments"].append([RAM + 6, data]))
    assert content(Recording(path).memory(0)) == content(held([(RAM, b"123456ab")]))


def test_deltas_without_end_are_refused(tmp_path):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"12345678")], [(RAM, b"12345679")]])
    edited(path, lambda lines: lines.extend([lines[2]] * MOST_DELTAS))
    with pytest.raises(DumpError, match=r"line 66: expected a full sample in any 64"):
        Recording(path)


def test_a_last_line_without_its_end_is_cut_short(tmp_path):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"first")], [(RAM, b"second")]])
    with gzip.open(path) as file:
        lines = file.read()
    path.write_bytes(gzip.compress(lines[:-2]))
    recording = Recording(path)
    assert (len(recording), recording.is_cut_short) == (1, True)


def test_no_more_text_is_read_than_there_may_be(tmp_path, monkeypatch):
    path = tmp_path / "a.khr"
    record(path, [[(RAM, b"first")], [(RAM, b"second")]])
    monkeypatch.setattr("kheap.dump.target.recording.MOST_TEXT_BYTES", 300)
    with pytest.raises(DumpError, match=f"{path}: more than 300 bytes of text"):
        Recording(path)


def test_a_piece_that_grows_on_both_sides(tmp_path):
    samples = [[(RAM + 16, b"middle")], [(RAM, b"a" * 16 + b"middle" + b"b" * 16)]]
    recording = record(tmp_path / "a.khr", samples)
    assert content(recording.memory(1)) == content(held(samples[1]))
