"""What a Python program would use in place of a heap, and the loops that time it.

It owns the list of peers and the two loops that all of them run alike: alloc and free in
pairs, and a random mix.  Each peer is two pieces of source text in the same loop, so that
what is compared is the calls and not the loop.
Not here: rounds, medians and ratios (``kheap.study.bench``).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time_ns
from typing import Any

from kheap._core._native import COMPILED
from kheap._core.yardstick import Yardstick
from kheap.heaps.k_heap import Heap
from kheap.heaps.sys_heap import SysHeap

__all__ = [
    "BLOCK",
    "BLOCK_PEERS",
    "BYTEARRAY",
    "DROPPED_BLOCK",
    "FLOOR",
    "KHEAP",
    "LOOP",
    "NUMPY",
    "PAIR_BYTES",
    "PEERS",
    "AnyRunner",
    "Peer",
    "PureRunner",
    "Runner",
    "mix_loop",
    "runner_of",
    "serve",
]

#: Bytes of each block of the pairs.
PAIR_BYTES = 64

_PAIR = """
from itertools import repeat
def turn(it, count):
    for _ in repeat(None, count):
        block = {obtain}
        {release}
"""

_MIX = """
def turn(it, slots, sizes, blocks):
    for slot, size in zip(slots, sizes):
        block = blocks[slot]
        if block is None:
            blocks[slot] = {obtain}
        else:
            blocks[slot] = None
            {release}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to obtain memory and to give it back.

    Attributes:
        name: What the report calls it.
        make: Makes ``it``, what the two texts call, for a region of so many bytes.
        obtain: Source of an expression: a block of SIZE bytes from ``it``.
        release: Source of a statement that gives ``block`` back.
        slowness: It is given one operation in so many, to keep the run short.
        most_live: Mixes with more live blocks than this leave it out.
        outlives: Blocks still live at the end must be given back one by one; those of the
            others go with ``it``, or with the last reference.
        pure: It runs on the pure build of kheap, in a process of its own.
        ours: It runs on this process's build of kheap.
    """

    name: str
    make: Callable[[int], object]
    obtain: str
    release: str
    slowness: int = 1
    most_live: int = sys.maxsize
    outlives: bool = False
    pure: bool = False
    ours: bool = False


def _libc(_: int) -> ctypes.CDLL:
    library = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
    library.malloc.argtypes, library.malloc.restype = (ctypes.c_size_t,), ctypes.c_void_p
    library.free.argtypes, library.free.restype = (ctypes.c_void_p,), None
    return library


def _mmap(_: int) -> object:
    from mmap import mmap

    return mmap


def _multiprocessing_heap(_: int) -> object:
    from multiprocessing.heap import Heap

    heap = Heap()
    heap.malloc(1)  # Lives as long as the heap: an empty arena would be unmapped at each free.
    return heap


def _shared_memory(_: int) -> object:
    from multiprocessing.shared_memory import SharedMemory

    return SharedMemory


def _numpy(_: int) -> object:
    from numpy import empty

    return empty


LOOP = Peer("the loop itself", lambda _: None, "SIZE", "pass")
FLOOR = Peer(
    "floor: two calls that do nothing", lambda _: Yardstick(), "it.take(SIZE)", "it.give(block)"
)
KHEAP = Peer("kheap.SysHeap", SysHeap, "it.alloc(SIZE)", "it.free(block)", ours=True)
BLOCK = Peer("kheap.Heap, block.free()", Heap, "it.alloc(SIZE)", "block.free()", ours=True)
DROPPED_BLOCK = Peer("kheap.Heap, del block", Heap, BLOCK.obtain, "del block", ours=True)
BYTEARRAY = Peer("bytearray(n), del", lambda _: None, "bytearray(SIZE)", "del block")
NUMPY = Peer("numpy.empty(n, 'u1'), del", _numpy, "it(SIZE, 'u1')", "del block")

#: All peers, in the order of the report.  Where each block is a mapping or a file of its own,
#: a system has too few for a hundred thousand.
PEERS = (
    LOOP,
    FLOOR,
    KHEAP,
    Peer(
        "kheap.SysHeap, pure build",
        lambda _: None,
        KHEAP.obtain,
        KHEAP.release,
        slowness=50,
        pure=True,
    ),
    BYTEARRAY,
    NUMPY,
    Peer(
        "C malloc, free by ctypes",
        _libc,
        "it.malloc(SIZE)",
        "it.free(block)",
        slowness=4,
        outlives=True,
    ),
    Peer(
        "mmap.mmap(-1, n), close",
        _mmap,
        "it(-1, SIZE)",
        "block.close()",
        slowness=25,
        most_live=10_000,
    ),
    Peer(
        "multiprocessing.heap.Heap",
        _multiprocessing_heap,
        "it.malloc(SIZE)",
        "it.free(block)",
        slowness=50,
    ),
    Peer(
        "SharedMemory, close, unlink",
        _shared_memory,
        "it(create=True, size=SIZE)",
        "block.close(); block.unlink()",
        slowness=100,
        most_live=10_000,
        outlives=True,
    ),
)

#: Whoever hands out an object that owns its memory, beside who hands out a number.
BLOCK_PEERS = (LOOP, FLOOR, KHEAP, BLOCK, DROPPED_BLOCK, BYTEARRAY, NUMPY)


class Runner:
    """Runs one peer's loops in this process; times are its CPU time in nanoseconds.

    Call :meth:`begin`, then :meth:`pair` or :meth:`mix` any number of times, then :meth:`end`.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._pair = _compiled(_PAIR, peer, str(PAIR_BYTES))
        self._mix = mix_loop(peer)
        self._it: object = None
        self._blocks: list[object] = []

    def begin(self, region_bytes: int, slot_count: int = 0) -> None:
        """Make the peer's heap and empty slots. ImportError if the peer is not installed."""
        self._it = self.peer.make(region_bytes)
        self._blocks = [None] * slot_count

    def pair(self, count: int) -> int:
        """Alloc and free so many times."""
        began = process_time_ns()
        self._pair(self._it, count)
        return process_time_ns() - began

    def mix(self, slots: Sequence[int], sizes: Sequence[int]) -> int:
        """Toggle the slots: free the block that one holds, or fill it with one of that size."""
        began = process_time_ns()
        self._mix(self._it, slots, sizes, self._blocks)
        return process_time_ns() - began

    def end(self) -> None:
        """Give all blocks back, and the heap."""
        if self.peer.outlives:
            held = [slot for slot, block in enumerate(self._blocks) if block is not None]
            self.mix(held, [0] * len(held))
        self._blocks.clear()
        self._it = None


class PureRunner:
    """As :class:`Runner`, for the pure build of kheap, which a process of its own imports."""

    def __init__(self) -> None:
        package = Path(__file__).parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PURE_PROCESS, str(package)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, *request: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None, "Popen was given pipes"
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise OSError("its process ended")
        return json.loads(answer)

    def begin(self, region_bytes: int, slot_count: int = 0) -> None:
        """Make a heap and empty slots."""
        self._ask("begin", region_bytes, slot_count)

    def pair(self, count: int) -> int:
        """As :meth:`Runner.pair`."""
        return int(self._ask("pair", count))

    def mix(self, slots: Sequence[int], sizes: Sequence[int]) -> int:
        """As :meth:`Runner.mix`."""
        return int(self._ask("mix", slots, sizes))

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


AnyRunner = Runner | PureRunner


def runner_of(peer: Peer, region_bytes: int, slot_count: int = 0) -> AnyRunner:
    """What runs ``peer``, begun.

    ImportError if it is not installed, OSError if it needs a process and can have none.
    """
    runner = PureRunner() if peer.pure else Runner(peer)
    try:
        runner.begin(region_bytes, slot_count)
    except BaseException:
        runner.end()
        raise
    return runner


# An installed wheel has each module's source beside its extension.  A path hook for the
# package's own folders that knows sources only makes the import system pass by the extensions
# there, and nowhere else.
_PURE_PROCESS = """
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

package = Path(sys.argv[1])

def sources_only(folder):
    if not Path(folder).is_relative_to(package):
        raise ImportError("none of our folders")
    return FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))

sys.path.insert(0, str(package.parent))
sys.path_hooks.insert(0, sources_only)
from kheap.study.peers import serve
serve()
"""


def serve() -> None:
    """Answer a :class:`PureRunner`, a line of JSON each, until it says no more."""
    if COMPILED:
        raise RuntimeError("this process was to import the pure build")
    runner = Runner(KHEAP)
    for line in sys.stdin:
        method, *given = json.loads(line)
        print(json.dumps(getattr(runner, method)(*given)), flush=True)


def mix_loop(peer: Peer) -> Callable[..., None]:
    """The loop of :meth:`Runner.mix`: called with what the peer made, slots, sizes, blocks."""
    return _compiled(_MIX, peer, "size")


def _compiled(source: str, peer: Peer, size: str) -> Callable[..., None]:
    obtain = peer.obtain.replace("SIZE", size)
    names: dict[str, Any] = {}
    exec(source.format(obtain=obtain, release=peer.release), names)
    turn: Callable[..., None] = names["turn"]
    return turn
