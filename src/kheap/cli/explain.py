"""``kheap explain``: why requests got no memory, and what would have served them."""

from __future__ import annotations

import argparse

from kheap.cli import arguments
from kheap.cli.common import chosen_profile, print_answer, read_trace_of, replay_of

__all__ = ["ExplainCommand"]


class ExplainCommand:
    """See the module's head."""

    name = "explain"
    help = "tell why requests got no memory, who held it, and what would have served them"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        arguments.add_trace(parser)
        arguments.add_size(parser)
        arguments.add_heap(parser, only_with_size=True)
        arguments.add_overhead(parser)
        parser.add_argument(
            "--limit",
            type=arguments.count_argument,
            default=10,
            metavar="K",
            help="how many failures are explained, the first ones (default 10)",
        )
        arguments.add_base_address(parser, only_with_size=True)
        arguments.add_reading(parser)
        arguments.add_profile(parser)
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Replay and explain; 0 if every request was served, else 1."""
        from kheap.report.explain_text import explain_lines, explain_object
        from kheap.report.terminal import progress_bar
        from kheap.study.explain import explain_replay, seen_by_heap

        profile = chosen_profile(args)
        trace = read_trace_of(args)
        done = replay_of(args, seen_by_heap(trace, profile, args.overhead), profile)
        with progress_bar("trying other heaps") as progress:
            found = explain_replay(
                done, trace, overhead=args.overhead, limit=args.limit, progress=progress
            )
        print_answer(
            args,
            lambda: explain_object(done, found, args.overhead),
            lambda: explain_lines(done, found, args.overhead),
        )
        return 1 if done.failed else 0
