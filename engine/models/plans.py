"""What one pass has to compute: which views of which taps, whether the head, and where it may stop."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from cvbench.engine.models.layouts import TapLayout, in_rows
from cvbench.engine.models.taps import TapTable
from cvbench.engine.models.views import POOLED, Request, View, find_view
from cvbench.errors import UnknownNameError, UsageError

OBSERVED = "observed"
"""The view of a tap that goes to an observer."""

Wanted = list[tuple[Request, TapLayout]]


@dataclass(frozen=True)
class Plan:
    """Outputs that one pass has to compute.

    Attributes:
        taps: Tap -> what is kept of it, in the order of computation.
        head: What is kept of what the classifier reads.
        logits: What is kept of what it says.
        stop: The tap after which nothing more is needed.
        taps_in_head: Whether one of the taps is computed by the network's `logits`.
    """

    taps: dict[str, Wanted]
    head: Wanted
    logits: Wanted
    stop: str | None
    taps_in_head: bool


def make_plan(requests: tuple[Request, ...], table: TapTable) -> Plan:
    """The plan of one pass.

    Raises:
        UnknownNameError: A tap or view that there is not.
        UsageError: The tap or model has no such view.
    """
    plan = Plan({}, [], [], None, False)
    for request in dict.fromkeys(requests):
        view = None if request.view == OBSERVED else find_view(request.view)
        wanted = (request, _layout_for(view, request.tap, table))
        if view is None or view.source == "tap":
            plan.taps.setdefault(request.tap, []).append(wanted)
        else:
            (plan.head if view.source == "head" else plan.logits).append(wanted)
    taps = {tap: plan.taps[tap] for tap in table.layouts if tap in plan.taps}
    stop = None if plan.head or plan.logits else next(reversed(taps), None)
    return replace(plan, taps=taps, stop=stop, taps_in_head=not table.in_head.isdisjoint(taps))


def as_read(view: str, raw: Tensor, layout: TapLayout) -> Tensor:
    """An activation as a view reads it: tokens row by row, but for a mean, which is the same in any order."""
    return raw if view == POOLED and raw.ndim == 3 else in_rows(raw, layout)


def _layout_for(view: View | None, tap: str, table: TapTable) -> TapLayout:
    """The layout of what a view reads, None is the observer's; raises UsageError if the model or tap has no such."""
    if view is not None and view.source != "tap":
        layouts = view.layouts(table.layouts, table.head_sizes)
        if tap not in layouts:
            raise UsageError(f"the view {view.name} is of the head, not of {tap!r}", fix=f"the tap {view.name!r}")
        return layouts[tap]
    if tap not in table.layouts:
        raise UnknownNameError.among("tap", tap, table.layouts, fix="--taps list")
    if view is not None and not view.needs(table.layouts[tap]):
        raise UsageError(f"{tap} has no {view.lacking or view.name}", fix="--view pooled")
    return table.layouts[tap]
