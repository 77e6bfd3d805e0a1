"""What a residual sum does to the maps that it gets: their high frequencies and their variance, behind it less before.

Park and Kim 2022 follow both along the residual stream from sub-block to sub-block (Figs. 8 and 9): each sum is
compared with its own skip connection, on one grid and in one network, so that neither a stride nor the scale of a
network's activations is in the number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cvbench.engine.analyses.spectra.kernel import CUTS, half_plane
from cvbench.engine.models.layouts import TapLayout

CUT = CUTS[-1]
"""Radial frequency, in units of pi, above which energy is high."""


def change_numbers(skip: Tensor, branch: Tensor, layout: TapLayout) -> Tensor:
    """Compare skip + branch with skip, over the positions of each image; prefix tokens are left out.

    Memory: three float32 copies of the patches of one of them.

    Args:
        skip, branch: (B, ...) in the axes of `layout.kind`.
        layout: Theirs.

    Returns:
        (B, 2) float32: share of energy above `CUT` without DC, of the sum less of the skip; ln of the sum's spatial
        variance of a channel, mean over channels, over the skip's. NaN where maps are constant or not finite.
    """
    before = _channels_first(skip, layout)
    after = before + _channels_first(branch, layout)
    columns = [one - other for one, other in zip(_measured(after), _measured(before), strict=True)]
    found = torch.stack(columns, dim=1)
    return torch.where(found.isfinite(), found, torch.nan)


def _channels_first(values: Tensor, layout: TapLayout) -> Tensor:
    """(B, C, H, W) float32 of the patches."""
    if layout.kind == "nchw":
        return values.float()
    grid = (layout.height, layout.width, layout.channels)
    if layout.kind == "tokens":
        values = values.reshape(len(values), -1, layout.channels)[:, layout.prefix :]
    return values.reshape(len(values), *grid).permute(0, 3, 1, 2).float()


def _measured(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) share of energy above the cut, (B,) ln of the energy but DC's, which is the variance but for a factor."""
    plane = half_plane(maps.shape[2], maps.shape[3])
    weights = torch.tensor(plane.energy, dtype=torch.float32, device=maps.device)
    centred = maps - maps.mean(dim=(2, 3), keepdim=True)
    energy = torch.fft.rfft2(centred).abs().square().sum(dim=1).flatten(1)  # (B, K)
    rest, above = energy @ weights[:, 1], energy @ weights[:, 2 + CUTS.index(CUT)]
    return above / rest, rest.log()
