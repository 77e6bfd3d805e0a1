"""Taps: the named modules of a backbone whose outputs can be kept, in the order in which they are computed.

One forward pass finds them: of a timm model on torch's meta device (shapes only: no memory, no arithmetic). A tap is a
module that runs once, returns one new tensor with the batch in front, and whose layout is known
(`engine.models.layouts`). Of a module that returns several in a tuple or list, each is a tap, `NAME.out0`, `NAME.out1`,
...; where only one has the batch in front, it has the module's name.

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
    digits_layout,
    grids_of,
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
    r"blocks\.\d+\.(blocks\.\d+\.\d+|out\d+)",  # CrossViT: those of each branch, and the branches after their exchange
    r"(serial_blocks\d+|parallel_blocks)\.\d+(\.out\d+)?",  # CoaT
    r"transformers\.\d+\.blocks\.\d+",  # PiT
    r"levels\.\d+\.transformer_encoder\.\d+",  # NesT
    r"stage\d+\.\d+",  # Visformer
    r"stages\.\d+\.blocks\.\d+\.out0",  # EfficientViM: what goes on, and not the hidden states beside it
    r"features\.\d+\.out0|head\.\d+",  # SelecSLS
    r"encoder\.blocks\.\d+",  # classifiers around an encoder
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
        blocks: What `blocks` means, where the network says it.
        items: Taps whose module returns several tensors -> (name of the module, which of them).
    """

    layouts: dict[str, TapLayout]
    in_head: frozenset[str]
    stages: tuple[str, ...]
    head_sizes: dict[str, int]
    unknown: Mapping[str, Shape] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    items: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def module_of(self, tap: str) -> str:
        """The module that a tap is an output of."""
        return self.items[tap][0] if tap in self.items else tap

    def output_of(self, tap: str, output: Any) -> Tensor:
        """A tap's raw activation in what its module returns."""
        raw: Tensor = output[self.items[tap][1]] if tap in self.items else output
        return raw

    def resolve(self, patterns: Sequence[str]) -> list[str]:
        """Tap names for sets (`blocks`, `paper`, `branches`), globs (`*` also matches dots) and exact names.

        Where neither a usual name nor the model itself tells the blocks, they are the outermost modules of which there
        are two at least (`guessed`).

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

    @property
    def guessed(self) -> bool:
        """Whether no name tells the blocks, so that `blocks` means the network's parts, see `resolve`."""
        return not self._named_blocks()

    def _blocks(self) -> list[str]:
        return self._named_blocks() or self._parts()

    def _named_blocks(self) -> list[str]:
        if self.blocks:
            return list(self.blocks)
        order = list(self.layouts)
        for pattern in _BLOCKS:
            found = [name for name in order if re.fullmatch(pattern, name)]
            # A pattern that fits the first stages only, such as a stem of another make, does not name the blocks.
            if found and 2 * order.index(found[-1]) >= len(order):
                return found
        return list(self.stages) if len(self.stages) > 1 else []

    def _parts(self) -> list[str]:
        """The taps of the outermost modules that are two at least, without those of the head, and without vectors."""
        features = [name for name in self.layouts if name not in self.in_head and self.layouts[name].kind != "vector"]
        for depth in range(max((name.count(".") for name in features), default=-1) + 1):
            found = [name for name in features if name.count(".") == depth]
            if len(found) > 1:
                return found
        return features


@dataclass
class _Trace:
    """Raw shapes of one meta forward, without the modules that ran twice or returned something else."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    in_head: set[str] = field(default_factory=set)
    head_sizes: dict[str, int] = field(default_factory=dict)
    items: dict[str, tuple[str, int]] = field(default_factory=dict)


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
    layouts = _layouts(network, trace, size, build)
    taps = {name: layout for name, layout in layouts.items() if layout is not None}
    named = tuple(name for name in taps if name in network.stages)
    unknown = {name: shape for name, shape in trace.shapes.items() if name not in taps}
    items = {name: item for name, item in trace.items.items() if name in taps}
    blocks = tuple(name for name in taps if name in network.blocks)
    return TapTable(taps, frozenset(trace.in_head & taps.keys()), named, trace.head_sizes, unknown, blocks, items)


def _layouts(
    network: Network, trace: _Trace, size: tuple[int, int], build: Callable[[tuple[int, int]], Network]
) -> dict[str, TapLayout | None]:
    """The layouts in the order of the trace; None, or none at all, of what is not known."""
    ordered, spatial = _ordered(network, trace), _spatial(network, trace, size, build)
    maps: list[tuple[int, int]] = []
    if network.strides:
        found = {(at.height, at.width): None for at in spatial.values() if at.height * at.width > 1}
        maps = list(dict.fromkeys([*grids_of(size, network.strides), *found]))
    layouts: dict[str, TapLayout | None] = {}
    for name, shape in trace.shapes.items():
        if name in ordered:
            layouts[name] = ordered[name]
        elif len(shape) == 3:
            layouts[name] = token_layout(shape, network.grid, size, network.prefix, network.class_token, maps)
        elif len(shape) == 2:
            layouts[name] = TapLayout(1, 1, shape[1], kind="vector")
        elif name in spatial:
            layouts[name] = spatial[name]
    return layouts


def _ordered(network: Network, trace: _Trace) -> dict[str, TapLayout]:
    """Layouts of the tokens that the network says to lie in an order of their own."""
    names, found = list(trace.shapes), {}
    for order in network.orders:
        begin = names.index(order.after) if order.after in names else 0
        for name in names[begin:]:
            layout = digits_layout(shape, order.digits) if (shape := trace.shapes[name])[1:-1] == order.axes else None
            if layout is not None:
                found[name] = layout
    return found


def _spatial(
    network: Network, trace: _Trace, size: tuple[int, int], build: Callable[[tuple[int, int]], Network]
) -> dict[str, TapLayout]:
    """Layouts of the activations of four axes that are maps."""
    modules = dict(network.module.named_modules())
    found: dict[str, TapLayout] = {}
    larger: dict[str, Shape] | None = None
    tokens = {shape[1] for shape in trace.shapes.values() if len(shape) == 3}
    for name, shape in trace.shapes.items():
        kinds = spatial_kinds(shape, size) if len(shape) == 4 else []
        doubtful = any(may_be_attention(shape, kind, tokens) for kind in kinds)
        if len(kinds) == 2 or doubtful:
            larger = larger if larger is not None else _larger_shapes(build, size)
            if larger or not doubtful or isinstance(modules.get(name), nn.Softmax):
                kinds = kinds_that_grow(shape, larger.get(name, shape))
        if len(kinds) == 1:
            height, width, channels = (*shape[2:], shape[1]) if kinds[0] == "nchw" else shape[1:]
            found[name] = TapLayout(height, width, channels, kind=kinds[0])
    return found


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
        for name, item, values in _activations(names[module], output, network.opens):
            if name in trace.shapes:
                repeated.add(name)
            # An in-place activation returns its input as well, but has changed it.
            handed_on = any(values is i and i._version == v for i, v in zip(inputs, versions[module], strict=True))
            if not handed_on:
                trace.shapes[name] = tuple(values.shape)
                trace.items |= {} if item is None else {name: (names[module], item)}
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


def _activations(name: str, output: Any, opens: bool) -> list[tuple[str, int | None, Tensor]]:
    """(name, place in the output, tensor) of all that a module returns with the batch in front.

    Args:
        name: Of the module.
        output: What it returns.
        opens: Whether a tuple stands for its first.
    """
    if opens and isinstance(output, tuple):
        output = output[:1]

    def is_one(values: Any) -> bool:
        return isinstance(values, Tensor) and values.ndim > 1 and values.shape[0] == _BATCH

    if not isinstance(output, list | tuple):
        return [(name, None, output)] if is_one(output) else []
    places = [place for place, values in enumerate(output) if is_one(values)]
    return [(name if len(places) == 1 else f"{name}.out{place}", place, output[place]) for place in places]
