from __future__ import annotations

import json
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_model_data_config

from cvbench.engine.preprocess import Preprocess, preprocess_from_config
from cvbench.errors import UsageError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def config(**changes: Any) -> dict[str, Any]:
    base = {"input_size": (3, 224, 224), "interpolation": "bicubic", "mean": IMAGENET[0], "std": IMAGENET[1]}
    return {**base, "crop_pct": 0.875, "crop_mode": "center", **changes}


@pytest.mark.parametrize(
    ("model", "resize", "mean"),
    [("convnext_base.fb_in22k", 256, IMAGENET[0]), ("vit_base_patch16_224.augreg_in21k", 248, (0.5, 0.5, 0.5))],
)
def test_each_model_brings_its_own_rules(model: str, resize: int, mean: tuple[float, ...]) -> None:
    with torch.device("meta"):
        network = timm.create_model(model)
    resolve: Any = resolve_model_data_config
    found = preprocess_from_config(resolve(network))
    assert found.geometry.size == (224, 224)
    assert found.geometry.resize == resize
    assert found.mean == mean


@pytest.mark.parametrize(
    ("changes", "resize", "fill"),
    [
        ({"crop_pct": 1.0}, 224, (0, 0, 0)),
        ({"crop_mode": "squash"}, (256, 256), (0, 0, 0)),
        ({"crop_mode": "border"}, (256, 256), (124, 116, 104)),  # timm pads with round(255 * mean)
        ({"input_size": (3, 96, 160), "crop_pct": 0.9}, (106, 177), (0, 0, 0)),
    ],
)
def test_geometry_follows_timm(changes: dict[str, Any], resize: int | tuple[int, int], fill: tuple[int, ...]) -> None:
    geometry = preprocess_from_config(config(**changes), "pil").geometry
    assert geometry.resize == resize
    assert geometry.fill == fill
    assert geometry.decoder == "pil"


@pytest.mark.parametrize(
    "changes", [{"interpolation": "lanczos"}, {"crop_mode": "random"}, {"input_size": (1, 28, 28)}]
)
def test_what_we_cannot_do_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        preprocess_from_config(config(**changes))


def test_every_grey_level_is_normalised_as_the_formula_says() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    found = preprocess_from_config(config()).normalise(levels)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in IMAGENET)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), (levels.double() / 255 - mean) / std, rtol=0, atol=1e-6)


def test_memory_format_is_kept() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    found = preprocess_from_config(config()).normalise(images)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_record_survives_json() -> None:
    preprocess: Preprocess = preprocess_from_config(config(crop_mode="border"))
    record = preprocess.as_dict()
    assert json.loads(json.dumps(record)) == record
    assert record["geometry"]["size"] == [224, 224]
