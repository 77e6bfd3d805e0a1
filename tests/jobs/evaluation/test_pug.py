"""PUG from a store, against direct computations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.evaluation.options import PugOptions
from cvbench.jobs.evaluation.pug import VARIES, pug
from cvbench.jobs.reading.selection import Selection
from tests.jobs.evaluation.birds import BIRDS, LABELS, SHARED, one
from tests.jobs.logits_store import noisy_logits, write_logits


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Eight objects of four labels in three subsets; Shirt and Sweatshirt share an ImageNet class."""
    folder = tmp_path_factory.mktemp("pug")
    table = {"Bear": [294, 295], "Cat": [281, 282], "Shirt": [841], "Sweatshirt": [841]}
    (folder / "class_to_imagenet_idx.json").write_text(json.dumps(table))
    classes = sorted(table)
    made = [
        (thing, subset, value)
        for thing in range(8)
        for subset, values in (("Worlds", "abcd"), ("Camera_Yaw", (0.0, 90.0)), ("Object_Scale", (0.5, math.nan)))
        for value in values
    ]
    labels = np.array([thing % 4 for thing, _, _ in made])
    factors: dict[str, NDArray[Any]] = {
        "subset": np.array([subset for _, subset, _ in made]),
        "character_name": np.array([f"thing-{thing}" for thing, _, _ in made]),
    }
    for subset, column in VARIES.items():
        if column in ("world_name", "character_texture", "scene_light"):
            factors[column] = np.array([v if own == subset else "Default" for _, own, v in made])
        else:
            factors[column] = np.array([v if own == subset else math.nan for _, own, v in made], dtype=np.float64)
    column_of = np.array([table[name][0] for name in classes])[labels]
    logits = noisy_logits(column_of, 1000, 4.0)
    url = write_logits(folder / "s.zarr", {"vit": logits}, labels, classes, dataset="pug-imagenet", factors=factors)
    right = np.array([p in table[classes[k]] for p, k in zip(logits.argmax(axis=1), labels, strict=True)])
    return {"url": url, "folder": folder, "right": right, "labels": labels, **factors}


def test_pug_from_a_store(renders: dict[str, Any]) -> None:
    result = pug(Selection(renders["url"]), PugOptions(str(renders["folder"]), shared=SHARED)).result
    right, subset = renders["right"], renders["subset"]
    for name in ("Worlds", "Camera_Yaw", "Object_Scale"):
        row = one(result, metric="subset accuracy", factor=name)
        assert row.value == pytest.approx(right[subset == name].mean())
        assert row.n == (subset == name).sum()
    assert one(result, metric="factor accuracy", factor="camera").value == right[subset == "Camera_Yaw"].mean()
    assert one(result, metric="factor accuracy", factor="light").value is None
    at_90 = (subset == "Camera_Yaw") & (renders["camera_yaw"] == 90)
    assert one(result, metric="accuracy at a value", factor="Camera_Yaw=90").value == right[at_90].mean()
    assert one(result, metric="accuracy at a value", factor="Object_Scale=default").n == 8
    shirts = right & (renders["labels"] == 2)
    reference = one(result, metric="subset accuracy, reference labels", factor="Worlds")
    worlds = subset == "Worlds"
    assert reference.value == pytest.approx((right & ~shirts)[worlds].mean()), "every Shirt counts as wrong"
    assert one(result, metric="mean accuracy over subsets").value == pytest.approx(
        np.mean([right[subset == name].mean() for name in ("Worlds", "Camera_Yaw", "Object_Scale")])
    )


def test_pug_compares_backbones_by_factor(renders: dict[str, Any], tmp_path: Path) -> None:
    """The second is as good but never right where the camera moves; over 32 objects."""
    labels, subset = np.tile(renders["labels"], 4), np.tile(renders["subset"], 4)
    things = np.concatenate([np.char.add(renders["character_name"], f"-{i}") for i in range(4)])
    factors = {name: np.tile(renders[name], 4) for name in VARIES.values()}
    table = json.loads((renders["folder"] / "class_to_imagenet_idx.json").read_text())
    classes = sorted(table)
    logits = noisy_logits(np.array([table[name][0] for name in classes])[labels], 1000, 4.0)
    worse = logits.copy()
    worse[subset == "Camera_Yaw", 0] += np.float32(20)
    everything = {**factors, "subset": subset, "character_name": things}
    place: dict[str, Any] = {"dataset": "pug-imagenet", "factors": everything}
    url = write_logits(tmp_path / "s.zarr", {"a": logits, "b": worse}, labels, classes, **place)
    result = pug(Selection(url), PugOptions(str(renders["folder"]), shared=SHARED)).result
    camera = subset == "Camera_Yaw"
    right = np.array([p in table[classes[k]] for p, k in zip(logits.argmax(axis=1), labels, strict=True)])
    row = one(result, backbone_b="b", metric="factor accuracy", factor="camera")
    assert (row.backbone, row.verdict) == ("a", "resolved")
    assert row.value == pytest.approx(right[camera].mean())
    assert row.low is not None
    assert row.low > 0
    assert row.p is not None
    assert row.p < 0.05
    said = result.attrs["verdicts"][-1]
    assert said.startswith("pug-imagenet, factor accuracy difference of a and b: a is above b (resolved): camera (")
    assert said.partition("not resolved: ")[2].split(", ") == ["size", "background"]


def test_pug_needs_its_factors(renders: dict[str, Any], tmp_path: Path) -> None:
    store = write_logits(tmp_path / "s.zarr", {"vit": noisy_logits(LABELS, 1000, 4.0)}, LABELS % 4, BIRDS[:4])
    with pytest.raises(UnknownNameError, match="label of PUG"):
        pug(Selection(store, "birds"), PugOptions(str(renders["folder"]), shared=SHARED))
    logits = {"vit": noisy_logits(LABELS, 1000, 4.0)}
    url = write_logits(tmp_path / "t.zarr", logits, LABELS % 2, ("Bear", "Cat"), dataset="pug-imagenet")
    with pytest.raises(UsageError, match="has no factor 'subset'"):
        pug(Selection(url), PugOptions(str(renders["folder"]), shared=SHARED))
