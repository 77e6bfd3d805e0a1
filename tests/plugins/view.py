"""Two views as a package of one's own adds them: how much a channel varies over the grid, and the norm of each place.

[project.entry-points."cvbench.views"]
spread = "own_views:SPREAD"
norms = "own_views:NORMS"
"""

from __future__ import annotations

import torch
from torch import Tensor

from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.views import View, spatial


def _spread(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return spatial(activation, layout).float().std(dim=(1, 2), correction=0).to(dtype)


def _norms(activation: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return spatial(activation, layout).float().square().sum(dim=3).sqrt().to(dtype)


SPREAD = View(
    "spread",
    "standard deviation over positions",
    ("channel",),
    lambda layout: (layout.channels,),
    _spread,
    needs=lambda layout: layout.height * layout.width > 1,
    lacking="a grid",
)
NORMS = View(
    "norms",
    "norm of each position",
    ("row", "column"),
    lambda layout: (layout.height, layout.width),
    _norms,
    dtype="float32",
    in_part=True,
)
