"""Vision models of Hugging Face transformers: `hf:OWNER/NAME` of the hub or its cache, `hf:FOLDER` of this machine.

Read are the config, the image processor's rules and .safetensors; never code of a repository, never a pickle of it.

    head     what the classifier reads; without one the model's pooled output, and where it has none the class token of
             the last hidden state, or the mean over its positions
    logits   of a checkpoint with a classifier of images
    CLIP, SigLIP and their kin: the vision tower; its pooled output comes before the projection
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvbench.engine.models import fitting
from cvbench.engine.models.adapted import (
    ADDED,
    Adapted,
    AddedHead,
    End,
    final_classifier,
    head_in_file,
    network_of,
)
from cvbench.engine.models.blocks import listed_blocks
from cvbench.engine.models.checkpoints import existing, read_checkpoint, shapes_of
from cvbench.engine.models.forms import folder_of
from cvbench.engine.models.hub import hub_folder, revision_of
from cvbench.engine.models.huggingface_images import flips_channels, preprocessing
from cvbench.engine.models.networks import Network
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.weights import drawn, file_stamp, on_meta, undrawn
from cvbench.errors import CvbenchError, IntegrityError, UsageError, raise_if_lacking

_ROW_MAJOR = {
    "vit", "deit", "beit", "data2vec-vision", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit_msn", "vit_mae",
    "ijepa", "clip_vision_model", "siglip_vision_model", "metaclip_2_vision_model", "swin", "swinv2", "donut-swin",
    "pvt", "focalnet", "segformer",
}  # fmt: skip
"""Types whose tokens are known to lie row by row behind their prefix; of others no grid is claimed."""
_MASKED = "vit_mae"
_NEEDS_MORE = {"siglip2_vision_model"}
"""Types whose forward pass wants more than images."""


class HuggingFaceModels:
    """The `Maker` of transformers' vision models."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """On the meta device; needs the config, and no weights but a file's header.

        Raises:
            DataUnavailableError: The config cannot be had.
            UsageError: It is of no vision model.
        """
        with on_meta():
            return _network(_empty(spec), spec, size)

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
        """{"source": "transformers VERSION", "config": sha256 of its config}, and the "revision" of the hub."""
        import transformers

        folder = _folder(spec, weights=False)
        digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        revision = revision_of(folder)
        found = {"source": f"transformers {transformers.__version__}", "config": digest}
        return found if revision is None else {**found, "revision": revision}

    def trainable(self, spec: BackboneSpec) -> Any:
        """The model, with another last layer to come.

        Raises:
            UsageError: Its logits are of two layers.
        """
        model = _built(spec).module
        if hasattr(model, "distillation_classifier"):
            raise UsageError(
                f"{spec.key} cannot be fine-tuned: its logits are the mean of two layers", fix="another --backbone"
            )
        return model


def _built(spec: BackboneSpec) -> Network:
    module, notes = _filled(spec)
    network, head = _network(module, spec, None, notes), _head(spec)
    if spec.file is not None and head is not None and not head.own:
        state = fitting.fitted(network.module, read_checkpoint(Path(spec.file))).state
        network.module.get_submodule(ADDED).load_state_dict(
            {name: state[f"{ADDED}.{name}"] for name in ("weight", "bias")}
        )
    return network


def _folder(spec: BackboneSpec, *, weights: bool) -> Path:
    return folder_of(spec.model) or hub_folder(spec.model.partition(":")[2], weights=weights)


@lru_cache(maxsize=16)
def _config(folder: Path, stamp: tuple[int, ...] | None) -> Any:
    """The config of the vision model in a folder. `stamp`: it may be replaced between two calls."""
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        found = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a file that anybody may have written
        raise UsageError(
            "the config is of no model of transformers",
            where=str(folder / "config.json"),
            why=" ".join(str(error).split())[:300],
            fix="hf-hub: or local-dir: for a model of timm; models whose code lies in their repository are not read",
        ) from error
    named = (getattr(found, "architectures", None) or [""])[0]
    tower = getattr(found, "vision_config", None)
    if tower is not None and not named.endswith("ForImageClassification"):
        tower.architectures = None
        found = tower
    return found


def _model_class(config: Any) -> Any:
    """The class that the config names where it classifies images, else the bare model of its type."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, MODEL_MAPPING

    named = (getattr(config, "architectures", None) or [""])[0]
    found = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.get(type(config), None)
    classifiers = found if isinstance(found, tuple) else (found,)
    chosen = next((one for one in classifiers if one is not None and one.__name__ == named), None)
    chosen = chosen or MODEL_MAPPING.get(type(config), None)
    chosen = chosen[0] if isinstance(chosen, tuple) else chosen
    vision = chosen is not None and getattr(chosen, "main_input_name", "") == "pixel_values"
    if not vision or config.model_type in _NEEDS_MORE:
        raise UsageError(
            f"{named or config.model_type} is no model that takes images alone",
            where=f"transformers {transformers.__version__}",
            why=f"its type is {config.model_type}",
            fix="a vision model or tower, such as hf:facebook/dinov2-small",
        )
    return chosen


def _described(spec: BackboneSpec) -> tuple[Any, Path]:
    """A copy of the config, with as many classes as a file's head, and the folder that it lies in."""
    folder = _folder(spec, weights=False)
    config = copy.deepcopy(_config(folder, file_stamp(spec)))
    head = _head(spec)
    if head is not None and head.own:
        config.num_labels = head.classes
    if config.model_type == _MASKED:
        config.mask_ratio = 0.0  # features are of whole images
    return config, folder


def _head(spec: BackboneSpec) -> AddedHead | None:
    return None if spec.file is None else _head_in_file(spec, file_stamp(spec))


@lru_cache(maxsize=16)
def _head_in_file(spec: BackboneSpec, stamp: tuple[int, ...] | None) -> AddedHead | None:
    """The classifier in the file of weights. `stamp`: the file may be replaced between two calls."""
    bare = replace(spec, weights="random")
    with on_meta():
        model = _empty(bare)
        return head_in_file(Path(spec.weights), model, _classifier(model, bare))


def _empty(spec: BackboneSpec) -> Any:
    """The model with whatever weights the device in force draws."""
    config, folder = _described(spec)
    model = _model_class(config)._from_config(config).eval()
    if spec.weights == "pretrained" and _lacks_pooler(folder):
        model.pooler = None
    return model


def _lacks_pooler(folder: Path) -> bool:
    """Whether the checkpoint beside a config has no pooling layer, which the library would then draw at random."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    try:
        if index.is_file():
            names = json.loads(index.read_text())["weight_map"]
        elif single.is_file():
            names = shapes_of(single)
        else:
            return False
    except (CvbenchError, ValueError, KeyError, TypeError, RecursionError):  # loading says it
        return False
    return not any("pooler" in name or "probe" in name for name in names)


def _filled(spec: BackboneSpec) -> tuple[Any, tuple[str, ...]]:
    if spec.weights == "random":
        return drawn(lambda: _empty(spec), spec.seed), ()
    if spec.file is not None:
        return _from_file(spec)
    folder = _folder(spec, weights=True)
    return _loaded(spec, str(folder), str(folder))


def _loaded(spec: BackboneSpec, where: str, source: str | None, **given: Any) -> tuple[Any, tuple[str, ...]]:
    """Let the library load weights, under the names that it had for them at any time.

    Raises:
        UsageError: Some are missing, or of another shape.
        IntegrityError: They cannot be read.
    """
    config, folder = _described(spec)
    try:
        model, info = _model_class(config).from_pretrained(
            source, config=config, use_safetensors=True, local_files_only=True, output_loading_info=True,
            dtype=torch.float32, ignore_mismatched_sizes=True, **given,
        )  # fmt: skip
    except Exception as error:  # no file, no safetensors, a damaged one: unrelated types
        raise_if_lacking(error)
        raise IntegrityError(
            f"the weights of {spec.key} cannot be read",
            where=where,
            why=" ".join(str(error).split())[:300],
            fix="a model.safetensors beside config.json, as save_pretrained writes it; or --weights FILE",
        ) from error
    missing = {str(name) for name in info["missing_keys"]}
    if spec.weights == "pretrained" and _lacks_pooler(folder):
        model.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    shapes = [str(one[0]) if isinstance(one, tuple) else str(one) for one in info["mismatched_keys"]]
    if missing or shapes:
        problems = [("missing", sorted(missing)), ("of another shape", sorted(shapes))]
        raise UsageError(
            f"the weights do not fit {spec.key}",
            where=where,
            why="; ".join(f"{what}: {fitting.some(names)}" for what, names in problems if names),
            fix="the folder or repository that they were saved in, with its own config.json",
        )
    unexpected = sorted(map(str, info["unexpected_keys"]))
    notes = [f"left out {fitting.some(unexpected)}"] if unexpected and spec.file else []
    return model.eval(), fitting.notes_of(spec.key, where, notes)


def _from_file(spec: BackboneSpec) -> tuple[Any, tuple[str, ...]]:
    """The model with the weights of a file, under the names that the library has for them or once had."""
    with undrawn():
        model = _empty(spec)
    brought = fitting.fitted(model, read_checkpoint(existing(Path(spec.weights))))
    if not model.state_dict().keys() <= brought.state.keys():
        loaded, more = _loaded(spec, spec.weights, None, state_dict=brought.state)
        return loaded, (*fitting.notes_of(spec.key, spec.weights, brought.notes), *more)
    head = _head(spec)
    added = head is not None and not head.own  # by fine-tuning; it is filled behind the network
    own = {name: one for name, one in brought.state.items() if not (added and name.startswith(f"{ADDED}."))}
    notes = [*brought.notes, *fitting.load(model, own, spec.key, spec.weights)]
    return model, fitting.notes_of(spec.key, spec.weights, notes)


def _network(module: Any, spec: BackboneSpec, size: tuple[int, int] | None, notes: tuple[str, ...] = ()) -> Network:
    config, folder = _described(spec)
    rules = preprocessing(folder, config, spec)
    height, width = size or rules["input_size"][1:]
    model = Adapted(module, _caller(config, folder, spec, (height, width)), _classifier(module, spec))
    head = _head(spec)
    if head is not None and not head.own:
        model.add_classifier(head)
    names = {name.rpartition(".")[2] for name, _ in module.named_parameters()}
    class_token = bool(names & {"cls_token", "class_embedding"})
    registers = int(getattr(config, "num_register_tokens", 0) or 0) if "register_tokens" in names else 0
    patch = _patch(config)
    return network_of(
        model,
        logits="ForImageClassification" in type(module).__name__,
        grid=(height // patch, width // patch) if patch and config.model_type in _ROW_MAJOR else None,
        prefix=int(class_token) + ("distillation_token" in names) + registers,
        class_token=class_token,
        blocks=listed_blocks([name for name, _ in module.named_modules()]),
        preprocessing=rules,
        notes=notes,
    )


def _patch(config: Any) -> int | None:
    """Edge of the patches that the first sequence of tokens stands for, in pixels."""
    patch = getattr(config, "patch_size", None) or (getattr(config, "strides", None) or [None])[0]
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    return int(patch) if patch else None


def _caller(config: Any, folder: Path, spec: BackboneSpec, size: tuple[int, int]) -> Callable[[Any, Tensor], End]:
    own = getattr(config, "image_size", None)
    other = own is not None and (own, own) != size and list(size) != own
    flips = spec.preset == "model" and flips_channels(folder)
    return partial(_call, interpolate=other, flips=flips, unmasked=config.model_type == _MASKED)


def _call(model: Any, images: Tensor, *, interpolate: bool, flips: bool, unmasked: bool) -> End:
    options: dict[str, Any] = {}
    if interpolate and "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        options["interpolate_pos_encoding"] = True
    if unmasked:  # else it would shuffle patches at random
        patches = images.shape[2] // model.config.patch_size * (images.shape[3] // model.config.patch_size)
        options["noise"] = torch.arange(patches, device=images.device, dtype=torch.float32).expand(len(images), -1)
    found = model(pixel_values=images.flip(1) if flips else images, **options)
    logits = getattr(found, "logits", None)
    return End(_pooled(found, model) if logits is None else logits, logits)


def _pooled(found: Any, model: Any) -> Tensor:
    pooled = getattr(found, "pooler_output", None)
    if pooled is not None:
        flat: Tensor = pooled.flatten(1)
        return flat
    last: Tensor = found.last_hidden_state
    if last.ndim == 4:
        return last.mean(dim=(2, 3))
    tokens = {name.rpartition(".")[2] for name, _ in model.named_parameters()} & {"cls_token", "class_embedding"}
    return last[:, 0] if tokens else last.mean(dim=1)


def _classifier(module: Any, spec: BackboneSpec) -> str:
    """The linear layer that gives the logits; "" for a bare model."""
    if "ForImageClassification" not in type(module).__name__:
        return ""
    folder = _folder(spec, weights=False)
    return _classifier_of(type(module).__name__, folder, file_stamp(replace(spec, weights="random")), spec.preset)


@lru_cache(maxsize=32)
def _classifier_of(kind: str, folder: Path, stamp: tuple[int, ...] | None, preset: Any) -> str:
    spec = BackboneSpec(f"hf:{folder}", "random", preset=preset)
    config = _config(folder, stamp)
    height, width = preprocessing(folder, config, spec)["input_size"][1:]
    with on_meta():
        model = _model_class(config)._from_config(copy.deepcopy(config)).eval()
        call = _caller(config, folder, spec, (height, width))
        name = final_classifier(model, lambda module, images: call(module, images).logits, (height, width))
    return name or ("cls_classifier" if hasattr(model, "cls_classifier") else "")
