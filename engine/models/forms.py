"""The forms in which a backbone can be named, and what a store calls it. Nothing heavy is imported before it is asked.

convnext_base.fb_in22k              a timm model, with or without its tag; or an alias
hf-hub:OWNER/NAME, local-dir:FOLDER a timm model of the Hugging Face hub, or of a folder, with its config.json
hf:OWNER/NAME, hf:FOLDER            a vision model of transformers, of the hub or of a folder
torchvision:resnet50.IMAGENET1K_V2  with or without the name of its weights
open_clip:ViT-B-32/laion2b_...      the visual tower; also open_clip:hf-hub:OWNER/NAME and open_clip:local-dir:FOLDER
module:function                     a callable of one's own
NAME=MODEL                          any of these, under a name of one's own
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command

WORDS = ("pretrained", "random")
"""Weights that are no file."""
SAFE_FILES = (".safetensors", ".safetensors.index.json")
PICKLED_FILES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
"""Endings of checkpoints of torch: pickles, of which only tensors and plain values are read."""

_OWN = re.compile(r"[A-Za-z][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?", re.ASCII)
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.+-]{0,99})=(.+)", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Form:
    """One prefix of names.

    Attributes:
        prefix: In front of the colon.
        package: That has to be installed.
        extra: Of cvbench, that installs it; "" if cvbench requires it anyway.
        shown: What is typed, for lists and messages.
        about: What it is.
        hub: Whether it can be a repository of the Hugging Face hub.
        folder: Whether it can be a folder.
    """

    prefix: str
    package: str
    extra: str
    shown: str
    about: str
    hub: bool = False
    folder: bool = False


FORMS = {
    form.prefix: form
    for form in (
        Form("hf-hub", "timm", "", "hf-hub:OWNER/NAME", "a timm model of the Hugging Face hub", hub=True),
        Form("local-dir", "timm", "", "local-dir:FOLDER", "a timm model that was saved for the hub", folder=True),
        Form("hf", "transformers", "transformers", "hf:OWNER/NAME", "a vision model of transformers", True, True),
        Form("torchvision", "torchvision", "", "torchvision:NAME[.WEIGHTS]", "a classifier of torchvision"),
        Form("open_clip", "open_clip", "open_clip", "open_clip:NAME/WEIGHTS", "a visual tower of open_clip"),
    )
}


def split_name(entry: str) -> tuple[str, str]:
    """(name of one's own or "", model) of a backbone as it is typed.

    >>> split_name("tuned=test_vit"), split_name("hf:/data/a=b"), split_name("test_vit")
    (('tuned', 'test_vit'), ('', 'hf:/data/a=b'), ('', 'test_vit'))
    """
    found = _NAMED.fullmatch(entry)
    return (found[1], found[2]) if found else ("", entry)


def check_name(entry: str) -> None:
    """Refuse NAME=MODEL whose name is of other characters than a name has.

    Raises:
        UsageError: It is; another name is proposed.
    """
    name, equals, model = entry.partition("=")
    if not (equals and model) or _NAMED.fullmatch(entry):
        return
    proposed = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("_.+-")[:100] or "mine"
    raise UsageError(
        f"{name[:100]!r} is no name for a backbone",
        why="a name has letters of ASCII, digits, and _ . + - behind the first of them, 100 at most",
        fix=f"--backbone {proposed}={model}",
    )


def called(entry: str) -> str:
    """Name by which --weights and other options call a backbone that is typed so.

    >>> called("tuned=test_vit"), called("test_vit")
    ('tuned', 'test_vit')
    """
    name, model = split_name(entry)
    return name or model


def form_of(model: str) -> Form | None:
    """The form of a model that has a prefix; None for timm's names and for `module:function`."""
    prefix, colon, rest = model.partition(":")
    return FORMS.get(prefix) if colon and rest else None


def is_own(model: str) -> bool:
    """Whether it is `module:function`.

    >>> is_own("nets.small:make"), is_own("torchvision:resnet50"), is_own("test_vit")
    (True, False, False)
    """
    return form_of(model) is None and _OWN.fullmatch(model) is not None


def is_hub(model: str) -> bool:
    """Whether it is a repository of the hub, and no folder of this machine."""
    form = form_of(model)
    return form is not None and form.hub and folder_of(model) is None


def folder_of(model: str) -> Path | None:
    """The folder that a model lies in; None for any other."""
    form = form_of(model)
    if form is None:
        return None
    rest = model.partition(":")[2]
    if form.prefix == "open_clip" and rest.startswith("local-dir:"):
        return Path(rest.partition(":")[2]).expanduser()
    path = Path(rest).expanduser()
    if not form.folder or (form.hub and _HUB.fullmatch(rest) and not path.is_dir()):
        return None
    return path


def recorded(model: str) -> str:
    """The model as a store and a fingerprint say it: of a folder the name alone, wherever it lies.

    >>> recorded("local-dir:/data/nets/mine"), recorded("hf:facebook/dinov2-small"), recorded("test_vit")
    ('local-dir:mine', 'hf:facebook/dinov2-small', 'test_vit')
    """
    folder = folder_of(model)
    return model if folder is None else f"{model[: model.rindex(':')]}:{folder.resolve().name}"


def typed(model: str, key: str) -> str:
    """The backbone to type for a recorded model and its key in a store; PATH stands for where a folder lies.

    >>> typed("test_vit", "tuned@64"), typed("local-dir:mine", "local-dir.mine"), typed("a:b", "a.b")
    ('tuned=test_vit', 'local-dir:PATH/mine', 'a:b')
    """
    form, rest = form_of(model), model.rpartition(":")[2]
    lost = form is not None and (form.folder or ":local-dir:" in model) and "/" not in rest
    shown = f"{model[: model.rindex(':')]}:PATH/{rest}" if lost else model
    name = key.partition("@")[0]
    return shown if name == default_key(model) else f"{name}={shown}"


def default_key(model: str) -> str:
    """The name of a model in a store, if it is given no other.

    >>> default_key("hf:facebook/dinov2-small"), default_key("nets.small:make"), default_key("test_vit")
    ('hf.facebook.dinov2-small', 'nets.small.make', 'test_vit')
    """
    if ":" not in model:
        return model
    return re.sub(r"[^A-Za-z0-9_.=+-]", ".", recorded(model))


def is_weights_file(word: str) -> bool:
    """Whether weights are named that are a file.

    >>> is_weights_file("a.safetensors"), is_weights_file("model_best.pth.tar"), is_weights_file("random")
    (True, True, False)
    """
    return word.endswith((*SAFE_FILES, *PICKLED_FILES))


def checked(model: str) -> str:
    """A model with a prefix, its folder made absolute, once the package and the name are there.

    Raises:
        UsageError: Its package is not installed, or the name is of no such form.
        UnknownNameError: The package has no such model.
        DataUnavailableError: There is no such folder, or it holds no model.
    """
    form = form_of(model)
    assert form is not None
    if find_spec(form.package) is None:
        raise missing_package(form)
    rest, folder = model.partition(":")[2], folder_of(model)
    if folder is not None:
        return f"{model[: model.rindex(':')]}:{_model_folder(form, folder)}"
    names = _NAMES.get(form.prefix)
    if names is not None:
        names(rest)
    elif not _HUB.fullmatch(rest):
        raise UsageError(f"{model} names no model", where="--backbone", fix=f"{form.shown}: {form.about}")
    return model


def missing_package(form: Form) -> UsageError:
    """The error for a package that is not installed."""
    return UsageError(
        f"{form.prefix}: needs the package {form.package}, which is not installed",
        fix=f"pip install 'cvbench[{form.extra}]'" if form.extra else f"pip install {form.package}",
    )


def _model_folder(form: Form, folder: Path) -> Path:
    wanted = "open_clip_config.json" if form.prefix == "open_clip" else "config.json"
    if not folder.is_dir():
        raise DataUnavailableError(
            f"there is no folder {folder}", where="--backbone", fix=f"{form.shown}: {form.about}"
        )
    if not (folder / wanted).is_file():
        raise DataUnavailableError(
            f"the folder holds no model: it has no {wanted}",
            where=str(folder.resolve()),
            why=f"{form.prefix}: is {form.about}",
            fix="save_pretrained writes one" if form.prefix == "hf" else "another folder",
        )
    return folder.resolve()


def _check_torchvision(name: str) -> None:
    import torchvision.models
    from torchvision.models import get_model_weights, list_models

    model, dot, tag = name.partition(".")
    known = list_models(module=torchvision.models)
    if model not in known:
        raise UnknownNameError.among("model of torchvision:", model, known, fix=command("models ls", "torchvision:*"))
    # Without categories its classifier is not trained, and has no numbers.
    tags = [weights.name for weights in get_model_weights(model) if weights.meta["categories"]]
    if dot and tag not in tags:
        raise UnknownNameError.among(f"weights of torchvision:{model}:", tag, tags, fix=f"known are {', '.join(tags)}")


def _check_open_clip(name: str) -> None:
    from open_clip import list_models, list_pretrained

    if name.startswith("hf-hub:"):
        if not _HUB.fullmatch(name.partition(":")[2]):
            raise UsageError(f"open_clip:{name} names no model", fix="open_clip:hf-hub:OWNER/NAME")
        return
    model, slash, tag = name.partition("/")
    if model not in list_models():
        raise UnknownNameError.among(
            "model of open_clip:", model, list_models(), fix=command("models ls", "open_clip:*")
        )
    tags = [weights for one, weights in list_pretrained() if one == model]
    if slash and tag not in tags:
        raise UnknownNameError.among(f"weights of open_clip:{model}:", tag, tags)


_NAMES: dict[str, Callable[[str], None]] = {"torchvision": _check_torchvision, "open_clip": _check_open_clip}
"""Prefix -> what checks the rest, for packages that know their models."""
