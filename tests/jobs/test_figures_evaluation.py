"""The figures of the evaluations: the same result gives the same bytes, and everything that is there is drawn."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.metrics.intervals import Estimate, wilson
from cvbench.errors import UsageError
from cvbench.jobs.evaluation import accuracy, calibration, imagenet_x, pug, robustness, shape_bias
from cvbench.jobs.evaluation.table import Table, table_result, tidy_rows
from cvbench.jobs.section import Section

NAMES = ("vit", "convnext")


def accuracies() -> Result:
    table = Table("birds", "all")
    for i, name in enumerate(NAMES):
        for metric in (accuracy.TOP1, accuracy.TOP5, accuracy.MEAN):
            table.add(name, metric, "", wilson(30 + 5 * i, 60))
    return table_result("accuracy", table.rows, {})


def shifts() -> Result:
    table = Table("imagenet-val", "val")
    for name in NAMES:
        for dataset in ("imagenet-a", "imagenet-r"):
            table.place(dataset, "test", 0)
            table.add(name, robustness.TOP1, "", wilson(30, 60))
            table.add(name, robustness.COUNTERPART, "", wilson(50, 60))
        table.add(name, robustness.MEAN, "imagenet-a, imagenet-r", wilson(60, 120))
    return table_result("robustness", table.rows, {})


def factors() -> Result:
    table = Table("imagenet-val", "val")
    for name in NAMES:
        for factor, value in (("pose", 0.9), ("partial_view", 1.4), ("style", float("nan"))):
            table.add(name, imagenet_x.RATIO, factor, Estimate(value, value - 0.2, value + 0.3, 40))
        table.add(name, imagenet_x.AVERAGE, "", Estimate(1.1, 1.0, 1.3, 900))
    return table_result("imagenet-x", table.rows, {})


def curves() -> Result:
    table = Table("pug-imagenet", "all")
    for name in NAMES:
        table.add(name, pug.GROUP, "camera", wilson(20, 40))
        for i, value in enumerate(("-30", "0", "30")):
            table.add(name, pug.VALUE, f"Camera_Yaw={value}", wilson(10 + i, 40))
        for i in range(20):
            table.add(name, pug.VALUE, f"Worlds=world-{i}", wilson(i, 40))
    return table_result("pug", table.rows, {})


def bins() -> Result:
    table = Table("birds", "all")
    edges = np.linspace(0, 1, 6)
    for name in NAMES:
        table.add(name, calibration.ECE, "", Estimate(0.1, 0.05, 0.2, 100))
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            factor = f"({low:.4g}, {high:.4g}]"
            table.add(name, calibration.BIN_ACCURACY, factor, wilson(5 * i, 20 * i))
            middle = float("nan") if i == 0 else float(low + high) / 2
            table.plain(name, calibration.BIN_CONFIDENCE, factor, middle, 20 * i)
    return table_result("calibration", table.rows, {})


def biases() -> Result:
    table = Table("cue-conflict", "test")
    for name in NAMES:
        table.add(name, shape_bias.BIAS, "", wilson(30, 60))
        table.add(name, shape_bias.BIAS, "bear", wilson(3, 6))
        table.add(name, shape_bias.BIAS, "knife", wilson(0, 0))
    return table_result("shape-bias", table.rows, {})


CASES = [
    (accuracy.SECTION, accuracies()),
    (robustness.SECTION, shifts()),
    (imagenet_x.SECTION, factors()),
    (pug.SECTION, curves()),
    (calibration.SECTION, bins()),
    (shape_bias.SECTION, biases()),
]


def draw(section: Section, result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    assert section.figure is not None
    return section.figure(result, stem, formats)


@pytest.mark.parametrize(("section", "result"), CASES, ids=lambda case: getattr(case, "analysis", ""))
def test_a_figure_is_the_same_twice(section: Section, result: Result, tmp_path: Path) -> None:
    first = draw(section, result, tmp_path / "a" / "f", ("svg", "png"))
    again = draw(section, result, tmp_path / "b" / "f", ("svg", "png"))
    assert [path.name for path in first] == ["f.svg", "f.png", "f.csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with open(first[-1], newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(list(tidy_rows(result)))
    assert rows[0]["backbone"] == "vit"
    with pytest.raises(UsageError, match="figure format"):
        draw(section, result, tmp_path / "c", ("gif",))


@pytest.mark.parametrize(("section", "result"), CASES, ids=lambda case: getattr(case, "analysis", ""))
def test_another_number_is_another_picture(section: Section, result: Result, tmp_path: Path) -> None:
    value = result.data["value"][1].copy()
    value[~np.isnan(value)] *= 0.5
    other = Result(result.name, result.coords, {**result.data, "value": (("row",), value)}, result.attrs)
    before = draw(section, result, tmp_path / "a", ("svg",))[0].read_bytes()
    assert draw(section, other, tmp_path / "b", ("svg",))[0].read_bytes() != before


@pytest.mark.parametrize(("section", "result"), CASES, ids=lambda case: getattr(case, "analysis", ""))
def test_a_section_has_what_the_report_asks_for(section: Section, result: Result) -> None:
    from cvbench.jobs.sections import section_of

    assert section_of(section.analysis) is section
    assert result.name == section.analysis
    rows = list(section.rows(result))
    assert rows
    assert section.headline is not None
    assert set(section.headline(result)) <= set(rows)
    assert section.title
    assert section.about.endswith(".")
