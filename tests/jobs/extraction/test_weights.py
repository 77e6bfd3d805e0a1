"""Weights of single backbones, as `--weights` takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from cvbench.engine.finetune.model import trainable
from cvbench.engine.finetune.recipes import recipe
from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.extraction.backbones import specs_of, weights_of
from cvbench.jobs.extraction.options import ExtractOptions


def options(*weights: str) -> ExtractOptions:
    return ExtractOptions(dataset="digits", backbones=("test_vit", "test_convnext"), weights=weights)


def test_each_backbone_has_its_own() -> None:
    found = specs_of(options("random", "test_vit=/a/own.safetensors"))
    assert [spec.weights for spec in found] == ["/a/own.safetensors", "random"]
    assert [spec.weights for spec in specs_of(options("test_vit=random"))] == ["random", "pretrained"]
    assert weights_of(["/runs/rate=0.1/x.safetensors"]) == {"": "/runs/rate=0.1/x.safetensors"}


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        (("test_vi=random",), UnknownNameError, "test_vi"),
        (("random", "pretrained"), UsageError, "every backbone is given two weights"),
        (("test_vit=random", "test_vit=pretrained"), UsageError, "test_vit is given two weights"),
        (("test_vit=own.pkl",), UsageError, "could run any code"),
    ],
)
def test_what_cannot_be_meant(weights: tuple[str, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        specs_of(options(*weights))
    assert said in str(caught.value)


@pytest.mark.parametrize("model", ["test_vit", "test_convnext"])
def test_a_file_with_another_number_of_classes_and_another_size(model: str, tmp_path: Path) -> None:
    spec = resolve_spec(model, weights="random", image_size=64)
    tuned = trainable(spec, 7, recipe("modern"), seed=0)
    save_file({name: value.contiguous() for name, value in tuned.state_dict().items()}, tmp_path / "x.safetensors")
    loaded = resolve_spec(model, weights=str(tmp_path / "x.safetensors"), image_size=64)
    assert describe(loaded, taps=["blocks"]).head_sizes["logits"] == 7
    assert load_backbone(loaded).head_sizes()["logits"] == 7
    # Position embeddings are brought to a size that is asked for, never to the model's own by themselves.
    smaller = resolve_spec(model, weights=str(tmp_path / "x.safetensors"), image_size=32)
    assert load_backbone(smaller).preprocess.geometry.size == (32, 32)
    if model == "test_vit":
        with pytest.raises(UsageError, match="does not fit"):
            load_backbone(resolve_spec(model, weights=str(tmp_path / "x.safetensors")))
