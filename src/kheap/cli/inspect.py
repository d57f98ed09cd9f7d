"""``kheap inspect``: every heap in a dump, core file or console log."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kheap.cli import arguments
from kheap.cli.common import as_command_error
from kheap.cli.output import written_file
from kheap.errors import CommandError, HeapCorruption
from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.dump.dump import Dump
    from kheap.dump.inspection import Inspection
    from kheap.heaps.stats import Verdict

__all__ = ["InspectCommand", "opened_dump"]

HEXDUMP_BYTES = 256
MOST_HEXDUMP_BYTES = 1 << 20


class InspectCommand:
    """See the module's head."""

    name = "inspect"
    help = "see every heap in a dump, core file or console log"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument(
            "dump",
            metavar="DUMP",
            nargs="+",
            help="core dump, ELF core, RAM image, HEX, SREC or console log; several: parts of one"
            " memory (FILE@ADDRESS for images)",
        )
        arguments.add_base(parser)
        arguments.add_profile(parser, elf_help=arguments.DUMP_ELF)
        parser.add_argument("--heap", metavar="NAME", help="only the heap of this name or address")
        parser.add_argument("--chunks", action="store_true", help="list every chunk")
        parser.add_argument(
            "--hexdump",
            metavar="ADDRESS[:BYTES]",
            type=_stretch,
            help=f"show memory from there on ({HEXDUMP_BYTES} bytes)",
        )
        parser.add_argument(
            "--would-fit",
            metavar="BYTES[:ALIGN]",
            type=_request,
            help="whether such a request would be served; exit code 1 if by no heap",
        )
        parser.add_argument(
            "--owners",
            action=argparse.BooleanOptionalAction,
            help="look for the owners of all blocks, however many (default: up to 50,000)",
        )
        parser.add_argument("-o", "--output", metavar="FILE", help="write a page there (HTML)")
        parser.add_argument("--ascii", action="store_true", help="draw the map in ASCII")
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Open, look, say; 1 if a heap is corrupt, none is found, or none would serve."""
        from kheap.dump.inspection import inspect

        found = inspect(opened_dump(args, args.dump), args.heap, owners=args.owners)
        verdicts = _verdicts(found, args.would_fit) if args.would_fit else None
        shown = _bytes_at(found, args.hexdump) if args.hexdump else None
        if args.output is not None:
            _write_page(args.output, found)
        if args.json:
            _print_object(found, verdicts)
        else:
            _print_text(args, found, verdicts, shown)
        serves = verdicts is None or "fits" in verdicts
        return 0 if found.is_sound and serves else 1


def opened_dump(args: argparse.Namespace, paths: str | list[str]) -> Dump:
    """The dump that the arguments name.

    Raises:
        CommandError: A file cannot be opened.
        DumpError: A file cannot be read.
    """
    from kheap.dump.dump import open_dump

    with as_command_error(OSError):
        dump = open_dump(paths, elf=args.elf, base=args.base)
        if args.profile is None:
            return dump
        profile = _told_profile(args.profile, dump)
        return open_dump(paths, elf=args.elf, base=args.base, profile=profile)


def _told_profile(text: str, dump: Dump) -> Profile:
    """What ``--profile`` says; what it leaves open is as the bytes or the program say."""
    known = [heap.profile for heap in dump.heaps]
    if dump.image is not None and dump.image.profile is not None:
        known.append(dump.image.profile)
    default = Profile(bits=dump.container.bits or 64)
    with as_command_error(ValueError):
        return Profile.parse(text, base=[*known, default][0])


def _stretch(text: str) -> tuple[int, int]:
    address, _, count = text.partition(":")
    size = arguments.size_argument(count) if count else HEXDUMP_BYTES
    if not 0 < size <= MOST_HEXDUMP_BYTES:
        raise argparse.ArgumentTypeError(f"{size} bytes: from 1 to {MOST_HEXDUMP_BYTES:,} can be")
    return arguments.address_argument(address), size


def _request(text: str) -> tuple[int, int]:
    size, _, align = text.partition(":")
    return arguments.size_argument(size), arguments.size_argument(align) if align else 0


def _verdicts(found: Inspection, request: tuple[int, int]) -> list[Verdict | str]:
    """For each heap what the request would meet, or why that cannot be told."""
    verdicts: list[Verdict | str] = []
    for heap in found.heaps:
        if heap.image.is_partial:
            verdicts.append("cannot be told: the dump holds only a part of it")
            continue
        try:
            verdicts.append(heap.image.heap.why(request[0], align=request[1]))
        except HeapCorruption as error:
            verdicts.append(f"cannot be told: {error}")
        except ValueError as error:
            raise CommandError(f"--would-fit: {error}") from None
    return verdicts


def _print_text(
    args: argparse.Namespace,
    found: Inspection,
    verdicts: list[Verdict | str] | None,
    shown: tuple[int, bytes] | None,
) -> None:
    from kheap.report.inspect_text import chunk_lines, hexdump_lines, inspect_lines, verdict_lines
    from kheap.report.terminal import print_lines

    print_lines(inspect_lines(found, ascii_only=args.ascii))
    for heap, verdict in zip(found.heaps, verdicts or (), strict=False):
        print_lines(verdict_lines(heap.image, verdict))
    if args.chunks:
        for heap in found.heaps:
            print(f"\n{heap.image.name}")
            for line in chunk_lines(heap):
                print(line)
    if shown is not None:
        print()
        for line in hexdump_lines([heap.image for heap in found.heaps], *shown):
            print(line)


def _bytes_at(found: Inspection, stretch: tuple[int, int]) -> tuple[int, bytes]:
    address, count = stretch
    memory = found.dump.memory
    held = min(count, memory.extent(address))
    data = memory.read(address, held)
    if not held or data is None:
        raise CommandError(f"{found.dump.path}: holds no memory at {address:#x}")
    return address, bytes(data)


def _print_object(found: Inspection, verdicts: list[Verdict | str] | None) -> None:
    import json

    from kheap.report.machine_inspect import inspect_object

    # In one line: a heap may have a million chunks, and indenting them takes ten times as long.
    print(json.dumps(inspect_object(found, verdicts)))


def _write_page(path: str, found: Inspection) -> None:
    from kheap.report.dump_model import dump_report
    from kheap.report.html import html_page

    page = html_page(dump_report(found))
    with written_file(path) as out:
        out.write(page)
