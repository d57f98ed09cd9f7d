"""No trace yet: the heap that a list of blocks needs.

It owns what can be said without knowing the order of events: what is guaranteed when the blocks are
allocated in any order, and what served a number of random orders of use.  Not here: the search for
sizes (``size.py``), and the sums that Zephyr's build makes (``kheap.heaps.sizing``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from random import Random

from kheap.profile import Profile
from kheap.study.fit_stage import STEP, Sizes
from kheap.study.overhead import Overhead, heap_requests
from kheap.study.replay import SIMULATED_ADDRESS
from kheap.study.size import config_bytes, find_size
from kheap.trace.model import ALLOC, FREE, Trace
from kheap.units import parse_bytes

__all__ = ["Blocks", "SizePlan", "parse_blocks", "parse_sums", "plan_size"]

CHURNS, CHURN_OPS = 10, 300
MOST_BLOCKS = 100_000
MOST_CHURNED = 2_000

_BLOCKS = re.compile(r"(?:(\d+)\s*x\s*)?([^:]+?)(?::align=(\w+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Some blocks that are alike.

    Attributes:
        count: How many.
        request_bytes: Bytes of each.
        align: Their alignment, 0 for none.
    """

    count: int
    request_bytes: int
    align: int = 0


@dataclass(frozen=True, slots=True)
class SizePlan:
    """The heap for a list of blocks.

    Attributes:
        blocks: The list.
        profile, overhead: What it was planned for.
        requested_bytes: The sum of all requests.
        guaranteed_bytes: A region of this size, or any larger one, holds all blocks, allocated in
            any order, however often they were all freed before; None: no heap is so large.
        churned_bytes: From this size on all regions served all random orders of use that were
            tried, in which blocks were freed and allocated again while others lived; None: the
            list is too long to try.  It is likely, not guaranteed, to serve another.
        churns: How many orders were tried.
        recommended_bytes: The larger of both, and the margin.
        config_bytes: What Kconfig, or ``K_HEAP_DEFINE``, is to say for such a region.
        sums: What subsystems ask for by HEAP_MEM_POOL_ADD_SIZE_*, by name.
        margin_percent: What ``recommended_bytes`` adds.
    """

    blocks: tuple[Blocks, ...]
    profile: Profile
    overhead: Overhead
    requested_bytes: int
    guaranteed_bytes: int | None
    churned_bytes: int | None
    churns: int
    recommended_bytes: int | None
    config_bytes: int | None
    sums: dict[str, int]
    margin_percent: float

    @property
    def sum_bytes(self) -> int:
        """What all subsystems ask for."""
        return sum(self.sums.values())

    @property
    def pool_bytes(self) -> int | None:
        """CONFIG_HEAP_MEM_POOL_SIZE for the blocks and the subsystems together.

        The build takes the larger of that option and the subsystems' sum, not their total; so the
        option has to name the total.
        """
        return None if self.config_bytes is None else self.config_bytes + self.sum_bytes


def parse_blocks(text: str) -> tuple[Blocks, ...]:
    """Read ``10x64,4x512:align=16,1500``: count, size and alignment of blocks.

    Raises:
        ValueError: An item is not like that, or there are more than 100,000 blocks.

    >>> parse_blocks("4x512:align=16, 1K")
    (Blocks(count=4, request_bytes=512, align=16), Blocks(count=1, request_bytes=1024, align=0))
    """
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _BLOCKS.fullmatch(item)
        if match is None:
            raise ValueError(f"blocks: {item!r} is not like 4x512:align=16")
        count, size, align = match.groups()
        try:
            blocks = Blocks(int(count or 1), parse_bytes(size), parse_bytes(align or "0"))
        except ValueError as error:
            raise ValueError(f"blocks: {item!r}: {error}") from None
        if blocks.request_bytes < 1:
            raise ValueError(f"blocks: {item!r}: a block has at least 1 byte")
        if blocks.align & (blocks.align - 1):
            raise ValueError(f"blocks: {item!r}: align is no power of two")
        found.append(blocks)
    if sum(blocks.count for blocks in found) > MOST_BLOCKS:
        raise ValueError(f"blocks: more than {MOST_BLOCKS} of them")
    return tuple(found)


def parse_sums(text: str) -> dict[str, int]:
    """Read ``bt=1024,wifi=40K``.

    Raises:
        ValueError: An item is no name and size.
    """
    sums: dict[str, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, size = item.partition("=")
        if not equals or not name:
            raise ValueError(f"add-size: {item!r} is not like wifi=40960")
        try:
            sums[name.strip()] = parse_bytes(size)
        except ValueError as error:
            raise ValueError(f"add-size: {item!r}: {error}") from None
    return sums


def plan_size(
    blocks: tuple[Blocks, ...],
    sums: dict[str, int] | None = None,
    *,
    profile: Profile | None = None,
    overhead: Overhead = "k_heap",
    margin_percent: float = 10.0,
) -> SizePlan:
    """Plan a heap for blocks that are live at once.

    The guarantee counts each block with the most that its alignment can cost.  A fresh heap is one
    chunk that requests are cut from, so their order does not matter; once all are freed, it is one
    chunk again.

    Args:
        blocks: From :func:`parse_blocks`.
        sums: What subsystems ask for by HEAP_MEM_POOL_ADD_SIZE_*.
        profile: Which Zephyr.
        overhead: What the calls above the heap add.
        margin_percent: What the recommendation adds.

    Raises:
        ValueError: No such overhead.
    """
    chosen = profile or Profile()
    all_of_them = _all_allocated(blocks)
    guaranteed = _guaranteed(all_of_them, chosen, overhead)
    churned = None
    if 1 < len(all_of_them) <= MOST_CHURNED and guaranteed is not None:
        churned = _churned(all_of_them, chosen, overhead)
    recommended = None
    if guaranteed is not None:
        base = max(guaranteed, churned or 0)
        recommended = STEP * ceil(base * (100 + margin_percent) / 100 / STEP)
    return SizePlan(
        blocks=blocks,
        profile=chosen,
        overhead=overhead,
        requested_bytes=sum(b.count * b.request_bytes for b in blocks),
        guaranteed_bytes=guaranteed,
        churned_bytes=churned,
        churns=CHURNS if churned is not None else 0,
        recommended_bytes=recommended,
        config_bytes=None if recommended is None else config_bytes(recommended, chosen, overhead),
        sums=dict(sums or {}),
        margin_percent=margin_percent,
    )


def _all_allocated(blocks: tuple[Blocks, ...]) -> Trace:
    trace = Trace(path="blocks")
    for kind in blocks:
        for _ in range(kind.count):
            trace.add(ALLOC, len(trace), kind.request_bytes, kind.align)
    return trace


def _guaranteed(trace: Trace, profile: Profile, overhead: Overhead) -> int | None:
    """The smallest size from which on every region holds all, each padded as far as can be."""
    if not len(trace):
        return 0
    layout = profile.layout()
    sizes, aligns = heap_requests(trace, profile, overhead)
    all_sizes = Sizes(layout, SIMULATED_ADDRESS, wide=False)
    header = all_sizes.geometry(all_sizes.first).header_bytes
    while True:
        least_units = (2 if header == 8 else 1) + layout.trailer_units
        units = sum(
            max(
                (size + header + 7 + _padding(align, header)) // 8 + layout.trailer_units,
                least_units,
            )
            for size, align in zip(sizes, aligns, strict=True)
        )
        region = all_sizes.least_with(units)
        if all_sizes.units(region) < units:
            return None
        widest = all_sizes.geometry(region).header_bytes
        if widest == header:
            break
        header = widest
    return _beyond_the_step(region, units, trace, all_sizes, header)


def _padding(align: int, header: int) -> int:
    """The most bytes that an alignment, with or without a rewind bit, can cost."""
    rewind = align & -align
    if align == rewind:
        return align - header if align > header else 0
    return max(0, align - rewind - min(rewind, header))


def _beyond_the_step(region: int, units: int, trace: Trace, sizes: Sizes, header: int) -> int:
    """The same, where heaps from some size on have wider headers: all larger ones must do."""
    widest = sizes.geometry(sizes.last).header_bytes
    if widest == header:
        return region
    # Each block's header grows by 4 bytes, which is a unit at most.
    at_step = next(kind.first for kind in sizes.classes(region) if kind.geometry.big)
    return (
        region
        if sizes.units(at_step) >= units + 2 * len(trace)
        else sizes.least_with(units + 2 * len(trace))
    )


def _churned(trace: Trace, profile: Profile, overhead: Overhead) -> int | None:
    """The size from which on all random orders of use were served."""
    most = 0
    for seed in range(CHURNS):
        churn = _churn(trace, seed)
        answer = find_size(churn, profile=profile, overhead=overhead, effort="quick")
        if answer.safe_bytes is None:
            return None
        most = max(most, answer.safe_bytes)
    return most


def _churn(trace: Trace, seed: int) -> Trace:
    """Allocate all in a random order, then free and allocate again one after another."""
    random = Random(seed)
    order = list(range(len(trace)))
    random.shuffle(order)
    churned = Trace(path="blocks")
    live = set(order)
    for i in order:
        churned.add(ALLOC, i, trace.size[i], trace.align[i])
    for _ in range(CHURN_OPS):
        i = random.choice(order)
        if i in live:
            live.remove(i)
            churned.add(FREE, i)
        else:
            live.add(i)
            churned.add(ALLOC, i, trace.size[i], trace.align[i])
    return churned
