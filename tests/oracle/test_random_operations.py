"""kheap beside a released firmware: every offset, and every byte after every operation.

``KHEAP_ORACLE_SEED`` sets the seed; each failure names it and the operation.
"""

from random import Random

import pytest

pytest.importorskip("unicorn", reason="unicorn is not installed (extra: oracle)")

from oracle.operations import Operations, make_plan
from oracle.pair import Pair

pytestmark = pytest.mark.oracle

RUNS = 12
OPERATIONS = 10_000
OPERATIONS_A_HEAP = 500


@pytest.mark.parametrize("run", range(RUNS))
def test_same_offsets_and_bytes(firmware, oracle_seed, scale, run):
    random = Random(f"{oracle_seed}/{run}")
    for _ in range(round(OPERATIONS * scale) // OPERATIONS_A_HEAP):
        plan = make_plan(random)
        pair, operations = Pair(firmware, plan), Operations(plan, random)
        for _ in range(OPERATIONS_A_HEAP):
            pair.do(operations.draw(len(pair.live)), operations)
        assert firmware.surroundings() == {plan.fill}, f"written outside; {pair.story()}"
        pair.heap.check()


def test_a_whole_run_is_long_enough():
    assert RUNS * OPERATIONS >= 100_000
    assert OPERATIONS % OPERATIONS_A_HEAP == 0
