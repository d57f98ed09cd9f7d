"""The board that the C names work on: its configuration, its clock and its memory.

It owns what C code finds around it: Kconfig values, addresses, and the bytes at an address.
There is one board at a time; :func:`configure` puts another in its place.  Not here: the calls
(the modules beside this one), and whose priority is which (``threads.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from kheap._core._native import Pin
from kheap.errors import KheapError
from kheap.heaps.sizing import pool_size
from kheap.heaps.waiting import Clock, RealClock
from kheap.profile import Profile, nearest_release

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from kheap.heaps.system_heap import SystemHeap

__all__ = [
    "NULL",
    "Board",
    "Pointer",
    "board",
    "configure",
    "memory",
    "static_memory",
]

Pointer = int | None
NULL = None

RAM = 0x20000000
OBJECTS = 0x1F000000
_OBJECT_BYTES = 64
_SYS_HEAP_SINCE = (2, 5)  # From here on k_malloc() has sys_heap beneath it.
_LAST_MINOR = {1: 14, 2: 7, 3: 7, 4: 4}
_FIRST_RELEASE = (1, 6)
_SET_LINE = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET_LINE = re.compile(r"# CONFIG_(\w+) is not set")


class Board:
    """One configured machine.

    Attributes:
        config: Kconfig values by name, without ``CONFIG_``, as a ``.config`` spells them.
        release: The Zephyr release, "1.6" to "4.4" or "main".
        profile: Which heaps that release and configuration have.
        clock: Where time comes from.
        lock: Held while something is added to the board.
        heaps: All that ``K_HEAP_DEFINE`` has defined, by address.
        initialised: The heap object of every init, in order.
        listeners: The registered heap listeners, in order.
        system_heap: What ``k_malloc()`` allocates from, once it was called.
        taken: Addresses of the system heap's live blocks.
    """

    def __init__(self, config: dict[str, str], release: str, clock: Clock) -> None:
        self.config = config
        self.release = release
        self.clock = clock
        self.version = _version(release)
        lines = [f"CONFIG_{name}={value}" for name, value in config.items()]
        profile_release = release if release == "main" else nearest_release(*self.version)
        self.profile = Profile.from_config_lines(lines, release=profile_release)
        self.lock = RLock()
        self.heaps: list[Any] = []
        self.initialised: list[Any] = []
        self.listeners: list[Any] = []
        self.system_heap: SystemHeap | None = None
        self.taken: set[int] = set()
        self._pool_bytes = pool_size(config)
        self._mapped: list[tuple[int, int, memoryview]] = []  # Address, real address, bytes.
        self._next_address = RAM
        self._next_object = OBJECTS

    @property
    def has_sys_heap(self) -> bool:
        """Whether ``k_malloc()`` is over ``sys_heap``, and no longer over a pool."""
        return self.version >= _SYS_HEAP_SINCE

    def system_heap_bytes(self) -> int:
        """CONFIG_HEAP_MEM_POOL_SIZE, or the sum of what subsystems add to it."""
        return self._pool_bytes

    def is_set(self, name: str) -> bool:
        """Whether a boolean option is y."""
        return self.config.get(name, "n") not in ("n", "0", "")

    def object_address(self) -> int:
        """An address for a kernel object."""
        with self.lock:
            self._next_object += _OBJECT_BYTES
            return self._next_object - _OBJECT_BYTES

    def map(self, buffer: Buffer, align: int = 8) -> int:
        """Let a buffer be memory of this board; the address of its first byte.

        It stays the same when the buffer, or a part of it, is mapped again: C code gives its
        static buffer to one init after the other.

        Raises:
            BufferError, TypeError: It is no writable contiguous buffer.
        """
        pin = Pin()
        pin._hold(buffer)
        real, view = pin.real_address(), memoryview(buffer).cast("B")
        pin._let_go()
        with self.lock:
            for first, real_first, known in self._mapped:
                # What is mapped is held in place, so that no other buffer can be there.
                if real_first <= real and real + len(view) <= real_first + len(known):
                    return first + real - real_first
            address = -(-self._next_address // align) * align
            self._mapped.append((address, real, view))
            self._next_address = address + len(view)
        return address

    def memory(self, address: Pointer, size_bytes: int) -> memoryview:
        """The bytes at an address; ValueError where the board has no memory."""
        address = address or 0
        for first, _, view in self._mapped:
            if first <= address and 0 <= size_bytes <= first + len(view) - address:
                return view[address - first : address - first + size_bytes]
        raise ValueError(f"{size_bytes} bytes at {address:#x}: the board has no memory there")


def _version(release: str) -> tuple[int, int]:
    if not isinstance(release, str):
        raise TypeError(f"release {release!r} is no text: 1.10 and 1.1 are one number")
    if release == "main":
        return (4, 4)
    try:
        major, minor = map(int, release.split("."))
    except ValueError:
        raise ValueError(f"release {release!r} is not like '4.4' or '1.7'") from None
    if (major, minor) < _FIRST_RELEASE or not 0 <= minor <= _LAST_MINOR.get(major, -1):
        raise ValueError(f"release {release} is not known: 1.6 to 4.4, or main")
    return major, minor


_board = Board({}, "4.4", RealClock())


def board() -> Board:
    """The board that the C names work on now."""
    return _board


def configure(
    config: Mapping[str, object] | str | Path | None = None,
    *,
    release: str = "4.4",
    clock: Clock | None = None,
) -> Board:
    """Begin anew on a board of this configuration; heaps of the last one are no longer known.

    Args:
        config: Kconfig values by name, with or without ``CONFIG_`` (``True`` is y, ``False``
            n), or the path of a ``.config`` file.  Options that are not told have Kconfig's
            defaults: a 32-bit machine, no statistics, no system heap.
        release: The Zephyr release; those before 2.5 have a pool behind ``k_malloc()``.
        clock: Where time comes from; tests give a ``VirtualClock``.

    Raises:
        KheapError: Blocks of the system heap live, and a program has only one.
        OSError, ValueError: The file cannot be read; values or a release that do not exist.
        TypeError: The release is no text.
    """
    global _board  # noqa: PLW0603  (the one board, as the C names have no argument for it)
    if _board.taken:
        raise KheapError(
            f"{len(_board.taken)} blocks of the system heap live, and a program has only one"
        )
    options = _read(config) if isinstance(config, str | Path) else _spelled(config or {})
    _board = Board(options, release, RealClock() if clock is None else clock)
    return _board


def _read(path: str | Path) -> dict[str, str]:
    Profile.from_kconfig(path)  # Refuses what is no .config.
    options = {}
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _SET_LINE.fullmatch(line.strip()):
            options[match[1]] = match[2].strip('"')
        elif match := _UNSET_LINE.fullmatch(line.strip()):
            options[match[1]] = "n"
    return options


def _spelled(config: Mapping[str, object]) -> dict[str, str]:
    words: dict[object, str] = {True: "y", False: "n"}
    return {
        name.removeprefix("CONFIG_"): words[value] if isinstance(value, bool) else str(value)
        for name, value in config.items()
    }


def static_memory(size_bytes: int, align: int = 8) -> int:
    """The address of so many zero bytes: a ``static uint8_t buffer[size] __aligned(align)``."""
    if align < 1 or align & (align - 1):
        raise ValueError(f"align {align} is no power of two")
    return _board.map(bytearray(size_bytes), align)


def memory(address: Pointer, size_bytes: int) -> memoryview:
    """The bytes at an address, to be read and written.

    Raises:
        ValueError: The board has no memory there.
    """
    return _board.memory(address, size_bytes)
