"""Results and partials in a store: under a digest of everything that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Analysis, Layer, Partial, Result
from cvbench.errors import DataUnavailableError, IncompleteError
from cvbench.jobs.reading.reading import Reading, features_identity
from cvbench.jobs.reading.selection import Selected
from cvbench.jobs.running.versions import installed
from cvbench.storage.features import FeatureStore
from cvbench.storage.features.units import Unit
from cvbench.storage.results.outcomes import ResultKey, get_partial, load_result, save_result

if TYPE_CHECKING:
    import xarray


MADE_WITH = ("cvbench", "numpy", "scipy", "scikit-learn")
"""The versions that a result records: those of what computes it."""


@dataclass(frozen=True)
class Analysed:
    """A result, what it is of, and where it is kept in the store."""

    result: Result
    selected: Selected
    path: str
    measured: int  # units that were measured now; the others' partials were there

    @property
    def named(self) -> Result:
        """The result as the report reads it from the store: its attributes also say of what and where it is."""
        selected = self.selected
        place = {"dataset": selected.dataset, "split": selected.split, "view": selected.view}
        counts = {"samples_in_units": selected.samples, "run": self.path}
        return replace(self.result, attrs={**self.result.attrs, **place, **counts})


def keep_summary(reading: Reading, analysis: Analysis, key: ResultKey) -> tuple[Result, str]:
    """The result of all partials under `key`, in unit order, kept in the store; and the path of its group.

    Raises:
        IncompleteError: A unit has no partial.
    """
    selected = reading.selected
    result = analysis.summarise(selected.layers, partials_of(reading.store, key, selected.units))
    if selected.notes:
        result = replace(result, attrs={**result.attrs, "notes": [*result.attrs.get("notes", ()), *selected.notes]})
    return result, keep(reading, result, [key.name, dict(analysis.summary_dict())])


def keep(reading: Reading, result: Result, identity: object) -> str:
    """Save `result` in the store under a digest of what it depends on; the path of its group."""
    key = result_key(reading.selected, result.name, identity)
    save_result(reading.store, key, labelled(result, reading.selected))
    return key.path


def result_key(selected: Selected, name: str, identity: object) -> ResultKey:
    """The key of an analysis's result that depends on `identity` and on the selected units."""
    units = [(unit.start, unit.stop) for unit in selected.units]
    return ResultKey(selected.dataset, selected.split, name, _digest({"identity": identity, "units": units}))


def labelled(result: Result, selected: Selected) -> xarray.Dataset:
    """The result with names: coordinates, and what it was made from as attributes."""
    import xarray

    attrs = {
        **result.attrs,
        "dataset": selected.dataset,
        "split": selected.split,
        "view": selected.view,
        "samples_in_units": selected.samples,
        "versions": ", ".join(f"{name} {installed(name)}" for name in MADE_WITH),
    }
    return xarray.Dataset(
        {name: (dims, values) for name, (dims, values) in result.data.items()}, coords=result.coords, attrs=attrs
    )


def stored_result(store: FeatureStore, key: ResultKey) -> Result:
    """A result that `keep` has kept; its attributes also name `dataset`, `split`, `view` and `run`, its path.

    Raises:
        DataUnavailableError: There is none under this key.
        IntegrityError: It is damaged.
    """
    found = load_result(store, key)
    if found is None:
        raise DataUnavailableError("the store holds no such result", where=key.path)
    return Result(
        name=key.analysis,
        coords={str(name): values.values.tolist() for name, values in found.coords.items()},
        data={str(name): (tuple(map(str, v.dims)), v.values) for name, v in found.data_vars.items()},
        attrs={**found.attrs, "run": key.path},
    )


def partials_key(
    split: tuple[str, str],
    layers: Sequence[Layer],
    fingerprints: Mapping[str, Mapping[str, Any]],
    analysis: Analysis,
    device: str,
) -> ResultKey:
    """The key of partials: split, analysis, and a digest of the parameters and of the features' fingerprints."""
    identity = {
        "analysis": analysis.name,
        "device": device,  # a GPU sums in another order
        "parameters": dict(analysis.as_dict()),
        **features_identity(layers, fingerprints),
    }
    return ResultKey(*split, analysis.name, _digest(identity))


def partials_of(store: FeatureStore, key: ResultKey, units: Sequence[Unit]) -> Iterator[Partial]:
    """The partials of these units, in their order.

    Raises:
        IncompleteError: A unit has none.
    """
    for unit in units:
        partial = get_partial(store, key, unit.index)
        if partial is None:
            raise IncompleteError(f"unit {unit.index} has no partial", where=key.name, fix="run the same command again")
        yield partial


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
