"""A folder to run the pages' code in: files it writes are lost, the examples are there."""

from __future__ import annotations

import shutil

import pytest

from docs.pages import ROOT


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The current folder, with a copy of ``examples`` in it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path
