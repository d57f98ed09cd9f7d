"""``kheap compare``: what a trace needs of releases, options, old pools and two heaps."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kheap.cli.common import (
    add_profile_arguments,
    address_argument,
    chosen_profile,
    print_json,
    read_failure,
    size_argument,
)
from kheap.errors import CommandError
from kheap.study.overhead import OVERHEADS
from kheap.study.size import EFFORTS

if TYPE_CHECKING:
    from kheap.study.compare import Comparison, Options
    from kheap.trace import Trace

__all__ = ["CompareCommand"]

INTERRUPTED = 130


class CompareCommand:
    """See the module's head."""

    name = "compare"
    help = "compare what a trace needs of releases, Kconfig options, old pools, and two heaps"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("trace", metavar="TRACE", help="a trace file, gzip and zstd too")
        parser.add_argument(
            "--size",
            type=size_argument,
            help="bytes of the region in which failures are counted (16384, 16K, 0x4000);"
            " without it what the trace recorded",
        )
        parser.add_argument("--heap", metavar="NAME", help="which heap of the trace")
        parser.add_argument(
            "--overhead",
            choices=OVERHEADS,
            default="k_heap",
            metavar="CALLS",
            help="what the calls above the heap add: k_heap (nothing), k_malloc or malloc",
        )
        parser.add_argument(
            "--effort",
            choices=EFFORTS,
            default="quick",
            metavar="HOW",
            help="how many operations may be replayed for each choice: quick, normal or full",
        )
        parser.add_argument(
            "--base-address",
            type=address_argument,
            default=0x20000000,
            metavar="ADDRESS",
            help="the address of the region (default 0x20000000)",
        )
        parser.add_argument(
            "--format", metavar="NAME", help="the trace's format; detected if not given"
        )
        parser.add_argument(
            "--lenient", action="store_true", help="skip malformed lines, and count them"
        )
        add_profile_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Compare; 0 if a size serves the trace with the profile at hand, else 1."""
        from kheap.profile import Profile
        from kheap.report.compare_text import compare_lines, compare_object
        from kheap.report.terminal import print_lines
        from kheap.study.compare import Options
        from kheap.trace import read_trace

        profile = chosen_profile(args)
        try:
            trace = read_trace(args.trace, args.format, lenient=args.lenient)
        except OSError as error:
            raise read_failure(args.trace, error) from None
        options = Options(
            profile=profile or trace.profile or Profile(),
            heap=args.heap,
            overhead=args.overhead,
            base_address=args.base_address,
            effort=args.effort,
        )
        rows, whole = _rows(trace, args.size, options)
        if args.json:
            print_json(compare_object(trace, options, rows, is_whole=whole))
        else:
            print_lines(compare_lines(trace, options, rows, is_whole=whole))
        if not whole:
            return INTERRUPTED
        return 0 if rows[0].smallest_fit_bytes is not None else 1


def _rows(trace: Trace, size: int | None, options: Options) -> tuple[list[Comparison], bool]:
    """The rows, and whether they are all: Ctrl-C leaves those that are done."""
    from kheap.report.terminal import progress_bar
    from kheap.study.compare import comparisons

    rows: list[Comparison] = []
    try:
        with progress_bar("comparing") as progress:
            rows.extend(comparisons(trace, size, options, progress))
    except KeyboardInterrupt:
        if not rows:
            raise
        return rows, False
    except (ValueError, MemoryError) as error:
        raise CommandError(f"{trace.path}: {error}") from None
    return rows, True
