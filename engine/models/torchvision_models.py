"""Backbones by torchvision's names: `torchvision:resnet50`, with the name of its weights behind a dot.

Without that name the weights are torchvision's own choice (`DEFAULT`). The weights' transforms say how images are
prepared, also for random weights and for those of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision.models import SqueezeNet

from cvbench.engine.models import fitting
from cvbench.engine.models.adapted import Adapted, End, final_classifier, head_in_file, network_of
from cvbench.engine.models.checkpoints import Checkpoint, existing, read_checkpoint
from cvbench.engine.models.networks import Network
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.weights import drawn, file_stamp, fill, on_meta, undrawn
from cvbench.errors import DataUnavailableError, UsageError

_BLOCKS = re.compile(
    r"BasicBlock|Bottleneck|CNBlock|MBConv|FusedMBConv|SwinTransformerBlock|SwinTransformerBlockV2|EncoderBlock"
    r"|InvertedResidual|_InvertedResidual|ResBottleneckBlock|_DenseLayer|MaxVitLayer|Inception[A-E]?|Fire"
)
"""Classes of torchvision that are blocks."""
_TWO_ENDS = ("googlenet", "inception_v3")
"""Pretrained ones shift their input, and have classifiers of earlier layers, which evaluation does not run."""


class TorchvisionModels:
    """The `Maker` of torchvision's classifiers."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """On the meta device; needs no weights but a file's header."""
        return _network(_shaped(lambda: _module(spec, size)), spec)

    def build(self, spec: BackboneSpec) -> Network:
        """With its weights.

        Raises:
            DataUnavailableError, IntegrityError: They cannot be had, or are damaged.
            UsageError: They are of another model.
        """
        module, notes = _filled(spec)
        return _network(module.requires_grad_(False), spec, notes)

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """{"source": "torchvision VERSION"}."""
        import torchvision

        return {"source": f"torchvision {torchvision.__version__.partition('+')[0]}"}

    def trainable(self, spec: BackboneSpec) -> Any:
        """The model with another last layer to come.

        Raises:
            UsageError: Its last layer is not linear.
        """
        model = _network(_filled(spec)[0], spec).module
        if not model.last:
            raise UsageError(f"{spec.model} cannot be fine-tuned: its last layer is not linear", fix="another backbone")
        return model


def _filled(spec: BackboneSpec) -> tuple[nn.Module, tuple[str, ...]]:
    if spec.weights == "random":
        return drawn(lambda: _module(spec), spec.seed), ()
    with undrawn():
        module = _module(spec)
    if spec.file is not None:
        found = read_checkpoint(existing(Path(spec.file)))
        return module, fill(module, _sized(module, found), spec, ends=("aux1", "aux2", "AuxLogits"))
    file = _download(spec)
    fitting.load(module, _sized(module, read_checkpoint(file)).state, spec.key, str(file))
    return module, ()


def _module(spec: BackboneSpec, size: tuple[int, int] | None = None) -> nn.Module:
    """The module without weights, as its pretrained form is built."""
    from torchvision.models import get_model

    name = _name(spec)
    edge = (size or _size(spec))[0]
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = edge
    elif name == "maxvit_t":
        options["input_size"] = (edge, edge)
    elif name in _TWO_ENDS:
        trained = spec.weights != "random"
        options |= {"transform_input": trained, "aux_logits": trained, "init_weights": not trained}
    classes = _classes_in_file(spec, file_stamp(spec)) if spec.file else len(_weights(spec).meta["categories"])
    try:
        module: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
    except NotImplementedError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{spec.model} cannot take images of {edge} x {edge}", why=str(error)[:300], fix="another --image-size"
        ) from error
    return module.eval()


@lru_cache(maxsize=16)
def _classes_in_file(spec: BackboneSpec, stamp: tuple[int, ...] | None) -> int:
    """Classes of the last layer in the file. `stamp`: the file may be replaced between two calls."""
    model = _shaped(lambda: _module(replace(spec, weights="random")))
    head = head_in_file(Path(spec.weights), model, _classifier(spec))
    return len(_weights(spec).meta["categories"]) if head is None else head.classes


def _network(module: nn.Module, spec: BackboneSpec, notes: tuple[str, ...] = ()) -> Network:
    model = Adapted(module, _call, _classifier(spec))
    edge = _size(spec)[0]
    patch = getattr(module, "patch_size", None) if _name(spec).startswith("vit_") else None
    return network_of(
        model,
        logits=True,
        grid=(edge // patch, edge // patch) if patch else None,
        prefix=1 if patch else 0,
        class_token=bool(patch),
        blocks=_blocks(module),
        preprocessing=_preprocessing(spec),
        notes=notes,
    )


def _blocks(module: nn.Module) -> tuple[str, ...]:
    """The outermost modules of a class of `_BLOCKS`; of plain stacks of convolutions, their pooling."""
    kinds = {name: type(part).__name__ for name, part in module.named_modules()}
    found = [name for name, kind in kinds.items() if _BLOCKS.fullmatch(kind)]
    found = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    return tuple(found or [name for name, kind in kinds.items() if kind == "MaxPool2d"])


def _call(module: Any, images: Tensor) -> End:
    if isinstance(module, SqueezeNet):  # its classifier is a convolution before the pooling
        maps = module.features(images)
        return End(maps.mean(dim=(2, 3)), module.classifier(maps).flatten(1))
    logits: Tensor = module(images)
    return End(logits, logits)


@lru_cache(maxsize=64)
def _classifier_of(name: str, edge: int) -> str:
    from torchvision.models import get_model

    options = {"image_size": edge} if name.startswith("vit_") else {}
    options |= {"aux_logits": False, "init_weights": False} if name in _TWO_ENDS else {}
    model = _shaped(lambda: get_model(name, weights=None, **options).eval())
    return final_classifier(model, lambda module, images: module(images), (edge, edge))


def _shaped(make: Callable[[], nn.Module]) -> nn.Module:
    """A module without memory; with it where its code reckons with tensors, as RegNet's does. Nothing is drawn."""
    try:
        with on_meta():
            return make()
    except NotImplementedError:
        with undrawn():
            return make()


def _classifier(spec: BackboneSpec) -> str:
    return _classifier_of(_name(spec), int(_transforms(spec).crop_size[0]))


def _sized(module: nn.Module, found: Checkpoint) -> Checkpoint:
    """A ViT's weights with its position embeddings brought to the module's grid, by torchvision's own function."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    name = "encoder.pos_embedding"
    plain = fitting.fitted(module, found)
    old = plain.state.get(name)
    if not isinstance(module, VisionTransformer) or old is None or old.shape == module.encoder.pos_embedding.shape:
        return Checkpoint(plain.state, plain.notes)
    return Checkpoint(interpolate_embeddings(module.image_size, module.patch_size, plain.state), plain.notes)


def _name(spec: BackboneSpec) -> str:
    return spec.model.partition(":")[2].partition(".")[0]


def _weights(spec: BackboneSpec) -> Any:
    from torchvision.models import get_model_weights

    every = get_model_weights(_name(spec))
    tag = spec.model.partition(".")[2]
    return every[tag] if tag else every.DEFAULT


def _transforms(spec: BackboneSpec) -> Any:
    return _weights(spec).transforms()


def _size(spec: BackboneSpec) -> tuple[int, int]:
    edge = spec.image_size or int(_transforms(spec).crop_size[0])
    return edge, edge


def _preprocessing(spec: BackboneSpec) -> dict[str, Any]:
    rules = _transforms(spec)
    crop, resize = int(rules.crop_size[0]), int(rules.resize_size[0])
    return {
        "input_size": (3, *_size(spec)),
        "mean": tuple(rules.mean),
        "std": tuple(rules.std),
        "interpolation": rules.interpolation.value,
        "crop_mode": "center",
        "crop_pct": crop / resize,
        **({"resize": resize} if spec.image_size in (None, crop) else {}),
    }


def _download(spec: BackboneSpec) -> Path:
    """The file of the weights, from torch's cache, else over the network with the digest in its name checked.

    Raises:
        DataUnavailableError: It cannot be had.
    """
    url = str(_weights(spec).url)
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    digest = re.search(r"-([a-f0-9]{8,})\.", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None, progress=False)
    except Exception as error:  # no network, no such file, another digest: unrelated types
        raise DataUnavailableError(
            f"the pretrained weights of {spec.model} cannot be had",
            where=url,
            why=" ".join(str(error).split())[:300],
            fix=f"--weights random, --weights FILE, or once with a network: the file then stays in {path.parent}",
        ) from error
    return path
