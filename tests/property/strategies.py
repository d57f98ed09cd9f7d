"""Heaps of every kind, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

import kheap
from kheap.profile import HARDENING_LEVELS, RELEASES

#: Sizes that no heap can serve; arithmetic on them must not wrap.
ABSURD = (2**31 - 1, 2**31, 2**32 - 9, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**200)

#: 0, powers of two, and powers of two with a rewind bit.
ALIGNMENTS = tuple(
    sorted({1 << high | 1 << low for high in range(9) for low in range(high + 1)} | {0, 4096})
)


@st.composite
def profiles(draw: st.DrawFn) -> kheap.Profile:
    """Any profile that some build of Zephyr can have."""
    release = draw(st.sampled_from(("4.4", *RELEASES)))
    bits = draw(st.sampled_from((32, 64)))
    levels = HARDENING_LEVELS if release == "4.4" else HARDENING_LEVELS[:3]
    return kheap.Profile(
        release=release,
        bits=bits,
        header=draw(st.sampled_from(("auto", "small", "big") if bits == 32 else ("auto", "big"))),
        runtime_stats=draw(st.booleans()),
        alloc_loops=draw(st.integers(1, 5)),
        hardening=draw(st.sampled_from(levels)),
    )


def requests(absurd: bool = True) -> st.SearchStrategy[int]:
    """Sizes: mostly small, some as large as any region here, a few absurd."""
    usual = (st.integers(0, 40), st.integers(1, 300), st.integers(1, 9000))
    return st.one_of(*usual, st.sampled_from(ABSURD)) if absurd else st.one_of(*usual)


alignments = st.one_of(st.just(0), st.sampled_from(ALIGNMENTS))
