"""A backbone made ready for training: a new classifier, drop path, and groups of parameters with their own rates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.finetune.recipes import TrainingRecipe
from cvbench.engine.models.makers import maker_of
from cvbench.engine.models.specs import BackboneSpec

TRAINED_LAYER_DECAY = 0.75


def trainable(spec: BackboneSpec, classes: int, recipe: TrainingRecipe, seed: int) -> Any:
    """The spec's model on the CPU, in training mode, with a new classifier of `classes` outputs.

    Args:
        spec: Of the backbone; random weights follow the spec's own seed.
        classes: At least 2.
        recipe: For its drop path.
        seed: Of the new classifier.

    Raises:
        DataUnavailableError, IntegrityError, UsageError: as its maker says, see `engine.models.makers`.
    """
    model = maker_of(spec).trainable(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.reset_classifier(classes)
    set_drop_path(model, recipe.drop_path)
    return model.requires_grad_(True).train()


def set_drop_path(model: nn.Module, rate: float) -> int:
    """Give residual branch i of n the rate `rate` i / (n - 1); timm builds them without one. Returns n."""
    from timm.layers.drop import DropPath

    make: Any = DropPath  # untyped
    places = [
        (module, name)
        for module in model.modules()
        for name, child in module.named_children()
        if name.startswith("drop_path") and isinstance(child, nn.Identity | DropPath)
    ]
    for i, (module, name) in enumerate(places):
        share = rate * i / max(1, len(places) - 1)
        setattr(module, name, make(share) if share > 0 else nn.Identity())
    return len(places)


def parameter_groups(model: Any, recipe: TrainingRecipe, *, trained: bool) -> list[dict[str, Any]]:
    """Groups for the optimizer; `scale` is each group's factor of the rate.

    Args:
        model: A timm model.
        recipe: For decay and layer decay.
        trained: Whether the weights are trained already: decides where the recipe leaves the layer decay open.
    """
    decay = recipe.layer_decay
    if decay is None:
        decay = TRAINED_LAYER_DECAY if trained else 1.0
    depth_of, depth = _depths(model)
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        plain = recipe.optimizer == "adamw" and (parameter.ndim <= 1 or name in exempt)
        scale = decay ** (depth - depth_of.get(name, depth))
        groups.setdefault((scale, 0.0 if plain else recipe.weight_decay), []).append(parameter)
    return [{"params": params, "scale": s, "weight_decay": w} for (s, w), params in groups.items()]


def _depths(model: Any) -> tuple[dict[str, int], int]:
    """Parameter -> its depth as timm groups layers, from 0 at the input, and the largest."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        return {}, 0
    group: Any = group_parameters  # untyped
    layers = group(model, model.group_matcher(coarse=False), reverse=True)
    return {str(name): int(depth) for name, depth in layers.items()}, max(map(int, layers.values()))


def make_optimizer(groups: list[dict[str, Any]], recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """The recipe's optimizer."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=recipe.rate)
