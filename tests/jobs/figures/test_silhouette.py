"""The figure of silhouettes: bars for one layer per backbone, curves for more, the numbers beside it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.errors import UsageError
from cvbench.jobs.figures.silhouette import silhouette_figure, single_layers
from tests.jobs.report_store import small_silhouette


def of(dataset: str, backbones: dict[str, int], shift: float = 0.0) -> Result:
    result = small_silhouette(backbones, ("a", "b", "c"), shift)
    return replace(result, attrs={**result.attrs, "dataset": dataset, "split": "test", "view": "head"})


PAIR = {"vit": 1, "cnn": 1}


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        silhouette_figure([of("birds", PAIR), of("pets", PAIR, 0.3)], tmp_path / name, ("svg", "png"))
    for suffix in ("svg", "png", "csv"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_the_csv_holds_the_exact_numbers(tmp_path: Path) -> None:
    results = [of("birds", PAIR), of("pets", PAIR, 0.3)]
    path = silhouette_figure(results, tmp_path / "s", ("png",))[-1]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["dataset"], row["backbone"], row["metric"]) for row in rows[:3]] == [
        ("birds", "vit", "euclidean"),
        ("birds", "vit", "cosine"),
        ("birds", "cnn", "euclidean"),
    ]
    assert float(rows[4]["micro"]) == results[1].data["micro"][1][0, 0]
    assert float(rows[7]["micro_high"]) == results[1].data["micro_high"][1][1, 1]


def test_bars_point_where_the_numbers_do(tmp_path: Path) -> None:
    from matplotlib.image import imread

    below, above = of("birds", {"vit": 1}, -0.4), of("pets", {"vit": 1}, 0.4)
    image = imread(silhouette_figure([below, above], tmp_path / "s", ("png",))[0])[..., :3]
    bars = np.abs(image - np.array([0.25, 0.585, 0.773])).max(axis=-1) < 0.05  # the first colour, a little transparent
    panel = bars[80:, : image.shape[1] // 2]  # the first metric, without the legend
    rows, columns = np.nonzero(panel)
    middle = (columns.min() + columns.max()) / 2
    assert rows[columns < middle].min() >= rows[columns > middle].max() - 2, "the two meet at zero"
    heights = [np.ptp(rows[columns < middle]), np.ptp(rows[columns > middle])]
    numbers = [abs(float(result.data["micro"][1][0, 0])) for result in (below, above)]
    assert heights[0] / heights[1] == pytest.approx(numbers[0] / numbers[1], rel=0.05)  # pixels


@pytest.mark.parametrize(
    ("results", "panels"),
    [
        ([of("birds", PAIR)], 2),
        ([of("birds", PAIR), of("pets", PAIR)], 2),
        ([of("birds", {"vit": 4, "cnn": 3})], 2),
        ([of("birds", {"vit": 4}), of("pets", {"vit": 4})], 4),
    ],
    ids=["bars", "bars of two data sets", "curves", "curves of two data sets"],
)
def test_a_panel_per_metric_and_for_curves_per_data_set(tmp_path: Path, results: list[Result], panels: int) -> None:
    svg = silhouette_figure(results, tmp_path / "s", ("svg",))[0].read_text()
    assert svg.count('<g id="axes_') == panels


def test_all_panels_have_one_scale() -> None:
    from cvbench.jobs.figures.silhouette import _draw, _rows

    low, high = of("birds", {"vit": 3}, -0.4), of("pets", {"vit": 3}, 0.4)
    for results, deep in (([low, high], True), ([of("birds", PAIR), of("pets", PAIR, 0.4)], False)):
        figure = _draw([row for result in results for row in _rows(result)], deep)
        limits = {axis.get_ylim() for axis in figure.axes if axis.axison}
        assert len(limits) == 1
        bottom, top = limits.pop()
        values = [row[key] for result in results for row in _rows(result) for key in ("micro_low", "micro_high")]
        assert bottom < min(values) < max(values) < top


def test_of_results_that_differ_in_samples_alone_the_larger_is_drawn(tmp_path: Path) -> None:
    whole, part = of("birds", PAIR, 0.4), of("birds", PAIR, -0.4)
    part.attrs["samples"] = 20
    for name, results in (("whole", [whole]), ("both", [whole, part]), ("turned", [part, whole])):
        silhouette_figure(results, tmp_path / name, ("svg",))
    drawn = [(tmp_path / f"{name}.svg").read_bytes() for name in ("whole", "both", "turned")]
    assert drawn[0] == drawn[1] == drawn[2]
    assert len((tmp_path / "both.csv").read_text().splitlines()) == 9, "the CSV has all"


def test_results_of_one_layer_per_backbone_are_found() -> None:
    one, many = of("birds", PAIR), of("birds", {"vit": 2, "cnn": 1})
    assert single_layers([one, many]) == [one]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        silhouette_figure([of("birds", PAIR)], tmp_path / "s", ("gif",))
