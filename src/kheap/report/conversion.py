"""What ``kheap convert`` says of a trace that it wrote, for people and for machines."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kheap.trace.model import Trace

__all__ = ["conversion_lines", "conversion_object", "loss_line"]

_LABEL_WIDTH = 14


def conversion_lines(trace: Trace, output: str, target: str) -> list[str]:
    """The text of ``kheap convert``."""
    rows = [("read", f"{trace.path} ({trace.format}), {len(trace):,} ops")]
    rows += [("note", f"{count:,} x {note}") for note, count in trace.notes.items()]
    if trace.skipped:
        lines = "line" if trace.skipped == 1 else "lines"
        rows.append(("skipped", f"{trace.skipped:,} malformed {lines}"))
    rows.append(("written", f"{output} ({target})"))
    return [f"{label:<{_LABEL_WIDTH}}{words}" for label, words in rows]


def loss_line(output: str, target: str, lost: Counter[str]) -> str:
    """What the new file does not hold, in a line."""
    what = ", ".join(f"{reason} ({count:,})" for reason, count in lost.items())
    return f"{output}: {target} does not hold: {what}"


def conversion_object(trace: Trace, output: str, target: str, lost: Counter[str]) -> dict[str, Any]:
    """``kheap convert --json``; its schema is ``docs/reference/schemas/convert.json``."""
    return {
        "input": trace.path,
        "input_format": trace.format,
        "output": output,
        "output_format": target,
        "ops": len(trace),
        "skipped_lines": trace.skipped,
        "notes": dict(trace.notes),
        "lost": dict(lost),
    }
