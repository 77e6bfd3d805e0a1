"""Groups of data sets."""

from __future__ import annotations

import pytest

from cvbench.errors import UnknownNameError
from cvbench.storage.datasets import READERS
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
    assert set(expand([group])) <= set(READERS)


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
