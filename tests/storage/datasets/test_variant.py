"""Variants of data sets: names, specs, digests, grids; the samples are those of the base."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.catalogue.datasets import verify
from cvbench.storage.datasets import absolute_spec, dataset_info, open_dataset
from cvbench.storage.datasets.variant import (
    base_name,
    expand_grid,
    parse_name,
    split_transform,
    suffix,
    transform_of,
    variant_name,
)
from tests.storage.datasets.dataset_suite import DatasetTests


class TestVariant(DatasetTests):
    spec = "digits+scale=1.25"
    splits = ("all", "train", "val", "test")


class TestShiftedVariant(DatasetTests):
    spec = "digits+shift-frame=-8,3"
    splits = ("all", "test")


def test_a_variant_has_the_samples_of_its_base_and_another_name_and_digest() -> None:
    base, variant = open_dataset("digits", split="test"), open_dataset("digits+scale=1.25", split="test")
    assert (variant.name, variant.spec) == ("digits.scale-1.25", "digits+scale=1.25")
    assert (variant.split, variant.classes, tuple(variant.ids)) == ("test", base.classes, tuple(base.ids))
    assert np.array_equal(variant.labels, base.labels)
    assert np.array_equal(variant.read(3), base.read(3))
    assert base.transform is None
    assert variant.transform == ("scale", {"factor": 1.25})


def test_names_and_digests_differ_by_transform_and_value() -> None:
    specs = ("digits", "digits+scale=1", "digits+scale=2", "digits+shift=0", "digits+shift=2", "digits+shift-frame=2,0")
    opened = [open_dataset(spec, split="val") for spec in (*specs, "digits+shift-frame=0,2")]
    assert len({dataset.digest for dataset in opened}) == len({dataset.name for dataset in opened}) == 7


def test_two_values_of_a_shift_are_in_the_frame() -> None:
    assert open_dataset("digits+shift=8,0").name == open_dataset("digits+shift-frame=8,0").name


@pytest.mark.parametrize("text", ["scale=2", "scale=2.0", "scale=02"])
def test_one_value_has_one_name(text: str) -> None:
    assert open_dataset(f"digits+{text}").spec == "digits+scale=2"


WHOLE = st.integers(-4096, 4096)
VALUES = st.one_of(
    st.integers(5, 2000).map(lambda v: ("scale", (v / 100,))),
    WHOLE.map(lambda v: ("shift", (v,))),
    st.tuples(WHOLE, WHOLE).map(lambda v: ("shift-frame", v)),
)


@given(VALUES, st.sampled_from(["digits", "imagenetv2-threshold-0.7", "folder-a.b"]))
def test_names_and_specs_are_read_back(case: tuple[str, tuple[float, ...]], base: str) -> None:
    transform = transform_of(*case)
    name = variant_name(base, transform)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)
    assert parse_name(name) == (base, transform)
    assert base_name(name) == base
    assert split_transform(base + suffix(transform)) == (base, transform)


@pytest.mark.parametrize("name", ["digits", "imagenetv2-threshold-0.7", "a.scale-x", "a.scale-99", "b.shift-1.5"])
def test_other_names_are_of_no_variant(name: str) -> None:
    assert parse_name(name) == (name, None)


def test_a_transform_alone_means_its_grid() -> None:
    scales = ["digits", "digits+scale=1.25", "digits+scale=1.5", "digits+scale=2", "digits+scale=3"]
    assert expand_grid("digits+scale") == expand_grid("digits+scale=*") == scales
    assert expand_grid("digits+shift") == [f"digits+shift={p}" for p in (0, 5, 30, 75, 100)]
    assert expand_grid("digits+shift-frame")[:2] == ["digits", "digits+shift-frame=5,5"]
    assert expand_grid("digits+shift=8,0") == ["digits+shift-frame=8,0"]
    assert expand_grid("folder:/data/c++") == ["folder:/data/c++"]


def test_a_path_may_hold_a_plus() -> None:
    assert split_transform("folder:/data/c++/birds") == ("folder:/data/c++/birds", None)
    assert split_transform("folder:/data/cats+dogs") == ("folder:/data/cats+dogs", None)
    assert split_transform("folder:/a+b+scale=2") == ("folder:/a+b", ("scale", {"factor": 2.0}))
    assert absolute_spec("folder:birds+scale=2", data_root="/data") == "folder:/data/birds+scale=2"


def test_the_registry_and_verify_know_the_base() -> None:
    assert dataset_info("digits+scale=2") is dataset_info("digits")
    assert verify("digits+scale=2").ok


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digits+scale=big", "scale=big cannot be read"),
        ("digits+scale=0", "from 0.05 to 20"),
        ("digits+scale=1,2", "scale=1,2 cannot be read"),
        ("digits+scale=1.2345678", "cannot be read"),
        ("digits+scale=nan", "cannot be read"),
        ("digits+shift=1.5", "whole numbers from -4096 to 4096"),
        ("digits+shift-frame=5", "x, y: whole numbers"),
        ("digits+scale", r"needs a value here[\s\S]*fix: digits\+scale=3"),
        ("digits+", "names no transform"),
        ("digits+resolution=112", r"input size of the backbone[\s\S]*--dataset digits .*--image-size 112"),
    ],
)
def test_wrong_values_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(spec)


def test_an_unknown_transform_names_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown transform 'scal'\ndid you mean: scale\?"):
        open_dataset("digits+scal=2")
    with pytest.raises(UnknownNameError, match="transforms: scale, shift, shift-frame"):
        expand_grid("digits+blur")
    with pytest.raises(UnknownNameError, match="unknown dataset"):
        open_dataset("digit+scale=2")
