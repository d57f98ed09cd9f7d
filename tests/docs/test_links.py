"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
import runpy

import pytest

from docs.pages import DOCS, PAGES, anchors, headings, links, params, prose, read

EXISTING = [page for page in PAGES if page.exists() and read(page).strip()]
FROM_ELSEWHERE = ("https://", "http://", "mailto:")
#: Words that the glossary replaces.  Those with another meaning besides are not listed.
REPLACED = ("arena", "coalesce", "playback", "solo header", "max usage")
#: What the glossary must at least define: the words of this release.
DEFINED = (
    "region", "heap", "unit", "chunk", "chunk id", "header", "bucket", "split, merge",
    "undersized chunk", "requested bytes", "usable bytes", "chunk bytes", "high-water mark",
    "internal fragmentation", "external fragmentation", "event", "trace", "replay", "profile",
    "verdict", "rewind", "canary", "timeline", "latch", "waiter", "handle", "grant", "pool",
    "quad-block", "maximum block, level", "break, recombine", "partner", "policy",
    "system heap", "hidden word", "descriptor", "multi-heap", "board", "dump", "container",
    "image", "program", "owner", "signature", "root", "leak suspect", "finding", "culprit",
    "sample", "recording",
)  # fmt: skip


@pytest.mark.parametrize("page", params(EXISTING))
def test_links(page):
    for link in links(page):
        if link.startswith(FROM_ELSEWHERE):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}: no such heading"


def test_every_page_can_be_reached():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = ((page.parent / link.partition("#")[0]).resolve() for link in links(page))
        waiting += [target for target in targets if target.suffix == ".md" and target.exists()]
    lost = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {
        page.relative_to(DOCS).as_posix() for page in reached if page.is_relative_to(DOCS)
    }
    assert not lost, f"no link leads to {', '.join(sorted(lost))}"


def test_every_page_is_in_the_contents_of_the_website():
    settings = runpy.run_path(str(DOCS / "conf.py"))
    listed = {page for _, pages in settings["SECTIONS"] for page in pages}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert listed == {page for page in pages if not page.startswith(("adr/0", "index"))}


@pytest.mark.parametrize("page", params(EXISTING))
def test_one_title_a_page(page):
    text = read(page)
    assert text.startswith("# "), f"{page.name} does not begin with its title"
    titles = [line for line in prose(page).splitlines() if line.startswith("# ")]
    assert len(titles) == 1, f"{page.name} has several titles: {titles}"
    assert len(set(headings(page))) == len(headings(page)) or page.name == "CHANGELOG.md"


@pytest.mark.parametrize("page", params(EXISTING))
def test_one_word_for_one_thing(page):
    if page.name == "glossary.md":
        return
    words = re.sub(r"`[^`\n]+`", "", prose(page)).lower()  # Names are what they are.
    used = [word for word in REPLACED if word in words]
    assert not used, f"{page.name} says {', '.join(used)}: the glossary has the words to use"


def test_glossary():
    text = read(DOCS / "glossary.md")
    missing = [word for word in DEFINED if f"\n| {word}" not in text]
    assert not missing, f"the glossary does not define {', '.join(missing)}"
