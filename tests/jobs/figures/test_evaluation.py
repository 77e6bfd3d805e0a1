"""The figures of the evaluations: the same result gives the same bytes, and everything that is there is drawn."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import wilson
from cvbench.engine.statistics.verdict import Judged, verdict
from cvbench.errors import UsageError
from cvbench.jobs.evaluation import accuracy, calibration, compare, imagenet_x, pug, robustness, shape_bias
from cvbench.jobs.figures import draw as figures
from cvbench.jobs.figures.charts.base import Panel, Twin
from cvbench.jobs.figures.evaluation_intervals import chance_levels
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.results.table import Table, table_result
from tests.jobs.figures.within import cut, saved

NAMES = ("vit", "convnext")


def accuracies() -> Result:
    table = Table("birds", "all")
    table.chance(compare.TOP1, 0.1)
    for i, name in enumerate(NAMES):
        for metric in (compare.TOP1, accuracy.TOP5, compare.MEAN):
            table.add(name, metric, "", wilson(30 + 5 * i, 60))
    return table_result("accuracy", table.rows, {})


def shifts() -> Result:
    table = Table("imagenet-val", "val")
    for name in NAMES:
        for dataset in ("imagenet-a", "imagenet-r"):
            table.place(dataset, "test", 0)
            table.add(name, compare.TOP1, "", wilson(30, 60))
            table.add(name, robustness.COUNTERPART, "", wilson(50, 60))
        table.add(name, robustness.MEAN, "imagenet-a, imagenet-r", wilson(60, 120))
    return table_result("robustness", table.rows, {})


def differences(table: Table, metric: str, names: Sequence[str]) -> None:
    """A resolved one, others that are not."""
    for i, factor in enumerate(names):
        found, p = Estimate(0.3 - 0.2 * i, 0.1 - 0.2 * i, 0.5 - 0.2 * i, 40), 0.01 + 0.5 * i
        table.difference(("vit", "convnext"), metric, factor, Judged(found, p, verdict(found, p)))


def factors() -> Result:
    table = Table("imagenet-val", "val")
    for name in NAMES:
        for factor, value in (("pose", 0.9), ("partial_view", 1.4), ("style", float("nan"))):
            table.add(name, imagenet_x.RATIO, factor, Estimate(value, value - 0.2, value + 0.3, 40))
        table.add(name, imagenet_x.AVERAGE, "", Estimate(1.1, 1.0, 1.3, 900))
    differences(table, imagenet_x.RATIO, ("pose", "partial_view", "style"))
    return table_result("imagenet-x", table.rows, {})


def curves() -> Result:
    table = Table("pug-imagenet", "all")
    for name in NAMES:
        table.add(name, pug.GROUP, "camera", wilson(20, 40))
        for i, value in enumerate(("-30", "0", "30")):
            table.add(name, pug.AT_VALUE, f"Camera_Yaw={value}", wilson(10 + i, 40))
        for i in range(20):
            table.add(name, pug.AT_VALUE, f"Worlds=world-{i}", wilson(i, 40))
    differences(table, pug.GROUP, ("camera",))
    return table_result("pug", table.rows, {})


def bins() -> Result:
    table = Table("birds", "all")
    edges = np.linspace(0, 1, 6)
    for name in NAMES:
        table.add(name, calibration.ECE, "", Estimate(0.1, n=100))
        table.add(name, calibration.DEBIASED, "", Estimate(0.08, 0.05, 0.2, 100))
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            factor = f"({low:.4g}, {high:.4g}]"
            table.add(name, calibration.BIN_ACCURACY, factor, wilson(5 * i, 20 * i))
            middle = float("nan") if i == 0 else float(low + high) / 2
            table.add(name, calibration.BIN_CONFIDENCE, factor, Estimate(middle, n=20 * i))
    return table_result("calibration", table.rows, {})


def biases() -> Result:
    table = Table("cue-conflict", "test")
    for name in NAMES:
        table.add(name, shape_bias.BIAS, "", wilson(30, 60))
        table.add(name, shape_bias.BIAS, "bear", wilson(3, 6))
        table.add(name, shape_bias.BIAS, "knife", wilson(0, 0))
    return table_result("shape-bias", table.rows, {})


CASES = [
    (accuracy.ENTRY, accuracies()),
    (robustness.ENTRY, shifts()),
    (imagenet_x.ENTRY, factors()),
    (pug.ENTRY, curves()),
    (calibration.ENTRY, bins()),
    (shape_bias.ENTRY, biases()),
]


def draw(entry: Entry, result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    return figures.draw(entry, result, entry.rows_of(result), stem, formats)


@pytest.mark.parametrize(("entry", "result"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_a_figure_is_the_same_twice(entry: Entry, result: Result, tmp_path: Path) -> None:
    first = draw(entry, result, tmp_path / "a" / "f", ("svg", "png"))
    again = draw(entry, result, tmp_path / "b" / "f", ("svg", "png"))
    assert [path.name for path in first] == ["f.svg", "f.png", "f.csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    with open(first[-1], newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(entry.rows_of(result))
    assert next(row["backbone"] for row in rows if row["kind"] != "reference") == "vit"
    with pytest.raises(UsageError, match="figure format"):
        draw(entry, result, tmp_path / "c", ("gif",))


@pytest.mark.parametrize(("entry", "result"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_no_text_leaves_the_picture(entry: Entry, result: Result, tmp_path: Path) -> None:
    make = entry.figure
    assert make is not None
    assert cut(saved(lambda: make(result, entry.rows_of(result)), tmp_path)) == []


@pytest.mark.parametrize(("entry", "result"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_another_number_is_another_picture(entry: Entry, result: Result, tmp_path: Path) -> None:
    value = result.data["value"][1].copy()
    value[~np.isnan(value)] *= 0.5
    other = Result(result.name, result.coords, {**result.data, "value": (("row",), value)}, result.attrs)
    before = draw(entry, result, tmp_path / "a", ("svg",))[0].read_bytes()
    assert draw(entry, other, tmp_path / "b", ("svg",))[0].read_bytes() != before


@pytest.mark.parametrize(("entry", "result"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_an_entry_has_what_the_report_asks_for(entry: Entry, result: Result) -> None:
    from cvbench.jobs.registry import entry_of

    assert entry_of(entry.name) is entry
    assert result.name == entry.name
    rows = entry.rows_of(result)
    main = entry.main_rows(result, rows)
    assert main
    assert set(main) <= set(rows)
    assert [bool(row.backbone_b) for row in main] == sorted((bool(row.backbone_b) for row in main), reverse=True)
    assert entry.title
    assert entry.about.endswith(".")


@pytest.mark.parametrize(
    ("entry", "result", "metric"),
    [
        (imagenet_x.ENTRY, factors(), imagenet_x.RATIO),
        (pug.ENTRY, curves(), pug.GROUP),
        (calibration.ENTRY, bins(), calibration.DEBIASED),
    ],
    ids=("imagenet-x", "pug", "calibration"),
)
def test_what_is_compared_by_factor_is_drawn(entry: Entry, result: Result, metric: str, tmp_path: Path) -> None:
    """The differences, their intervals, and which are resolved; of calibration the error that has an interval."""
    of_metric = result.data["metric"][1] == metric
    if metric != calibration.DEBIASED:
        of_metric &= result.data["kind"][1] == DIFFERENCE
    assert of_metric.any()
    before = draw(entry, result, tmp_path / "a", ("svg",))[0].read_bytes()
    for number, name in enumerate(("value", "low", "high")):
        values = result.data[name][1].copy()
        values[of_metric] += 0.01
        other = Result(result.name, result.coords, {**result.data, name: (("row",), values)}, result.attrs)
        assert draw(entry, other, tmp_path / f"b{number}", ("svg",))[0].read_bytes() != before
    said = result.data["verdict"][1]
    if (said == "resolved").any():
        none = np.where(said == "resolved", "not resolved", said)
        other = Result(result.name, result.coords, {**result.data, "verdict": (("row",), none)}, result.attrs)
        assert draw(entry, other, tmp_path / "c", ("svg",))[0].read_bytes() != before, "none is resolved any more"
    else:
        assert metric == calibration.DEBIASED


def twin(entry: Entry, result: Result) -> Twin:
    assert entry.chart is not None
    found = entry.chart(result, entry.rows_of(result))
    assert isinstance(found, Twin)
    return found


def marks(panel: Panel) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    """(line, series) -> value, ends and whether it is hollow."""
    names = ("line", "series", "value", "low", "high", "hollow")
    return {(line, name): tuple(rest) for line, name, *rest in zip(*(panel.columns[n] for n in names), strict=True)}


def test_an_interactive_form_has_the_numbers_of_its_rows() -> None:
    found = twin(accuracy.ENTRY, accuracies())
    assert len(found.panels) == 1
    for i, name in enumerate(NAMES):
        k, n, z = 30 + 5 * i, 60, 1.959963984540054
        centre, reach = (k + z * z / 2) / (n + z * z), z / (n + z * z) * (k * (n - k) / n + z * z / 4) ** 0.5
        expected = (100 * k / n, 100 * (centre - reach), 100 * (centre + reach), 0)  # Wilson 1927, in percent
        for metric in (compare.TOP1, accuracy.TOP5, compare.MEAN):
            assert marks(found.panels[0])[metric, name] == pytest.approx(expected)
    assert found.panels[0].stride == -len(NAMES), "a key leads to the line above"
    assert found.panels[0].columns["series"][:2] == list(NAMES), "the marks of a line stand together"


def test_what_is_undefined_is_no_mark_and_what_is_not_resolved_is_hollow() -> None:
    found = twin(imagenet_x.ENTRY, factors())
    ratios, beside = map(marks, found.panels)
    assert {line for line, _ in ratios} == {"pose (40)", "partial view (40)", "mean of the ratios"}
    assert ratios["partial view (40)", "vit"] == pytest.approx((1.4, 1.2, 1.7, 0))
    assert {line: mark[3] for (line, _), mark in beside.items()} == {"pose (40)": 0, "partial view (40)": 1}
    assert beside["pose (40)", "vit less convnext"][:3] == pytest.approx((0.3, 0.1, 0.5))
    assert found.about == "Dashed: as overall."


def test_the_counterpart_is_hollow_and_factors_have_their_differences() -> None:
    shifted = twin(robustness.ENTRY, shifts())
    assert sorted(set(shifted.panels[0].columns["hollow"])) == [0, 1]
    assert shifted.about.startswith("Hollow: ")
    factored = twin(pug.ENTRY, curves())
    assert [set(panel.columns["line"]) for panel in factored.panels] == [{"camera"}, {"camera"}]
    assert marks(factored.panels[0])["camera", "vit"][0] == pytest.approx(50)
    assert set(twin(shape_bias.ENTRY, biases()).panels[0].columns["series"]) == set(NAMES)


def test_without_numbers_there_is_no_interactive_form() -> None:
    table = Table("birds", "all")
    table.add("vit", compare.TOP1, "", wilson(0, 0))
    empty = table_result("accuracy", table.rows, {})
    assert accuracy.ENTRY.chart is not None
    assert accuracy.ENTRY.chart(empty, accuracy.ENTRY.rows_of(empty)) is None


def test_chance_is_marked_on_the_lines_of_its_data_set() -> None:
    rows = accuracy.ENTRY.rows_of(accuracies())
    shown = [(row.metric, row) for row in rows if row.kind == "value"]
    assert chance_levels(rows, shown) == {compare.TOP1: 0.1}
    elsewhere = [(line, replace(row, dataset="fish")) for line, row in shown]
    assert chance_levels(rows, elsewhere) == {}
    assert accuracy.ENTRY.chart is not None
    (twin, plain) = (
        accuracy.ENTRY.chart(accuracies(), given) for given in (rows, [row for row in rows if row.backbone])
    )
    assert isinstance(twin, Twin)
    assert isinstance(plain, Twin)
    assert "chance" in twin.about
    assert "chance" not in plain.about
