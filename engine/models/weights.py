"""Building a timm model and filling it with weights whose digest can be recorded.

Which files are read, and how, says `engine.models.checkpoints`. Random weights are timm's own initialisation under a
seed, with one change: scales that start at (almost) zero, so that a fresh residual block is the identity, are set to
0.2. Otherwise all blocks of a stage would agree to six digits, and analyses of random networks would show nothing.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cvbench.engine.models import fitting, timm_sources
from cvbench.engine.models.checkpoints import Checkpoint, existing, read_checkpoint, shapes_of
from cvbench.engine.models.forms import folder_of, form_of
from cvbench.engine.models.specs import BackboneSpec
from cvbench.errors import UsageError

RANDOM_SCALE = 0.2
"""Layer scale of random residual branches; ConvNeXt's trained scales lie between 0.1 and 1."""
_NEARLY_ZERO = 1e-2
_NARROW = 0.5
"""Linear layers narrower than this, relative to 1/sqrt(fan in), let a residual branch vanish beside its stream: timm's
transformers start at a fixed deviation of 0.02, at which all blocks of a small one give nearly the same tensor."""
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


_DRAWS = {Tensor.uniform_, Tensor.normal_, Tensor.erfinv_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}
_SHIFTS = {Tensor.mul_, Tensor.add_, Tensor.clamp_}  # what follows a draw; on the meta device each takes 1 ms


def build_meta(spec: BackboneSpec, size: tuple[int, int] | None = None) -> Any:
    """The spec's timm model on the meta device, in eval mode: shapes, no memory. Needs no weights but a file's header.

    Args:
        spec: Of the backbone.
        size: (height, width) of the images, instead of the spec's.
    """
    with on_meta():
        return _create(spec, size=size)


def file_stamp(spec: BackboneSpec) -> tuple[int, ...] | None:
    """Times of change in ns, and sizes, of the spec's weights file and of the config of its folder; None if it has
    neither, or they are not there.
    """
    folder = folder_of(spec.model)
    paths = [*([Path(spec.file)] if spec.file else []), *([folder / "config.json"] if folder else [])]
    found = [path.stat() for path in paths if path.is_file()]
    return tuple(number for one in found for number in (one.st_mtime_ns, one.st_size)) or None


def build_model(spec: BackboneSpec) -> Any:
    """The spec's timm model on the CPU, float32, in eval mode, with its weights; errors as for `build_noted`."""
    return build_noted(spec)[0]


def build_noted(spec: BackboneSpec) -> tuple[Any, tuple[str, ...]]:
    """Build the same, with notes on what of a file was left out or renamed.

    Raises:
        DataUnavailableError: if the weights are not there, or cannot be had.
        IntegrityError: if a weights file is damaged.
        UsageError: if a weights file is of another model, or would run code.
    """
    notes: tuple[str, ...] = ()
    if spec.weights == "random":
        model = drawn(lambda: _create(spec), spec.seed)
    elif spec.weights == "pretrained":
        state = read_checkpoint(timm_sources.weights_file(spec.model)).state
        with _Undrawn(_DRAWS):
            model = _create(spec, state=state)
    else:
        found = read_checkpoint(existing(Path(spec.weights)))
        with _Undrawn(_DRAWS):
            model = _create(spec)
        remap = timm_sources.remap(spec.model)
        notes = fill(model, found, spec, remap=remap, ends=timm_sources.classifiers(spec.model))
    return model.requires_grad_(False), notes


def drawn(make: Callable[[], Any], seed: int) -> Any:
    """A module with random weights of a seed, its residual branches awake; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        _wake_residual_branches(model)
    return model


def undrawn() -> TorchFunctionMode:
    """Within it parameters are not drawn: for a module that a checkpoint fills, every one."""
    return _Undrawn(_DRAWS)


def on_meta() -> ExitStack:
    """Within it modules are made without memory."""
    stack = ExitStack()
    stack.enter_context(torch.device("meta"))
    stack.enter_context(_Undrawn(_DRAWS | _SHIFTS))
    return stack


class _Undrawn(TorchFunctionMode):
    """Leaves parameters undrawn that have no memory, or that a checkpoint replaces, every one: drawing them takes most
    of the time.
    """

    def __init__(self, skipped: set[Any]) -> None:
        super().__init__()
        self._skipped = skipped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._skipped:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            if not tensor.is_meta:
                with torch.no_grad():
                    tensor.zero_()  # what draws until all values lie in a range would never end on what memory held
            return tensor
        return func(*args, **kwargs)


def weights_digest(model: nn.Module) -> str:
    """Hex sha256 over name, type, shape and bytes of every entry of the state dict, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def data_config(model: Any, image_size: int | None) -> dict[str, Any]:
    """timm's data config of a model, for another image size if one is given."""
    from timm.data.config import resolve_model_data_config

    args = {} if image_size is None else {"input_size": (3, image_size, image_size)}
    resolve: Any = resolve_model_data_config  # untyped
    return dict(resolve(model, args=args))


def _create(spec: BackboneSpec, size: tuple[int, int] | None = None, state: dict[str, Tensor] | None = None) -> Any:
    import timm

    if form_of(spec.model) is not None:
        timm_sources.config(spec.model)  # refuses what is none, in words of its own
    options: dict[str, Any] = {}
    if size is None and spec.image_size is not None:
        size = (spec.image_size, spec.image_size)
    if size is not None and takes_image_size(spec.model):
        options["img_size"] = size
    if spec.file is not None:
        classes = _classes_in_file(spec, file_stamp(spec))
        if classes is not None:
            options["num_classes"] = classes
    if state is None:
        return timm.create_model(spec.model, pretrained=False, **options).eval()
    overlay = {"state_dict": state, **timm_sources.UNSOURCED}
    model: Any = timm.create_model(spec.model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    model.pretrained_cfg.pop("state_dict", None)  # timm keeps it: a second copy of every weight
    return model.eval()


@lru_cache(maxsize=64)
def takes_image_size(model: str) -> bool:
    """Whether the model is built for an image size (position embeddings, windows); convolutions take any."""
    import timm

    size = timm_sources.config(model)["input_size"][1:]
    try:
        with torch.device("meta"):
            timm.create_model(model, pretrained=False, img_size=size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return False
    return True


@lru_cache(maxsize=16)
def _classes_in_file(spec: BackboneSpec, stamp: tuple[int, ...] | None) -> int | None:
    """Number of classes of the file's head, 0 if it has none; None if timm does not say where the head is.

    `stamp`: the file may be replaced between two calls.
    """
    names = timm_sources.classifiers(spec.model)
    shapes = shapes_of(Path(spec.weights))
    found = _head_rows(shapes, names)
    if names and (found is None or _of_another(shapes, names)):  # under a prefix, or another library's name
        found = None
        with on_meta():
            model = _create(replace(spec, weights="random"))
        with suppress(UsageError):  # building says it
            found = _head_rows(
                fitting.fitted(model, Checkpoint(shapes), _tried(timm_sources.remap(spec.model))).state, names
            )
    return found if found is not None else (0 if names else None)


def _of_another(state: Mapping[str, Tensor], names: Sequence[str]) -> bool:
    """Whether all but the classifier lies behind one prefix: then the classifier is of what surrounds the network."""
    rest = (name for name in state if not name.startswith(tuple(f"{end}." for end in names)))
    return len({name.partition(".")[0] for name in rest}) == 1


def _head_rows(state: Mapping[str, Tensor], names: Sequence[str]) -> int | None:
    return next((int(state[f"{name}.weight"].shape[0]) for name in names if f"{name}.weight" in state), None)


def _tried(remap: timm_sources.Remap | None) -> timm_sources.Remap | None:
    """Try the same on shapes alone, where it can be."""
    if remap is None:
        return None

    def shaped(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
        try:
            with torch.device("meta"):
                return remap(state, model)
        except Exception:  # it wants values
            return state

    return shaped


def fill(
    model: nn.Module,
    found: Checkpoint,
    spec: BackboneSpec,
    *,
    remap: timm_sources.Remap | None = None,
    ends: Sequence[str] = (),
) -> tuple[str, ...]:
    """Load the weights of a file: every name and shape must be the model's, but for position embeddings at a size that
    is asked for.

    Args:
        model: On the CPU.
        found: Of the file.
        spec: Of the backbone.
        remap: What its library does to weights of other makes.
        ends: Names of classifiers, see `fitting.load`.

    Returns:
        What of the file was left out or renamed, in words.

    Raises:
        UsageError: They are not.
    """
    whole = fitting.fitted(model, found)
    original = whole.state
    if spec.image_size is not None:
        whole = replace(whole, state=_resampled(model, whole.state))
    brought = fitting.fitted(model, Checkpoint(whole.state), remap)
    refused = _other_sizes(model, whole.state, brought.state, spec)
    notes = [*whole.notes, *brought.notes]
    notes += fitting.load(model, brought.state, spec.key, spec.weights, ends=ends, refused=refused, original=original)
    return fitting.notes_of(spec.key, spec.weights, notes)


_SIZED = re.compile(r"pos_embed|position|rel_pos|relative_pos|rope|\battn_bias|attention_bias")
"""Weights that belong to an image size, which timm brings to another."""


def _other_sizes(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor], spec: BackboneSpec
) -> list[str]:
    """Names that timm resampled though no size was asked for, or though it is no matter of size."""
    tokens = int(getattr(model, "num_prefix_tokens", 0) or 0)
    changed = []
    for name, tensor in after.items():
        old = before.get(name)
        if old is None or old.numel() == tensor.numel() or old.ndim != tensor.ndim:
            continue
        few = old.ndim == 3 and old.shape[::2] == tensor.shape[::2] and abs(old.shape[1] - tensor.shape[1]) <= tokens
        if not few and (spec.image_size is None or not _SIZED.search(name)):
            changed.append(f"{name} {tuple(old.shape)}, not {tuple(tensor.shape)}")
    return changed


def _resampled(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with a ViT's square grid of position embeddings brought to the model's, as timm does for its own.

    Bicubic with antialiasing; the class token's embedding stays (Dosovitskiy et al. 2021, section 3.2).
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    own, found = getattr(model, "pos_embed", None), state.get("pos_embed")
    if grid is None or own is None or found is None or own.ndim != 3 or found.shape[::2] != own.shape[::2]:
        return state
    prefix = 0 if getattr(model, "no_embed_class", False) else int(getattr(model, "num_prefix_tokens", 1))
    tokens = found.shape[1] - prefix
    if own.shape[1] != grid[0] * grid[1] + prefix or tokens < 1 or math.isqrt(tokens) ** 2 != tokens:
        return state
    return state | {"pos_embed": resample_abs_pos_embed(found, list(grid), num_prefix_tokens=prefix)}


def _wake_residual_branches(model: nn.Module) -> None:
    with torch.no_grad():
        for module in model.modules():
            scales = [
                p for name, p in module.named_parameters(recurse=False) if name.startswith(("gamma", "skipinit_gain"))
            ]
            if isinstance(module, _NORMS) and module.weight is not None:
                scales.append(module.weight)
            for scale in scales:
                if scale.abs().max() <= _NEARLY_ZERO:
                    scale.fill_(RANDOM_SCALE)
            if isinstance(module, nn.Linear) and module.weight.std() < _NARROW / math.sqrt(module.in_features):
                nn.init.xavier_uniform_(module.weight)
