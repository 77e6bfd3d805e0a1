"""What `cvbench models` does: the forms in which a backbone can be named, names that fit a pattern, one in detail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

from cvbench.engine.models.forms import FORMS, form_of, split_name
from cvbench.errors import UnknownNameError
from cvbench.jobs.reading import known


@dataclass(frozen=True)
class FormListed:
    """One form of names.

    Attributes:
        form: What is typed.
        about: What it is.
        installed: Whether its package is.
        fix: The command that installs it; "" if it is there.
    """

    form: str
    about: str
    installed: bool
    fix: str


@dataclass(frozen=True)
class ModelListed:
    """A model that fits a pattern.

    Attributes:
        name: What --backbone takes.
        input_size: Edge of its images, pixels; None if the library does not say it of a name.
        classes: Of its classifier; 0 without one; None if it is not said.
        pretrained: Whether there are weights.
    """

    name: str
    input_size: int | None
    classes: int | None
    pretrained: bool


@dataclass(frozen=True)
class ModelDescribed:
    """One backbone.

    Attributes:
        name: What it is called in a store.
        model: Its full name.
        input_size: (height, width), pixels.
        parameters: Number of them.
        head: D of its head; None if it has none.
        classes: K of its logits; None if it has none.
        blocks: Layers that `--taps blocks` means; 0 if they are not known.
        taps: Everything that can be tapped.
        preprocess: Of its images.
    """

    name: str
    model: str
    input_size: tuple[int, int]
    parameters: int
    head: int | None
    classes: int | None
    blocks: int
    taps: int
    preprocess: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready record."""
        return asdict(self)


def list_forms() -> list[FormListed]:
    """Every form in which a backbone can be named; imports no library."""
    timm = FormListed("NAME", "a timm model, with or without its tag, or an alias", True, "")
    own = FormListed("module:function", "a callable of your own that gives an nn.Module", True, "")
    named = FormListed(
        "MY_NAME=any of these", "under a name of your own, so that one model can be there twice", True, ""
    )
    rest = [
        FormListed(
            form.shown,
            form.about + (", or of a folder" if form.hub and form.folder else ""),
            find_spec(form.package) is not None,
            "" if find_spec(form.package) else f"pip install 'cvbench[{form.extra}]'",
        )
        for form in FORMS.values()
    ]
    return [timm, *rest, own, named]


def list_models(patterns: Sequence[str]) -> list[ModelListed]:
    """The models whose names fit a glob, or have all words of a pattern in them; each once.

    Raises:
        UnknownNameError: Nothing fits a pattern.
    """
    found: dict[str, ModelListed] = {}
    for pattern in patterns:
        fitting = [name for name in _names(pattern) if _fits(name, pattern)]
        if not fitting:
            raise UnknownNameError.among("model", pattern, [*known.models("")], fix="a part of the name, or a glob")
        found |= {name: _listed(name) for name in fitting}
    return list(found.values())


def _fits(name: str, pattern: str) -> bool:
    if any(sign in pattern for sign in "*?["):
        return fnmatchcase(name, pattern)
    return all(word in name.lower() for word in re.split(r"[^a-z0-9]+", pattern.lower()))


def _names(pattern: str) -> Iterator[str]:
    """The names of every library that could fit; one with its prefix in front is asked alone."""
    form = form_of(pattern)
    if form is None:
        import timm

        yield from timm.list_models()
        yield from timm.list_models(pretrained=True)
    if form is None or form.prefix == "torchvision":
        import torchvision.models
        from torchvision.models import get_model_weights, list_models

        for name in list_models(module=torchvision.models):
            yield f"torchvision:{name}"
            trained = (weights for weights in get_model_weights(name) if weights.meta["categories"])  # as `forms` takes
            yield from (f"torchvision:{name}.{weights.name}" for weights in trained)
    if (form is None or form.prefix == "open_clip") and find_spec("open_clip"):
        import open_clip

        yield from (f"open_clip:{name}/{tag}" for name, tag in open_clip.list_pretrained())


def _listed(name: str) -> ModelListed:
    form, rest = form_of(name), name.partition(":")[2]
    if form is None:
        import timm

        config: Any = timm.get_pretrained_cfg(name)
        tagged = "." in name or bool(config.tag)
        return ModelListed(
            name, int(config.input_size[-1]), int(config.num_classes or 0), tagged and config.has_weights
        )
    if form.prefix == "open_clip":
        import open_clip

        sizes: Any = open_clip.get_model_config(rest.partition("/")[0]) or {}
        return ModelListed(name, sizes.get("vision_cfg", {}).get("image_size"), 0, True)
    from torchvision.models import get_model_weights

    model, _, tag = rest.partition(".")
    every: Any = get_model_weights(model)
    weights = every[tag] if tag else every.DEFAULT
    return ModelListed(name, int(weights.transforms().crop_size[0]), len(weights.meta["categories"]), True)


def describe_model(entry: str, image_size: int | None = None) -> ModelDescribed:
    """One backbone in detail; no weights are loaded, but a config may be fetched from a hub.

    Raises:
        UnknownNameError, UsageError, DataUnavailableError: As `engine.models.specs.resolve_spec`.
    """
    from cvbench.engine.models.backbones import describe, resolve_spec
    from cvbench.engine.models.forms import is_own

    weights = "pretrained" if is_own(split_name(entry)[1]) else "random"
    spec = resolve_spec(entry, weights=weights, image_size=image_size)
    whole = describe(spec, taps=["*"])
    try:
        blocks = len(describe(spec, taps=["blocks"]).layouts)
    except UnknownNameError:
        blocks = 0
    return ModelDescribed(
        spec.key,
        spec.model,
        whole.preprocess.geometry.size,
        whole.parameters,
        whole.head_sizes.get("head"),
        whole.head_sizes.get("logits"),
        blocks,
        len(whole.tap_names),
        whole.preprocess.as_dict(),
    )
