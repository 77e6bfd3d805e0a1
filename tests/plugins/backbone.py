"""A network of one's own, as `--backbone own_nets:tiny` names it: tokens behind two registers, images of 32 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cvbench.engine.models.own_models import OwnModel


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.norm(x))
        return x + torch.tanh(mixed) + x.mean(dim=1, keepdim=True)


class Tiny(nn.Module):
    def __init__(self, width: int = 24, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.registers = nn.Parameter(torch.randn(1, 2, width))
        self.encoder = nn.Sequential(Block(width), Block(width))
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        grid = self.patches(images).flatten(2).transpose(1, 2)
        tokens = self.encoder(torch.cat([self.registers.expand(len(grid), -1, -1), grid], dim=1))
        logits: Tensor = self.classifier(tokens[:, 2:].mean(dim=1))
        return logits


def tiny() -> OwnModel:
    return OwnModel(Tiny(), size=(32, 32), grid=(4, 4), prefix=2, stages=("encoder.0", "encoder.1"))
