"""Visual towers of open_clip: `open_clip:ViT-B-32/laion2b_s34b_b79k`, `open_clip:hf-hub:OWNER/NAME`,
`open_clip:local-dir:FOLDER`.

The head is what the tower gives, which CLIP compares with texts: for ViTs that is behind the projection; the linear
probes of the CLIP paper read what is before it (Radford et al. 2021, appendix A.3), which `ln_post` gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from cvbench.engine.models import fitting
from cvbench.engine.models.adapted import Adapted, AddedHead, End, head_in_file, network_of
from cvbench.engine.models.blocks import listed_blocks
from cvbench.engine.models.checkpoints import existing, read_checkpoint
from cvbench.engine.models.forms import folder_of
from cvbench.engine.models.hub import hub_file
from cvbench.engine.models.networks import Network, patch_grid, prefix_tokens
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.weights import drawn, file_stamp, on_meta, undrawn
from cvbench.errors import DataUnavailableError, UsageError

_FILES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")
_CROPS = {"shortest": "center", "squash": "squash", "longest": "border"}


class OpenClipModels:
    """The `Maker` of open_clip's visual towers."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """On the meta device; needs no weights but a file's header."""
        with on_meta():
            return _network(_tower(spec, size, device="meta"), spec)

    def build(self, spec: BackboneSpec) -> Network:
        """With its weights.

        Raises:
            DataUnavailableError, IntegrityError: They cannot be had, or are damaged.
            UsageError: They are of another model.
        """
        network = _built(spec)
        network.module.requires_grad_(False)
        return network

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """{"source": "open_clip VERSION"}."""
        import open_clip

        return {"source": f"open_clip {open_clip.__version__}"}

    def trainable(self, spec: BackboneSpec) -> Any:
        """The tower, with a linear layer behind it to come."""
        return _built(spec).module


def _built(spec: BackboneSpec) -> Network:
    if spec.weights == "random":
        return _network(drawn(lambda: _tower(spec), spec.seed), spec)
    with undrawn():
        network = _network(_tower(spec), spec)
    file = Path(spec.file) if spec.file is not None else _weights_file(spec)
    found = fitting.fitted(network.module, read_checkpoint(existing(file)))
    notes = fitting.load(network.module, _resized(network.module._inner, found.state), spec.key, str(file))
    if spec.file is None:
        return network
    return _network(network.module, spec, fitting.notes_of(spec.key, str(file), [*found.notes, *notes]))


def _resized(tower: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with position embeddings brought to the tower's grid, by open_clip's own function."""
    from open_clip.model import resize_pos_embed

    name = "positional_embedding"
    own, found = getattr(tower, name, None), state.get(name)
    if own is None or found is None or own.shape == found.shape or own.shape[1:] != found.shape[1:]:
        return state
    inner = {f"visual.{name}": found}
    resize_pos_embed(inner, _Visual(tower))
    return {**state, name: inner[f"visual.{name}"]}


class _Visual:
    def __init__(self, tower: Any) -> None:
        self.visual = tower


def _tower(spec: BackboneSpec, size: tuple[int, int] | None = None, device: str = "cpu") -> Any:
    """The visual tower without weights.

    Raises:
        UsageError: It cannot be built, as for a config that is none of open_clip's.
    """
    import open_clip

    name, tag = _named(spec)
    edge = size or (None if spec.image_size is None else (spec.image_size, spec.image_size))
    try:
        with _quiet():
            model = open_clip.create_model(
                name,
                load_weights=False,
                pretrained_text=False,
                device=device,
                force_image_size=edge,
                force_quick_gelu=bool(_preset(name, tag).get("quick_gelu", False)),
            )
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, OSError) as error:
        raise UsageError(
            f"{spec.model} cannot be built",
            why=" ".join(f"{type(error).__name__}: {error}".split())[:300],
            fix="open_clip:NAME/WEIGHTS, or a folder with open_clip_config.json",
        ) from error
    return model.visual.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what open_clip logs of a model that has no weights yet: they are loaded afterwards."""

    def other(record: logging.LogRecord) -> bool:
        return "initialized" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(other)  # open_clip logs by the root
    try:
        yield
    finally:
        root.removeFilter(other)


def _network(module: Any, spec: BackboneSpec, notes: tuple[str, ...] = ()) -> Network:
    if isinstance(module, Adapted):
        model = module
    else:
        model = Adapted(module, _call, "")
        head = _head(spec)
        if head is not None:
            model.add_classifier(head)
    names = {name for name, _ in model.named_parameters(recurse=False)}
    trunk = getattr(model, "trunk", None)
    prefix, class_token = prefix_tokens(trunk) if trunk is not None else (int("class_embedding" in names),) * 2
    return network_of(
        model,
        grid=patch_grid(model) or getattr(model._inner, "grid_size", None),
        prefix=prefix,
        class_token=bool(class_token),
        blocks=listed_blocks([name for name, _ in model.named_modules()]),
        preprocessing=_preprocessing(model._inner, spec),
        notes=notes,
    )


def _call(tower: Any, images: Tensor) -> End:
    found = tower(images)
    head: Tensor = found[0] if isinstance(found, tuple) else found
    return End(head, None)


def _head(spec: BackboneSpec) -> AddedHead | None:
    return None if spec.file is None else _head_in_file(spec, file_stamp(spec))


@lru_cache(maxsize=16)
def _head_in_file(spec: BackboneSpec, stamp: tuple[int, ...] | None) -> AddedHead | None:
    """The classifier that fine-tuning has added. `stamp`: the file may be replaced between two calls."""
    with on_meta():
        return head_in_file(Path(spec.weights), _tower(spec, device="meta"), "")


def _named(spec: BackboneSpec) -> tuple[str, str]:
    """(name of the model, tag of its weights or "")."""
    rest = spec.model.partition(":")[2]
    if rest.startswith(("hf-hub:", "local-dir:")):
        return rest, ""
    name, _, tag = rest.partition("/")
    return name, tag


def _preset(name: str, tag: str) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    return dict(get_pretrained_cfg(name, tag)) if tag else {}


def _preprocessing(tower: Any, spec: BackboneSpec) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    over = {key: value for key, value in _preset(*_named(spec)).items() if key in PreprocessCfg.__dataclass_fields__}
    rules = merge_preprocess_dict(dict(getattr(tower, "preprocess_cfg", {})), over)
    size = rules["size"] if spec.image_size is None else spec.image_size
    height, width = (size, size) if isinstance(size, int) else size
    crop = _CROPS.get(rules["resize_mode"])
    if crop is None or rules["interpolation"] not in ("bicubic", "bilinear"):
        raise UsageError(
            f"images of {spec.model} are prepared in a way that we do not have",
            why=f"resize_mode {rules['resize_mode']}, interpolation {rules['interpolation']}",
            fix="--preprocess beyond_inet",
        )
    return {
        "input_size": (3, height, width),
        "mean": tuple(rules["mean"]),
        "std": tuple(rules["std"]),
        "interpolation": rules["interpolation"],
        "crop_mode": crop,
        "crop_pct": 1.0,
    }


def _weights_file(spec: BackboneSpec) -> Path:
    """The file of pretrained weights: of a folder, or of the hub or its cache.

    Raises:
        DataUnavailableError: There are none, or they cannot be had.
    """
    folder = folder_of(spec.model)
    if folder is not None:
        found = next((folder / name for name in _FILES if (folder / name).is_file()), None)
        if found is None:
            raise DataUnavailableError("the folder holds no weights", where=str(folder), why=f"none of {_FILES}")
        return found
    name, tag = _named(spec)
    if name.startswith("hf-hub:"):
        return hub_file(name.partition(":")[2], _FILES)
    repository, _, file = str(_preset(name, tag).get("hf_hub", "")).rpartition("/")
    if not repository:
        from open_clip import list_pretrained

        tags = [one for model, one in list_pretrained() if model == name and _preset(model, one).get("hf_hub")]
        raise DataUnavailableError(
            f"no weights are named in {spec.model}" if not tag else f"the weights {tag} are on no hub that is read",
            fix=f"open_clip:{name}/{tags[0]}" if tags else "--weights random or FILE",
            why=f"there are {', '.join(tags[:8])}" if tags else None,
        )
    return hub_file(repository, [file] if file else _FILES)
