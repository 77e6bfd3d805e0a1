"""What extraction makes of networks whose blocks no name tells, of views that need no tap, and of compiled networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvbench.errors import FingerprintMismatchError
from cvbench.jobs.extraction.backbones import descriptions_of
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.plan import compile_words, plan
from cvbench.jobs.reading.again import extract_again
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore, GroupKey
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")
HERE = f"{__name__}:unnamed"


class Unnamed(nn.Module):
    """Two convolutions and a classifier, under names that no family uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 12, 2, 2)
        self.classifier = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.second(self.first(images).relu()).mean((2, 3)))
        return found


def unnamed() -> nn.Module:
    return Unnamed()


@pytest.fixture
def asked(tmp_path: Path) -> ExtractOptions:
    write_folder(tmp_path / "pets", 16)
    return ExtractOptions(
        dataset=f"folder:{tmp_path / 'pets'}",
        backbones=("test_vit",),
        store=str(tmp_path / "store.zarr"),
        weights=("random",),
        batch_size=8,
        unit=16,
        image_size=64,
    )


def test_a_network_without_known_blocks_gives_its_parts_and_says_so(asked: ExtractOptions) -> None:
    events: list[Event] = []
    extract(replace(asked, backbones=(HERE,), weights=("pretrained",)), LOOP, events.append)
    store = FeatureStore.open(asked.store)
    (group,) = store.groups()
    assert store.taps(group) == ["first", "second"]
    said = [event.text for event in events if isinstance(event, Note)]
    assert any("no name tells its blocks; 2 parts are taken, first, second" in text for text in said)


def test_the_logits_need_no_tap(asked: ExtractOptions) -> None:
    """Not even of a network in which the taps' patterns mean nothing."""
    options = replace(asked, views=("logits", "head"), taps=("paper",), backbones=("test_vit", "test_resnet"))
    assert [one.layouts for one in descriptions_of(options)] == [{}, {}]
    extract(options, LOOP)
    store = FeatureStore.open(asked.store)
    assert {(group.backbone, group.view) for group in store.groups()} == {
        (f"{name}@64", view) for name in ("test_vit", "test_resnet") for view in ("head", "logits")
    }


def test_compiled_features_are_others_and_say_so(asked: ExtractOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.engine.models.compiled.BACKEND", "eager")
    torch._dynamo.reset()
    extract(asked, LOOP)
    store = FeatureStore.open(asked.store)
    group = next(group for group in store.groups() if group.view == "pooled")
    assert "compiled" not in store.fingerprint(group)["fingerprint"]
    with pytest.raises(FingerprintMismatchError, match="compiled"):
        extract(replace(asked, compile=True), LOOP)
    other = replace(asked, store=f"{asked.store}.compiled", compile=True)
    extract(other, LOOP)
    made = FeatureStore.open(other.store)
    assert made.fingerprint(group)["fingerprint"]["compiled"] == "eager"
    for tap in store.taps(group):
        np.testing.assert_allclose(values(made, group, tap), values(store, group, tap), rtol=2e-3, atol=1e-4)
    again = extract_again(made, (group.dataset, group.split))
    assert " --compile" in again
    assert "--compile" not in extract_again(store, (group.dataset, group.split))


def values(store: FeatureStore, group: GroupKey, tap: str) -> Any:
    return store.layer(group, tap).read(0, 16)


def test_a_plan_says_when_compiling_pays(asked: ExtractOptions) -> None:
    assert "does not pay on a CPU" in plan(asked).compile
    assert compile_words(10.0, 1, 2).startswith("pays: it takes about 2 min")
    assert compile_words(0.1, 1, 2).startswith("does not pay: ")
