"""How large a region Zephyr defines, for a request, a named heap or the system heap.

It owns the arithmetic that Zephyr's build does in macros and CMake: pure functions of a
profile and some numbers.  Not here: where a heap lies in a given region
(``kheap._core.chunk``), or which size a recorded workload needs.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

from kheap.errors import NotDefined
from kheap.profile import Profile

__all__ = ["defined_size", "min_size_for", "pool_size", "system_region_size"]

_OPTION = "HEAP_MEM_POOL_SIZE"
_SUMMAND = "HEAP_MEM_POOL_ADD_SIZE_"
_IGNORE = "HEAP_MEM_POOL_IGNORE_MIN"
_ROUNDS = 3


def min_size_for(request_bytes: int, profile: Profile = Profile()) -> int:  # noqa: B008
    """The bytes of an aligned region that a single block of ``request_bytes`` fits in.

    It takes header widths from a tiny heap, as the original does: on 32-bit profiles with
    automatic headers the answer is too small for requests that make the heap a big one, from
    262,053 bytes on, or from 262,049 with statistics.

    Args:
        request_bytes: Bytes of the block, 0 or more.
        profile: Which Zephyr.

    Raises:
        ValueError: ``request_bytes`` is negative.

    Complexity: O(1).
    In Zephyr: the minimum size behind ``K_HEAP_DEFINE()``, computed from 4.4 on.

    >>> min_size_for(1024, Profile(bits=32))
    1100
    """
    request_bytes = _checked("request_bytes", request_bytes)
    layout = profile.layout()
    header = 8 if layout.word_bytes == 8 or layout.header == "big" else 4
    trailer = layout.trailer_units
    least_units = header // 8 + 1 + trailer
    block_units = (header + request_bytes + 7) // 8 + trailer
    # The bucket table grows with the heap and the heap with its table; the original stops
    # after three rounds, which is enough.
    buckets, control_units = 1, 0
    for _ in range(_ROUNDS + 1):
        control_units = (layout.table_byte + 4 * buckets + 7) // 8 + trailer
        buckets = (control_units + block_units - least_units + 1).bit_length()
    return 8 * (control_units + block_units) + header


def defined_size(size_bytes: int, profile: Profile = Profile()) -> int:  # noqa: B008
    """The bytes of the region that a heap defined with ``size_bytes`` gets.

    Raises:
        ValueError: ``size_bytes`` is negative.

    In Zephyr: ``K_HEAP_DEFINE(name, size_bytes)``, which rounds tiny heaps up.

    >>> defined_size(2048), defined_size(1)
    (2048, 80)
    """
    return max(_checked("size_bytes", size_bytes), min_size_for(1, profile))


def system_region_size(pool_bytes: int, profile: Profile = Profile()) -> int:  # noqa: B008
    """The bytes of the system heap's region, for CONFIG_HEAP_MEM_POOL_SIZE.

    From 4.4 on a single block of ``pool_bytes``, its hidden word counted in, fits in it;
    before, it is ``pool_bytes`` itself.

    Args:
        pool_bytes: The option's value, or what :func:`pool_size` makes of a configuration.
        profile: Which Zephyr.

    Raises:
        NotDefined: ``pool_bytes`` is 0, the option's default: there is no system heap.
        ValueError: It is negative.

    >>> system_region_size(4096), system_region_size(4096, Profile(release="4.3"))
    (4192, 4096)
    """
    if _checked(f"CONFIG_{_OPTION}", pool_bytes) == 0:
        raise NotDefined(f"no system heap is defined: CONFIG_{_OPTION} is 0; set that option")
    if profile.version >= (4, 4):
        return min_size_for(pool_bytes, profile)
    return defined_size(pool_bytes, profile)


def pool_size(config: Mapping[str, object]) -> int:
    """The bytes that a configuration gives the system heap, 0 for no system heap.

    That is CONFIG_HEAP_MEM_POOL_SIZE, unless the subsystems' CONFIG_HEAP_MEM_POOL_ADD_SIZE_*
    add up to more: then their sum.  CONFIG_HEAP_MEM_POOL_IGNORE_MIN leaves them out.

    Args:
        config: Options by name, with or without ``CONFIG_``; values are numbers, or texts as
            in a ``.config``: ``"4096"``, ``"0x1000"``, ``"y"``.  Other options are passed over.

    Raises:
        ValueError: One of these sizes is no number, or negative.

    >>> pool_size({"HEAP_MEM_POOL_SIZE": 1024, "HEAP_MEM_POOL_ADD_SIZE_WIFI": "0x1000"})
    4096
    """
    options = {name.removeprefix("CONFIG_"): value for name, value in config.items()}
    own = _number(_OPTION, options.get(_OPTION, 0))
    if options.get(_IGNORE) in (True, 1, "y", "1"):
        return own
    added = (_number(name, value) for name, value in options.items() if name.startswith(_SUMMAND))
    return max(own, sum(added))


def _number(name: str, value: object) -> int:
    if isinstance(value, int):
        return _checked(f"CONFIG_{name}", value)
    try:
        return _checked(f"CONFIG_{name}", int(str(value), 0))
    except ValueError:
        raise ValueError(f"CONFIG_{name} must be a number from 0 on, not {value!r}") from None


def _checked(name: str, size_bytes: int) -> int:
    size_bytes = operator.index(size_bytes)
    if size_bytes < 0:
        raise ValueError(f"{name} is negative: {size_bytes}")
    return size_bytes
