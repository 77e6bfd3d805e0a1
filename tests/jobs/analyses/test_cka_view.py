"""Which features the CKA of a store is of by default, and that nobody has to guess it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.jobs.analyses.cka import ENTRY, CkaOptions, cka
from cvbench.jobs.analyses.options import AUTO
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw_overview
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.reading.views import POOLED
from cvbench.jobs.registry import find_live
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.running.cluster import Cluster
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results
from tests.jobs.images import write_folder
from tests.jobs.report_store import small_cka

LOOP = Cluster(address="none")
BOTH = ("test_vit", "test_convnext")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("view") / "pets", 48)


def extracted(images: Path, store: Path, **changed: Any) -> str:
    options = ExtractOptions(
        dataset=f"folder:{images}",
        backbones=BOTH,
        store=str(store),
        weights=("random",),
        taps=("blocks.0", "blocks.1", "stages.0.*"),
        batch_size=8,
        unit=16,
        image_size=64,
    )
    extract(replace(options, **changed), LOOP, live=find_live(changed.get("analyses", ())))
    return str(store)


def auto(store: str, **changed: Any) -> Any:
    options = CkaOptions(**{key: changed.pop(key) for key in ("batch", "estimator") if key in changed})
    return cka(Selection(store, view=AUTO, **changed), options, LOOP)


def test_all_positions_are_the_default_stored_or_live_and_are_one_answer(images: Path, tmp_path: Path) -> None:
    stored = auto(extracted(images, tmp_path / "stored.zarr", views=("pooled", "maps"), maps=None))
    live_store = extracted(images, tmp_path / "live.zarr", analyses=("cka",))
    live = auto(live_store)
    assert stored.selected.view == live.selected.view == "maps"
    assert stored.path == live.path, "the same partials and parameters: one answer under one name"
    for name in ("cka", "low", "high"):
        np.testing.assert_array_equal(stored.result.data[name][1], live.result.data[name][1])
    assert stored.result.attrs["view"] == live.result.attrs["view"] == "maps"
    pooled = cka(Selection(live_store, view=POOLED), CkaOptions(), LOOP)
    assert not np.allclose(pooled.result.data["cka"][1], live.result.data["cka"][1], atol=0.01)
    for one, words in ((stored, "all positions"), (pooled, "mean over positions")):
        rows = ENTRY.rows_of(one.named)
        assert all(row.metric.endswith(f"linear CKA ({words})") for row in rows)
        assert f"view {one.selected.view}, " in ENTRY.sentences(one.named, rows)[0]


def test_without_all_positions_the_mean_is_taken_and_a_note_says_so(images: Path, tmp_path: Path) -> None:
    store = extracted(images, tmp_path / "s.zarr")
    found = auto(store)
    assert found.selected.view == POOLED
    assert any("Figure 5 is of all positions" in note for note in found.result.attrs["notes"])
    # Maps of one of the two backbones: the default must not drop the other.
    taps = ("blocks.0", "blocks.1")
    extracted(images, tmp_path / "s.zarr", backbones=("test_vit",), taps=taps, views=("maps",), maps=None)
    assert auto(store).selected.view == POOLED
    assert auto(store, backbones=("test_vit",)).selected.view == "maps"


def test_the_larger_of_stored_and_live_is_taken_if_it_is_what_is_asked_for(images: Path, tmp_path: Path) -> None:
    store = extracted(images, tmp_path / "s.zarr", views=("pooled", "maps"), maps=16, analyses=("cka",))
    assert auto(store).selected.samples == 48
    assert cka(Selection(store, view="maps"), CkaOptions(), LOOP).selected.samples == 48
    assert auto(store, batch=4).selected.samples == 16
    assert auto(store, taps=("blocks.0", "stages.0.blocks.0")).selected.samples == 16
    assert auto(store, estimator="debiased").selected.samples == 16


def test_a_result_of_an_earlier_version_is_said_to_be_too_narrow(images: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(extracted(images, tmp_path / "s.zarr", analyses=("cka",)))
    (key,) = list_results(store)
    result = stored_result(store, key)
    assert ENTRY.caution is not None
    assert ENTRY.caution(result) == []
    older = replace(result, attrs={name: value for name, value in result.attrs.items() if name != "interval"})
    assert "too narrow" in ENTRY.caution(older)[0]


def test_the_report_draws_both_views_side_by_side(tmp_path: Path) -> None:
    def of(view: str, samples: int = 192, dataset: str = "pets") -> Result:
        made = small_cka({"a": 3, "b": 2})
        place = {"dataset": dataset, "split": "all", "view": view, "samples": samples}
        return replace(made, attrs={**made.attrs, **place})

    def side_by_side(*results: Result) -> list[Path]:
        rows = [row for result in results for row in ENTRY.rows_of(result)]
        return draw_overview(ENTRY, results, rows, tmp_path / "views", ["svg"])

    assert side_by_side(of("pooled"), of("pooled", 64), of("maps", dataset="birds")) == []
    assert side_by_side(of("maps")) == []
    files = side_by_side(of("pooled"), of("maps", 64), of("maps"), of("pooled", dataset="birds"))
    svg = files[0].read_text()
    assert svg.count("<image ") == 2 * (3 + 1)  # three panels a view, and the colour bars
    rows = list(csv.DictReader(files[-1].read_text().splitlines()))
    named = [row["metric"] for row in rows if row["layer"]]
    about = ("mean over positions", "all positions", "all positions", "mean over positions")
    assert named == [f"linear CKA ({words})" for words in about for _ in range(15)], "the numbers of all results"
    assert "X is (m, p) with p all neurons" in ENTRY.about
