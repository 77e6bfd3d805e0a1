from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cvbench.engine.models.backbones import Backbone, BackboneSpec, Request, describe, load_backbone, resolve_spec
from cvbench.engine.models.specs import renamed
from cvbench.engine.models.views import expand_views, sample_shape
from cvbench.engine.models.weights import build_model
from cvbench.errors import UnknownNameError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 64
MODELS = ["test_convnext", "test_vit", "test_resnet"]


@pytest.fixture(scope="module")
def load() -> Callable[..., Backbone]:
    loaded: dict[tuple[str, str], Backbone] = {}

    def get(model: str, precision: str = "fp32") -> Backbone:
        key = (model, precision)
        if key not in loaded:
            loaded[key] = load_backbone(BackboneSpec(model, "random", image_size=SIZE), precision=precision)
        return loaded[key]

    return get


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def reference(backbone: Backbone, images: Tensor, taps: list[str]) -> tuple[dict[str, Tensor], Tensor]:
    """Plain float64 forward of the same weights: raw activations and logits."""
    from cvbench.engine.models.weights import build_model

    model = build_model(backbone.spec).double()
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (backbone.preprocess.mean, backbone.preprocess.std)
    )
    kept: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    for tap in taps:
        modules[tap].register_forward_hook(lambda _m, _i, out, tap=tap: kept.__setitem__(tap, out.clone()))
    return kept, model((images.double() / 255 - mean) / std)


@pytest.mark.parametrize("model", MODELS)
def test_views_equal_a_plain_float64_forward(load: Callable[..., Backbone], images: Tensor, model: str) -> None:
    backbone = load(model)
    taps = backbone.resolve_taps(["blocks"])
    layouts = backbone.layouts(taps)
    requests = expand_views(["pooled", "maps", "head", "logits"], layouts)
    found = backbone.run(images, requests, dtype="float32")
    assert list(found) == requests
    raw, logits = reference(backbone, images, taps)
    for tap in taps:
        tokens = raw[tap].ndim == 3
        grid = raw[tap][:, 1:].reshape(3, SIZE // 16, SIZE // 16, -1) if tokens else raw[tap].permute(0, 2, 3, 1)
        torch.testing.assert_close(found[Request("maps", tap)].double(), grid, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[Request("pooled", tap)].double(), grid.mean((1, 2)), rtol=1e-4, atol=1e-5)
        if tokens:
            torch.testing.assert_close(found[Request("cls", tap)].double(), raw[tap][:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[Request("logits", "logits")].double(), logits, rtol=1e-4, atol=1e-4)
    for request, values in found.items():
        assert tuple(values.shape[1:]) == sample_shape(request, layouts, backbone.head_sizes())[0]


def test_head_is_what_the_classifier_reads(load: Callable[..., Backbone], images: Tensor) -> None:
    for model, classifier in (("test_vit", "head"), ("test_convnext", "head.fc")):
        backbone = load(model)
        found = backbone.run(images, [Request("head", "head"), Request("logits", "logits")])
        weights = dict(backbone._modules[classifier].named_parameters())
        again = found[Request("head", "head")] @ weights["weight"].T + weights["bias"]
        torch.testing.assert_close(again, found[Request("logits", "logits")], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_network_stops_after_the_last_tap(load: Callable[..., Backbone], images: Tensor, model: str) -> None:
    backbone = load(model)
    first, *_, last = backbone.resolve_taps(["blocks"])
    ran: list[str] = []
    hooks = [m.register_forward_pre_hook(lambda _m, _i, name=n: ran.append(name)) for n, m in backbone._modules.items()]
    try:
        early = backbone.run(images, [Request("pooled", first)])
        assert last not in ran
        whole = backbone.run(images, [Request("pooled", first), Request("logits", "logits")])
        assert last in ran
    finally:
        for hook in hooks:
            hook.remove()
    assert torch.equal(early[Request("pooled", first)], whole[Request("pooled", first)])


def test_taps_inside_the_head(load: Callable[..., Backbone], images: Tensor) -> None:
    request, logits = Request("pooled", "head.fc"), Request("logits", "logits")
    found = load("test_convnext").run(images, [request, logits], dtype="float32")
    assert torch.equal(found[request], found[logits])
    alone = load("test_convnext").run(images, [request], dtype="float32")
    assert torch.equal(alone[request], found[request])


@pytest.mark.parametrize("model", MODELS)
def test_the_same_batch_gives_the_same_bits(load: Callable[..., Backbone], images: Tensor, model: str) -> None:
    backbone = load(model)
    requests = expand_views(["pooled", "maps", "logits"], backbone.layouts(backbone.resolve_taps(["blocks"])))
    one, two = (backbone.run(images, requests) for _ in range(2))
    assert all(torch.equal(one[request], two[request]) for request in requests)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["test_convnext", "test_vit"])
def test_half_precision_stays_close(load: Callable[..., Backbone], images: Tensor, model: str, precision: str) -> None:
    requests = expand_views(["pooled", "logits"], load(model).layouts(load(model).resolve_taps(["blocks"])))
    exact = load(model).run(images, requests, dtype="float32")
    found = load(model, precision).run(images, requests, dtype="float32")
    for request in requests:
        assert found[request].dtype is torch.float32
        error = (found[request] - exact[request]).norm() / exact[request].norm()
        assert float(error) < 0.03  # bfloat16 rounds at 2**-9; a few layers add up
    assert not torch.equal(found[requests[0]], exact[requests[0]])


def test_storage_types_and_rounding(load: Callable[..., Backbone], images: Tensor) -> None:
    backbone = load("test_vit")
    requests = [Request("pooled", "blocks.2"), Request("cls", "blocks.2"), Request("head", "head")]
    plain = backbone.run(images, requests)
    coarse = backbone.run(images, requests, keep_bits=4)
    for request in requests[:2]:
        assert coarse[request].dtype is torch.float16
        assert bool(((coarse[request].view(torch.int16) & 0b111111) == 0).all())
        torch.testing.assert_close(coarse[request], plain[request], rtol=2.0**-5, atol=1e-6)
    assert torch.equal(coarse[requests[2]], plain[requests[2]])
    assert plain[requests[2]].dtype is torch.float32


def test_hooks_are_gone_after_success_and_failure(load: Callable[..., Backbone], images: Tensor) -> None:
    backbone = load("test_vit")
    backbone.run(images, [Request("pooled", "blocks.0")])
    with pytest.raises(UsageError, match="keep_bits"):
        backbone.run(images, [Request("pooled", "blocks.0")], keep_bits=30)
    assert not any(module._forward_hooks for module in backbone._modules.values())


def test_requests_that_cannot_be_met(load: Callable[..., Backbone], images: Tensor) -> None:
    backbone = load("test_convnext")
    with pytest.raises(UsageError, match="no class token"):
        backbone.run(images, [Request("cls", "stages.0.blocks.0")])
    with pytest.raises(UnknownNameError, match=r"stages\.0\.blocks\.0"):
        backbone.run(images, [Request("pooled", "stages.0.block.0")])
    with pytest.raises(UnknownNameError, match="unknown view"):
        backbone.run(images, [Request("mops", "stem")])
    with pytest.raises(UsageError, match="expected uint8 images"):
        backbone.run(images[:, :, :32], [Request("pooled", "stem")])
    assert backbone.run(images, []) == {}


def test_a_description_matches_the_loaded_backbone(load: Callable[..., Backbone]) -> None:
    for model in MODELS:
        backbone = load(model)
        found = describe(BackboneSpec(model, image_size=SIZE), taps=["blocks"])  # pretrained: none are fetched
        assert found.layouts == backbone.layouts(backbone.resolve_taps(["blocks"]))
        assert list(found.tap_names) == backbone.tap_names()
        assert found.head_sizes == backbone.head_sizes()
        assert found.preprocess == backbone.preprocess


def test_the_studys_pair_without_its_weights() -> None:
    convnext = describe(resolve_spec("convnext-base"), taps=["blocks"])
    vit = describe(resolve_spec("vit-base-16"), taps=["paper"])
    assert (len(convnext.layouts), len(vit.layouts)) == (36, 12)
    assert convnext.head_sizes == {"head": 1024, "logits": 21841}
    assert vit.head_sizes == {"head": 768, "logits": 21843}
    assert describe(resolve_spec("vit-b16", head=True), taps=[]).parameters == 86_567_656


@pytest.mark.parametrize(
    ("name", "head", "model"),
    [
        ("convnext-base", False, "convnext_base.fb_in22k"),
        ("convnext-b", True, "convnext_base.fb_in22k_ft_in1k"),
        ("vit-b16", False, "vit_base_patch16_224.augreg_in21k"),
        ("vit-base-16", True, "vit_base_patch16_224.augreg_in21k_ft_in1k"),
        ("test_vit", True, "test_vit"),
        ("test_vit.r160_in1k", False, "test_vit.r160_in1k"),
    ],
)
def test_names_and_aliases(name: str, head: bool, model: str) -> None:
    assert resolve_spec(name, head=head).model == model


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("convnext-bse", "convnext-base"),
        ("vit_base_patch16_24", "vit_base_patch16_224"),
        ("test_vit.r161_in1k", "test_vit.r160_in1k"),
    ],
)
def test_an_unknown_backbone_names_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve_spec(name)
    assert near in caught.value.did_you_mean


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("A b=test_vit", "A-b=test_vit"), ("[x] é=test_vit", "x=test_vit"), ("=test_vit", "mine=test_vit")],
)
def test_a_name_of_other_characters_is_refused_as_a_name(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match="is no name for a backbone") as caught:
        resolve_spec(typed)
    assert caught.value.fix == f"--backbone {meant}"
    assert resolve_spec(meant).key == meant.partition("=")[0]


def test_other_pickles_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot read weights") as caught:
        resolve_spec("test_vit", weights="model.pkl")
    assert "code" in str(caught.value)


def test_a_spec_travels_and_names_its_place() -> None:
    spec = resolve_spec("test_vit", weights="random", image_size=64, decoder="pil", seed=2)
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301 - our own bytes
    assert BackboneSpec(**spec.as_dict()) == spec
    assert spec.key == "test_vit@64"
    with pytest.raises(UsageError, match="out of range"):
        resolve_spec("test_vit", image_size=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("convnext_tiny_in22ft1k", "convnext_tiny.fb_in22k_ft_in1k"),
    ],
)
def test_an_old_name_of_timm_means_the_new_one(old: str, new: str) -> None:
    assert renamed(old) == new
    assert resolve_spec(old).model == new


def test_every_old_name_of_timm_is_resolved_or_refused() -> None:
    """Two of them have no weights any more."""
    from timm.models import _registry

    refused = []
    for name in _registry._deprecated_models:
        try:
            assert resolve_spec(name, weights="random").model == renamed(name)
        except UnknownNameError:
            refused.append(name)
    assert len(refused) <= 5


@pytest.mark.parametrize(
    ("model", "size", "fix"), [("vit_tiny_patch16_224", 100, "96 or --image-size 112"), ("test_vit", 63, "48")]
)
def test_a_size_that_patches_would_cut_is_refused(model: str, size: int, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe(BackboneSpec(model, "random", image_size=size), taps=["*"])
    assert f"of images of {size} pixels this model would read" in str(caught.value)
    assert fix in str(caught.value.fix)


def test_a_network_that_takes_no_channels_last_gives_the_same_numbers() -> None:
    """Buffers of five axes (lambda layers): torch refuses the layout."""
    backbone = load_backbone(BackboneSpec("lambda_resnet26t", "random", image_size=256))
    images = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits = backbone.run(images, [Request("logits", "logits")])[Request("logits", "logits")]
    model = build_model(backbone.spec)
    with torch.inference_mode():
        plain = model(backbone.inputs(images))
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-5)
