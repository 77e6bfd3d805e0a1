"""Rows with planted numbers, and a claim that they answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.claims.sides import Side
from cvbench.jobs.results.row import DIFFERENCE, Row

SIDES: dict[str, Side | None] = {
    "conv": "convolutional",
    "conv2": "convolutional",
    "vit": "transformer",
    "vit2": "transformer",
    "mixed": None,
}
CLAIM = Claim(
    "c", "More.", "Someone 2020", "Fig. 1", "f", "silhouette", "score", "by *", smallest=0.1, command="analyze cka"
)


def between(
    value: float, low: float, high: float, p: float = 0.001, pair: tuple[str, str] = ("conv", "vit"), **columns: Any
) -> Row:
    """A difference of two backbones, judged within its result."""
    resolved = (low > 0 or high < 0) and p <= 0.05
    made = Row(
        run="results/r",
        analysis="silhouette",
        dataset="birds",
        split="test",
        backbone=pair[0],
        backbone_b=pair[1],
        metric="score",
        factor="by hand",
        kind=DIFFERENCE,
        value=value,
        low=low,
        high=high,
        n=200,
        p=p,
        verdict=(Verdict.RESOLVED if resolved else Verdict.NOT_RESOLVED).value,
    )
    return replace(made, **columns)


def alone(value: float, low: float, high: float, backbone: str = "vit", layer: str = "last", n: int = 200) -> Row:
    """A number of one backbone, which its result does not judge."""
    return Row(
        run="results/r",
        analysis="silhouette",
        dataset="birds",
        split="test",
        backbone=backbone,
        layer=layer,
        metric="score",
        factor="by hand",
        value=value,
        low=low,
        high=high,
        n=n,
    )
