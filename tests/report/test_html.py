"""The page: whole, closed to the network, and holding the numbers of the replay."""

from __future__ import annotations

import json
import re
import zlib
from array import array
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from kheap import SysHeap, Trace
from kheap.report.columns import Column, pack
from kheap.report.html import SCRIPTS, html_page
from kheap.report.model import moment_report
from kheap.study.timeline import moment_of
from kheap.trace import TraceHeap
from report.workloads import SMALL, lvgl_report, random_trace, report_of

PAGE = files("kheap.report") / "page"


def unpacked(directory, text):
    """The columns, decoded as the page does."""
    raw, at, found = zlib.decompress(b64decode(text)), 0, {}
    for name, count, planes, least, steady, _ in directory:
        values = [least] * count
        for plane in range(planes):
            part = raw[at : at + count]
            values = [v + (byte << 8 * plane) for v, byte in zip(values, part, strict=True)]
            at += count
        if steady:
            for i in range(1, count):
                values[i] += values[i - 1]
        found[name] = values
    assert at == len(raw)
    return found


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize(
    "values", [[], [7], [0, 0, 0], [-1, 5, -300], [1 << 40, 0, -(1 << 40)], list(range(1000))]
)
def test_columns_come_back(values, steady):
    directory, text = pack([Column("a", array("q", values), steady), Column("b", array("b", [3]))])
    assert unpacked(directory, text) == {"a": values, "b": [3]}
    assert directory[0][5] == any(abs(value) >= 1 << 31 for value in values)


class Elements(HTMLParser):
    """Checks that what opens closes, and keeps every attribute."""

    VOID = ("meta", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return html_page(lvgl_report())


def test_the_page_is_well_formed_and_names_nothing_outside(page):
    attributes = Elements(page).attributes
    places = [value for _, name, value in attributes if name in ("src", "href", "action")]
    assert places == [f"#heap=0&op={op}" for op in (2440, 5627, 8814)]
    assert not [name for _, name, _ in attributes if name.startswith("on") or name == "style"]
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "@import" not in page
    assert "url(" not in page


def test_only_the_scripts_and_the_style_of_the_page_may_run(page):
    for kind, text in (
        ("script-src", page.rpartition("<script>")[2].rpartition("</script>")[0]),
        ("style-src", page.partition("<style>")[2].partition("</style>")[0]),
    ):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_the_numbers_are_in_the_page(page):
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    (heap,) = facts["heaps"]
    assert (heap["name"], heap["size_bytes"], heap["steps"]) == ("lvgl_heap", 16384, 11999)
    packed = re.search(r'id="columns-0">(.*?)</script>', page)[1]
    columns = unpacked(heap["columns"], packed)
    assert columns["failure_step"] == [2440, 5627, 8814]
    assert max(columns["allocated"]) == 14_556 == columns["allocated"][heap["peak_step"]]
    assert len(columns["start"]) == 8014
    assert facts["verdicts"][columns["failure_verdict"][0]][0] == "fragmented"
    for shown in ("3 of 11,999 ops", "16,384 bytes", "14,556 bytes", "99.8 % of the region"):
        assert shown in page
    assert "384 bytes: free memory is fragmented (792 free, largest 348)" in page


def test_names_are_text():
    name = "</script><img src=x onerror=alert(1)>"
    trace = Trace(path=name, format="csv", heaps=[TraceHeap(name), TraceHeap("b")])
    trace.callers, trace.threads = [name], [name]
    trace.notes[name] = 2
    trace.add(0, 0, 10, thread=0, caller=0)
    text = html_page(report_of(trace, 1024, heap=name))
    assert "<img" not in text
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    assert (facts["heaps"][0]["name"], facts["callers"]) == (name, [name])


def test_long_tables_say_what_they_leave_out():
    trace = Trace(heaps=[TraceHeap("heap")])
    for i in range(700):
        trace.add(0, i, 5000)
    text = html_page(report_of(trace, 1024))
    assert "and 200 more" in text
    assert text.count("<td class=words>") == 500


def test_an_empty_trace_shows_the_empty_heap():
    text = html_page(report_of(Trace(heaps=[TraceHeap("heap")]), 1024))
    assert '"moment":true' in text


def test_one_moment_has_no_tables_of_operations():
    heap = SysHeap(1024, SMALL)
    heap.alloc(100)
    report = moment_report("dump.bin", "core dump", SMALL, [moment_of(heap, "found")])
    text = html_page(report)
    Elements(text)
    assert '"moment":true' in text
    assert "Failed requests</h2>" not in text
    assert "What the sizes cost" not in text


def test_every_file_of_the_page_is_used_and_says_what_it_is_for():
    names = {entry.name for entry in PAGE.iterdir()}
    assert names == {*SCRIPTS, "page.html", "page.css"}
    for name in SCRIPTS:
        text = (PAGE / name).read_text(encoding="utf-8")
        assert text.startswith("// "), f"{name} does not begin with what it is for"
        assert len(text.splitlines()) <= 320


def test_reports_of_random_traces_can_be_made():
    for seed in range(3):
        Elements(html_page(report_of(random_trace(120, seed, aligns=(0, 16)), 4096)))
