from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_model_data_config
from torchvision import transforms

from cvbench.engine.models.preprocess import Preprocess, preprocess_from_config
from cvbench.engine.pictures.boxes import to_input
from cvbench.engine.pictures.geometry import fit
from cvbench.engine.pictures.transforms import render, shifted_crop
from cvbench.errors import UsageError
from tests.engine.pictures.test_geometry import photo

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


def by_torchvision(image: NDArray[np.uint8], *steps: Any) -> NDArray[np.uint8]:
    """(3, h, w) by torchvision's transforms of PIL images, whose filter is bilinear unless another is named."""
    return np.moveaxis(np.asarray(transforms.Compose(steps)(Image.fromarray(image))), 2, 0)


@pytest.mark.parametrize(("size", "edge"), [(112, 128), (224, 256), (336, 384), (512, 585), (640, 731)])
def test_the_beyond_inet_preset_is_the_references_transform(size: int, edge: int) -> None:
    """Resize(int(r 256 / 224)), CenterCrop(r), ImageNet's constants: whatever the model's own rules are."""
    own = config(input_size=(3, size, size), crop_pct=0.9, crop_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    found = preprocess_from_config(own, "pil", "beyond_inet")
    assert (found.mean, found.std) == IMAGENET
    for shape in ((375, 500), (500, 375), (300, 300)):
        image = photo(*shape)
        wanted = by_torchvision(image, transforms.Resize(edge), transforms.CenterCrop(size))
        assert np.array_equal(fit(image, found.geometry), wanted)


@pytest.mark.parametrize(("factor", "edge"), [(1, 256), (1.25, 320), (1.5, 384), (2, 512), (3, 768)])
def test_the_beyond_inet_preset_has_the_studys_scales(factor: float, edge: int) -> None:
    geometry = preprocess_from_config(config(crop_pct=0.9), "pil", "beyond_inet").geometry
    image = photo(375, 500)
    wanted = by_torchvision(image, transforms.Resize(edge), transforms.CenterCrop(224))
    assert np.array_equal(render(image, geometry, ("scale", {"factor": factor})), wanted)
    assert shifted_crop(375, 500, geometry, 100) == (23, 185, 328)


@pytest.mark.parametrize("shape", [(512, 512), (512, 640), (257, 300), (200, 300), (90, 61)])
@pytest.mark.parametrize("size", [224, 64, 384])
def test_the_pug_preset_crops_first(shape: tuple[int, int], size: int) -> None:
    found = preprocess_from_config(config(input_size=(3, size, size)), "pil", "pug")
    assert (found.mean, found.std) == IMAGENET
    image = photo(*shape)
    wanted = by_torchvision(image, transforms.CenterCrop(256), transforms.Resize((size, size)))
    fitted = fit(image, found.geometry)
    assert np.array_equal(fitted, wanted)
    fast = fit(image, replace(found.geometry, decoder="fast"))
    assert np.abs(fast.astype(int) - fitted).max() <= 2  # each pass rounds, as in test_geometry
    assert fast.flags.c_contiguous


def test_a_box_goes_through_the_pug_preset_as_the_pixels_do() -> None:
    geometry = preprocess_from_config(config(), "pil", "pug").geometry
    image = np.zeros((512, 512, 3), np.uint8)
    image[200:300, 180:330] = 255
    ((x0, y0, x1, y1),) = to_input(np.array([[180.0, 200.0, 150.0, 100.0]]), np.array([[512, 512]]), geometry)
    bright = fit(image, geometry)[0] > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    # The filter blurs an edge over a pixel on either side.
    assert np.abs(np.array([y0 - rows[0], y1 - rows[-1] - 1, x0 - columns[0], x1 - columns[-1] - 1])).max() <= 1


def test_the_pug_preset_takes_no_transform() -> None:
    geometry = preprocess_from_config(config(), "pil", "pug").geometry
    for transform in (("scale", {"factor": 2}), ("shift", {"pixels": 5}), ("shift-frame", {"x": 1, "y": 1})):
        with pytest.raises(UsageError, match="crop comes before the resize"):
            render(photo(64, 64), geometry, transform)
