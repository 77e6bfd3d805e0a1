"""Where timm's models come from: its registry, a repository of the hub, a folder; and how it renames old weights."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvbench.engine.models.forms import folder_of, form_of
from cvbench.engine.models.hub import hub_file
from cvbench.errors import DataUnavailableError, IntegrityError

Remap = Callable[[dict[str, Tensor], Any], dict[str, Tensor]]
UNSOURCED = {"source": ""}
"""Over a pretrained config: timm then takes the weights that it is handed, and fetches none."""
_FILES = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Of a repository or folder, in timm's order."""
_FIX = "--weights random, --weights FILE.safetensors, or once with a network: the file then stays in the cache"


def config(model: str) -> dict[str, Any]:
    """timm's config of a model: `input_size` (3, h, w), `classifier`, ...

    Raises:
        DataUnavailableError: Its repository cannot be had.
        IntegrityError: The config of its repository or folder is none of timm's.
    """
    import timm

    if form_of(model) is None:
        return _registered(model)
    folder = folder_of(model)
    file = folder / "config.json" if folder else hub_file(model.partition(":")[2], ["config.json"])
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        architecture = str(found["architecture"]).partition(".")[0]
        if not timm.is_model(architecture):
            raise ValueError(f"timm has no model {architecture!r}")
        return {**_registered(architecture), **found.get("pretrained_cfg", found)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            "the config is none of a timm model",
            where=str(file),
            why=" ".join(f"{type(error).__name__}: {error}".split())[:300],
            fix="hf: reads models of transformers",
        ) from error


def _registered(model: str) -> dict[str, Any]:
    import timm

    known: Any = timm.get_pretrained_cfg(model)
    return dict(known.to_dict())


def classifiers(model: str) -> list[str]:
    """Names of the modules that are a model's head."""
    names = config(model).get("classifier")
    return [names] if isinstance(names, str) else list(names or ())


def weights_file(model: str) -> Path:
    """The file of a model's pretrained weights: of its folder, or from the hub or its cache.

    Raises:
        DataUnavailableError: There are none, or they cannot be had.
    """
    folder = folder_of(model)
    if folder is not None:
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
        raise DataUnavailableError(
            "the folder holds no weights", where=str(folder), why=f"none of {', '.join(_FILES)}", fix="--weights FILE"
        )
    if form_of(model) is not None:
        return hub_file(model.partition(":")[2], _FILES)
    return _download(model)


def _download(model: str) -> Path:
    """The model's safetensors file, from the Hugging Face cache or hub."""
    import timm
    from huggingface_hub import hf_hub_download

    found: Any = timm.get_pretrained_cfg(model)
    if not found.hf_hub_id:
        raise DataUnavailableError(f"there are no pretrained weights for {model}", fix=_FIX)
    filename = found.hf_hub_filename or "model.safetensors"
    if not filename.endswith(".safetensors"):  # a pickle; timm's repositories hold the same in a safe file
        filename = "open_clip_model.safetensors" if filename.startswith("open_clip") else "model.safetensors"
    try:
        return Path(hf_hub_download(found.hf_hub_id, filename))
    except Exception as error:  # no network, no such file, no permission: half a dozen unrelated types
        raise DataUnavailableError(
            f"the pretrained weights of {model} cannot be had",
            where=f"{found.hf_hub_id}/{filename}",
            why=" ".join(str(error).split())[:300],
            fix=_FIX,
        ) from error


_LOCK = threading.Lock()


@lru_cache(maxsize=64)
def remap(model: str) -> Remap | None:
    """Function by which timm changes pretrained weights of a model before it loads them; None if it does not.

    timm hands it to its loader alone, once for each way of building a model. So one is built, without memory, with a
    loader that keeps what it is handed; builds in other threads meanwhile load as ever.
    """
    import timm
    from timm.models import _builder

    kept: list[Any] = []
    mine, usual = threading.get_ident(), _builder.load_pretrained

    def keep(*args: Any, **options: Any) -> Any:
        if threading.get_ident() != mine:
            return usual(*args, **options)
        kept.append(options.get("filter_fn"))
        return None

    with _LOCK:
        usual = _builder.load_pretrained
        _builder.load_pretrained = keep
        try:
            overlay = {"state_dict": {"": torch.empty(0)}, **UNSOURCED}
            with torch.device("meta"):
                timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay)
        finally:
            _builder.load_pretrained = usual
    function = kept[0] if kept else None
    if function is None:
        return None

    def remapped(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
        try:
            found: Mapping[str, Tensor] = function(state, network)
        except TypeError:  # some take the weights alone, as timm's own loader knows
            found = function(state)
        return dict(found)

    return remapped
