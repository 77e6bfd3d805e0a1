"""Shell completion: data sets, backbones, layers and stores by what is typed, before anything heavy is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import xarray

from cvbench.jobs.reading import known
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import ResultKey, save_result
from tests.cli.test_startup import HEAVY
from tests.storage.small_store import GROUP, TAPS, extract

RESULT = ResultKey("digits", "all", "cka", "0123abcd")

PROGRAM = """
import sys
sys.argv[0] = "cvbench"
from cvbench.cli import main
try:
    main()
finally:
    print("imported:", *sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[1:])))
"""


def offered(line: str, *, folder: Path) -> list[str]:
    """What bash would offer for the last word of a line."""
    words = line.split(" ")
    environment = {**os.environ, "_CVBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HEAVY],
        env={**environment, "COMP_CWORD": str(len(words) - 1), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    *found, imported = done.stdout.splitlines()
    assert {*imported.split()[1:]} <= {"numpy"}, imported  # of the registry of data sets
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    extract(FeatureStore.open(tmp_path / "small.zarr", "a"))
    (tmp_path / "small.images" / "a").mkdir(parents=True)
    (tmp_path / "small.zarr" / "ledger" / "_runs" / "20261130T093837-eb9931fc").mkdir(parents=True)
    save_result(FeatureStore.open(tmp_path / "small.zarr", "r+"), RESULT, xarray.Dataset({"cka": ("a", [1.0])}))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("cvbench ext", ["extract"]),
        ("cvbench analyze si", ["silhouette", "similarity"]),
        ("cvbench extract --dataset cub", ["cub200"]),
        ("cvbench extract --dataset @rob", ["@robustness"]),
        ("cvbench extract --dataset folder:small", ["folder:small.images", "folder:small.zarr"]),
        ("cvbench extract --backbone vit_small_patch14_dinov2", ["vit_small_patch14_dinov2.lvd142m"]),
        ("cvbench extract --decoder f", ["fast"]),
        ("cvbench extract --device c", ["cpu", "cuda"]),
        ("cvbench extract --codec blosc", ["blosc-lz4", "blosc-zstd"]),
        ("cvbench plan --card h", ["h100", "h200"]),
        ("cvbench analyze cam --method grad", ["gradcam", "gradcam++"]),
        ("cvbench transfer probe --recipe clip_l", ["clip_lbfgs"]),
        ("cvbench analyze silhouette --space stand", ["standardised"]),
        ("cvbench analyze cka --store sma", ["small.zarr"]),
        ("cvbench store rm --store small.zarr dig", [GROUP.dataset]),
        ("cvbench store rm --store small.zarr digits", ["digits/all"]),
        (f"cvbench store rm --store small.zarr {GROUP.path}/blocks.", [f"{GROUP.path}/{TAPS[0]}"]),
        ("cvbench store export --store small.zarr digits/all/test_vit@32/p", [GROUP.path]),
        ("cvbench results rm --store small.zarr 01", [RESULT.digest]),
        ("cvbench results show --store small.zarr results/dig", [RESULT.path]),
        ("cvbench runs show --store small.zarr --run 2026", ["20261130T093837-eb9931fc"]),
        ("cvbench analyze cka --store small.zarr --backbone test_vit@", [GROUP.backbone]),
        ("cvbench analyze cka --store small.zarr --dataset dig", [GROUP.dataset]),
        ("cvbench analyze cka --store small.zarr --taps blocks.", [*TAPS]),
    ],
)
def test_what_a_shell_offers(line: str, some: list[str], folder: Path) -> None:
    found = offered(line, folder=folder)
    assert {*some} <= {*found}
    assert all(name.startswith(line.rpartition(" ")[2].rpartition(":")[0]) for name in found)


def test_logs_of_runs_are_no_data_sets_or_splits(folder: Path) -> None:
    held = [known.stored(str(folder / "small.zarr"), depth) for depth in range(3)]
    assert held == [[GROUP.dataset], [GROUP.split], [GROUP.backbone]]


def test_the_models_of_timm_are_offered() -> None:
    there, every = {*known.models("")}, {*timm.list_models(), *timm.list_models(pretrained=True)}
    assert len(every - there) <= 0.02 * len(every)  # some names are put together by its code, and cannot be read off
