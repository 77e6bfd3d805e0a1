"""Results that earlier versions have kept: the same numbers in today's columns, and the same figures.

`tests/fixtures/evaluations-1.json` has results of the version before rows had a second backbone and a verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.registry import entry_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.row import DIFFERENCE, TEST, Row
from cvbench.jobs.results.table import table_result

KEPT = json.loads((Path(__file__).parents[2] / "fixtures" / "evaluations-1.json").read_text())
COLUMNS = KEPT["columns"]
TESTS = ("McNemar exact p", "McNemar mid-p", "calibration test p")
METRICS = {
    "top1 difference": "top1",
    "mean per class difference": "mean per class",
    "shape bias difference": "shape bias",
    "error ratio difference": "error ratio",
    "factor accuracy difference": "factor accuracy",
    "difference of top1 changes": "top1 less reference",
}
NAMES = [f"{one['name']}-{number}" for number, one in enumerate(KEPT["results"])]


def result_of(name: str, rows: Sequence[Sequence[Any]], attrs: Mapping[str, Any]) -> Result:
    """As it lies in a store: a variable per column, NaN for what is undefined."""
    kinds = {"value": np.float64, "low": np.float64, "high": np.float64, "n": np.int64, "n_failed": np.int64}
    data: dict[str, tuple[tuple[str, ...], Any]] = {}
    for column, values in zip(COLUMNS, zip(*rows, strict=True), strict=True):
        kind = kinds.get(column, np.str_)
        numbers = [math.nan if value is None else value for value in values]
        data[column] = ("row",), np.array(numbers, dtype=kind)
    return Result(name, {"row": list(range(len(rows)))}, data, dict(attrs))


def entry_named(name: str) -> Entry:
    entry = entry_of(name)
    assert entry is not None
    return entry


def read(name: str, rows: Sequence[Sequence[Any]]) -> list[Row]:
    return list(entry_named(name).rows(result_of(name, rows, {})))


@pytest.mark.parametrize("kept", KEPT["results"], ids=NAMES)
def test_every_number_is_there_once(kept: dict[str, Any]) -> None:
    old = [dict(zip(COLUMNS, row, strict=True)) for row in kept["rows"]]
    new = read(kept["name"], kept["rows"])
    numbers = [row for row in old if not row["metric"].endswith("(Holm)")]
    for was, row in zip(numbers, new, strict=True):
        assert all(getattr(row, name) == was[name] for name in COLUMNS if name not in ("backbone", "metric"))
        assert " vs ".join(filter(None, (row.backbone, row.backbone_b))) == was["backbone"]
        assert row.metric == METRICS.get(was["metric"], was["metric"])
        different = " vs " in was["backbone"] or " less " in was["metric"]
        assert row.kind == (TEST if was["metric"] in TESTS else DIFFERENCE if different else "value")


@pytest.mark.parametrize("kept", KEPT["results"], ids=NAMES)
def test_an_adjusted_p_stands_beside_its_difference(kept: dict[str, Any]) -> None:
    new = read(kept["name"], kept["rows"])
    beside = {(row.dataset, row.subject, row.metric, row.factor): row for row in new if row.kind == DIFFERENCE}
    told = set()
    for was in (dict(zip(COLUMNS, row, strict=True)) for row in kept["rows"]):
        metric, pair = was["metric"].removesuffix(" p (Holm)"), was["backbone"].replace(" vs ", " less ")
        if metric == was["metric"]:
            continue
        if metric == "McNemar exact":
            metric = "top1 difference" if " less " in pair else "top1 less reference"
        place = was["dataset"], pair, METRICS.get(metric, metric), was["factor"]
        assert beside[place].p == was["value"]
        assert bool(beside[place].verdict) == (was["value"] is not None)
        told.add(place)
    (alone,) = {row.p for place, row in beside.items() if place not in told and row.backbone_b} or {None}
    assert alone == next((row.value for row in new if not told and row.metric == "McNemar exact p"), None)
    assert not any(row.verdict for place, row in beside.items() if place not in told and not row.backbone_b)


@pytest.mark.parametrize("kept", KEPT["results"], ids=NAMES)
def test_the_verdicts_are_those_that_were_said(kept: dict[str, Any]) -> None:
    """The sentences that were kept with the rows say the verdict of each pair, or list factors by verdict."""
    judged = [row for row in read(kept["name"], kept["rows"]) if row.kind == DIFFERENCE and row.backbone_b]
    for said in kept["attrs"].get("verdicts", ()):
        of, _, rest = said.partition(": ")
        dataset, *named = of.split(", ")
        what = named[-1].removeprefix("change of ")
        if " difference of " in what:
            metric = what.partition(" difference of ")[0]
            own = [row for row in judged if (row.dataset, row.metric) == (dataset, metric)]
            words = dict(part.split(": ", 1) for part in rest.split("; "))
            assert sum(row.value is not None for row in own) >= 4
            for row in own:
                listed = [key for key, names in words.items() if row.factor.replace("_", " ") in names]
                assert [row.verdict] == [key.rpartition("(")[2].rstrip(")") for key in listed] or row.value is None
            continue
        factor = named[0] if len(named) > 1 else ""
        metric = "top1 less reference" if factor else what
        own = [row for row in judged if (row.dataset, row.metric, row.factor) == (dataset, metric, factor)]
        names = rest.partition(" (")[0].replace(" is above ", " and ").split(" and ")
        (row,) = (row for row in own if {row.backbone, row.backbone_b} == set(names))
        assert f"({row.verdict}): " in rest


@pytest.mark.parametrize("kept", KEPT["results"], ids=NAMES)
def test_its_figure_is_that_of_a_result_of_today(kept: dict[str, Any], tmp_path: Path) -> None:
    entry = entry_named(kept["name"])
    old = result_of(kept["name"], kept["rows"], kept["attrs"])
    today = table_result(kept["name"], list(entry.rows(old)), kept["attrs"])
    assert entry.rows_of(today) == entry.rows_of(old)
    first, second = (
        draw(entry, result, entry.rows_of(result), tmp_path / name, ("svg",))
        for name, result in (("old", old), ("today", today))
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def row(
    metric: str, *numbers: float | None, factor: str = "", backbone: str = "a vs b", dataset: str = "d"
) -> list[Any]:
    value, low, high = (*numbers, None, None)[:3]
    return [dataset, "all", backbone, metric, factor, value, low, high, 100, 0]


ABOVE = (0.3, 0.1, 0.5)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("accuracy", "mean per class difference"),
        ("pug", "top1 difference"),
        ("shape-bias", "shape bias difference"),
        ("invariance", "difference of top1 changes"),
    ],
)
def test_a_pair_of_which_no_p_was_kept_is_judged_by_its_interval(name: str, metric: str) -> None:
    """As the first version did; McNemar's p beside it is of another number, or another setting."""
    other = "top1 difference" if metric != "top1 difference" else "error ratio difference"
    rows = [row(other, *ABOVE), row("McNemar exact p", 0.9), row("McNemar exact p (Holm)", 0.9)]
    for numbers, said in (
        (ABOVE, "resolved"),
        ((0.3, -0.1, 0.5), "not resolved"),
        ((0.3,), "no interval: n too small"),
    ):
        found = read(
            name,
            [*(rows if name != "pug" else []), row(metric, *numbers, factor="" if name != "invariance" else "scale=2")],
        )[-1]
        assert (found.metric, found.p, found.verdict) == (METRICS[metric], None, said)


def test_a_p_is_of_its_own_data_set() -> None:
    """Rows of several sets have the same backbones, metric and factor."""
    rows = [
        one
        for dataset, p in (("imagenet-a", 0.001), ("imagenet-r", 0.4))
        for one in (
            row("top1 difference", *ABOVE, dataset=dataset),
            row("McNemar exact p", p / 2, dataset=dataset),
            row("McNemar mid-p", p / 3, dataset=dataset),
            row("McNemar exact p (Holm)", p, dataset=dataset),
        )
    ]
    found = [one for one in read("robustness", rows) if one.kind == DIFFERENCE]
    assert [(one.p, one.verdict) for one in found] == [(0.001, "resolved"), (0.4, "not resolved")]


def test_a_p_that_is_undefined_resolves_nothing() -> None:
    (found,) = read("shape-bias", [row("shape bias difference", *ABOVE), row("shape bias difference p (Holm)", None)])
    assert (found.p, found.verdict) == (None, "not resolved")


def test_of_one_backbone_only_the_accuracy_is_tested() -> None:
    """The probability has the same setting and is not what McNemar's p is of."""
    own: dict[str, Any] = {"backbone": "a", "factor": "scale=2"}
    rows = [
        row("top1 less reference", -0.3, -0.5, -0.1, **own),
        row("true-class probability less reference", -0.2, -0.3, -0.1, **own),
        row("same prediction as reference", 0.7, 0.6, 0.8, **own),
        row("McNemar exact p", 0.01, **own),
        row("McNemar exact p (Holm)", 0.02, **own),
    ]
    found = read("invariance", rows)
    assert [(one.kind, one.p, one.verdict) for one in found] == [
        (DIFFERENCE, 0.02, "resolved"),
        (DIFFERENCE, None, ""),
        ("value", None, ""),
        (TEST, None, ""),
    ]
