"""Activation and gradient at one layer, with a graph no longer than it has to be.

A class activation map needs dy_c/dA at one layer only. So the trunk runs without a graph, the graph begins at that
layer's output (a leaf), and the gradient of the summed target logits is taken with respect to that leaf alone: no
parameter and no earlier layer gets one. In eval mode the images of a batch do not meet, so the sum gives each its own.

Behind the target everything is computed in float32, whatever the precision of the trunk: the gradient of a mean over
many positions is small, and would lose its last digits, or vanish, in float16.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cvbench.engine.analyses.cam.attended import attention_map
from cvbench.engine.analyses.cam.methods import find_method
from cvbench.engine.analyses.cam.target import dead_target, has_grid
from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.fused import part_of, with_part
from cvbench.engine.models.host_copy import sent
from cvbench.engine.models.layouts import TapLayout, in_rows
from cvbench.engine.models.precision import trunk_mode
from cvbench.engine.models.views import spatial
from cvbench.errors import UsageError


@dataclass(frozen=True)
class Evidence:
    """Arrays that a map is made of.

    Attributes:
        activation: (B, H, W, C) float32, prefix tokens left out.
        gradient: Of the target logit with respect to it, same shape and type; None if none was asked for.
        logits: (B, K) float32.
        classes: (B,) int64, whose logit it is.
    """

    activation: Tensor
    gradient: Tensor | None
    logits: Tensor
    classes: Tensor


@dataclass(frozen=True)
class ClassMap:
    """Raw maps of a batch.

    Attributes:
        raw: (B, H, W) float32, signed: before any ReLU.
        choice: (B, 4) float32, columns `CHOICE` of `engine.analyses.cam.choice`.
    """

    raw: Tensor
    choice: Tensor


def class_map(backbone: Backbone, target: str, method: str, images: Tensor, classes: Tensor | None = None) -> ClassMap:
    """The raw class activation maps of a batch.

    Args:
        backbone: With a classifier.
        target: Name of the target layer, see `engine.analyses.cam.target`; of a method that reads attention, the block
            on whose grid the map lies.
        method: One of `METHODS`.
        images: (B, 3, h, w) uint8 on the backbone's device.
        classes: (B,) int64 class indices; None takes each image's own top-1.

    Raises:
        UnknownNameError: for another method or target.
        UsageError: for a model without classifier, a class that it does not have, a target without a grid, or one
            that the logits do not depend on; and as `attention_map`.
    """
    chosen = find_method(method)
    if chosen.formula is None:
        _check(backbone, target, backbone.layouts([target])[target], classes)
        raw, logits, found = attention_map(backbone, chosen.name, images, classes)
    else:
        evidence = trace(backbone, target, images, classes, gradient=chosen.needs_gradient)
        raw, logits, found = chosen.formula(evidence.activation, evidence.gradient), evidence.logits, evidence.classes
    picked = found[:, None]
    columns = [
        picked,
        logits.argmax(dim=1, keepdim=True),
        logits.gather(1, picked),
        logits.softmax(dim=1).gather(1, picked),
    ]
    return ClassMap(raw, torch.cat([column.float() for column in columns], dim=1))


def trace(
    backbone: Backbone, target: str, images: Tensor, classes: Tensor | None = None, *, gradient: bool = True
) -> Evidence:
    """Run the network once, and back from the logits to the target layer; arguments and errors as for `class_map`."""
    layout = backbone.layouts([target])[target]
    _check(backbone, target, layout, classes)
    module, item = backbone.output_of(target)
    leaves: list[Tensor] = []
    hooks = ExitStack()
    with trunk_mode(backbone.device, backbone.compute), ExitStack() as tail:

        def cut(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            leaf = part_of(output, item).detach().float()
            leaves.append(leaf)
            tail.enter_context(torch.autocast(backbone.device.type, enabled=False))
            if gradient:
                leaf.requires_grad_()
                tail.enter_context(torch.enable_grad())
            passed = leaf.clone() if gradient else leaf  # an activation behind it may work in place: no leaf can
            return with_part(output, item, passed)

        def widen(_module: nn.Module, inputs: Any) -> Any:
            """Behind the target autocast is off: what comes past it, still in the trunk's type, becomes float32."""
            if not leaves:
                return None
            return tuple(x.float() if isinstance(x, Tensor) and x.dtype is backbone.compute else x for x in inputs)

        hooks.callback(backbone.network.get_submodule(module).register_forward_hook(cut).remove)
        if backbone.compute is not torch.float32:
            for module in backbone.network.modules():
                hooks.callback(module.register_forward_pre_hook(widen).remove)
        try:
            logits = backbone.network(backbone.inputs(images))
        except RuntimeError as error:
            if backbone.compute is torch.float32 or "dtype" not in str(error):
                raise
            raise UsageError(
                f"the network cannot be cut at {target} under --precision {backbone.precision}",
                why=" ".join(str(error).split())[:200],
                fix="--precision fp32, or another --target",
            ) from error
        finally:
            hooks.close()
        picked = logits.argmax(dim=1) if classes is None else _there(classes, logits.device)
        found = _gradient(logits, picked, leaves[0]) if gradient else None
    activation = spatial(in_rows(leaves[0].detach(), layout), layout)
    logits = logits.detach().float()
    if not gradient:
        return Evidence(activation, None, logits, picked)
    patches = None if found is None else spatial(in_rows(found, layout), layout)
    if patches is None or not _leads(backbone, target, patches):
        raise dead_target(target)
    return Evidence(activation, patches, logits, picked)


_LEADING: WeakKeyDictionary[Backbone, set[str]] = WeakKeyDictionary()
"""Targets from which a gradient was seen: which there are, the network decides and not the images."""


def _leads(backbone: Backbone, target: str, patches: Tensor) -> bool:
    """Whether the gradient at a target is not zero everywhere; a device is asked, and waited for, once a target."""
    known = _LEADING.setdefault(backbone, set())
    if not (patches.is_cuda and target in known):
        if not bool(patches.any()):
            return False
        known.add(target)
    return True


def _there(classes: Tensor, device: torch.device) -> Tensor:
    return classes if classes.is_cuda else sent(classes.numpy(), device)


def _gradient(logits: Tensor, classes: Tensor, leaf: Tensor) -> Tensor | None:
    if not logits.requires_grad:
        return None
    score = logits.gather(1, classes[:, None]).sum()
    return torch.autograd.grad(score, leaf, allow_unused=True)[0]


def _check(backbone: Backbone, target: str, layout: TapLayout, classes: Tensor | None) -> None:
    count = backbone.head_sizes().get("logits")
    if count is None:
        raise UsageError(
            f"{backbone.spec.key} has no classifier, so no class has evidence",
            fix="a model or weights with a head; an alias takes its ImageNet-1k weights here",
        )
    if not has_grid(layout):
        raise UsageError(f"the target {target} has no grid of the image, so there is no map of it")
    if classes is not None and not bool(((classes >= 0) & (classes < count)).all()):
        raise UsageError(f"{backbone.spec.key} has the classes 0 to {count - 1}", why=f"asked: {classes.tolist()[:8]}")
