"""``kheap watch``: the heaps of a running target, or of a recording of one."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from kheap.cli import arguments
from kheap.cli.common import as_command_error
from kheap.errors import CommandError
from kheap.profile import Profile

if TYPE_CHECKING:
    from kheap.dump.program.image import Image
    from kheap.dump.target.live import LiveTarget, Sample
    from kheap.dump.target.recording import Header, Recording
    from kheap.report.watch_screen import WatchScreen

__all__ = ["WatchCommand"]

#: Seconds from one sample to the next, where they are not given.
INTERVAL_S = 1.0
LONGEST_INTERVAL_S = 86_400.0


class WatchCommand:
    """See the module's head."""

    name = "watch"
    help = "watch the heaps of a running target, or of a recording of one"

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        parser.add_argument(
            "target",
            metavar="TARGET",
            help="gdb://HOST:PORT, the GDB server of QEMU, OpenOCD, J-Link, pyOCD or probe-rs;"
            " or a recording",
        )
        arguments.add_profile(parser, elf_help=arguments.DUMP_ELF)
        parser.add_argument("--heap", metavar="NAME", help="only the heap of this name or address")
        parser.add_argument(
            "--interval",
            metavar="SECONDS",
            type=_seconds,
            help=f"time between samples (default {INTERVAL_S:g}; of a recording, as it was)",
        )
        parser.add_argument(
            "--samples",
            metavar="N",
            type=arguments.count_argument,
            help="end after so many samples",
        )
        parser.add_argument("--record", metavar="FILE", help="write every sample to a recording")
        parser.add_argument(
            "--halt",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="stop the target while it is read, some milliseconds each time (the default);"
            " --no-halt: read while it runs, if the server can",
        )
        parser.add_argument(
            "--once",
            action="store_true",
            help="show one sample as kheap inspect shows a dump; of a recording, the last",
        )
        arguments.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Watch; 1 if a heap of any sample is corrupt, or with ``--once`` none is found."""
        from kheap.dump.target.gdb_remote import is_gdb_url

        with _ended_in_order():
            if is_gdb_url(args.target):
                return _watch_target(args)
            if Path(args.target).is_file():
                return _watch_recording(args)
        raise CommandError(f"{args.target}: expected gdb://HOST:PORT, or a recording")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST_INTERVAL_S:
        raise argparse.ArgumentTypeError(f"not a time in seconds, up to a day: {text!r}")
    return value


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let a signal that ends the program end it as an exception does: no target stays stopped."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGHUP")  # the second is not there in every system
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------------- a running target


def _watch_target(args: argparse.Namespace) -> int:
    from kheap.dump.target.gdb_remote import GdbRemote
    from kheap.dump.target.live import LiveTarget
    from kheap.dump.target.recording import Header

    if args.elf is None:
        raise CommandError(f"{args.target}: --elf zephyr.elf must tell which heaps there are")
    image = _image(args.elf)
    _require_heap(args, [found.name for found in image.objects], args.elf)
    profile = _profile(args, image.profile)
    with as_command_error(OSError, place=args.elf):
        header = Header.of(args.target, image, profile)
    with (
        _recorded(args.record, header) as record,
        GdbRemote(args.target, halts=args.halt) as remote,
    ):
        target = LiveTarget(remote, image, profile, heap=args.heap)
        if _has_screen(args):
            return _show_target(args, target, record)
        return _print(args, _each(_series(args, target), record))


def _series(args: argparse.Namespace, target: LiveTarget) -> Iterator[Sample]:
    """Samples as they become due."""
    due = monotonic()
    for _ in range(args.samples or sys.maxsize):
        sleep(max(0.0, due - monotonic()))
        due += INTERVAL_S if args.interval is None else args.interval
        yield target.sample()


def _each(series: Iterable[Sample], record: Callable[[Sample], None]) -> Iterator[Sample]:
    for sample in series:
        record(sample)
        yield sample


def _show_target(
    args: argparse.Namespace, target: LiveTarget, record: Callable[[Sample], None]
) -> int:
    from kheap.report.watch_screen import LiveScreen

    interval = INTERVAL_S if args.interval is None else args.interval
    title = args.target + (f"   recording to {args.record}" if args.record else "")
    return _show(
        LiveScreen(title, target, interval_s=interval, count=args.samples, on_sample=record)
    )


@contextmanager
def _recorded(path: str | None, header: Header) -> Iterator[Callable[[Sample], None]]:
    """A function that records a sample; the file is begun with the first."""
    from kheap.dump.target.recording import Recorder

    recorder: Recorder | None = None

    def record(sample: Sample) -> None:
        nonlocal recorder
        if path is not None:
            with as_command_error(OSError, place=path):
                recorder = recorder or Recorder(path, header)
                recorder.add(sample.t, sample.memory)

    try:
        yield record
    finally:
        if recorder is not None:
            with as_command_error(OSError, place=path):
                recorder.close()


# ---------------------------------------------------------------------- a recording


def _watch_recording(args: argparse.Namespace) -> int:
    from kheap.dump.target.live import Replayed
    from kheap.dump.target.recording import Recording

    if args.record is not None:
        raise CommandError(f"--record: {args.target} is a recording already")
    with as_command_error(OSError, place=args.target):
        recording = Recording(args.target)
    image = _recorded_image(args, recording)
    _require_heap(args, [name for _, name in recording.header.names], args.target)
    profile = _profile(args, recording.header.profile)
    replayed = Replayed(recording, image, profile, heap=args.heap)
    count = min(args.samples or len(replayed), len(replayed))
    if args.once:
        return _print(args, iter([replayed.sample(count - 1)]))
    if _has_screen(args):
        from kheap.report.watch_replay import ReplayScreen

        title = f"{args.target} ({recording.header.target})"
        screen = ReplayScreen(title, replayed, interval_s=args.interval, count=count)
        return _show(screen)
    return _print(args, map(replayed.sample, range(count)))


def _recorded_image(args: argparse.Namespace, recording: Recording) -> Image | None:
    """The program: the one given, else the one recorded where it is there and the same."""
    if args.elf is not None:
        return _image(args.elf)
    path = recording.header.elf
    return _image(path) if path is not None and recording.header.is_of(path) else None


# ---------------------------------------------------------------------- what is shown


def _has_screen(args: argparse.Namespace) -> bool:
    """Whether there is a terminal to draw on, and it is wanted."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # Textual draws on the last
    if args.once or args.json or not all(stream.isatty() for stream in streams):
        return False
    if find_spec("textual") is None:
        print("kheap: for the screen, pip install 'kheap[watch]'; without it:", file=sys.stderr)
        return False
    return True


def _show(screen: WatchScreen) -> int:
    """Run the screen.  Errors that ended it are raised here."""
    try:
        screen.run()
    finally:
        screen.stop()
    if screen.error is not None:
        raise screen.error
    if screen.return_code:
        raise CommandError("the screen failed; without a terminal there are lines instead")
    return 1 if screen.met_corruption else 0


def _print(args: argparse.Namespace, samples: Iterator[Sample]) -> int:
    """Print each sample: as a line or an object, or with ``--once`` the first one whole."""
    if args.once:
        sample = next(samples)
        _print_whole(args, sample)
        return 0 if sample.inspection.is_sound else 1
    met_corruption = False
    for sample in samples:
        print(_line(args, sample), flush=True)
        met_corruption |= sample.is_corrupt
    return 1 if met_corruption else 0


def _line(args: argparse.Namespace, sample: Sample) -> str:
    from kheap.report.machine_inspect import inspect_object
    from kheap.report.watch_text import sample_line

    if not args.json:
        return sample_line(sample)
    series = {"sample": sample.number, "t": round(sample.t, 6), "takes": sample.takes}
    return json.dumps(series | inspect_object(sample.inspection))


def _print_whole(args: argparse.Namespace, sample: Sample) -> None:
    from kheap.report.inspect_text import inspect_lines
    from kheap.report.machine_inspect import inspect_object
    from kheap.report.terminal import print_lines

    dump = sample.inspection.dump
    if dump.image is not None:
        dump.notes[:0] = dump.image.notes
    if args.json:
        print(json.dumps(inspect_object(sample.inspection)))
    else:
        print_lines(inspect_lines(sample.inspection))


# ---------------------------------------------------------------------- what is asked for


def _image(path: str) -> Image:
    from kheap.dump.program.image import read_image

    with as_command_error(OSError, place=path):
        image = read_image(path)
    if not image.objects and image.heap_array is None:
        raise CommandError(f"{path}: no heap is found in this program")
    return image


def _profile(args: argparse.Namespace, base: Profile | None) -> Profile | None:
    """What ``--profile`` asks for, over what is known; None where it is not there."""
    with as_command_error(ValueError):
        return None if args.profile is None else Profile.parse(args.profile, base=base)


def _require_heap(args: argparse.Namespace, names: list[str], place: str) -> None:
    """Refuse a name that no heap has; an address is seen to only where memory is."""
    wanted = args.heap
    if wanted is not None and names and wanted not in names and not wanted.startswith("0x"):
        raise CommandError(f"{place}: no heap is called {wanted!r}; there are: {', '.join(names)}")
