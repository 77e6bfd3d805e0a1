"""Stages of a network along an axis of layers: a bracket and a name for each, instead of a label at every layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from cvbench.jobs.figures.base import layer_ticks, name_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 8
"""Stages that an axis has names for."""
_BLOCK = re.compile(r"(?:\.blocks?|\.layers?|\.resblocks)?\.\d+$")
_NEAR, _FAR, _PAD = -0.008, -0.025, 7  # ends of a bracket as parts of the axis, and the name's distance in points


class Stage(NamedTuple):
    """Layers `first` to `last` of an axis."""

    name: str
    first: int
    last: int


def stages_of(taps: Sequence[str]) -> list[Stage]:
    """Consecutive layers whose taps differ in the block's number alone, where they make 2 to `MOST` stages.

    >>> stages_of(["stages.0.blocks.0", "stages.1.blocks.0", "stages.1.blocks.1"])
    [Stage(name='stages.0', first=0, last=0), Stage(name='stages.1', first=1, last=2)]
    >>> stages_of(["layer1.0", "layer1.1", "layer2.0"])
    [Stage(name='layer1', first=0, last=1), Stage(name='layer2', first=2, last=2)]
    >>> stages_of(["blocks.0", "blocks.1"]), stages_of(["stem", "norm"])
    ([], [])
    """
    names = [_BLOCK.sub("", tap) for tap in taps]
    found = []
    for name, members in groupby(range(len(taps)), key=names.__getitem__):
        layers = list(members)
        found.append(Stage(name, layers[0], layers[-1]))
    return found if 2 <= len(found) <= MOST and len(found) < len(taps) else []


def layer_axis(axis: Axes, which: str, taps: Sequence[str], backbone: str) -> None:
    """Name the layers of an axis by their stages; of a network without stages as `layer_ticks` does.

    Args:
        axis: With the layers at 0, 1, ... along `which`.
        which: "x" or "y".
        taps: In order.
        backbone: For the axis' name.
    """
    stages = stages_of(taps)
    if not stages:
        layer_ticks(axis, which, taps, backbone)
        return
    at = [(stage.first + stage.last) / 2 for stage in stages]
    texts = [
        f"{stage.name}  {stage.first}" + (f"–{stage.last}" if stage.last > stage.first else "") for stage in stages
    ]
    name_layers(axis, which, at, texts, backbone)
    axis.tick_params("x" if which == "x" else "y", length=0, pad=_PAD)
    for stage in stages:
        along = [stage.first - 0.4, stage.first - 0.4, stage.last + 0.4, stage.last + 0.4]
        across = [_NEAR, _FAR, _FAR, _NEAR]
        x, y = (along, across) if which == "x" else (across, along)
        transform = axis.get_xaxis_transform() if which == "x" else axis.get_yaxis_transform()
        axis.plot(x, y, transform=transform, color="0.3", linewidth=0.8, clip_on=False, scalex=False, scaley=False)
