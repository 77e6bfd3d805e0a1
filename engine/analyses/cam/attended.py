"""Maps of transformers that are made of the attention of all their layers, and of no single activation.

With A_l (B, heads, T, T) the attention of block l over the prefix and patch tokens, L blocks:

rollout   R = P_L ... P_1 with P_l = (mean over heads of A_l + I) / 2: what of each input token has come to each output
          token, if every layer passes on half of it (Abnar & Zuidema 2020, eq. 1). The map is the mean of the rows of
          those tokens that the head reads: the class token's, or those of all patches. It knows no class.
legrad    mean over l, heads and queries of relu(ds_l / dA_l), s_l the logit of the class that the network's head gives
          of the tokens behind block l (Bousselham et al. 2024, eq. 6 to 9). Only block l lies between A_l and s_l.

Both keep the columns of the patches. All is float32: a gradient behind a mean over many tokens loses its digits below.
Memory: the weights of one block, (B, heads, T, T) float32, for rollout; of all blocks, and their graph, for legrad.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cvbench.engine.analyses.attention.capture import not_global
from cvbench.engine.analyses.attention.watch import AttentionWatch, Products, Weights
from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.fused import Item, part_of, with_part
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.precision import trunk_mode
from cvbench.errors import UsageError


class _Walk(Protocol):
    """Part of a method on the way through the blocks."""

    def attend(self, weights: Tensor) -> Tensor:
        """Take the weights of a block, (B, heads, T, T); returns those to go on with."""

    def leave(self, tokens: Tensor, last: bool) -> Tensor:
        """Take the tokens (B, T, C) that a block gives; returns those to go on with, more of them behind the last."""

    def finish(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(B, T) float32, from the logits that came of the last `leave` and (B,) the class of each image."""


def attention_map(
    backbone: Backbone, method: str, images: Tensor, classes: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the maps of a batch.

    Args:
        backbone: A transformer with a classifier, all of whose blocks attend over all their tokens.
        method: "rollout" or "legrad".
        images: (B, 3, h, w) uint8 on the backbone's device.
        classes: (B,) int64 class indices; None takes each image's own top-1.

    Returns:
        (B, H, W) float32 on the grid of the patches; (B, K) float32 logits; (B,) int64 classes.

    Raises:
        UsageError: Another network, or another precision than fp32; says why.
    """
    if backbone.compute is not torch.float32:
        raise UsageError(f"{method} is computed in float32", where=backbone.spec.key, fix="--precision fp32")
    blocks = backbone.resolve_taps(["blocks"])
    layouts = backbone.layouts(blocks)
    layout = layouts[blocks[-1]]
    for block in blocks:
        if layouts[block] != layout or layout.kind != "tokens" or layout.digits:
            raise _no_map(backbone, method, block, "its blocks do not all give the same patch tokens, row by row")
    walk: _Walk = _Rollout() if method == "rollout" else _LeGrad()
    logits = _walk(backbone, method, images, blocks, layout, walk)
    own = logits[-len(images) :].detach().float()
    picked = own.argmax(dim=1) if classes is None else classes.to(own.device)
    tokens = walk.finish(logits, picked)
    return tokens[:, layout.prefix :].reshape(-1, layout.height, layout.width), own, picked


def _no_map(backbone: Backbone, method: str, block: str, why: str) -> UsageError:
    return UsageError(
        f"{method} is for transformers whose blocks attend over all patches, and {backbone.spec.key} is none",
        where=block,
        why=why,
        fix="another --method, such as gradcam, or only such a --backbone",
    )


def _walk(backbone: Backbone, method: str, images: Tensor, blocks: list[str], layout: TapLayout, walk: _Walk) -> Tensor:
    """The logits behind a pass in which `walk` takes part; each block has been seen to attend once."""
    inside: list[str] = []
    attended: list[str] = []

    def see(attention: Products | Weights) -> Tensor | None:
        if not inside:
            return None  # before the blocks, or a head that pools by attention
        why = not_global(layout, attention.shape, len(images))
        if why or inside[0] in attended:
            raise _no_map(backbone, method, inside[0], why or "it computes several attentions")
        attended.append(inside[0])
        return attention.mixed(walk.attend(attention.weights()))

    def enter(block: str) -> Any:
        return lambda _module, _inputs: inside.append(block)

    def leave(block: str, item: Item) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            inside.clear()
            tokens = walk.leave(part_of(output, item), block == blocks[-1])
            return with_part(output, item, tokens)

        return hook

    with ExitStack() as hooks, trunk_mode(backbone.device, backbone.compute):
        for block in blocks:
            name, item = backbone.output_of(block)
            module = backbone.network.get_submodule(name)
            hooks.callback(module.register_forward_pre_hook(enter(block)).remove)
            hooks.callback(module.register_forward_hook(leave(block, item)).remove)
        inputs = backbone.inputs(images)
        with AttentionWatch(see):
            logits: Tensor = backbone.network(inputs)
    missing = [block for block in blocks if block not in attended]
    if missing:
        raise _no_map(backbone, method, missing[0], "it computes no attention that can be read")
    return logits


class _Rollout:
    """The product of the attentions so far, and the tokens behind the last block."""

    def __init__(self) -> None:
        self._total: Tensor | None = None  # (B, T, T)
        self._tokens: Tensor | None = None

    def attend(self, weights: Tensor) -> Tensor:
        step = (weights.mean(dim=1) + torch.eye(weights.shape[-1], device=weights.device)) / 2
        self._total = step if self._total is None else step @ self._total
        return weights

    def leave(self, tokens: Tensor, last: bool) -> Tensor:
        if not last:
            return tokens
        torch.set_grad_enabled(True)  # until the mode of the pass ends: what the head reads shows in its gradient
        self._tokens = tokens.detach().requires_grad_()
        return self._tokens.clone()

    def finish(self, logits: Tensor, classes: Tensor) -> Tensor:
        assert self._total is not None
        assert self._tokens is not None
        gradient = torch.autograd.grad(logits.square().sum(), self._tokens)[0]
        read = (gradient != 0).any(dim=-1).float()  # (B, T)
        if not bool(read.any(dim=1).all()):
            raise UsageError("the logits do not depend on what the last block gives, so there is no map")
        return ((read / read.sum(dim=1, keepdim=True))[:, None] @ self._total)[:, 0]


class _LeGrad:
    """Attentions, each a leaf, and the tokens behind each block, which depend on its own alone."""

    def __init__(self) -> None:
        self._leaves: list[Tensor] = []
        self._tokens: list[Tensor] = []

    def attend(self, weights: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # to the block's end
        self._leaves.append(weights.detach().requires_grad_())
        return self._leaves[-1].clone()

    def leave(self, tokens: Tensor, last: bool) -> Tensor:
        self._tokens.append(tokens)
        torch.set_grad_enabled(last)  # from the last block on the head runs on the tokens of all blocks at once
        return torch.cat(self._tokens) if last else tokens.detach().clone()

    def finish(self, logits: Tensor, classes: Tensor) -> Tensor:
        score = logits.gather(1, classes.repeat(len(self._leaves))[:, None]).sum()
        gradients = torch.autograd.grad(score, self._leaves)
        return torch.stack([one.relu().mean(dim=(1, 2)) for one in gradients]).mean(dim=0)
