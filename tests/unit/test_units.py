"""Sizes as users read and write them."""

from __future__ import annotations

import pytest

from kheap import units


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("16384", 16384),
        ("007", 7),
        ("16K", 16384),
        ("16k", 16384),
        ("16KB", 16384),
        ("16KiB", 16384),
        ("16 KiB", 16384),
        ("  16kib\n", 16384),
        ("2M", 2 << 20),
        ("2MiB", 2 << 20),
        ("1G", 1 << 30),
        ("1gb", 1 << 30),
        ("100B", 100),
        ("100 b", 100),
        ("0x4000", 0x4000),
        ("0X4000", 0x4000),
        ("0x1b", 0x1B),
        ("0x10K", 16 << 10),
        ("0xffffffffffffffff", (1 << 64) - 1),
    ],
)
def test_sizes_that_are_read(text, count):
    assert units.parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    ["", " ", "K", "-1", "+1", "1.5K", "1e3", "0x", "x10", "16KK", "16T", "16 K iB", "16,384",
     "1_000", "0b11", "0o7", "16ib", "\u0661\u0666", "16K 4"],
)  # fmt: skip
def test_sizes_that_are_refused(text):
    with pytest.raises(ValueError, match="not a size"):
        units.parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (2, "2 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1,024 bytes (1 KiB)"),
        (1536, "1,536 bytes (1.5 KiB)"),
        (16384, "16,384 bytes (16 KiB)"),
        (1 << 20, "1,048,576 bytes (1 MiB)"),
        (1 << 30, "1,073,741,824 bytes (1 GiB)"),
        (5 << 40, "5,497,558,138,880 bytes (5120 GiB)"),
    ],
)
def test_sizes_that_are_written(count, text):
    assert units.format_bytes(count) == text


def test_a_unit_is_8_bytes():
    assert units.CHUNK_UNIT_BYTES == 8
