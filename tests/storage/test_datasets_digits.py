"""digits: scikit-learn's bundled images."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from cvbench.storage.datasets import dataset_info, open_dataset
from tests.storage.dataset_suite import DatasetTests


class TestDigits(DatasetTests):
    spec = "digits"
    splits = ("all",)


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
