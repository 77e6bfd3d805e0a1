"""The target of class activation maps in a pass, tried before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.errors import UsageError
from cvbench.jobs.analyses.cam.maps import targets_of

if TYPE_CHECKING:
    from cvbench.engine.models.backbones import Backbone


def target_of(backbone: Backbone, method: str, patterns: Sequence[str]) -> str:
    """The layer whose maps are made, by family or as named; tried on an image of noise.

    Raises:
        UnknownNameError: No such target.
        UsageError: The model has no classifier, or no map at this layer.
    """
    import torch

    from cvbench.engine.analyses.cam.graph import class_map
    from cvbench.engine.analyses.cam.methods import find_method
    from cvbench.engine.models.backbones import describe

    key, size = backbone.spec.key, backbone.preprocess.geometry.size
    if "logits" not in backbone.head_sizes():
        raise UsageError(f"{key} has no classifier, so no class has evidence", fix="a model or weights with a head")
    target = targets_of(find_method(method), patterns, {key: describe(backbone.spec, taps=["*"])})[key]
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    class_map(backbone, target, method, noise)
    return target
