"""Networks of the names that pages show, with narrow channels and few pixels, and files of random weights for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file
from timm.models import _registry

from cvbench.engine.models import backbones, timm_sources, weights
from cvbench.engine.models.backbones import BackboneSpec

EDGE = 112
"""Pixels a side of an image: half of the real ones, at which the late layers still have grids."""
CONVNEXT = {"depths": (1, 1, 1, 3), "dims": (8, 16, 24, 32)}  # pages name stages.3.blocks.2
VIT = {"embed_dim": 32, "num_heads": 2, "img_size": EDGE}  # pages name blocks.11
RESNET = {"layers": (1, 1, 1, 1), "channels": (4, 8, 8, 8), "stem_width": 4}

NARROW: dict[str, dict[str, Any]] = {"convnext_base": CONVNEXT, "vit_base_patch16_224": VIT, "resnet50": RESNET}
"""timm's architecture -> what it is made with here."""


@contextmanager
def small_networks(folder: Path) -> Iterator[None]:
    """Make timm's large networks small ones of the same names, whose pretrained weights lie in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        _forget()
        for name, options in NARROW.items():
            patch.setitem(_registry._model_entrypoints, name, _narrow(timm.model_entrypoint(name), options))
        for name, known in list(_registry._model_pretrained_cfgs.items()):
            if name.partition(".")[0] in NARROW:
                patch.setitem(_registry._model_pretrained_cfgs, name, replace(known, input_size=(3, EDGE, EDGE)))
        patch.setattr(timm_sources, "weights_file", cache(lambda model: _weights_file(model, folder)))
        yield
    _forget()


def _forget() -> None:
    """Forget what is known of networks of these names."""
    for known in (backbones._make_outline, weights.takes_image_size, weights._classes_in_file, timm_sources.remap):
        known.cache_clear()


def _narrow(make: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    def made(**given: Any) -> Any:
        return make(**{**options, **given})

    return made


def _weights_file(model: str, folder: Path) -> Path:
    file = folder / f"{model}.safetensors"
    save_file(weights.build_model(BackboneSpec(model, "random")).state_dict(), file)
    return file
