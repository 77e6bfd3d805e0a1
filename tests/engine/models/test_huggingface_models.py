"""Backbones of transformers against transformers: tiny networks, saved as a person saves them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cvbench.engine.models.backbones import Backbone, describe, load_backbone, resolve_spec
from cvbench.engine.models.huggingface_images import preprocessing
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.preprocess import preprocess_from_config
from cvbench.engine.models.specs import BackboneSpec
from cvbench.engine.models.views import expand_views
from cvbench.engine.models.weights import weights_digest
from cvbench.engine.pictures.decode import fit
from cvbench.errors import DataUnavailableError, IntegrityError, UsageError

transformers = pytest.importorskip("transformers")

PLAIN: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 32, "patch_size": 8, "num_labels": 5,
}  # fmt: skip
WINDOWS: dict[str, Any] = {
    "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "image_size": 32, "patch_size": 4, "window_size": 4,
    "num_labels": 5,
}  # fmt: skip
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "num_labels": 5, "image_size": 64}


def tokens(edge: int, channels: int, prefix: int = 0, class_token: bool = False) -> TapLayout:
    return TapLayout(edge, edge, channels, prefix, "tokens", class_token)


FAMILIES: dict[str, tuple[str, dict[str, Any], list[str], TapLayout, dict[str, int]]] = {
    "ViTForImageClassification": (
        "ViTConfig", PLAIN, ["vit.layers.0", "vit.layers.1"], tokens(4, 24, 1, True), {"head": 24, "logits": 5},
    ),
    "DeiTForImageClassificationWithTeacher": (
        "DeiTConfig", PLAIN, ["deit.layers.0", "deit.layers.1"], tokens(4, 24, 2, True), {"head": 24, "logits": 5},
    ),
    "BeitForImageClassification": (
        "BeitConfig", PLAIN, ["beit.layers.0", "beit.layers.1"], tokens(4, 24, 1, True), {"head": 24, "logits": 5},
    ),
    "Dinov2Model": (
        "Dinov2Config", PLAIN, ["encoder.layer.0", "encoder.layer.1"], tokens(4, 24, 1, True), {"head": 24},
    ),
    "Dinov2ForImageClassification": (
        "Dinov2Config", PLAIN, ["dinov2.encoder.layer.0", "dinov2.encoder.layer.1"], tokens(4, 24, 1, True),
        {"head": 48, "logits": 5},
    ),
    "Dinov2WithRegistersModel": (
        "Dinov2WithRegistersConfig", {**PLAIN, "num_register_tokens": 3}, ["encoder.layer.0", "encoder.layer.1"],
        tokens(4, 24, 4, True), {"head": 24},
    ),
    "DINOv3ViTModel": (
        "DINOv3ViTConfig", {**PLAIN, "num_register_tokens": 3}, ["model.layer.0", "model.layer.1"],
        tokens(4, 24, 4, True), {"head": 24},
    ),
    "CLIPModel": ("CLIPConfig", {}, ["encoder.layers.0", "encoder.layers.1"], tokens(4, 24, 1, True), {"head": 24}),
    "SiglipModel": ("SiglipConfig", {}, ["encoder.layers.0", "encoder.layers.1"], tokens(4, 24), {"head": 24}),
    "SwinForImageClassification": (
        "SwinConfig", WINDOWS,
        ["swin.encoder.layers.0.blocks.0", "swin.encoder.layers.1.blocks.0", "swin.encoder.layers.1.blocks.1"],
        tokens(4, 32), {"head": 32, "logits": 5},
    ),
    "ConvNextForImageClassification": (
        "ConvNextConfig", STAGES,
        [f"convnext.encoder.stages.{stage}.layers.{at}" for stage, at in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0))],
        TapLayout(2, 2, 32), {"head": 32, "logits": 5},
    ),
    "ViTMAEModel": ("ViTMAEConfig", PLAIN, ["layers.0", "layers.1"], tokens(4, 24, 1, True), {"head": 24}),
}  # fmt: skip


def made(name: str) -> tuple[Any, int]:
    """A model with weights that differ, in evaluation, and the edge of its images."""
    kind, options, *_ = FAMILIES[name]
    if kind in ("CLIPConfig", "SiglipConfig"):
        text = {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "vocab_size": 64,
        }
        options = {"vision_config": {**PLAIN, "projection_dim": 12}, "text_config": text}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, name)(getattr(transformers, kind)(**options)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model, int(options.get("image_size", 32))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each family, as `save_pretrained` writes it."""
    root = tmp_path_factory.mktemp("hf")
    for name in FAMILIES:
        model, edge = made(name)
        model.save_pretrained(root / name)
        transformers.ViTImageProcessor(size={"height": edge, "width": edge}).save_pretrained(root / name)
    return root


def pictures(edge: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, edge, edge), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def theirs(name: str, model: Any, inputs: torch.Tensor) -> tuple[Any, Any]:
    """What the library gives: its output, and that of its vision model with all hidden states."""
    more = {"noise": torch.arange(16.0).expand(len(inputs), -1)} if name == "ViTMAEModel" else {}
    if name == "ViTMAEModel":
        model.config.mask_ratio = 0.0
    vision = getattr(model, "vision_model", model)
    with torch.no_grad():
        return vision(pixel_values=inputs, **more), vision


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_what_the_library_computes(folders: Path, name: str) -> None:
    _, _, blocks, last, sizes = FAMILIES[name]
    spec = resolve_spec(f"hf:{folders / name}")
    described = describe(spec, taps=["blocks"])
    assert list(described.layouts) == blocks
    assert described.layouts[blocks[-1]] == last
    assert described.head_sizes == sizes
    backbone = load_backbone(spec)
    assert backbone.head_sizes() == sizes
    assert {"source", "config"} == backbone.source.keys()

    model, edge = made(name)
    images = pictures(edge)
    found = {
        (one.view, one.tap): values
        for one, values in backbone.run(
            images, expand_views(["maps", *sizes], backbone.layouts(blocks)), dtype="float32"
        ).items()
    }
    kept: list[Any] = []
    whole, vision = theirs(name, model, backbone.inputs(images))
    module = vision.get_submodule(blocks[-1])
    module.register_forward_hook(lambda _m, _i, output: kept.append(output[0] if isinstance(output, tuple) else output))
    theirs(name, model, backbone.inputs(images))
    raw = kept[0]
    grid = raw[:, last.prefix :].unflatten(1, (last.height, last.width)) if raw.ndim == 3 else raw.permute(0, 2, 3, 1)
    # The same float32 arithmetic, in another memory format and with another attention kernel at most.
    torch.testing.assert_close(found["maps", blocks[-1]], grid, rtol=1e-4, atol=1e-4)
    if "logits" in sizes:
        torch.testing.assert_close(found["logits", "logits"], whole.logits, rtol=1e-4, atol=1e-4)
    else:
        pooled = whole.get("pooler_output")
        want = whole.last_hidden_state[:, 0] if pooled is None else pooled
        torch.testing.assert_close(found["head", "head"], want, rtol=1e-4, atol=1e-4)


def test_the_head_is_what_the_classifier_reads(folders: Path) -> None:
    backbone = load_backbone(resolve_spec(f"hf:{folders / 'Dinov2ForImageClassification'}"))
    found = {one.view: v for one, v in backbone.run(pictures(32), expand_views(["head", "logits"], {})).items()}
    last = backbone.network.get_submodule("classifier")
    torch.testing.assert_close(last(found["head"]), found["logits"], rtol=1e-5, atol=1e-5)


PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ViTImageProcessor", {"size": {"height": 48, "width": 48}, "resample": 3}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}),
    ("BitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}}),
    ("SiglipImageProcessor", {"size": {"height": 48, "width": 48}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 48}, "crop_pct": 0.875}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
]


@pytest.mark.parametrize(("kind", "options"), PROCESSORS)
def test_images_are_prepared_as_the_processor_does(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    processor = getattr(transformers, kind)(**options)
    processor.save_pretrained(tmp_path)
    rules = preprocessing(tmp_path, transformers.ViTConfig(), BackboneSpec("hf:x"))
    preprocess = preprocess_from_config(rules)
    y, x = np.mgrid[0:100, 0:200]
    waves = [127.5 + 120 * np.sin(x / (5 + c) + c) * np.cos(y / (7 + c)) for c in range(3)]
    pixels = np.stack(waves, axis=2).astype(np.uint8)
    ours = preprocess.normalise(torch.from_numpy(fit(pixels, preprocess.geometry)[None].copy()))[0]
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    assert ours.shape == theirs.shape
    # Two resizers that round to whole levels differ by one. What is cropped is even here: of an odd rest the library
    # cuts the larger half on the other side than torchvision does.
    level = 1 / (255 * min(preprocess.std))
    assert float((ours - theirs).abs().mean()) < level


def test_another_size_is_interpolated_as_the_library_does(folders: Path) -> None:
    name = "ViTForImageClassification"
    backbone = load_backbone(resolve_spec(f"hf:{folders / name}", image_size=64))
    layouts = backbone.layouts(backbone.resolve_taps(["blocks"]))
    assert {one.height for one in layouts.values()} == {8}
    images = pictures(64)
    (found,) = backbone.run(images, expand_views(["logits"], {})).values()
    model, _ = made(name)
    with torch.no_grad():
        want = model(pixel_values=backbone.inputs(images), interpolate_pos_encoding=True).logits
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_random_weights_need_no_file_and_follow_the_seed(folders: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(folders / "Dinov2Model" / name, tmp_path / name)
    digests = [
        load_backbone(resolve_spec(f"hf:{tmp_path}", weights="random", seed=seed)).weights_digest for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(IntegrityError, match="cannot be read") as caught:
        load_backbone(resolve_spec(f"hf:{tmp_path}"))
    assert "safetensors" in str(caught.value)


def test_a_pickle_in_a_folder_is_not_read(folders: Path, tmp_path: Path) -> None:
    source = folders / "Dinov2Model"
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(source / name, tmp_path / name)
    torch.save(load_file(source / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(IntegrityError):
        load_backbone(resolve_spec(f"hf:{tmp_path}"))
    # Named by a person it is: by the restricted reader.
    backbone = load_backbone(resolve_spec(f"hf:{tmp_path}", weights=str(tmp_path / "pytorch_model.bin")))
    assert backbone.weights_digest == load_backbone(resolve_spec(f"hf:{source}")).weights_digest


def test_a_file_may_have_the_names_of_today_or_of_the_folder_and_other_classes(folders: Path, tmp_path: Path) -> None:
    folder = folders / "ViTForImageClassification"
    stored = load_file(folder / "model.safetensors")
    model, _ = made("ViTForImageClassification")
    today = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    assert stored.keys() != today.keys()
    for at, state in enumerate((stored, today)):
        own = {**state, "classifier.weight": torch.ones(9, 24), "classifier.bias": torch.zeros(9)}
        path = tmp_path / f"{at}.pth"
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in own.items()}}, path)
        spec = resolve_spec(f"hf:{folder}", weights=str(path))
        assert describe(spec, taps=["blocks"]).head_sizes == {"head": 24, "logits": 9}
        backbone = load_backbone(spec)
        want = {**today, "classifier.weight": torch.ones(9, 24), "classifier.bias": torch.zeros(9)}
        assert all(torch.equal(tensor, want[name]) for name, tensor in backbone.network.state_dict().items())
        assert any("took the names behind module." in note for note in backbone.notes)


def test_a_file_of_another_model_is_refused(folders: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"conv.weight": torch.ones(3, 3)}, path)
    with pytest.raises(UsageError, match="do not fit"):
        load_backbone(resolve_spec(f"hf:{folders / 'Dinov2Model'}", weights=str(path)))
    shutil.copytree(folders / "Dinov2Model", tmp_path / "wrong")
    shutil.copy(folders / "ConvNextForImageClassification" / "model.safetensors", tmp_path / "wrong")
    with pytest.raises(UsageError, match="do not fit"):
        load_backbone(resolve_spec(f"hf:{tmp_path / 'wrong'}"))


def test_a_pooling_layer_that_the_checkpoint_lacks_is_not_drawn(folders: Path, tmp_path: Path) -> None:
    """The head is then the class token; a random layer would be a random result."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTModel(transformers.ViTConfig(**PLAIN), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    backbone = load_backbone(resolve_spec(f"hf:{tmp_path}"))
    assert backbone.weights_digest == weights_digest(model)
    images = pictures(32)
    (found,) = backbone.run(images, expand_views(["head"], {})).values()
    with torch.no_grad():
        want = model(pixel_values=backbone.inputs(images)).last_hidden_state[:, 0]
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-4)


def test_a_repository_is_read_from_the_cache(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataUnavailableError, match="cannot be had"):
        describe(resolve_spec("hf:owner/tiny"), taps=["blocks"])
    repository = tmp_path / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(folders / "Dinov2Model", repository / "snapshots" / "abc")
    backbone = load_backbone(resolve_spec("hf:owner/tiny"))
    assert (backbone.spec.key, backbone.source["revision"]) == ("hf.owner.tiny", "abc")
    assert backbone.weights_digest == load_backbone(resolve_spec(f"hf:{folders / 'Dinov2Model'}")).weights_digest


def test_what_is_no_vision_model_is_refused(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataUnavailableError, match="no folder"):
        resolve_spec(f"hf:{tmp_path / 'none'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataUnavailableError, match=r"no config\.json"):
        resolve_spec(f"hf:{tmp_path / 'empty'}")
    transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1).save_pretrained(
        tmp_path / "bert"
    )
    with pytest.raises(UsageError, match="no model that takes images alone"):
        describe(resolve_spec(f"hf:{tmp_path / 'bert'}"), taps=["*"])
    code = tmp_path / "code"
    code.mkdir()
    (code / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (code / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: ...\n")
    with pytest.raises(UsageError, match="no model of transformers"):
        describe(resolve_spec(f"hf:{code}"), taps=["*"])
    assert not (tmp_path / "ran").exists()
    monkeypatch.setattr("cvbench.engine.models.forms.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"not installed[\s\S]*cvbench\[transformers\]"):
        resolve_spec("hf:owner/tiny")


def test_without_the_processors_rules_a_preset_is_asked_for(folders: Path, tmp_path: Path) -> None:
    shutil.copy(folders / "Dinov2Model" / "config.json", tmp_path)
    with pytest.raises(DataUnavailableError, match="nothing says how"):
        describe(resolve_spec(f"hf:{tmp_path}", weights="random"), taps=["blocks"])
    described = describe(resolve_spec(f"hf:{tmp_path}", weights="random", preset="beyond_inet"), taps=["blocks"])
    assert described.preprocess.geometry.size == (32, 32)


def test_parts_keep_their_names_and_places(folders: Path) -> None:
    backbone: Backbone = load_backbone(resolve_spec(f"hf:{folders / 'Dinov2Model'}"))
    assert "encoder.layer.0.norm1" in backbone.tap_names()
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert "transformers" in sys.modules
