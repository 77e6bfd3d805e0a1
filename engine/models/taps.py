"""Taps: the named modules of a backbone whose outputs can be kept, in the order in which they are computed.

One forward pass finds them: of a timm model on torch's meta device (shapes only: no memory, no arithmetic). A tap is a
module that runs once, returns one new tensor with the batch in front, and whose layout is known
(`engine.models.layouts`).

Identity and inactive dropout hand on their input untouched and are no taps; neither are per-window or per-head tensors.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.layouts import (
    Shape,
    TapLayout,
    kinds_that_grow,
    may_be_attention,
    spatial_kinds,
    token_layout,
)
from cvbench.engine.models.networks import Network
from cvbench.errors import UnknownNameError, UsageError

_TRACE_ERRORS = (AssertionError, RuntimeError, ValueError, TypeError, AttributeError, IndexError)
_BATCH = 2  # more than one, so that a constant (1, ...) is told from an activation

SETS = ("blocks", "paper", "branches")
# The first pattern that matches names the blocks: the deepest nesting first, so that a stage is not taken for a block.
_BLOCKS = (
    r"layer1\.\d+|stage\d+\.\d+\.branches\.\d+\.\d+|incre_modules\.\d+\.\d+|final_layer",  # HRNet
    r"(stages|layers)\.\d+\.blocks\.\d+",  # ConvNeXt, Swin, MaxViT
    r"(blocks|stages|layers)\.\d+\.\d+",  # EfficientNet, NFNet
    r"layer\d+\.\d+",  # ResNet
    r"s\d+\.b\d+",  # RegNet
    r"(blocks|block|layers|stages)\.\d+",  # ViT and its kin
)
_PAPER = r"blocks\.\d+\.attn|stages\.\d+\.blocks\.\d+\.conv_dw"
# What a block adds to its input: attention or convolution, MLP, and these after a layer scale, before the residual sum.
_BRANCHES = r"(.*\.)?blocks\.\d+\.(attn|conv_dw|mlp|ls1|ls2)"


@dataclass(frozen=True)
class TapTable:
    """Taps of one model.

    Attributes:
        layouts: Tap name -> layout, in the order of computation (a container comes right after its last part).
        in_head: The taps that are computed by the network's `logits`, after the features.
        stages: Its own among the taps; the fallback for `blocks`, if there are at least two.
        head_sizes: {"head": channels before the classifier, "logits": classes}; no "logits" without a classifier.
        unknown: What is no tap since its shape (B, ...) does not tell where its grid is.
    """

    layouts: dict[str, TapLayout]
    in_head: frozenset[str]
    stages: tuple[str, ...]
    head_sizes: dict[str, int]
    unknown: Mapping[str, Shape] = field(default_factory=dict)

    def resolve(self, patterns: Sequence[str]) -> list[str]:
        """Tap names for sets (`blocks`, `paper`, `branches`), globs (`*` also matches dots) and exact names.

        Returns:
            Each tap once, in the order of computation.

        Raises:
            UnknownNameError: if a pattern matches nothing; names its neighbours.
            UsageError: if it names a module of which no layout is known.
        """
        wanted: set[str] = set()
        for pattern in patterns:
            wanted.update(self._matches(pattern))
        return [name for name in self.layouts if name in wanted]

    def _matches(self, pattern: str) -> list[str]:
        if pattern == "blocks":
            found = self._blocks()
        elif pattern == "paper":
            found = [name for name in self.layouts if re.fullmatch(_PAPER, name)]
        elif pattern == "branches":
            found = [name for name in self.layouts if re.fullmatch(_BRANCHES, name)]
        else:
            found = fnmatch.filter(self.layouts, pattern)
        if pattern in self.unknown:
            raise UsageError(
                f"{pattern} can be no tap: where its grid is cannot be told",
                why=f"it gives {self.unknown[pattern]} for {_BATCH} images",
                fix="another tap (--taps list); a model of one's own names its grid: OwnModel(grid=..., prefix=...)",
            )
        if not found and pattern in SETS:
            raise UnknownNameError(f"this model has no taps for the set {pattern!r}", fix="name them; see --taps list")
        if not found:
            raise UnknownNameError.among("tap", pattern, [*SETS, *self.layouts], fix="--taps list")
        return found

    def _blocks(self) -> list[str]:
        order = list(self.layouts)
        for pattern in _BLOCKS:
            found = [name for name in order if re.fullmatch(pattern, name)]
            # A pattern that fits the first stages only, such as a stem of another make, does not name the blocks.
            if found and 2 * order.index(found[-1]) >= len(order):
                return found
        return list(self.stages) if len(self.stages) > 1 else []


@dataclass
class _Trace:
    """Raw shapes of one meta forward, without the modules that ran twice or returned something else."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    in_head: set[str] = field(default_factory=set)
    head_sizes: dict[str, int] = field(default_factory=dict)


def trace_taps(build: Callable[[tuple[int, int]], Network], size: tuple[int, int]) -> TapTable:
    """Find the taps of a network.

    Args:
        build: Makes it for images of (height, width); called a second time, for twice the size, only where shapes
            leave the layout open.
        size: (height, width) in pixels.

    Raises:
        UsageError: if the network cannot take images of that size.
    """
    network = build(size)
    try:
        trace = _trace(network, size)
    except _TRACE_ERRORS as error:
        raise UsageError(
            f"this model cannot take images of {size[0]} x {size[1]}",
            why=" ".join(str(error).split())[:300],
            fix="another --image-size, a multiple of the model's patch or stride",
        ) from error
    grid, prefix, class_token = network.grid, network.prefix, network.class_token
    modules = dict(network.module.named_modules())
    layouts: dict[str, TapLayout | None] = {}  # None: tokens that match no grid
    larger: dict[str, Shape] | None = None
    tokens = {shape[1] for shape in trace.shapes.values() if len(shape) == 3}
    for name, shape in trace.shapes.items():
        kinds = spatial_kinds(shape, size) if len(shape) == 4 else []
        doubtful = any(may_be_attention(shape, kind, tokens) for kind in kinds)
        if len(kinds) == 2 or doubtful:
            larger = larger if larger is not None else _larger_shapes(build, size)
            if larger or not doubtful or isinstance(modules[name], nn.Softmax):
                kinds = kinds_that_grow(shape, larger.get(name, shape))
        if len(shape) == 3:
            layouts[name] = token_layout(shape, grid, size, prefix, class_token)
        elif len(shape) == 2:
            layouts[name] = TapLayout(1, 1, shape[1], kind="vector")
        elif len(kinds) == 1:
            height, width, channels = (*shape[2:], shape[1]) if kinds[0] == "nchw" else shape[1:]
            layouts[name] = TapLayout(height, width, channels, kind=kinds[0])
    taps = {name: layout for name, layout in layouts.items() if layout is not None}
    named = tuple(name for name in taps if name in network.stages)
    unknown = {name: shape for name, shape in trace.shapes.items() if name not in taps}
    return TapTable(taps, frozenset(trace.in_head & taps.keys()), named, trace.head_sizes, unknown)


def _larger_shapes(build: Callable[[tuple[int, int]], Network], size: tuple[int, int]) -> dict[str, Shape]:
    doubled = (2 * size[0], 2 * size[1])
    try:
        return _trace(build(doubled), doubled).shapes
    except _TRACE_ERRORS:  # a model for one size only: what its shapes leave open stays open, and is no tap
        return {}


def _trace(network: Network, size: tuple[int, int]) -> _Trace:
    trace, repeated = _Trace(), set()
    names = {module: name for name, module in network.module.named_modules() if name}
    versions: dict[nn.Module, list[int]] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        versions[module] = [item._version if isinstance(item, Tensor) else 0 for item in inputs]

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        name = names[module]
        if name in trace.shapes:
            repeated.add(name)
        # An in-place activation returns its input as well, but has changed it.
        handed_on = any(output is i and i._version == v for i, v in zip(inputs, versions[module], strict=True))
        if isinstance(output, Tensor) and output.ndim > 1 and output.shape[0] == _BATCH and not handed_on:
            trace.shapes[name] = tuple(output.shape)
            if in_head:
                trace.in_head.add(name)

    hooks = [module.register_forward_pre_hook(before) for module in names]
    hooks += [module.register_forward_hook(after) for module in names]
    in_head = False
    with torch.no_grad():  # not inference mode, where tensors have no version
        features = network.features(torch.zeros((_BATCH, 3, *size), device=network.device))
        in_head = True
        logits = network.logits(features)
        for hook in hooks:
            hook.remove()
        if "head" in network.outputs:
            trace.head_sizes["head"] = network.head(features).shape[1]
    if "logits" in network.outputs:
        trace.head_sizes["logits"] = logits.shape[1]
    for name in repeated:
        del trace.shapes[name]
    return trace
