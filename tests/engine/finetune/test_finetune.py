"""Fine-tuning: schedules, groups, augmentation, one step against plain torch, and the state that is resumed from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvbench.engine.finetune.augment import draw, mix, shift
from cvbench.engine.finetune.model import parameter_groups, set_drop_path, trainable
from cvbench.engine.finetune.recipes import TrainingRecipe, recipe
from cvbench.engine.finetune.trainer import Trainer
from cvbench.engine.models.backbones import describe, resolve_spec
from cvbench.errors import IntegrityError, UnknownNameError, UsageError

CPU = torch.device("cpu")
PLAIN = TrainingRecipe("plain", batch=8, warmup=0.0, smoothing=0.0, clip=None)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer(made: TrainingRecipe = PLAIN, model: str = "test_vit", **changes: object) -> Trainer:
    spec = resolve_spec(model, weights="random", image_size=32)
    options: dict[str, object] = {"steps": 10, "seed": 0, "trained": False, "device": CPU, **changes}
    preprocess = describe(spec, taps=["*"]).preprocess
    return Trainer(trainable(spec, 5, made, seed=0), preprocess, made, **options)  # type: ignore[arg-type]


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw_here = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=draw_here)
    return images, torch.randint(0, 5, (8,), generator=draw_here)


def test_schedules() -> None:
    modern = recipe("modern", epochs=10)
    assert modern.total(1400) == (210, 21)
    assert modern.total(10) == (10, 1)
    rates = [modern.rate_at(step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates[19] == rates[20] == 1.0
    assert rates[110] == pytest.approx(0.5)  # the middle of the cosine
    assert 0 < rates[-1] < 1e-3
    vtab = recipe("vtab_finetune")
    assert vtab.total(45_000) == (2500, 87)
    steps = [749, 750, 1499, 1500, 2249, 2250]
    assert [vtab.rate_at(step, 2500) for step in steps] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])
    few = recipe("vtab_1k")
    assert few.total(1000) == (1000, 15)
    assert [few.rate_at(step, 1000) for step in (0, 79, 80, 300)] == pytest.approx([1 / 80, 1, 1, 0.1])
    assert (few.examples, few.batch, few.rate, few.weight_decay, few.squash) == ((800, 200), 64, 0.01, 0.0, True)


def test_recipes_that_make_no_sense() -> None:
    with pytest.raises(UnknownNameError, match="moder"):
        recipe("moder")
    with pytest.raises(UsageError, match="rate 11"):
        recipe("modern", rate=11.0)
    with pytest.raises(UsageError, match="trains nothing"):
        recipe("modern", epochs=0)
    with pytest.raises(UsageError, match="a rate of 0 trains nothing"):
        recipe("modern", rate=0.0)


@pytest.mark.parametrize("model", ["test_vit", "test_convnext"])
def test_deeper_layers_learn_faster_and_scales_do_not_decay(model: str) -> None:
    spec = resolve_spec(model, weights="random", image_size=32)
    net = trainable(spec, 5, PLAIN, seed=0)
    groups = parameter_groups(net, recipe("modern"), trained=True)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    scale = {names[id(p)]: group["scale"] for group in groups for p in group["params"]}
    decay = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert len(scale) == len(names)
    head = "head.weight" if model == "test_vit" else "head.fc.weight"
    first = "patch_embed.proj.weight" if model == "test_vit" else "stem.0.weight"
    assert scale[head] == 1.0
    assert scale[first] == min(scale.values()) < 0.5
    assert all(value in {0.75**i for i in range(30)} for value in scale.values())
    assert decay[head] == 0.05
    assert {decay[name] for name, p in net.named_parameters() if p.ndim == 1} == {0.0}
    assert {group["scale"] for group in parameter_groups(net, recipe("modern"), trained=False)} == {1.0}


def test_drop_path_grows_with_depth() -> None:
    net = trainable(resolve_spec("test_vit", weights="random", image_size=32), 5, PLAIN, seed=0)
    before = set(net.state_dict())
    count = set_drop_path(net, 0.3)
    rates = [module.drop_prob for module in net.modules() if type(module).__name__ == "DropPath"]
    assert rates == pytest.approx([0.3 * i / (count - 1) for i in range(1, count)])
    assert set(net.state_dict()) == before


def test_a_shift_moves_whole_images() -> None:
    images = torch.arange(2 * 3 * 10 * 10, dtype=torch.int64).reshape(2, 3, 10, 10)
    moved = shift(images, 0.2, draw(0))
    assert moved.shape == images.shape
    for one, other in zip(images, moved, strict=True):
        fitting = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                rows, columns = np.clip(np.arange(10) + dy, 0, 9), np.clip(np.arange(10) + dx, 0, 9)
                fitting.append(torch.equal(one[:, rows][:, :, columns], other))
        assert sum(fitting) == 1
    assert shift(images, 0.0, draw(0)) is images
    assert torch.equal(shift(images, 0.2, draw(1)), shift(images, 0.2, draw(1)))


def test_mixup_blends_images_as_it_blends_targets() -> None:
    inputs = torch.rand(6, 3, 4, 4)
    targets = torch.eye(6)
    mixed, soft = mix(inputs, targets, 0.4, draw(3))
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(mixed, torch.einsum("ij,jchw->ichw", soft, inputs))  # targets are the identity
    assert mix(inputs, targets, 0.0, draw(3))[0] is inputs


def test_one_step_is_plain_torchs() -> None:
    ours, twin = trainer(), trainer()
    images, labels = batch()
    loss, right = ours.train(images, labels)
    net = twin.model
    plain = {id(net.pos_embed), id(net.cls_token), *(id(p) for p in net.parameters() if p.ndim <= 1)}
    decayed: Any = {"params": [p for p in net.parameters() if id(p) not in plain]}
    free: Any = {"params": [p for p in net.parameters() if id(p) in plain], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decayed, free], lr=2e-3, weight_decay=0.05)
    logits = net((images.float() / 255 - 0.5) / 0.5)
    expected: Any = torch.nn.functional.cross_entropy(logits, labels)
    expected.backward()
    optimizer.step()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert right == int((logits.argmax(dim=1) == labels).sum())
    for name, value in ours.model.state_dict().items():
        if name.endswith("qkv.bias"):  # the keys' part of it changes nothing: its gradient is rounding
            continue
        # Adam's first step is lr * sign(gradient): where that is near 0, rounding decides up to 2 lr.
        close = (value - net.state_dict()[name]).abs() < 1e-5
        assert close.float().mean() > 0.99, name


@pytest.mark.parametrize(
    "made",
    [
        recipe("modern", batch=8, shift=0.1, drop_path=0.3, average=0.9),
        recipe("vtab_1k", batch=8),
        recipe("modern", batch=8, mixup=0.3),
    ],
    ids=["modern", "vtab", "mixup"],
)
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(made: TrainingRecipe) -> None:
    whole, first, second = trainer(made), trainer(made), trainer(made)
    for step in range(6):
        whole.train(*batch(step))
    for step in range(3):
        first.train(*batch(step))
    torch.rand(100)  # whatever else uses the global generator
    second.load(*first.state())
    for step in range(3, 6):
        second.train(*batch(step))
    assert second.step == 6
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name
    moved = [not torch.equal(v, trainer(made).weights()[n]) for n, v in whole.weights().items()]
    assert any(moved)


def test_the_average_is_what_is_tested_and_kept() -> None:
    made = recipe("modern", batch=8, average=0.9)
    run = trainer(made)
    kept = {name: value.clone() for name, value in run.weights().items()}
    for step in range(4):
        run.train(*batch(step))
        decay = min(0.9, (2 + step) / (11 + step))
        for name, value in run.model.state_dict().items():
            kept[name] = kept[name] * decay + value * (1 - decay)
    for name, value in run.weights().items():
        torch.testing.assert_close(value, kept[name], atol=1e-6, rtol=1e-5)
    images, _ = batch(9)
    tested = run.test(images)
    run.model.load_state_dict(run.weights())
    run.model.eval()
    torch.testing.assert_close(tested, run.model((images.float() / 255 - 0.5) / 0.5), atol=1e-4, rtol=1e-4)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(IntegrityError, match="another model"):
        trainer(model="test_convnext").load(*trainer().state())


def test_half_precision_stays_close() -> None:
    exact, coarse = trainer(), trainer(precision="bf16")
    losses = [[float(one.train(*batch(step))[0]) for one in (exact, coarse)] for step in range(3)]
    assert losses[0][1] == pytest.approx(losses[0][0], rel=0.05)
    assert all(value.dtype == torch.float32 for value in coarse.weights().values())
