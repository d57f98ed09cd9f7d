"""``kheap report``: draw a heap over time, as a page or for Perfetto."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kheap.cli.common import (
    add_profile_arguments,
    address_argument,
    chosen_profile,
    print_json,
    read_failure,
    size_argument,
)
from kheap.cli.output import written_file
from kheap.errors import CommandError

if TYPE_CHECKING:
    from kheap.report.model import ReportModel

__all__ = ["ReportCommand"]


class ReportCommand:
    """See the module's head."""

    name = "report"
    help = "draw a heap over time: a page that works offline, or a trace for Perfetto"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("trace", metavar="TRACE", help="a trace file, gzip and zstd too")
        parser.add_argument("-o", "--output", metavar="FILE", help="write the page there (HTML)")
        parser.add_argument(
            "--chrome-trace",
            metavar="FILE",
            help="write a trace for Perfetto and chrome://tracing there (JSON)",
        )
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
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Replay, and write what was asked for; 0 even if requests failed: it is drawn."""
        _check_outputs(args)
        report = _computed(args)
        written = _write(args, report)
        if args.json:
            from kheap.report.machine_report import report_object

            print_json(report_object(report, written))
        else:
            from kheap.report.terminal import print_lines

            print_lines([f"{path}: {size:,} bytes" for _, path, size in written])
        return 0


def _check_outputs(args: argparse.Namespace) -> None:
    wanted = [path for path in (args.output, args.chrome_trace) if path is not None]
    if not wanted:
        raise CommandError("nothing to write: give -o FILE, --chrome-trace FILE, or both")
    places = [Path(path).resolve() for path in (args.trace, *wanted)]
    for i, path in enumerate(wanted, 1):
        if places[i] in places[:i]:
            other = "the trace" if places[i] == places[0] else "the page"
            raise CommandError(f"{path}: is {other} too; choose another file")


def _computed(args: argparse.Namespace) -> ReportModel:
    from kheap.report.model import replay_report
    from kheap.report.terminal import progress_bar
    from kheap.study.replay import replay
    from kheap.study.timeline import heap_timelines
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
    with progress_bar("following the blocks") as progress:
        return replay_report(done, heap_timelines(done, progress))


def _write(args: argparse.Namespace, report: ReportModel) -> list[tuple[str, str, int]]:
    """Write the files: what each is, where, and how long."""
    from kheap.report.chrome import write_chrome_trace
    from kheap.report.html import html_page

    written = []
    if args.output is not None:
        with written_file(args.output) as out:
            out.write(html_page(report))
        written.append(("html", args.output, Path(args.output).stat().st_size))
    if args.chrome_trace is not None:
        with written_file(args.chrome_trace) as out:
            write_chrome_trace(report, out)
        written.append(("chrome_trace", args.chrome_trace, Path(args.chrome_trace).stat().st_size))
    return written
