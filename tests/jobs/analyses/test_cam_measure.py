"""Measuring stored maps: intervals over many classes, from the run to the report; and memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.estimate import FEW_IMAGES
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.cam.cam import ENTRY, CamOptions, cam, cam_json, cam_rows
from cvbench.jobs.analyses.cam.maps import MapJob, prepare_maps
from cvbench.jobs.analyses.cam.measure import measure_maps, selected_maps
from cvbench.jobs.analyses.cam.options import MapOptions
from cvbench.jobs.analyses.cam.rows import draw_cam, verdict_text
from cvbench.jobs.analyses.cam.worker import choice_tap
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.running.executor import Cluster
from cvbench.storage.datasets import READERS, DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset
from cvbench.storage.features import FeatureStore

LOOP = Cluster(address="none")
CLASSES = 32
TAP = "blocks.5.norm1"


class Noise:
    """A reader of noise images, as many as the argument says, in 32 classes by turns."""

    info = DatasetInfo("noise", "Noise", ("all",), "all", {}, CLASSES, "none", "nowhere", "", "COUNT")

    def locate(self, argument: str, root: Path | None) -> Path | None:
        return None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        n = int(argument)
        pixels = np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)
        names = tuple(f"noise/{i:05d}" for i in range(n))
        classes = tuple(f"kind-{i}" for i in range(CLASSES))
        labels = np.arange(n) % CLASSES
        return PixelDataset("noise", "all", f"noise:{argument}", classes, names, labels, pixels, self, argument)


@pytest.fixture(autouse=True, scope="module")
def reader() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READERS, "noise", Noise())
        yield


def noise(store: Path, n: int, *backbones: str, size: int = 64) -> ExtractOptions:
    return ExtractOptions(
        dataset=f"noise:{n}",
        backbones=backbones or ("test_vit",),
        store=str(store),
        weights=("random",),
        batch_size=8,
        unit=64,
        image_size=size,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    """64 images, two of each of 32 classes."""
    folder = tmp_path_factory.mktemp("noise")
    job = noise(folder / "s.zarr", 2 * CLASSES, "test_vit", "test_convnext")
    return cam(job, CamOptions(intervals=IntervalOptions(resamples=200), examples=1), LOOP)


def reported(analysed: Analysed) -> Result:
    """The result as the report reads it from the store."""
    place = {"run": analysed.path, "dataset": "noise", "split": "all"}
    return replace(analysed.result, attrs={**analysed.result.attrs, **place})


def test_with_many_classes_every_number_has_an_interval_over_them(made: Analysed) -> None:
    result = reported(made)
    assert result.attrs["resampled_classes"] == CLASSES
    rows = list(cam_rows(result))
    means = [row for row in rows if row["kind"] == "mean"]
    centres = [row for row in means if row["measure"].startswith("centroid")]
    assert all(row["class_low"] < row["value"] < row["class_high"] for row in centres)
    apart = [row for row in rows if row["kind"] == "difference"]
    assert [row["version"] for row in apart] == ["raw"] * 9 + ["centred"] * 9
    with_interval = [row for row in rows if row["class_low"] is not None]
    without = [row for row in rows if row not in with_interval]
    assert {row["measure"] for row in without if not row["reason"]} <= {"gaussian_r2"}  # undefined in most classes
    assert {row["reason"] for row in without if row["grid"] == "2x2"} == {
        "not measurable on a 2x2 grid: it needs 3x3",
        "not measurable on a 2x2 grid: it needs 4x4",
    }
    for row in (row for row in apart if row in with_interval):
        contains = row["class_low"] <= 0 <= row["class_high"]
        assert row["class_resolved"] in (
            (None,) if row["version"] == "raw" else (False,) if contains else (False, True)
        )
    tidy = list(ENTRY.rows(result))
    over = [row for row in tidy if "interval over classes" in row.metric]
    assert len(tidy) == len(rows) + len(over)
    assert {row.n for row in over} == {CLASSES}
    assert [(row.low, row.high) for row in over] == [(row["class_low"], row["class_high"]) for row in with_interval]
    assert not any("over classes" in row.metric for row in ENTRY.headline(result))  # type: ignore[misc]
    assert cam_json(result, "noise")["class_interval"] == f"percentile bootstrap over {CLASSES} classes"


def test_the_figure_has_both_intervals(made: Analysed, tmp_path: Path) -> None:
    drawn = draw_cam(made.result, tmp_path / "a", ["svg"])
    again = draw_cam(made.result, tmp_path / "b", ["svg"])
    assert drawn[0].read_bytes() == again[0].read_bytes()
    of_images = {name: x for name, x in made.result.data.items() if not name.endswith(("class_low", "class_high"))}
    fewer = draw_cam(replace(made.result, data=of_images), tmp_path / "c", ["svg"])
    assert len(fewer[0].read_text()) < len(drawn[0].read_text())


def test_the_overlay_keeps_evidence_among_cells_that_speak_against_it(made: Analysed, tmp_path: Path) -> None:
    raw = np.full_like(made.result.data["map_0"][1], -1.0)
    drawn = []
    for name, strongest in (("none", -1.0), ("some", 2.0)):
        raw[0, 0, 0] = strongest
        data = {**made.result.data, "map_0": (made.result.data["map_0"][0], raw.copy())}
        drawn.append(draw_cam(replace(made.result, data=data), tmp_path / name, ["png"])[0].read_bytes())
    assert drawn[0] != drawn[1]


def test_a_difference_of_few_images_is_never_called_resolved(tmp_path: Path) -> None:
    job = noise(tmp_path / "s.zarr", FEW_IMAGES - 2, "test_vit", "test_convnext", size=128)
    result = reported(cam(job, CamOptions(intervals=IntervalOptions(resamples=50), examples=0), LOOP))
    apart = [row for row in cam_rows(result) if row["kind"] == "difference"]
    assert not [row for row in apart if row["resolved"]]
    raw, centred = ([row for row in apart if row["version"] == version] for version in ("raw", "centred"))
    assert {verdict_text(row) for row in raw} <= {"see centred"}
    clear = [row for row in centred if row["low"] is not None and row["p"] <= 0.05]
    assert {(row["resolved"], verdict_text(row)) for row in clear} <= {(None, "too few images to resolve")}
    assert all(row["resolved"] is False for row in centred if row["low"] is not None and row not in clear)
    said = [row.metric for row in ENTRY.rows(result) if row.metric.startswith("difference")]
    assert sum(metric.endswith("(too few images to resolve)") for metric in said) >= len(clear)
    assert not [metric for metric in said if not metric.endswith(")")]


@pytest.mark.parametrize(
    ("resolved", "of_classes", "said"),
    [
        (True, None, "resolved"),
        (True, True, "resolved"),
        (True, False, "resolved, over classes not resolved"),
        (False, True, "not resolved, over classes resolved"),
        (None, None, "too few images to resolve"),
    ],
)
def test_what_is_said_of_a_difference(resolved: bool | None, of_classes: bool | None, said: str) -> None:
    ends = {"low": 0.1, "class_low": 0.1}
    assert verdict_text({"kind": "difference", "resolved": resolved, "class_resolved": of_classes, **ends}) == said
    assert verdict_text({"kind": "mean", "resolved": None, "class_resolved": None}) == ""


def with_maps(store: Path, n: int) -> MapJob:
    """Noise maps of 14 x 14 cells, committed as if they had been computed."""
    job = prepare_maps(noise(store, n, size=224), MapOptions(), LOOP)
    group, rng = job.group("test_vit@224"), np.random.default_rng(0)
    opened = FeatureStore.open(store, mode="a")
    for unit in job.units.units(group):
        with opened.writer(group, [TAP, choice_tap(TAP)], unit) as writer:
            writer.write(TAP, 0, rng.normal(size=(len(unit), 14, 14)).astype(np.float32))
            writer.write(choice_tap(TAP), 0, np.ones((len(unit), 4), np.float32))
            writer.commit()
    return job


def test_memory_grows_with_the_measures_and_not_with_the_maps(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        job = with_maps(tmp_path / f"{n}.zarr", n)
        reading = Reading(FeatureStore.open(tmp_path / f"{n}.zarr"), selected_maps(job))
        tracemalloc.start()
        rows, tables, _ = measure_maps(reading, job, correct_only=False, tolerance=0.0)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows) == len(tables[0].table) == n
        return found

    small, large = peak(1024), peak(4096)
    # 14 numbers of 8 bytes an image (9 measures, 4 of the choice, its row), twice while they are joined; a map has 784
    assert large - small < 3072 * 400, (large - small) / 3072
