"""Weights of a ViT at another image size: its position embeddings are resampled, nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cvbench.engine.models.backbones import BackboneSpec
from cvbench.engine.models.weights import build_model
from cvbench.errors import UsageError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(build_model(BackboneSpec("test_vit", "random", image_size=64)).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("size", [32, 96, 160])
def test_the_grid_is_resampled_and_the_class_token_stays(file: str, size: int) -> None:
    source = build_model(BackboneSpec("test_vit", file, image_size=64)).state_dict()
    found = build_model(BackboneSpec("test_vit", file, image_size=size)).state_dict()
    old = source["pos_embed"][0]
    grid = old[1:].T.reshape(1, -1, 4, 4)
    new = torch.nn.functional.interpolate(
        grid, size=(size // 16, size // 16), mode="bicubic", antialias=True, align_corners=False
    )
    assert torch.equal(found["pos_embed"][0, 0], old[0])
    torch.testing.assert_close(found["pos_embed"][0, 1:], new[0].flatten(1).T, rtol=0, atol=1e-6)
    for name in source.keys() - {"pos_embed"}:
        assert torch.equal(found[name], source[name]), name


def test_the_size_of_the_file_changes_nothing(file: str) -> None:
    from safetensors.torch import load_file

    found = build_model(BackboneSpec("test_vit", file, image_size=64)).state_dict()
    assert torch.equal(found["pos_embed"], load_file(file)["pos_embed"])


def test_without_a_size_another_grid_is_refused(file: str) -> None:
    with pytest.raises(UsageError, match=r"of another shape: pos_embed[\s\S]*--image-size"):
        build_model(BackboneSpec("test_vit", file))


def test_another_width_is_still_refused(tmp_path: Path) -> None:
    state = build_model(BackboneSpec("test_vit", "random", image_size=64)).state_dict()
    save_file(state | {"pos_embed": torch.zeros(1, 17, 48)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"pos_embed \(1, 17, 48\), not \(1, 5, 64\)"):
        build_model(BackboneSpec("test_vit", str(tmp_path / "w.safetensors"), image_size=32))
