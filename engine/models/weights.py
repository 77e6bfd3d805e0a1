"""Building a timm model and filling it with weights whose digest can be recorded.

Weights are read from .safetensors files only: a pickle can run code. Random weights are timm's own initialisation under
a seed, with one change: scales that start at (almost) zero, so that a fresh residual block is the identity, are set to
0.2. Otherwise all blocks of a stage would agree to six digits, and analyses of random networks would show nothing.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cvbench.engine.models.specs import BackboneSpec
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

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
    with torch.device("meta"), _Undrawn(_DRAWS | _SHIFTS):
        return _create(spec, size=size)


def file_stamp(spec: BackboneSpec) -> tuple[int, int] | None:
    """Time of change in ns, and size, of the spec's weights file; None if it names none, or it is not there."""
    path = Path(spec.weights)
    if spec.weights in ("pretrained", "random") or not path.is_file():
        return None
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def build_model(spec: BackboneSpec) -> Any:
    """The spec's timm model on the CPU, float32, in eval mode, with its weights.

    Raises:
        DataUnavailableError: if the weights are not there, or cannot be had.
        IntegrityError: if a weights file is damaged.
        UsageError: if a weights file is of another model.
    """
    if spec.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            model = _create(spec)
            _wake_residual_branches(model)
    elif spec.weights == "pretrained":
        state = read_weights(_download(spec.model))
        with _Undrawn(_DRAWS):
            model = _create(spec, state=state)
    else:
        with _Undrawn(_DRAWS):
            model = _create(spec)
        fill(model, read_weights(Path(spec.weights)), spec)
    return model.requires_grad_(False)


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
            return args[0] if args else kwargs["tensor"]
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

    options: dict[str, Any] = {}
    if size is None and spec.image_size is not None:
        size = (spec.image_size, spec.image_size)
    if size is not None and takes_image_size(spec.model):
        options["img_size"] = size
    if spec.weights not in ("pretrained", "random"):
        classes = _classes_in_file(spec)
        if classes is not None:
            options["num_classes"] = classes
    if state is None:
        return timm.create_model(spec.model, pretrained=False, **options).eval()
    overlay = {"state_dict": state}
    model: Any = timm.create_model(spec.model, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    model.pretrained_cfg.pop("state_dict", None)  # timm keeps it: a second copy of every weight
    return model.eval()


@lru_cache(maxsize=64)
def takes_image_size(model: str) -> bool:
    """Whether the model is built for an image size (position embeddings, windows); convolutions take any."""
    import timm

    size = _pretrained_config(model).input_size[1:]
    try:
        with torch.device("meta"):
            timm.create_model(model, pretrained=False, img_size=size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return False
    return True


def _pretrained_config(model: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(model)


def _classifier_names(model: str) -> list[str]:
    names = _pretrained_config(model).classifier
    return [names] if isinstance(names, str) else list(names or ())


def _classes_in_file(spec: BackboneSpec) -> int | None:
    """Number of classes of the file's head, 0 if it has none; None if timm does not say where the head is."""
    from safetensors import safe_open

    names = _classifier_names(spec.model)
    path = _existing(Path(spec.weights))
    try:
        with safe_open(path, framework="pt") as file:
            keys = set(file.keys())
            for name in names:
                if f"{name}.weight" in keys:
                    return int(file.get_slice(f"{name}.weight").get_shape()[0])
    except Exception as error:
        raise _damaged(path, error) from error
    return 0 if names else None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataUnavailableError(
            "the weights file is not there", where=str(path), fix="--weights random or another file"
        )
    return path


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(
        "the weights file cannot be read", where=str(path), why=str(error), fix="fetch or write it again"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        DataUnavailableError, IntegrityError: It is not there, or damaged.
    """
    from safetensors.torch import load_file

    try:
        return dict(load_file(_existing(path)))
    except DataUnavailableError:
        raise
    except Exception as error:  # safetensors' own type is not part of its Python interface
        raise _damaged(path, error) from error


def fill(model: nn.Module, state: dict[str, Tensor], spec: BackboneSpec) -> None:
    """Load strictly: every name and shape must be the model's, but for position embeddings at a size asked for.

    Raises:
        UsageError: They are not.
    """
    own = model.state_dict()
    if spec.image_size is not None:
        state = _resampled(model, state)
    problems = [
        *_some("missing", own.keys() - state.keys()),
        *_some("unexpected", state.keys() - own.keys()),
        *_some(
            "of another shape",
            {_shapes(n, state[n], own[n]) for n in own.keys() & state.keys() if state[n].shape != own[n].shape},
        ),
    ]
    if problems:
        raise UsageError(
            f"the weights file does not fit {spec.key}",
            where=spec.weights,
            why="; ".join(problems),
            fix="name the model, and with --image-size the size, that the file was written from",
        )
    model.load_state_dict(state)


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


def _shapes(name: str, found: Tensor, expected: Tensor) -> str:
    return f"{name} {tuple(found.shape)}, not {tuple(expected.shape)}"


def _some(what: str, names: set[str], most: int = 5) -> list[str]:
    if not names:
        return []
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{what}: {', '.join(sorted(names)[:most])}{rest}"]


def _download(model: str) -> Path:
    """The model's safetensors file, from the Hugging Face cache or hub."""
    from huggingface_hub import hf_hub_download

    config = _pretrained_config(model)
    fix = "--weights random, --weights FILE.safetensors, or once with a network: the file then stays in the cache"
    if not config.hf_hub_id:
        raise DataUnavailableError(f"there are no pretrained weights for {model}", fix=fix)
    filename = config.hf_hub_filename or "model.safetensors"
    if not filename.endswith(".safetensors"):  # a pickle; timm's repositories hold the same in a safe file
        filename = "open_clip_model.safetensors" if filename.startswith("open_clip") else "model.safetensors"
    try:
        return Path(hf_hub_download(config.hf_hub_id, filename))
    except Exception as error:  # no network, no such file, no permission: half a dozen unrelated types
        raise DataUnavailableError(
            f"the pretrained weights of {model} cannot be had",
            where=f"{config.hf_hub_id}/{filename}",
            why=" ".join(str(error).split())[:300],
            fix=fix,
        ) from error


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
