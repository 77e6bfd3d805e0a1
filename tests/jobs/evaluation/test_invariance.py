"""Variants of the digits through two small backbones, end to end, and what is made of their logits."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.engine.metrics.invariance import change_difference, setting
from cvbench.engine.metrics.scores import Scores, score_block
from cvbench.errors import (
    DataUnavailableError,
    EvaluationSuspectError,
    IncompleteError,
    IntegrityError,
    UnknownNameError,
    UsageError,
)
from cvbench.jobs.evaluation.compare import TOP1
from cvbench.jobs.evaluation.invariance import CHANGE, ENTRY, PROBABILITY, SAME
from cvbench.jobs.evaluation.invariance import invariance as run
from cvbench.jobs.evaluation.options import EvalOptions, ImportOptions, InvarianceOptions
from cvbench.jobs.evaluation.predictions import import_predictions
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import DIFFERENCE
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Ended, Event, Note, Started
from cvbench.storage.features import FeatureStore, GroupKey
from cvbench.storage.results.outcomes import list_results
from tests.jobs.digit_heads import write_heads
from tests.jobs.logits_store import noisy_logits, write_logits

MODELS = ("test_convnext", "test_vit")
SIZE, N = 32, 64
FEW = InvarianceOptions(EvalOptions())


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> ExtractOptions:
    """The options of a store of several variants and sizes of 64 digits."""
    folder = tmp_path_factory.mktemp("invariance")
    weights = write_heads(folder, MODELS, SIZE, 150)
    base = ExtractOptions(
        dataset="digits",
        backbones=MODELS,
        store=str(folder / "s.zarr"),
        split="test",
        weights=weights,
        views=("logits",),
        limit=N,
        unit=32,
        batch_size=32,
        image_size=SIZE,
    )
    for spec in ("digits", "digits+scale=1", "digits+scale=1.5"):
        extract(replace(base, dataset=spec), Cluster(address="none"))
    for spec in ("digits+shift-frame=0,0", "digits+shift=16,0", "digits+shift=0", "digits+shift=1"):
        extract(replace(base, dataset=spec, backbones=("test_vit",), weights=weights[1:]), Cluster(address="none"))
    extract(replace(base, image_size=48, backbones=("test_vit",), weights=weights[1:]), Cluster(address="none"))
    return base


@pytest.fixture
def store(extracted: ExtractOptions) -> str:
    return extracted.store


def logits(store: str, dataset: str, backbone: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = (
        FeatureStore.open(store).layer(GroupKey(dataset, "test", backbone, "logits"), "logits").numpy()
    )
    return values[:N]


def options(transform: str = "", *grid: str, reference: str | None = None) -> InvarianceOptions:
    shared = EvalOptions(partial=True, allow_chance=True)
    return InvarianceOptions(shared, (transform,) if transform else (), grid, reference)


@pytest.mark.parametrize(
    ("variant", "model"),
    [("digits.scale-1", "test_vit"), ("digits.scale-1", "test_convnext"), ("digits.shift-frame-0-0", "test_vit")],
)
def test_an_identity_gives_the_logits_of_the_base(store: str, variant: str, model: str) -> None:
    assert np.array_equal(logits(store, variant, f"{model}@32"), logits(store, "digits", f"{model}@32"))
    assert not np.array_equal(logits(store, "digits.scale-1.5", f"{model}@32"), logits(store, "digits", f"{model}@32"))


def test_variants_have_the_order_of_their_base_and_say_what_they_are(store: str) -> None:
    opened = FeatureStore.open(store)
    base, variant = (opened.split(name, "test") for name in ("digits", "digits.scale-1.5"))
    assert np.array_equal(base.ids, variant.ids)
    assert np.array_equal(base.labels, variant.labels)
    assert base.dataset_digest != variant.dataset_digest
    recorded = opened.fingerprint(GroupKey("digits.shift-frame-16-0", "test", "test_vit@32", "logits"))
    assert recorded["fingerprint"]["transform"] == {"name": "shift-frame", "x": 16, "y": 0}
    plain = opened.fingerprint(GroupKey("digits", "test", "test_vit@32", "logits"))
    assert "transform" not in plain["fingerprint"]  # stores of other data sets keep their fingerprints


def test_the_same_extraction_again_does_nothing(extracted: ExtractOptions) -> None:
    again = replace(extracted, dataset="digits+scale=1.5")
    assert extract(again, Cluster(address="none")).computed == 0


def test_every_number_against_the_stored_logits(store: str) -> None:
    (found,) = run(store, "digits", None, [], options("scale"))
    every = ENTRY.rows_of(found.result)
    rows = {(row.backbone, row.metric, row.factor): row for row in every if not row.backbone_b}
    labels = FeatureStore.open(store).split("digits", "test").labels[:N]
    right: dict[tuple[str, str], NDArray[np.float64]] = {}
    for backbone in ("test_convnext@32", "test_vit@32"):
        chance = {}
        for factor, dataset in (("scale=1", "digits"), ("scale=1.5", "digits.scale-1.5")):
            z = logits(store, dataset, backbone).astype(np.float64)
            p = np.exp(z - z.max(axis=1, keepdims=True))
            chance[factor] = (p / p.sum(axis=1, keepdims=True))[np.arange(N), labels]
            right[backbone, factor] = (z.argmax(axis=1) == labels).astype(float)
            row = rows[backbone, TOP1, factor]
            assert (row.value, row.n, row.n_failed) == (right[backbone, factor].mean(), N, 0)
            # The softmax is float32, summed in float64.
            assert rows[backbone, PROBABILITY, factor].value == pytest.approx(chance[factor].mean(), abs=1e-6)
        change = right[backbone, "scale=1.5"] - right[backbone, "scale=1"]
        row = rows[backbone, CHANGE, "scale=1.5"]
        assert row.value == pytest.approx(change.mean(), abs=1e-12)
        assert row.low is not None
        assert row.high is not None
        # A score interval of 60 pairs is near its normal one, but centred nearer to 0.
        error = change.std() / N**0.5
        assert row.kind == DIFFERENCE
        assert row.p == rows[backbone, "McNemar exact p", "scale=1.5"].value, "the one setting is the family"
        assert row.verdict == ("resolved" if row.high < 0 and row.p is not None and row.p < 0.05 else "not resolved")
        assert row.low == pytest.approx(change.mean() - 1.96 * error, abs=0.7 * error)
        assert row.high == pytest.approx(change.mean() + 1.96 * error, abs=0.7 * error)
        start = rows[backbone, CHANGE, "scale=1"]
        assert (start.value, start.low, start.high, start.kind, start.verdict) == (0, 0, 0, DIFFERENCE, "")
        assert rows[backbone, SAME, "scale=1"].value == 1
    changes = [right[name, "scale=1.5"] - right[name, "scale=1"] for name in ("test_convnext@32", "test_vit@32")]
    (between,) = (row for row in every if row.backbone_b)
    assert between.subject == "test_convnext@32 less test_vit@32"
    assert (between.metric, between.factor, between.kind) == (CHANGE, "scale=1.5", DIFFERENCE)
    assert between.verdict
    assert between.value == pytest.approx((changes[0] - changes[1]).mean(), abs=1e-12)


def test_all_transforms_of_the_store_at_once(store: str) -> None:
    found = run(store, None, None, ["test_vit@32"], options())
    shown = {one.result.attrs["transform"]: one.result for one in found}
    assert list(shown) == ["scale", "shift", "shift-frame"]  # at no size is the model's own, so no resolution
    factors = [row.factor for row in ENTRY.rows_of(shown["shift"]) if row.metric == TOP1]
    assert factors == ["shift=0", "shift=1"]
    assert all(result.attrs["dataset"] == "digits" for result in shown.values())
    assert len({one.path for one in found}) == 3


def test_a_vit_at_another_resolution(store: str) -> None:
    (found,) = run(store, "digits", "test", ["test_vit"], options("resolution", reference="32"))
    rows = {(row.metric, row.factor): row.value for row in ENTRY.rows_of(found.result)}
    labels = FeatureStore.open(store).split("digits", "test").labels[:N]
    for size in (32, 48):
        expected = (logits(store, "digits", f"test_vit@{size}").argmax(axis=1) == labels).mean()
        assert rows[TOP1, f"resolution={size}"] == expected
    assert found.result.attrs["start"] == {"test_vit": "32"}


def test_the_result_is_kept_and_its_command_makes_it_again(store: str) -> None:
    (found,) = run(store, "digits", None, [], options("scale"))
    opened = FeatureStore.open(store)
    (key,) = [key for key in list_results(opened) if key.path == found.path]
    kept = stored_result(opened, key)
    assert ENTRY.rows_of(kept) == ENTRY.rows_of(found.result)
    words = ENTRY.command(kept)
    assert words[:8] == ["eval", "invariance", "--dataset", "digits", "--split", "test", "--transform", "scale"]
    grid = [words[i + 1] for i, word in enumerate(words) if word == "--grid"]
    assert grid == ["1", "1.5"]
    names = [words[i + 1] for i, word in enumerate(words) if word == "--backbone"]
    (again,) = run(store, "digits", "test", names, options("scale", *grid))
    assert again.path == found.path


def test_what_is_missing_is_said_with_its_command(store: str) -> None:
    seen: list[Event] = []
    run(store, "digits", None, [], options("scale"), seen.append)
    (note,) = [event.text for event in seen if isinstance(event, Note) and event.text.startswith("not there")]
    assert note == (
        "not there: cvbench extract --dataset digits+scale=1.25 --dataset digits+scale=2 --dataset digits+scale=3 "
        "--split test --backbone test_convnext --backbone test_vit --view logits "
        "--weights test_convnext=PATH/test_convnext.safetensors --weights test_vit=PATH/test_vit.safetensors "
        f"--image-size 32 --store {store}"
    )
    with pytest.raises(DataUnavailableError, match=r"scale[\s\S]*extract --dataset digits\+scale=7 "):
        run(store, "digits", None, [], options("scale", "7"))
    with pytest.raises(DataUnavailableError, match=r"no logits of digits/test under resolution[\s\S]*--image-size 112"):
        run(store, "digits", None, [], options("resolution"))


def test_values_of_ones_own_are_not_told_of_the_studys(store: str) -> None:
    """A shift by 1 is none of the study's: who chose it does not lack these."""
    seen: list[Event] = []
    run(store, "digits", None, ["test_vit@32"], options("shift"), seen.append)
    assert not [event.text for event in seen if isinstance(event, Note) and event.text.startswith("not there")]


def test_settings_of_another_tool_are_imported_not_extracted(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", noisy_logits(np.arange(1797) % 10, 10, 8.0))
    store = str(tmp_path / "new.zarr")
    import_predictions(ImportOptions(str(tmp_path / "z.npy"), "digits", "theirs", store, by_order=True))
    with pytest.raises(DataUnavailableError, match=r"eval import FILE --dataset digits\+scale=2 .*--backbone theirs"):
        run(store, "digits", None, [], options("scale", "2"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (options("scal"), UnknownNameError, r"unknown transform 'scal'\ndid you mean: scale"),
        (options("scale", "big"), UsageError, "scale=big cannot be read"),
        (options("shift", "8,0"), UsageError, "a value of shift-frame"),
        (options("resolution", "x"), UsageError, "resolution=x cannot be read"),
        (options("", "2"), UsageError, "--grid and --reference are of one transform"),
        (FEW, IncompleteError, r"logits of 64 of the 397 samples"),
    ],
)
def test_wrong_options_are_refused(store: str, given: InvarianceOptions, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(store, "digits", None, [], given)


def test_unknown_names_are_refused(store: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data set in this store: 'digit'\ndid you mean: digits"):
        run(store, "digit", None, [], options())
    with pytest.raises(UnknownNameError, match=r"unknown backbone in this store: 'test_vit@3'"):
        run(store, "digits", None, ["test_vit@3"], options("scale"))


LABELS = np.random.default_rng(1).integers(0, 4, 64)
CLASSES = tuple("abcd")


def synthetic(path: Path, name: str, strength: float, ids: str = "image", bad: tuple[int, ...] = ()) -> str:
    names = [f"{ids}-{i:02d}" for i in range(len(LABELS))]
    values = {"vit": noisy_logits(LABELS, 4, strength)}
    return write_logits(path / "s.zarr", values, LABELS, CLASSES, dataset=name, ids=names, bad=bad)


def test_only_samples_that_every_setting_could_read_count(tmp_path: Path) -> None:
    synthetic(tmp_path, "birds", 4, bad=(3,))
    synthetic(tmp_path, "birds.scale-2", 2, bad=(3, 9))
    store = synthetic(tmp_path, "birds.scale-3", 0, bad=(11,))
    (found,) = run(store, None, None, [], FEW)  # at scale 3 the accuracy is that of guessing, which may be
    rows = list(ENTRY.rows_of(found.result))
    assert {(row.n, row.n_failed) for row in rows} == {(61, 3)}
    top1 = {row.factor: row.value for row in rows if row.metric == TOP1}
    kept = np.setdiff1d(np.arange(64), (3, 9, 11))
    assert top1["scale=2"] == (noisy_logits(LABELS, 4, 2).argmax(axis=1) == LABELS)[kept].mean()


def test_a_transform_whose_reference_is_near_chance_does_not_hide_the_others(tmp_path: Path) -> None:
    for name, strength in (("birds", 4), ("birds.scale-2", 2), ("birds.shift-0", 0), ("birds.shift-30", 0)):
        store = synthetic(tmp_path, name, strength)
    seen: list[Event] = []
    (found,) = run(store, None, None, [], FEW, seen.append)
    assert found.result.attrs["transform"] == "scale"
    left_out = [event.text for event in seen if isinstance(event, Note) and "shift is left out" in event.text]
    assert len(left_out) == 1
    assert "near chance" in left_out[0]
    started = [event.job for event in seen if isinstance(event, Started)]
    assert started == [event.job for event in seen if isinstance(event, Ended)]
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        run(store, None, None, [], replace(FEW, transforms=("shift",)))


def test_where_every_reference_is_near_chance_nothing_is_reported(tmp_path: Path) -> None:
    for name in ("birds", "birds.scale-2", "birds.shift-0", "birds.shift-30"):
        store = synthetic(tmp_path, name, 0)
    with pytest.raises(EvaluationSuspectError, match="near chance"):
        run(store, None, None, [], FEW)


def test_a_variant_of_other_samples_is_refused(tmp_path: Path) -> None:
    synthetic(tmp_path, "birds", 4)
    store = synthetic(tmp_path, "birds.scale-2", 4, ids="photo")
    with pytest.raises(IntegrityError, match="not of the same samples in the same order"):
        run(store, "birds", None, [], FEW)


def test_another_preprocessing_is_not_taken_for_a_transform(extracted: ExtractOptions, tmp_path: Path) -> None:
    own = replace(extracted, store=str(tmp_path / "s.zarr"), backbones=("test_vit",), limit=64)
    own = replace(own, weights=("random",), views=("logits",))
    extract(own, Cluster(address="none"))
    extract(replace(own, dataset="digits+scale=2", decoder="pil"), Cluster(address="none"))
    with pytest.raises(UsageError, match="not the same backbone at scale=2: preprocess"):
        run(own.store, "digits", None, [], options("scale"))


def scores(strength: float) -> Scores:
    return score_block(noisy_logits(LABELS, 4, strength), LABELS)


def test_who_agree_throughout_differ_by_0_but_not_for_certain() -> None:
    found = setting(scores(1), scores(1))
    for estimate in (found.change.difference, found.probability_change):
        assert estimate.value == 0
        assert estimate.low < 0 < estimate.high
    assert found.consistency.value == found.change.exact == 1
    same = change_difference((scores(0), scores(2)), (scores(0), scores(2)))
    assert (same.value, same.p) == (0, 1)
    assert same.low < 0 < same.high


def test_the_figure_is_the_same_each_time_and_holds_every_setting(store: str, tmp_path: Path) -> None:
    (found,) = run(store, "digits", None, [], options("shift-frame"))
    rows = ENTRY.rows_of(found.result)
    first, second = (draw(ENTRY, found.result, rows, tmp_path / name) for name in ("a", "b"))
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
    with open(first[-1]) as handle:
        factors = {row["factor"] for row in csv.DictReader(handle)}
    assert factors == {"shift-frame=0,0", "shift-frame=16,0"}
