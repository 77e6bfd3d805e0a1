"""Which views an extraction keeps of which backbones, and what it says of those that have none and of odd networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.engine.models.own_models import OwnModel
from cvbench.errors import UsageError
from cvbench.jobs.extraction.extract import extract
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.plan import plan
from cvbench.jobs.extraction.precision import nonfinite_advice
from cvbench.jobs.report.provenance import provenance
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Event, Note
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder

LOOP = Cluster(address="none")


@pytest.fixture
def asked(tmp_path: Path) -> ExtractOptions:
    write_folder(tmp_path / "pets", 16)
    return ExtractOptions(
        dataset=f"folder:{tmp_path / 'pets'}",
        backbones=("test_vit",),
        store=str(tmp_path / "store.zarr"),
        weights=("random",),
        batch_size=8,
        unit=8,
        image_size=64,
    )


def run(options: ExtractOptions) -> tuple[FeatureStore, list[str]]:
    events: list[Event] = []
    extract(options, LOOP, events.append)
    return FeatureStore.open(options.store), [event.text for event in events if isinstance(event, Note)]


def held(store: FeatureStore) -> list[tuple[str, str]]:
    return sorted((group.backbone, group.view) for group in store.groups())


def test_the_class_token_can_be_asked_for_alone(asked: ExtractOptions, tmp_path: Path) -> None:
    alone, _ = run(replace(asked, views=("cls",)))
    assert held(alone) == [("test_vit@64", "cls")]
    both, _ = run(replace(asked, views=("pooled", "cls"), store=str(tmp_path / "both.zarr")))
    unasked, _ = run(replace(asked, views=("pooled",), store=str(tmp_path / "unasked.zarr")))
    assert held(both) == held(unasked) == [("test_vit@64", "cls"), ("test_vit@64", "pooled")]
    group = next(iter(alone.groups()))
    for tap in alone.taps(group):
        expected = unasked.layer(group, tap).numpy()
        assert np.array_equal(alone.layer(group, tap).numpy(), expected)
        assert np.array_equal(both.layer(group, tap).numpy(), expected)
    again, _ = run(replace(asked, views=("pooled",)))  # beside what is there
    assert held(again) == held(unasked)


def test_the_class_token_asked_for_covers_all_whatever_the_maps_do(asked: ExtractOptions) -> None:
    store, _ = run(replace(asked, views=("cls", "maps"), maps=8, taps=("blocks.0",)))
    assert {group.view: len(store.layer(group, "blocks.0").numpy()) for group in store.groups()} == {
        "cls": 16,
        "maps": 8,
    }
    (cls,) = (g for g in store.groups() if g.view == "cls")
    assert np.isfinite(store.layer(cls, "blocks.0").numpy()).all()


def test_the_printed_command_names_it_where_nothing_brings_it(asked: ExtractOptions, tmp_path: Path) -> None:
    for views, expected in ((("cls",), ["cls"]), (("pooled",), ["pooled"])):
        store, _ = run(replace(asked, views=views, store=str(tmp_path / f"{views[0]}.zarr")))
        (facts,) = provenance(store, store.url).datasets
        command = " ".join(facts.command)
        assert [word for word in ("cls", "pooled") if f"--view {word}" in command] == expected


def test_a_view_that_one_backbone_has_is_kept_of_it(asked: ExtractOptions) -> None:
    """test_vit3 has a register, test_vit none."""
    two = replace(asked, backbones=("test_vit", "test_vit3"), views=("registers",))
    store, notes = run(two)
    assert held(store) == [("test_vit3@64", "registers")]
    assert "test_vit@64 has no register tokens: there is no --view registers of it" in notes
    assert "test_vit@64 has no register tokens: there is no --view registers of it" in plan(two).notes
    for refuse in (extract, lambda options, _: plan(options)):
        with pytest.raises(UsageError, match="no tap of test_vit@64 has register tokens"):
            refuse(replace(asked, views=("registers",)), LOOP)
        with pytest.raises(UsageError, match="no tap of these backbones has register tokens"):
            refuse(replace(asked, backbones=("test_vit", "test_convnext"), views=("pooled", "registers")), LOOP)


class Odd(nn.Module):
    """Two convolutions; what comes in is scaled by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 3, padding=1))
        self.fc, self.factor = nn.Linear(8, 4), factor

    def forward(self, images: Tensor) -> Any:
        return self.fc(self.layers(images * self.factor).mean((2, 3)))


def headless() -> OwnModel:
    return OwnModel(nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 3)), size=(64, 64))


def broken() -> OwnModel:
    return OwnModel(Odd(float("nan")), size=(64, 64))


def test_logits_are_kept_of_those_that_classify(asked: ExtractOptions) -> None:
    own = f"{__name__}:headless"
    store, notes = run(replace(asked, backbones=("test_vit", own), weights=("test_vit=random",), views=("logits",)))
    assert [view for _, view in held(store)] == ["logits"]
    assert any(note.endswith("has no classifier, so no logits: there is no --view logits of it") for note in notes)
    with pytest.raises(UsageError, match="has no classifier, so no logits"):
        extract(replace(asked, backbones=(own,), weights=(), views=("logits",)), LOOP)


def test_what_no_precision_mends_is_said_to_be_the_networks(asked: ExtractOptions) -> None:
    report = extract(replace(asked, backbones=(f"{__name__}:broken",), weights=(), views=("pooled", "head")), LOOP)
    assert report.advice.keys() == report.nonfinite.keys() != set()
    assert all("the network gives them, in float32" in said for said in report.advice.values())
    words = ["extract", "-d", asked.dataset, "-m", f"{__name__}:broken", "-b", "8", "--unit", "8", "--image-size", "64"]
    result = CliRunner().invoke(app, [*words, "--store", f"{asked.store}.2", "--address", "none"])
    assert "the network gives them, in float32" in result.output
    assert "bf16" not in result.output


@pytest.mark.parametrize(
    ("precision", "dtype", "whole", "expected"),
    [
        ("fp32", "float32", False, "the network gives them"),
        ("fp32", "float16", True, "the network gives them"),
        ("fp32", "float16", False, "try --dtype float32; what stays is of the network"),
        ("fp16", "float16", True, "try --precision bf16 or fp32, or --dtype float32"),
        ("fp16", "float32", False, "try --precision bf16 or fp32;"),
        ("bf16", "float32", False, "try --precision fp32;"),
    ],
)
def test_advice_is_what_may_help(precision: str, dtype: str, whole: bool, expected: str) -> None:
    assert nonfinite_advice(precision, dtype, whole=whole).startswith(expected)


class Parted(Odd):
    def forward(self, images: Tensor) -> Any:
        torch._dynamo.graph_break()
        return super().forward(images)


def parted() -> OwnModel:
    return OwnModel(Parted(1.0), size=(64, 64))


def shared() -> OwnModel:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    return OwnModel(nn.Sequential(nn.Conv2d(3, 8, 8, 8), layer, layer), size=(64, 64))


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 16, 16, stride=16), nn.Parameter(torch.zeros(1, 1, 16))
        self.blocks = nn.Sequential(*(nn.Linear(16, 16) for _ in range(5)))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        found: Tensor = self.blocks(torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1))
        return found


def sequence() -> OwnModel:
    return OwnModel(Sequence(), size=(64, 64))


def test_notes_say_what_is_odd_of_a_network(asked: ExtractOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.engine.models.compiled.BACKEND", "eager")
    torch._dynamo.reset()
    said = {}
    for name in ("parted", "shared", "sequence"):
        odd = replace(asked, backbones=(f"{__name__}:{name}",), weights=(), store=f"{asked.store}.{name}")
        _, said[name] = run(replace(odd, compile=name == "parted"))
    assert sum("is compiled in parts, as no one graph holds it" in note for note in said["parted"]) == 1
    assert any("1 run several times in a pass, and are no taps" in note for note in said["shared"])
    assert any(
        "the 17 tokens of blocks.0, blocks.1, blocks.2 and 2 more are no grid of patches" in note
        for note in said["sequence"]
    )
