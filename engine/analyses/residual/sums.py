"""The residual sums of a network while it runs, |branch| / |skip| of every token in each, and what each changes.

Where a block adds two activations of one shape, and one of them is the block's own input or its last such sum, that one
is the skip connection; the other is the branch as it is added, behind a layer scale or a gate. So nothing of a block
has to be known but where it begins. Where the skip is something else, such as a projection or a norm of the last sum,
the block passes nothing on as it is: such a sum is not measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cvbench.engine.analyses.residual.changes import change_numbers
from cvbench.engine.models.backbones import Backbone
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.precision import forward_mode
from cvbench.engine.models.projections import Projection
from cvbench.errors import UsageError

PATCHES, CLASS_TOKEN, REGISTERS = "patches", "class_token", "registers"
HIGH_FREQUENCY, VARIANCE = "high_frequency", "variance"
LEAST = {HIGH_FREQUENCY: 4, VARIANCE: 2}
"""Least height and width of the grid on which a change means anything."""
_SUMS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__})
_NONE = "nothing is added to its input as it is"


@dataclass(frozen=True)
class ResidualSum:
    """One sum.

    Attributes:
        block: The tap within whose module it is computed.
        number: Which of the block's sums.
        part: Of a block with several, the part of the block that makes the branch; "" of one with a single sum.
        layout: Of what is added.
    """

    block: str
    number: int
    part: str
    layout: TapLayout

    @property
    def measures(self) -> tuple[str, ...]:
        """Kinds of tokens that it has, and the changes that its grid can show."""
        own = {CLASS_TOKEN: self.layout.class_token, REGISTERS: self.layout.prefix > int(self.layout.class_token)}
        return (PATCHES, *(name for name, there in own.items() if there), *_changes(self.layout))


def residual_sums(backbone: Backbone) -> tuple[dict[str, ResidualSum], dict[str, str]]:
    """Find the residual sums by one pass of an image of noise.

    Returns:
        Tap -> sum, in the order of computation: the block, or of its taps the one with the most parameters that began
        since the sum before; and block -> why one of its sums is not measured.

    Raises:
        UsageError: There is none; says why.
    """
    size = backbone.preprocess.geometry.size
    noise = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    layouts = backbone.layouts(backbone.tap_names())
    begun: dict[str, list[list[str]]] = defaultdict(list)  # block -> of each sum, what began since the one before
    blocks = backbone.resolve_taps(["blocks"])
    refused = {tap: "it has no axes of its own" for tap in blocks if backbone.source_of(tap)[1] is not None}

    def see(block: _Inside, skip: Tensor, branch: Tensor) -> None:
        if not _fits(branch, layouts[block.tap]):
            refused[block.tap] = f"it adds {tuple(branch.shape[1:])}, which is no grid of its output"
        begun[block.tap].append(block.begun)

    _pass(backbone, noise.to(backbone.device), [tap for tap in blocks if tap not in refused], see)
    refused |= {tap: _NONE for tap in blocks if tap not in begun and tap not in refused}
    found: dict[str, ResidualSum] = {}
    for block in blocks:
        if block not in refused:
            for number, names in enumerate(begun[block]):
                several = len(begun[block]) > 1
                tap = _largest(backbone, [name for name in names if name not in found]) if several else block
                if tap is None:
                    refused[block] = "which of its parts makes a branch cannot be told"
                else:
                    part = tap.removeprefix(f"{block}.") if several else ""
                    found[tap] = ResidualSum(block, number, part, layouts[block])
    if not found:
        tap, why = next(iter(refused.items()))
        raise UsageError(f"{backbone.spec.key} has no residual sums", where=tap, why=why, fix="a network with blocks")
    return found, refused


def measure_residual(backbone: Backbone, images: Tensor, sums: Mapping[str, tuple[str, int]]) -> dict[str, Tensor]:
    """Measure a batch.

    Args:
        backbone: Whose.
        images: (B, 3, h, w) uint8 on its device.
        sums: Tap -> block and number, as `residual_sums` finds them.

    Returns:
        Tap -> (B, measures) float32, the `measures` of its sum.

    Raises:
        UsageError: A sum that was not seen as it was found.
    """
    taps = {place: tap for tap, place in sums.items()}
    blocks = list(dict.fromkeys(block for block, _ in sums.values()))
    layouts = backbone.layouts(blocks)
    numbers: dict[str, Tensor] = {}

    def see(block: _Inside, skip: Tensor, branch: Tensor) -> None:
        tap = taps.get((block.tap, block.sums))
        if tap is not None and _fits(branch, layouts[block.tap]):
            numbers[tap] = _numbers(skip, branch, layouts[block.tap])

    _pass(backbone, images, blocks, see)
    for tap in sums:
        if tap not in numbers:
            raise UsageError(f"{tap} is added in another way than it was", where=backbone.spec.key)
    return numbers


def _changes(layout: TapLayout) -> list[str]:
    """The changes that a grid can show, in the order of `change_numbers`."""
    return [name for name, least in LEAST.items() if min(layout.height, layout.width) >= least]


def _numbers(skip: Tensor, branch: Tensor, layout: TapLayout) -> Tensor:
    """(B, measures) float32, the `measures` of a sum."""
    ratios, shown = ratio_numbers(skip, branch, layout), _changes(layout)
    if not shown:
        return ratios
    changes = change_numbers(skip, branch, layout)
    return torch.cat([ratios, changes[:, [list(LEAST).index(name) for name in shown]]], dim=1)


def ratio_numbers(skip: Tensor, branch: Tensor, layout: TapLayout) -> Tensor:
    """|branch| / |skip| of each image, norms over the channels of a token.

    Args:
        skip, branch: (B, ...) in the axes of `layout.kind`.
        layout: Theirs.

    Returns:
        (B, measures) float32: the median over patches, the class token's if there is one, the median over registers if
        there are any. NaN where it is not finite: a median of tokens without a skip, or of values beyond the range.
    """
    channels = 1 if layout.kind == "nchw" else -1
    norms = [
        torch.linalg.vector_norm(values, dim=channels, dtype=torch.float32).flatten(1) for values in (branch, skip)
    ]
    ratio, first = norms[0] / norms[1], int(layout.class_token)
    columns = [_median(ratio[:, layout.prefix :])]
    columns += [ratio[:, 0]] if first else []
    columns += [_median(ratio[:, first : layout.prefix])] if layout.prefix > first else []
    found = torch.stack(columns, dim=1)
    return torch.where(found.isfinite(), found, torch.nan)


def _median(values: Tensor) -> Tensor:
    """(B, n) -> (B,); torch's own takes the lower of the two in the middle."""
    ordered = values.sort(dim=1).values
    n = values.shape[1]
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2


def _fits(values: Tensor, layout: TapLayout) -> bool:
    """Whether an activation has the axes of a layout."""
    if layout.kind == "nchw":
        return tuple(values.shape[1:]) == (layout.channels, layout.height, layout.width)
    if layout.kind == "nhwc":
        return tuple(values.shape[1:]) == (layout.height, layout.width, layout.channels)
    tokens = layout.prefix + layout.height * layout.width if layout.kind == "tokens" else 1
    return values.shape[-1] == layout.channels and values[0].numel() == tokens * layout.channels


def _largest(backbone: Backbone, taps: Sequence[str]) -> str | None:
    """The tap whose module has the most parameters, the outermost first."""
    size = {
        tap: sum(values.numel() for values in backbone.network.get_submodule(backbone.source_of(tap)[0]).parameters())
        for tap in taps
    }
    return max(size, key=lambda tap: (size[tap], -tap.count(".")), default=None)


@dataclass
class _Inside:
    """A block while it runs."""

    tap: str
    main: Any = None  # its input, then its last residual sum
    sums: int = 0  # so many before
    begun: list[str] = field(default_factory=list)  # taps inside that began since the last


_See = Callable[[_Inside, Tensor, Tensor], None]
"""Gets the block, its skip connection and the branch, before they are added."""


class _SumWatch(TorchFunctionMode):
    """Tells of each residual sum that the innermost block computes."""

    def __init__(self, inside: list[_Inside], see: _See) -> None:
        super().__init__()
        self._inside, self._see = inside, see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        sides = self._sides(*args) if func in _SUMS and self._inside and len(args) == 2 and not given else None
        if sides is None:
            return func(*args, **given)
        block = self._inside[-1]
        self._see(block, *sides)  # before an addition in place
        block.main = func(*args)
        block.sums, block.begun = block.sums + 1, []
        return block.main

    def _sides(self, one: Any, other: Any) -> tuple[Tensor, Tensor] | None:
        """Skip and branch, if this is a residual sum."""
        main = self._inside[-1].main
        if not (isinstance(one, Tensor) and isinstance(other, Tensor)) or one.shape != other.shape or one is other:
            return None
        if one is main:
            return one, other
        return (other, one) if other is main else None


def _pass(backbone: Backbone, images: Tensor, blocks: Sequence[str], see: _See) -> None:
    """One forward pass; `see` is told of each residual sum of these blocks."""
    inside: list[_Inside] = []

    def enter(tap: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, inputs: inside.append(_Inside(tap, inputs[0] if inputs else None))

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        inside.pop()

    def begin(tap: str) -> Callable[[nn.Module, Any], None]:
        def note(_module: nn.Module, _inputs: Any) -> None:
            if inside:
                inside[-1].begun.append(tap)

        return note

    with ExitStack() as hooks, forward_mode(backbone.device, backbone.compute):
        for tap in backbone.tap_names():
            name, item = backbone.source_of(tap)
            module = backbone.network.get_submodule(name)
            if isinstance(item, slice | Projection):  # the layer that it is of begins, or has begun
                continue
            if tap in blocks:
                hooks.callback(module.register_forward_pre_hook(enter(tap)).remove)
                hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
            else:
                hooks.callback(module.register_forward_pre_hook(begin(tap)).remove)
        with _SumWatch(inside, see):
            backbone.network(backbone.inputs(images))
