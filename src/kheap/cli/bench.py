"""``kheap bench``: timings of kheap, its peers and the floor, side by side in one run."""

from __future__ import annotations

import argparse
from dataclasses import replace

from kheap.cli import arguments
from kheap.cli.common import print_answer

__all__ = ["BenchCommand"]

MOST_ROUNDS = 1_000


def _rounds(text: str) -> int:
    try:
        rounds = int(text)
    except ValueError:
        rounds = 0
    if not 1 <= rounds <= MOST_ROUNDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_ROUNDS}")
    return rounds


class BenchCommand:
    """See the module's head."""

    name = "bench"
    help = "time kheap beside what Python programs use instead, and beside the floor"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument(
            "--rounds", type=_rounds, metavar="N", help="turns of each row (default 15; quick: 3)"
        )
        parser.add_argument("--quick", action="store_true", help="some seconds, coarse numbers")
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Time everything; 0, whatever the numbers: a benchmark informs."""
        from kheap.report.bench_table import bench_lines, bench_object
        from kheap.report.terminal import progress_bar
        from kheap.study import bench

        plan = bench.QUICK if args.quick else bench.FULL
        if args.rounds is not None:
            plan = replace(plan, rounds=args.rounds)
        with progress_bar("timing") as progress:
            found = bench.run_bench(plan, progress)
        print_answer(args, lambda: bench_object(found), lambda: bench_lines(found))
        return 0
