"""The one registry of who makes a backbone, by the form of its name (`engine.models.forms`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cvbench.engine.models.forms import form_of
from cvbench.engine.models.huggingface_models import HuggingFaceModels
from cvbench.engine.models.networks import Maker
from cvbench.engine.models.open_clip_models import OpenClipModels
from cvbench.engine.models.own_models import OwnModels
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.timm_models import TimmModels
from cvbench.engine.models.torchvision_models import TorchvisionModels

MAKERS: Mapping[str, Callable[[], Maker]] = {
    "hf": HuggingFaceModels,
    "torchvision": TorchvisionModels,
    "open_clip": OpenClipModels,
}
"""Prefix -> maker; timm makes what has none, and what is of its hub or a folder of its own."""


def maker_of(spec: BackboneSpec) -> Maker:
    """The maker of a backbone."""
    form = form_of(spec.model)
    if form is not None and form.prefix in MAKERS:
        return MAKERS[form.prefix]()
    return OwnModels() if spec.is_own else TimmModels()
