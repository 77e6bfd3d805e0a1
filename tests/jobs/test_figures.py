"""The figure says what the numbers say, and two runs write the same bytes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.cka_result import cka_result
from cvbench.errors import UsageError
from cvbench.jobs.figures.cka import cka_heatmaps


def result_of(backbones: dict[str, int], constant: int | None = None) -> Result:
    layers = [Layer(name, f"blocks.{i}") for name, count in backbones.items() for i in range(count)]
    rng = np.random.default_rng(3)
    factors = np.cumsum(rng.normal(size=(6, len(layers), 4)), axis=1)
    hsic = factors @ factors.transpose(0, 2, 1)
    if constant is not None:
        hsic[:, constant] = hsic[:, :, constant] = 0
    attrs = {"estimator": "minibatch", "batch_size": 32, "samples": 192, "dropped": 0}
    return cka_result(layers, hsic, {**attrs, "confidence": 0.95})


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests.jobs.test_figures import *; "
        "cka_heatmaps(result_of({'a': 3, 'b': 2}), pathlib.Path(sys.argv[1]), ('svg', 'png', 'pdf'))"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name / "cka")], check=True)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["cka.csv", "cka.pdf", "cka.png", "cka.svg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_users_settings_do_not_change_the_figure(tmp_path: Path) -> None:
    import matplotlib as mpl

    cka_heatmaps(result_of({"a": 3}), tmp_path / "plain")
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "x"}):
        cka_heatmaps(result_of({"a": 3}), tmp_path / "odd")
        assert mpl.rcParams["font.size"] == 20
    for suffix in ("svg", "png"):
        assert (tmp_path / f"plain.{suffix}").read_bytes() == (tmp_path / f"odd.{suffix}").read_bytes()


@pytest.mark.parametrize(("backbones", "panels"), [({"a": 4}, 1), ({"a": 5, "b": 3}, 3), ({"a": 2, "b": 3, "c": 1}, 6)])
def test_one_panel_within_and_per_pair(tmp_path: Path, backbones: dict[str, int], panels: int) -> None:
    svg = cka_heatmaps(result_of(backbones), tmp_path / "cka", ["svg"])[0].read_text()
    assert svg.count("<image ") == panels + 1  # and the colour bar


def test_the_csv_holds_the_exact_numbers(tmp_path: Path) -> None:
    result = result_of({"a": 2, "b": 1}, constant=1)
    path = cka_heatmaps(result, tmp_path / "deep" / "cka.v1", ["png"])[-1]
    assert path.name == "cka.v1.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[2]["cka"]) == result.data["cka"][1][0, 2]
    assert float(rows[2]["low"]) == result.data["low"][1][0, 2]
    assert rows[1]["cka"] == ""


def test_an_undefined_layer_is_grey(tmp_path: Path) -> None:
    from matplotlib.image import imread

    whole, partly = (
        imread(cka_heatmaps(result_of({"a": 4}, constant=c), tmp_path / str(c), ["png"])[0]) for c in (None, 1)
    )
    grey = [(np.abs(image[..., :3] - 0.8).max(axis=-1) < 0.01).mean() for image in (whole, partly)]
    assert grey[1] > grey[0] + 0.05


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown figure format 'gif'"):
        cka_heatmaps(result_of({"a": 2}), tmp_path / "cka", ["svg", "gif"])
    assert not list(tmp_path.iterdir())


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, cvbench.jobs.figures.cka; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
