"""A second copy of kheap in this process, run from its Python sources.

The compiled build's modules lie beside the sources they were made from.  :func:`load` imports
those sources once more, passing over the extension modules, so that both builds can be given
the same operations and must give the same answers.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

import kheap

ROOT = str(Path(kheap.__file__).parent.parent)


class SourcesOnly:
    """Finds kheap's modules, and only their sources."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None = None, target: object = None):
        if name.partition(".")[0] != "kheap":
            return None
        specs: list[ModuleSpec | None] = [
            FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
            for folder in path or [ROOT]
        ]
        return specs[0]


def load() -> ModuleType:
    """The pure kheap; the modules that other tests use stay as they are."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if is_kheap(name)}
    sys.meta_path.insert(0, SourcesOnly)
    try:
        return importlib.import_module("kheap")
    finally:
        sys.meta_path.remove(SourcesOnly)
        for name in list(sys.modules):
            if is_kheap(name):
                del sys.modules[name]
        sys.modules.update(ours)


def is_kheap(name: str) -> bool:
    return name.partition(".")[0] == "kheap"
