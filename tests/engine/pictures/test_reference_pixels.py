"""The strict reference gives what timm's own pipeline gives, for images with an EXIF turn and with alpha too."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from cvbench.engine.models.preprocess import preprocess_from_config
from cvbench.engine.pictures.decode import decode
from cvbench.engine.pictures.transforms import render

CONFIG = {
    "input_size": (3, 32, 32),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def image_of(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(buffer, "JPEG", exif=exif)
    else:
        Image.fromarray(rng.integers(0, 256, (40, 64, 4), dtype=np.uint8), "RGBA").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["turned", "alpha"])
def test_the_strict_reference_gives_timms_pixels(kind: str) -> None:
    payload = image_of(kind)
    transform = transforms_imagenet_eval(
        img_size=32, crop_pct=0.875, crop_mode="center", interpolation="bicubic", use_prefetcher=True
    )
    expected = np.asarray(transform(Image.open(io.BytesIO(payload)).convert("RGB")))
    strict = preprocess_from_config(CONFIG, "pil").geometry
    assert np.array_equal(render(decode(payload, strict.rules), strict, None), expected)
    default = preprocess_from_config(CONFIG).geometry
    assert not np.array_equal(render(decode(payload, default.rules), default, None), expected)


def test_the_presets_read_as_their_references_do_and_the_default_record_is_as_it_was() -> None:
    for preset in ("beyond_inet", "pug"):
        assert preprocess_from_config(CONFIG, preset=preset).geometry.rules == "loader"
    assert "rules" not in preprocess_from_config(CONFIG).as_dict()["geometry"]
    assert preprocess_from_config(CONFIG, "pil").as_dict()["geometry"]["rules"] == "loader"
