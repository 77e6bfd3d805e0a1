"""From an image to what a backbone expects: the geometry is the CPU's, the normalisation the device's.

Every model brings its own rules (timm's data config); sharing one transform between two models biases their comparison.
Published numbers were made with shared ones all the same, so these can be had by name:

    model        the model's own: resize, crop, filter, mean and std
    beyond_inet  shorter edge to int(T 256 / 224) bilinear, centre crop T, ImageNet's mean and std: the reference of the
                 robustness sets, ImageNet-X and Vishniakov et al. 2024 (supervised models)
    pug          the inner 256 x 256 pixels of the image, resized to T x T bilinear, ImageNet's mean and std: the
                 reference of PUG: ImageNet (Bordes et al. 2023), whose renders have 512 x 512

T is the input size, the model's own or another that was asked for. The two presets, and "pil" of any, take the pixels
of the reference's own reader: EXIF orientation ignored, alpha dropped (see `engine.pictures.decode`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor

from cvbench.engine.models.specs import Preset
from cvbench.engine.pictures.decode import Geometry
from cvbench.errors import UsageError

Channels = tuple[float, float, float]

_IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BEFORE_RESIZE = (256, 256)


@dataclass(frozen=True)
class Preprocess:
    """Processing of an image before the first layer.

    Attributes:
        geometry: Resize and crop, in pixels.
        mean: Per channel, of values in [0, 1].
        std: Per channel, likewise.
    """

    geometry: Geometry
    mean: Channels
    std: Channels

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready record, part of the features' fingerprint."""
        record = cast("dict[str, Any]", _listed(asdict(self)))
        if self.geometry.rules == "viewer":  # older stores name none
            del record["geometry"]["rules"]
        return record

    def normalise(self, images: Tensor) -> Tensor:
        """(x / 255 - mean) / std as one multiply-add.

        Args:
            images: (B, 3, h, w) uint8, on any device.

        Returns:
            (B, 3, h, w) float32, in the memory format of the input; within 1e-6 of the formula in float64.
        """
        factor, offset = _constants(self.mean, self.std, images.device)
        return torch.addcmul(offset, images.to(torch.float32), factor)


def preprocess_from_config(
    config: Mapping[str, Any], decoder: Literal["fast", "pil"] = "fast", preset: Preset = "model"
) -> Preprocess:
    """Read timm's data config (`timm.data.resolve_model_data_config`).

    As `timm.data.transforms_factory.transforms_imagenet_eval`: both edges of the target are divided by `crop_pct` and
    rounded down; `center` resizes the shorter edge to that and crops, `squash` both edges, `border` the longer one.
    With a preset only the input size is read. `resize`, if there is one, is the edge itself: a share would be rounded.

    Raises:
        UsageError: for an interpolation, crop or number of channels that we do not have.
    """
    channels, height, width = config["input_size"]
    if channels != 3:
        raise UsageError(f"the model wants {channels} channels; images have 3")
    if preset != "model":
        box = _BEFORE_RESIZE if preset == "pug" else (int(height * 256 / 224), int(width * 256 / 224))
        geometry = Geometry(
            size=(height, width),
            resize=box[0] if box[0] == box[1] else box,
            crop="inner" if preset == "pug" else "center",
            interpolation="bilinear",
            decoder=decoder,
            rules="loader",
        )
        return Preprocess(geometry, *_IMAGENET)
    mean, std = (cast("Channels", tuple(float(v) for v in config[name])) for name in ("mean", "std"))
    crop = config["crop_mode"]
    given = config.get("resize")
    scaled = (given, given) if given else tuple(math.floor(edge / config["crop_pct"]) for edge in (height, width))
    geometry = Geometry(
        size=(height, width),
        resize=scaled[0] if crop == "center" and scaled[0] == scaled[1] else scaled,
        crop=crop,
        interpolation=config["interpolation"],
        decoder=decoder,
        rules="loader" if decoder == "pil" else "viewer",
        fill=cast("tuple[int, int, int]", tuple(round(255 * v) for v in mean)) if crop == "border" else (0, 0, 0),
    )
    return Preprocess(geometry, mean, std)


@lru_cache(maxsize=64)
def _constants(mean: Channels, std: Channels, device: torch.device) -> tuple[Tensor, Tensor]:
    """(3, 1, 1) float32 factor and offset. Kept, since sending them anew would make every batch wait for the last."""
    factor = [1.0 / (255.0 * s) for s in std]  # in float64, rounded once
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    with torch.inference_mode(False):  # they outlive the pass that first needs them
        one, two = (torch.tensor(v, dtype=torch.float32, device=device).view(3, 1, 1) for v in (factor, offset))
    return one, two


def _listed(value: Any) -> Any:
    """Tuples as lists, as they would come back from JSON."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
