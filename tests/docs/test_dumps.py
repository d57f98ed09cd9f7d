"""The sample dumps are what their script makes, and what the README shows of them is so."""

from __future__ import annotations

import runpy
import shlex

import pytest

from docs.pages import ROOT, blocks
from docs.test_code import commands, matches, run_command
from kheap.dump.target.recording import Recording

DUMPS = ROOT / "examples" / "dumps"
MADE = ("gateway.elf", "gateway.bin", "gateway-later.bin", "gateway-overflow.bin")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    runpy.run_path(str(DUMPS / "make_dumps.py"))["main"](folder)
    return folder


@pytest.mark.parametrize("name", MADE)
def test_files(made, name):
    assert (made / name).read_bytes() == (DUMPS / name).read_bytes()


def test_recording(made):
    """By what is in it: releases of zlib pack the same bytes in other ways."""
    new, old = (Recording(folder / "gateway.recording") for folder in (made, DUMPS))
    assert (new.header, new.times) == (old.header, old.times)
    for number in range(len(old)):
        ours, theirs = (recording.memory(number).segments for recording in (new, old))
        assert [(s.address, bytes(s.data)) for s in ours] == [
            (s.address, bytes(s.data)) for s in theirs
        ]


def test_nothing_else_lies_there():
    names = {path.name for path in DUMPS.iterdir() if path.name != "__pycache__"}
    assert names == {*MADE, "gateway.recording", "make_dumps.py", "README.md"}


def test_what_the_readme_shows(workplace):
    shown = [
        (command, wanted)
        for _, block in blocks(ROOT / "README.md", "console")
        for command, wanted in commands(block)
        if command.startswith("kheap inspect ")
    ]
    assert shown
    for command, wanted in shown:
        status, got = run_command(shlex.split(command)[1:])
        assert status == 1
        assert matches(wanted, got), got
