"""Which side of a comparison a network is on, read from its library's name for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from cvbench.engine.models.forms import form_of

Side = Literal["convolutional", "transformer"]
CONVOLUTIONAL: Side = "convolutional"
TRANSFORMER: Side = "transformer"

_FAMILIES: dict[Side, frozenset[str]] = {
    CONVOLUTIONAL: frozenset(
        {
            "convnext",
            "resnet",
            "resnext",
            "seresnet",
            "seresnext",
            "skresnet",
            "ecaresnet",
            "resnest",
            "regnetx",
            "regnety",
            "regnetz",
            "efficientnet",
            "mobilenet",
            "mnasnet",
            "densenet",
            "vgg",
            "inception",
            "xception",
            "dla",
            "dpn",
            "darknet",
            "repvgg",
            "rexnet",
            "replknet",
            "inceptionnext",
        }
    ),
    TRANSFORMER: frozenset({"vit", "deit", "eva", "beit", "flexivit", "cait"}),
}
"""Families of timm: plain convolutional networks, and transformers that keep one grid of tokens. What mixes both, or
pools its tokens in stages, is on neither side: the papers do not speak of it."""
_FAMILY = re.compile(r"(?:(?:test|tf|wide|legacy)_)*([a-z0-9]*?[a-z])(?:v\d+)?(?=\d|_|$)")
_HYBRID = re.compile(r"_r(?:esnet)?\d+")


def side_of(model: str) -> Side | None:
    """The side of a network by its name; None if the name does not tell.

    >>> side_of("convnextv2_tiny.fcmae"), side_of("test_vit@64"), side_of("hf-hub:timm/eva02_base_patch14_224.mim")
    ('convolutional', 'transformer', 'transformer')
    >>> side_of("convit_base"), side_of("vit_base_r50_s16_224"), side_of("my own network")
    (None, None, None)
    >>> side_of("torchvision:resnet50"), side_of("hf:google/vit-base-patch16-224"), side_of("open_clip:ViT-B-32/openai")
    ('convolutional', 'transformer', 'transformer')
    """
    form = form_of(model)
    rest = model if form is None else model.partition(":")[2]
    rest = rest.partition("/")[0] if form is not None and form.prefix == "open_clip" else rest.rpartition("/")[2]
    name = re.split(r"[.@]", rest)[0].replace("-", "_").lower()
    found = _FAMILY.match(name)
    if found is None or (_HYBRID.search(name) and found[1] in _FAMILIES[TRANSFORMER]):
        return None
    return next((side for side, families in _FAMILIES.items() if found[1] in families), None)


def sides_of(models: Mapping[str, str]) -> dict[str, Side | None]:
    """The side of each backbone of a store.

    Args:
        models: Backbone, as rows name it -> the name of its network, as the store has recorded it.

    >>> sides_of({"mine": "convnext_tiny.in12k", "vit-base-16": "vit-base-16", "other": "module:net.py"})
    {'mine': 'convolutional', 'vit-base-16': 'transformer', 'other': None}
    """
    return {name: side_of(model) or side_of(name) for name, model in models.items()}
