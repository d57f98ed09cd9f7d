"""The header of a log of sys_heap calls: what the program was, and the names of addresses.

What it owns: the profile of the recorded build, one name for each heap and thread, and the
header of a log that is written.
What it does not: the calls (``_syslog.py``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Container
from typing import Any, NamedTuple, TypeVar

from kheap.profile import Profile, nearest_release
from kheap.trace._columns import INT64_MAX
from kheap.trace._json import whole_number
from kheap.trace._lines import Refused, shown
from kheap.trace._shape import LOST_FINE_TIMES, clock_start
from kheap.trace.model import Trace

_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})([^0-9].*)?", re.DOTALL)
_TICK_RATE = re.compile(r"CONFIG_SYS_CLOCK_TICKS_PER_SEC=([1-9][0-9]{0,9})")
_DEFAULT_RELEASE = "4.4"

#: Ticks a second that are tried, in this order, to write times without a loss.
_TICK_RATES = (1, 10, 100, 1000, 10_000, 32_768, 1_000_000, 1_000_000_000)
#: Addresses that stand for heaps and threads: nothing is at them, they only tell them apart.
_FIRST_HEAP, _FIRST_THREAD, _STRIDE = 0x1000, 0x1000000, 0x100
_KINDS = {dict: "an object", list: "a list"}
_Kind = TypeVar("_Kind", dict[str, Any], list[Any])


class Header:
    """What a header line says; without one, nothing is known.

    Attributes:
        profile: The Zephyr of the recorded program; None where the header tells neither
            release nor word size nor configuration.

    Raises:
        Refused: A value is not what it should be.
    """

    def __init__(self, row: dict[str, Any] | None = None) -> None:
        row = {} if row is None else row
        self._heaps = _checked(row, "heaps", dict)
        self._threads = _checked(row, "threads", dict)
        config = _checked(row, "config", list)
        if not all(type(line) is str for line in config):
            raise Refused(f"header: expected lines of text as 'config', found {shown(config)}")
        rates = [match[1] for match in map(_TICK_RATE.fullmatch, config) if match]
        self._ticks_per_second = int(rates[-1]) if rates else 0
        self.profile = _profile(row, config)

    def heap_name(self, address: int, symbol: object, taken: Container[object]) -> str:
        """A name for the heap at an address that is not taken: its symbol, else the address.

        Args:
            address: Where the struct sys_heap lies.
            symbol: What the row calls it, for where the header says nothing.
            taken: The names of other heaps.
        """
        known = self._heaps.get(str(address))
        known_symbol = known.get("symbol") if type(known) is dict else None
        return _unique(known_symbol or symbol, address, taken)

    def thread_name(self, address: int, taken: Container[object]) -> str:
        """A name for the thread at an address that is not taken."""
        return _unique(self._threads.get(str(address)), address, taken)

    def seconds(self, row: dict[str, Any]) -> float:
        """When a call was made, in seconds; 0.0 where the rate of ticks is not known."""
        if not self._ticks_per_second or "tick" not in row:
            return 0.0
        return whole_number(row, "tick") / self._ticks_per_second


class WrittenHeader(NamedTuple):
    """A header line, and what the rows behind it need.

    Attributes:
        line: The line.
        heaps: The address that stands for each heap.
        threads: The address that stands for each thread.
        ticks: From seconds to ticks; None where no times are written.
    """

    line: str
    heaps: list[int]
    threads: list[int]
    ticks: Callable[[float], int] | None


def written_header(trace: Trace, lost: Counter[str]) -> WrittenHeader:
    """The header of a trace that is written."""
    heaps = [_FIRST_HEAP + _STRIDE * i for i in range(len(trace.heaps))]
    threads = [_FIRST_THREAD + _STRIDE * i for i in range(len(trace.threads))]
    clock = _clock(trace, lost)
    config = [] if trace.profile is None else _config_lines(trace.profile)
    row: dict[str, object] = {"kind": "header"}
    if trace.profile is not None:
        # A release after the last one is read as main.
        release = "4.5" if trace.profile.release == "main" else trace.profile.release
        row |= {"zephyr": f"v{release}.0", "pointer_bytes": trace.profile.bits // 8}
    if clock is not None:
        config.append(f"CONFIG_SYS_CLOCK_TICKS_PER_SEC={clock.rate}")
    row["config"] = config
    row["heaps"] = {
        str(address): {"symbol": entry.name}
        for address, entry in zip(heaps, trace.heaps, strict=True)
    }
    row["threads"] = dict(zip(map(str, threads), trace.threads, strict=True))
    line = json.dumps(row) + "\n"
    return WrittenHeader(line, heaps, threads, clock.ticks if clock is not None else None)


class _Clock(NamedTuple):
    """A clock of so many ticks a second, from a time on."""

    start: float
    rate: int

    def ticks(self, time: float) -> int:
        return min(round((time - self.start) * self.rate), INT64_MAX)


def _clock(trace: Trace, lost: Counter[str]) -> _Clock | None:
    """The slowest clock that tells all times; the fastest that fits where none does."""
    start = clock_start(trace, INT64_MAX, lost)
    if start is None:
        return None
    most = max(trace.time) - start
    rates = [rate for rate in _TICK_RATES if most * rate < INT64_MAX]
    for rate in rates:
        if all(round((time - start) * rate) / rate == time - start for time in trace.time):
            return _Clock(start, rate)
    lost[LOST_FINE_TIMES] += len(trace)
    return _Clock(start, rates[-1])


def _config_lines(profile: Profile) -> list[str]:
    """A profile as lines of a ``.config``."""
    lines = [
        f"CONFIG_SYS_HEAP_ALLOC_LOOPS={profile.alloc_loops}",
        f"CONFIG_SYS_HEAP_HARDENING_{profile.hardening.upper()}=y",
    ]
    if profile.header != "auto":
        lines.append(f"CONFIG_SYS_HEAP_{profile.header.upper()}_ONLY=y")
    if profile.runtime_stats:
        lines.append("CONFIG_SYS_HEAP_RUNTIME_STATS=y")
    return lines


def _profile(row: dict[str, Any], config: list[str]) -> Profile | None:
    """The profile that a header describes; the word size is that of the pointers."""
    version, pointer_bytes = row.get("zephyr"), row.get("pointer_bytes")
    config = [line for line in config if _TICK_RATE.fullmatch(line) is None]
    if version is None and pointer_bytes is None and not config:
        return None
    release = _DEFAULT_RELEASE
    if version is not None:
        match = _VERSION.fullmatch(version) if type(version) is str else None
        if match is None:
            raise Refused(f"header: expected a version as 'zephyr', found {shown(version)}")
        release = nearest_release(int(match[1]), int(match[2]))
    if pointer_bytes is not None:
        if pointer_bytes not in (4, 8):
            raise Refused(
                f"header: expected 4 or 8 as 'pointer_bytes', found {shown(pointer_bytes)}"
            )
        config = [line for line in config if not line.startswith("CONFIG_64BIT=")]
        config += ["CONFIG_64BIT=y"] if pointer_bytes == 8 else []
    try:
        return Profile.from_config_lines(config, release=release)
    except ValueError as error:
        raise Refused(f"header: {error}") from None


def _checked(row: dict[str, Any], key: str, kind: type[_Kind]) -> _Kind:
    value = row.get(key)
    if value is None:
        return kind()
    if type(value) is not kind:
        raise Refused(f"header: expected {_KINDS[kind]} as {key!r}, found {shown(value)}")
    return value


def _unique(symbol: object, address: int, taken: Container[object]) -> str:
    name = symbol if type(symbol) is str and symbol else f"{address:#x}"
    return f"{name}@{address:#x}" if name in taken else name
