"""All code that the pages and the docstrings show is run, and prints what they say it prints."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex

import pytest

import kheap
from docs.pages import PAGES, ROOT, blocks, params
from kheap.cli import main
from kheap.zephyr import configure

#: Where these are not installed, a page's session ends at the block that imports them.
OPTIONAL = ("numpy",)
MODULES = [
    info.name
    for info in pkgutil.walk_packages(kheap.__path__, "kheap.")
    if not info.name.endswith("__main__")
]


def missing_import(source):
    return any(
        re.search(rf">>> (?:import|from) {name}\b", source) and not importable(name)
        for name in OPTIONAL
    )


def importable(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def run_doctest(test):
    """Run it in its session; what went wrong, as doctest tells it."""
    said = io.StringIO()
    doctest.DocTestRunner(verbose=False).run(test, out=said.write, clear_globs=False)
    return said.getvalue()


#: ``tests/test_readme.py`` runs what the README shows.
RUN_HERE = [page for page in PAGES if page.name != "README.md" or page.parent != ROOT]
WITH_PYTHON = [page for page in RUN_HERE if blocks(page, "python")]
WITH_CONSOLE = [page for page in RUN_HERE if blocks(page, "console")]


@pytest.mark.parametrize("page", params(WITH_PYTHON))
def test_python_blocks(page, workplace):
    """The blocks of a page are one session."""
    session = {"__name__": "__main__"}
    configure()
    for line, source in blocks(page, "python"):
        if not source.startswith(">>>"):
            compile(source, str(page), "exec")
            continue
        if missing_import(source):
            break
        test = doctest.DocTestParser().get_doctest(source, {}, page.name, str(page), line - 1)
        test.globs = session
        assert not (said := run_doctest(test)), said


@pytest.mark.parametrize("page", params(WITH_CONSOLE))
def test_console_blocks(page, workplace):
    """A command of ours that is shown with its output gives that output."""
    status = 0
    for line, block in blocks(page, "console"):
        for command, wanted in commands(block):
            if not wanted:
                continue
            if command == "echo $?":
                assert wanted.strip() == str(status), f"{page.name}:{line}: exit code {status}"
            elif command.startswith("kheap "):
                status, got = run_command(shlex.split(command)[1:])
                assert matches(wanted, got), f"{page.name}:{line}: $ {command}\n{got}"


def commands(block):
    """The commands of a block, each with what is shown as its output."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_command(arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    return status, said.getvalue()


def matches(wanted, got):
    """Whether the output is the one shown: times differ, a line ``...`` stands for any lines."""
    wanted, got = (re.sub(r"^speed .*$", "speed", text, flags=re.M) for text in (wanted, got))
    pieces = map(re.escape, re.split(r"^\.\.\.\n", wanted, flags=re.MULTILINE))
    return re.fullmatch("(?:.*\n)*".join(pieces), got) is not None


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    for test in finder.find(module):
        assert not (said := run_doctest(test)), said


def test_there_are_examples_to_run():
    assert len(WITH_PYTHON) >= 14
    assert len(MODULES) >= 50
