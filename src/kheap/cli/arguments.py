"""The arguments that several commands take: each is declared, and its help written, once.

What it owns: the declarations and their types.  A command adds those it needs, in the order
of its help.

What it does not: acting on them; that is ``common.py``.
"""

from __future__ import annotations

import argparse

from kheap.study.overhead import OVERHEADS
from kheap.study.replay import SIMULATED_ADDRESS
from kheap.study.size import EFFORTS, Effort
from kheap.units import parse_bytes

__all__ = [
    "add_base",
    "add_base_address",
    "add_effort",
    "add_heap",
    "add_json",
    "add_lenient",
    "add_overhead",
    "add_profile",
    "add_reading",
    "add_region",
    "add_size",
    "add_trace",
    "address_argument",
    "count_argument",
    "size_argument",
]

PROFILE_ELF = "take the profile from this Zephyr ELF's CONFIG_ symbols"
DUMP_ELF = "the program, zephyr.elf: names, layouts and configuration"
REPLAYED_SIZE = (
    "bytes of the heap's region (16384, 16K, 0x4000);"
    " without it every heap is as the trace recorded it"
)


def size_argument(text: str) -> int:
    """A size on the command line, for argparse."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def address_argument(text: str) -> int:
    """An address on the command line, for argparse."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not an address: {text!r}") from None


def count_argument(text: str) -> int:
    """A number from 1 on, for argparse."""
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return count


# ---------------------------------------------------------------------- any command


def add_profile(parser: argparse.ArgumentParser, elf_help: str = PROFILE_ELF) -> None:
    """``--profile`` and ``--elf``, for :func:`kheap.cli.common.chosen_profile`."""
    parser.add_argument(
        "--profile",
        metavar="KEY=VALUE,...",
        help="which Zephyr: release, bits, header, runtime_stats, alloc_loops, hardening",
    )
    parser.add_argument("--elf", metavar="FILE", help=elf_help)


def add_base(parser: argparse.ArgumentParser) -> None:
    """``--base``."""
    parser.add_argument(
        "--base",
        metavar="ADDRESS",
        type=address_argument,
        help="the address of a RAM image's first byte",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``, for :func:`kheap.cli.common.print_answer`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


# ---------------------------------------------------------------------- a trace


def add_trace(parser: argparse.ArgumentParser, metavar: str = "TRACE") -> None:
    """The trace's file, for :func:`kheap.cli.common.read_trace_of`."""
    parser.add_argument("trace", metavar=metavar, help="a trace file, gzip and zstd too")


def add_reading(parser: argparse.ArgumentParser, whose: str = "the trace's") -> None:
    """``--format`` and ``--lenient``: how a trace is read."""
    parser.add_argument("--format", metavar="NAME", help=f"{whose} format; detected if not given")
    add_lenient(parser)


def add_lenient(parser: argparse.ArgumentParser) -> None:
    """``--lenient``."""
    parser.add_argument(
        "--lenient", action="store_true", help="skip malformed lines, and count them"
    )


# ---------------------------------------------------------------------- its heap


def add_region(parser: argparse.ArgumentParser) -> None:
    """The region of a replay, for :func:`kheap.cli.common.replay_of`.

    It is as recorded but with ``--size``; ``--heap`` and ``--base-address`` then tell the rest.
    """
    add_size(parser)
    add_heap(parser, only_with_size=True)
    add_base_address(parser, only_with_size=True)


def add_size(parser: argparse.ArgumentParser, help: str = REPLAYED_SIZE) -> None:
    """``--size``."""
    parser.add_argument("--size", type=size_argument, help=help)


def add_heap(parser: argparse.ArgumentParser, *, only_with_size: bool = False) -> None:
    """``--heap``."""
    parser.add_argument(
        "--heap", metavar="NAME", help=_condition(only_with_size) + "which heap of the trace"
    )


def add_base_address(parser: argparse.ArgumentParser, *, only_with_size: bool = False) -> None:
    """``--base-address``."""
    parser.add_argument(
        "--base-address",
        type=address_argument,
        default=SIMULATED_ADDRESS,
        metavar="ADDRESS",
        help=_condition(only_with_size)
        + f"the address of the region (default {SIMULATED_ADDRESS:#x})",
    )


def _condition(only_with_size: bool) -> str:
    return "with --size: " if only_with_size else ""


def add_overhead(parser: argparse.ArgumentParser) -> None:
    """``--overhead``."""
    parser.add_argument(
        "--overhead",
        choices=OVERHEADS,
        default="k_heap",
        metavar="CALLS",
        help="what the calls above the heap add: k_heap (nothing), k_malloc or malloc",
    )


def add_effort(parser: argparse.ArgumentParser, default: Effort, help: str) -> None:
    """``--effort``."""
    parser.add_argument("--effort", choices=EFFORTS, default=default, metavar="HOW", help=help)
