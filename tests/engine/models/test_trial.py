"""Modules of one's own whose features are not of the image alone, or that cannot run: refused as they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cvbench.engine.models.backbones import describe, load_backbone, resolve_spec
from cvbench.engine.models.own_models import OwnModel
from cvbench.engine.models.trial import check_alone
from cvbench.errors import UsageError

HERE = "tests.engine.models.test_trial"
SIZE = (16, 16)


class Net(nn.Module):
    """Three stages and a classifier; `before` sees the images first."""

    def __init__(self, before: Callable[[Net, Tensor], Tensor] = lambda net, images: images) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8)
        self.stages = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)))
        self.classifier, self.before, self.calls = nn.Linear(8, 4), before, 0

    def forward(self, images: Tensor) -> Any:
        self.calls += 1
        maps: Tensor = self.stages(self.norm(self.stem(self.before(self, images))))
        return self.classifier(maps.mean(dim=(2, 3)))


class Thawed(Net):
    """Its norm goes back to the statistics of the batch."""

    def forward(self, images: Tensor) -> Any:
        self.norm.train()
        return super().forward(images)


class Shuffled(nn.Module):
    """Sums channels in an order drawn anew: the same numbers but for rounding, as of kernels that race."""

    def forward(self, maps: Tensor) -> Tensor:
        total = torch.zeros_like(maps[:, 0])
        for channel in torch.randperm(maps.shape[1]).tolist():
            total = total + maps[:, channel]
        return torch.cat([maps[:, :-1], total[:, None]], dim=1)


def own(module: nn.Module) -> OwnModel:
    return OwnModel(module, size=SIZE)


def thawed() -> OwnModel:
    return own(Thawed())


def centred() -> OwnModel:
    return own(Net(lambda _net, images: images - images.mean(dim=0, keepdim=True)))


def slightly_mixed() -> OwnModel:
    return own(Net(lambda _net, images: images + 1e-3 * images.flip(0)))


def noisy() -> OwnModel:
    return own(Net(lambda _net, images: images + 0.01 * torch.randn_like(images)))


def dropped() -> OwnModel:
    return own(Net(lambda _net, images: nn.functional.dropout(images, 0.1)))


def counting() -> OwnModel:
    return own(Net(lambda net, images: images * (1 + 0.1 * net.calls)))


def drawn_by_numpy() -> OwnModel:
    return own(Net(lambda _net, images: images * float(np.random.default_rng().normal())))


def skipping() -> OwnModel:
    net = Net(lambda net, images: images)
    net.stages[1].register_forward_hook(lambda _part, _inputs, output: output[:, :4] if net.calls % 2 else output)
    net.stages[2] = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Identity()  # type: ignore[assignment]
    return own(net)


DEPENDENT = {
    "thawed": ("other features beside other images", "norm", "norm (BatchNorm2d), which runs in training mode"),
    "centred": ("other features beside other images", "stem", "by chance, black ones among them"),
    "slightly_mixed": ("other features beside other images", "stem", "stem (Conv2d) differs"),
    "noisy": ("other features each time it runs", "stem", "it draws random numbers"),
    "dropped": ("other features each time it runs", "stem", "it draws random numbers"),
    "counting": ("other features each time it runs", "stem", "from one call to the next"),
    "drawn_by_numpy": ("other features each time it runs", "stem", "from one call to the next, or draws"),
    "skipping": ("other features each time it runs", "stages.1", "runs in another way"),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_features_that_are_not_of_the_image_alone_are_refused(name: str) -> None:
    said, where, why = DEPENDENT[name]
    state = torch.random.get_rng_state()
    with pytest.raises(UsageError, match=said) as caught:
        describe(resolve_spec(f"{HERE}:{name}"), taps=["blocks"])
    assert caught.value.where == where
    assert why in (caught.value.why or "")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_is_of_the_image_alone_is_taken() -> None:
    """Also what rounds otherwise from pass to pass, and what is not finite."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Net()
        racing = nn.Sequential(nn.Conv2d(3, 64, 4, stride=4), Shuffled(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU())
        inputs = plain.stem(torch.randn((2, 3, *SIZE))).repeat(1, 8, 1, 1)
        assert not torch.equal(*(Shuffled()(inputs) for _ in range(2)))  # else it proves nothing
    infinite = Net(lambda _net, images: images / 0)
    for module in (plain, racing, infinite, nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.Dropout(0.5))):
        check_alone(module.eval(), "net", SIZE)


class WithText(Net):
    def forward(self, images: Tensor, text: Tensor) -> Any:  # type: ignore[override]
        return super().forward(images) + text


def on_another_device() -> OwnModel:
    constant = torch.ones(1, device="meta")
    return own(Net(lambda _net, images: images * constant))


def with_text() -> OwnModel:
    return own(WithText())


def without_forward() -> OwnModel:
    return own(nn.Module())


def choosy() -> OwnModel:
    def refuse(_net: Net, _images: Tensor) -> Tensor:
        raise KeyError("prompt")

    return own(Net(refuse))


def of_one_size() -> OwnModel:
    return own(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))


NOT_RUN = {
    "on_another_device": ("does not run where it is put", "parameters or buffers"),
    "with_text": ("wants more than images", "a module around it"),
    "without_forward": ("has no forward pass", "forward(images)"),
    "choosy": (r"cannot take images \(2, 3, 16, 16\)", "a forward pass for (B, 3, height, width)"),
    "of_one_size": (r"cannot take images \(2, 3, 16, 16\)", "or --image-size"),
}


@pytest.mark.parametrize("name", NOT_RUN)
def test_each_fault_has_its_own_advice(name: str) -> None:
    said, fix = NOT_RUN[name]
    with pytest.raises(UsageError, match=said) as caught:
        describe(resolve_spec(f"{HERE}:{name}"), taps=["blocks"])
    assert fix in (caught.value.fix or "")


def lazy() -> OwnModel:
    return own(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def scripted() -> nn.Module:
    found: nn.Module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 4), nn.ReLU()))
    return found


def scripted_in_part() -> OwnModel:
    return own(nn.Sequential(scripted(), nn.ReLU()))


def leaving() -> OwnModel:
    raise SystemExit(7)


UNREADY = {
    "lazy": ("parameters without a shape", "1.weight", "run it once"),
    "scripted": ("is a script", None, "before torch.jit.script"),
    "scripted_in_part": ("is a script", "0", "before torch.jit.script"),
    "leaving": ("raises as it is called", None, ""),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", UNREADY)
def test_what_is_not_ready_is_refused(name: str) -> None:
    said, where, fix = UNREADY[name]
    with pytest.raises(UsageError, match=said) as caught:
        describe(resolve_spec(f"{HERE}:{name}"), taps=["blocks"])
    assert caught.value.where == where
    assert fix in (caught.value.fix or "")


def seeded() -> Net:
    torch.manual_seed(0)
    return Net()


def plain() -> OwnModel:
    return own(seeded())


def compiled() -> OwnModel:
    return own(torch.compile(seeded()))  # type: ignore[arg-type]


def compiled_in_part() -> OwnModel:
    net = seeded()
    net.stages = torch.compile(net.stages)  # type: ignore[assignment]
    net.norm.compile()
    return own(net)


@pytest.mark.parametrize("name", ["compiled", "compiled_in_part"])
def test_a_compiled_module_is_taken_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the compiler was asked")

    monkeypatch.setattr("torch._dynamo.convert_frame.ConvertFrame.__call__", never)
    found, expected = (load_backbone(resolve_spec(f"{HERE}:{one}")) for one in (name, "plain"))
    assert found.tap_names() == expected.tap_names()
    assert found.weights_digest == expected.weights_digest


def test_what_is_raised_of_noise_alone_is_an_error_of_ours() -> None:
    class Picky(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if bool((images != 0).any()):
                raise ValueError("zeros alone")
            return images

    with pytest.raises(UsageError, match="zeros alone"):
        check_alone(Picky(), "mine:net", (8, 8))
