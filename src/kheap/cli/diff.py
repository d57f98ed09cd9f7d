"""``kheap diff``: what changed in the heaps between two dumps, and what may have leaked."""

from __future__ import annotations

import argparse

from kheap.cli import arguments
from kheap.cli.common import print_answer
from kheap.cli.inspect import opened_dump

__all__ = ["DiffCommand"]


class DiffCommand:
    """See the module's head."""

    name = "diff"
    help = "tell what changed in the heaps between two dumps of a target, and what may have leaked"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument("before", metavar="DUMP1", help="the earlier dump, of any kind")
        parser.add_argument("after", metavar="DUMP2", help="the later one, of the same program")
        parser.add_argument("--heap", metavar="NAME", help="only the heap of this name or address")
        parser.add_argument(
            "--most",
            type=arguments.count_argument,
            default=10,
            metavar="N",
            help="rows of each table in the text (default 10); --json has all",
        )
        arguments.add_base(parser)
        arguments.add_profile(parser, elf_help=arguments.DUMP_ELF)
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Compare; 0 if no heap grew, none has a leak suspect and none is corrupt, else 1."""
        from kheap.dump.diff import diff
        from kheap.report.diff_text import diff_lines
        from kheap.report.machine_diff import diff_object

        before, after = (opened_dump(args, path) for path in (args.before, args.after))
        found = diff(before, after, args.heap)
        print_answer(args, lambda: diff_object(found), lambda: diff_lines(found, args.most))
        return 0 if found.is_clean else 1
