"""What a block pool is made of: its arguments, checked, and the sizes that follow from them.

Not here: which block is handed out (``kheap._core.quad``, ``kheap._core.buddy``), and the
pool that users hold (``mem_pool.py``).
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Literal, get_args

from kheap._core.buddy import BuddyPool
from kheap._core.quad import QuadPool

__all__ = ["Model", "Policy", "PoolShape"]

Model = Literal["quad", "buddy"]
Policy = Literal["split_before_defrag", "defrag_before_split", "split_only"]

_POLICIES: tuple[str, ...] = get_args(Policy)  # by the engine's number
_MOST_LEVELS = 16
_SIZE_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShape:
    """The arguments of a pool, checked.

    Attributes:
        min_bytes, max_bytes, n_max, align, model, policy, bits: See ``MemPool``.
        sizes: The block sizes, largest first.
    """

    min_bytes: int
    max_bytes: int
    n_max: int
    align: int
    model: Model
    policy: Policy
    bits: int
    sizes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("min_bytes", "max_bytes", "n_max", "align", "bits"):
            value = operator.index(getattr(self, name))
            if value < 1:
                raise ValueError(f"{name} {value}: it is 1 or more")
            object.__setattr__(self, name, value)
        if self.align & (self.align - 1):
            raise ValueError(f"align {self.align} is no power of two")
        _one_of("model", self.model, get_args(Model))
        _one_of("policy", self.policy, _POLICIES)
        _one_of("bits", self.bits, (32, 64))
        if self.size_bytes >= _SIZE_LIMIT:
            raise ValueError(f"n_max * max_bytes is {self.size_bytes}: the limit is 2**60")
        sizes = self._quad_sizes() if self.model == "quad" else self._buddy_sizes()
        object.__setattr__(self, "sizes", sizes)

    @property
    def size_bytes(self) -> int:
        """Bytes of the pool's memory."""
        return self.n_max * self.max_bytes

    @property
    def max_request_bytes(self) -> int:
        """The largest request that a fresh pool serves."""
        if self.model == "quad":
            return self.min_bytes << 2 * (len(self.sizes) - 1)
        return self.max_bytes

    def engine(self) -> QuadPool | BuddyPool:
        """A fresh pool of this shape."""
        if self.model == "quad":
            policy = _POLICIES.index(self.policy)
            return QuadPool(self.sizes, self.n_max, self.min_bytes, policy)
        return BuddyPool(self.sizes, self.n_max)

    def _quad_sizes(self) -> tuple[int, ...]:
        """Quarters, rounded down, as long as they are no less than ``min_bytes``."""
        if self.max_bytes < self.min_bytes:
            # Differs from Zephyr: there requests get a block that is too small for them.
            raise ValueError(f"max_bytes {self.max_bytes} is below min_bytes {self.min_bytes}")
        sizes = [self.max_bytes]
        while sizes[-1] // 4 >= self.min_bytes:
            sizes.append(sizes[-1] // 4)
        return tuple(sizes)

    def _buddy_sizes(self) -> tuple[int, ...]:
        """Quarters, as long as they are no less than ``min_bytes`` and a list node."""
        word = self.bits // 8
        least = max(self.min_bytes, 2 * word)
        if self.max_bytes < least:
            raise ValueError(
                f"max_bytes {self.max_bytes} is below the smallest block, {least} bytes"
                f" (min_bytes {self.min_bytes}, a list node {2 * word})"
            )
        levels = range(_MOST_LEVELS)
        sizes = [self.max_bytes >> 2 * i for i in levels if self.max_bytes >> 2 * i >= least]
        grain = word << 2 * (len(sizes) - 1)
        if self.max_bytes % grain:
            # Differs from Zephyr: there sizes are rounded, and blocks overlap.
            raise ValueError(
                f"max_bytes {self.max_bytes} does not divide into {len(sizes)} levels of"
                f" {word}-byte words: blocks would overlap; make it a multiple of {grain}"
            )
        return tuple(sizes)


def _one_of(name: str, value: object, values: tuple[object, ...]) -> None:
    if value not in values:
        raise ValueError(f"{name} {value!r}: it is one of {', '.join(map(repr, values))}")
