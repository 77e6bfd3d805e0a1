"""The blocks of a network among the names of its modules, as usual names tell them."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The first pattern that matches names the blocks: the deepest nesting first, so that a stage is not taken for a block.
_BLOCKS = (
    r"layer1\.\d+|stage\d+\.\d+\.branches\.\d+\.\d+|incre_modules\.\d+\.\d+|final_layer",  # HRNet
    r"(stages|layers)\.\d+\.blocks\.\d+",  # ConvNeXt, Swin, MaxViT
    r"(blocks|stages|layers)\.\d+\.\d+",  # EfficientNet, NFNet
    r"layer\d+\.\d+",  # ResNet
    r"s\d+\.b\d+",  # RegNet
    r"(blocks|block|layers|stages)\.\d+",  # ViT and its kin
    r"blocks\.\d+\.(blocks\.\d+\.\d+|out\d+)",  # CrossViT: those of each branch, and the branches after their exchange
    r"(serial_blocks\d+|parallel_blocks)\.\d+(\.out\d+)?",  # CoaT
    r"transformers\.\d+\.blocks\.\d+",  # PiT
    r"levels\.\d+\.transformer_encoder\.\d+",  # NesT
    r"stage\d+\.\d+",  # Visformer
    r"stages\.\d+\.blocks\.\d+\.out0",  # EfficientViM: what goes on, and not the hidden states beside it
    r"features\.\d+\.out0|head\.\d+",  # SelecSLS
    r"encoder\.blocks\.\d+",  # classifiers around an encoder
)
PAPER = r"blocks\.\d+\.attn|stages\.\d+\.blocks\.\d+\.conv_dw"
# What a block adds to its input: attention or convolution, MLP, and these after a layer scale, before the residual sum.
BRANCHES = r"(.*\.)?blocks\.\d+\.(attn|conv_dw|mlp|ls1|ls2)"
_LISTED = re.compile(r"(?:.*\.)?(?:layers?|blocks?|stages?|resblocks)\.\d+")


def listed_blocks(names: Sequence[str]) -> tuple[str, ...]:
    """The entries of the outermost list of layers, or those within each of them where these are stages.

    >>> listed_blocks(["encoder.layer.0", "encoder.layer.0.mlp", "encoder.layer.1"])
    ('encoder.layer.0', 'encoder.layer.1')
    >>> listed_blocks(["stages.0", "stages.0.layers.0", "stages.0.layers.0.layer.0", "stages.0.layers.1"])
    ('stages.0.layers.0', 'stages.0.layers.1')
    """
    listed = [name for name in names if _LISTED.fullmatch(name)]
    if not listed:
        return ()
    least = min(name.count(".") for name in listed)
    outer = [name for name in listed if name.count(".") == least]
    inner = [
        [one for one in names if re.fullmatch(rf"{re.escape(name)}\.(?:(?:layers?|blocks?)\.)?\d+", one)]
        for name in outer
    ]
    return tuple(one for part in inner for one in part) if all(inner) else tuple(outer)


def usual_blocks(order: Sequence[str]) -> list[str]:
    """The blocks of a network whose lists of layers lie in itself; none if no usual name tells them.

    Args:
        order: Names, in the order of computation.

    >>> usual_blocks(["patch_embed", "blocks.0", "blocks.1", "norm"])
    ['blocks.0', 'blocks.1']
    """
    for pattern in _BLOCKS:
        found = [name for name in order if re.fullmatch(pattern, name)]
        # A pattern that fits the first stages only, such as a stem of another make, does not name the blocks.
        if found and 2 * order.index(found[-1]) >= len(order):
            return found
    return []


def own_blocks(order: Sequence[str]) -> tuple[str, ...]:
    """The blocks of a network of one's own, in itself or in what it holds; none if no usual name tells them."""
    return tuple(usual_blocks(order) or inner_blocks(order))


def inner_blocks(order: Sequence[str]) -> list[str]:
    """Blocks of a network that holds one of a usual make, all of whose names begin alike; none if it does not.

    >>> inner_blocks(["backbone.patch_embed", "backbone.blocks.0", "backbone.blocks.1", "backbone.norm", "fc"])
    ['backbone.blocks.0', 'backbone.blocks.1']
    """
    for pattern in _BLOCKS:
        fits = re.compile(rf"(?P<holder>(?:\w+\.)+?)(?:{pattern})")
        found = {name: match["holder"] for name in order if (match := fits.fullmatch(name))}
        if len({*found.values()}) == 1 and 2 * order.index([*found][-1]) >= len(order):
            return [*found]
    listed = listed_blocks(order)
    rest = [name for name in order if not any(one.startswith(f"{name}.") for one in listed)]
    return [*listed] if listed and 2 * (rest.index(listed[-1]) + 1) >= len(rest) else []
