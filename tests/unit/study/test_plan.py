"""Plans for lists of blocks: what they guarantee, they hold."""

from __future__ import annotations

from itertools import permutations

import pytest

from kheap import Profile, Trace, replay
from kheap.study.overhead import heap_requests
from kheap.study.plan import Blocks, _guaranteed, parse_blocks, plan_size

LISTS = ["1x1", "3x24,1x100", "2x64:align=64,1x8", "1x200:align=256,2x24:align=16,1x7"]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("overhead", ["k_heap", "k_malloc", "malloc"])
@pytest.mark.parametrize("text", LISTS)
def test_the_guaranteed_size_holds_every_order(text, overhead, bits):
    profile = Profile(bits=bits)
    blocks = [b for b in parse_blocks(text) for _ in range(b.count)]
    whole = Trace()
    for i, block in enumerate(blocks):
        whole.add(0, i, block.request_bytes, block.align)
    size = _guaranteed(whole, profile, overhead)
    for order in permutations(blocks):
        trace = Trace()
        for i, block in enumerate(order):
            trace.add(0, i, block.request_bytes, block.align)
        trace.size, trace.align = heap_requests(trace, profile, overhead)
        for larger in (0, 8, 24, 200):
            assert replay(trace, size + larger, profile=profile).failed == 0


def test_without_alignments_it_is_the_least():
    plan = plan_size((Blocks(3, 24), Blocks(1, 100)), profile=Profile(bits=32))
    trace = Trace()
    for i, size in enumerate((24, 24, 24, 100)):
        trace.add(0, i, size)
    assert replay(trace, plan.guaranteed_bytes, profile=Profile(bits=32)).failed == 0
    assert replay(trace, plan.guaranteed_bytes - 8, profile=Profile(bits=32)).failed == 1


def test_wider_headers_are_foreseen():
    """Heaps of 262,152 bytes and more have headers of 8 bytes, so that more is needed."""
    plan = plan_size((Blocks(20_000, 4),), profile=Profile(bits=32))
    assert plan.guaranteed_bytes >= 16 * 20_000


def test_a_long_list_is_not_churned():
    assert plan_size((Blocks(3_000, 8),)).churned_bytes is None


def test_no_heap_is_so_large():
    plan = plan_size((Blocks(1, 1 << 40),))
    assert plan.guaranteed_bytes is None and plan.config_bytes is None and plan.pool_bytes is None
