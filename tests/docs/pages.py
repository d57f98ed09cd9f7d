"""Reading the pages: where they are, their headings, code blocks, tables and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Every page, and the three files beside them that are written as pages.
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def params(pages):
    """Test parameters, named by the page's place in the repository."""
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages]


def read(page):
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page, language):
    """The code blocks in one language: line number and text of each."""
    text = read(page)
    return [
        (text.count("\n", 0, match.start(2)) + 1, match[2])
        for match in _BLOCK.finditer(text)
        if match[1] == language
    ]


def prose(page):
    """The text of a page without its code blocks."""
    return _BLOCK.sub("", read(page))


def headings(page):
    """The headings of a page."""
    return _HEADING.findall(prose(page))


def anchors(page):
    """The anchors that a page's headings make."""
    words = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings(page))
    return {re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-") for word in words}


def links(page):
    """The targets of a page's links."""
    return _LINK.findall(prose(page))


def section(page, heading):
    """The text under a heading, up to the next one of its rank or higher."""
    text = read(page)
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found, f"{page.name} has no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text):
    """The cells of all table rows of a text, heads and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    after_rule = [i for i, line in enumerate(lines) if set(line) <= set("|-")]
    heads = {i - 1 for i in after_rule} | set(after_rule)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for i, line in enumerate(lines)
        if i not in heads
    ]


def code_words(text):
    """What stands in backticks in a text."""
    return re.findall(r"`([^`\n]+)`", text)
