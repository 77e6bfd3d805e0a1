"""How much of a heat map lies in the box of the object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.cam.measures import MAP_MEASURES
from cvbench.engine.models.backbones import load_backbone, resolve_spec
from cvbench.engine.pictures.decode import decode, fit
from cvbench.jobs.analyses.cam.cam import ENTRY, cam
from cvbench.jobs.analyses.cam.options import MapOptions
from cvbench.jobs.analyses.cam.rows import MEASURES
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.results.row import REFERENCE
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.analyses.pets import LOOP, QUICK, SIZE, TARGETS
from tests.storage.datasets.cub_tree import write_cub


def test_boxes_of_birds(tmp_path: Path) -> None:
    write_cub(tmp_path / "data" / "CUB_200_2011")
    job = ExtractOptions(
        dataset="cub200",
        split="all",
        data_root=str(tmp_path / "data"),
        backbones=tuple(TARGETS),
        store=str(tmp_path / "s.zarr"),
        weights=("random",),
        batch_size=4,
        image_size=SIZE,
    )
    analysed = cam(job, replace(QUICK, maps=MapOptions(choice="3"), tolerance=2.0), LOOP)
    result, store = analysed.result, FeatureStore.open(job.store)
    names = [row["backbone"] for row in result.attrs["rows"]]
    assert names[-1] == "centred Gaussian"
    assert result.coords["measure"][len(MAP_MEASURES) :][0] == "energy_in_box"
    group = GroupKey("cub200", "all", "test_convnext@96", "cam.gradcam.3")
    maps = np.maximum(store.layer(group, TARGETS["test_convnext"]).numpy().astype(np.float64), 0)
    table = store.samples("cub200", "all")
    geometry = load_backbone(resolve_spec("test_convnext", weights="random", image_size=SIZE)).preprocess.geometry
    energies = []
    for row, name in enumerate(table["id"]):
        image = decode((tmp_path / "data" / "CUB_200_2011" / "images" / name).read_bytes())
        x, y, width, height = (float(table[f"bbox_{key}"][row]) for key in "xywh")
        # the box painted in, and sent through the same resize and crop: right to a pixel's blur
        painted = np.zeros_like(image)
        painted[round(y) : round(y + height), round(x) : round(x + width)] = 255
        seen = fit(painted, geometry)[0].astype(np.float64) / 255
        cells = seen.reshape(3, SIZE // 3, 3, SIZE // 3).mean((1, 3))
        if maps[row].any():
            energies.append((maps[row] * cells).sum() / maps[row].sum())
    at = result.coords["measure"].index("energy_in_box")
    row = names.index("test_convnext@96")
    assert result.data["value"][1][row, at] == pytest.approx(np.mean(energies), abs=0.03)
    assert 0 < result.data["value"][1][-1, at] < 1
    rows = ENTRY.rows_of(analysed.named)
    gaussian = [entry for entry in rows if entry.backbone == "centred Gaussian"]
    assert MEASURES["energy_in_box"] in {entry.metric for entry in gaussian}
    assert not {MEASURES[name] for name in MAP_MEASURES} & {entry.metric for entry in gaussian}
    assert gaussian == [entry for entry in rows if entry.kind == REFERENCE]
    told = ENTRY.sentences(result, rows)
    assert result.attrs["baseline"] in told
    energy = [row for row in rows if row.metric == MEASURES["energy_in_box"] and not row.backbone_b]
    common = {
        row.backbone: row.value
        for row in energy
        if row.factor.partition(",")[0] == row.factor and "common" in row.factor
    }
    guess = common.pop("centred Gaussian")
    assert guess is not None
    worse = {name for name, value in common.items() if value is not None and value <= guess}
    assert {text.partition("/")[0] for text in told if "no more of where the object is" in text} == worse
    assert draw(ENTRY, result, rows, tmp_path / "figure" / "cam", ["png"])[0].stat().st_size > 10_000
