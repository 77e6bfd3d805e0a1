"""Small transformers of other makes: torch's own layers, and queries that share keys; on a grid that is not square."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from cvbench.engine.models.own_models import OwnModel

GRID, SIZE, WIDTH, HEADS = (2, 5), (28, 70), 24, 4


class Masked(nn.Module):
    """Torch's multi-head attention, of which the first patch sees no other."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def mask(self, tokens: int) -> Tensor:
        """(tokens, tokens), True where a key is not seen."""
        unseen = torch.zeros((tokens, tokens), dtype=torch.bool)
        unseen[1, 2:] = True
        return unseen

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x, x, x, attn_mask=self.mask(x.shape[1]), need_weights=False)[0]
        return found


class Grouped(nn.Module):
    """Four heads of queries that share two of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH // 2)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4, tokens, 6) and (B, 2, tokens, 6)."""
        queries, keys = (
            one(x).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2) for one in (self.queries, self.keys)
        )
        return queries, keys

    def forward(self, x: Tensor) -> Tensor:
        queries, keys = self.heads(x)
        return scaled_dot_product_attention(queries, keys, keys, enable_gqa=True).transpose(1, 2).flatten(2)


class Net(nn.Module):
    """A class token, four registers and 2 x 5 patches of 14 pixels."""

    num_prefix_tokens = 5

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 14, 14)
        self.cls_token = nn.Parameter(torch.randn(1, 5, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True)
        self.blocks = nn.ModuleList([layer, Masked(), Grouped()])
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.head(x[:, 0])
        return found


def net() -> OwnModel:
    """Weights large enough that heads choose."""
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "in_proj_weight" in name or "queries.weight" in name:
                weight.mul_(3)
    return OwnModel(made, size=SIZE, grid=GRID)
