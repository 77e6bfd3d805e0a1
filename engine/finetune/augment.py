"""Augmentation on the device, drawn from a seed that is a function of the step: the same after any interruption."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
    rows, columns = (_moved(rng, b, size, round(share * size)) for size in (h, w))
    at = torch.arange(b, device=images.device)[:, None, None]
    where = (
        at,
        torch.from_numpy(rows).to(images.device)[:, :, None],
        torch.from_numpy(columns).to(images.device)[:, None, :],
    )
    moved = images.permute(0, 2, 3, 1)[where]  # (B, H, W, C)
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
    partner = torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
    return torch.lerp(inputs[partner], inputs, share), torch.lerp(targets[partner], targets, share)


def _moved(rng: np.random.Generator, batch: int, size: int, most: int) -> NDArray[np.int64]:
    """(batch, size) where each row or column comes from."""
    by = rng.integers(-most, most + 1, size=(batch, 1))
    source: NDArray[np.int64] = np.clip(np.arange(size)[None, :] + by, 0, size - 1)
    return source
