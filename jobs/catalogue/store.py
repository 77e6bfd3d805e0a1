"""What `cvbench store` does: look into a store, check it, tidy it, take layers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cvbench.errors import UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.storage.care.repair import RepairReport, open_damaged
from cvbench.storage.care.repair import repair as forget
from cvbench.storage.care.verify import GcReport, VerifyReport, as_dict
from cvbench.storage.care.verify import gc as collect
from cvbench.storage.care.verify import verify as check
from cvbench.storage.datasets.left_out import text_of as left_out_text
from cvbench.storage.features import FeatureStore, GroupKey, LayerInfo
from cvbench.storage.objects.keys import LEDGER
from cvbench.storage.results.export import Exported, Format
from cvbench.storage.results.export import export as export_layers
from cvbench.storage.results.outcomes import ResultKey, list_results

__all__ = [
    "Exported",
    "Format",
    "GcReport",
    "RepairReport",
    "SplitSummary",
    "StoreInfo",
    "VerifyReport",
    "as_dict",
    "export",
    "gc",
    "info",
    "repair",
    "verify",
]


@dataclass(frozen=True)
class SplitSummary:
    """One split of the store; `left_out` is what its data set's reader did not take, by line."""

    dataset: str
    split: str
    samples: int
    unit: int
    batch: int
    seed: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreInfo:
    """Contents of a store; `lost` is an object of features that no record of the ledger is left for, else ""."""

    url: str
    splits: tuple[SplitSummary, ...]
    layers: tuple[LayerInfo, ...]
    results: tuple[ResultKey, ...]
    lost: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        layers = [
            {
                **asdict(layer.group),
                "tap": layer.tap,
                "shape": list(layer.shape),
                "dtype": layer.dtype,
                "codec": layer.codec,
                "committed": layer.committed,
                "bad": layer.bad,
                "nonfinite": layer.nonfinite,
                "bytes": layer.bytes,
            }
            for layer in self.layers
        ]
        splits = [asdict(split) for split in self.splits]
        results = [asdict(r) for r in self.results]
        return {"store": self.url, "splits": splits, "layers": layers, "results": results, "lost": self.lost}


def info(url: str) -> StoreInfo:
    """Splits, layers and results of the store at `url`."""
    store = FeatureStore.open(url)
    frozen = [store.split(dataset, split) for dataset, split in store.splits()]
    splits = tuple(
        SplitSummary(s.dataset, s.split, s.n, s.unit, s.batch, s.seed, tuple(map(left_out_text, s.left_out)))
        for s in frozen
    )
    found = StoreInfo(store.url, splits, tuple(store.tree()), tuple(list_results(store)))
    empty = not (found.splits or found.layers or found.results)
    return replace(found, lost=_unrecorded(store)) if empty else found


def _unrecorded(store: FeatureStore) -> str:
    """Key of a chunk in a store without records; "" if there is none."""
    files = (key for key, kind in store.objects.survey() if kind == "file" and not key.startswith(f"{LEDGER}/"))
    return next((key for key in files if not key.endswith("zarr.json")), "")


def verify(url: str, *, deep: bool = False) -> VerifyReport:
    """Compare the store with its ledger; `deep` reads every byte."""
    return check(open_damaged(url), deep=deep)


def gc(url: str, *, orphans: bool = False, dry_run: bool = False, force: bool = False) -> GcReport:
    """Remove what killed processes left behind; `force`: even while a run is under way, by its log."""
    store = FeatureStore.open(url, mode="r" if dry_run else "r+")
    return collect(store, orphans=orphans, dry_run=dry_run, force=force)


def repair(url: str, *, dry_run: bool = False) -> RepairReport:
    """Forget what is damaged, so that the same commands make it again."""
    return forget(open_damaged(url, writable=not dry_run), dry_run=dry_run)


def export(url: str, group: str, out: str, *, taps: Sequence[str] = (), format: str = "npy") -> list[Exported]:
    """Write layers of `group`, "dataset/split/backbone/view", into the folder `out`.

    Raises:
        UsageError: The group or the format is not of that form.
        UnknownNameError: The store holds no such group.
    """
    formats: dict[str, Format] = {"npy": "npy", "npz": "npz", "safetensors": "safetensors"}
    if format not in formats:
        raise UsageError(f"unknown format {format!r}", fix=f"one of: {', '.join(formats)}")
    parts = group.strip("/").split("/")
    if len(parts) != 4:
        raise UsageError(
            f"expected dataset/split/backbone/view, got {group!r}", fix=command("store info", store=str(url))
        )
    store, asked = FeatureStore.open(url), GroupKey(*parts)
    held = [found.path for found in store.groups()]
    if asked.path not in held:
        raise UnknownNameError.among("layers in this store:", asked.path, held, fix=command("store info", store=url))
    return export_layers(store, asked, out, taps=taps, format=formats[format])
