"""Stand-ins for large data sets and networks: they have the names and the layers of these, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvbench.engine.models.backbones import Description, describe, load_backbone, resolve_spec
from cvbench.engine.models.specs import PRETRAINED_21K
from cvbench.errors import UnknownNameError
from tests.docs.small import ADDED, small
from tests.docs.small_networks import EDGE, NARROW, small_networks


def described(name: str) -> Description:
    return describe(resolve_spec(name), taps=["blocks"])


@pytest.mark.parametrize("name", [*PRETRAINED_21K])
def test_a_network_is_narrow_and_has_its_names(name: str, tmp_path: Path) -> None:
    real = described(name)
    with small_networks(tmp_path):
        made = described(name)
        load_backbone(made.spec)  # reads weights, and asks no network for them
    assert made.spec == real.spec
    assert [*made.layouts] == [tap for tap in real.layouts if tap in made.layouts]
    assert [*made.layouts][-1] == [*real.layouts][-1]
    assert made.preprocess.geometry.size == (EDGE, EDGE)
    assert made.parameters < real.parameters / 80
    assert described(name) == real


def test_both_of_the_pair_are_among_them() -> None:
    assert {name.partition(".")[0] for name in PRETRAINED_21K.values()} <= {*NARROW}


def test_a_command_keeps_its_words() -> None:
    for begin, added in ADDED.items():
        shown = f"cvbench {begin} --data-root /data/x".replace("HOST:PORT", "none")
        assert small(shown, Path("/data")).startswith(shown)
        assert small(f"cvbench {begin}", Path("/data")).endswith(added)


def test_an_unknown_network_stays_one(tmp_path: Path) -> None:
    with small_networks(tmp_path), pytest.raises(UnknownNameError):
        resolve_spec("convnext_bas")
