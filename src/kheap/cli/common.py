"""What several commands share: arguments, profiles, and writing an answer."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Protocol

from kheap.errors import CommandError
from kheap.profile import Profile
from kheap.units import parse_bytes

__all__ = [
    "Command",
    "add_profile_arguments",
    "address_argument",
    "chosen_profile",
    "print_json",
    "read_failure",
    "size_argument",
]


class Command(Protocol):
    """A command: its name, its arguments, and what it does."""

    name: str
    help: str

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""


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


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """``--profile`` and ``--elf``."""
    parser.add_argument(
        "--profile",
        metavar="KEY=VALUE,...",
        help="which Zephyr: release, bits, header, runtime_stats, alloc_loops, hardening",
    )
    parser.add_argument(
        "--elf", metavar="FILE", help="take the profile from this Zephyr ELF's CONFIG_ symbols"
    )


def chosen_profile(args: argparse.Namespace) -> Profile | None:
    """The profile that the arguments ask for; None where they ask for none.

    With both, ``--profile`` overrides what the ELF says.

    Raises:
        CommandError: A profile that cannot be, or an ELF that cannot be read.
    """
    try:
        base = Profile.from_elf(args.elf) if args.elf else None
        if args.profile is None:
            return base
        return Profile.parse(args.profile, base=base)
    except OSError as error:
        raise CommandError(f"{args.elf}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None


def print_json(answer: dict[str, Any]) -> None:
    """Print one object."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")


def read_failure(path: str | Path, error: OSError) -> CommandError:
    """The one line for a file that cannot be read."""
    return CommandError(f"{path}: {error.strerror or error}")
