"""Times to wait, as C code says them."""

from __future__ import annotations

import pytest

from kheap.zephyr import (
    K_FOREVER,
    K_HOURS,
    K_MINUTES,
    K_MSEC,
    K_NO_WAIT,
    K_NSEC,
    K_SECONDS,
    K_TICKS,
    K_TIMEOUT_EQ,
    K_USEC,
    configure,
    k_timeout_t,
)
from kheap.zephyr.timeouts import seconds_of


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (K_NO_WAIT, 0),
        (K_FOREVER, None),
        (K_NSEC(1500), 1.5e-6),
        (K_USEC(1500), 1.5e-3),
        (K_MSEC(100), 0.1),
        (K_SECONDS(3), 3),
        (K_MINUTES(2), 120),
        (K_HOURS(1), 3600),
        (K_TICKS(25), 0.0025),
        (K_TICKS(-1), None),
        (K_MSEC(-1), 0),
        (K_SECONDS(-0.5), 0),
        (K_HOURS(-1), 0),
        (K_TICKS(-2), 0),
        (k_timeout_t(0.25), 0.25),
        (100, 0.1),
        (0, 0),
        (-1, None),
    ],
)
def test_seconds(timeout, seconds):
    assert seconds_of(timeout) == seconds


@pytest.mark.parametrize("timeout", [None, 0.1, True, False, "100", b""])
def test_what_is_no_time(timeout):
    with pytest.raises(TypeError, match=r"is none: K_NO_WAIT, K_FOREVER, K_MSEC\(100\)"):
        seconds_of(timeout)


@pytest.mark.parametrize("timeout", [-2, k_timeout_t(-0.1), k_timeout_t(float("nan"))])
def test_what_is_below_no_time(timeout):
    with pytest.raises(ValueError, match="is no time"):
        seconds_of(timeout)


def test_ticks_are_the_boards():
    configure({"SYS_CLOCK_TICKS_PER_SEC": 100})
    assert seconds_of(K_TICKS(25)) == 0.25
    configure({"SYS_CLOCK_TICKS_PER_SEC": 0})
    with pytest.raises(ValueError, match="CONFIG_SYS_CLOCK_TICKS_PER_SEC is 0"):
        K_TICKS(1)


def test_two_times_are_compared():
    assert K_TIMEOUT_EQ(K_MSEC(1000), K_SECONDS(1))
    assert K_TIMEOUT_EQ(K_TICKS(-1), K_FOREVER)
    assert not K_TIMEOUT_EQ(K_FOREVER, K_NO_WAIT)
