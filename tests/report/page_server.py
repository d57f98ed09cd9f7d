"""A headless Chromium with a page of kheap in it; skips, and says why, where there is none."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest


def chromium():
    """A running Chromium of the system, or the one that playwright brought along."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("KHEAP_CHROMIUM") or shutil.which("chromium")
    session = api.sync_playwright().start()
    # A sandbox cannot be had by root, as whom containers run tests.
    flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    try:
        return session, session.chromium.launch(executable_path=program, args=flags)
    except api.Error as error:
        session.stop()
        pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")


class Window:
    """A page that was opened, what it asked for and what it complained of."""

    #: Pixels between the edges of the map's canvas and the plot in it.
    LEFT, RIGHT, TOP, BOTTOM = 74, 12, 24, 26

    def __init__(self, tab, path, heap, steps):
        self.tab, self.heap, self.steps = tab, heap, steps
        self.requests, self.complaints = [], []
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = path.as_uri()
        self.go("")

    def go(self, fragment):
        self.tab.goto(self.address + fragment)
        self.tab.wait_for_selector("html[data-ready=yes]")

    def text(self, selector):
        return self.tab.locator(selector).inner_text()

    def facts(self, selector):
        """A list of facts as a dict."""
        rows = self.tab.locator(f"{selector} > div").all()
        return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows}

    def press(self, *keys):
        self.tab.focus("#map")
        for key in keys:
            self.tab.keyboard.press(key)
        self.settle()

    def settle(self):
        """Until what was changed is drawn."""
        self.tab.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def point(self, step, unit):
        """The place on the screen of a step and a unit, with the whole heap in view."""
        self.tab.locator("#map").scroll_into_view_if_needed()
        box = self.tab.locator("#map").bounding_box()
        wide = box["width"] - self.LEFT - self.RIGHT
        high = box["height"] - self.TOP - self.BOTTOM
        return (
            box["x"] + self.LEFT + (step + 0.5) / self.steps * wide,
            box["y"] + self.TOP + (self.heap.n - unit) / self.heap.n * high,
        )


@contextmanager
def opened(browser, path, timeline, **options):
    """A window on a page whose first heap is that of the timeline."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, **options)
    try:
        yield Window(context.new_page(), path, timeline.heap, timeline.step_count)
    finally:
        context.close()
