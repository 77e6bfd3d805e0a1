"""The `cvbench extract` that makes stored features again, or more of them: as the fingerprints tell it, to paste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvbench.engine.models.forms import called, is_weights_file, typed
from cvbench.hints import command
from cvbench.jobs.reading.lineage import WEIGHTS
from cvbench.jobs.reading.views import follows_dtype, stored_views
from cvbench.storage.features import FeatureStore, GroupKey


def extract_again(
    store: FeatureStore,
    place: tuple[str, str],
    *,
    shown: str | None = None,
    dataset: str | Sequence[str] | None = None,
    backbones: Sequence[str] = (),
    **changes: Any,
) -> str:
    """The command for one split of a store; without a backbone if none extracted anything of it (predictions, say).

    Only what all its backbones have alike is named, and what differs from the command's defaults. A path that the
    store does not keep stands as PATH.

    Args:
        store: Which has something of the data set, by any split.
        place: Data set and split, as stored; another split than any that is there will do.
        shown: How the command names the store; None: its URL.
        dataset: Instead of the data set's own spec.
        backbones: Those meant, as stored; empty: all.
        changes: Options that shall be other than they were; None leaves one out.
    """
    name, split = place
    groups = [group for group in store.groups() if group.dataset == name and group.view in stored_views()]
    groups = [group for group in groups if group.split == split] or groups
    groups = [group for group in groups if not backbones or group.backbone in backbones] or groups
    groups = [group for group in groups if not is_imported(store, group)]
    options: dict[str, Any] = {
        "dataset": dataset or store.spec_to_type(name, split),
        "split": split,
        **_as_made(store, groups),
    }
    return command("extract", **{**options, **changes, "store": shown or store.url})


def _as_made(store: FeatureStore, groups: Sequence[GroupKey]) -> dict[str, Any]:
    records = [store.fingerprint(group) for group in groups]
    made = [record["fingerprint"] for record in records]
    if not groups:
        return {}
    models = list(dict.fromkeys(typed(str(one["model"]), of.backbone) for one, of in zip(made, groups, strict=True)))
    layerwise = [one for one, group in zip(made, groups, strict=True) if follows_dtype(group.view)]
    on_cpu = all(one.get("device") == "cpu" for one in made)
    usual: dict[str, tuple[Any, list[Any]]] = {  # option -> what it is if not given, and what it was
        "precision": ("fp32" if on_cpu else None, [one.get("precision") for one in made]),
        "compile": (False, ["compiled" in one for one in made]),
        "image_size": (None, [one.get("image_size") for one in made]),
        "preprocess": ("model", [one.get("preset", "model") for one in made]),
        "dtype": ("float16", [one.get("dtype") for one in layerwise]),
        "keep_bits": (None, [one.get("keep_bits") for one in layerwise]),
        "codec": ("none", [record.get("codec") for record in records]),
        "seed": (0, [one.get("seed") for one in made]),
    }
    shared: dict[str, Any] = {"backbone": models, "weights": weights_of(store, groups)}
    for name, (default, values) in usual.items():
        if len(set(values)) == 1 and values[0] != default:
            shared[name] = values[0]
    return shared


def as_typed(store: FeatureStore, group: GroupKey) -> str:
    """The backbone of a group as --backbone takes it; of imported predictions their name."""
    model = store.fingerprint(group)["fingerprint"].get("model")
    return group.backbone.partition("@")[0] if model is None else typed(str(model), group.backbone)


def is_imported(store: FeatureStore, group: GroupKey) -> bool:
    """Whether a group holds predictions of another tool: no model of cvbench makes them again."""
    return "model" not in store.fingerprint(group)["fingerprint"]


def weights_of(store: FeatureStore, groups: Sequence[GroupKey]) -> list[str]:
    """The values of --weights: once if all models have the same; nothing where an older store does not say.

    Args:
        groups: None of them imported.
    """
    made = [store.fingerprint(group)["fingerprint"] for group in groups]
    names = [called(typed(str(one["model"]), group.backbone)) for one, group in zip(made, groups, strict=True)]
    found: dict[str, str] = {}
    for group, name in zip(groups, names, strict=True):
        for commit in store.commits(group):
            word = str(commit.provenance.get(WEIGHTS, ""))
            if word:
                found[name] = f"PATH/{word}" if is_weights_file(word) else word
    words = {*found.values()}
    if len(words) == 1 and len(found) == len({*names}):
        return [] if words == {"pretrained"} else [*words]
    return [f"{model}={word}" for model, word in found.items() if word != "pretrained"]
