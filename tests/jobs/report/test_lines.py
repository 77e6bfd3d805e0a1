"""Numbers and rows as a page says them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cvbench.jobs.report import headings
from cvbench.jobs.report.finding import finding
from cvbench.jobs.report.lines import decimals, lines, number
from cvbench.jobs.results.row import DIFFERENCE, Row


@pytest.mark.parametrize(
    ("value", "low", "high", "shown", "interval"),
    [
        (0.5, 0.4, 0.6, "0.50", "0.40 to 0.60"),
        (0.12345, 0.1231, 0.1239, "0.12345", "0.12310 to 0.12390"),
        (1234.4, 1200.0, 1300.0, "1,234", "1,200 to 1,300"),
        (0.01, -0.0004, 0.02, "0.010", "-0.0004 to 0.020"),
        (0.5, None, None, "0.500", "none"),
        (None, None, None, "undefined", "none"),
        (1.0, 1.0, 1.0, "1.000", "1.000 to 1.000"),
    ],
)
def test_an_interval_has_two_digits(
    value: float | None, low: float | None, high: float | None, shown: str, interval: str
) -> None:
    row = Row(backbone="vit", metric="m", value=value, low=low, high=high, n=9)
    (line,) = lines([row])
    assert (line.value, line.interval) == (shown, interval)
    assert 0 <= decimals(row) <= 6


def test_marks_of_one_metric_share_a_scale() -> None:
    def row(metric: str, value: float, **columns: Any) -> Row:
        return Row(backbone="vit", metric=metric, value=value, low=value - 1, high=value + 1, n=9, **columns)

    first, second, other, less = lines(
        [row("a", 1.0), row("a", 3.0), row("b", 100.0), row("b", 3.0, kind=DIFFERENCE, backbone_b="cnn")]
    )
    assert (first.bar, first.dot) == ((0.0, 50.0), 25.0)
    assert (second.bar, second.dot) == ((50.0, 100.0), 75.0)
    assert (other.bar, other.dot) == ((0.0, 100.0), 50.0)
    assert (less.bar, less.dot) == ((50.0, 100.0), 75.0), "that of a difference has 0"
    assert (less.subject, less.metric) == ("vit less cnn", "difference of b")


def test_rows_of_several_data_sets_say_which_they_are_of() -> None:
    row = Row(dataset="a", split="test", backbone="n", metric="top1", value=0.5, low=0.4, high=0.6, n=10)
    assert [line.factor for line in lines([row, replace(row, factor="x")])] == ["", "x"]
    assert [line.factor for line in lines([row, replace(row, dataset="b", factor="x")])] == ["a/test", "b/test, x"]
    assert finding([row]) == "n: top1 0.50 [0.40, 0.60]."
    assert finding([row, replace(row, dataset="b")]) == "n: top1 (a) 0.50 [0.40, 0.60]."


def test_a_line_says_what_its_row_says() -> None:
    row = Row(backbone="vit", layer="a", metric="m", factor="f", at=0.25, value=1.0, low=0.5, high=1.5, n=9)
    classes: dict[str, Any] = {
        "class_low": 0.25,
        "class_high": 2.0,
        "class_verdict": "resolved",
        "verdict": "not resolved",
    }
    plain, judged, none = lines([row, replace(row, **classes), replace(row, value=None, note="no grid")])
    assert (plain.subject, plain.factor, plain.over_classes, plain.verdict) == ("vit/a", "f, at 0.25", "", "")
    assert (judged.over_classes, judged.verdict) == ("0.2 to 2.0, resolved", "not resolved")
    assert (none.value, none.factor) == ("undefined", "f, at 0.25, no grid")


def test_small_numbers_do_not_look_like_zero() -> None:
    assert [number(v) for v in (0.0, -0.0, 4e-4, -3e-6, 2e-4)] == ["0.000", "0.000", "0.0004", "-3.0e-06", "0.0002"]


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (["vit@96", "cnn@96"], "vit@96 and cnn@96"),
        (["vit@96", "cnn@96", "vit@128"], "vit and cnn"),
        (["vit@96", "cnn", "mlp", "vit@128"], "3 backbones"),
    ],
)
def test_networks_at_several_sizes_are_counted_once_in_the_title(names: list[str], who: str) -> None:
    assert headings.title(names, []).startswith(f"{who} on ")
