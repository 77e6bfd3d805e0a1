"""Reads stored heat maps and measures them: on the grid that all backbones share, and on each one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.cam.boxed import BOX_MEASURES, box_measures, centred_gaussian
from cvbench.engine.analyses.cam.choice import CHOICE
from cvbench.engine.analyses.cam.grids import centred_evidence, common_grid, pool_evidence
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, map_measures
from cvbench.engine.analyses.cam.summary import CENTRED, RAW, Measured
from cvbench.jobs.analyses.cam.maps import MapJob
from cvbench.jobs.analyses.cam.worker import choice_tap
from cvbench.jobs.reading.pictures import Boxes, boxes_of
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.reading.selection import Selected
from cvbench.storage.features.units import Unit

BASELINE = "centred Gaussian"
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class _Grids:
    """Grids that measures are taken on: every backbone's own, and one that all share."""

    own: dict[str, tuple[int, int]]
    common: tuple[int, int]

    def of(self, backbone: str) -> list[tuple[tuple[int, int], str]]:
        """Grid and version: raw on the common grid first, on the own one if it differs, and centred on the common."""
        raw = dict.fromkeys([self.common, self.own[backbone]])
        return [*((grid, RAW) for grid in raw), (self.common, CENTRED)]


def selected_maps(job: MapJob) -> Selected:
    """The maps of a job, one layer per backbone, and all their units."""
    layers = tuple(Layer(name, target) for name, target in job.targets.items())
    units = tuple(job.units.units(job.group(layers[0].backbone)))
    split = job.units.split
    return Selected(split.dataset, split.split, job.options.view, layers, units, left_out=0)


def measure_maps(
    reading: Reading, job: MapJob, correct_only: bool, tolerance: float
) -> tuple[NDArray[np.int64], list[Measured], dict[str, F64]]:
    """Measure every stored map on the common grid and on its own, unit by unit.

    What is measured on the common grid is L, the positive part of a map, averaged over its cells; and once more the
    positive part of the raw map that is averaged first and centred there (`centred_evidence`).

    Memory: one unit of maps, and the tables that are returned, twice while their parts are joined.

    Args:
        reading: The maps, with all units committed.
        job: What they were made by.
        correct_only: Only images whose label is the top-1 of every backbone.
        tolerance: Input pixels by which boxes grow for the pointing game.

    Returns:
        Store positions (n,) of the images that count; their measures by backbone and grid, with boxes also those of the
        baseline; and backbone -> (n, 4) what was chosen, columns `CHOICE`.
    """
    selected, maps = reading.selected, reading.layers
    picks = {layer: reading.layer(layer, choice_tap(layer.tap)) for layer in selected.layers}
    own = {layer.backbone: (stored.shape[1], stored.shape[2]) for layer, stored in maps.items()}
    grids = _Grids(own, common_grid(list(own.values())))
    boxes = boxes_of(job.dataset, job.units.split)
    width = len(MAP_MEASURES) + (len(BOX_MEASURES) if boxes else 0)
    places = [(name, *place) for name in own for place in grids.of(name)]
    places += [(BASELINE, grids.common, RAW)] if boxes else []
    found: dict[tuple[str, tuple[int, int], str], list[F64]] = {place: [] for place in places}
    rows: list[NDArray[np.int64]] = []
    choices: dict[str, list[F64]] = {name: [] for name in own}
    for unit, readable in reading.kept:
        chosen = {layer: stored.read_unit(unit).astype(np.float64) for layer, stored in picks.items()}
        kept = _kept(readable, chosen, unit, job.units.split.labels if correct_only else None)
        rows.append(unit.start + kept)
        inside = _boxes_of_unit(boxes, unit.start + kept, job)
        for layer, stored in maps.items():
            choices[layer.backbone].append(chosen[layer][kept])
            raw = stored.read_unit(unit)[kept]
            for grid, version in grids.of(layer.backbone):
                pooled = _on_grid(raw, grid, version)
                table = _table(pooled, inside.get(layer.backbone), job, layer, tolerance)
                found[layer.backbone, grid, version].append(table)
        if boxes:
            first = selected.layers[0]
            same = np.broadcast_to(centred_gaussian(grids.common), (len(kept), *grids.common))
            found[BASELINE, grids.common, RAW].append(_table(same, inside[first.backbone], job, first, tolerance))
    tables = [
        Measured(
            name,
            job.targets.get(name, ""),
            grid,
            grid == grids.common,
            np.concatenate(parts).reshape(-1, width),
            version,
        )
        for (name, grid, version), parts in found.items()
    ]
    return np.concatenate(rows), tables, {name: np.concatenate(parts) for name, parts in choices.items()}


def _on_grid(raw: NDArray[Any], grid: tuple[int, int], version: str) -> NDArray[Any]:
    if version == CENTRED:
        centred: NDArray[Any] = centred_evidence(raw, grid)
        return centred
    return raw if grid == raw.shape[1:] else pool_evidence(raw, grid)


def _kept(
    kept: NDArray[np.int64], chosen: Mapping[Layer, F64], unit: Unit, labels: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Rows of the unit that count: of the readable ones, where labels are given, those right by every backbone."""
    if labels is not None:
        own, top = labels[unit.start : unit.stop][kept], CHOICE.index("predicted")
        kept = kept[np.logical_and.reduce([table[kept, top] == own for table in chosen.values()])]
    return kept


def _boxes_of_unit(boxes: Boxes | None, rows: NDArray[np.int64], job: MapJob) -> dict[str, F64]:
    if boxes is None:
        return {}
    geometries = [job.described[name].preprocess.geometry for name in job.targets]
    return dict(zip(job.targets, boxes.at(rows, geometries), strict=True))


def _table(raw: NDArray[Any], boxes: F64 | None, job: MapJob, layer: Layer, tolerance: float) -> F64:
    table: F64 = map_measures(raw)
    if boxes is None:
        return table
    size = job.described[layer.backbone].preprocess.geometry.size
    return np.concatenate([table, box_measures(raw, boxes, size, tolerance=tolerance)], axis=1)
