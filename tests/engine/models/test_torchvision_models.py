"""Backbones of torchvision against torchvision: weights, preprocessing, taps, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights, ViT_B_16_Weights, get_model

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.preprocess import preprocess_from_config
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.torchvision_models import TorchvisionModels
from cvbench.engine.models.views import expand_views
from cvbench.engine.pictures.decode import fit
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A file as torchvision keeps it in torch's cache, and its network."""
    hub = tmp_path_factory.mktemp("hub")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = get_model("resnet18", weights=None).eval()
    (hub / "checkpoints").mkdir()
    torch.save(model.state_dict(), hub / "checkpoints" / ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    return hub, model


def test_pretrained_weights_are_those_of_torchs_cache(
    resnet: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, model = resnet
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))
    backbone = load_backbone(resolve_spec("torchvision:resnet18.IMAGENET1K_V1"))
    assert backbone.head_sizes() == {"head": 512, "logits": 1000}
    assert backbone.source["source"].startswith("torchvision 0.")
    layouts = backbone.layouts(backbone.resolve_taps(["blocks"]))
    assert list(layouts) == [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = {one.view: values for one, values in backbone.run(images, expand_views(["head", "logits"], {})).items()}
    maps: list[torch.Tensor] = []
    model.avgpool.register_forward_hook(lambda _module, _inputs, output: maps.append(output.flatten(1)))
    with torch.no_grad():
        logits = model(backbone.inputs(images))
    # The same arithmetic in another memory format: 18 layers of float32.
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    torch.testing.assert_close(found["head"], maps[0], rtol=1e-4, atol=1e-4 * float(maps[0].abs().max()))


@pytest.mark.parametrize("name", ["resnet50.IMAGENET1K_V2", "vit_b_16.IMAGENET1K_SWAG_E2E_V1", "swin_v2_t", "vgg16"])
def test_images_are_prepared_as_the_weights_say(name: str) -> None:
    spec = resolve_spec(f"torchvision:{name}", weights="random", decoder="pil")
    rules = TorchvisionModels().outline(spec).preprocessing
    preprocess = preprocess_from_config(rules, "pil")
    from cvbench.engine.models.torchvision_models import _transforms

    pixels = np.random.default_rng(0).integers(0, 256, (301, 423, 3), dtype=np.uint8)
    ours = preprocess.normalise(torch.from_numpy(fit(pixels, preprocess.geometry)[None].copy()))[0]
    theirs = _transforms(spec)(Image.fromarray(pixels))
    assert ours.shape == theirs.shape
    # Normalising is a multiply-add here and a subtraction and division there: 1e-6 of values up to 255 deviations.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_a_vit_has_its_grid_and_class_token() -> None:
    described = describe(resolve_spec("torchvision:vit_b_16", weights="random"), taps=["blocks"])
    layout = TapLayout(14, 14, 768, prefix=1, kind="tokens", class_token=True)
    assert described.layouts == {f"encoder.layers.encoder_layer_{at}": layout for at in range(12)}
    assert described.parameters == ViT_B_16_Weights.IMAGENET1K_V1.meta["num_params"]
    smaller = describe(resolve_spec("torchvision:vit_b_16", weights="random", image_size=64), taps=["blocks"])
    assert {(one.height, one.width) for one in smaller.layouts.values()} == {(4, 4)}


@pytest.mark.parametrize(
    ("name", "blocks", "last", "sizes"),
    [
        ("swin_t", 12, "features.7.1", {"head": 768, "logits": 1000}),
        ("convnext_tiny", 18, "features.7.2", {"head": 768, "logits": 1000}),
        ("squeezenet1_1", 8, "features.12", {"head": 512, "logits": 1000}),
        ("vgg11", 5, "features.20", {"head": 4096, "logits": 1000}),
        ("regnet_y_400mf", 16, "trunk_output.block4.block4-5", {"head": 440, "logits": 1000}),
        ("googlenet", 9, "inception5b", {"head": 1024, "logits": 1000}),
    ],
)
def test_blocks_of_the_families(name: str, blocks: int, last: str, sizes: dict[str, int]) -> None:
    described = describe(resolve_spec(f"torchvision:{name}", weights="random"), taps=["blocks"])
    assert (len(described.layouts), list(described.layouts)[-1], described.head_sizes) == (blocks, last, sizes)


def test_a_file_with_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    model = get_model("resnet18", weights=None, num_classes=6)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}, "epoch": 3}, path)
    spec = resolve_spec("torchvision:resnet18", weights=str(path))
    assert describe(spec, taps=["blocks"]).head_sizes == {"head": 512, "logits": 6}
    backbone = load_backbone(spec)
    assert torch.equal(backbone.network.state_dict()["fc.weight"], model.fc.weight)
    assert backbone.notes == ("torchvision.resnet18: of w.pth took model; took the names behind module.",)
    torch.save(get_model("resnet34", weights=None).state_dict(), path)
    with pytest.raises(UsageError, match=r"does not fit torchvision\.resnet18"):
        load_backbone(spec)


def test_unknown_names_say_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="resnet5") as caught:
        resolve_spec("torchvision:resnet5")
    assert "resnet50" in caught.value.did_you_mean
    with pytest.raises(UnknownNameError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        resolve_spec("torchvision:resnet50.IMAGENET22K")
    with pytest.raises(UnknownNameError, match="known are IMAGENET1K_V1"):
        resolve_spec("torchvision:vgg16.IMAGENET1K_FEATURES")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(DataUnavailableError, match="cannot be had"):
        load_backbone(BackboneSpec("torchvision:resnet18"))


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")
