"""Backbones: a network whose layers can be read while it runs.

backbone = load_backbone(resolve_spec("convnext-base"), device="cuda", precision="fp16")
taps = backbone.resolve_taps(["blocks"])
requests = expand_views(["pooled", "head"], backbone.layouts(taps))
features = backbone.run(images, requests)       # {request: tensor on the device}
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.compiled import CompiledPlan
from cvbench.engine.models.devices import placed, resolve_device
from cvbench.engine.models.fused import Item
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.makers import maker_of
from cvbench.engine.models.networks import Network
from cvbench.engine.models.plans import OBSERVED, Plan, Wanted, as_read, make_plan
from cvbench.engine.models.precision import check_precision, forward_mode, round_mantissa, store_dtype
from cvbench.engine.models.preprocess import Preprocess, preprocess_from_config
from cvbench.engine.models.projections import Projection, Read, tapped
from cvbench.engine.models.specs import BackboneSpec, resolve_spec
from cvbench.engine.models.taps import TapTable, trace_taps
from cvbench.engine.models.views import Request, apply_view, find_view, spatial
from cvbench.engine.models.weights import file_stamp, weights_digest
from cvbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from cvbench.engine.models.work import Work

__all__ = [
    "Backbone",
    "BackboneSpec",
    "Description",
    "Request",
    "TapLayout",
    "describe",
    "load_backbone",
    "resolve_spec",
]


@dataclass(frozen=True)
class Description:
    """Taps and sizes of a backbone, known without weights or arithmetic.

    Attributes:
        spec: Of the backbone.
        preprocess: Of its images.
        tap_names: All taps, in the order of computation.
        layouts: Of the taps that were asked for, in that order.
        head_sizes: {"head": D, "logits": K}; no "logits" without a classifier.
        parameters: Number of parameters.
        guessed: Whether no name tells its blocks, see `TapTable.resolve`.
        sequences: Of these taps, those whose tokens are no grid, see `TapTable`.
        repeated: Modules that run several times in a pass, and are no taps.
        places: Tap -> which it is in the order of computation; some channels of a layer are where that is.
    """

    spec: BackboneSpec
    preprocess: Preprocess
    tap_names: tuple[str, ...]
    layouts: dict[str, TapLayout]
    head_sizes: dict[str, int]
    parameters: int
    guessed: bool = False
    sequences: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    places: Mapping[str, int] = field(default_factory=dict)

    @property
    def work(self) -> Work:
        """Work of one image; takes a second the first time."""
        from cvbench.engine.models.work import work_of  # its counter is only needed for plans

        network, preprocess, _ = _outline(self.spec)
        key = (self.spec.model, preprocess.geometry.size, self.parameters)
        found = _WORK[key] = _WORK.get(key) or work_of(network.module, preprocess.geometry.size, network.device)
        return found


def describe(spec: BackboneSpec, *, taps: Sequence[str]) -> Description:
    """Shapes of a backbone; of a timm model without memory.

    Args:
        spec: Of the backbone.
        taps: Patterns, as for `Backbone.resolve_taps`.

    Raises:
        UnknownNameError: for a pattern without a tap.
        UsageError: if the model cannot take images of the size; or as its maker says, see `engine.models.makers`.
    """
    network, preprocess, table = _outline(spec)
    layouts = {name: table.layouts[name] for name in table.resolve(taps)}
    parameters = sum(parameter.numel() for parameter in network.module.parameters())
    return Description(
        spec,
        preprocess,
        tuple(table.layouts),
        layouts,
        dict(table.head_sizes),
        parameters,
        table.guessed,
        tuple(tap for tap in layouts if tap in table.sequences),
        table.repeated,
        table.places(),
    )


def load_backbone(
    spec: BackboneSpec, *, device: str = "cpu", precision: str = "fp32", compiled: bool = False
) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        spec: Of the backbone.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: Of the matrix products: `fp32`, `bf16` or `fp16`.
        compiled: Whether `run` compiles each plan at its first batch, see `engine.models.compiled`.

    Raises:
        DataUnavailableError, IntegrityError, UsageError: as its maker says, see `engine.models.makers`.
        ResourceError: if the device cannot be used.
    """
    return Backbone(spec, resolve_device(device), precision, compiled=compiled)


class Backbone:
    """A loaded backbone.

    Attributes:
        spec: What it was made from.
        preprocess: What its images need.
        weights_digest: Hex sha256 of the state dict.
        source: What the fingerprint says of its code; nothing of a timm model.
        notes: What of a file of weights was left out or renamed, in words; and how it is compiled, if not in one graph.
        device: Where it computes.
        precision: Of its matrix products.
        compiled: Whether `run` compiles.
    """

    def __init__(self, spec: BackboneSpec, device: torch.device, precision: str, *, compiled: bool = False) -> None:
        self._compute = check_precision(precision, device)
        self.spec, self.device, self.precision, self.compiled = spec, device, precision, compiled
        _, self.preprocess, self._table = _outline(spec)
        maker = maker_of(spec)
        self._network = maker.build(spec)
        self.weights_digest = weights_digest(self._network.module)
        self.source = maker.source(spec)
        self.notes = self._network.notes
        self._model: Any = placed(self._network.module, device)
        self._modules: dict[str, nn.Module] = dict(self._model.named_modules())
        self._plans: dict[tuple[Request, ...], Plan] = {}
        self._compiled: dict[tuple[tuple[Request, ...], str], CompiledPlan] = {}
        self._turn = threading.Lock()

    def tap_names(self) -> list[str]:
        """All taps, in the order of computation."""
        return list(self._table.layouts)

    def resolve_taps(self, patterns: Sequence[str]) -> list[str]:
        """Taps for `blocks`, `paper`, globs and exact names, in the order of computation; see `TapTable.resolve`."""
        return self._table.resolve(patterns)

    def layouts(self, taps: Sequence[str]) -> dict[str, TapLayout]:
        """The layouts of the named taps."""
        for tap in taps:
            if tap not in self._table.layouts:
                raise UnknownNameError.among("tap", tap, self._table.layouts, fix="--taps list")
        return {tap: self._table.layouts[tap] for tap in taps}

    def source_of(self, tap: str) -> tuple[str, Read]:
        """Name of the module that a tap is read of, and how, see `tapped`."""
        return self._table.module_of(tap), self._table.item_of(tap)

    def output_of(self, tap: str) -> tuple[str, Item]:
        """Find where a tap flows on: the module that returns it, and which part of that it is, see `part_of`.

        Raises:
            UsageError: It is a projection that the network makes out of sight: nothing can be put in its place.
        """
        module, item = self.source_of(tap)
        if isinstance(item, Projection):
            raise UsageError(
                f"{tap} can be kept and not replaced: its layer makes queries, keys and values out of sight",
                fix=f"the layer itself, {module}, or its block",
            )
        return module, item

    def head_sizes(self) -> dict[str, int]:
        """{"head": D, "logits": K}; no "logits" without a classifier."""
        return dict(self._table.head_sizes)

    @property
    def network(self) -> Any:
        """The model itself, in eval mode on `device`: for what `run` cannot give, such as gradients
        (`engine.analyses.cam`)."""
        return self._model

    @property
    def compute(self) -> torch.dtype:
        """The type of the matrix products."""
        return self._compute

    def inputs(self, images: Tensor) -> Tensor:
        """Input of the first layer: (B, 3, h, w) float32, from uint8 images as `run` takes them.

        Raises:
            UsageError: for images of another shape or type.
        """
        size = self.preprocess.geometry.size
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != (3, *size):
            raise UsageError(
                f"expected uint8 images (B, 3, {size[0]}, {size[1]}), got {images.dtype} {tuple(images.shape)}"
            )
        return self.preprocess.normalise(images.contiguous(memory_format=torch.channels_last))

    def run(
        self,
        images: Tensor,
        requests: Sequence[Request],
        *,
        dtype: str = "float16",
        keep_bits: int | None = None,
        observed: Sequence[str] = (),
        observe: Callable[[str, Tensor], None] | None = None,
    ) -> dict[Request, Tensor]:
        """One forward pass, reduced to the requested views while it runs.

        The network stops after the last tap that is needed, unless the head is. An activation lives no longer than in a
        plain forward pass. Threads take turns: hooks are the network's.

        Compiled, the same arithmetic runs in another order and in fused kernels: values differ by rounding alone, some
        2**-22 of a layer's largest value per layer passed in fp32; observed maps of a batch live until it is done.

        Args:
            images: (B, 3, h, w) uint8 on the backbone's device, as `engine.pictures.decode.fit` gives them.
            requests: Views of taps; `expand_views` makes them.
            dtype: Of the views that have no type of their own: "float16" or "float32". Values beyond its range become
                infinite.
            keep_bits: Mantissa bits of these to keep (after the conversion), see `round_mantissa`.
            observed: Taps whose whole maps `observe` gets as each is computed, and that are let go at once.
            observe: (tap, (B, H, W, C) in `dtype`, rounded as `maps` is). The memory may be the network's own: read it
                before returning, and do not write to it.

        Returns:
            For each request a tensor on the device: `pooled`, `cls` (B, C), `maps` (B, H, W, C), `head` (B, D) and
            `logits` (B, K), the last two float32 and never rounded; of other views as these say.

        Raises:
            UsageError: for images of another shape or type, or a view that the model or tap does not have.
        """
        if not requests and not observed:
            return {}
        # An observed tap is one more view of it, which nobody keeps.
        asked = (*requests, *(Request(OBSERVED, tap) for tap in observed))
        plan = self._plan(asked)

        def finish(request: Request, values: Tensor) -> Tensor | None:
            fixed = request.view != OBSERVED and find_view(request.view).dtype
            rounded = values if keep_bits is None or fixed else round_mantissa(values, keep_bits)
            if request.view != OBSERVED:
                return rounded
            if observe is not None:
                observe(request.tap, rounded)
            return None

        with self._turn, forward_mode(self.device, self._compute):
            inputs = self.inputs(images)
            if self.compiled:
                made = self._compiled_plan(asked, plan, dtype)(inputs)
                found = {request: finish(request, made.pop(request)) for request in list(made)}
            else:
                found = self._forward(inputs, plan, store_dtype(dtype), finish)
        return {request: values for request in requests if (values := found[request]) is not None}

    def _forward(
        self,
        inputs: Tensor,
        plan: Plan,
        stored: torch.dtype,
        finish: Callable[[Request, Tensor], Tensor | None],
    ) -> dict[Request, Tensor | None]:
        found: dict[Request, Tensor | None] = {}

        def take(wanted: Wanted, values: Tensor) -> None:
            for request, layout in wanted:
                read = as_read(request.view, values, layout)
                if request.view == OBSERVED:
                    made = spatial(read, layout).to(stored)
                else:
                    fixed = find_view(request.view).dtype
                    made = apply_view(request.view, read, layout, store_dtype(fixed) if fixed else stored)
                found[request] = finish(request, made)

        def watch(tap: str, wanted: Wanted) -> Callable[[nn.Module, Any, Any, Any], None]:
            item = self._table.item_of(tap)

            def hook(module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
                take(wanted, tapped(item, module, inputs, named, output))
                if tap == plan.stop:
                    raise _Enough

            return hook

        with ExitStack() as hooks:
            for tap, wanted in plan.taps.items():
                module = self._modules[self._table.module_of(tap)]
                hooks.callback(module.register_forward_hook(watch(tap, wanted), with_kwargs=True).remove)
            try:
                features = self._network.features(inputs)
                if plan.logits or plan.taps_in_head:
                    take(plan.logits, self._network.logits(features))
            except _Enough:
                return found
        if plan.head:
            take(plan.head, self._network.head(features))
        return found

    def _compiled_plan(self, asked: tuple[Request, ...], plan: Plan, dtype: str) -> CompiledPlan:
        if (asked, dtype) not in self._compiled:
            compiled = CompiledPlan(self.spec.key, self._network, self._modules, self._table, plan, dtype, self._say)
            self._compiled[asked, dtype] = compiled
        return self._compiled[asked, dtype]

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes = (*self.notes, note)

    def _plan(self, requests: tuple[Request, ...]) -> Plan:
        if requests not in self._plans:
            self._plans[requests] = make_plan(requests, self._table)
        return self._plans[requests]


class _Enough(Exception):
    """Raised in the last hook that is needed, to leave the network."""


def _outline(spec: BackboneSpec) -> tuple[Network, Preprocess, TapTable]:
    return _make_outline(spec, file_stamp(spec))


@lru_cache(maxsize=16)
def _make_outline(spec: BackboneSpec, stamp: tuple[int, ...] | None) -> tuple[Network, Preprocess, TapTable]:
    """`stamp`: a weights file may be replaced between two calls, and its header sets the number of classes."""
    maker = maker_of(spec)
    network = maker.outline(spec)
    preprocess = preprocess_from_config(network.preprocessing, spec.decoder, spec.preset)
    size = preprocess.geometry.size
    if spec.image_size is not None:
        _check_patches(network.module, spec.image_size)
    table = trace_taps(lambda wanted: network if wanted == size else maker.outline(spec, wanted), size)
    return network, preprocess, table


def _check_patches(model: Any, size: int) -> None:
    """Refuse a size of which a patch embedding would not read the last rows and columns.

    Raises:
        UsageError: It is no multiple of the patch.
    """
    for module in model.modules():
        patch, grid = getattr(module, "patch_size", None), getattr(module, "grid_size", None)
        if not (isinstance(patch, tuple) and isinstance(grid, tuple)) or getattr(module, "dynamic_img_pad", False):
            continue
        if grid[0] * patch[0] < size:
            fitting = [patch[0] * count for count in (grid[0], grid[0] + 1) if count]
            raise UsageError(
                f"of images of {size} pixels this model would read {grid[0] * patch[0]}",
                why=f"its patches have {patch[0]} pixels, and what fills no patch is left out",
                fix=" or ".join(f"--image-size {one}" for one in fitting),
            )
        return


_WORK: dict[tuple[str, tuple[int, int], int], Work] = {}
"""Counted once per model, image size and number of parameters."""
