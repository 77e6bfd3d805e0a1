"""The target layer of a class activation map: the activation that is weighted and summed.

ConvNeXt and other pyramids   output of the last block, `stages[-1].blocks[-1]`
ViT and its kin               output of the last block's first norm, `blocks[-1].norm1`
                              (jacobgil/pytorch-grad-cam, tutorials/vision_transformers.md)
class token, other names      likewise, `<last block>.norm1` (in TNT `.norm_out`)
no blocks known               the last layer with a grid, if it is among the last tenth of all layers

Where the last block, or the last layers, lie on no grid that is known (tokens of unknown order), there is no default: a
layer far from the end, such as a patch embedding, shows what the first filters see, not what the class rests on.

A ViT that pools by its class token reads nothing else behind the last attention: the gradient of every patch is zero
there, and such a layer is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cvbench.engine.models.layouts import TapLayout
from cvbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from torch import nn

_END = 0.1
"""Share of a network's layers, at its end, in which the target lies of a network whose blocks are not known."""
_NORM1 = re.compile(
    r"(?:[a-z_]+\.)*(?:blocks|layers?|resblocks|layers\.encoder_layer_)\.?(\d+)"
    r"\.(?:norm1|layernorm_before|layer_norm1|ln_1)"
)
"""What the last attention of a transformer reads, as timm, transformers, torchvision and open_clip name it."""
_FIRST_NORMS = ("norm1", "norm_out")
"""Names of the norm before the attention over patches, within a block."""


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
        UsageError: No layer has a grid, or none near the end has one.
    """
    order = list(layouts)
    norms = {int(match[1]): tap for tap in order if (match := _NORM1.fullmatch(tap))}
    gridded = [tap for tap in order if has_grid(layouts[tap])]
    if not gridded:
        raise UsageError("no layer of this model has a grid, so there is no class activation map")
    if norms and has_grid(layouts[norms[max(norms)]]):
        target = norms[max(norms)]
    elif blocks and has_grid(layouts[blocks[-1]]):
        target = _before_attention(layouts, blocks[-1]) if layouts[blocks[-1]].class_token else blocks[-1]
    elif blocks:
        raise _no_default(f"the last block, {blocks[-1]}, lies on no grid that is known", gridded[-1])
    else:
        target = gridded[-1]
    share = order.index(target) / len(order)
    if share < (0.5 if blocks or norms else 1 - _END):
        raise _no_default(f"{target} comes after only {share:.0%} of its layers", gridded[-1])
    return target


def _before_attention(layouts: Mapping[str, TapLayout], block: str) -> str:
    """The first norm of a block with a class token: behind its attention nothing need read the patches."""
    norms = [f"{block}.{name}" for name in _FIRST_NORMS]
    found = next((norm for norm in norms if norm in layouts and has_grid(layouts[norm])), None)
    if found is None:
        why = f"behind the last attention only the class token is read, and no norm before it is known in {block}"
        raise _no_default(why, f"{block}, whose patches may reach no class")
    return found


def _no_default(why: str, last: str) -> UsageError:
    return UsageError(
        "this model has no layer that is known to be right for class activation maps",
        why=why,
        fix=f"--target NAME; the last layer with a grid is {last}; `extract --taps list` names all",
    )


def named_target(pattern: str, layouts: Mapping[str, TapLayout]) -> str:
    """The one tap that a name or glob means.

    Raises:
        UnknownNameError: if it means none; names its neighbours.
        UsageError: if it means several, or a layer without a grid.
    """
    found = fnmatch.filter(layouts, pattern)
    if not found:
        gridded = [tap for tap in layouts if has_grid(layouts[tap])]
        raise UnknownNameError.among("target", pattern, gridded, fix="`extract --taps list` names all layers")
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
    from torch.nn import modules

    kind: Any = modules.batchnorm._BatchNorm
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, kind) and (module.training or module.running_mean is None)
    ]
