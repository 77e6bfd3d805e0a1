"""Compiled plans against plain passes of the same weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd

from cvbench.engine.models import backbones, compiled
from cvbench.engine.models.backbones import Backbone, BackboneSpec, Request, load_backbone, resolve_spec
from cvbench.engine.models.own_models import OwnModel
from cvbench.engine.models.views import expand_views
from cvbench.errors import ResourceError, UsageError

SIZE = 64
ROUNDING = 2.0**-18
"""Of a layer's largest value: float32 sums of some hundred terms in another order, through a dozen layers."""


@pytest.fixture(autouse=True)
def fresh() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Graphs as the compiler would get them, run as they are: what is asked of here is what is in them."""
    graphs: list[Any] = []

    def keep(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", aot_autograd(fw_compiler=keep))
    return graphs


def pair(model: str, **options: Any) -> tuple[Backbone, Backbone]:
    spec = BackboneSpec(model, "random", image_size=SIZE)
    return load_backbone(spec, **options), load_backbone(spec, compiled=True, **options)


def products(graph: Any) -> int:
    names = ("mm.default", "bmm.default", "addmm.default", "convolution.default", "attention")
    return sum(any(name in str(node.target) for name in names) for node in graph.graph.nodes)


def check(plain: dict[Request, Tensor], found: dict[Request, Tensor], bound: float = ROUNDING) -> None:
    assert list(found) == list(plain)
    for request, values in plain.items():
        assert found[request].dtype is values.dtype
        assert found[request].shape == values.shape
        apart = float((found[request].double() - values.double()).abs().max())
        assert apart <= bound * float(values.double().abs().max()), request


@pytest.mark.parametrize("model", ["test_convnext", "test_vit"])
def test_all_views_in_one_graph(images: Tensor, traced: list[Any], model: str) -> None:
    plain, other = pair(model)
    requests = expand_views(["pooled", "maps", "head", "logits"], plain.layouts(plain.resolve_taps(["blocks"])))
    found = other.run(images, requests, dtype="float32")
    check(plain.run(images, requests, dtype="float32"), found)
    assert len(traced) == 1
    assert other.notes == ()
    again = other.run(images, requests, dtype="float32")
    assert all(torch.equal(again[request], found[request]) for request in requests)
    assert len(traced) == 1  # and not once for each batch
    assert not any(module._forward_hooks for module in other.network.modules())


class Named(nn.Module):
    """Ends in a dictionary, as some networks of one's own do."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(nn.Conv2d(3 if not at else 8, 8, 3, stride=2) for at in range(3)))
        self.classifier = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.stages(images)
        return {"maps": maps, "logits": self.classifier(maps.mean(dim=(2, 3)))}


def named() -> OwnModel:
    return OwnModel(Named(), size=(SIZE, SIZE), stages=("stages.0", "stages.1", "stages.2"))


def saved_vit(folder: Path) -> str:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIZE,
        patch_size=16, num_labels=5,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return f"hf:{folder}"


def saved_clip(folder: Path) -> str:
    pytest.importorskip("open_clip")
    vision = {"image_size": SIZE, "layers": 2, "width": 24, "head_width": 12, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"open_clip:local-dir:{folder}"


MAKES: dict[str, Callable[[Path], str]] = {
    "torchvision": lambda _folder: "torchvision:resnet18",
    "transformers": saved_vit,
    "open_clip": saved_clip,
    "own": lambda _folder: "tests.engine.models.test_compiled:named",
}


@pytest.mark.parametrize("make", MAKES)
def test_networks_of_every_make_are_one_graph(images: Tensor, traced: list[Any], tmp_path: Path, make: str) -> None:
    """Also where what the classifier reads is taken by a hook."""
    name = MAKES[make](tmp_path)
    spec = resolve_spec(name, weights="pretrained" if make == "own" else "random", image_size=SIZE)
    plain, other = load_backbone(spec), load_backbone(spec, compiled=True)
    views = ["pooled", *plain.head_sizes()]
    requests = expand_views(views, plain.layouts(plain.resolve_taps(["blocks"])))
    for batch in (images, images.flip(0)):
        check(plain.run(batch, requests, dtype="float32"), other.run(batch, requests, dtype="float32"))
    assert other.notes == ()
    assert len(traced) == 1
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in other.network.modules())


def test_what_comes_behind_the_last_tap_is_not_computed(images: Tensor, traced: list[Any]) -> None:
    plain, other = pair("test_vit")
    early, late = ([Request("pooled", f"blocks.{number}")] for number in (1, 5))
    for requests in (early, late):
        check(plain.run(images, requests), other.run(images, requests), bound=2.0**-9)  # float16
    first, second = map(products, traced)
    assert first < 0.5 * second
    check(plain.run(images, early), other.run(images, early), bound=2.0**-9)  # each plan keeps its own function


def test_rounding_and_observers(images: Tensor, traced: list[Any]) -> None:
    plain, other = pair("test_convnext")
    taps = plain.resolve_taps(["blocks"])[:2]
    found: list[dict[str, Tensor]] = []
    for backbone in (plain, other):
        seen: dict[str, Tensor] = {}
        kept = backbone.run(
            images,
            [Request("pooled", taps[0]), Request("head", "head")],
            keep_bits=4,
            observed=taps,
            observe=lambda tap, maps, seen=seen: seen.__setitem__(tap, maps.clone()),  # type: ignore[misc]
        )
        assert bool(((kept[Request("pooled", taps[0])].view(torch.int16) & 0b111111) == 0).all())
        assert list(kept) == [Request("pooled", taps[0]), Request("head", "head")]
        found.append(seen)
    assert list(found[0]) == list(found[1]) == taps
    for tap in taps:
        torch.testing.assert_close(found[1][tap], found[0][tap], rtol=2.0**-4, atol=1e-4)


def test_threads_take_turns(images: Tensor, traced: list[Any]) -> None:
    """Two plans of one network at once: neither hooks into the other's pass."""
    plans = [[Request("maps", "blocks.0")], [Request("pooled", "blocks.3"), Request("logits", "logits")]]
    for backbone in pair("test_vit"):
        alone = [backbone.run(images, plan) for plan in plans]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(partial(backbone.run, images), plans * 12))
        for number, found in enumerate(together):
            assert list(found) == plans[number % 2]
            assert all(torch.equal(values, alone[number % 2][request]) for request, values in found.items())


def test_a_network_that_no_graph_holds_is_compiled_in_parts(
    images: Tensor, traced: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other = pair("test_vit")
    norm = other.network.norm

    def forward(values: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return nn.LayerNorm.forward(norm, values)

    monkeypatch.setattr(norm, "forward", forward)
    requests = [Request("pooled", "blocks.2"), Request("logits", "logits")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = other.run(images, requests, dtype="float32")
    check(plain.run(images, requests, dtype="float32"), found)
    assert len(traced) > 1
    (note,) = other.notes
    assert note.startswith("test_vit@64 is compiled in parts, as no one graph holds it: ")
    assert "\n" not in note
    other.run(images, [Request("pooled", "blocks.1"), Request("logits", "logits")])
    assert len(other.notes) == 1


def test_a_compiler_that_fails_is_named(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    backbone = load_backbone(BackboneSpec("test_vit", "random", image_size=SIZE), compiled=True)
    with pytest.raises(UsageError, match="test_vit@64 cannot be compiled") as caught:
        backbone.run(images, [Request("pooled", "blocks.0")])
    assert "no such kernel" in str(caught.value)
    assert not any(module._forward_hooks for module in backbone.network.modules())


def test_tritons_lack_of_a_compiler_is_one_of_the_machine(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises at the first launch, past torch's own errors."""

    def broken(graph: Any, inputs: Any) -> Any:
        def launch(*_: Any) -> Any:
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable")

        return launch

    monkeypatch.setattr(compiled, "BACKEND", broken)
    backbone = load_backbone(BackboneSpec("test_vit", "random", image_size=SIZE), compiled=True)
    with pytest.raises(ResourceError, match="there is no C compiler") as caught:
        backbone.run(images, [Request("pooled", "blocks.0")])
    assert "install gcc" in str(caught.value)


def test_inductor_differs_by_rounding_only(images: Tensor) -> None:
    plain, other = pair("test_convnext")
    taps = plain.resolve_taps(["blocks"])[:3]
    requests = expand_views(["pooled", "maps"], plain.layouts(taps))
    check(plain.run(images, requests, dtype="float32"), other.run(images, requests, dtype="float32"))


def test_without_it_nothing_is_compiled(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "CompiledPlan", None)
    backbone = load_backbone(BackboneSpec("test_vit", "random", image_size=SIZE))
    assert backbone.run(images, [Request("pooled", "blocks.0")])
