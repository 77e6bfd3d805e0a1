"""digits: scikit-learn's bundled images."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from cvbench.storage.datasets import dataset_info, open_dataset
from tests.storage.datasets.dataset_suite import DatasetTests


class TestDigits(DatasetTests):
    spec = "digits"
    splits = ("all", "train", "val", "test")


def test_all_1797_digits_in_order() -> None:
    dataset = open_dataset("digits")
    assert len(dataset) == dataset_info("digits").counts["all"] == 1_797
    assert dataset.ids[0] == "digits/00000"
    assert dataset.ids[-1] == "digits/01796"
    assert np.array_equal(dataset.labels, load_digits().target)


def test_grey_values_are_scaled_to_the_full_range() -> None:
    dataset = open_dataset("digits")
    bundled = load_digits().images
    image = dataset.read(7)
    assert isinstance(image, np.ndarray)
    assert image.shape == (8, 8)
    assert np.abs(image - bundled[7] * 255 / 16).max() <= 0.5
    everything = np.stack([np.asarray(dataset.read(i)) for i in range(len(dataset))])
    assert (everything.min(), everything.max()) == (0, 255)
    assert np.array_equal(everything == 0, bundled == 0)


def test_a_caller_cannot_change_the_data_set() -> None:
    dataset = open_dataset("digits")
    image = dataset.read(0)
    assert isinstance(image, np.ndarray)
    image[:] = 99
    assert not np.array_equal(dataset.read(0), image)


def test_the_splits_hold_every_image_once() -> None:
    parts = [open_dataset("digits", split=split) for split in ("train", "val", "test")]
    counts = dataset_info("digits").counts
    assert [len(part) for part in parts] == [counts["train"], counts["val"], counts["test"]] == [1_200, 200, 397]
    assert sorted(name for part in parts for name in part.ids) == list(open_dataset("digits").ids)
    assert all(list(part.ids) == sorted(part.ids) for part in parts)
    assert all(np.bincount(part.labels, minlength=10).min() >= 14 for part in parts)


def test_a_sample_is_the_same_in_every_split() -> None:
    whole, part = open_dataset("digits"), open_dataset("digits", split="test")
    for index in (0, 200, 396):
        at = whole.ids.index(part.ids[index])
        assert part.labels[index] == whole.labels[at]
        assert np.array_equal(part.read(index), whole.read(at))


def test_digests_stay_what_stores_were_made_with() -> None:
    assert open_dataset("digits").digest.startswith("e4f790f809ffb431")
    found = {split: open_dataset("digits", split=split).digest[:8] for split in ("train", "val", "test")}
    assert found == {"train": "2a6378e6", "val": "262fa1c0", "test": "14d4f041"}
