"""Which backbone is meant: names, aliases, and where its weights come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Any, Literal

from cvbench.engine.models import forms
from cvbench.errors import UnknownNameError, UsageError
from cvbench.hints import command

PRETRAINED_21K = {
    "convnext-base": "convnext_base.fb_in22k",
    "convnext-b": "convnext_base.fb_in22k",
    "vit-base-16": "vit_base_patch16_224.augreg_in21k",
    "vit-b16": "vit_base_patch16_224.augreg_in21k",
}
"""The study's pair, trained on ImageNet-21k: for representations."""

FINE_TUNED_1K = {
    "convnext_base.fb_in22k": "convnext_base.fb_in22k_ft_in1k",
    "vit_base_patch16_224.augreg_in21k": "vit_base_patch16_224.augreg_in21k_ft_in1k",
}
"""The same, fine-tuned on ImageNet-1k: where logits are needed."""

Preset = Literal["model", "beyond_inet", "pug"]
PRESETS: tuple[Preset, ...] = ("model", "beyond_inet", "pug")
"""Rules of preprocessing, see `engine.models.preprocess`."""


@dataclass(frozen=True)
class BackboneSpec:
    """Everything that says which function a backbone is; frozen, hashable, travels to workers.

    Attributes:
        model: timm's name, tag included where one was given; or another form, see `engine.models.forms`.
        weights: "pretrained", "random", or the path of a file, see `engine.models.checkpoints`.
        seed: Of the random weights.
        image_size: Edge in pixels, instead of the model's own.
        decoder: "fast" or "pil", see `engine.pictures.decode`.
        preset: Of `PRESETS`.
        name: Of one's own, instead of the model's; "" for none.
    """

    model: str
    weights: str = "pretrained"
    seed: int = 0
    image_size: int | None = None
    decoder: Literal["fast", "pil"] = "fast"
    preset: Preset = "model"
    name: str = ""

    @property
    def key(self) -> str:
        """The backbone's name in a store.

        >>> BackboneSpec("test_vit", image_size=64).key
        'test_vit@64'
        >>> BackboneSpec("nets.small:make").key
        'nets.small.make'
        >>> BackboneSpec("test_vit", image_size=64, name="tuned").key
        'tuned@64'
        """
        name = self.name or forms.default_key(self.model)
        return name if self.image_size is None else f"{name}@{self.image_size}"

    @property
    def is_own(self) -> bool:
        """Whether it is named by a callable of one's own."""
        return forms.is_own(self.model)

    @property
    def file(self) -> str | None:
        """The path of the file that its weights are in; None if a word says what they are."""
        return None if self.weights in forms.WORDS else self.weights

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready record; `BackboneSpec(**record)` rebuilds the spec."""
        return asdict(self)


def renamed(name: str) -> str | None:
    """Find timm's present name of a model whose old name it still takes; None for any other name.

    >>> renamed("vit_base_patch16_224_in21k"), renamed("vit_base_patch16_224")
    ('vit_base_patch16_224.augreg_in21k', None)
    """
    from timm.models import _registry

    known: dict[str, str | None] = getattr(_registry, "_deprecated_models", {})
    return known.get(name)


def _timm_name(name: str, head: bool) -> str:
    import timm

    model = PRETRAINED_21K.get(name, name)
    model = renamed(model) or model
    if head and name in PRETRAINED_21K:
        model = FINE_TUNED_1K[model]
    tagged = "." in model
    known = re.fullmatch(r"[\w.\-]+", model) is not None and timm.is_model(model)
    if not known or (tagged and model not in timm.list_models(pretrained=True)):
        forms.check_name(name)
        raise _unknown(name, [*PRETRAINED_21K, *timm.list_models(), *timm.list_models(pretrained=True)])
    return model


_MOST_NAMED = 12


def _unknown(name: str, every: Sequence[str]) -> UnknownNameError:
    """The error for a name that timm lacks: with the models whose names have a part of it, else with the nearest."""
    if "/" in name and not name.startswith((".", "/")):
        ways = [f"hf:{name}", f"hf-hub:{name}"]
        return UnknownNameError(
            f"unknown backbone {name!r}",
            did_you_mean=ways,
            fix=f"of the hub: {ways[0]} (transformers), {ways[1]} (timm)",
        )
    asked = name.rpartition("/")[2].lower()
    parts = [asked, *sorted(re.findall(r"[a-z0-9]{4,}", asked), key=len, reverse=True)]
    for part in parts:
        fitting = [model for model in dict.fromkeys(every) if part in model]
        tagged = [model for model in fitting if "." in model] or fitting
        if tagged:
            near = sorted(tagged, key=lambda model: -SequenceMatcher(None, asked, model).ratio())
            slips = get_close_matches(asked, every, n=1, cutoff=0.9)  # a letter too few, say
            more = f" and {len(near) - _MOST_NAMED} more" if len(near) > _MOST_NAMED else ""
            fix = f"{len(near)} timm models match {part}: {', '.join(near[:_MOST_NAMED])}{more}"
            meant = [*dict.fromkeys([*slips, *near])][:3]
            return UnknownNameError(f"unknown backbone {name!r}", did_you_mean=meant, fix=fix)
    return UnknownNameError.among("backbone", name, every, fix=command("models ls", "PATTERN"))


def key_of(entry: str, image_size: int | None = None) -> str:
    """The name in a store of a backbone as it is typed; asks no library, and does not check.

    >>> key_of("tuned=test_vit", 64), key_of("vit-base-16")
    ('tuned@64', 'vit_base_patch16_224.augreg_in21k')
    """
    name, model = forms.split_name(entry)
    return BackboneSpec(PRETRAINED_21K.get(model, model), image_size=image_size, name=name).key


def resolve_spec(
    name: str,
    *,
    weights: str = "pretrained",
    head: bool = False,
    image_size: int | None = None,
    decoder: Literal["fast", "pil"] = "fast",
    seed: int = 0,
    preset: Preset = "model",
) -> BackboneSpec:
    """The spec for a name as a user gives it.

    Args:
        name: An alias (`convnext-base`, `vit-base-16`, ...), any timm model, with or without a tag, or another form of
            `engine.models.forms`; "module:function" of one's own is not imported yet. "NAME=" in front names it anew.
        weights: See `BackboneSpec`.
        head: Whether logits are needed: an alias then means its ImageNet-1k fine-tuned weights.
        image_size: See `BackboneSpec`.
        decoder: See `BackboneSpec`.
        seed: See `BackboneSpec`.
        preset: See `BackboneSpec`.

    Raises:
        UnknownNameError: if there is no such model; names its neighbours.
        UsageError: for weights that are neither a known word nor a file that can be read, an impossible size, or a
            package that is not installed.
        DataUnavailableError: if a folder is not there, or holds no model.
    """
    called, wanted = forms.split_name(name)
    if forms.form_of(wanted) is not None:
        model = forms.checked(wanted)
    else:
        model = wanted if forms.is_own(wanted) else _timm_name(wanted, head)
    if forms.is_own(model) and weights == "random":
        raise UsageError(
            f"the weights of {name} are those that it has, not random ones",
            fix="--weights BACKBONE=random for each of the others",
        )
    if "://" in weights:
        raise UsageError(f"weights are read from this machine, not from {weights}", fix="copy it; --weights FILE")
    if weights not in forms.WORDS and not forms.is_weights_file(weights):
        raise UsageError(
            f"cannot read weights {weights!r}",
            why=f"only {', '.join(forms.WORDS)} or a file: {', '.join((*forms.SAFE_FILES, *forms.PICKLED_FILES))};"
            " another could run any code",
            fix="--weights FILE.safetensors, as safetensors.torch.save_file(model.state_dict(), FILE) writes it",
        )
    if image_size is not None and not 1 <= image_size <= 4096:
        raise UsageError(f"image size {image_size} is out of range", fix="--image-size 224")
    return BackboneSpec(model, weights, seed, image_size, decoder, preset, called)
