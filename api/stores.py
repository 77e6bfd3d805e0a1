"""A feature store and its layers, as a notebook uses them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from cvbench.api import markup

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray
    from numpy.typing import NDArray

    from cvbench.api.result import Result
    from cvbench.jobs.catalogue.layers import FeatureLayer, FeatureStore, GroupKey
    from cvbench.jobs.catalogue.store import Exported, GcReport, RepairReport, StoreInfo, VerifyReport
    from cvbench.jobs.report.kept import RemoveReport


def open_store(url: str | os.PathLike[str] = "./cvbench.zarr") -> Store:
    """Open a feature store to look into it and to compute from it.

    Args:
        url: Path or URL, such as "s3://bucket/study.zarr".

    Returns:
        The store; nothing of it is read before it is asked for.

    Raises:
        DataUnavailableError: Nothing is there.
        IntegrityError: What is there is no store, or one of a newer format.
    """
    store = Store(url)
    store._features  # noqa: B018 - whether it is there
    return store


class Store:
    """A feature store: data sets, backbones, layers, and the results that are kept in it.

    Args:
        url: Path or URL.
    """

    def __init__(self, url: str | os.PathLike[str] = "./cvbench.zarr") -> None:
        self.url = os.fspath(url)

    @cached_property
    def _features(self) -> FeatureStore:
        from cvbench.jobs.reading.reading import open_store

        return open_store(self.url)

    def datasets(self) -> list[str]:
        """Data sets with their splits, such as "digits/test"."""
        return _unique(f"{group.dataset}/{group.split}" for group in self._groups())

    def backbones(self, dataset: str | None = None) -> list[str]:
        """Names of the backbones, of one data set or of all, such as "test_vit@64"."""
        return _unique(group.backbone for group in self._groups(dataset))

    def views(self, dataset: str | None = None, backbone: str | None = None) -> list[str]:
        """Forms in which features are kept: "pooled", "maps", "head", "logits" and so on."""
        return _unique(group.view for group in self._groups(dataset) if backbone in (None, group.backbone))

    def layers(self, dataset: str | None = None, backbone: str | None = None, *, view: str = "pooled") -> list[str]:
        """Names of the layers of a backbone, the first of the network first.

        Args:
            dataset: Such as "digits/test"; None: the only one of the store.
            backbone: As the store or as `extract` names it; None: the only one.
            view: One of `views`.

        Raises:
            UnknownNameError, DataUnavailableError: The store has no such data set, backbone or view.
            UsageError: Several fit.
        """
        from cvbench.jobs.catalogue.layers import find_group, taps_of

        return taps_of(self._features, find_group(self._features, dataset, backbone, view))

    def layer(self, dataset: str, backbone: str, layer: str, *, view: str = "pooled") -> Layer:
        """One layer's features, with labels and sample ids beside them.

        Args:
            dataset: Such as "digits/test"; "digits" where the store has one split of it.
            backbone: As the store or as `extract` names it.
            layer: One of `layers`.
            view: One of `views`.

        Raises:
            UnknownNameError, DataUnavailableError: The store has no such data set, backbone, view or layer.
        """
        from cvbench.jobs.catalogue.layers import find_layer

        return Layer(find_layer(self._features, dataset, backbone, layer, view))

    def samples(self, dataset: str | None = None) -> pd.DataFrame:
        """The samples of a data set in store order: `id`, `label`, `class` (its name), and the factors."""
        import pandas as pd

        from cvbench.jobs.catalogue.layers import find_split

        info = self._features.split(*find_split(self._features, dataset))
        names = [info.classes[label] if 0 <= label < len(info.classes) else "" for label in info.labels.tolist()]
        return pd.DataFrame({"id": info.ids, "label": info.labels, "class": names, **info.factors})

    def results(
        self, analysis: str | None = None, dataset: str | None = None, split: str | None = None
    ) -> list[Result]:
        """The results that are kept in the store, in the order of the report, see `cvbench.results`."""
        from cvbench.api.result import Part, Result
        from cvbench.jobs.report.collect import collect, has_results, public_url

        if not has_results(self._features):
            return []
        name, _, part = (dataset or "").partition("/")
        asked = {"analysis": analysis, "dataset": name, "split": split or part}
        return [
            Result(
                item.key.analysis,
                [Part(item.entry, item.result, item.rows, item.key.path, item.command, item.problem)],
                item.command,
                self.url,
            )
            for item in collect(self._features, public_url(self.url))
            if all(not value or _plain(value) == _plain(getattr(item.key, key)) for key, value in asked.items())
        ]

    def to_pandas(self) -> pd.DataFrame:
        """One row for each layer: what it is of, its shape, how many samples are there, and their bytes."""
        import pandas as pd

        layers = self._info().layers
        return pd.DataFrame(
            {
                "dataset": [f"{one.group.dataset}/{one.group.split}" for one in layers],
                "backbone": [one.group.backbone for one in layers],
                "view": [one.group.view for one in layers],
                "layer": [one.tap for one in layers],
                "shape": [one.shape[1:] for one in layers],
                "dtype": [one.dtype for one in layers],
                "samples": [one.committed for one in layers],
                "unreadable": [one.bad for one in layers],
                "bytes": [one.bytes for one in layers],
            }
        )

    def verify(self, *, deep: bool = False) -> VerifyReport:
        """Compare the store with its ledger; `deep` reads every byte. `cvbench store verify` does the same."""
        from cvbench.jobs.catalogue.store import verify

        return verify(self.url, deep=deep)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Forget what is damaged, so that the same calls make it again; as `cvbench store repair`.

        Only while nothing writes to the store. `Store(url).repair()` where `open_store` refuses a damaged store.
        """
        from cvbench.jobs.catalogue.store import repair

        report = repair(self.url, dry_run=dry_run)
        self._read_anew()
        return report

    def gc(self, *, orphans: bool = False, dry_run: bool = False, force: bool = False) -> GcReport:
        """Remove what killed processes left behind; as `cvbench store gc`. Only while nothing writes to the store.

        Args:
            orphans: Also objects that no commit names.
            dry_run: Remove nothing, and report what would be removed.
            force: Even if a run is under way, as its log says: it was stopped.

        Raises:
            UsageError: By its log, a run is under way.
        """
        from cvbench.jobs.catalogue.store import gc

        report = gc(self.url, orphans=orphans, dry_run=dry_run, force=force)
        self._read_anew()
        return report

    def rm(self, *places: str, dry_run: bool = False) -> RemoveReport:
        """Remove data sets, backbones, views or layers, and the results of them; as `cvbench store rm`.

        Asks nothing. Only while nothing else writes to the store.

        Args:
            places: DATASET, DATASET/SPLIT, and on with /BACKBONE, /VIEW and /LAYER.
            dry_run: Remove nothing, and report what would be removed.

        Raises:
            UnknownNameError, UsageError: A place is none of the store; then nothing is removed.
        """
        from cvbench.jobs.report.kept import remove_places

        report = remove_places(self.url, places, dry_run=dry_run)
        self._read_anew()
        return report

    def rm_results(self, *names: str, dry_run: bool = False) -> RemoveReport:
        """Remove results; as `cvbench results rm`.

        Args:
            names: As `cvbench results ls` names them.
            dry_run: Remove nothing, and report what would be removed.

        Raises:
            UnknownNameError, UsageError: A name is of no result, or of several; then nothing is removed.
        """
        from cvbench.jobs.report.kept import remove_results

        report = remove_results(self.url, names, dry_run=dry_run)
        self._read_anew()
        return report

    def export(
        self,
        group: str,
        out: str | os.PathLike[str],
        *,
        taps: Sequence[str] = (),
        to: Literal["npy", "npz", "safetensors"] = "npy",
    ) -> list[Exported]:
        """Write layers as files for other tools, with samples.csv beside them; as `cvbench store export`.

        Args:
            group: "dataset/split/backbone/view".
            out: Folder for the files.
            taps: Names of the layers; all if none is given.
            to: Format of the files.

        Raises:
            UsageError: `group` is not of that form.
            UnknownNameError: The store holds no such group or layer.
        """
        from cvbench.jobs.catalogue.store import export

        return export(self.url, group, os.fspath(out), taps=taps, format=to)

    def _read_anew(self) -> None:
        """Forget what was read of the store before it was changed."""
        self.__dict__.pop("_features", None)

    def _info(self) -> StoreInfo:
        from cvbench.jobs.catalogue.store import info

        return info(self.url)

    def _groups(self, dataset: str | None = None) -> list[GroupKey]:
        from cvbench.jobs.catalogue.layers import find_split, groups_of

        found = groups_of(self._features)
        if dataset is None:
            return found
        place = find_split(self._features, dataset)
        return [group for group in found if (group.dataset, group.split) == place]

    def __fspath__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def _repr_html_(self) -> str:
        from cvbench.jobs.running.sizes import human

        info = self._info()
        sizes = {(split.dataset, split.split): split.samples for split in info.splits}
        lines: dict[tuple[str, str, str, str], list[Any]] = {}
        for one in info.layers:
            group = one.group
            found = lines.setdefault((group.dataset, group.split, group.backbone, group.view), [0, 0, 0])
            found[0] += 1
            found[1] = max(found[1], one.committed)
            found[2] += one.bytes
        rows = [
            (f"{place[0]}/{place[1]}", place[2], place[3], count, f"{there:,} of {sizes[place[:2]]:,}", human(size))
            for place, (count, there, size) in lines.items()
        ]
        columns = ("data set", "backbone", "view", "layers", "samples", "size")
        said = markup.line(f"{len(info.results)} results")
        return markup.box(f"Feature store {self.url}", markup.table(columns, rows, numbers=columns[3:]), said)


class Layer:
    """The features of one layer: a row for each sample that was extracted and could be read.

    Attributes:
        dataset, backbone, view, name: What it is of.
    """

    def __init__(self, features: FeatureLayer) -> None:
        group = features.group
        self._features = features
        self.dataset, self.backbone, self.view = f"{group.dataset}/{group.split}", group.backbone, group.view
        self.name = features.tap

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes, the samples first."""
        return self._features.dims

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, ...)."""
        return (len(self._features.rows), *self._features.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type."""
        return self._features.dtype

    @cached_property
    def _table(self) -> dict[str, NDArray[Any]]:
        group, rows = self._features.group, self._features.rows
        return {name: values[rows] for name, values in self._features.store.samples(group.dataset, group.split).items()}

    @property
    def ids(self) -> NDArray[Any]:
        """(samples,) unicode."""
        return self._table["id"]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(samples,) int64 class numbers; -1 for none."""
        return self._table["label"]

    @property
    def factors(self) -> dict[str, NDArray[Any]]:
        """Name -> (samples,) of what else the data set says of its samples."""
        return {name: values for name, values in self._table.items() if name not in ("id", "label")}

    def to_numpy(self) -> NDArray[Any]:
        """All features in memory, of `shape`.

        Raises:
            IntegrityError: Something stored is missing or damaged.
        """
        return self._features.numpy()

    def to_xarray(self) -> xarray.DataArray:
        """The features with names: coordinates `sample` (place in the store), `id`, `label` and the factors.

        Lazy, in chunks of dask: nothing is read before it is needed; `.load()` reads all.
        """
        return self._features.xarray()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self.to_numpy()
        return values if dtype is None else values.astype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"Layer({self.name!r} of {self.backbone!r} on {self.dataset!r}, view={self.view!r}, shape={self.shape}, "
            f"dtype={self.dtype})"
        )

    def _repr_html_(self) -> str:
        facts = {
            "data set": self.dataset,
            "backbone": self.backbone,
            "view": self.view,
            "shape": " x ".join(f"{size} {dim}" for dim, size in zip(self.dims, self.shape, strict=True)),
            "type": self.dtype,
        }
        return markup.box(f"Layer {self.name}", markup.table(("", " "), facts.items()))


def _plain(name: str) -> str:
    """A name however its words are joined: "shape_bias" is "shape-bias"."""
    return name.replace("_", "-")


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
