"""Backbones by timm's names."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from torch import Tensor

from cvbench.engine.models.forms import form_of
from cvbench.engine.models.networks import Network, patch_grid
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.timm_sources import config
from cvbench.engine.models.timm_tokens import ends_in_classes, leading_tokens, stage_strides, token_orders
from cvbench.engine.models.weights import build_meta, build_model, build_noted, data_config


class TimmModels:
    """The `Maker` of timm's models."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """On the meta device; needs no weights but a file's header."""
        return timm_network(build_meta(spec, size), spec.image_size)

    def build(self, spec: BackboneSpec) -> Network:
        """See `engine.models.weights.build_noted`, also for what it raises."""
        model, notes = build_noted(spec)
        return timm_network(model, spec.image_size, notes)

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """Nothing for a name of timm's: its version is in the commits. {"config": sha256} of a repository or folder."""
        if form_of(spec.model) is None:
            return {}
        found = json.dumps(config(spec.model), sort_keys=True, default=str)
        return {"config": hashlib.sha256(found.encode()).hexdigest()}

    def trainable(self, spec: BackboneSpec) -> Any:
        """The model itself."""
        return build_model(spec)


def timm_network(model: Any, image_size: int | None, notes: tuple[str, ...] = ()) -> Network:
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
        notes=notes,
        strides=stage_strides(model),
        orders=token_orders(model),
    )
