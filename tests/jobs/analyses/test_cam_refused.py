"""Heat maps that cannot be, refused before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.cam.cam import cam
from cvbench.jobs.analyses.cam.options import MapOptions
from cvbench.storage.datasets import READERS, DatasetInfo
from cvbench.storage.datasets.formats.pixels import PixelDataset
from tests.jobs.analyses.pets import LOOP, QUICK, SIZE, options, vit


@pytest.mark.parametrize(
    ("maps", "changes", "kind", "said"),
    [
        (MapOptions("grad-cam"), {}, UnknownNameError, "gradcam"),
        (MapOptions(choice="labels"), {}, UnknownNameError, "label"),
        (MapOptions(choice="2"), {}, UsageError, "no class 2"),
        (MapOptions(choice="-1"), {}, UnknownNameError, "unknown class choice"),
        (MapOptions(choice="label"), {"weights": ("random",)}, UsageError, "does not know the labels"),
        (MapOptions(targets=("blocks.5.attn",)), {}, UsageError, "do not depend on the patches of blocks.5.attn"),
        (MapOptions(targets=("blocks.9.norm1",)), {}, UnknownNameError, "blocks.5.norm1"),
        (MapOptions("rollout"), {}, UsageError, "test_convnext@96 is none"),
        (MapOptions("rollout", targets=("blocks.5",)), {}, UsageError, "rollout has no target"),
        (MapOptions("legrad"), {"precision": "bf16"}, UsageError, "legrad is computed in float32"),
        (MapOptions(), {"backbones": ("test_vitt",)}, UnknownNameError, "test_vit"),
        (MapOptions(), {"precision": "fp8"}, UnknownNameError, "precision"),
        (MapOptions(), {"limit": 0}, UsageError, "no sample"),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_store(
    pets: Path, tmp_path: Path, maps: MapOptions, changes: dict[str, object], kind: type[Exception], said: str
) -> None:
    job = options(pets, tmp_path / "s.zarr", **changes)
    if "backbones" in changes:
        job = replace(job, weights=("random",))
    with pytest.raises(kind) as caught:
        cam(job, replace(QUICK, maps=maps), LOOP)
    assert said in str(caught.value)
    assert not (tmp_path / "s.zarr").exists()


def test_a_model_without_a_classifier_is_refused(pets: Path, tmp_path: Path) -> None:
    headless = timm.create_model("test_vit", pretrained=False, img_size=SIZE, num_classes=0)
    save_file(headless.state_dict(), tmp_path / "headless.safetensors")
    weights = (str(tmp_path / "headless.safetensors"),)
    with pytest.raises(UsageError, match="has no classifier"):
        cam(options(pets, tmp_path / "s.zarr", backbones=("test_vit",), weights=weights), QUICK, LOOP)


class HalfLabelled:
    """A reader of 16 noise images, of which half have a label."""

    info = DatasetInfo("half", "Half", ("all",), "all", {}, 2, "none", "nowhere", "")

    def locate(self, argument: str, root: Path | None) -> Path | None:
        return None

    def every_split(self, argument: str, root: Path | None) -> tuple[str, ...]:
        return ("all",)

    def open(self, argument: str, root: Path | None, split: str | None) -> PixelDataset:
        pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8), dtype=np.uint8)
        labels = np.array([0, -1] * 8, dtype=np.int64)
        names = tuple(f"half/{i}" for i in range(16))
        return PixelDataset("half", "all", "half", ("a", "b"), names, labels, pixels, self)


def test_samples_without_a_label_have_no_map_of_their_label(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "half", HalfLabelled())
    job = vit(pets, tmp_path / "s.zarr", dataset="half")
    with pytest.raises(UsageError, match="8 of 16 samples have no label"):
        cam(job, replace(QUICK, maps=MapOptions(choice="label")), LOOP)
    assert not (tmp_path / "s.zarr").exists()
    assert cam(job, QUICK, LOOP).measured == 16


def test_answers_are_right_only_where_the_head_knows_the_labels(pets: Path, tmp_path: Path) -> None:
    job = options(pets, tmp_path / "s.zarr", weights=("random",))
    with pytest.raises(UsageError, match="does not know the labels"):
        cam(job, replace(QUICK, correct_only=True), LOOP)
