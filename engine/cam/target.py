"""The target layer of a class activation map: the activation that is weighted and summed.

ConvNeXt and other pyramids   output of the last block, `stages[-1].blocks[-1]`
ViT and its kin               output of the last block's first norm, `blocks[-1].norm1`
                              (jacobgil/pytorch-grad-cam, tutorials/vision_transformers.md)
anything else                 the last layer with a grid

A ViT that pools by its class token reads nothing else behind the last attention: the gradient of every patch is zero
there, and such a layer is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from cvbench.engine.layouts import TapLayout
from cvbench.errors import UnknownNameError, UsageError

_NORM1 = re.compile(r"blocks\.(\d+)\.norm1")


def has_grid(layout: TapLayout) -> bool:
    """Whether a layer's activation lies on a grid of the image with more than one cell."""
    sequence = layout.kind == "tokens" and layout.width == 1 and layout.height > 1  # tokens of unknown order
    return layout.kind != "vector" and layout.height * layout.width > 1 and not sequence


def default_target(layouts: Mapping[str, TapLayout], blocks: Sequence[str]) -> str:
    """The target layer of a backbone, by its family.

    Args:
        layouts: Of all taps, in the order of computation.
        blocks: The taps that are blocks, in that order; may be empty.

    Raises:
        UsageError: if no layer has a grid.
    """
    norms = {int(match[1]): tap for tap in layouts if (match := _NORM1.fullmatch(tap)) and has_grid(layouts[tap])}
    if norms:
        return norms[max(norms)]
    for taps in (blocks, list(layouts)):
        if found := [tap for tap in taps if has_grid(layouts[tap])]:
            return found[-1]
    raise UsageError("no layer of this model has a grid, so there is no class activation map")


def named_target(pattern: str, layouts: Mapping[str, TapLayout]) -> str:
    """The one tap that a name or glob means.

    Raises:
        UnknownNameError: if it means none; names its neighbours.
        UsageError: if it means several, or a layer without a grid.
    """
    found = fnmatch.filter(layouts, pattern)
    if not found:
        gridded = [tap for tap in layouts if has_grid(layouts[tap])]
        raise UnknownNameError.among("target", pattern, gridded, fix="cvbench extract --taps list names all layers")
    if len(found) > 1:
        raise UsageError(f"the target {pattern!r} means {len(found)} layers", why=", ".join(found[:5]), fix="name one")
    if not has_grid(layouts[found[0]]):
        raise UsageError(f"the target {found[0]} has no grid of the image, so there is no map of it")
    return found[0]


def dead_target(target: str) -> UsageError:
    """The error for a layer whose patches do not reach the logits."""
    return UsageError(
        f"the logits do not depend on the patches of {target}: the gradient is zero at every position",
        why="behind the last attention of a model that pools by its class token, only that token is read",
        fix="the default target, or one before the last attention, such as --target 'blocks.*.norm1' of the last block",
    )


def uses_batch_statistics(network: nn.Module) -> list[str]:
    """Names of batch norms that normalise by their batch even now: then an image's map depends on its batch mates.

    In eval mode with stored statistics, which is the rule, there are none.
    """
    kind: Any = nn.modules.batchnorm._BatchNorm
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, kind) and (module.training or module.running_mean is None)
    ]
