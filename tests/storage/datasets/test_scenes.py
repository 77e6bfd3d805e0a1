"""scenes: data sets of pictures drawn from seeds. Pixels are frozen, boxes are those of the masks."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cvbench.errors import UnknownNameError
from cvbench.storage.annotations import IMAGENET_X_FACTORS, flags_in_table
from cvbench.storage.datasets import READERS, key_of_spec, open_dataset, registered, spec_of_key
from cvbench.storage.datasets.formats.rendered import RenderedDataset
from cvbench.storage.datasets.scenes.columns import BOX, FLAG, RAREST, STYLE
from cvbench.storage.datasets.scenes.factors import BACKGROUNDS, CLASSES, COLOURS, TEXTURES
from cvbench.storage.datasets.scenes.grid import FACTORS
from cvbench.storage.datasets.scenes.scene import Scene
from cvbench.storage.datasets.scenes.styles import STYLES
from tests.storage.datasets.dataset_suite import DatasetTests

NAMES = tuple(name for name in READERS if name.partition("-")[0] == "scenes")
TASKS = ("textures", "counts", "colours", "orientations", "positions", "subclasses", "backgrounds")
FROZEN = json.loads((Path(__file__).parent / "scenes_digests.json").read_text())


def opened(spec: str, split: str | None = None) -> RenderedDataset:
    dataset = open_dataset(spec, split=split)
    assert isinstance(dataset, RenderedDataset)
    return dataset


def pixels_digest(spec: str, count: int = 6) -> str:
    """Of the pixels of some images, from all over the default split."""
    dataset = opened(spec)
    chosen = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    return hashlib.sha256(b"".join(dataset.read(i).tobytes() for i in chosen)).hexdigest()[:16]


class TestScenes(DatasetTests):
    spec = "scenes"
    splits = ("train", "val", "test")


class TestScenesAtAnotherSize(DatasetTests):
    spec = "scenes:96"
    splits = ("train", "val", "test")


class TestGrid(DatasetTests):
    spec = "scenes-pug"
    splits = ("all", "size", "background")


class TestCues(DatasetTests):
    spec = "scenes-cue-conflict"
    splits = ("test",)


class TestRenditions(DatasetTests):
    spec = "scenes-r:100"
    splits = ("test",)


class TestFine(DatasetTests):
    spec = "scenes-fine"
    splits = ("train", "test")


class TestTransfer(DatasetTests):
    spec = "scenes-positions"
    splits = ("train", "val", "test")


@pytest.mark.parametrize("spec", [*NAMES, "scenes:96", "scenes:224"])
def test_pixels_are_frozen(spec: str) -> None:
    """Should they change, RENDERER_VERSION is to be raised: stores and weights of an earlier version are of others."""
    assert pixels_digest(spec) == FROZEN["pixels"][spec]


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_frozen(name: str) -> None:
    dataset = opened(name)
    assert dataset.digest[:16] == FROZEN["tables"][name]
    assert len(dataset) == READERS[name].info.counts[dataset.split]


def test_pixels_are_the_same_without_wide_instructions() -> None:
    """What NumPy computes with the widest instructions of this processor, it computes to the last bit without."""
    wide = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not wide:
        pytest.skip("this processor has none that NumPy would use")
    code = (
        "import numpy as np; from tests.storage.datasets.test_scenes import pixels_digest as of;"
        "print(np.show_config(mode='dicts')['SIMD Extensions'].get('found', []), of('scenes', 12), of('scenes-r'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(wide)},
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert run.stdout.split() == ["[]", pixels_digest("scenes", 12), pixels_digest("scenes-r")]


def test_pixels_are_the_same_in_threads_and_processes() -> None:
    dataset = opened("scenes")
    here = [dataset.read(i).tobytes() for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert [image.tobytes() for image in pool.map(dataset.read, range(24))] == here
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        assert processes.apply(pixels_digest, ("scenes-r",)) == pixels_digest("scenes-r")


def test_no_scene_is_in_two_splits() -> None:
    every = [(name, split) for name in NAMES for split in READERS[name].info.splits if "-pug" not in name]
    seeds = {key: {scene.seed for scene in opened(*key).scenes} for key in every}
    assert all(len(own) == len(opened(*key)) for key, own in seeds.items())
    assert not [(a, b) for a, b in combinations(every, 2) if seeds[a] & seeds[b]]


def test_classes_are_balanced() -> None:
    for name in NAMES:
        for split in READERS[name].info.splits:
            counts = np.bincount(opened(name, split).labels)
            assert name == "scenes-a" or counts.max() - counts.min() <= 1, (name, split)


# Boxes and masks.


@pytest.mark.parametrize("spec", ["scenes", "scenes:96", "scenes-pug", "scenes-fine:224", "scenes-sketch"])
def test_boxes_are_the_extents_of_the_masks(spec: str) -> None:
    dataset = opened(spec)
    corners = np.stack([dataset.factors[name] for name in BOX], axis=1)
    assert (corners[:, 2:] > 0).all()
    for i in np.linspace(0, len(dataset) - 1, 60).astype(int).tolist():
        covered = dataset.mask(i)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        found = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert corners[i].tolist() == found, dataset.ids[i]


def test_the_usual_object_is_in_the_image() -> None:
    dataset = opened("scenes")
    x, y, w, h = (dataset.factors[name] for name in BOX)
    alone = dataset.factors["number"] == 1
    assert ((w * h)[alone] / 128**2).min() > 0.02
    assert np.mean((x > 0) & (y > 0) & (x + w < 128) & (y + h < 128)) > 0.8


# What the sets hold.


def test_the_base_set_has_usual_and_unusual_values() -> None:
    dataset = opened("scenes", "train")
    labels, factors = dataset.labels, dataset.factors
    own = [np.mean(factors[name] == np.array(names)[labels]) for name, names in USUAL.items()]
    assert own == sorted(own, reverse=True), "the texture tells most, the background least"
    assert 0.3 < own[2] < 0.6
    assert own[0] < 0.97
    for name in ("texture", "colour", "background", "light", "subclass"):
        assert len(np.unique(factors[name])) == len(np.unique(opened("scenes-subclasses").factors[name]))


USUAL = {"texture": TEXTURES, "colour": COLOURS, "background": BACKGROUNDS}


def test_the_loose_grid_has_other_colours_and_backgrounds() -> None:
    usual, loose = opened("scenes-pug"), opened("scenes-pug-loose")
    assert loose.ids == usual.ids
    assert not {scene.seed for scene in usual.scenes} & {scene.seed for scene in loose.scenes}
    for name, names in (("colour", COLOURS), ("background", BACKGROUNDS)):
        others = loose.factors["subset"] != name
        own = np.array(names)[loose.labels] == loose.factors[name]
        assert not own[others].any()
        assert (np.array(names)[usual.labels] == usual.factors[name])[others].all()


def test_what_is_trained_on_has_loose_cues_and_some_outlines() -> None:
    dataset = opened("scenes-varied", "train")
    styles = np.array([scene.style for scene in dataset.scenes])
    assert 0.03 < np.mean(styles == STYLES.index("sketch")) < 0.06
    assert 0.12 < np.mean(styles > 0) < 0.18
    own = np.mean(dataset.factors["texture"] == np.array(TEXTURES)[dataset.labels])
    assert 0.65 < own < 0.85, "a quarter have any texture"


def test_style_is_a_factor_beside_photographs() -> None:
    dataset = opened("scenes-x")
    styled = np.array([scene.style > 0 for scene in dataset.scenes])
    assert np.array_equal(dataset.factors[f"{FLAG}{STYLE}"], styled)
    assert set(dataset.factors["x_top"][styled]) == {STYLE}
    assert 0.1 < styled.mean() < 0.2
    assert STYLE in IMAGENET_X_FACTORS
    assert f"{FLAG}{STYLE}" not in opened("scenes").factors


@pytest.mark.parametrize("name", ["scenes-pug", "scenes-pug-loose"])
def test_the_grid_varies_one_factor_at_a_time(name: str) -> None:
    dataset = opened(name)
    for object_name in np.unique(dataset.factors["character_name"])[::7]:
        for subset in FACTORS:
            rows = (dataset.factors["character_name"] == object_name) & (dataset.factors["subset"] == subset)
            values = {factor: len(np.unique(dataset.factors[factor][rows])) for factor in FACTORS}
            assert values.pop(subset) == rows.sum() > 4
            assert set(values.values()) == {1}, subset
    parts = [opened(name, subset) for subset in FACTORS]
    assert sorted(one for part in parts for one in part.ids) == sorted(dataset.ids)


def test_cues_are_of_two_classes() -> None:
    dataset = opened("scenes-cue-conflict")
    shape, texture = dataset.factors["shape"], dataset.factors["texture"]
    assert np.array_equal(np.array(CLASSES)[dataset.labels], shape)
    assert np.array_equal(dataset.factors["conflict"], shape != texture)
    assert np.mean(shape != texture) == pytest.approx(0.9)
    assert all(scene.colour == scene.texture for scene in dataset.scenes), "a texture comes with its colour"
    assert len({(s, t) for s, t in zip(shape.tolist(), texture.tolist(), strict=True)}) == 100


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_about_its_factor_alone(task: str) -> None:
    dataset = opened(f"scenes-{task}", "train")
    labels = dataset.labels
    told: Callable[[Scene], int] = {
        "textures": lambda scene: scene.texture,
        "counts": lambda scene: scene.count - 1,
        "colours": lambda scene: scene.colour,
        "orientations": lambda scene: (scene.angle + 22) % 360 // 45,
        "positions": lambda scene: (scene.x - 50) // 300 + 3 * ((scene.y - 50) // 300),
        "subclasses": lambda scene: 2 * scene.kind + scene.form,
        "backgrounds": lambda scene: scene.background,
    }[task]
    assert [told(scene) for scene in dataset.scenes] == labels.tolist()
    if task != "subclasses":
        kinds = np.array([scene.kind for scene in dataset.scenes])
        table = np.histogram2d(kinds, labels, bins=(len(CLASSES), len(dataset.classes)))[0]
        assert (table > 0).mean() > 0.95, "every object has every label"


@pytest.mark.parametrize("which", ["top", "multi"])
def test_flags_are_read_as_annotations(which: str) -> None:
    dataset = opened("scenes")
    found = flags_in_table(dataset.ids, dataset.labels, dataset.factors, which)
    assert found is not None
    assert len(found) == len(dataset)
    assert set(RAREST) <= set(IMAGENET_X_FACTORS)
    for column, name in enumerate(IMAGENET_X_FACTORS):
        expected = dataset.factors.get(f"{FLAG}{name}", np.zeros(len(dataset), bool))
        if which == "multi":
            assert np.array_equal(found.factors[:, column], expected), name
        else:
            assert not (found.factors[:, column] & ~expected).any(), name
    assert which == "multi" or found.factors.sum(axis=1).max() == 1
    assert np.array_equal(found.factors.any(axis=1), dataset.factors["x_top"] != "")
    assert flags_in_table(dataset.ids, dataset.labels, {}, which) is None


# Names, sizes and speed.


@pytest.mark.parametrize(
    ("typed", "near"), [("scenes:64", "scenes:96"), ("scenes-v2:300", "scenes-v2:224"), ("scenes:large", "scenes:128")]
)
def test_an_unknown_size_names_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_dataset(typed)
    assert list(caught.value.did_you_mean) == [near]


@pytest.mark.parametrize("size", [96, 113, 224])
def test_any_size_by_name(size: int) -> None:
    dataset = opened(f"scenes:{size}")
    assert dataset.read(0).shape == (size, size, 3)
    assert dataset.name == f"scenes-{size}"
    assert (key_of_spec(dataset.spec), spec_of_key(dataset.name)) == (dataset.name, dataset.spec)


def test_the_usual_size_has_no_number_in_its_name() -> None:
    assert (opened("scenes:128").name, opened("scenes:128").spec) == ("scenes", "scenes")
    assert opened("scenes:128").digest == opened("scenes").digest != opened("scenes:96").digest
    assert registered("scenes-a-160.scale-2") == "scenes-a"


def test_opening_draws_nothing_and_memory_is_flat() -> None:
    dataset = opened("scenes", "train")
    dataset.read(0)
    tracemalloc.start()
    for index in range(100):
        dataset.read(index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6, "a picture of 128 pixels is 0.2 MB in float32"
