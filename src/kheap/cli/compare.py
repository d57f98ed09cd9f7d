"""``kheap compare``: what a trace needs of releases, options, old pools and two heaps."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kheap.cli import arguments
from kheap.cli.common import (
    INTERRUPTED,
    as_command_error,
    chosen_profile,
    print_answer,
    read_trace_of,
)

if TYPE_CHECKING:
    from kheap.study.compare import Comparison, Options
    from kheap.trace import Trace

__all__ = ["CompareCommand"]


class CompareCommand:
    """See the module's head."""

    name = "compare"
    help = "compare what a trace needs of releases, Kconfig options, old pools, and two heaps"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        arguments.add_trace(parser)
        arguments.add_size(
            parser,
            "bytes of the region in which failures are counted (16384, 16K, 0x4000);"
            " without it what the trace recorded",
        )
        arguments.add_heap(parser)
        arguments.add_overhead(parser)
        arguments.add_effort(
            parser,
            "quick",
            "how many operations may be replayed for each choice: quick, normal or full",
        )
        arguments.add_base_address(parser)
        arguments.add_reading(parser)
        arguments.add_profile(parser)
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Compare; 0 if a size serves the trace with the profile at hand, else 1."""
        from kheap.profile import Profile
        from kheap.report.compare_text import compare_lines, compare_object
        from kheap.study.compare import Options

        profile = chosen_profile(args)
        trace = read_trace_of(args)
        options = Options(
            profile=profile or trace.profile or Profile(),
            heap=args.heap,
            overhead=args.overhead,
            base_address=args.base_address,
            effort=args.effort,
        )
        rows, whole = _rows(trace, args.size, options)
        print_answer(
            args,
            lambda: compare_object(trace, options, rows, is_whole=whole),
            lambda: compare_lines(trace, options, rows, is_whole=whole),
        )
        if not whole:
            return INTERRUPTED
        return 0 if rows[0].smallest_fit_bytes is not None else 1


def _rows(trace: Trace, size: int | None, options: Options) -> tuple[list[Comparison], bool]:
    """The rows, and whether they are all: Ctrl-C leaves those that are done."""
    from kheap.report.terminal import progress_bar
    from kheap.study.compare import comparisons

    rows: list[Comparison] = []
    try:
        with (
            as_command_error(ValueError, MemoryError, place=trace.path),
            progress_bar("comparing") as progress,
        ):
            rows.extend(comparisons(trace, size, options, progress))
    except KeyboardInterrupt:
        if not rows:
            raise
        return rows, False
    return rows, True
