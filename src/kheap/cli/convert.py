"""``kheap convert``: write a trace in another format."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from kheap.cli import arguments
from kheap.cli.common import chosen_profile, command_error, print_answer, read_trace_of
from kheap.errors import CommandError
from kheap.trace import Trace

__all__ = ["ConvertCommand"]

STANDARD_OUTPUT = "-"


class ConvertCommand:
    """See the module's head."""

    name = "convert"
    help = "write a trace in another format"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        arguments.add_trace(parser, "INPUT")
        parser.add_argument(
            "output",
            metavar="OUTPUT",
            help="the new file, packed if it ends in .gz or .zst; - is standard output",
        )
        parser.add_argument(
            "--from",
            dest="format",
            metavar="FORMAT",
            help="the input's format; detected if not given",
        )
        parser.add_argument(
            "--to",
            dest="target",
            metavar="FORMAT",
            help="the output's format; told by its name if not given",
        )
        parser.add_argument("--heap", metavar="NAME", help="write only what concerns this heap")
        arguments.add_lenient(parser)
        parser.add_argument(
            "--force", action="store_true", help="replace the output if it exists already"
        )
        arguments.add_profile(parser)
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Convert; 0 if the output is written."""
        from kheap.report.conversion import conversion_lines, conversion_object, loss_line

        target = _target_format(args)
        profile = chosen_profile(args)
        trace = read_trace_of(args)
        trace.profile = profile or trace.profile
        lost = _write(args, trace, target)
        if lost:
            print(f"kheap: {loss_line(args.output, target, lost)}", file=sys.stderr)
        if args.output != STANDARD_OUTPUT:
            print_answer(
                args,
                lambda: conversion_object(trace, args.output, target, lost),
                lambda: conversion_lines(trace, args.output, target),
            )
        return 0


def _target_format(args: argparse.Namespace) -> str:
    """The format to write.

    Raises:
        CommandError: There is none, or the output cannot be what was asked for.
    """
    from kheap.trace.reader import format_of_name
    from kheap.trace.writer import WRITABLE

    if args.output == STANDARD_OUTPUT and args.json:
        raise CommandError("standard output cannot hold both the trace and --json: name a file")
    choices = ", ".join(WRITABLE)
    chosen: str | None = args.target or format_of_name(args.output)
    if chosen is None:
        reason = f"the name tells no format: give --to, one of {choices}"
        raise CommandError(f"{args.output}: {reason}")
    if chosen not in WRITABLE:
        raise CommandError(f"format {chosen!r} cannot be written: expected one of {choices}")
    if os.path.isfile(args.output) and args.output != STANDARD_OUTPUT and not args.force:
        raise _exists(args)
    return chosen


def _exists(args: argparse.Namespace) -> CommandError:
    return CommandError(f"{args.output}: exists already; --force replaces it")


def _write(args: argparse.Namespace, trace: Trace, target: str) -> Counter[str]:
    """Write the output; what its format does not hold."""
    from kheap.trace.writer import write_stream, write_trace

    try:
        if args.output == STANDARD_OUTPUT:
            lost = write_stream(trace, sys.stdout.buffer, target, heap=args.heap)
            sys.stdout.buffer.flush()
            return lost
        return write_trace(trace, args.output, target, heap=args.heap, overwrite=args.force)
    except BrokenPipeError:
        raise
    except FileExistsError:
        raise _exists(args) from None
    except OSError as error:
        raise command_error(error, args.output) from None
    except ValueError as error:
        raise command_error(error, args.trace) from None
