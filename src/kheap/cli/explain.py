"""``kheap explain``: why requests got no memory, and what would have served them."""

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
from kheap.study.overhead import OVERHEADS

__all__ = ["ExplainCommand"]


class ExplainCommand:
    """See the module's head."""

    name = "explain"
    help = "tell why requests got no memory, who held it, and what would have served them"

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
            "--overhead",
            choices=OVERHEADS,
            default="k_heap",
            metavar="CALLS",
            help="what the calls above the heap add: k_heap (nothing), k_malloc or malloc",
        )
        parser.add_argument(
            "--limit",
            type=_count,
            default=10,
            metavar="K",
            help="how many failures are explained, the first ones (default 10)",
        )
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
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Replay and explain; 0 if every request was served, else 1."""
        from kheap.report.explain_text import explain_lines, explain_object
        from kheap.report.terminal import print_lines, progress_bar
        from kheap.study.explain import explain_replay, seen_by_heap
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
                    seen_by_heap(trace, profile, args.overhead),
                    args.size,
                    profile=profile,
                    heap=args.heap,
                    base_address=args.base_address,
                    progress=progress,
                )
        except ValueError as error:
            raise CommandError(f"{args.trace}: {error}") from None
        with progress_bar("trying other heaps") as progress:
            found = explain_replay(
                done, trace, overhead=args.overhead, limit=args.limit, progress=progress
            )
        if args.json:
            print_json(explain_object(done, found, args.overhead))
        else:
            print_lines(explain_lines(done, found, args.overhead))
        return 1 if done.failed else 0


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return count
