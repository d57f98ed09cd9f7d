"""``kheap replay``: run a recorded trace on a simulated heap."""

from __future__ import annotations

import argparse

from kheap.cli.common import (
    add_profile_arguments,
    address_argument,
    chosen_profile,
    print_json,
    read_failure,
    size_argument,
)
from kheap.errors import CommandError

__all__ = ["ReplayCommand"]


class ReplayCommand:
    """See the module's head."""

    name = "replay"
    help = "run a recorded trace on the heap that the firmware will run"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("trace", metavar="TRACE", help="a trace file, gzip and zstd too")
        parser.add_argument(
            "--size",
            type=size_argument,
            help="bytes of the heap's region (16384, 16K, 0x4000);"
            " without it every heap is as the trace recorded it",
        )
        parser.add_argument("--heap", metavar="NAME", help="with --size: which heap of the trace")
        parser.add_argument(
            "--base-address",
            type=address_argument,
            default=0x20000000,
            metavar="ADDRESS",
            help="with --size: the address of the region (default 0x20000000)",
        )
        parser.add_argument(
            "--format", metavar="NAME", help="the trace's format; detected if not given"
        )
        parser.add_argument(
            "--lenient", action="store_true", help="skip malformed lines, and count them"
        )
        add_profile_arguments(parser)
        parser.add_argument("--ascii", action="store_true", help="draw the map in ASCII")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Replay; 0 if every request was served, else 1."""
        from kheap.report.machine import replay_object
        from kheap.report.terminal import print_lines, progress_bar, replay_lines
        from kheap.study.replay import replay
        from kheap.trace import read_trace

        profile = chosen_profile(args)
        try:
            trace = read_trace(args.trace, args.format, lenient=args.lenient)
        except OSError as error:
            raise read_failure(args.trace, error) from None
        try:
            with progress_bar("replaying") as progress:
                done = replay(
                    trace,
                    args.size,
                    profile=profile,
                    heap=args.heap,
                    base_address=args.base_address,
                    progress=progress,
                )
        except ValueError as error:
            raise CommandError(f"{args.trace}: {error}") from None
        if args.json:
            print_json(replay_object(done))
        else:
            print_lines(replay_lines(done, ascii_only=args.ascii))
        return 1 if done.failed else 0
