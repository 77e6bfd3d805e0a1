"""timm's models of a folder or a repository: config and weights from there, without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.weights import weights_digest
from cvbench.errors import DataUnavailableError, IntegrityError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As timm's `save_for_hf` writes it, of a network with 7 classes."""
    from timm.models import save_for_hf

    root = tmp_path_factory.mktemp("timm") / "mine"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = timm.create_model("test_vit", num_classes=7)
    model.pretrained_cfg.update(mean=(0.4, 0.4, 0.4), num_classes=7)
    save_for_hf(model, str(root), model_config={"num_classes": 7}, safe_serialization=True)
    return root


def test_a_folder_gives_network_classes_and_preprocessing(folder: Path) -> None:
    spec = resolve_spec(f"local-dir:{folder}")
    assert spec.key == "local-dir.mine"
    described = describe(spec, taps=["blocks"])
    assert described.head_sizes == {"head": 64, "logits": 7}
    assert described.preprocess.mean == (0.4, 0.4, 0.4)
    backbone = load_backbone(spec)
    reference = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert backbone.weights_digest == weights_digest(reference)
    assert backbone.source.keys() == {"config"}
    assert load_backbone(resolve_spec("test_vit", weights="random")).source == {}
    random = load_backbone(resolve_spec(f"local-dir:{folder}", weights="random", image_size=96))
    assert random.weights_digest != backbone.weights_digest
    assert random.preprocess.geometry.size == (96, 96)


def test_a_repository_is_read_from_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataUnavailableError, match="cannot be had"):
        describe(resolve_spec("hf-hub:owner/mine"), taps=["blocks"])
    repository = tmp_path / "models--owner--mine"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(folder, repository / "snapshots" / "abc")
    backbone = load_backbone(resolve_spec("hf-hub:owner/mine"))
    assert backbone.spec.key == "hf-hub.owner.mine"
    assert backbone.weights_digest == load_backbone(resolve_spec(f"local-dir:{folder}")).weights_digest


def test_folders_that_hold_no_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"no config\.json"):
        resolve_spec(f"local-dir:{tmp_path}")
    for text in ("{", "[]", '{"architecture": "no_such_model", "pretrained_cfg": {}}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(IntegrityError, match="none of a timm model"):
            describe(resolve_spec(f"local-dir:{tmp_path}"), taps=["blocks"])
    (tmp_path / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text())))
    with pytest.raises(DataUnavailableError, match="holds no weights"):
        load_backbone(resolve_spec(f"local-dir:{tmp_path}"))
