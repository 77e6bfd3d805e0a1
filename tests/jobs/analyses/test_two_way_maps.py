"""Two crossed factors in feature maps: effects on where the last maps lie are contrasts of what `analyze maps` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.maps import ENTRY as MAPS
from cvbench.jobs.analyses.maps import maps
from cvbench.jobs.analyses.options import MapsOptions, TwoWayOptions
from cvbench.jobs.analyses.two_way import ENTRY, decompose
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.results.row import DIFFERENCE, VALUE
from tests.jobs.maps_store import LOOP
from tests.storage.datasets.cub_tree import write_cub_of

IMAGES = 40
CELLS = {
    "test_vit": "vit,small",
    "test_vit3": "vit,large",
    "test_convnext": "conv,small",
    "test_convnext3": "conv,large",
}
TAPS = ("blocks.*", "stages.0.*", "stages.1.*")
"""The last grids are 4 x 4 in the ViTs, 8 x 8 in the others."""


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of birds with boxes in four networks; the folder also has their files in `data`."""
    folder = tmp_path_factory.mktemp("birds")
    write_cub_of(folder / "data" / "CUB_200_2011", IMAGES)
    options: dict[str, Any] = {"split": "all", "data_root": str(folder / "data"), "views": ("maps",), "image_size": 64}
    options |= {"batch_size": 8, "unit": 8, "weights": ("random",), "store": str(folder / "store.zarr")}
    extract(ExtractOptions("cub200", tuple(CELLS), **options), LOOP)
    return folder


def split(birds: Path, **changes: Any) -> Any:
    typed: dict[str, Any] = {"cells": tuple(f"{name}={levels}" for name, levels in CELLS.items()), **changes}
    return decompose(Selection(str(birds / "store.zarr"), taps=TAPS), TwoWayOptions("maps", **typed), LOOP)


def test_effects_are_contrasts_of_what_the_plain_analysis_says(birds: Path) -> None:
    options = MapsOptions(data_root=str(birds / "data"), intervals=IntervalOptions(resamples=50))
    plain = maps(Selection(str(birds / "store.zarr"), taps=TAPS), options, LOOP).named
    assert plain.attrs["common_grid"] == [4, 4]
    found = {
        (row.metric, row.backbone.partition("@")[0]): row
        for row in MAPS.rows_of(plain)
        if row.kind == VALUE and row.factor.startswith("common grid")
    }
    made = split(birds, data_root=str(birds / "data"))
    rows = [row for row in ENTRY.rows_of(made.named) if row.kind == DIFFERENCE]
    compared = {row.metric.removeprefix("effect on ") for row in rows}
    assert compared == {
        "outlier-token rate",
        "foreground share less the box's",
        "foreground-background contrast",
        "share of outlier tokens outside the box less the area's",
    }
    whole = [name for name in compared if {found[name, network].n for network in CELLS} == {found[name, "test_vit"].n}]
    assert len(whole) >= 3, "of the last the images differ that have outliers at all"
    for metric in whole:
        values = {network: found[metric, network].value or 0.0 for network in CELLS}
        (of_network,) = (
            row for row in rows if (row.metric, row.factor) == (f"effect on {metric}", "architecture: vit")
        )
        expected = sum(value * (1 if "vit" in name else -1) for name, value in values.items()) / 4
        assert of_network.n == found[metric, "test_vit"].n
        # Both are float64 means of the same numbers, in another order.
        assert of_network.value == pytest.approx(expected, abs=IMAGES * 2.0**-50 * max(map(abs, values.values())))
    assert "measured on the common grid 4x4" in made.result.attrs["notes"]
    shown = {row.metric.rpartition(" on ")[2] for row in ENTRY.main_rows(made.named, ENTRY.rows_of(made.named))}
    assert shown == {"foreground share less the box's"}


def test_without_the_images_there_are_no_boxes_and_it_is_said(birds: Path, tmp_path: Path) -> None:
    made = split(birds, data_root=str(tmp_path))
    rows = ENTRY.rows_of(made.named)
    assert {row.metric.removeprefix("effect on ") for row in rows if row.kind == DIFFERENCE} == {"outlier-token rate"}
    assert any("boxes need the sizes of the images" in note for note in made.result.attrs["notes"])
    assert ENTRY.figure is not None
    (axis,) = ENTRY.figure(made.named, rows).axes
    assert axis.get_title() == "effects on outlier-token rate, with 95 % intervals"
    assert not any("data-root" in word for word in ENTRY.command(made.named)), "it may be elsewhere"
