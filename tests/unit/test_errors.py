"""The family of errors, their fields and their texts."""

from __future__ import annotations

import copy
import pickle

import pytest

import kheap
from kheap import errors

MADE = [
    errors.OutOfMemory("no chunk for 9 bytes", 9, 20, 8),
    errors.HeapCorruption("heap corruption at chunk 0x5", 5, "I1"),
    errors.InvalidFree("no live block at offset 3", 3),
    errors.TimedOut("no memory in 0.5 s"),
    errors.NotDefined("a heap of size 0"),
    errors.TraceError("not a size: 'x'", "trace.csv", 7),
    errors.DumpError("no heap"),
    errors.CommandError("unknown format", 1),
]


def test_everything_is_one_family():
    assert {type(error).__name__ for error in MADE} | {"KheapError"} == set(errors.__all__)
    for error in MADE:
        assert isinstance(error, kheap.KheapError)


def test_builtin_relatives():
    assert issubclass(errors.OutOfMemory, MemoryError)
    assert issubclass(errors.TimedOut, TimeoutError)
    for kind in (ValueError, TypeError):
        assert not issubclass(errors.KheapError, kind)


def test_fields():
    error = MADE[0]
    assert (error.request_bytes, error.free_bytes, error.largest_free_bytes) == (9, 20, 8)
    assert str(error) == "no chunk for 9 bytes"
    assert (MADE[1].chunk, MADE[1].invariant) == (5, "I1")
    assert MADE[2].offset == 3
    assert errors.InvalidFree("a block of another heap").offset is None
    assert errors.CommandError("wrong").exit_code == 2
    assert MADE[-1].exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "text", "path", "line"),
    [
        (("bad row",), "bad row", "", None),
        (("bad row", "t.csv"), "t.csv: bad row", "t.csv", None),
        (("bad row", "t.csv", 3), "t.csv:3: bad row", "t.csv", 3),
        (("bad row", "", 3), ":3: bad row", "", 3),
    ],
)
def test_a_trace_error_names_its_place(arguments, text, path, line):
    error = errors.TraceError(*arguments)
    assert (str(error), error.path, error.line) == (text, path, line)


def fields(error):
    return type(error), str(error), vars(error)


@pytest.mark.parametrize(
    "error",
    [pytest.param(error, id=type(error).__name__) for error in MADE],
)
def test_errors_can_be_sent_to_another_process(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert fields(again) == fields(error)
