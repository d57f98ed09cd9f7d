"""``kheap replay``: run a recorded trace on a simulated heap."""

from __future__ import annotations

import argparse

from kheap.cli import arguments
from kheap.cli.common import chosen_profile, print_answer, read_trace_of, replay_of

__all__ = ["ReplayCommand"]


class ReplayCommand:
    """See the module's head."""

    name = "replay"
    help = "run a recorded trace on the heap that the firmware will run"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        arguments.add_trace(parser)
        arguments.add_region(parser)
        arguments.add_reading(parser)
        arguments.add_profile(parser)
        parser.add_argument("--ascii", action="store_true", help="draw the map in ASCII")
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Replay; 0 if every request was served, else 1."""
        from kheap.report.machine import replay_object
        from kheap.report.terminal import replay_lines

        profile = chosen_profile(args)
        done = replay_of(args, read_trace_of(args), profile)
        print_answer(
            args,
            lambda: replay_object(done),
            lambda: replay_lines(done, ascii_only=args.ascii),
        )
        return 1 if done.failed else 0
