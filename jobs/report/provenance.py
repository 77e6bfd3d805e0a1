"""Where the numbers of a report come from: backbones, data sets and versions, as the store has recorded them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvbench.storage.features import FeatureStore, GroupKey


@dataclass(frozen=True)
class BackboneFacts:
    """One way in which one backbone made features.

    Attributes:
        weights: Digest of the weights.
        preprocess: From image to input, in words.
        stored: For each data set and split the views with their dtype.
    """

    name: str
    model: str
    weights: str
    preprocess: str
    precision: str
    device: str
    stored: tuple[str, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """One split.

    Attributes:
        samples: In the split.
        stored: View -> samples in committed units of all its backbones.
        manifest: Digest of the data set's manifest.
        unreadable: "id (reason)" of each sample that could not be read, in store order.
    """

    name: str
    split: str
    samples: int
    classes: int
    stored: tuple[tuple[str, int], ...]
    manifest: str
    seed: int
    unreadable: tuple[str, ...]

    @property
    def covered(self) -> int:
        """Samples that some view has of all backbones."""
        return max((rows for _, rows in self.stored), default=0)


@dataclass(frozen=True)
class Provenance:
    """Of a whole store; `versions` names each software and all versions of it that committed units, sorted."""

    backbones: tuple[BackboneFacts, ...]
    datasets: tuple[DatasetFacts, ...]
    versions: tuple[tuple[str, str], ...]


def provenance(store: FeatureStore) -> Provenance:
    """Read the fingerprints and the commits; nothing of the features."""
    groups = store.groups()
    versions: dict[str, set[str]] = {}
    for group in groups:
        for commit in store.commits(group):
            for name, value in commit.provenance.items():
                if name != "device":
                    versions.setdefault(name, set()).add(str(value))
    return Provenance(
        backbones=tuple(_backbones(store, groups)),
        datasets=tuple(_dataset(store, groups, *place) for place in store.splits()),
        versions=tuple((name, ", ".join(sorted(found))) for name, found in sorted(versions.items())),
    )


def _backbones(store: FeatureStore, groups: Sequence[GroupKey]) -> list[BackboneFacts]:
    ways: dict[tuple[str, str, str, str, str, str], dict[str, list[str]]] = {}
    for group in groups:
        record = store.fingerprint(group)
        made = record["fingerprint"]
        way = (
            group.backbone,
            str(made.get("model", group.backbone)),
            str(made.get("weights_digest", "not recorded")),
            _preprocess_words(made.get("preprocess", {})),
            str(made.get("precision", "not recorded")),
            str(made.get("device", "not recorded")),
        )
        kept = f"{group.view} ({made.get('dtype', '?')}{_codec_words(record, made)})"
        ways.setdefault(way, {}).setdefault(f"{group.dataset}/{group.split}", []).append(kept)
    return [
        BackboneFacts(*way, stored=tuple(f"{place}: {', '.join(views)}" for place, views in stored.items()))
        for way, stored in sorted(ways.items())
    ]


def _codec_words(record: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    words = [] if record.get("codec", "none") == "none" else [str(record["codec"])]
    words += [f"{made['keep_bits']} bits"] if made.get("keep_bits") is not None else []
    return "".join(f", {word}" for word in words)


def _preprocess_words(preprocess: Mapping[str, Any]) -> str:
    """Every field of the recorded preprocessing, nested ones without their parent's name."""
    flat: dict[str, Any] = {}
    for name, value in preprocess.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return ", ".join(f"{name} {json.dumps(value).strip(chr(34))}" for name, value in flat.items()) or "not recorded"


def _dataset(store: FeatureStore, groups: Sequence[GroupKey], dataset: str, split: str) -> DatasetFacts:
    info = store.split(dataset, split)
    mine = [group for group in groups if (group.dataset, group.split) == (dataset, split)]
    commits = {group: store.commits(group) for group in mine}
    bad = {sample.row: sample for found in commits.values() for commit in found for sample in commit.bad}
    stored: dict[str, int] = {}
    for group, found in commits.items():
        rows = sum(len(unit) for unit in {commit.unit for commit in found})
        stored[group.view] = min(stored.get(group.view, rows), rows)
    return DatasetFacts(
        name=dataset,
        split=split,
        samples=info.n,
        classes=len(info.classes),
        stored=tuple(stored.items()),
        manifest=info.dataset_digest,
        seed=info.seed,
        unreadable=tuple(f"{bad[row].id} ({bad[row].reason})" for row in sorted(bad)),
    )
