"""``kheap size``: the heap size that serves a trace, or a list of blocks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kheap.cli.common import (
    add_profile_arguments,
    address_argument,
    chosen_profile,
    print_json,
    read_failure,
)
from kheap.errors import CommandError
from kheap.study.overhead import OVERHEADS
from kheap.study.size import EFFORTS

if TYPE_CHECKING:
    from kheap.study.size import SizeAnswer
    from kheap.trace import Trace

__all__ = ["SizeCommand"]


class SizeCommand:
    """See the module's head."""

    name = "size"
    help = "find the heap size that serves a trace, and the Kconfig value for it"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument(
            "traces",
            metavar="TRACE",
            nargs="*",
            help="trace files; several are sized one by one, and one after the other",
        )
        parser.add_argument(
            "--overhead",
            choices=OVERHEADS,
            default="k_heap",
            metavar="CALLS",
            help="what the calls above the heap add: k_heap (nothing), k_malloc or malloc",
        )
        parser.add_argument("--heap", metavar="NAME", help="which heap of the trace")
        parser.add_argument(
            "--margin",
            type=float,
            default=10.0,
            metavar="PERCENT",
            help="what the recommended size adds to the safe one (default 10)",
        )
        parser.add_argument(
            "--effort",
            choices=EFFORTS,
            default="normal",
            metavar="HOW",
            help="how many operations may be replayed: quick, normal or full (no limit)",
        )
        parser.add_argument(
            "--malloc-align",
            type=int,
            metavar="BYTES",
            help="with --overhead malloc: what it aligns to (default 8 on 32 bit, 16 on 64)",
        )
        parser.add_argument(
            "--base-address",
            type=address_argument,
            default=0x20000000,
            metavar="ADDRESS",
            help="the address of the region (default 0x20000000)",
        )
        parser.add_argument(
            "--blocks",
            metavar="LIST",
            help="no trace: blocks that are live at once (10x64,4x512:align=16,2x1500)",
        )
        parser.add_argument(
            "--add-size",
            metavar="NAME=BYTES,...",
            help="what subsystems ask for by HEAP_MEM_POOL_ADD_SIZE_*",
        )
        parser.add_argument(
            "--format", metavar="NAME", help="the traces' format; detected if not given"
        )
        parser.add_argument(
            "--lenient", action="store_true", help="skip malformed lines, and count them"
        )
        add_profile_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Find the sizes; 0 if there is a safe one for each trace, else 1."""
        if args.blocks is not None or args.add_size is not None:
            if args.traces:
                raise CommandError("--blocks and --add-size go without a trace")
            return self._plan(args)
        if not args.traces:
            raise CommandError("nothing to size: give a trace, --blocks or --add-size")
        return self._measure(args)

    def _measure(self, args: argparse.Namespace) -> int:
        from kheap.report.size_text import size_lines, size_object, sizes_object
        from kheap.report.terminal import print_lines
        from kheap.study.join import joined

        traces = [_read(path, args) for path in args.traces]
        answers = [answer for trace in traces for answer in _answers(trace, args)]
        together = None
        if len(traces) > 1:
            together = _answers(joined(traces), args, heap_named=False)[0]
        if args.json:
            single = len(answers) == 1 and together is None
            print_json(size_object(answers[0]) if single else sizes_object(answers, together))
        else:
            everything = [*answers, *([together] if together else [])]
            for number, answer in enumerate(everything):
                print_lines([*([""] if number else []), *size_lines(answer)])
        ends = [*answers, *([together] if together else [])]
        return 0 if all(answer.safe_bytes is not None for answer in ends) else 1

    def _plan(self, args: argparse.Namespace) -> int:
        from kheap.profile import Profile
        from kheap.report.plan_text import plan_lines, plan_object
        from kheap.report.terminal import print_lines
        from kheap.study.plan import parse_blocks, parse_sums, plan_size

        profile = chosen_profile(args) or Profile()
        try:
            answer = plan_size(
                parse_blocks(args.blocks or ""),
                parse_sums(args.add_size or ""),
                profile=profile,
                overhead=args.overhead,
                margin_percent=args.margin,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        if args.json:
            print_json(plan_object(answer))
        else:
            print_lines(plan_lines(answer))
        return 0


def _read(path: str, args: argparse.Namespace) -> Trace:
    from kheap.trace import read_trace

    try:
        return read_trace(path, args.format, lenient=args.lenient)
    except OSError as error:
        raise read_failure(path, error) from None


def _answers(
    trace: Trace, args: argparse.Namespace, *, heap_named: bool = True
) -> list[SizeAnswer]:
    """An answer for each heap of a trace, or for the one that was named."""
    from kheap.report.terminal import progress_bar
    from kheap.study.size import find_size

    names: list[str | None] = [*(entry.name for entry in trace.heaps)] or [None]
    if not heap_named:
        names = [None]
    elif args.heap is not None:
        names = [args.heap]
    found = []
    for name in names:
        try:
            with progress_bar("sizing") as progress:
                answer = find_size(
                    trace,
                    profile=chosen_profile(args),
                    overhead=args.overhead,
                    base_address=args.base_address,
                    heap=name,
                    margin_percent=args.margin,
                    malloc_align=args.malloc_align,
                    effort=args.effort,
                    progress=progress,
                )
        except (ValueError, MemoryError) as error:
            raise CommandError(f"{trace.path}: {error}") from None
        found.append(answer)
    return found
