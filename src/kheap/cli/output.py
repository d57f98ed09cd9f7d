"""Files that commands write: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kheap.cli.common import as_command_error

__all__ = ["written_file"]


@contextmanager
def written_file(path: str) -> Iterator[TextIO]:
    """A text file to write to; it takes its name, or another's place, only once it is whole.

    Until then it lies beside that place under another name, and goes if anything goes wrong.
    What is no plain file (a pipe, a terminal) is written to as it is.

    Raises:
        CommandError: It cannot be written.
    """
    # Behind a symbolic link the file is replaced, not the link.
    place = Path(path).resolve()
    with as_command_error(OSError, place=path):
        if place.exists() and not place.is_file():
            with place.open("w", encoding="utf-8", newline="\n") as out:
                yield out
            return
        beside = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            with beside.open("x", encoding="utf-8", newline="\n") as out:
                yield out
            if place.exists():
                beside.chmod(place.stat().st_mode & 0o777)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
