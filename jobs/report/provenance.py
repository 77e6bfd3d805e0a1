"""Where the numbers of a report come from: backbones, data sets and versions, as the store has recorded them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvbench.engine.models.forms import typed
from cvbench.jobs.reading.again import weights_of
from cvbench.jobs.reading.lineage import TRAINED_ON, WEIGHTS
from cvbench.jobs.reading.views import follows_dtype, is_in_part, is_of_taps, was_asked_for
from cvbench.storage.features import FeatureStore, GroupKey, SplitInfo


@dataclass(frozen=True)
class BackboneFacts:
    """One way in which one backbone made features.

    Attributes:
        weights: Digest of the weights.
        preprocess: From image to input, in words.
        stored: For each view, or several, with its dtype, the splits that it is kept of: of many the first.
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
        command: The `cvbench extract` that makes its features, cut before options; weights apart, of which only the
            digest is recorded.
    """

    name: str
    split: str
    samples: int
    classes: int
    stored: tuple[tuple[str, int], ...]
    manifest: str
    seed: int
    unreadable: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def covered(self) -> int:
        """Samples that some view has of all backbones."""
        return max((rows for _, rows in self.stored), default=0)


@dataclass(frozen=True)
class Provenance:
    """Provenance of a store; `versions` names each software and all versions of it that committed units, sorted."""

    backbones: tuple[BackboneFacts, ...]
    datasets: tuple[DatasetFacts, ...]
    versions: tuple[tuple[str, str], ...]


def provenance(store: FeatureStore, shown: str) -> Provenance:
    """Read the fingerprints and the commits; nothing of the features. `shown`: how commands name the store."""
    groups = store.groups()
    versions: dict[str, set[str]] = {}
    for group in groups:
        for commit in store.commits(group):
            for name, value in commit.provenance.items():
                if name not in ("device", WEIGHTS, TRAINED_ON):
                    versions.setdefault(name, set()).add(str(value))
    return Provenance(
        backbones=tuple(_backbones(store, groups)),
        datasets=tuple(_dataset(store, groups, shown, *place) for place in store.splits()),
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
            str(made.get("precision", "not recorded")) + (", compiled" if "compiled" in made else ""),
            str(made.get("device", "not recorded")),
        )
        kept = f"{group.view} ({made.get('dtype', '?')}{_codec_words(record, made)})"
        ways.setdefault(way, {}).setdefault(f"{group.dataset}/{group.split}", []).append(kept)
    return [BackboneFacts(*way, stored=tuple(_kept_words(stored))) for way, stored in sorted(ways.items())]


MOST_PLACES = 4
"""Splits that are named for a view; the table of data sets has all."""


def _kept_words(stored: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say which views are kept of which splits, those with the same views together.

    >>> list(_kept_words({"a/test": ["head"], "b/test": ["maps", "head"], "c/test": ["head"]}))
    ['head: a/test, c/test', 'maps, head: b/test']
    >>> list(_kept_words({f"{name}/val": ["head"] for name in "abcdef"}))
    ['head: a/val, b/val, c/val and 3 more']
    """
    alike: dict[str, list[str]] = {}
    for place, views in stored.items():
        alike.setdefault(", ".join(views), []).append(place)
    for views_text, places in alike.items():
        shown = places if len(places) <= MOST_PLACES else places[: MOST_PLACES - 1]
        more = f" and {len(places) - len(shown)} more" if len(shown) < len(places) else ""
        yield f"{views_text}: {', '.join(shown)}{more}"


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


def _dataset(store: FeatureStore, groups: Sequence[GroupKey], shown: str, dataset: str, split: str) -> DatasetFacts:
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
        command=tuple(_extract(store, mine, info, stored, shown)),
    )


def _extract(
    store: FeatureStore, groups: Sequence[GroupKey], info: SplitInfo, stored: Mapping[str, int], shown: str
) -> Iterator[str]:
    """The options that the fingerprints tell; those that every group has alike, the usual ones left out."""
    records = {group: store.fingerprint(group) for group in groups}
    views = {group.view for group in groups}
    asked = [group for group, record in records.items() if was_asked_for(group.view, record["fingerprint"], views)]
    groups = [group for group in asked if "model" in records[group]["fingerprint"]]
    if not groups:  # imported predictions, say
        return
    made = [records[group] for group in groups]
    inner = [record["fingerprint"] for record in made]
    yield f"cvbench extract --dataset {shlex.quote(store.spec_to_type(info.dataset, info.split))}"
    yield f"--split {info.split}"
    names = (typed(str(one.get("model")), group.backbone) for one, group in zip(inner, groups, strict=True))
    yield from (f"--backbone {shlex.quote(name)}" for name in dict.fromkeys(names))
    yield from (f"--weights {shlex.quote(word)}" for word in weights_of(store, groups))
    yield from (f"--view {view}" for view in dict.fromkeys(group.view for group in groups))
    layerwise = [group for group in groups if is_of_taps(group.view)]
    taps = dict.fromkeys(tap for group in layerwise for tap in store.taps(group))
    yield from (f"--taps {shlex.quote(tap)}" for tap in sorted(taps, key=_natural))
    kept = [one for one, group in zip(inner, groups, strict=True) if follows_dtype(group.view)]
    parts = [rows for view, rows in stored.items() if is_in_part(view)]
    usual_precision = "fp32" if {one.get("device") for one in inner} == {"cpu"} else None
    for option, usual, values in (
        ("--precision", usual_precision, [one.get("precision") for one in inner]),
        ("--image-size", None, [one.get("image_size") for one in inner]),
        ("--preprocess", "model", [one.get("preset", "model") for one in inner]),
        ("--dtype", "float16", [one.get("dtype") for one in kept]),
        ("--keep-bits", None, [one.get("keep_bits") for one in kept]),
        ("--codec", "none", [record.get("codec") for record in made]),
        ("--seed", 0, [info.seed]),
        ("--maps", 1024, [rows if rows < info.n else "all" for rows in parts]),
        ("--limit", None, [most for most in [max(stored.values(), default=0)] if most < info.n]),
    ):
        if len(set(values)) == 1 and values[0] not in (usual, None):
            yield f"{option} {values[0]}"
    if inner and all("compiled" in one for one in inner):
        yield "--compile"
    yield f"--batch-size {info.batch}"
    yield f"--unit {info.unit}"
    yield f"--store {shlex.quote(shown)}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "blocks.10" after "blocks.2"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
