"""Sphinx's settings: the pages are plain Markdown that also reads well unrendered.

The table of contents is added here, not in ``index.md``, where it would show as code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "kheap"
author = "the kheap authors"
copyright = "2026, the kheap authors"

extensions = ["myst_parser"]
html_theme = "furo"
html_title = "kheap"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpicky = True
# Links to files beside docs/ lead out of what is rendered; tests/docs checks that they exist.
suppress_warnings = ["myst.xref_missing"]

CONTENTS = """

```{toctree}
:hidden:
:caption: %s

%s
```
"""
SECTIONS = (
    ("Tutorial", ("tutorial/first-replay", "tutorial/the-zephyr-heap-pages")),
    (
        "How to",
        (
            "how-to/replay-your-own-trace",
            "how-to/record-on-the-device",
            "how-to/size-a-heap",
            "how-to/draw-a-heap-over-time",
            "how-to/compare-choices",
            "how-to/allocate-in-a-buffer",
            "how-to/wait-for-memory",
            "how-to/numpy-arrays-in-a-region",
            "how-to/port-c-code",
            "how-to/find-out-why-it-failed",
            "how-to/check-a-heap-image",
            "how-to/inspect-a-dump",
            "how-to/find-who-broke-a-heap",
            "how-to/find-a-leak",
            "how-to/read-a-console-log",
            "how-to/watch-a-target",
        ),
    ),
    (
        "Reference",
        (
            "reference/cli",
            "reference/python",
            "reference/heaps",
            "reference/c-names",
            "reference/trace-formats",
            "reference/dump-formats",
            "reference/verdicts",
            "reference/releases",
            "reference/differences",
        ),
    ),
    (
        "Explanation",
        (
            "explanation/layout",
            "explanation/fragmentation",
            "explanation/sizing",
            "explanation/engine",
            "explanation/waiting",
            "explanation/old-pools",
            "explanation/diagnosis",
        ),
    ),
    ("More", ("glossary", "adr/README")),
)
DECISIONS = ("adr/README", "[0-9]*")


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the table of contents at the end of the front page, and of the list of decisions."""
    if page == "index":
        source[0] += "".join(CONTENTS % (title, "\n".join(pages)) for title, pages in SECTIONS)
    elif page == DECISIONS[0]:
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n\n{DECISIONS[1]}\n```\n"


def setup(app: Sphinx) -> None:
    """Let Sphinx call us."""
    app.connect("source-read", add_contents)
