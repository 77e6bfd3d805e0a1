"""What the blocks and taps of a module of one's own are: declared, in what it holds, of tokens without a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from cvbench.engine.analyses.attention import capture
from cvbench.engine.models.backbones import Description, describe, load_backbone, resolve_spec
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.own_models import OwnModel
from cvbench.engine.models.views import expand_views
from cvbench.errors import UsageError

HERE = "tests.engine.models.test_own_blocks"


def described(name: str, *taps: str) -> Description:
    return describe(resolve_spec(f"{HERE}:{name}"), taps=taps or ["blocks"])


class Staged(nn.Module):
    """Three stages of two layers, whose names are those of another network's blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.stages = nn.Sequential(*(nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.GELU()) for _ in range(3)))
        self.classifier = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Any:
        return self.classifier(self.stages(self.stem(images)).mean(dim=(2, 3)))


def undeclared() -> OwnModel:
    return OwnModel(Staged(), size=(16, 16))


def declared() -> OwnModel:
    return OwnModel(Staged(), size=(16, 16), stages=("stages.0", "stages.1", "stages.2"))


def declared_one() -> OwnModel:
    return OwnModel(Staged(), size=(16, 16), stages=("stages.1",))


def test_what_is_declared_wins_over_usual_names() -> None:
    usual = [f"stages.{stage}.{layer}" for stage in range(3) for layer in (0, 1)]
    assert list(described("undeclared").layouts) == usual
    assert list(described("declared").layouts) == ["stages.0", "stages.1", "stages.2"]
    assert list(described("declared_one").layouts) == ["stages.1"]


class Holder(nn.Module):
    """The commonest of all: a backbone and a classifier of one's own."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.fc = backbone, nn.Linear(width, 4)

    def forward(self, images: Tensor) -> Any:
        return self.fc(self.backbone(images))


def held_vit() -> OwnModel:
    return OwnModel(Holder(timm.create_model("test_vit", num_classes=0, img_size=32), 64), size=(32, 32))


def held_convnext() -> OwnModel:
    return OwnModel(Holder(timm.create_model("test_convnext", num_classes=0), 64), size=(32, 32))


def held_in_a_list() -> OwnModel:
    held = timm.create_model("test_vit", num_classes=0, img_size=32)
    return OwnModel(nn.Sequential(held, nn.Linear(64, 4)), size=(32, 32))


def two_held() -> OwnModel:
    """Prefixes that differ are none: the tokens of neither are told from a grid."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = timm.create_model("test_vit", num_classes=0, img_size=32)
            self.other = timm.create_model("test_vit", num_classes=0, img_size=32, class_token=False, global_pool="avg")

        def forward(self, images: Tensor) -> Any:
            return self.one(images) + self.other(images)

    return OwnModel(Two(), size=(32, 32))


@pytest.mark.parametrize(("name", "holder"), [("held_vit", "backbone"), ("held_in_a_list", "0")])
def test_the_blocks_and_prefix_of_what_it_holds_are_its_own(name: str, holder: str) -> None:
    found = described(name)
    layout = TapLayout(2, 2, 64, 1, "tokens", class_token=True)
    assert found.layouts == {f"{holder}.blocks.{number}": layout for number in range(6)}
    assert not found.guessed
    assert found.head_sizes == {"head": 64, "logits": 4}


def test_what_it_holds_gives_what_it_gives_alone() -> None:
    backbone = load_backbone(resolve_spec(f"{HERE}:held_vit"))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    requests = expand_views(["pooled"], backbone.layouts(["backbone.blocks.5"]))
    found = {one.view: values for one, values in backbone.run(images, requests, dtype="float32").items()}
    held = backbone.network.backbone.double()
    kept: list[Tensor] = []
    held.blocks[5].register_forward_hook(lambda _part, _inputs, output: kept.append(output))
    with torch.no_grad():
        held(backbone.inputs(images).double())
    torch.testing.assert_close(found["cls"].double(), kept[0][:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["pooled"].double(), kept[0][:, 1:].mean(dim=1), rtol=1e-4, atol=1e-4)


def test_blocks_of_stages_are_found_in_what_it_holds() -> None:
    alone = describe(resolve_spec("test_convnext", weights="random", image_size=32), taps=["blocks"])
    found = described("held_convnext")
    assert list(found.layouts) == [f"backbone.{name}" for name in alone.layouts]
    assert [*found.layouts.values()] == [*alone.layouts.values()]


def test_two_kinds_of_prefix_are_not_chosen_from() -> None:
    found = described("two_held", "*.blocks.0")
    assert found.layouts["other.blocks.0"].prefix == found.layouts["one.blocks.0"].prefix == 0


class Tokens(nn.Module):
    """A ViT whose parts no library names, with a class token in front of 4 x 4 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 16, 4, stride=4), nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder, self.fc = nn.TransformerEncoder(layer, 3), nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Any:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.fc(self.encoder(tokens)[:, 0])


def without_grid() -> OwnModel:
    return OwnModel(Tokens(), size=(16, 16))


def with_grid() -> OwnModel:
    return OwnModel(Tokens(), size=(16, 16), grid=(4, 4), prefix=1, class_token=True)


def test_tokens_of_no_grid_are_a_sequence() -> None:
    blocks = tuple(f"encoder.layers.{number}" for number in range(3))
    found = described("without_grid")
    assert found.layouts == dict.fromkeys(blocks, TapLayout(17, 1, 16, kind="tokens"))
    assert found.sequences == blocks
    known = described("with_grid")
    assert known.layouts == dict.fromkeys(blocks, TapLayout(4, 4, 16, 1, "tokens", class_token=True))
    assert known.sequences == ()


def test_attention_of_tokens_whose_place_is_not_known_is_said_to_be_so() -> None:
    for name, why in (("without_grid", "order of its tokens on the grid is not known"), ("untapped", "are no taps")):
        with pytest.raises(UsageError, match="no attention of all positions") as caught:
            capture.attention_layers(load_backbone(resolve_spec(f"{HERE}:{name}")))
        assert why in (caught.value.why or "")
        assert "OwnModel(grid=..., prefix=...)" in (caught.value.fix or "")


class Loose(nn.Module):
    """Attention in a module that returns no tensor with the images in front."""

    class Mixing(nn.Module):
        def forward(self, tokens: Tensor) -> dict[str, Tensor]:
            return {"mixed": nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)}

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mixing, self.fc = nn.Conv2d(3, 16, 4, stride=4), self.Mixing(), nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Any:
        tokens = self.patches(images).flatten(2).transpose(1, 2)[:, None]
        return self.fc(self.mixing(tokens)["mixed"][:, 0].mean(dim=1))


def untapped() -> OwnModel:
    return OwnModel(Loose(), size=(16, 16))


def test_detection_tokens_are_part_of_a_sequence(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.YolosConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=[32, 32],
        patch_size=8, num_detection_tokens=5, use_mid_position_embeddings=False,
    )  # fmt: skip
    transformers.YolosModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    found = describe(resolve_spec(f"hf:{tmp_path}"), taps=["blocks"])
    assert [*found.layouts.values()] == [TapLayout(1 + 16 + 5, 1, 24, kind="tokens")] * 2
    assert found.sequences == tuple(found.layouts)


def repeated() -> OwnModel:
    block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.GELU())
    return OwnModel(nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Sequential(block, block, block)), size=(16, 16))


def repeated_and_declared() -> OwnModel:
    own = repeated()
    return OwnModel(own.module, size=(16, 16), stages=("0", "1.0"))


def test_what_runs_several_times_is_said() -> None:
    assert described("repeated").repeated == ("1.0",)
    assert described("undeclared").repeated == ()
    with pytest.raises(UsageError, match=r"the block 1\.0 can be no tap") as caught:
        described("repeated_and_declared")
    assert "several times" in (caught.value.why or "")


def vectors() -> OwnModel:
    layers = nn.Sequential(nn.Linear(768, 16), nn.Linear(16, 16))

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.fc = layers, nn.Linear(16, 4)

        def forward(self, images: Tensor) -> Any:
            return self.fc(self.blocks(images.flatten(1)))

    return OwnModel(Mlp(), size=(16, 16))


def vectors_without_names() -> OwnModel:
    return OwnModel(nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.GELU(), nn.Linear(16, 4)), size=(16, 16))


def test_blocks_may_be_vectors_where_there_is_nothing_else() -> None:
    assert list(described("vectors").layouts) == ["blocks.0", "blocks.1"]
    found = described("vectors_without_names")
    assert found.guessed
    assert list(found.layouts) == ["0", "1", "2", "3"]
