"""Augmentation on the device, drawn from a seed that is a function of the step: the same after any interruption."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cvbench.engine.models.host_copy import sent


def draw(*key: int) -> np.random.Generator:
    """A generator for a key such as (seed, what for, step, rank)."""
    return np.random.default_rng(np.random.SeedSequence(key))


def shift(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Each image moved by up to `share` of its edges both ways, in whole pixels; the border is repeated.

    Args:
        images: (B, C, H, W) of any type.
        share: 0 leaves them as they are.
        rng: Of the moves, which are drawn on the host.
    """
    b, _, h, w = images.shape
    if share <= 0:
        return images
    moves = [rng.integers(-round(share * size), round(share * size) + 1, size=(b, 1)) for size in (h, w)]
    down, right = sent(np.stack(moves), images.device).unbind()
    at = torch.arange(b, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        at, _sources(down, h)[:, :, None], _sources(right, w)[:, None, :]
    ]  # (B, H, W, C)
    return moved.permute(0, 3, 1, 2)


def mix(inputs: Tensor, targets: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018): each image and its target blended with those of another of the batch.

    Args:
        inputs: (B, C, H, W) float.
        targets: (B, K) float, probabilities.
        alpha: Of Beta(alpha, alpha), one draw for the batch; 0 leaves all as it is.
        rng: Of the draw and of the partners.
    """
    if alpha <= 0:
        return inputs, targets
    share = float(rng.beta(alpha, alpha))
    partner = sent(rng.permutation(len(inputs)), inputs.device)
    return torch.lerp(inputs[partner], inputs, share), torch.lerp(targets[partner], targets, share)


def _sources(moves: Tensor, size: int) -> Tensor:
    """(B, 1) whole pixels -> (B, size) where each row or column comes from."""
    return (torch.arange(size, device=moves.device) + moves).clamp(0, size - 1)
