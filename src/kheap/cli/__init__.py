"""The command line: ``kheap COMMAND``.

Exit codes: 0 the answer is yes, or done; 1 the answer is no; 2 wrong usage, or input that
cannot be read: one line on standard error, and a traceback only under ``--debug``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import NoReturn

from kheap.cli.common import INTERRUPTED, Command
from kheap.errors import CommandError, KheapError

__all__ = ["main"]

#: Each command's module and class; a module is imported with the parser, what it needs later.
COMMANDS = (
    ("kheap.cli.replay", "ReplayCommand"),
    ("kheap.cli.size", "SizeCommand"),
    ("kheap.cli.explain", "ExplainCommand"),
    ("kheap.cli.compare", "CompareCommand"),
    ("kheap.cli.convert", "ConvertCommand"),
    ("kheap.cli.report", "ReportCommand"),
    ("kheap.cli.inspect", "InspectCommand"),
    ("kheap.cli.diff", "DiffCommand"),
    ("kheap.cli.watch", "WatchCommand"),
    ("kheap.cli.bench", "BenchCommand"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough; let the interpreter's own flush not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KheapError, MemoryError) as error:
        if args.debug:
            raise
        print(f"kheap: {error}" if str(error) else "kheap: out of memory", file=sys.stderr)
        return error.exit_code if isinstance(error, CommandError) else 2


class _Parser(argparse.ArgumentParser):
    """A parser that tells of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more; exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kheap", description="Zephyr's heap, for Python: foresee, allocate, see inside."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show version and build")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module, name in COMMANDS:
        command: Command = getattr(import_module(module), name)()
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.prepare(subparser)
        subparser.set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """Tell the version, and whether the engine is compiled."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from kheap._core._native import COMPILED

        build = "compiled" if COMPILED else "pure Python: no C compiler at installation"
        try:
            version = metadata.version("kheap")
        except metadata.PackageNotFoundError:
            version = "not installed"
        parser.exit(0, f"kheap {version} ({build})\n")
