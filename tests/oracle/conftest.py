"""The emulated firmware, made once, and the seed; without unicorn these tests are skipped."""

import os

import pytest


@pytest.fixture(scope="session")
def firmware():
    """The firmware of the PyPI package under emulation."""
    pytest.importorskip("unicorn", reason="unicorn is not installed (extra: oracle)")
    from oracle.firmware import Firmware, FirmwareMissing

    try:
        return Firmware()
    except FirmwareMissing as missing:
        pytest.skip(f"{missing} (extra: oracle)")


@pytest.fixture
def oracle_seed():
    """The seed of random operations, which a failure prints: ``KHEAP_ORACLE_SEED``."""
    seed = os.environ.get("KHEAP_ORACLE_SEED", "20260401")
    print(f"KHEAP_ORACLE_SEED={seed}")
    return seed
