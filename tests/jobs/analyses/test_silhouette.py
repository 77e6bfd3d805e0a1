"""The silhouette of a store: the rows it is of, what is kept, and what is said when something is not there."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples as peer

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.jobs.analyses.silhouette import ENTRY, SilhouetteOptions, silhouette
from cvbench.jobs.analyses.silhouette_rows import OF_CLASS, comparison_notes
from cvbench.jobs.analyses.tsne import TsneOptions, tsne
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading import matrix
from cvbench.jobs.reading.selection import Selection
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import list_results, load_result
from tests.jobs.images import write_folder

FAST = SilhouetteOptions(resamples=100)
NAMES = ("folder-pets", "folder-birds")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store: 40 images of 2 classes, 2 of them unreadable; 36 of 9 classes; 8 of a single class."""
    folder = tmp_path_factory.mktemp("silhouette")
    for name, count, classes in (("pets", 40, 2), ("birds", 36, 9), ("rocks", 8, 1)):
        write_folder(folder / name, count, classes, broken=(9, 30) if name == "pets" else ())
        options = ExtractOptions(
            dataset=f"folder:{folder / name}",
            backbones=("test_vit", "test_convnext"),
            store=str(folder / "store.zarr"),
            weights=("random",),
            taps=("blocks",),
            views=("head", "pooled", "maps") if name == "pets" else ("head",),
            batch_size=8,
            unit=16,
            image_size=64,
            max_unreadable=0.1,
        )
        extract(options, Cluster(address="none"))
    return folder / "store.zarr"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> str:
    return str(shutil.copytree(made, tmp_path / "store.zarr"))


def head(store: str, dataset: str = "folder-pets", **changes: object) -> Selection:
    return Selection(store, dataset, view="head", **changes)  # type: ignore[arg-type]


def test_it_is_scikit_learns_on_the_readable_rows(store: str) -> None:
    options = SilhouetteOptions(("euclidean", "cosine"), "features", resamples=100)
    (found,) = silhouette([head(store)], options)
    opened = FeatureStore.open(store)
    assert len(found.selected.layers) == 2
    for i, layer in enumerate(found.selected.layers):
        stored = opened.layer(found.selected.group(layer), layer.tap)
        labels = opened.samples("folder-pets", "all")["label"][stored.rows]
        assert len(labels) == 38
        for j, metric in enumerate(options.metrics):
            expected = peer(stored.numpy().astype(np.float64), labels, metric=metric)
            np.testing.assert_allclose(found.result.data["silhouette"][1][i, j], expected, atol=1e-6)
            assert found.result.data["micro"][1][i, j] == pytest.approx(expected.mean(), abs=1e-6)


def test_the_result_is_kept_under_what_it_depends_on(store: str) -> None:
    first, *_ = silhouette([head(store)], FAST)
    paths = {first.path}
    for selection, options in (
        (head(store), SilhouetteOptions(resamples=100, seed=1)),
        (head(store), SilhouetteOptions(resamples=100, space="features")),
        (head(store, backbones=("test_vit",)), FAST),
    ):
        paths.add(silhouette([selection], options)[0].path)
    assert len(paths) == 4
    assert silhouette([head(store)], FAST)[0].path == first.path
    opened = FeatureStore.open(store)
    kept = {key.path: load_result(opened, key) for key in list_results(opened)}
    assert kept.keys() == paths
    dataset = kept[first.path]
    assert dataset is not None
    np.testing.assert_array_equal(dataset["micro"].values, first.result.data["micro"][1])
    assert dataset["silhouette"].sizes == {"layer": 2, "metric": 1, "sample": 38}
    assert (dataset.attrs["dataset"], dataset.attrs["view"]) == ("folder-pets", "head")
    assert dataset.attrs["space"] == "features standardised"


def test_several_data_sets_make_one_table(store: str) -> None:
    heard: list[Event] = []
    options = SilhouetteOptions(("euclidean", "cosine"), resamples=100)
    found = silhouette([head(store), head(store, "folder-birds")], options, listen=heard.append)
    results = [one.named for one in found]
    rows = [row for result in results for row in ENTRY.rows_of(result)]
    means = [row for row in rows if row.metric == "silhouette, mean over samples" and row.kind == "value"]
    ways = [f"{metric}, features standardised" for metric in options.metrics]
    assert [(row.dataset, row.factor) for row in means] == [
        *[("folder-pets", way) for way in ways] * 2,
        *[("folder-birds", way) for way in ways] * 2,
    ]
    assert len({row.backbone for row in means}) == 2
    assert any("samples per class differ" in note for note in comparison_notes(results))
    classes = [[row for row in rows if (row.metric, row.dataset) == (OF_CLASS, name)] for name in NAMES]
    assert [len(own) for own in classes] == [2 * 2 * 2, 2 * 2 * 9]
    assert sum(row.n for row in classes[0] if row.factor.startswith("cosine")) == 2 * 38
    pair = next(row for row in rows if row.kind == "difference" and row.dataset == "folder-birds")
    assert (pair.backbone, pair.backbone_b, pair.factor) == (means[4].backbone, means[6].backbone, ways[0])
    assert pair.value == pytest.approx(float(means[4].value or 0) - float(means[6].value or 0), abs=1e-12)
    assert not any(isinstance(event, Note) and "held in memory" in event.text for event in heard)


def test_much_memory_is_said(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "MUCH", 1000)
    heard: list[Event] = []
    silhouette([head(store)], FAST, listen=heard.append)
    assert any(isinstance(event, Note) and "held in memory" in event.text for event in heard)


def test_a_sample_of_the_rows_has_their_values(store: str) -> None:
    (whole,) = silhouette([head(store)], FAST)
    (part,) = silhouette([head(store)], SilhouetteOptions(resamples=100, sample=10))
    at = np.isin(whole.result.coords["sample"], part.result.coords["sample"])
    assert part.result.attrs["scored_samples"] == at.sum() == 10
    assert part.result.attrs["samples"] == 38
    expected = whole.result.data["silhouette"][1][..., at]
    np.testing.assert_allclose(part.result.data["silhouette"][1], expected, atol=1e-6)  # products are in float32


def test_any_pooled_layer_can_be_scored(store: str) -> None:
    (found,) = silhouette([Selection(store, "folder-pets", view="pooled", taps=("blocks.1", "blocks.3"))], FAST)
    assert {layer.tap for layer in found.selected.layers} >= {"blocks.1", "blocks.3"}


def test_what_cannot_be_scored_is_named(store: str, tmp_path: Path) -> None:
    for selection, error, said in (
        (head(store, "folder-rocks"), UsageError, "folder-rocks/all are of one class only"),
        (Selection(store, "folder-pets", view="logits"), DataUnavailableError, "--view logits"),
        (Selection(store, "folder-pets", view="maps"), UsageError, "--view head or --view pooled"),
        (Selection(store, view="head"), UsageError, "--dataset"),
        (Selection(str(tmp_path / "none.zarr"), view="head"), DataUnavailableError, "cvbench extract"),
    ):
        with pytest.raises(error) as caught:
            silhouette([selection], FAST)
        assert said in str(caught.value)
    assert not (tmp_path / "none.zarr").exists(), "an analysis made a store"


def test_nothing_is_kept_if_one_data_set_is_not_there(store: str) -> None:
    with pytest.raises(UnknownNameError, match="folder-pet"):
        silhouette([head(store), head(store, "folder-pet")], FAST)
    assert list_results(FeatureStore.open(store)) == []


def test_spaces_are_results_of_their_own(store: str) -> None:
    """PCA-50 of fewer than 50 features turns the standardised ones, which no Euclidean silhouette sees."""
    found = silhouette([head(store)], FAST, spaces=("standardised", "pca50"))
    assert [outcome.result.attrs["space"] for outcome in found] == [
        "features standardised",
        "features standardised, PCA-50",
    ]
    plain, turned = (outcome.result.data["silhouette"][1] for outcome in found)
    assert found[0].path != found[1].path
    np.testing.assert_allclose(turned, plain, atol=1e-6)


def map_files(store: str) -> list[str]:
    return [key.path for key in list_results(FeatureStore.open(store)) if key.analysis == "tsne"]


QUICK = TsneOptions(backend="sklearn", perplexity=5.0, iterations=250, repeats=1, resamples=100)
TSNE = SilhouetteOptions(space="tsne", resamples=100)


def test_the_map_is_the_only_one_of_analyze_tsne(store: str) -> None:
    """Whatever its options; its silhouette has one value here and there, and in neither an interval within classes."""
    made = tsne(head(store), replace(QUICK, repeats=2, sample=38, measured=5000))
    (found,) = silhouette([head(store)], TSNE)
    assert map_files(store) == [made.path]
    assert found.result.attrs["map"] == made.path
    assert found.result.attrs["space"] == "t-SNE map, perplexity 5, iterations 250"
    assert any(f"the t-SNE map is {made.path} (sklearn" in note for note in found.result.attrs["notes"])
    assert any("of the picture" in said for said in ENTRY.sentences(found.named, ENTRY.rows_of(found.named)))
    pairs = [row for row in ENTRY.rows(found.result) if row.kind == "difference"]
    assert {(row.low, row.verdict) for row in pairs} == {(None, "")}, "no number of samples would give a verdict"
    at = made.result.coords["measure"].index("silhouette_map")
    for i in range(2):
        expected = peer(made.result.data["map"][1][i], made.result.data["label"][1])
        np.testing.assert_allclose(found.result.data["silhouette"][1][i, 0], expected, atol=1e-9)
        both = found.result.data["micro"][1][i, 0], made.result.data["measures"][1][i, at]
        assert both[0] == pytest.approx(both[1], abs=1e-9)
        assert np.isnan(made.result.data["measures_low"][1][i, at])
        assert np.isnan(found.result.data["micro_low"][1][i, 0])
    assert any("other samples would be laid out on another map" in note for note in found.result.attrs["notes"])
    result = stored_result(
        FeatureStore.open(store), next(k for k in list_results(FeatureStore.open(store)) if k.path == found.path)
    )
    words = ENTRY.command(result)
    assert words[words.index("--map") + 1] == made.path.rpartition("/")[2]


def test_of_several_maps_one_is_named_or_that_of_the_defaults_is_taken(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tsne(head(store), QUICK)
    second = tsne(head(store), replace(QUICK, perplexity=6.0))
    tsne(head(store, backbones=("test_vit",)), QUICK)  # of other layers
    tsne(head(store), replace(QUICK, sample=30))  # of a part of the samples
    with pytest.raises(UsageError, match="the store holds 2 t-SNE maps of these features") as caught:
        silhouette([head(store)], TSNE)
    for path in (first.path, second.path, "--map ", "perplexity 6"):
        assert path in str(caught.value)
    (named,) = silhouette([head(store)], TSNE, map_name=second.path.rpartition("/")[2])
    assert named.result.attrs["map"] == second.path
    (other,) = silhouette([head(store)], TSNE, map_name=first.path)
    assert (other.result.attrs["map"], other.path == named.path) == (first.path, False)
    with pytest.raises(UnknownNameError, match="unknown t-SNE map of folder-pets/all, view head: 'nosuch'") as wrong:
        silhouette([head(store)], TSNE, map_name="nosuch")
    assert first.path in str(wrong.value)
    tsne(head(store), replace(QUICK, resamples=50))  # the same map with other measures
    usual = partial(TsneOptions, perplexity=5.0, iterations=250)
    monkeypatch.setattr("cvbench.jobs.analyses.tsne_maps.TsneOptions", usual)
    monkeypatch.setattr("cvbench.jobs.analyses.tsne_maps.fields", lambda options: fields(TsneOptions))
    assert silhouette([head(store)], TSNE)[0].result.attrs["map"] != second.path


def test_without_a_map_that_of_the_defaults_is_made(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="perplexity 30 needs more than 91 samples, there are 38") as caught:
        silhouette([head(store)], TSNE)
    assert "`analyze tsne --perplexity 12` with the same layers" in str(caught.value)
    assert map_files(store) == []
    usual = partial(TsneOptions, perplexity=5.0, iterations=250)
    monkeypatch.setattr("cvbench.jobs.analyses.tsne_maps.TsneOptions", usual)
    (found,) = silhouette([head(store)], TSNE)
    assert map_files(store) == [found.result.attrs["map"]]
    made = tsne(head(store), usual(repeats=1))
    assert (made.path, made.measured) == (found.result.attrs["map"], 0)


def test_rows_of_the_report_say_what_is_not_resolved(store: str) -> None:
    (found,) = silhouette([head(store)], SilhouetteOptions(("euclidean", "cosine"), resamples=100))
    opened = FeatureStore.open(store)
    result = stored_result(opened, next(key for key in list_results(opened) if key.path == found.path))
    rows = ENTRY.rows_of(result)
    pairs = [row for row in rows if row.kind == "difference"]
    assert len(pairs) == 2 * 2 + 3, "two means by two metrics, three companions"
    for row in pairs:
        assert row.low is not None
        assert row.high is not None
        assert row.p is not None
        assert row.verdict == ("resolved" if row.low * row.high > 0 and row.p <= 0.05 else "not resolved")
        assert row.title == f"difference of {row.metric}"
    classes = {row.metric for row in rows if row.class_low is not None}
    assert classes == {"silhouette, mean of class means"}
    assert {bool(row.class_verdict) for row in pairs} == {True, False}
    assert all(bool(row.class_verdict) == (row.class_low is not None) for row in pairs)
    assert sum(row.metric.startswith("Davies-Bouldin") and row.kind == "value" for row in rows) == 2
    headline = ENTRY.main_rows(result, rows)
    kinds = [(row.kind, row.metric) for row in headline]
    means = ["silhouette, mean over samples", "silhouette, mean of class means"]
    assert kinds[:4] == [("difference", name) for name in means * 2]
    assert [metric for _, metric in kinds[4:]] == [
        *[name for name in (*means, "share of samples with negative silhouette") for _ in range(4)]
    ]
    same = replace(found.result, attrs={**result.attrs})
    for name in ("micro", "macro", "over_classes"):
        same.data[f"difference_{name}_low"][1][:] = -1.0
    judged = [row for row in ENTRY.rows(same) if row.kind == "difference" and row.metric in means]
    assert {row.verdict for row in judged} == {"not resolved"}
    assert {row.class_verdict for row in judged} == {"", "not resolved"}
