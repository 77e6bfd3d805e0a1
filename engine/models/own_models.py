"""Backbones of one's own: `--backbone module:function`, a callable without arguments that gives an `nn.Module`.

The module takes (B, 3, h, w) float32 images. A callable that gives it alone says nothing more; then images are resized
and cropped as ImageNet's usually are, to 224 x 224. What differs it says with an `OwnModel`:

    def tiny() -> OwnModel:
        return OwnModel(Tiny(), size=(64, 64), prefix=1, class_token=True, stages=("encoder.0", "encoder.1"))

Weights are those that the module has, or of a .safetensors file of its state dict (`--weights`); random numbers are
drawn under the spec's seed. The callable runs in each process that computes, so that what it reads must be there; a
digest of the weights tells if it gives others.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.adapted import main_output
from cvbench.engine.models.checkpoints import read_checkpoint
from cvbench.engine.models.networks import InputOf, Network, patch_grid, prefix_tokens
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.timm_models import timm_network
from cvbench.engine.models.trial import check_alone, ending
from cvbench.engine.models.unready import refuse_unready, uncompiled
from cvbench.engine.models.weights import fill
from cvbench.errors import CvbenchError, UnknownNameError, UsageError, raise_if_lacking

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class OwnModel:
    """A module and what a callable says of it.

    Attributes:
        module: Takes (B, 3, h, w) float32.
        size: (height, width) of its images, pixels.
        mean, std: Per channel, of values in [0, 1].
        interpolation: "bicubic" or "bilinear".
        crop: "center", "squash" or "border", see `engine.models.preprocess`.
        crop_pct: Share of the resized image that is cropped.
        classifier: Name of the module whose input is the head, where the network ends in logits; "" if it does not;
            None: the linear layer whose output is the network's, if there is one.
        grid: (rows, columns) of the patches behind a sequence of tokens; None: as its patch embedding says, if it does.
        prefix: Tokens in front of these; None: its `num_prefix_tokens`, or those of the one module in it that has
            some; else none.
        class_token: Whether the first is a class token; None: whether that module has a `cls_token`.
        stages: Modules that `--taps blocks` means; empty: as usual names say.
    """

    module: nn.Module
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = _IMAGENET[0]
    std: tuple[float, float, float] = _IMAGENET[1]
    interpolation: str = "bicubic"
    crop: str = "center"
    crop_pct: float = 0.875
    classifier: str | None = None
    grid: tuple[int, int] | None = None
    prefix: int | None = None
    class_token: bool | None = None
    stages: tuple[str, ...] = ()


class OwnModels:
    """The `Maker` of models by `module:function`."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """Build the network in full: code of one's own need not run without memory.

        Raises:
            UsageError: As `build`; or what it gives for an image is not of that image alone, see `trial.check_alone`.
        """
        network = self.build(spec)
        if size is None:
            check_alone(network.module, spec.model, network.preprocessing["input_size"][1:])
        return network

    def build(self, spec: BackboneSpec) -> Network:
        """Call the callable.

        Raises:
            UnknownNameError: The module has no such callable, or the network no such classifier or stage.
            UsageError: The module cannot be imported; the callable raises, or gives no module, or a size, mean and so
                on that none can have; weights do not fit; or the network cannot take the images.
            DataUnavailableError, IntegrityError: The file of weights is not there, or damaged.
        """
        given = _called(spec)
        own = given if isinstance(given, OwnModel) else OwnModel(given)
        own = replace(own, module=uncompiled(own.module))
        refuse_unready(own.module, spec.model)
        _check(own, spec.model)
        module = own.module.cpu().float().eval()
        notes = fill(module, read_checkpoint(Path(spec.file)), spec) if spec.file is not None else ()
        module.requires_grad_(False)
        if not isinstance(given, OwnModel) and hasattr(module, "pretrained_cfg") and hasattr(module, "forward_head"):
            return timm_network(module, spec.image_size, notes)
        return _network(own, spec, notes)

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """{"source": sha256 of the file that the callable is written in}; None if there is no such file."""
        name = spec.model.partition(":")[0]
        found = inspect.unwrap(_found(spec.model))
        file = getattr(sys.modules[getattr(found, "__module__", None) or name], "__file__", None)
        code = Path(file).read_bytes() if file and Path(file).is_file() else None
        return {"source": None if code is None else hashlib.sha256(code).hexdigest()}

    def trainable(self, spec: BackboneSpec) -> Any:
        """Refuse: what a module of one's own needs to be trained is not known.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{spec.model} cannot be fine-tuned: it is a module of your own", fix="another --backbone")


def _found(model: str) -> Callable[[], Any]:
    """Find what "module:function" names; also in the working directory, which a console script does not search."""
    name, _, path = model.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: it hides nothing that is installed
    try:
        found: Any = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the code of a stranger raises as it is imported
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        raise UsageError(
            f"there is no module {name!r} to import" if missing else f"{name} cannot be imported",
            where=f"--backbone {model}",
            why=_words(error),
            fix="start from the folder that it lies in, or name that folder in PYTHONPATH" if missing else None,
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            known = [one for one, value in vars(found).items() if callable(value) and not one.startswith("_")]
            raise UnknownNameError.among(f"callable in {name}:", path, known)
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{model} is of type {type(found).__name__} and cannot be called", fix="name a function")
    make: Callable[[], Any] = found
    return make


def _called(spec: BackboneSpec) -> OwnModel | nn.Module:
    make = _found(spec.model)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            given = make()
    except CvbenchError:
        raise
    except (Exception, SystemExit) as error:  # likewise
        raise_if_lacking(error)
        raise UsageError(f"{spec.model} raises as it is called", why=_words(error)) from error
    module = given.module if isinstance(given, OwnModel) else given
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{spec.model} gives no torch.nn.Module",
            why=f"it gives {type(module).__name__}",
            fix="return the module itself, or an OwnModel of it",
        )
    return given if isinstance(given, OwnModel) else module


def _check(own: OwnModel, model: str) -> None:
    """Refuse what no image and no network can have.

    Raises:
        UsageError: A field of another form.
        UnknownNameError: A stage that is no module of the network.
    """
    numbers = (
        ("size", own.size, 2, lambda one: type(one) is int and one > 0, "(height, width), whole numbers above 0"),
        ("grid", own.grid, 2, lambda one: type(one) is int and one > 0, "(rows, columns), whole numbers above 0"),
        ("mean", own.mean, 3, lambda one: math.isfinite(one), "three numbers"),
        ("std", own.std, 3, lambda one: math.isfinite(one) and one > 0, "three numbers above 0"),
        ("crop_pct", (own.crop_pct,), 1, lambda one: 0 < one <= 1, "a share above 0, at most 1"),
        ("prefix", (own.prefix or 0,), 1, lambda one: type(one) is int and one >= 0, "a whole number"),
    )
    for name, values, count, fits, expected in numbers:
        if values is None:
            continue
        try:
            good = len(values) == count and all(map(fits, values))
        except TypeError:  # no sequence, or no numbers
            good = False
        if not good:
            raise UsageError(f"{name} of {model} is {getattr(own, name)!r}", fix=f"OwnModel({name}=...): {expected}")
    modules = dict(own.module.named_modules())
    for stage in own.stages:
        if stage not in modules:
            raise UnknownNameError.among(f"stage of {model}:", stage, modules)


def _network(own: OwnModel, spec: BackboneSpec, notes: tuple[str, ...]) -> Network:
    module = own.module
    size = own.size if spec.image_size is None else (spec.image_size, spec.image_size)
    end = ending(module, spec.model, size)
    name = end.classifier if own.classifier is None else own.classifier
    modules = dict(module.named_modules())
    if name and name not in modules:
        raise UnknownNameError.among(f"classifier of {spec.model}:", name, modules)

    read = InputOf()

    def reading() -> AbstractContextManager[None]:
        return read.reading(modules[name]) if name else nullcontext()

    def features(images: Tensor) -> tuple[Any, Any]:
        if name and not read.placed:
            with reading():
                return features(images)
        end = main_output(module(images))
        return read.last(end), end

    tokens, class_token = _leading(module)
    names = ("mean", "std", "interpolation", "crop_pct")
    return Network(
        module=module,
        features=features,
        head=lambda found: found[0],
        logits=lambda found: found[1],
        outputs=(("head", "logits") if name else ("head",)) if end.matrix else (),
        grid=patch_grid(module) if own.grid is None else own.grid,
        prefix=tokens if own.prefix is None else own.prefix,
        class_token=class_token if own.class_token is None else own.class_token,
        stages=(),
        blocks=own.stages,
        preprocessing={"input_size": (3, *size), "crop_mode": own.crop, **{one: getattr(own, one) for one in names}},
        notes=notes,
        own=True,
        reading=reading,
    )


def _leading(module: nn.Module) -> tuple[int, bool]:
    """Tokens in front of the grid, as the module says them, or else the modules in it that do, if they agree."""
    if getattr(module, "num_prefix_tokens", None) is not None:
        return prefix_tokens(module)
    said = {prefix_tokens(part) for part in module.modules() if getattr(part, "num_prefix_tokens", None) is not None}
    return said.pop() if len(said) == 1 else prefix_tokens(module)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
