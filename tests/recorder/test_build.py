"""The recorder's files: what compilers say of them, and whether they agree with each other."""

from __future__ import annotations

import re
import subprocess

import pytest

from recorder.conftest import HERE, RECORDER, STRICT, wrapped_names
from recorder.model import ALLOCS, FREES, REALLOCS

CONFIGURATIONS = [
    [],
    ["-DCONFIG_64BIT", "-DCONFIG_SYS_HEAP_BIG_ONLY", "-DCONFIG_SYS_HEAP_RUNTIME_STATS"],
    ["-DCONFIG_SYS_HEAP_SMALL_ONLY", "-DCONFIG_SYS_HEAP_ALLOC_LOOPS=7"],
    ["-DCONFIG_SYS_HEAP_HARDENING_FULL", "-DCONFIG_KHEAP_RECORDER_IMMEDIATE"],
    ["-DCONFIG_SYS_HEAP_HARDENING_EXTREME", "-DCONFIG_KHEAP_RECORDER_WRAP_LIBC"],
    ["-DCONFIG_SYS_HEAP_HARDENING_MODERATE", "-DCONFIG_KHEAP_RECORDER_CONTEXTS=2"],
    ["-DCONFIG_SYS_HEAP_HARDENING_NONE", "-DCONFIG_KHEAP_RECORDER_NAMES=1"],
    ["-DCONFIG_KHEAP_RECORDER_THREAD", "-DCONFIG_KHEAP_RECORDER_THREAD_PERIOD_MS=5",
     "-DCONFIG_KHEAP_RECORDER_THREAD_STACK_SIZE=512", "-DCONFIG_KHEAP_RECORDER_LISTENED=1"],
]  # fmt: skip


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=lambda options: " ".join(options) or "none")
def test_no_warnings(compiler, options):
    for source in sorted(RECORDER.glob("*.c")):
        command = [compiler, *STRICT.split(), f"-I{RECORDER}", f"-I{HERE / 'stubs'}", *options]
        command += ["-O2", "-fsyntax-only", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        assert not done.stderr


def test_a_ring_of_another_size_than_a_power_of_two(compiler):
    command = [compiler, f"-I{RECORDER}", f"-I{HERE / 'stubs'}", "-fsyntax-only",
               "-DCONFIG_KHEAP_RECORDER_RECORDS=100",
               str(RECORDER / "kheap_recorder.c")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "records_is_a_power_of_two" in done.stderr


def test_what_is_wrapped_is_what_the_build_names():
    text = (RECORDER / "kheap_recorder_wrap.c").read_text()
    defined = re.findall(r"^(?:void \*?__wrap_(\w+)\(.*\)|WRAP(?:_VOID)?\((\w+),.*)$", text, re.M)
    written = {first or second for first, second in defined}
    assert written == set(wrapped_names(libc=True))
    assert set(ALLOCS) | set(REALLOCS) | set(FREES) < written


def test_the_options_are_those_of_kconfig():
    known = set(re.findall(r"^(?:menu)?config (\w+)$", (RECORDER / "Kconfig").read_text(), re.M))
    code = "".join(path.read_text() for path in (*RECORDER.glob("*.[ch]"),
                                                 RECORDER / "CMakeLists.txt"))  # fmt: skip
    assert set(re.findall(r"CONFIG_(KHEAP_RECORDER\w*)", code)) == known


@pytest.mark.parametrize("path", sorted([*RECORDER.rglob("*"), *HERE.rglob("*.[ch]")]), ids=str)
def test_files_name_their_licence(path):
    if path.is_file() and path.suffix != ".md":
        assert "SPDX-License-Identifier: Apache-2.0" in path.read_text()
        assert len(path.read_text().splitlines()) <= 400
