"""What every test run needs: the build it is for, and fixed seeds."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from helpers import build

settings.register_profile("kheap", derandomize=True, deadline=None, database=None)
settings.load_profile("kheap")


def pytest_configure() -> None:
    """Refuse to test another build than the one expected, and let Ctrl-C interrupt."""
    expected = os.environ.get("KHEAP_EXPECT_BUILD", "")
    if expected not in ("", "compiled", "pure"):
        raise pytest.UsageError(f"KHEAP_EXPECT_BUILD is {expected!r}: write compiled or pure")
    if expected not in ("", build.name()):
        raise pytest.UsageError(f"KHEAP_EXPECT_BUILD is {expected}, not {build.where()}")
    # A job in the background ignores it, and the tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say which build the results are for."""
    return f"kheap: {build.where()}"


@pytest.fixture(scope="session")
def scale() -> float:
    """The share of a long test that runs: 1.0 compiled, 0.1 pure."""
    return build.scale()
