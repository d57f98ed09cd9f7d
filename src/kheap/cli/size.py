"""``kheap size``: the heap size that serves a trace, or a list of blocks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from kheap.cli import arguments
from kheap.cli.common import as_command_error, chosen_profile, print_answer, read_trace_of
from kheap.errors import CommandError

if TYPE_CHECKING:
    from kheap.profile import Profile
    from kheap.report.terminal import Line
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
        arguments.add_overhead(parser)
        arguments.add_heap(parser)
        parser.add_argument(
            "--margin",
            type=float,
            default=10.0,
            metavar="PERCENT",
            help="what the recommended size adds to the safe one (default 10)",
        )
        arguments.add_effort(
            parser,
            "normal",
            "how many operations may be replayed: quick, normal or full (no limit)",
        )
        parser.add_argument(
            "--malloc-align",
            type=int,
            metavar="BYTES",
            help="with --overhead malloc: what it aligns to (default 8 on 32 bit, 16 on 64)",
        )
        arguments.add_base_address(parser)
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
        arguments.add_reading(parser, "the traces'")
        arguments.add_profile(parser)
        arguments.add_json(parser)

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
        from kheap.study.join import joined

        profile = chosen_profile(args)
        traces = [read_trace_of(args, path) for path in args.traces]
        with as_command_error(ValueError):
            whole = joined(traces) if len(traces) > 1 else None
        answers = [
            _answer(trace, heap, profile, args) for trace in traces for heap in _heaps(trace, args)
        ]
        together = _answer(whole, None, profile, args) if whole is not None else None
        everything = [*answers, together] if together else answers
        print_answer(
            args,
            lambda: sizes_object(answers, together) if everything[1:] else size_object(answers[0]),
            lambda: _parted(map(size_lines, everything)),
        )
        return 0 if all(answer.safe_bytes is not None for answer in everything) else 1

    def _plan(self, args: argparse.Namespace) -> int:
        from kheap.profile import Profile
        from kheap.report.plan_text import plan_lines, plan_object
        from kheap.study.plan import parse_blocks, parse_sums, plan_size

        profile = chosen_profile(args) or Profile()
        with as_command_error(ValueError):
            answer = plan_size(
                parse_blocks(args.blocks or ""),
                parse_sums(args.add_size or ""),
                profile=profile,
                overhead=args.overhead,
                margin_percent=args.margin,
            )
        print_answer(args, lambda: plan_object(answer), lambda: plan_lines(answer))
        return 0


def _heaps(trace: Trace, args: argparse.Namespace) -> Sequence[str | None]:
    """The heaps to size: the one that was named, else all of the trace."""
    if args.heap is not None:
        return (args.heap,)
    return [heap.name for heap in trace.heaps] or (None,)


def _answer(
    trace: Trace, heap: str | None, profile: Profile | None, args: argparse.Namespace
) -> SizeAnswer:
    from kheap.report.terminal import progress_bar
    from kheap.study.size import find_size

    with (
        as_command_error(ValueError, MemoryError, place=trace.path),
        progress_bar("sizing") as progress,
    ):
        return find_size(
            trace,
            profile=profile,
            overhead=args.overhead,
            base_address=args.base_address,
            heap=heap,
            margin_percent=args.margin,
            malloc_align=args.malloc_align,
            effort=args.effort,
            progress=progress,
        )


def _parted(texts: Iterable[list[Line]]) -> Iterator[Line]:
    """The texts' lines, with an empty one between two texts."""
    for number, lines in enumerate(texts):
        if number:
            yield ""
        yield from lines
