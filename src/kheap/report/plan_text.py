"""The heap for a list of blocks, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kheap.report.size_text import config_line, overhead_text
from kheap.report.terminal import Line, labelled, profile_text
from kheap.study.plan import SizePlan
from kheap.units import format_bytes

__all__ = ["plan_lines", "plan_object"]


def plan_lines(plan: SizePlan) -> list[Line]:
    """The plan in lines."""
    count = sum(blocks.count for blocks in plan.blocks)
    lines: list[Line] = [
        labelled("blocks", f"{count:,}, {format_bytes(plan.requested_bytes)} requested"),
        labelled("profile", profile_text(plan.profile)),
        labelled("overhead", overhead_text(plan.overhead, plan.profile)),
    ]
    if plan.guaranteed_bytes is None:
        return [*lines, labelled("guaranteed", "no heap is so large")]
    if plan.blocks:
        lines += [
            "",
            labelled(
                "guaranteed",
                f"{format_bytes(plan.guaranteed_bytes)} hold them, allocated in any order",
            ),
            labelled("likely", _likely(plan)),
            labelled(
                "recommended",
                f"{format_bytes(plan.recommended_bytes or 0)}: the larger plus"
                f" {plan.margin_percent:g} %",
            ),
            labelled("put", config_line(plan.config_bytes or 0, plan.overhead)),
        ]
    if plan.sums:
        lines += ["", *_sums(plan)]
    return lines


def _likely(plan: SizePlan) -> str:
    if plan.churned_bytes is None:
        return "not tried: frees between the allocations were not simulated"
    return (
        f"{format_bytes(plan.churned_bytes)} and more served all of {plan.churns} random orders of"
        " use with frees in between; that is no guarantee"
    )


def _sums(plan: SizePlan) -> list[Line]:
    added = " + ".join(f"{name} {size:,}" for name, size in plan.sums.items())
    return [
        labelled("subsystems", f"{added} = {format_bytes(plan.sum_bytes)}"),
        labelled(
            "the build",
            "takes the larger of CONFIG_HEAP_MEM_POOL_SIZE and that sum, not both together",
        ),
        labelled("put", f"CONFIG_HEAP_MEM_POOL_SIZE={plan.pool_bytes} for all of them"),
    ]


def plan_object(plan: SizePlan) -> dict[str, Any]:
    """``kheap size --blocks --json``; its schema is ``docs/reference/schemas/size.json``."""
    return {
        "blocks": [asdict(blocks) for blocks in plan.blocks],
        "profile": asdict(plan.profile),
        "overhead": plan.overhead,
        "requested_bytes": plan.requested_bytes,
        "guaranteed_bytes": plan.guaranteed_bytes,
        "churned_bytes": plan.churned_bytes,
        "churns": plan.churns,
        "recommended_bytes": plan.recommended_bytes,
        "margin_percent": plan.margin_percent,
        "config_bytes": plan.config_bytes,
        "add_size_bytes": plan.sums,
        "add_size_sum_bytes": plan.sum_bytes,
        "pool_bytes": plan.pool_bytes,
    }
