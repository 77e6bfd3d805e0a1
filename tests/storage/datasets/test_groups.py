"""Groups of data sets."""

from __future__ import annotations

import pytest

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets import READERS, dataset_info, key_of_spec, registered, spec_of_key
from cvbench.storage.datasets.groups import GROUPS, expand


def test_a_group_stands_for_its_members() -> None:
    assert expand(["@robustness"]) == [
        "imagenetv2-matched-frequency",
        "imagenet-a",
        "imagenet-r",
        "imagenet-sketch",
    ]
    assert set(expand(["@transfer"])) == {
        "pets",
        "caltech101",
        "cifar100",
        "dtd",
        "flowers102",
        "sun397",
        "eurosat",
    }


def test_the_paper_uses_both_groups_and_four_sets_more() -> None:
    paper = expand(["@paper"])
    assert set(paper) == {
        "cub200",
        "cifar10",
        "imagenet-val",
        "pug-imagenet",
        *GROUPS["@robustness"],
        *GROUPS["@transfer"],
    }
    assert len(paper) == 15


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_member_is_registered(group: str) -> None:
    for spec in expand([group]):
        assert registered(key_of_spec(spec)) in READERS
        assert spec_of_key(key_of_spec(spec)) == spec


def test_vtab_is_17_of_its_19_tasks_each_with_a_test_split() -> None:
    """Zhai et al. 2019, without Patch Camelyon and DMLab; two tasks each of CLEVR, dSprites and small NORB."""
    members = expand(["@vtab"])
    assert len(members) == 17
    assert {*GROUPS["@transfer"], "caltech101:102"} - {"caltech101"} <= set(members)
    classes = {spec: dataset_info(spec).classes for spec in members}
    assert classes == {
        **{"caltech101:102": 102, "cifar100": 100, "dtd": 47, "flowers102": 102, "pets": 37, "sun397": 397, "svhn": 10},
        **{"resisc45": 45, "eurosat": 10, "retinopathy": 5, "clevr": 8, "clevr:distance": 6},
        **{"dsprites": 16, "dsprites:orientation": 16, "kitti": 4, "smallnorb": 18, "smallnorb:elevation": 9},
    }
    for spec in members:
        info = dataset_info(spec)
        assert "test" in info.splits
        assert {"train", "trainval"} & set(info.splits)
        assert "val" in info.splits or info.held_out > 0 or spec == "sun397"


def test_order_is_kept_and_repeats_are_dropped() -> None:
    assert expand(["folder:/x", "imagenet-r", "@robustness", "imagenet-a", "digits"]) == [
        "folder:/x",
        "imagenet-r",
        "imagenetv2-matched-frequency",
        "imagenet-a",
        "imagenet-sketch",
        "digits",
    ]
    assert expand([]) == []


def test_an_unknown_group_names_its_neighbour() -> None:
    with pytest.raises(UnknownNameError, match="group of data sets '@robust'") as caught:
        expand(["@robust"])
    assert caught.value.did_you_mean[0] == "@robustness"
    assert "@paper" in str(caught.value)
