"""The page as people use it, in a headless Chromium."""

from __future__ import annotations

import re

import pytest

from kheap import SysHeap, read_trace, replay
from kheap.report.html import html_page
from kheap.report.model import moment_report
from kheap.study.timeline import moment_of
from report.page_server import chromium, opened
from report.workloads import LVGL, SMALL, first_ops, lvgl_report, random_trace, report_of

pytestmark = pytest.mark.slow

LARGEST = "1 \N{MINUS SIGN} largest / free"
SQUARES = "1 \N{MINUS SIGN} √Σ² / free"


@pytest.fixture(scope="module")
def browser():
    session, started = chromium()
    yield started
    started.close()
    session.stop()


@pytest.fixture(scope="module")
def lvgl(tmp_path_factory):
    report = lvgl_report()
    path = tmp_path_factory.mktemp("page") / "lvgl.html"
    path.write_text(html_page(report), encoding="utf-8")
    return path, report.heaps[0].timeline


@pytest.fixture
def window(browser, lvgl):
    with opened(browser, *lvgl) as shown:
        yield shown
        assert shown.complaints == []
        assert {url.partition("#")[0] for url in shown.requests} == {shown.address}


def heap_after(step):
    return replay(first_ops(read_trace(LVGL), step + 1), 16384, profile=SMALL).heaps[0].heap


def number(value):
    return f"{value:,}"


def test_the_cursor_shows_the_heap_of_that_moment(window):
    for step in (2440, 7000):
        window.go(f"#op={step}")
        heap = heap_after(step)
        stats, shown = heap.stats(), window.facts("#moment")
        assert shown["used"] == f"{stats.allocated_bytes:,} bytes"
        assert shown["free"] == f"{stats.free_bytes:,} bytes"
        assert shown["largest free"] == f"{stats.largest_free_bytes:,} bytes"
        counts = (stats.used_count, stats.free_count, stats.undersized_count)
        assert shown["chunks"] == "{} used, {} free, {} undersized".format(*counts)
        measures = stats.fragmentation
        for name, share in (
            (LARGEST, measures.one_minus_largest_over_free),
            (SQUARES, measures.one_minus_root_sum_squares),
        ):
            assert float(shown[name].removesuffix(" %")) == pytest.approx(100 * share, abs=0.06)
        rows = window.tab.evaluate(
            "() => [...document.querySelectorAll('#chunks tbody tr:not([aria-hidden])')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        chunks = [c for c in heap.chunks() if c.state != "end"]
        assert len(rows) > 10
        assert [(row[0], row[1].split()[1], row[2]) for row in rows] == [
            (number(c.offset), c.state, number(c.chunk_bytes)) for c in chunks[: len(rows)]
        ]
        assert window.text("#chunks-count") == str(len(chunks))


def test_a_failure_is_explained(window):
    window.tab.click("a[href='#heap=0&op=2440']")
    window.settle()
    said = window.text("#event")
    assert said.startswith("Op 2,440: ✕ no memory for 384 bytes: fragmented.")
    assert said.endswith("792 free, largest 348.")


def test_keys_move_the_cursor(window):
    def op():
        return window.tab.get_attribute("#map", "aria-valuenow")

    window.press("Home")
    assert op() == "0"
    window.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert op() == "1"
    window.press("n")
    assert op() == "2440"
    window.press("n", "n", "n", "p")
    assert op() == "5627"
    window.press("End")
    assert (op(), window.tab.get_attribute("#map", "aria-valuemax")) == ("11998", "11998")
    window.press("PageUp")
    assert op() == str(11998 - 1200)
    window.press("m")
    assert op() == "2436"
    assert "14,556 bytes" in window.tab.get_attribute("#map", "aria-valuetext")


def test_tab_reaches_everything_in_order_and_focus_is_seen(window):
    reached = []
    for _ in range(14):
        window.tab.keyboard.press("Tab")
        reached.append(
            window.tab.evaluate(
                "() => [document.activeElement.id || document.activeElement.dataset.do,"
                " getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    assert [name for name, _ in reached[:4]] == ["theme", "colour", "time-in", "time-out"]
    assert "map" in [name for name, _ in reached]
    assert {outline for _, outline in reached} <= {"solid", "auto"}


def test_hover_and_click_tell_of_the_block(window, lvgl):
    blocks = lvgl[1].blocks
    i = max(range(len(blocks)), key=lambda i: blocks.units[i] * (blocks.end[i] - blocks.start[i]))
    step = (blocks.start[i] + blocks.end[i]) // 2
    x, y = window.point(step, blocks.chunk[i] + blocks.units[i] / 2)
    window.tab.mouse.move(x, y)
    tip = window.facts("#tip dl")
    more = 8 * blocks.units[i] - blocks.request_bytes[i]
    assert tip["asked for"] == f"{blocks.request_bytes[i]:,} bytes; overhead {more}"
    assert tip["id"] == str(blocks.id[i])
    assert tip["block"] == f"offset {blocks.offset[i]:,}"
    assert tip["thread"] == "z_main_thread"
    assert tip["call site"].startswith("lvgl_")
    window.tab.mouse.click(x, y)
    window.settle()
    picked = window.facts("#block dl")
    assert picked["chunk"].startswith(f"{8 * blocks.units[i]:,} bytes at offset ")
    assert f"at op {blocks.start[i]:,}" in picked["life"]
    op = int(window.tab.get_attribute("#map", "aria-valuenow"))
    assert picked["age"] == f"{op - blocks.start[i]:,} ops"
    assert window.tab.locator("#chunks tr[aria-selected=true]").count() == 1


def test_arrows_pick_chunks_by_address(window):
    window.press("ArrowUp")
    assert window.facts("#block dl")["state"] == "control"
    window.press("ArrowUp")
    assert "asked for" in window.facts("#block dl")
    window.press("Escape")
    assert "None" in window.text("#block")


def test_zoom_says_what_a_pixel_is(window):
    assert re.match(
        r"A pixel is [\d.]+ ops wide, a pixel is [\d.]+ bytes high\.", window.text("#scale")
    )
    assert "less than a pixel" in window.text("#scale")
    window.press(*["+"] * 9, *["i"] * 6)
    assert window.text("#scale").startswith("An op is ")
    assert "can be told apart" in window.text("#scale")
    window.press("0")
    assert "less than a pixel" in window.text("#scale")


def test_dragging_zooms(window):
    before = window.text("#scale")
    x, y = window.point(4000, 500)
    window.tab.mouse.move(x, y)
    window.tab.mouse.down()
    window.tab.mouse.move(x + 80, y + 60)
    window.tab.mouse.up()
    window.settle()
    assert window.text("#scale") != before


@pytest.mark.parametrize("by", ["lifetime", "caller", "thread"])
def test_colours_by_a_property(window, by):
    window.tab.select_option("#colour", by)
    window.settle()
    words = window.text("#legend")
    assert {"lifetime": "ops", "caller": "lvgl_realloc", "thread": "z_main_thread"}[by] in words
    assert "failed request" in words


def test_theme_is_the_systems_until_one_is_chosen(browser, lvgl):
    def page_colour(shown):
        return shown.tab.evaluate("() => getComputedStyle(document.body).backgroundColor")

    with opened(browser, *lvgl, color_scheme="dark") as shown:
        dark = page_colour(shown)
        shown.tab.select_option("#theme", "light")
        assert page_colour(shown) != dark
        shown.go("#op=1")
        shown.tab.reload()
        assert page_colour(shown) != dark
        assert shown.complaints == []


def test_the_map_is_drawn_with_the_blocks_in_it(window, lvgl):
    """A pixel in the middle of a large block has another colour than one of free memory."""
    line = lvgl[1]
    blocks = line.blocks
    i = max(range(len(blocks)), key=lambda i: blocks.units[i])
    places = [
        window.point((blocks.start[i] + blocks.end[i]) // 2, blocks.chunk[i] + blocks.units[i] / 2),
        window.point(100, line.heap.n - 20),
    ]
    box = window.tab.locator("#map").bounding_box()
    found = window.tab.evaluate(
        """(places) => {
          const map = document.getElementById("map");
          const { data, width } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
          const at = ([x, y]) => 4 * (Math.round(y) * width + Math.round(x));
          return places.map((place) => [...data.slice(at(place), at(place) + 4)]);
        }""",
        [[x - box["x"], y - box["y"]] for x, y in places],
    )
    assert found[0] != found[1]


def test_several_heaps(browser, tmp_path):
    trace = read_trace(LVGL.parent / "tcp_sockets.sys.jsonl.gz")
    report = report_of(trace, profile=None)
    path = tmp_path / "page.html"
    path.write_text(html_page(report), encoding="utf-8")
    with opened(browser, path, report.heaps[0].timeline) as shown:
        shown.tab.select_option("#heap", "1")
        shown.tab.wait_for_selector("dl[data-heap='0']", state="hidden")
        shown.press("Home")
        first = report.heaps[1].timeline.op_index[0]
        assert shown.tab.get_attribute("#map", "aria-valuenow") == str(first)
        assert shown.complaints == []


def test_one_moment(browser, tmp_path):
    heap = SysHeap(1024, SMALL)
    kept = [heap.alloc(100) for _ in range(4)]
    heap.free(kept[1])
    path = tmp_path / "page.html"
    moment = moment_of(heap, "found")
    path.write_text(html_page(moment_report("dump", "raw", SMALL, [moment])), encoding="utf-8")
    with opened(browser, path, moment) as shown:
        assert not shown.tab.locator("#bytes").is_visible()
        assert shown.text("#event") == "The heap as it was found."
        shown.press("ArrowUp", "ArrowUp", "ArrowUp")
        assert shown.facts("#block dl")["state"] == "free"
        assert shown.complaints == []


@pytest.mark.parametrize("count", [1, 1000])
def test_other_lengths(browser, tmp_path, count):
    trace = random_trace(count, 9, aligns=(0, 32))
    trace.size[0], trace.op[0] = 10, 0
    report = report_of(trace, 8192)
    path = tmp_path / "page.html"
    path.write_text(html_page(report), encoding="utf-8")
    with opened(browser, path, report.heaps[0].timeline) as shown:
        shown.press("End", "+", "-", "ArrowUp", "Home")
        assert shown.tab.get_attribute("#map", "aria-valuenow") == "0"
        assert "time" in shown.facts("#moment") or count == 1
        assert shown.complaints == []
