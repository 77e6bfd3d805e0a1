from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.weights import (
    RANDOM_SCALE,
    build_meta,
    build_model,
    takes_image_size,
    undrawn,
    weights_digest,
)
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError


def saved(path: Path, model: str, drop: str | None = None, **options: Any) -> Path:
    state = timm.create_model(model, **options).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items() if name != drop}, path)
    return path


def test_random_weights_have_one_digest_in_every_process() -> None:
    here = weights_digest(build_model(BackboneSpec("test_convnext", "random", seed=3)))
    code = (
        "from cvbench.engine.models.weights import *; from cvbench.engine.models.specs import BackboneSpec;"
        "print(weights_digest(build_model(BackboneSpec('test_convnext', 'random', seed=3))))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert here == there
    assert here != weights_digest(build_model(BackboneSpec("test_convnext", "random", seed=4)))


def test_random_weights_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model(BackboneSpec("test_vit", "random"))
    assert torch.equal(before, torch.get_rng_state())


def test_random_residual_branches_are_awake() -> None:
    convnext = build_model(BackboneSpec("test_convnext", "random"))
    assert float(convnext.stages[0].blocks[0].gamma[0]) == pytest.approx(RANDOM_SCALE)
    resnet = build_model(BackboneSpec("test_resnet", "random"))
    assert float(resnet.layer1[0].bn2.weight[0]) == pytest.approx(RANDOM_SCALE)
    assert float(resnet.layer1[0].bn1.weight[0]) == 1.0


def test_a_digest_sees_names_values_and_nothing_else() -> None:
    model = build_model(BackboneSpec("test_vit", "random"))
    digest = weights_digest(model)
    assert digest == weights_digest(build_model(BackboneSpec("test_vit", "random")))
    model.norm.bias[0] += 1e-7
    assert digest != weights_digest(model)


@pytest.mark.parametrize("classes", [7, 0])
def test_a_file_loads_with_the_classes_of_its_head(tmp_path: Path, classes: int) -> None:
    path = saved(tmp_path / "w.safetensors", "test_vit", num_classes=classes, img_size=64)
    spec = BackboneSpec("test_vit", str(path), image_size=64)
    model = build_model(spec)
    assert model.num_classes == classes
    assert build_meta(spec).num_classes == classes
    reference = timm.create_model("test_vit", num_classes=classes, img_size=64)
    reference.load_state_dict(model.state_dict())
    assert weights_digest(reference) == weights_digest(model)


def test_a_file_of_another_model_names_what_differs(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", "test_vit", drop="norm.bias", img_size=64)
    with pytest.raises(UsageError) as caught:
        build_model(BackboneSpec("test_vit", str(path)))
    assert "missing: norm.bias" in str(caught.value)
    assert "pos_embed (1, 17, 64), not (1, 101, 64)" in str(caught.value)
    with pytest.raises(UsageError, match="does not fit test_resnet") as caught:
        build_model(BackboneSpec("test_resnet", str(path)))
    assert "unexpected: " in str(caught.value)
    assert "more" in str(caught.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataUnavailableError, match="not there"):
        build_model(BackboneSpec("test_vit", str(path)))
    path.write_bytes(b"\x80\x04not a safetensors file")
    with pytest.raises(IntegrityError, match="cannot be read"):
        build_model(BackboneSpec("test_vit", str(path)))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_pretrained_weights_come_from_the_cache(hub_cache: Path) -> None:
    repository = hub_cache / "models--timm--test_convnext.r160_in1k"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    path = saved(repository / "snapshots" / "abc" / "model.safetensors", "test_convnext")
    model = build_model(BackboneSpec("test_convnext.r160_in1k"))
    assert weights_digest(model) == weights_digest(build_model(BackboneSpec("test_convnext", str(path))))
    assert "state_dict" not in model.pretrained_cfg


def test_pretrained_weights_without_a_network_say_what_helps(hub_cache: Path) -> None:
    with pytest.raises(DataUnavailableError, match="cannot be had") as caught:
        build_model(BackboneSpec("test_vit"))
    assert caught.value.fix is not None
    assert "--weights random" in caught.value.fix


def test_which_models_are_built_for_a_size() -> None:
    assert takes_image_size("test_vit")
    assert not takes_image_size("test_convnext")


def test_what_is_not_drawn_ends_and_draws_nothing() -> None:
    """torch truncates a normal distribution by drawing until all values lie in a range."""
    before = torch.get_rng_state()
    with undrawn():
        tensor = torch.full((64,), 1e9)
        torch.nn.init.trunc_normal_(tensor, std=0.02)
    assert torch.equal(tensor, torch.zeros(64))
    assert torch.equal(before, torch.get_rng_state())
