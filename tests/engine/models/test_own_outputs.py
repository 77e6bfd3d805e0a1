"""Modules of one's own whose forward pass ends in something else than logits, and callables that give no module."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.own_models import OwnModel
from cvbench.engine.models.views import expand_views
from cvbench.errors import UsageError

HERE = "tests.engine.models.test_own_outputs"
Pair = namedtuple("Pair", ["logits", "loss"])


@dataclass
class Ended:
    logits: Tensor
    hidden: Tensor


class Net(nn.Module):
    """Ends as `ending` says of (logits, maps)."""

    def __init__(self, ending: Any) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 6, 3, padding=1))
        self.classifier, self.ending = nn.Linear(6, 4), ending

    def forward(self, images: Tensor) -> Any:
        maps = self.stages(images)
        return self.ending(self.classifier(maps.mean(dim=(2, 3))), maps)


def as_tuple() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: (logits, maps)), size=(16, 16))


def as_dictionary() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: {"hidden": maps, "logits": logits}), size=(16, 16))


def as_dataclass() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: Ended(logits, maps)), size=(16, 16))


def as_named_tuple() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: Pair(logits, maps)), size=(16, 16))


def as_maps() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: maps), size=(16, 16))


def as_nothing() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: None), size=(16, 16))


def a_class() -> type[nn.Module]:
    return Net


def a_dictionary() -> dict[str, Tensor]:
    return Net(None).state_dict()


@pytest.mark.parametrize("name", ["as_tuple", "as_dictionary", "as_dataclass", "as_named_tuple"])
def test_the_logits_are_found(name: str) -> None:
    spec = resolve_spec(f"{HERE}:{name}")
    assert describe(spec, taps=["*"]).head_sizes == {"head": 6, "logits": 4}
    backbone = load_backbone(spec)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = {one.view: values for one, values in backbone.run(images, expand_views(["head", "logits"], {})).items()}
    network = backbone.network
    with torch.no_grad():
        head = network.stages(backbone.inputs(images)).mean(dim=(2, 3))
        torch.testing.assert_close(found["head"], head, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["logits"], network.classifier(head), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["as_maps", "as_nothing"])
def test_without_a_matrix_there_are_layers_and_no_head(name: str) -> None:
    spec = resolve_spec(f"{HERE}:{name}")
    described = describe(spec, taps=["stages.*"])
    assert described.head_sizes == {}
    backbone = load_backbone(spec)
    images = torch.zeros((2, 3, 16, 16), dtype=torch.uint8)
    (found,) = backbone.run(images, expand_views(["maps"], backbone.layouts(["stages.1"]))).values()
    assert found.shape == (2, 4, 4, 6)


@pytest.mark.parametrize(("name", "kind"), [("a_class", "type"), ("a_dictionary", "OrderedDict")])
def test_what_is_no_module_is_refused(name: str, kind: str) -> None:
    with pytest.raises(UsageError, match=r"gives no torch\.nn\.Module") as caught:
        describe(resolve_spec(f"{HERE}:{name}"), taps=["*"])
    assert kind in str(caught.value)


def of_one_side() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: logits), size=(16,))  # type: ignore[arg-type]


def without_spread() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: logits), size=(16, 16), std=(0.5, 0.5, 0.0))


def of_other_stages() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: logits), size=(16, 16), stages=("stages.0", "stage.1"))


def without_memory() -> OwnModel:
    return OwnModel(Net(lambda logits, maps: logits).to("meta"), size=(16, 16))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_one_side", "size of .* is \\(16,\\)"),
        ("without_spread", "std of .* is \\(0.5, 0.5, 0.0\\)"),
        ("of_other_stages", "unknown stage of .*: 'stage.1'"),
        ("without_memory", "has no weights"),
    ],
)
def test_what_no_network_can_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_backbone(resolve_spec(f"{HERE}:{name}"))
