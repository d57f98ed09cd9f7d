"""Which build of kheap runs, and how much of a long test it is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import kheap

TEST_DATA = "KHEAP_TEST_DATA"
TEST_SCALE = "KHEAP_TEST_SCALE"


def name() -> str:
    """The build that runs: "compiled" or "pure"."""
    return "compiled" if kheap.COMPILED else "pure"


def where() -> str:
    """The build that runs and the folder that it was imported from."""
    return f"the {name()} build in {Path(kheap.__file__).parent}"


def scale() -> float:
    """The share of a long test that runs: all of it compiled, a tenth pure.

    ``KHEAP_TEST_SCALE`` sets another, from above 0 to 1.
    """
    return float(os.environ.get(TEST_SCALE, "1.0" if kheap.COMPILED else "0.1"))


def share(items: list) -> list:
    """The share of the items that runs: all, or every so-many-th from the first on."""
    return items[:: round(1 / scale())]


def real_data(*parts: str) -> Path | None:
    """A folder of the real inputs, or None where ``KHEAP_TEST_DATA`` is unset."""
    root = os.environ.get(TEST_DATA)
    return Path(root, *parts) if root else None


def real_files(*parts: str, pattern: str) -> list:
    """Test parameters: the files of a folder of the real inputs, or one that is skipped."""
    folder = real_data(*parts)
    if folder is None:
        mark = pytest.mark.skip(reason=f"{TEST_DATA} is unset: no {'/'.join(parts)}")
        return [pytest.param(None, marks=mark, id="no-data")]
    return [pytest.param(path, id=path.name) for path in sorted(folder.glob(pattern))]
