"""The figure of silhouettes: bars for one layer per backbone, curves for more, the numbers beside it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.errors import UsageError
from cvbench.jobs.analyses.silhouette import ENTRY
from cvbench.jobs.figures.draw import draw, draw_overview
from cvbench.jobs.figures.silhouette import single_layers
from tests.jobs.report_store import small_silhouette


def of(dataset: str, backbones: dict[str, int], shift: float = 0.0) -> Result:
    result = small_silhouette(backbones, ("a", "b", "c"), shift)
    return replace(result, attrs={**result.attrs, "dataset": dataset, "split": "test", "view": "head"})


PAIR = {"vit": 1, "cnn": 1}


def drawn(results: list[Result], stem: Path, formats: tuple[str, ...]) -> list[Path]:
    """The figure of one result, or of several beside each other."""
    rows = [row for result in results for row in ENTRY.rows_of(result)]
    if len(results) == 1:
        return draw(ENTRY, results[0], rows, stem, formats)
    return draw_overview(ENTRY, results, rows, stem, formats)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        drawn([of("birds", PAIR), of("pets", PAIR, 0.3)], tmp_path / name, ("svg", "png"))
    for suffix in ("svg", "png", "csv"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_the_csv_holds_the_exact_numbers(tmp_path: Path) -> None:
    results = [of("birds", PAIR), of("pets", PAIR, 0.3)]
    path = drawn(results, tmp_path / "s", ("png",))[-1]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    means = [row for row in rows if row["metric"] == "silhouette, mean over samples" and row["kind"] == "value"]
    assert [(row["dataset"], row["backbone"], row["factor"]) for row in means[:3]] == [
        ("birds", "vit", "euclidean, features standardised"),
        ("birds", "vit", "cosine, features standardised"),
        ("birds", "cnn", "euclidean, features standardised"),
    ]
    assert float(means[4]["value"]) == results[1].data["micro"][1][0, 0]
    assert float(means[7]["high"]) == results[1].data["micro_high"][1][1, 1]


def test_bars_point_where_the_numbers_do(tmp_path: Path) -> None:
    from matplotlib.image import imread

    below, above = of("birds", {"vit": 1}, -0.4), of("pets", {"vit": 1}, 0.4)
    image = imread(drawn([below, above], tmp_path / "s", ("png",))[0])[..., :3]
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
    svg = drawn(results, tmp_path / "s", ("svg",))[0].read_text()
    assert svg.count('<g id="axes_') == panels


def test_all_panels_have_one_scale() -> None:
    from cvbench.jobs.figures.silhouette import _draw

    low, high = of("birds", {"vit": 3}, -0.4), of("pets", {"vit": 3}, 0.4)
    for results in ([low, high], [of("birds", PAIR), of("pets", PAIR, 0.4)]):
        figure = _draw(results)
        limits = {axis.get_ylim() for axis in figure.axes if axis.axison}
        assert len(limits) == 1
        bottom, top = limits.pop()
        ends = np.stack([result.data[key][1] for result in results for key in ("micro_low", "micro_high")])
        assert bottom < ends.min() < ends.max() < top


def test_of_results_that_differ_in_samples_alone_the_larger_is_drawn(tmp_path: Path) -> None:
    whole, part = of("birds", PAIR, 0.4), of("birds", PAIR, -0.4)
    part.attrs["samples"] = 20
    for name, results in (("whole", [whole]), ("both", [whole, part]), ("turned", [part, whole])):
        drawn(results, tmp_path / name, ("svg",))
    pictures = [(tmp_path / f"{name}.svg").read_bytes() for name in ("whole", "both", "turned")]
    assert pictures[0] == pictures[1] == pictures[2]
    numbers = [len((tmp_path / f"{name}.csv").read_text().splitlines()) - 1 for name in ("whole", "both")]
    assert numbers[1] == 2 * numbers[0], "the CSV has all"


def test_results_of_one_layer_per_backbone_are_found() -> None:
    one, many = of("birds", PAIR), of("birds", {"vit": 2, "cnn": 1})
    assert single_layers([one, many]) == [one]


def test_one_result_has_no_overview_and_layered_ones_only_where_all_are(tmp_path: Path) -> None:
    one, other, many = of("birds", PAIR), of("pets", PAIR), of("birds", {"vit": 3})
    assert drawn([one, many], tmp_path / "one", ("svg",)) == [], "one can be beside none"
    drawn([one, other], tmp_path / "bars", ("svg",))
    drawn([one, many, other], tmp_path / "mixed", ("svg",))
    assert (tmp_path / "bars.svg").read_bytes() == (tmp_path / "mixed.svg").read_bytes()


def test_of_layered_results_that_differ_in_samples_alone_the_larger_is_drawn(tmp_path: Path) -> None:
    """Not the layers of both as if they were of one backbone."""
    whole, part, other = of("birds", {"vit": 3}), of("birds", {"vit": 3}, 0.4), of("pets", {"vit": 3})
    part.attrs["samples"] = 20
    for name, results in (("two", [whole, other]), ("three", [whole, part, other])):
        drawn(results, tmp_path / name, ("svg",))
    assert (tmp_path / "two.svg").read_bytes() == (tmp_path / "three.svg").read_bytes()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        drawn([of("birds", PAIR)], tmp_path / "s", ("gif",))
