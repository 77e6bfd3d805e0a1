"""Backbones by timm's names."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cvbench.engine.models.networks import Network, patch_grid
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.timm_tokens import ends_in_classes, leading_tokens, stage_strides, token_orders
from cvbench.engine.models.weights import build_meta, build_model, data_config


class TimmModels:
    """The `Maker` of timm's models."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """On the meta device; needs no weights but a file's header."""
        return timm_network(build_meta(spec, size), spec.image_size)

    def build(self, spec: BackboneSpec) -> Network:
        """See `engine.models.weights.build_model`, also for what it raises."""
        return timm_network(build_model(spec), spec.image_size)

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """Nothing: timm's version is in the commits."""
        return {}


def timm_network(model: Any, image_size: int | None) -> Network:
    """A timm model as a network, for its own images or of another edge in pixels."""

    def head(features: Any) -> Tensor:
        found: Tensor = model.forward_head(features, pre_logits=True)
        return found

    prefix, class_token = leading_tokens(model)
    ends = ends_in_classes(model)
    named = ("head", "logits") if model.num_classes > 0 else ("head",)
    return Network(
        module=model,
        features=model.forward_features if ends else model,
        head=head,
        logits=model.forward_head if ends else lambda features: features,
        outputs=named if ends else (),
        grid=patch_grid(model),
        prefix=prefix,
        class_token=class_token,
        stages=tuple(dict.fromkeys(entry["module"] for entry in getattr(model, "feature_info", None) or [])),
        preprocessing=data_config(model, image_size),
        strides=stage_strides(model),
        orders=token_orders(model),
    )
