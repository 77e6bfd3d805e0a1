"""Taps: the named modules of a backbone whose outputs can be kept, in the order in which they are computed.

One forward pass finds them: of a timm model on torch's meta device (shapes only: no memory, no arithmetic). A tap is a
module that runs once, returns one new tensor with the batch in front, and whose layout is known
(`engine.models.layouts`). Of a module that returns several in a tuple or list, each is a tap, `NAME.out0`, `NAME.out1`,
...; where only one has the batch in front, it has the module's name.

Identity and inactive dropout hand on their input untouched and are no taps; neither are per-window or per-head tensors.
Queries, keys and values are, by the names NAME.q, NAME.k and NAME.v of their layer (`engine.models.fused`,
`engine.models.projections`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from cvbench.engine.models.blocks import BRANCHES, PAPER, own_blocks, usual_blocks
from cvbench.engine.models.fused import queries_keys_values
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
from cvbench.engine.models.projections import LETTERS, Projection, Read
from cvbench.engine.models.tracing import BATCH, Trace, trace_shapes
from cvbench.errors import UnknownNameError, UsageError

_TRACE_ERRORS = (AssertionError, RuntimeError, ValueError, TypeError, AttributeError, IndexError)

SETS = ("blocks", "paper", "branches")


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
        items: Taps that are not all that a module returns -> (name of the module, how they are read), see `tapped`.
        lacking: Blocks that must be taps and are none -> why.
        sequences: Taps whose tokens are no grid, nor prefix tokens and a grid: sequences, every token of which counts.
        repeated: Modules with weights that run several times in a pass, which therefore are no taps.
        apart: What can be no tap since it is of windows or groups, or of no image as a whole -> why.
    """

    layouts: dict[str, TapLayout]
    in_head: frozenset[str]
    stages: tuple[str, ...]
    head_sizes: dict[str, int]
    unknown: Mapping[str, Shape] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    items: Mapping[str, tuple[str, Read]] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    sequences: frozenset[str] = frozenset()
    repeated: tuple[str, ...] = ()
    apart: Mapping[str, str] = field(default_factory=dict)

    def module_of(self, tap: str) -> str:
        """The module that a tap is an output of."""
        return self.items[tap][0] if tap in self.items else tap

    def item_of(self, tap: str) -> Read:
        """Way in which a tap is read of a call of that module; None: all that it returns."""
        return self.items[tap][1] if tap in self.items else None

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
            self._check_declared()
            found = self._blocks()
        elif pattern == "paper":
            found = [name for name in self.layouts if re.fullmatch(PAPER, name)]
        elif pattern == "branches":
            found = [name for name in self.layouts if re.fullmatch(BRANCHES, name)]
        else:
            found = fnmatch.filter(self.layouts, pattern)
        if pattern in self.unknown:
            raise UsageError(
                f"{pattern} can be no tap: where its grid is cannot be told",
                why=f"it gives {self.unknown[pattern]} for {BATCH} images",
                fix="another tap (--taps list); a model of one's own names its grid: OwnModel(grid=..., prefix=...)",
            )
        refused = [] if found else fnmatch.filter(self.apart, pattern)
        if refused:
            raise UsageError(
                f"{refused[0]} can be no tap: it has no tokens of an image as a whole",
                why=self.apart[refused[0]],
                fix="the block that it is of, whose output is (--taps blocks)",
            )
        if not found and pattern in SETS:
            raise UnknownNameError(f"this model has no taps for the set {pattern!r}", fix="name them; see --taps list")
        if not found:
            raise UnknownNameError.among("tap", pattern, [*SETS, *self.layouts], fix="--taps list")
        return found

    def _check_declared(self) -> None:
        if not self.lacking:
            return
        name, why = next(iter(self.lacking.items()))
        raise UsageError(
            f"the block {name} can be no tap" if self.blocks else "none of its blocks can be a tap",
            where=name,
            why=why,
            fix="other --taps (--taps list), or for a model of one's own OwnModel(stages=..., grid=..., prefix=...)",
        )

    @property
    def guessed(self) -> bool:
        """Whether no name tells the blocks, so that `blocks` means the network's parts, see `resolve`."""
        return not self._named_blocks()

    def _blocks(self) -> list[str]:
        return self._named_blocks() or self._parts()

    def _named_blocks(self) -> list[str]:
        if self.blocks:
            return list(self.blocks)
        found = usual_blocks(self._modules())
        return found or (list(self.stages) if len(self.stages) > 1 else [])

    def places(self) -> dict[str, int]:
        """Tap -> which it is in the order of computation; some channels of a layer are where that is."""
        order = {name: place for place, name in enumerate(self._modules())}
        first = {self.module_of(name): place for name, place in reversed(order.items())}
        return {name: order[name] if name in order else first[self.module_of(name)] for name in self.layouts}

    def _modules(self) -> list[str]:
        """The taps without those that are some channels of another, or beside what a module returns."""
        return [name for name in self.layouts if not isinstance(self.item_of(name), slice | Projection)]

    def _parts(self) -> list[str]:
        """The taps of the outermost modules that are two at least, without those of the head; vectors if there is
        nothing else.
        """
        taps = [name for name in self._modules() if name not in self.in_head]
        features = [name for name in taps if self.layouts[name].kind != "vector"] or taps
        for depth in range(max((name.count(".") for name in features), default=-1) + 1):
            found = [name for name in features if name.count(".") == depth]
            if len(found) > 1:
                return found
        return features


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
        trace = trace_shapes(network, size)
    except _TRACE_ERRORS as error:
        raise UsageError(
            f"this model cannot take images of {size[0]} x {size[1]}",
            why=" ".join(str(error).split())[:300],
            fix="another --image-size, a multiple of the model's patch or stride",
        ) from error
    layouts = _layouts(network, trace, size, build)
    declared = network.blocks or (own_blocks(trace.returned) if network.own else ())
    sequences = _sequences(layouts, trace.shapes, declared)
    layouts |= sequences
    taps, items = _with_fused(network, {name: one for name, one in layouts.items() if one is not None}, trace)
    named = tuple(name for name in taps if name in network.stages)
    unknown = {name: shape for name, shape in trace.shapes.items() if name not in taps}
    blocks = tuple(name for name in taps if name in declared)
    return TapTable(
        taps,
        frozenset(trace.in_head & taps.keys()),
        named,
        trace.head_sizes,
        unknown,
        blocks,
        items,
        _lacking(network, blocks, trace),
        frozenset(sequences),
        _repeated(network, trace) if network.own else (),
        _apart(network, trace, taps),
    )


def _sequences(
    layouts: Mapping[str, TapLayout | None], shapes: Mapping[str, Shape], blocks: Sequence[str]
) -> dict[str, TapLayout]:
    """Layouts of tokens that are no grid, in blocks and where there are as many as in a block."""
    open_ = {name: shapes[name] for name, layout in layouts.items() if layout is None and len(shapes[name]) == 3}
    lengths = {open_[name][1] for name in blocks if name in open_}
    return {
        name: TapLayout(tokens, 1, channels, kind="tokens")
        for name, (_, tokens, channels) in open_.items()
        if tokens in lengths
    }


def _with_fused(
    network: Network, taps: Mapping[str, TapLayout], trace: Trace
) -> tuple[dict[str, TapLayout], dict[str, tuple[str, Read]]]:
    """The taps with queries, keys and values behind the layer that they come of; and what of them is a part."""
    fused = queries_keys_values(network.module)
    items = {name: item for name, item in trace.items.items() if name in taps}
    tapped = {items[name][0] if name in items else name for name in trace.returned if name in taps}
    found: dict[str, TapLayout] = {}
    for name, layout in taps.items():
        if isinstance(items.get(name, ("", None))[1], Projection) and items[name][0] not in tapped:
            del items[name]  # where its layer stands among the others is not known
            continue
        found[name] = layout
        third = layout.channels // 3
        for place, letter in enumerate(LETTERS if name in fused else ""):
            part = f"{fused[name]}.{letter}".lstrip(".")
            if part not in trace.modules:
                found[part] = replace(layout, channels=third)
                items[part] = (name, slice(place * third, (place + 1) * third))
    return found, items


def _apart(network: Network, trace: Trace, taps: Collection[str]) -> dict[str, str]:
    """Names that can be no tap -> why; parts of what is apart are, too."""
    parts = {
        f"{attention}.{letter}": trace.apart[name]
        for name, attention in queries_keys_values(network.module).items()
        if name in trace.apart
        for letter in LETTERS
    }
    return {name: why for name, why in (trace.apart | parts).items() if name not in taps}


def _lacking(network: Network, blocks: Sequence[str], trace: Trace) -> dict[str, str]:
    """Blocks that the network names and that are no taps, with why: all of one's own, of others if none is a tap."""
    if blocks and not network.own:
        return {}

    def why(name: str) -> str:
        if name in trace.repeated:
            return "it runs several times in a pass"
        if name in trace.shapes:
            return f"it gives {trace.shapes[name]} for {BATCH} images, and where its grid is cannot be told"
        return "it gives no new tensor with the images in front, or does not run"

    return {name: why(name) for name in network.blocks if name not in blocks}


def _repeated(network: Network, trace: Trace) -> tuple[str, ...]:
    """The outermost modules with weights that run several times."""
    modules = dict(network.module.named_modules())
    names = [name for name in modules if name in trace.repeated and any(True for _ in modules[name].parameters())]
    return tuple(name for name in names if not any(name.startswith(f"{other}.") for other in names))


def _layouts(
    network: Network, trace: Trace, size: tuple[int, int], build: Callable[[tuple[int, int]], Network]
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


def _ordered(network: Network, trace: Trace) -> dict[str, TapLayout]:
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
    network: Network, trace: Trace, size: tuple[int, int], build: Callable[[tuple[int, int]], Network]
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
        return trace_shapes(build(doubled), doubled).shapes
    except _TRACE_ERRORS:  # a model for one size only: what its shapes leave open stays open, and is no tap
        return {}
