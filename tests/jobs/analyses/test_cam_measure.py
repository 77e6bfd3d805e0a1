"""Measuring stored maps: intervals over many classes, from the run to the report; and memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.measures import MAP_MEASURES
from cvbench.engine.analyses.cam.summary import Measured
from cvbench.engine.statistics.estimate import FEW_IMAGES
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.cam.cam import ENTRY, cam, drawn
from cvbench.jobs.analyses.cam.maps import MapJob, prepare_maps
from cvbench.jobs.analyses.cam.measure import measure_maps, selected_maps
from cvbench.jobs.analyses.cam.options import CamOptions, MapOptions
from cvbench.jobs.analyses.cam.rows import MEASURES, UNJUDGED, said
from cvbench.jobs.analyses.cam.worker import choice_tap
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.galleries import cam_chart, cams_chart, compared_cams
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.results.keep import Analysed
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.running.cluster import Cluster
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


def test_images_are_drawn_of_which_every_backbone_has_a_positive_cell(tmp_path: Path) -> None:
    job = noise(tmp_path / "s.zarr", 64, "test_vit", "test_convnext")
    maps = MapOptions(method="hirescam", targets=("blocks.0", "stages.1.blocks.0"))
    asked = CamOptions(maps=maps, intervals=IntervalOptions(resamples=50), examples=24)
    result = cam(job, asked, LOOP).result
    store = FeatureStore.open(tmp_path / "s.zarr")
    positive = []
    for layer in result.attrs["layers"]:
        (group,) = (one for one in store.groups() if one.backbone == layer["backbone"])
        every = store.layer(group, layer["tap"]).read(0, 64)
        positive.append((every > 0).any(axis=(1, 2)))
    both = np.logical_and.reduce(positive)
    ids = np.array([str(name) for name in store.split(group.dataset, group.split).ids])
    assert 24 < both.sum() < 64  # some have none, among the first
    assert not both[:24].all(), np.flatnonzero(~both)
    assert result.coords["example"] == ids[both][:24].tolist()
    words = result.attrs["drawn"]
    assert words.startswith("drawn: the first images with a positive cell in the map of every backbone")
    assert words.endswith(f"{64 - both.sum()} of 64 images have a map without any")
    assert words in list(said(result))
    chart = cam_chart(result, ())
    assert chart is not None
    assert f"{64 - both.sum()} of 64" in chart.about


def test_where_no_map_has_a_positive_cell_the_first_images_are_drawn_and_it_is_said() -> None:
    empty = Measured("a", "layer", (2, 2), True, np.full((3, len(MAP_MEASURES)), np.nan))
    full = replace(empty, backbone="b", table=np.ones((3, len(MAP_MEASURES))))
    rows, words = drawn([empty, full], np.arange(3), 2)
    assert rows.tolist() == [0, 1]
    assert words == "drawn: the first images; 3 of 3 images have a map without any"


def test_methods_are_shown_over_the_images_that_all_have(made: Analysed) -> None:
    def of(title: str, *names: str) -> Result:
        data = {
            key: (dims, np.repeat(values, len(names), axis=0)) if dims[0] == "example" else (dims, values)
            for key, (dims, values) in made.result.data.items()
        }
        backbones = [{**one, "examples": one["examples"] * len(names)} for one in made.result.attrs["backbones"]]
        attrs = {**made.result.attrs, "title": title, "example_labels": ["x"] * len(names), "backbones": backbones}
        return replace(made.result, data=data, coords={**made.result.coords, "example": list(names)}, attrs=attrs)

    first, second, other = of("A", "p", "q", "r"), of("B", "r", "q"), of("C", "s")
    assert [one.attrs["title"] for one in compared_cams([first, second, other])] == ["A", "B"]
    chart = cams_chart([first, second], ())
    assert chart is not None
    assert chart.gallery is not None
    assert list(chart.gallery.names) == ["q; label x", "r; label x"]


CENTRED = ", centred maps"


def of_centred(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.factor.endswith(CENTRED)]


def test_with_many_classes_every_number_has_an_interval_over_them(made: Analysed) -> None:
    result = made.named
    assert result.attrs["resampled_classes"] == CLASSES
    rows = ENTRY.rows_of(result)
    for row in (row for row in rows if row.kind != DIFFERENCE and row.metric.startswith("centroid")):
        assert row.class_low is not None
        assert row.value is not None
        assert row.class_high is not None
        assert row.class_low < row.value < row.class_high
    apart = [row for row in rows if row.kind == DIFFERENCE]
    assert [row.factor.endswith(CENTRED) for row in apart] == [False] * 9 + [True] * 9
    with_interval = [row for row in rows if row.class_low is not None]
    without = [row for row in rows if row not in with_interval]
    undefined = {row.metric for row in without if not row.note.startswith("not measurable")}
    assert undefined <= {MEASURES["gaussian_r2"]}  # in most classes
    assert {row.note for row in without if row.factor.startswith("common grid 2x2")} == {
        "not measurable on a 2x2 grid: it needs 3x3",
        "not measurable on a 2x2 grid: it needs 4x4",
    }
    for row in (row for row in apart if row in with_interval):
        assert row.class_low is not None
        assert row.class_high is not None
        if row not in of_centred(apart):
            assert (row.note, row.class_verdict) == (UNJUDGED, "")
        elif row.class_low <= 0 <= row.class_high:
            assert row.class_verdict == "not resolved"
        else:
            assert row.class_verdict in ("not resolved", "resolved")
    for row in rows:  # of the images, also where classes were resampled
        assert row.n + row.n_failed == 2 * CLASSES
    assert f"intervals over classes: percentile bootstrap over {CLASSES} classes" in ENTRY.sentences(result, rows)


def test_on_a_small_grid_the_short_table_has_what_can_be_measured(made: Analysed) -> None:
    """Of 2 x 2 cells the centres: neither nothing, nor what is not measurable."""
    rows = ENTRY.rows_of(made.named)
    told = ENTRY.main_rows(made.named, rows)
    assert {row.metric for row in told} == {MEASURES["centroid_y"], MEASURES["centroid_x"]}
    assert {row.factor for row in told} == {"common grid 2x2", "common grid 2x2" + CENTRED}
    apart = [row for row in told if row.kind == DIFFERENCE]
    assert told[: len(apart)] == apart == of_centred(apart)
    assert len(apart) == 2


def test_the_figure_has_both_intervals(made: Analysed, tmp_path: Path) -> None:
    def drawn(result: Result, name: str) -> bytes:
        return draw(ENTRY, result, ENTRY.rows_of(result), tmp_path / name, ["svg"])[0].read_bytes()

    both = drawn(made.named, "a")
    assert drawn(made.named, "b") == both
    of_images = {name: x for name, x in made.result.data.items() if not name.endswith(("class_low", "class_high"))}
    assert len(drawn(replace(made.named, data=of_images), "c")) < len(both)


def test_the_overlay_keeps_evidence_among_cells_that_speak_against_it(made: Analysed, tmp_path: Path) -> None:
    raw = np.full_like(made.result.data["map_0"][1], -1.0)
    drawn = []
    for name, strongest in (("none", -1.0), ("some", 2.0)):
        raw[0, 0, 0] = strongest
        data = {**made.result.data, "map_0": (made.result.data["map_0"][0], raw.copy())}
        result = replace(made.named, data=data)
        drawn.append(draw(ENTRY, result, ENTRY.rows_of(result), tmp_path / name, ["png"])[0].read_bytes())
    assert drawn[0] != drawn[1]


def test_a_difference_of_few_images_is_never_called_resolved(tmp_path: Path) -> None:
    job = noise(tmp_path / "s.zarr", FEW_IMAGES - 2, "test_vit", "test_convnext", size=128)
    analysed = cam(job, CamOptions(intervals=IntervalOptions(resamples=50), examples=0), LOOP)
    rows = ENTRY.rows_of(analysed.named)
    apart = [row for row in rows if row.kind == DIFFERENCE]
    raw, centred = [row for row in apart if row not in of_centred(apart)], of_centred(apart)
    assert {(row.note, row.verdict) for row in raw} == {(UNJUDGED, "")}
    assert len(centred) == len(raw) == 9
    for row in (row for row in centred if row.low is not None):
        assert row.p is not None
        assert row.verdict == ("too few images to resolve" if row.p <= 0.05 else "not resolved")
    main = [row for row in ENTRY.main_rows(analysed.named, rows) if row.kind == DIFFERENCE]
    assert main == [row for row in centred if row in main]
    assert MEASURES["radius"] in {row.metric for row in main}


@pytest.mark.parametrize(
    ("resolved", "of_classes", "said"),
    [
        (1.0, 1.0, ("resolved", "resolved")),
        (1.0, 0.0, ("resolved", "not resolved")),
        (0.0, 1.0, ("not resolved", "resolved")),
        (np.nan, 0.0, ("too few images to resolve", "not resolved")),
    ],
)
def test_what_is_said_of_a_difference(
    made: Analysed, resolved: float, of_classes: float, said: tuple[str, str]
) -> None:
    kept = {"difference_resolved": resolved, "difference_class_resolved": of_classes}
    data = {
        name: (dims, np.full_like(values, kept[name]) if name in kept else values)
        for name, (dims, values) in made.result.data.items()
    }
    rows = ENTRY.rows_of(replace(made.named, data=data))
    apart = [row for row in of_centred(rows) if row.kind == DIFFERENCE and row.value is not None]
    assert {(row.verdict, row.class_verdict) for row in apart} == {said}
    assert {(row.verdict, row.class_verdict) for row in rows if row.kind != DIFFERENCE} == {("", "")}


def test_an_earlier_result_without_verdicts_and_versions_is_read(made: Analysed) -> None:
    """Of raw maps only, whose differences their intervals judge."""
    result = made.named
    gone = ("pair_versions", "family", "unreadable")
    attrs = {name: value for name, value in result.attrs.items() if name not in gone}
    attrs["rows"] = [{name: value for name, value in row.items() if name != "version"} for row in attrs["rows"]]
    data = {name: values for name, values in result.data.items() if not name.endswith(("_resolved", "_p"))}
    rows = ENTRY.rows_of(replace(result, data=data, attrs=attrs))
    assert not of_centred(rows)
    apart = [row for row in rows if row.kind == DIFFERENCE and row.value is not None]
    assert len(apart) == 4
    for row in apart:
        assert row.p is None
        for low, high, text in (
            (row.low, row.high, row.verdict),
            (row.class_low, row.class_high, row.class_verdict),
        ):
            assert low is not None
            assert high is not None
            assert text == ("not resolved" if low <= 0 <= high else "resolved")


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
