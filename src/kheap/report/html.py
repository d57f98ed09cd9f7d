"""The page of ``kheap report``: one HTML file that works offline.

It owns the putting together: the template, style and scripts of ``page/``, the tables, and
the columns embedded as text.  It computes nothing; the numbers are the model's.  The page may
load nothing: its Content-Security-Policy lets run only the script and the style that are in
it, by their hashes, so that a name in a foreign trace can do no harm either.

Plain :class:`string.Template` does: there are six places to fill, and rows of tables.
Next: ``page/main.js``, where the scripts begin.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template

from kheap.profile import Profile
from kheap.report.columns import pack
from kheap.report.model import SHARE_STEPS, VERDICTS, HeapModel, ReportModel
from kheap.units import format_bytes

__all__ = ["SCRIPTS", "html_page"]

#: The scripts, in the order in which they build on each other.
SCRIPTS = (
    "format.js",
    "decode.js",
    "history.js",
    "view.js",
    "colours.js",
    "density.js",
    "axes.js",
    "map.js",
    "strip.js",
    "curves.js",
    "words.js",
    "panels.js",
    "chunk_table.js",
    "pointer.js",
    "keys.js",
    "theme.js",
    "main.js",
)

#: Rows of a table that are written out; how many more there are is said below it.
MOST_ROWS = 500


def html_page(report: ReportModel) -> str:
    """The whole page.

    Complexity: O(operations).
    """
    heads, blobs = [], []
    for number, heap in enumerate(report.heaps):
        directory, packed = pack(heap.columns())
        heads.append({**heap.facts(), "columns": directory})
        blobs.append(f'<script type="text/plain" id="columns-{number}">{packed}</script>')
    style = _part("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_part, SCRIPTS)) + "\n})();\n"
    return Template(_part("page.html")).substitute(
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}",
        title=escape(f"{PurePath(report.source).name}: {_subject(report)}"),
        style=style,
        header=_header(report),
        summaries="\n".join(_summary(i, heap) for i, heap in enumerate(report.heaps)),
        tables="\n".join(_tables(i, heap) for i, heap in enumerate(report.heaps)),
        facts=_embedded(report, heads),
        columns="\n".join(blobs),
        script=script,
    )


def _subject(report: ReportModel) -> str:
    is_moment = all(heap.timeline.is_moment for heap in report.heaps)
    return "heaps" if is_moment else "heap over time"


def _part(name: str) -> str:
    return (files("kheap.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _embedded(report: ReportModel, heads: list[dict[str, object]]) -> str:
    facts = {
        "heaps": heads,
        "threads": report.threads,
        "callers": report.callers,
        "caller_word": report.caller_word,
        "verdicts": list(VERDICTS.items()),
        "share_steps": SHARE_STEPS,
    }
    # Nothing in it may end the script element that holds it.
    return json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")


def _header(report: ReportModel) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    choice = "".join(
        f'<option value="{i}">{escape(heap.timeline.name)}</option>'
        for i, heap in enumerate(report.heaps)
    )
    hidden = " hidden" if len(report.heaps) < 2 else ""
    return (
        f"<h1>{escape(PurePath(report.source).name)}</h1>"
        f'<p class="quiet">{_profile_words(report.profile)} · {escape(report.source_format)}</p>'
        f'<label class="chooser"{hidden}>Heap <select id="heap">{choice}</select></label>'
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _profile_words(profile: Profile) -> str:
    return (
        f"Zephyr {escape(profile.release)} · {profile.bits} bit · {profile.header} headers"
        f" · ALLOC_LOOPS {profile.alloc_loops} · hardening {profile.hardening}"
    )


def _summary(number: int, heap: HeapModel) -> str:
    line, region = heap.timeline, heap.timeline.heap
    shares = line.final.fragmentation
    cards = [
        *([("corrupt", "yes", escape(heap.corruption))] if heap.corruption else ()),
        ("region", *_bytes(region.size_bytes), f"at {region.base_address:#x}"),
        *(_over_time(heap) if not line.is_moment else ()),
        (
            "largest free" if line.is_moment else "largest free, at the end",
            _count(line.final.largest_free_bytes, "byte"),
            f"of {line.final.free_bytes:,} free",
            f"in {_count(line.final.free_count, 'chunk')}",
        ),
        (
            "fragmentation" if line.is_moment else "fragmentation, at the end",
            f"{100 * shares.one_minus_largest_over_free:.1f} %",
            "by 1 &minus; largest / free;",
            f"{100 * shares.one_minus_root_sum_squares:.1f} % by 1 &minus; √Σ² / free",
        ),
    ]
    body = "".join(
        f"<div{' class=bad' if label in ('failed', 'corrupt') else ''}>"
        f"<dt>{label}</dt><dd>{value}</dd>"
        f"{''.join(f'<dd class=more>{each}</dd>' for each in more)}</div>"
        for label, value, *more in cards
    )
    return f'<dl class="cards" data-heap="{number}"{_hidden(number)}>{body}</dl>'


def _over_time(heap: HeapModel) -> Iterable[tuple[str, ...]]:
    line = heap.timeline
    ops = _count(heap.op_count, "op")
    if heap.failures:
        first = heap.failures[0]
        verdict = first.verdict.verdict.replace("_", " ")
        failed = f"{len(heap.failures):,} of {ops}"
        yield "failed", failed, f"first: op {first.op_index:,},", verdict
    else:
        yield "served", f"all of {ops}", _count(len(line.blocks), "block")
    yield "peak", *_bytes(line.peak_allocated_bytes), f"at op {line.op_index[line.peak_step]:,}"
    if heap.peak_offset_bytes is not None:
        share = 100 * heap.peak_offset_bytes / line.heap.size_bytes
        end = f"{heap.peak_offset_bytes:,}"
        yield "highest byte in use", end, f"{share:.1f} % of the region"


def _bytes(count: int) -> tuple[str, str]:
    """Bytes, and in a second line the readable form, where it says more."""
    plain, _, more = format_bytes(count).partition(" (")
    return plain, more.removesuffix(")")


def _tables(number: int, heap: HeapModel) -> str:
    if heap.timeline.is_moment:
        return ""
    return (
        f'<div data-heap="{number}"{_hidden(number)}>{_failures(number, heap)}{_costs(heap)}</div>'
    )


def _failures(number: int, heap: HeapModel) -> str:
    if not heap.failures:
        return '<section><h2>Failed requests</h2><p class="quiet">None.</p></section>'
    rows = (
        f'<tr><td><a href="#heap={number}&amp;op={f.op_index}">{f.op_index:,}</a></td>'
        f"<td>{f.op}</td><td>{f.verdict.request_bytes:,}</td><td>{f.verdict.align or '-'}</td>"
        f"<td><span class=verdict>✕ {f.verdict.verdict.replace('_', ' ')}</span></td>"
        f"<td>{f.verdict.free_bytes:,}</td><td>{f.verdict.largest_free_bytes:,}</td>"
        f"<td class=words>{escape(f.verdict.explanation)}</td></tr>"
        for f in heap.failures[:MOST_ROWS]
    )
    head = ("op", "call", "asked for", "align", "verdict", "free", "largest free", "in words")
    met = {f.verdict.verdict for f in heap.failures}
    meanings = "".join(
        f"<dt>{word.replace('_', ' ')}</dt><dd>{meaning}</dd>"
        for word, meaning in VERDICTS.items()
        if word in met
    )
    return (
        f"<section><h2>Failed requests <small>{len(heap.failures):,}</small></h2>"
        f"<dl class=meanings>{meanings}</dl>"
        f"{_table('Requests that got no memory', head, rows, len(heap.failures))}</section>"
    )


def _costs(heap: HeapModel) -> str:
    if not heap.costs:
        return ""
    most = heap.costs[0].peak_chunk_bytes
    rows = (
        f"<tr><td>{c.request_bytes:,}</td><td>{c.count:,}</td><td>{c.peak_count:,}</td>"
        f"<td>{c.peak_chunk_bytes:,}"
        f"<meter min=0 max={most} value={c.peak_chunk_bytes} aria-hidden=true></meter></td>"
        f"<td>{c.peak_overhead_bytes:,}</td>"
        f"<td>{100 * c.peak_overhead_bytes / c.peak_chunk_bytes:.0f} %</td></tr>"
        for c in heap.costs[:MOST_ROWS]
    )
    head = (
        "requested bytes", "served", "blocks at its peak", "chunk bytes at its peak",
        "overhead bytes", "overhead",
    )  # fmt: skip
    return (
        f"<section><h2>What the sizes cost <small>{len(heap.costs):,}</small></h2>"
        "<p class=quiet>By requested size, the one that held the most at any one time first."
        " Chunk bytes count headers in; overhead is what nobody asked for of them.</p>"
        f"{_table('Requested sizes by cost', head, rows, len(heap.costs))}</section>"
    )


def _table(caption: str, head: Iterable[str], rows: Iterable[str], count: int) -> str:
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    more = count - MOST_ROWS
    rest = f"<p class=quiet>and {more:,} more</p>" if more > 0 else ""
    # A region that scrolls has to be reachable by keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{rest}"
    )


def _hidden(number: int) -> str:
    return " hidden" if number else ""


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
