"""What commands have in common: from arguments to a profile, a trace, a replay; and the answer.

What it owns: what a command is, reading what its arguments name, printing its answer, and the
one line for what went wrong.  Other errors of the :class:`~kheap.errors.KheapError` family
need nothing here: :func:`kheap.cli.main` prints them as they are.

What it does not: declaring arguments (``arguments.py``), and writing files (``output.py``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kheap.errors import CommandError
from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.report.terminal import Line
    from kheap.study.replay import Replay
    from kheap.trace import Trace

__all__ = [
    "INTERRUPTED",
    "Command",
    "as_command_error",
    "chosen_profile",
    "command_error",
    "print_answer",
    "print_json",
    "read_trace_of",
    "replay_of",
]

#: The exit code after Ctrl-C.
INTERRUPTED = 130


class Command(Protocol):
    """A command: its name, its arguments, and what it does."""

    name: str
    help: str

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""


# ---------------------------------------------------------------------- from arguments


def chosen_profile(args: argparse.Namespace) -> Profile | None:
    """The profile that ``--profile`` and ``--elf`` ask for; None where they ask for none.

    With both, ``--profile`` overrides what the ELF says.

    Raises:
        CommandError: A profile that cannot be, or an ELF that cannot be read.
    """
    with as_command_error(ValueError), as_command_error(OSError, place=args.elf):
        base = Profile.from_elf(args.elf) if args.elf else None
        return base if args.profile is None else Profile.parse(args.profile, base=base)


def read_trace_of(args: argparse.Namespace, path: str | None = None) -> Trace:
    """The trace that the arguments name, or the one at ``path``, read as they say.

    Raises:
        CommandError: The file cannot be opened or read.
        TraceError: It is no trace.
    """
    from kheap.trace import read_trace

    path = args.trace if path is None else path
    with as_command_error(OSError, place=path):
        return read_trace(path, args.format, lenient=args.lenient)


def replay_of(args: argparse.Namespace, trace: Trace, profile: Profile | None) -> Replay:
    """The replay of a trace in the region that the arguments tell.

    Raises:
        CommandError: The trace cannot be replayed there.
    """
    from kheap.report.terminal import progress_bar
    from kheap.study.replay import replay

    with as_command_error(ValueError, place=trace.path), progress_bar("replaying") as progress:
        return replay(
            trace,
            args.size,
            profile=profile,
            heap=args.heap,
            base_address=args.base_address,
            progress=progress,
        )


# ---------------------------------------------------------------------- the answer


def print_answer(
    args: argparse.Namespace,
    as_object: Callable[[], dict[str, Any]],
    as_lines: Callable[[], Iterable[Line]],
) -> None:
    """Print one object under ``--json``, else lines; only what is printed is made."""
    from kheap.report.terminal import print_lines

    if args.json:
        print_json(as_object())
    else:
        print_lines(list(as_lines()))


def print_json(answer: dict[str, Any]) -> None:
    """Print one object."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")


# ---------------------------------------------------------------------- what went wrong


@contextmanager
def as_command_error(*errors: type[Exception], place: str | Path | None = None) -> Iterator[None]:
    """Raise these errors as one line that begins with the file they are about, if any.

    Raises:
        CommandError: In the place of any of ``errors``.

    >>> with as_command_error(ValueError, place="a.csv"):
    ...     int("five")
    Traceback (most recent call last):
    kheap.errors.CommandError: a.csv: invalid literal for int() with base 10: 'five'
    """
    try:
        yield
    except errors as error:
        raise command_error(error, place) from None


def command_error(error: Exception, place: str | Path | None = None) -> CommandError:
    """The one line for an error: the file it is about, if any, and the reason."""
    place = getattr(error, "filename", None) if place is None else place
    # Python's own MemoryError says nothing.
    reason = getattr(error, "strerror", None) or str(error) or "out of memory"
    return CommandError(reason if place is None else f"{place}: {reason}")
