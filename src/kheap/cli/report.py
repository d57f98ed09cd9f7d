"""``kheap report``: draw a heap over time, as a page or for Perfetto."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kheap.cli import arguments
from kheap.cli.common import chosen_profile, print_answer, read_trace_of, replay_of
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
        arguments.add_trace(parser)
        parser.add_argument("-o", "--output", metavar="FILE", help="write the page there (HTML)")
        parser.add_argument(
            "--chrome-trace",
            metavar="FILE",
            help="write a trace for Perfetto and chrome://tracing there (JSON)",
        )
        arguments.add_region(parser)
        arguments.add_reading(parser)
        arguments.add_profile(parser)
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Replay, and write what was asked for; 0 even if requests failed: it is drawn."""
        from kheap.report.machine_report import report_object

        _check_outputs(args)
        report = _computed(args)
        written = _write(args, report)
        print_answer(
            args,
            lambda: report_object(report, written),
            lambda: [f"{path}: {size:,} bytes" for _, path, size in written],
        )
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
    from kheap.study.timeline import heap_timelines

    profile = chosen_profile(args)
    done = replay_of(args, read_trace_of(args), profile)
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
