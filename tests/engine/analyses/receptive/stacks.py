"""Plain convolution stacks, whose receptive fields are known."""

from __future__ import annotations

import torch
from torch import nn

from cvbench.engine.models.own_models import OwnModel

SIZE = (64, 96)
KERNELS = ((5, 2), (3, 1), (3, 2), (3, 1))
"""Kernel and stride of each layer."""


def weights(kernel: int, fan: int, channels: int) -> torch.Tensor:
    """Positive and uneven, so that nothing cancels."""
    generator = torch.Generator().manual_seed(kernel * 100 + fan)
    return torch.rand((channels, fan, kernel, kernel), generator=generator) + 0.1


def plain(*, rectified: bool = False) -> OwnModel:
    layers: list[nn.Module] = []
    fan = 3
    for kernel, stride in KERNELS:
        layer = nn.Conv2d(fan, 4, kernel, stride, kernel // 2, bias=False)
        layer.weight.data = weights(kernel, fan, 4) / (fan * kernel**2)
        layers.append(layer)
        if rectified:
            layers.append(nn.ReLU(inplace=True))
        fan = 4
    return OwnModel(nn.Sequential(*layers), size=SIZE)


def rectified() -> OwnModel:
    """The same with an activation that works in place behind each layer."""
    return plain(rectified=True)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.GroupNorm(1, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.stem(x))
        return found


class OverChannels(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def normed() -> OwnModel:
    """A patch embedding, and a norm over channels behind it."""
    torch.manual_seed(0)
    module = Normed()
    module.norm = OverChannels(8)  # type: ignore[assignment]
    return OwnModel(module, size=(32, 32))
