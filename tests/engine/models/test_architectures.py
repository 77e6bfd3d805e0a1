"""One model of every family of timm, its shapes against timm's own; and of the families with an order of their own the
values."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _registry
from torch import Tensor

from cvbench.engine.analyses.cam.graph import class_map
from cvbench.engine.analyses.cam.target import default_target, has_grid
from cvbench.engine.models.backbones import BackboneSpec, Request, describe, load_backbone
from cvbench.engine.models.layouts import Digit, TapLayout, digits_layout, grids_of, in_rows, token_layout
from cvbench.engine.models.weights import build_meta
from cvbench.errors import UsageError

FAMILIES = [
    "beit_base_patch16_224",
    "botnet26t_256",
    "cait_xxs24_224",
    "caformer_s18",
    "coat_lite_tiny",
    "coatnet_nano_rw_224",
    "convit_tiny",
    "convmixer_1024_20_ks9_p14",
    "crossvit_9_240",
    "cs3darknet_s",
    "csatv2",
    "cspnext_tiny",
    "cpubone_t0",
    "davit_tiny",
    "deepseek_vit_412m_enc",
    "deit_tiny_distilled_patch16_224",
    "densenet121",
    "dla34",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "vit_tiny_patch16_dinov3_qkvb",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "gemma4_vit_167m_enc",
    "ghostnet_050",
    "gmixer_12_224",
    "hardcorenas_a",
    "hgnetv2_b0",
    "hiera_tiny_224",
    "hieradet_small",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "lcnetv2_small",
    "legacy_seresnet18",
    "legacy_xception",
    "levit_128s",
    "lowformer_b0",
    "mobilenetv5_300m_enc",
    "mobilevitv2_050",
    "mvitv2_tiny",
    "naflexvit_base_patch16_gap",
    "nasnetalarge",
    "nest_tiny",
    "nextvit_small",
    "nf_regnet_b0",
    "pit_ti_224",
    "pnasnet5large",
    "pvt_v2_b0",
    "qwen3_vit_88m_enc",
    "rdnet_tiny",
    "regnetx_002",
    "repghostnet_050",
    "repvit_m0_9",
    "res2net50_14w_8s",
    "resnest14d",
    "resnet18",
    "resnetv2_50",
    "rexnet_100",
    "samvit_base_patch16",
    "selecsls42",
    "sequencer2d_s",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224",
    "swinv2_tiny_window8_256",
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_vit",
    "tf_mobilenetv3_small_minimal_100",
    "tiny_vit_5m_224",
    "tnt_s_patch16_224",
    "tresnet_m",
    "twins_svt_small",
    "ese_vovnet19b_slim",
    "vgg11",
    "visformer_tiny",
    "vit_relpos_small_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "vitamin_small_224",
    "volo_d1_224",
    "xception41",
    "xcit_nano_12_p16_224",
]
"""The smallest of each, or nearly."""


def test_every_family_of_timm_is_looked_at() -> None:
    assert {_registry._model_to_module[name] for name in FAMILIES} == set(timm.list_modules())


@pytest.mark.parametrize("model", FAMILIES)
def test_blocks_of_a_family_lie_on_grids_that_timm_knows(model: str) -> None:
    """All shapes that `forward_intermediates` gives are among the taps', and the last block has the last of them."""
    spec = BackboneSpec(model, "random")
    every, named = describe(spec, taps=["*"]), describe(spec, taps=["blocks"])
    blocks = list(named.layouts)
    assert not named.guessed
    assert len(blocks) >= 3
    assert [name for name in every.tap_names if name in named.layouts] == blocks
    assert all(has_grid(layout) for layout in named.layouts.values())
    shapes = [(maps.shape[2], maps.shape[3], maps.shape[1]) for maps in intermediates(model, every.preprocess)]
    known = {(at.height, at.width, at.channels) for at in every.layouts.values()}
    assert set(shapes) <= known
    if model not in ("hrnet_w18_small", "crossvit_9_240", "coat_lite_tiny"):  # several branches end at once
        last = named.layouts[blocks[-1]]
        assert (last.height, last.width) in {shape[:2] for shape in shapes[-2:]}


def intermediates(model: str, preprocess: Any) -> list[Tensor]:
    if model == "gemma4_vit_167m_enc":  # timm's reads the positions' values, which the meta device has not
        return [torch.empty((1, 768, 48, 48), device="meta")]
    network = build_meta(BackboneSpec(model, "random"))
    images = torch.zeros((1, 3, *preprocess.geometry.size), device="meta")
    with torch.no_grad():
        found: list[Tensor] = network.forward_intermediates(images, intermediates_only=True, norm=False)
    return found


VALUES = {
    "pvt_v2_b0": 4,
    "twins_svt_small": 4,
    "levit_128s": 3,
    "hiera_tiny_224": 4,
    "xcit_nano_12_p16_224": 12,
    "caformer_s18": 4,
    "efficientformer_l1": 4,
    "mvitv2_tiny": 4,
    "coat_lite_tiny": 4,
    "pit_ti_224": 3,
    "tnt_s_patch16_224": 12,
    "nest_tiny": 3,
    "selecsls42": 6,
    "visformer_tiny": 3,
    "efficientvim_m1": 3,
}
"""Model -> how many maps timm gives of it."""


@pytest.mark.parametrize("model", VALUES)
def test_maps_are_those_of_timm(model: str) -> None:
    """Grid, order of the tokens, order of the layers: each of timm's maps is a tap's, one after the other."""
    backbone = load_backbone(BackboneSpec(model, "random"))
    images = noise(backbone.preprocess.geometry.size)
    with torch.inference_mode():
        theirs = backbone.network.forward_intermediates(backbone.inputs(images), intermediates_only=True, norm=False)
    assert len(theirs) == VALUES[model]
    wanted = [maps.permute(0, 2, 3, 1) for maps in theirs]
    layouts = backbone.layouts(backbone.tap_names())
    shapes = {maps.shape[1:] for maps in wanted}
    taps = [tap for tap, at in layouts.items() if (at.height, at.width, at.channels) in shapes]
    ours = backbone.run(images, [Request("maps", tap) for tap in taps], dtype="float32")
    places = []
    for maps in wanted:
        same = [i for i, tap in enumerate(taps) if equal(ours[Request("maps", tap)], maps)]
        assert same, f"{tuple(maps.shape)} is no tap's"
        places.append(same[0])
    assert places == sorted(places)


def equal(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def noise(size: tuple[int, int]) -> Tensor:
    return torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_branch_of_a_module_with_several_outputs_is_a_tap() -> None:
    """The order of requests does not matter, and the network may stop behind the last of them."""
    backbone = load_backbone(BackboneSpec("crossvit_9_240", "random"))
    images = noise(backbone.preprocess.geometry.size)
    taps = ["blocks.1.out1", "blocks.1.out0"]
    found = backbone.run(images, [Request(view, tap) for view in ("maps", "cls") for tap in taps], dtype="float32")
    kept: list[Any] = []
    handle = backbone.network.blocks[1].register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.inference_mode():
        backbone.network(backbone.inputs(images))
    handle.remove()
    for place, edge in ((0, 20), (1, 14)):
        tokens = kept[0][place]
        grid = tokens[:, 1:].reshape(1, edge, edge, -1)
        torch.testing.assert_close(found[Request("maps", f"blocks.1.out{place}")], grid, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[Request("cls", f"blocks.1.out{place}")], tokens[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["hiera_tiny_224", "pit_ti_224", "mvitv2_tiny", "levit_128s", "efficientvim_m1"])
def test_class_activation_maps_of_mended_families(model: str) -> None:
    spec = BackboneSpec(model, "random")
    every, blocks = (describe(spec, taps=[taps]).layouts for taps in ("*", "blocks"))
    target = default_target(every, list(blocks))
    backbone = load_backbone(spec)
    found = class_map(backbone, target, "gradcam", noise(backbone.preprocess.geometry.size))
    assert tuple(found.raw.shape[1:]) == (every[target].height, every[target].width)
    assert bool(found.raw.any())


def test_a_last_block_of_which_only_the_class_token_is_read_is_no_default_target() -> None:
    every, blocks = (
        describe(BackboneSpec("crossvit_9_240", "random"), taps=[taps]).layouts for taps in ("*", "blocks")
    )
    with pytest.raises(UsageError, match="no layer that is known to be right") as caught:
        default_target(every, list(blocks))
    assert "class token" in str(caught.value)


def test_encoders_without_a_head_have_taps_and_no_head() -> None:
    found = describe(BackboneSpec("mobilenetv5_300m_enc", "random"), taps=["blocks"])
    assert found.head_sizes == {}
    assert len(found.layouts) > 50


@pytest.mark.parametrize("grid", [(8, 8), (8, 16)])
def test_unrolled_tokens_are_put_back(grid: tuple[int, int]) -> None:
    """Against the order that Hiera's own module makes of numbered cells."""
    hiera: Any = importlib.import_module("timm.models.hiera")
    cells = torch.arange(grid[0] * grid[1], dtype=torch.float32)[None, :, None]
    lying = hiera.Unroll(grid, (1, 1), [(2, 2), (2, 2)])(cells)
    assert not torch.equal(lying, cells)
    digits: list[Digit] = [("row", 2, 1), ("column", 2, 1), ("row", 2, 2), ("column", 2, 2)]
    digits += [("row", grid[0] // 4, 4), ("column", grid[1] // 4, 4)]
    layout = digits_layout((1, len(cells[0]), 1), digits)
    assert layout is not None
    assert (layout.height, layout.width) == grid
    assert torch.equal(in_rows(lying, layout), cells)
    ahead = torch.cat([torch.full((1, 1, 1), -1.0), lying], dim=1)
    kept = TapLayout(*grid, 1, prefix=1, kind="tokens", class_token=True, digits=layout.digits)
    assert torch.equal(in_rows(ahead, kept)[:, 1:], cells)
    assert float(in_rows(ahead, kept)[0, 0, 0]) == -1


def test_tokens_of_another_number_have_no_such_order() -> None:
    assert digits_layout((1, 5, 1), (("row", 2, 1), ("column", 2, 1))) is None
    plain = digits_layout((1, 6, 4), (("row", 1, 2), ("row", 2, 1), ("column", 3, 1)))
    assert plain == TapLayout(2, 3, 4, kind="tokens")


def test_further_grids_come_after_the_patches() -> None:
    assert grids_of((225, 224), (32,)) == [(8, 7), (7, 7)]
    assert token_layout((2, 49, 8), None, (224, 224), 0, False, [(7, 7)]) == TapLayout(7, 7, 8, kind="tokens")
    assert token_layout((2, 50, 8), None, (224, 224), 1, True, [(7, 7)]) == TapLayout(7, 7, 8, 1, "tokens", True)


BENCH = Path(__file__).parents[3] / "bench/architectures.py"


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *words], capture_output=True, text=True, timeout=600, check=False
    )


def test_the_table_of_all_families(tmp_path: Path) -> None:
    """Two models, then one more beside them; a model that is too slow is given up, and said."""
    out = tmp_path / "found.jsonl"
    first = ("--only", "test_vit", "--only", "test_convnext", "--workers", "1", "--out", str(out))
    done = bench(*first, "--content")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} >= {"family", "convnext", "vision_transformer", "all"}
    assert re.search(r"^all +2 +2 +2 +2 +0 +2", done.stdout, flags=re.MULTILINE)
    assert "maps of timm found: 10 of 10" in done.stdout
    kept = out.read_text()
    again = bench(*first, "--only", "test_resnet")
    assert re.search(r"^all +3 +3 +3 +3 +0 +3", again.stdout, flags=re.MULTILINE), again.stdout
    assert out.read_text().startswith(kept)
    assert len(out.read_text().splitlines()) == 3
    slow = bench("--only", "test_vit", "--workers", "1", "--seconds", "0")
    assert slow.returncode == 1
    assert "1 models: took longer than 0 s" in slow.stdout
