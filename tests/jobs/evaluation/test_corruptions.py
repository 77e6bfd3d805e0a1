"""Corruption errors from stored logits, against plain sums; what is left out and refused; intervals that cover."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Result
from cvbench.engine.metrics.corruption import ALEXNET
from cvbench.errors import IntegrityError, UsageError
from cvbench.jobs.evaluation.corruptions import CE, ENTRY, ERROR, EXCESS, MCE, MEAN, corruptions
from cvbench.jobs.evaluation.options import EvalOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.storage.datasets.readers.imagenet_c import CORRUPTIONS
from cvbench.storage.datasets.readers.imagenet_classes import imagenet_wnids
from tests.jobs.logits_store import write_logits

IMAGES, SEVERITIES = 40, 5
PART = EvalOptions(partial=True, allow_chance=True)
FORMS = [f"imagenet-c-{kind}" for kind in CORRUPTIONS]


def write(store: Path, kinds: Sequence[str], right: dict[str, np.ndarray], *, dataset: str = "", bad: int = -1) -> None:
    """Data sets of a corruption each, or one of all: backbone -> (kinds, severities, images) bool, who is right."""
    wnids = imagenet_wnids()
    shape = (len(kinds), SEVERITIES, IMAGES)
    names = [
        f"{kind}/{severity + 1}/{wnids[image]}/ILSVRC2012_val_{7 * image + 1:08d}.JPEG"
        for kind in kinds
        for severity in range(SEVERITIES)
        for image in range(IMAGES)
    ]
    labels = np.broadcast_to(np.arange(IMAGES), shape).ravel()
    factors = {
        "corruption": np.repeat(np.array(kinds), SEVERITIES * IMAGES),
        "severity": np.tile(np.repeat(np.arange(1, 6), IMAGES), len(kinds)),
    }
    logits = {}
    for backbone, correct in right.items():
        values = np.zeros((labels.size, 1000), dtype=np.float32)
        values[np.arange(labels.size), np.where(correct.ravel(), labels, labels + 100)] = 1
        logits[backbone] = values
    parts = [(dataset, slice(None))] if dataset else []
    size = SEVERITIES * IMAGES
    parts = parts or [(f"imagenet-c-{kind}", slice(k * size, (k + 1) * size)) for k, kind in enumerate(kinds)]
    for name, rows in parts:
        write_logits(
            store,
            {backbone: values[rows] for backbone, values in logits.items()},
            labels[rows],
            wnids,
            dataset=name,
            split="test",
            ids=names[rows],
            factors={key: values[rows] for key, values in factors.items()},
            bad=(bad,) if bad >= 0 else (),
            unit=64,
        )


def drawn(kinds: Sequence[str], share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(kinds), SEVERITIES, IMAGES)) < share


def one(result: Result, **wanted: str) -> Row:
    wanted = {"backbone_b": "", "factor": "", **wanted}
    (found,) = [row for row in ENTRY.rows_of(result) if all(getattr(row, k) == v for k, v in wanted.items())]
    return found


@pytest.mark.parametrize("together", [True, False])
def test_all_fifteen(tmp_path: Path, together: bool) -> None:
    right = {"a": drawn(CORRUPTIONS, 0.7, 0), "b": drawn(CORRUPTIONS, 0.5, 1)}
    write(tmp_path / "s.zarr", CORRUPTIONS, right, dataset="imagenet-c" if together else "")
    found = corruptions(str(tmp_path / "s.zarr"), [], [], PART)
    for name, correct in right.items():
        sums = (~correct).sum(axis=(1, 2))  # over severities and images, as the paper adds them
        for k, kind in enumerate(CORRUPTIONS):
            error = sums[k] / (SEVERITIES * IMAGES)
            assert one(found.result, backbone=name, metric=ERROR, factor=kind).value == pytest.approx(error, abs=1e-12)
            ratio = sums[k] / (ALEXNET[kind] * SEVERITIES * IMAGES)
            assert one(found.result, backbone=name, metric=CE, factor=kind).value == pytest.approx(ratio, abs=1e-12)
        mce = np.mean([sums[k] / (ALEXNET[kind] * SEVERITIES * IMAGES) for k, kind in enumerate(CORRUPTIONS)])
        row = one(found.result, backbone=name, metric=MCE)
        assert row.value == pytest.approx(mce, abs=1e-12)
        assert (row.n, row.n_failed) == (IMAGES, 0)
        assert one(found.result, backbone=name, metric=MEAN).value == pytest.approx((~correct).mean(), abs=1e-12)
        errors = dict(zip(CORRUPTIONS, (~correct).mean(axis=(1, 2)), strict=True))
        noise = [error for kind, error in errors.items() if kind.endswith("_noise")]
        rest = [error for kind, error in errors.items() if not kind.endswith(("_noise", "_blur"))]
        assert (len(noise), len(rest)) == (3, 8)
        excess = one(found.result, backbone=name, metric=EXCESS).value
        assert excess == pytest.approx(np.mean(noise) - np.mean(rest), abs=1e-12)
    pair = one(found.result, backbone="a", backbone_b="b", metric=MCE)
    assert (pair.kind, pair.verdict) == (DIFFERENCE, "resolved")
    assert found.result.attrs["verdicts"][0].startswith(f"{MCE}: b is above a (resolved): +")
    assert {row.metric for row in ENTRY.rows_of(found.result) if row.kind == DIFFERENCE} == {MCE, CE, EXCESS}
    assert corruptions(str(tmp_path / "s.zarr"), [], [], PART).path == found.path
    rows = ENTRY.rows_of(found.named)
    assert draw(ENTRY, found.named, rows, tmp_path / "x" / "c", ["png"])[0].stat().st_size > 10_000
    assert ENTRY.chart is not None
    twin = ENTRY.chart(found.named, rows)
    assert twin is not None
    assert "gaussian noise" in str(twin.as_dict())
    assert ENTRY.command(found.result)[:2] == ["eval", "corruptions"]


def test_the_interval_is_over_images_and_not_over_samples(tmp_path: Path) -> None:
    """An image that is wrong is wrong under all: 40 images of information, not 3,000 samples."""
    of_image = np.random.default_rng(3).random(IMAGES) < 0.6
    same = np.broadcast_to(of_image, (15, SEVERITIES, IMAGES))
    write(tmp_path / "s.zarr", CORRUPTIONS, {"a": same})
    row = one(corruptions(str(tmp_path / "s.zarr"), [], [], PART).result, backbone="a", metric=MEAN)
    assert row.low is not None
    assert row.high is not None
    assert 0.5 < (row.high - row.low) / (2 * 1.96 * np.sqrt(0.24 / IMAGES)) < 1.5


def test_less_than_fifteen_have_no_mean_corruption_error(tmp_path: Path) -> None:
    kinds = ("fog", "snow", "saturate")
    write(tmp_path / "s.zarr", kinds, {"a": drawn(kinds, 0.7, 0), "b": drawn(kinds, 0.2, 1)}, bad=3)
    found = corruptions(str(tmp_path / "s.zarr"), [], [], PART).result
    rows = ENTRY.rows_of(found)
    assert {row.metric for row in rows} == {ERROR, CE, MEAN}
    assert {row.factor for row in rows if row.metric == CE} == {"fog", "snow"}
    assert any("the store lacks gaussian_noise" in note for note in found.attrs["notes"])
    assert {(row.n, row.n_failed) for row in rows} == {(IMAGES - 1, 1)}, "an image without one severity does not count"
    assert one(found, backbone="a", backbone_b="b", metric=MEAN).verdict == "resolved"


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s.zarr", ("fog",), {"a": drawn(("fog",), 0.7, 0)})
    write(tmp_path / "s.zarr", ("fog", "snow"), {"a": drawn(("fog", "snow"), 0.7, 0)}, dataset="imagenet-c-again")
    with pytest.raises(UsageError, match="fog is there twice: in imagenet-c-fog and imagenet-c-again"):
        corruptions(str(tmp_path / "s.zarr"), ["imagenet-c-fog", "imagenet-c-again"], [], PART)
    write(tmp_path / "t.zarr", ("fog",), {"a": drawn(("fog",), 0.7, 0)})
    write(tmp_path / "t.zarr", ("snow",), {"a": drawn(("snow",), 0.7, 0), "b": drawn(("snow",), 0.7, 0)})
    with pytest.raises(UsageError, match="not every data set has the logits of b"):
        corruptions(str(tmp_path / "t.zarr"), [], [], PART)
    labels = np.arange(20) % 3
    write_logits(tmp_path / "u.zarr", {"a": np.eye(3)[labels]}, labels, ("x", "y", "z"))
    with pytest.raises(UsageError, match="no corrupted images") as caught:
        corruptions(str(tmp_path / "u.zarr"), [], [], PART)
    assert caught.value.fix is not None
    assert "--dataset imagenet-c:fog" in caught.value.fix
    with pytest.raises(UsageError, match="has no factor 'corruption'"):
        corruptions(str(tmp_path / "u.zarr"), ["birds"], [], PART)
    write_logits(
        tmp_path / "v.zarr",
        {"a": np.eye(1000)[labels]},
        labels,
        imagenet_wnids(),
        dataset="imagenet-c-fog",
        split="test",
        factors={"corruption": np.full(20, "fog"), "severity": np.ones(20, dtype=np.int64)},
        ids=[f"photo{i}.jpg" for i in range(20)],
    )
    with pytest.raises(IntegrityError, match="does not say which image"):
        corruptions(str(tmp_path / "v.zarr"), [], [], PART)


def test_the_table_of_alexnet_is_of_the_fifteen() -> None:
    assert set(ALEXNET) == set(CORRUPTIONS)
    assert all(0.5 < error < 1 for error in ALEXNET.values())
