"""What weights were trained on: kept in the file by fine-tuning, in the store by extraction, said by evaluation.

An accuracy on images that were trained on says nothing of new ones, however the split is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.errors import CvbenchError

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset
    from cvbench.storage.features import Commit, GroupKey

WEIGHTS, TRAINED_ON, CHANGED = "weights", "trained_on", "weights_changed"
"""Keys of a commit's provenance: the weights as a word or the name of their file, what the images were to them, and
what of the file was left out or renamed.
"""
WARNING = "these numbers say nothing of new images"
Record = dict[str, Any]


def trained(dataset: str, splits: Mapping[str, str], tested: str) -> Record:
    """The record that a run leaves in its weights file.

    Args:
        dataset: As in a store.
        splits: Those that were trained on, or that chose anything, with their digests.
        tested: The split that was tested on, which none of the others shares a sample with.
    """
    return {"dataset": dataset, "splits": dict(splits), "tested": tested}


def records(weights: str) -> list[Record]:
    """All runs that weights have behind them, as their file says; none for other files, and for words."""
    from safetensors import safe_open

    if not weights.endswith(".safetensors") or not Path(weights).is_file():
        return []
    try:
        with safe_open(weights, framework="numpy") as file:
            found = json.loads((file.metadata() or {}).get("cvbench", "{}")).get("trained", [])
        return [trained(str(one["dataset"]), dict(one["splits"]), str(one["tested"])) for one in found]
    except Exception:  # not one of ours, or damaged: loading says so
        return []


def origin(
    weights: str, dataset: Dataset, spec: str, data_root: str | None, notes: Sequence[str] = ()
) -> dict[str, str]:
    """The origin of weights that a store keeps beside the features that they gave.

    Args:
        weights: A word, or the path of a file.
        dataset: Whose features they are.
        spec: What opened it.
        data_root: As for `open_dataset`.
        notes: What of the file was left out or renamed.
    """
    found = {WEIGHTS: Path(weights).name} | ({CHANGED: "; ".join(notes)} if notes else {})
    seen = [text for record in records(weights) if (text := _seen(record, dataset, spec, data_root))]
    return found | ({TRAINED_ON: "; ".join(seen)} if seen else {})


def _seen(record: Record, dataset: Dataset, spec: str, data_root: str | None) -> str | None:
    """The part of the samples that one run has trained on, in words; None if none."""
    from cvbench.storage.datasets import key_of_spec, open_dataset
    from cvbench.storage.datasets.variant import base_name, split_transform

    names = ", ".join(f"{record['dataset']}/{split}" for split in record["splits"])
    same = record["dataset"] == base_name(dataset.name)
    if dataset.digest in record["splits"].values() or (same and dataset.split in record["splits"]):
        return f"all {len(dataset):,} samples ({names})"
    if not same or dataset.split == record["tested"]:
        return None
    base = split_transform(spec)[0]
    if key_of_spec(base) != record["dataset"]:
        return None
    own, common = {*dataset.ids}, 0
    try:
        for split in record["splits"]:
            common += len(own.intersection(open_dataset(base, data_root=data_root, split=split).ids))
    except CvbenchError:
        return f"an unknown part of the {len(dataset):,} samples ({names})"
    return f"{common:,} of the {len(dataset):,} samples ({names})" if common else None


def warnings(commits: Mapping[GroupKey, Sequence[Commit]]) -> list[str]:
    """Warnings of features whose images their weights were trained on; a line per backbone."""
    said: dict[str, None] = {}
    for group, its in commits.items():
        for commit in its:
            if TRAINED_ON in commit.provenance:
                what = commit.provenance[TRAINED_ON]
                said[f"{group.backbone} was trained on {what} of {group.dataset}/{group.split}: {WARNING}"] = None
    return list(said)
