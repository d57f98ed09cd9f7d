"""Building the recorder for this host, around small stubs of a kernel, and running it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections import namedtuple
from pathlib import Path

import pytest

from kheap.trace import read_trace

HERE = Path(__file__).parent
RECORDER = HERE.parents[1] / "recorder"
STRICT = "-std=c99 -pedantic -Wall -Wextra -Werror -Wconversion -Wmissing-prototypes -Wshadow"
SECTIONS = "-ffunction-sections -fdata-sections"

Run = namedtuple("Run", "log answers places main folder")


def wrapped_names(*, libc=False):
    """The functions that the build of the recorder wraps."""
    text = (RECORDER / "CMakeLists.txt").read_text()
    names = re.search(r"set\(wrapped(.*?)\)", text, re.DOTALL)[1].split()
    return names + (re.search(r"APPEND wrapped(.*?)\)", text)[1].split() if libc else [])


@pytest.fixture(scope="session")
def compiler():
    """The C compiler of this host."""
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        pytest.skip("no C compiler on this host")
    return found


@pytest.fixture(scope="session")
def build(compiler, tmp_path_factory):
    """``build(*options)``: the test program with the recorder in it, made once for each set."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the linker's --wrap is that of ELF")
    if sys.maxsize < 1 << 32:
        pytest.skip("the model is that of a host with 64 bits")
    made = {}

    def program(*options, wrap=True):
        key = (options, wrap)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("recorder") / "program"
            link(compiler, made[key], options, wrap)
        return made[key]

    return program


def link(compiler, path, options, wrap):
    libc = "-DCONFIG_KHEAP_RECORDER_WRAP_LIBC" in options
    wraps = [f"-Wl,--wrap={name}" for name in wrapped_names(libc=libc)] if wrap else []
    sources = [*RECORDER.glob("*.c"), *HERE.glob("stubs/*.c"), HERE / "program.c"]
    command = [
        *(
            compiler,
            "-DCONFIG_64BIT",
            *STRICT.split(),
            *SECTIONS.split(),
            "-O1",
            "-fno-optimize-sibling-calls",
        ),
        *(f"-I{RECORDER}", f"-I{HERE / 'stubs'}", *options, *map(str, sources)),
        *(*wraps, "-Wl,--gc-sections", "-o", str(path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.fixture
def run(build, tmp_path):
    """``run(commands, *options)``: what the program printed, and what came of its commands."""

    def run_program(commands, *options, wrap=True):
        path = build(*options, wrap=wrap)
        answers = tmp_path / "answers"
        text = "".join(f"{command}\n" for command in commands)
        done = subprocess.run(
            [path, answers],
            input=text.encode(),
            capture_output=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
        )
        assert not done.returncode, done.stderr.decode()
        lines = [line.split() for line in answers.read_text().splitlines()]
        (tmp_path / "log").write_bytes(done.stdout)
        told = [(command, int(result, 0)) for command, result in lines]
        return Run(done.stdout, told[1:], places_in(path), told[0][1], tmp_path)

    return run_program


def places_in(path):
    """The functions of the program by address, in order."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm on this host")
    lines = subprocess.run([nm, path], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^([0-9a-f]+) [tT] (\w+)$", lines, re.MULTILINE)
    return sorted((int(address, 16), name) for address, name in found)


@pytest.fixture(scope="session")
def function_of():
    """``function_of(run, caller)``: the function of the program that a call site is in."""

    def find(run, caller):
        (main,) = (address for address, name in run.places if name == "main")
        place = int(caller, 16) - (run.main - main)
        return run.places[bisect_right(run.places, (place, "~")) - 1][1]

    return find


@pytest.fixture
def log_of():
    """``log_of(run, **options)``: the trace that its output is."""

    def read(run, name="log", **options):
        return read_trace(run.folder / name, **options)

    return read
