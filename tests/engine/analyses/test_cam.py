"""Class activation maps of real small networks, against plain autograd in float64 and against pytorch-grad-cam."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from cvbench.engine.analyses.cam.choice import CHOICE
from cvbench.engine.analyses.cam.graph import class_map, trace
from cvbench.engine.analyses.cam.grids import display
from cvbench.engine.analyses.cam.methods import METHODS, gradcam_plus_plus, xgradcam
from cvbench.engine.analyses.cam.target import default_target, has_grid, named_target, uses_batch_statistics
from cvbench.engine.models.backbones import Backbone, BackboneSpec, describe, load_backbone
from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.weights import build_model
from cvbench.errors import UnknownNameError, UsageError

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 96
TARGETS = {"test_convnext": "stages.3.blocks.1", "test_vit": "blocks.5.norm1", "test_resnet": "layer4.0"}


@pytest.fixture(scope="module")
def load() -> Callable[..., Backbone]:
    loaded: dict[tuple[str, str], Backbone] = {}

    def get(model: str, precision: str = "fp32") -> Backbone:
        if (model, precision) not in loaded:
            loaded[model, precision] = load_backbone(
                BackboneSpec(model, "random", image_size=SIZE), precision=precision
            )
        return loaded[model, precision]

    return get


@pytest.fixture(scope="module")
def images() -> Tensor:
    coarse = torch.rand((3, 3, 6, 6), generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    return (255 * smooth).to(torch.uint8)


def normalised(backbone: Backbone, images: Tensor, dtype: torch.dtype) -> Tensor:
    mean, std = (
        torch.tensor(v, dtype=dtype).view(3, 1, 1) for v in (backbone.preprocess.mean, backbone.preprocess.std)
    )
    return (images.to(dtype) / 255 - mean) / std


def full_graph(backbone: Backbone, target: str, images: Tensor, classes: list[int] | None) -> tuple[Any, Any, Any]:
    """Float64 A and G (B, P, C) and the logits: a plain model, one graph from the pixels to the logits."""
    model = build_model(backbone.spec).double()
    kept: list[Tensor] = []
    model.get_submodule(target).register_forward_hook(lambda _m, _i, output: kept.append(output))
    inputs = normalised(backbone, images, torch.float64).requires_grad_()
    logits = model(inputs)
    picked = logits.argmax(1) if classes is None else torch.tensor(classes)
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(images)), picked].sum(), kept[0])

    def positions(tensor: Tensor) -> Any:
        tokens = tensor[:, 1:] if tensor.ndim == 3 else tensor.flatten(2).transpose(1, 2)
        return tokens.detach().numpy()

    return positions(kept[0]), positions(gradient), logits.detach().numpy()


def reference(method: str, a: Any, g: Any) -> Any:
    """The raw map (B, P) by the papers' formulas."""
    if method == "gradcam":
        return (a * g.mean(1, keepdims=True)).sum(2)
    if method == "gradcam++":
        alpha = g**2 / (2 * g**2 + a.sum(1, keepdims=True) * g**3)
        return (a * (alpha * np.maximum(g, 0)).sum(1, keepdims=True)).sum(2)
    if method == "layercam":
        return (a * np.maximum(g, 0)).sum(2)
    if method == "hirescam":
        return (a * g).sum(2)
    if method == "xgradcam":
        total = a.sum(1, keepdims=True)
        shares = np.divide(a, total, out=np.zeros_like(a), where=total != 0)  # a channel that is off has no shares
        return (a * (shares * g).sum(1, keepdims=True)).sum(2)
    found = []
    for positions in a:
        centred = positions - positions.mean(0)
        projection = centred @ np.linalg.svd(centred)[2][0]
        found.append(projection if abs(projection.max()) >= abs(projection.min()) else -projection)
    return np.stack(found)


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if not one.reads_attention])
@pytest.mark.parametrize("model", TARGETS)
def test_maps_equal_a_full_graph_in_float64(
    load: Callable[..., Backbone], images: Tensor, model: str, method: str
) -> None:
    backbone, classes = load(model), [3, 999, 0]
    found = class_map(backbone, TARGETS[model], method, images, torch.tensor(classes))
    a, g, logits = full_graph(backbone, TARGETS[model], images, classes)
    expected = reference(method, a, g)
    raw = found.raw.flatten(1).numpy()
    assert found.raw.dtype is torch.float32
    tolerance = 1e-4
    if method == "xgradcam":  # divides by sum A: what float32 leaves of it where signs cancel
        total = np.abs(a.sum(1))
        tolerance = max(tolerance, 1e-6 * (np.abs(a).sum(1)[total > 0] / total[total > 0]).max())
    for one, two in zip(raw, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * np.abs(two).max())
    choice = dict(zip(CHOICE, found.choice.T.numpy(), strict=True))
    assert choice["class"].tolist() == classes
    assert choice["predicted"].tolist() == logits.argmax(1).tolist()
    picked = logits[np.arange(3), classes]
    np.testing.assert_allclose(choice["logit"], picked, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(choice["probability"], np.exp(picked) / np.exp(logits).sum(1), rtol=1e-3)


@pytest.mark.parametrize("model", TARGETS)
def test_without_a_class_it_is_the_models_own_first(load: Callable[..., Backbone], images: Tensor, model: str) -> None:
    own = class_map(load(model), TARGETS[model], "gradcam", images)
    same = class_map(load(model), TARGETS[model], "gradcam", images, own.choice[:, 1].long())
    assert torch.equal(own.raw, same.raw)
    assert torch.equal(own.choice[:, 0], own.choice[:, 1])


@pytest.mark.parametrize("model", TARGETS)
def test_an_image_does_not_depend_on_its_batch_mates(load: Callable[..., Backbone], images: Tensor, model: str) -> None:
    together = class_map(load(model), TARGETS[model], "gradcam", images).raw
    for i in range(3):
        alone = class_map(load(model), TARGETS[model], "gradcam", images[i : i + 1]).raw[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


def test_at_the_end_of_a_convnext_gradcam_is_hirescam(load: Callable[..., Backbone], images: Tensor) -> None:
    """Behind a mean over positions the gradient is the same at each of them."""
    one, two = (
        class_map(load("test_convnext"), TARGETS["test_convnext"], m, images).raw for m in ("gradcam", "hirescam")
    )
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6 * float(two.abs().max()))
    vit = [class_map(load("test_vit"), TARGETS["test_vit"], m, images).raw for m in ("gradcam", "hirescam")]
    assert not torch.allclose(vit[0], vit[1], rtol=0, atol=1e-2 * float(vit[1].abs().max()))


def patch_grid(tokens: Tensor) -> Tensor:
    """The package's own `reshape_transform` for a ViT."""
    return tokens[:, 1:].reshape(len(tokens), SIZE // 16, SIZE // 16, tokens.shape[2]).permute(0, 3, 1, 2)


@pytest.mark.parametrize("method", ["gradcam", "layercam", "hirescam", "xgradcam", "eigencam"])
@pytest.mark.parametrize("model", ["test_convnext", "test_vit"])
def test_the_display_map_is_that_of_pytorch_grad_cam(
    load: Callable[..., Backbone], images: Tensor, model: str, method: str
) -> None:
    peers = pytest.importorskip("pytorch_grad_cam")
    names = {"gradcam": "GradCAM", "layercam": "LayerCAM", "hirescam": "HiResCAM", "xgradcam": "XGradCAM"}
    kind = getattr(peers, {**names, "eigencam": "EigenCAM"}[method])
    backbone = load(model)
    plain = build_model(backbone.spec).requires_grad_()
    layer = plain.get_submodule(TARGETS[model])
    with kind(plain, [layer], reshape_transform=patch_grid if "vit" in model else None) as peer:
        theirs = peer(normalised(backbone, images, torch.float32), targets=None)
    raw = class_map(backbone, TARGETS[model], method, images).raw.numpy()
    ours = display(raw, (SIZE, SIZE))
    for one, two, own in zip(ours, theirs, raw, strict=True):
        if method == "eigencam" and np.abs(one - two).max() > 0.1:  # its sign is whatever LAPACK gives
            one = display(-own[None], (SIZE, SIZE))[0]
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", TARGETS)
def test_grad_cam_plus_plus_is_that_of_pytorch_grad_cam(
    load: Callable[..., Backbone], images: Tensor, model: str
) -> None:
    """In float64: where 2 + G sum A is near 0, float32 gradients of two ways to run a network give other shares.

    The package adds 1e-6 to twice the square of a gradient, which is no smaller than these of random weights: the
    logits are scaled until it does not matter. It returns float32 maps of 0 to 1, good to 1e-6.
    """
    peers = pytest.importorskip("pytorch_grad_cam")
    plain = build_model(load(model).spec).double().requires_grad_()
    with torch.no_grad():
        for parameter in plain.get_classifier().parameters():
            parameter.mul_(1e6)
    layer = plain.get_submodule(TARGETS[model])
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = plain(normalised(load(model), images, torch.float64))
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), kept[0])
    a, g = (patch_grid(x) if "vit" in model else x for x in (kept[0].detach(), gradient))
    raw = gradcam_plus_plus(a.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1))
    transform = patch_grid if "vit" in model else None
    with peers.GradCAMPlusPlus(plain, [layer], reshape_transform=transform) as peer:
        theirs = peer(normalised(load(model), images, torch.float64), targets=None)
    np.testing.assert_allclose(display(raw.numpy(), (SIZE, SIZE)), theirs, rtol=0, atol=1e-5)


def test_a_channel_whose_sum_is_zero_has_no_weight_in_xgradcam() -> None:
    activation = torch.tensor([[[[0.0, 1.0, 1.0]], [[0.0, -1.0, 3.0]]]])  # (1, 2, 1, 3): off, cancelled, and 4 in all
    gradient = torch.ones_like(activation) * torch.tensor([5.0, 7.0, 2.0])
    raw = xgradcam(activation, gradient)
    np.testing.assert_array_equal(raw[0, :, 0], [2, 6])  # the third channel, by the mean of a constant gradient


@pytest.mark.parametrize("target", ["blocks.5", "blocks.5.attn", "blocks.5.norm2", "norm"])
def test_a_layer_whose_patches_reach_no_logit_is_refused(
    load: Callable[..., Backbone], images: Tensor, target: str
) -> None:
    with pytest.raises(UsageError, match="do not depend on the patches") as caught:
        class_map(load("test_vit"), target, "gradcam", images)
    assert "norm1" in (caught.value.fix or "")


def test_the_same_layer_of_a_model_that_pools_by_the_mean_is_alive(images: Tensor) -> None:
    backbone = load_backbone(BackboneSpec("test_vit", "random", image_size=SIZE))
    backbone.network.global_pool = "avg"
    assert class_map(backbone, "blocks.5", "gradcam", images).raw.abs().max() > 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["test_convnext", "test_vit"])
def test_half_precision_stays_close_and_small_gradients_do_not_vanish(
    images: Tensor, model: str, precision: str
) -> None:
    spec = BackboneSpec(model, "random", image_size=SIZE)
    exact, half = load_backbone(spec), load_backbone(spec, precision=precision)
    classes = torch.tensor([5, 6, 7])
    expected = trace(exact, TARGETS[model], images, classes).gradient
    with torch.no_grad():
        half.network.get_classifier().weight.mul_(1e-7)  # gradients far below float16's smallest number, 6e-8
    found = trace(half, TARGETS[model], images, classes).gradient
    assert expected is not None
    assert found is not None
    assert found.dtype is torch.float32
    assert float(found.abs().max()) < 6e-8
    error = (1e7 * found - expected).norm() / expected.norm()
    assert float(error) < 0.05  # the trunk rounds at 2**-9 in bfloat16


def test_the_graph_begins_at_the_target_and_no_parameter_gets_a_gradient(
    load: Callable[..., Backbone], images: Tensor
) -> None:
    backbone = load("test_vit")
    recorded: dict[str, bool] = {}
    watched = ("patch_embed", "blocks.4", "blocks.5.attn", "head")
    hooks = [
        backbone.network.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: recorded.__setitem__(name, out.requires_grad)
        )
        for name in watched
    ]
    try:
        class_map(backbone, "blocks.5.norm1", "gradcam", images)
    finally:
        for hook in hooks:
            hook.remove()
    assert recorded == {"patch_embed": False, "blocks.4": False, "blocks.5.attn": True, "head": True}
    assert all(parameter.grad is None for parameter in backbone.network.parameters())
    assert torch.is_grad_enabled()
    with pytest.raises(UsageError):
        class_map(backbone, "blocks.5", "gradcam", images)
    assert not any(module._forward_hooks for module in backbone.network.modules())


def test_the_target_of_each_family() -> None:
    expected = {**TARGETS, "mixer_s32_224": "blocks.7.norm1", "swin_tiny_patch4_window7_224": "layers.3.blocks.1"}
    for model, target in expected.items():
        spec = BackboneSpec(model, "random")
        every, blocks = (describe(spec, taps=[taps]).layouts for taps in ("*", "blocks"))
        assert default_target(every, list(blocks)) == target


def default_of(model: str, size: int | None = None) -> str:
    every, blocks = describe(BackboneSpec(model, "random", image_size=size), taps=["*"]).layouts, []
    with contextlib.suppress(UnknownNameError):
        blocks = list(describe(BackboneSpec(model, "random", image_size=size), taps=["blocks"]).layouts)
    return default_target(every, blocks)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("hiera_tiny_224", "blocks.11.norm1"),
        ("levit_128s", "stages.2.blocks.3"),
        ("caformer_s18", "stages.3.blocks.2"),
        ("pit_s_224", "transformers.2.blocks.3.norm1"),  # before the last attention: then only the class token is read
        ("mvitv2_tiny", "stages.3.blocks.1"),
        ("mvitv2_small_cls", "stages.3.blocks.1.norm1"),
    ],
)
def test_the_default_target_lies_in_the_last_block(model: str, target: str) -> None:
    assert default_of(model) == target


def test_no_default_target_far_from_the_end_or_behind_the_last_attention() -> None:
    grid, sequence = TapLayout(7, 7, 8), TapLayout(49, 1, 8, kind="tokens")
    token = TapLayout(7, 7, 8, prefix=1, kind="tokens", class_token=True)
    for layouts, blocks, why in (
        ({"stem": grid, "a": sequence, "b": sequence}, ["a", "b"], "the last block, b, lies on no grid"),
        ({"stem": grid, **{f"layer{i}": sequence for i in range(12)}}, [], "stem comes after only 0%"),
        ({"stem": grid, "a": token, "b": token}, ["a", "b"], "only the class token is read"),
    ):
        with pytest.raises(UsageError, match="no layer that is known to be right") as caught:
            default_target(layouts, blocks)
        assert why in str(caught.value)
        assert "--target" in str(caught.value.fix)


def test_the_default_target_of_hrnet_is_behind_all_branches() -> None:
    assert default_of("hrnet_w18_small") == "final_layer"


@pytest.mark.parametrize(
    ("model", "target"), [("test_vit", "blocks.0.mlp.fc1"), ("mvitv2_tiny", "stages.3.blocks.0.shortcut_pool_attn")]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_target_beside_the_main_path_gives_a_map_in_any_precision(model: str, target: str, precision: str) -> None:
    """The other path comes to the cut in the trunk's type, where autocast is off."""
    size = SIZE if model == "test_vit" else 64
    backbone = load_backbone(BackboneSpec(model, "random", image_size=size), precision=precision)
    noise = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = class_map(backbone, target, "gradcam", noise)
    assert torch.isfinite(found.raw).all()
    if precision == "bf16":
        exact = class_map(load_backbone(backbone.spec), target, "gradcam", noise, found.choice[:, 0].long())
        apart = (found.raw - exact.raw).abs().max() / exact.raw.abs().max()
        assert 0 < float(apart) < 0.2  # 8 bits of mantissa, through a whole trunk


def test_a_target_by_name() -> None:
    layouts = describe(BackboneSpec("test_vit", "random"), taps=["*"]).layouts
    assert named_target("blocks.3.norm1", layouts) == "blocks.3.norm1"
    with pytest.raises(UnknownNameError) as caught:
        named_target("blocks.3.norm", layouts)
    assert "blocks.3.norm1" in caught.value.did_you_mean
    with pytest.raises(UsageError, match="means 6 layers"):
        named_target("blocks.*.norm1", layouts)
    with pytest.raises(UsageError, match="no grid"):
        named_target("head", layouts)
    with pytest.raises(UsageError, match="no layer of this model has a grid"):
        default_target({"fc": TapLayout(1, 1, 8, kind="vector")}, [])
    assert not has_grid(TapLayout(49, 1, 8, kind="tokens"))  # no one knows where these tokens lie


def test_bad_requests(load: Callable[..., Backbone], images: Tensor) -> None:
    vit = load("test_vit")
    with pytest.raises(UnknownNameError, match="unknown method") as caught:
        class_map(vit, TARGETS["test_vit"], "grad-cam", images)
    assert "gradcam" in caught.value.did_you_mean
    with pytest.raises(UsageError, match="classes 0 to 999"):
        class_map(vit, TARGETS["test_vit"], "gradcam", images, torch.tensor([0, 1000, 2]))
    with pytest.raises(UsageError, match="no grid"):
        class_map(vit, "head", "gradcam", images)
    with pytest.raises(UsageError, match="expected uint8"):
        class_map(vit, TARGETS["test_vit"], "gradcam", images[:, :, 1:])


def test_a_model_without_a_classifier_is_refused(images: Tensor, tmp_path: Any) -> None:
    from safetensors.torch import save_file

    model = timm.create_model("test_vit", pretrained=False, img_size=SIZE, num_classes=0)
    save_file(model.state_dict(), tmp_path / "headless.safetensors")
    backbone = load_backbone(BackboneSpec("test_vit", str(tmp_path / "headless.safetensors"), image_size=SIZE))
    with pytest.raises(UsageError, match="no classifier"):
        class_map(backbone, TARGETS["test_vit"], "gradcam", images)


def test_batch_statistics_are_seen(load: Callable[..., Backbone]) -> None:
    assert uses_batch_statistics(load("test_resnet").network) == []
    model = timm.create_model("test_resnet", pretrained=False).eval()
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    model.get_submodule(names[0]).train()
    assert uses_batch_statistics(model) == names[:1]
