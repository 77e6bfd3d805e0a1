"""Visual towers of open_clip against open_clip, of a tiny model in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.views import expand_views
from cvbench.engine.pictures.decode import fit
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError

open_clip = pytest.importorskip("open_clip")

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.48, 0.45, 0.4], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic", "resize_mode": "shortest",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clip") / "tiny"
    root.mkdir()
    (root / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{root}", load_weights=False)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, root / "open_clip_model.safetensors"
    )
    return root


def test_nothing_is_logged_of_weights_that_are_yet_to_come(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        load_backbone(resolve_spec(f"open_clip:local-dir:{folder}"))
        assert caplog.messages == []
        open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    assert "initialized randomly" in caplog.text  # else it proves nothing


def test_the_tower_is_what_open_clip_computes(folder: Path) -> None:
    spec = resolve_spec(f"open_clip:local-dir:{folder}")
    assert spec.key == "open_clip.local-dir.tiny"
    described = describe(spec, taps=["blocks"])
    layout = TapLayout(4, 4, 24, prefix=1, kind="tokens", class_token=True)
    assert described.layouts == dict.fromkeys(("transformer.resblocks.0", "transformer.resblocks.1"), layout)
    assert described.head_sizes == {"head": 12}
    backbone = load_backbone(spec)
    assert backbone.source["source"].startswith("open_clip ")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    (found,) = backbone.run(images, expand_views(["head"], {})).values()
    with torch.no_grad():
        torch.testing.assert_close(found, model.encode_image(backbone.inputs(images)), rtol=1e-4, atol=1e-5)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype=np.uint8)
    preprocess = load_backbone(resolve_spec(f"open_clip:local-dir:{folder}", decoder="pil")).preprocess
    ours = preprocess.normalise(torch.from_numpy(fit(pixels, preprocess.geometry)[None].copy()))[0]
    torch.testing.assert_close(ours, transform(Image.fromarray(pixels)), rtol=1e-5, atol=1e-5)


def test_weights_of_a_file_random_ones_and_another_size(folder: Path, tmp_path: Path) -> None:
    state = open_clip.create_model(f"local-dir:{folder}").state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "epoch_3.pt")
    own = load_backbone(resolve_spec(f"open_clip:local-dir:{folder}"))
    filed = load_backbone(resolve_spec(f"open_clip:local-dir:{folder}", weights=str(tmp_path / "epoch_3.pt")))
    assert own.weights_digest == filed.weights_digest
    assert "took the names behind module.visual." in filed.notes[0]
    larger = load_backbone(resolve_spec(f"open_clip:local-dir:{folder}", image_size=64))
    reference = open_clip.create_model(f"local-dir:{folder}", force_image_size=64)
    assert torch.equal(larger.network.positional_embedding, reference.visual.positional_embedding)
    drawn = [
        load_backbone(resolve_spec(f"open_clip:local-dir:{folder}", weights="random", seed=seed)).weights_digest
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="ViT-B-33"):
        resolve_spec("open_clip:ViT-B-33/openai")
    with pytest.raises(UnknownNameError, match="laion9b"):
        resolve_spec("open_clip:ViT-B-32/laion9b")
    with pytest.raises(DataUnavailableError, match=r"open_clip_config\.json"):
        resolve_spec(f"open_clip:local-dir:{tmp_path}")
    with pytest.raises(DataUnavailableError, match="no weights are named"):
        load_backbone(resolve_spec("open_clip:RN50"))
    described = describe(resolve_spec("open_clip:RN50", weights="random"), taps=["blocks"])
    assert [sum(tap.startswith(f"layer{stage}.") for tap in described.layouts) for stage in range(1, 5)] == [3, 4, 6, 3]


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.engine.models.forms.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"not installed[\s\S]*cvbench\[open_clip\]"):
        resolve_spec("open_clip:ViT-B-32/openai")
