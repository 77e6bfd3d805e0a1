"""Does a map depend on what the network has learnt? Its rank correlation with the map of a shuffled network.

The parameter randomisation test of Adebayo et al. 2018 (section 3.1): from the classifier down to the first layer, the
entries of each parameter are shuffled among themselves, part by part, so that it keeps its distribution; what was
shuffled stays so (cascading). At each of `steps` equal steps, the map of the same class of the same image is compared
with that of the network itself, by Spearman's rank correlation over its positions, ties at their mean rank. A map that
stays alike when everything is shuffled shows the image and the architecture, not what was learnt.

The parts are the blocks, each with what is computed since the one before it (the first with the stem and the position
embedding), and what comes behind the last. Buffers, such as the moments of a batch norm, stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import torch
from torch import Tensor

from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.models.backbones import Backbone, load_backbone

COLUMNS = ("raw", "evidence")
"""Whose ranks are compared: the signed map's, and its positive part's."""


def parameter_parts(backbone: Backbone) -> list[list[str]]:
    """Names of the parameters, part by part, in the order of computation."""
    order = {backbone.source_of(tap)[0]: place for place, tap in enumerate(backbone.tap_names())}
    ends = [order[backbone.source_of(block)[0]] for block in backbone.resolve_taps(["blocks"])]
    parts: list[list[str]] = [[] for _ in (*ends, "behind")]
    for name, _ in backbone.network.named_parameters():
        place = next((order[module] for module in _around(name) if module in order), -1)
        parts[sum(end < place for end in ends)].append(name)
    return [part for part in parts if part]


def _around(parameter: str) -> list[str]:
    """The modules that a parameter lies in, the innermost first.

    >>> _around("blocks.0.attn.qkv.weight")
    ['blocks.0.attn.qkv', 'blocks.0.attn', 'blocks.0', 'blocks']
    """
    words = parameter.split(".")[:-1]
    return [".".join(words[:count]) for count in range(len(words), 0, -1)]


def shuffled_backbones(backbone: Backbone, steps: int, seed: int) -> list[Backbone]:
    """The networks of steps 1 to `steps`: at step k the last k / steps of the parts are shuffled, rounded up.

    Memory: `steps` times the network.
    """
    parts = parameter_parts(backbone)
    made = []
    for step in range(1, steps + 1):
        other = load_backbone(backbone.spec, device=str(backbone.device), precision=backbone.precision)
        count = -(-step * len(parts) // steps)
        shuffle(other, [name for part in parts[len(parts) - count :] for name in part], seed)
        made.append(other)
    return made


@torch.no_grad()
def shuffle(backbone: Backbone, names: Sequence[str], seed: int) -> None:
    """Shuffle the entries of each named parameter; of the same name and seed always in the same way."""
    wanted = set(names)
    for name, parameter in backbone.network.named_parameters():
        if name in wanted:
            draw = torch.Generator().manual_seed(seed ^ crc32(name.encode()))
            order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view(parameter.shape))


def randomised_correlations(
    backbone: Backbone, others: Sequence[Backbone], target: str, method: str, images: Tensor
) -> Tensor:
    """Compare the maps of a batch with those of shuffled networks.

    Args:
        backbone: With a classifier.
        others: As `shuffled_backbones` makes them.
        target, method: As `class_map` takes them.
        images: (B, 3, h, w) uint8 on their device.

    Returns:
        (B, 2, steps) float32, `COLUMNS`; NaN where a map is the same at every position. The class is the network's own
        top-1, for the others too.
    """
    own = class_map(backbone, target, method, images)
    classes = own.choice[:, 0].long()
    columns = []
    for other in others:
        raw = class_map(other, target, method, images, classes).raw
        columns.append(torch.stack([rank_correlation(own.raw, raw), rank_correlation(own.raw.relu(), raw.relu())], 1))
    return torch.stack(columns, dim=2).float()


def rank_correlation(one: Tensor, two: Tensor) -> Tensor:
    """Spearman's rank correlation of each image's two maps (B, H, W), ties at their mean rank -> (B,) float64.

    >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[9.0, 4.0, 4.0]]])).tolist()
    [-0.8660254037844387]
    """
    ranks = [_ranks(maps.flatten(1)) for maps in (one, two)]
    first, second = (rank - rank.mean(dim=1, keepdim=True) for rank in ranks)
    norms = first.square().sum(dim=1) * second.square().sum(dim=1)
    products = (first * second).sum(dim=1) / norms.sqrt()
    return torch.where((norms > 0) & torch.isfinite(products), products, torch.nan)


def _ranks(values: Tensor) -> Tensor:
    """(B, n) -> (B, n) float64, the mean place of each value among its image's; NaN where one is not finite."""
    whole = torch.isfinite(values).all(dim=1, keepdim=True)
    values = torch.where(whole, values, 0.0).contiguous()
    ordered = values.sort(dim=1).values
    low, high = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return torch.where(whole, (low + high - 1).double() / 2, torch.nan)
