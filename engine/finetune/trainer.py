"""One step of training, and the state that a run is resumed from.

Everything random in a step (shifts, mixup, drop path) is seeded by (seed, step, rank), so the state of the generators
is the step itself: a run that goes on from any step makes the same numbers as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cvbench.engine.finetune.augment import draw, mix, shift
from cvbench.engine.finetune.model import make_optimizer, parameter_groups
from cvbench.engine.finetune.recipes import TrainingRecipe
from cvbench.engine.models.devices import placed
from cvbench.engine.models.precision import PRECISIONS, check_precision, exact_arithmetic
from cvbench.engine.models.preprocess import Preprocess
from cvbench.errors import IntegrityError

_MODEL, _OPTIMIZER, _AVERAGE = "model.", "optimizer.", "average."


@dataclass(frozen=True)
class Rank:
    """Rank of a process, and the number of processes."""

    number: int = 0
    size: int = 1


class Trainer:
    """A model, its optimizer, and how far they are.

    Attributes:
        model: In training mode but while it is tested.
        step: Steps done.
    """

    def __init__(
        self,
        model: Any,
        preprocess: Preprocess,
        recipe: TrainingRecipe,
        *,
        steps: int,
        seed: int,
        trained: bool,
        device: torch.device,
        precision: str = "fp32",
        rank: Rank | None = None,
    ) -> None:
        """Move the model to the device.

        Args:
            model: From `trainable`.
            preprocess: For mean and std.
            recipe: How to train.
            steps: In all.
            seed: Of everything random in a step.
            trained: Whether the weights were trained before.
            device: Where it runs.
            precision: "fp32", "bf16" or "fp16" (with its loss scaled).
            rank: Which process this is; with several, gradients are averaged by torch's DDP.
        """
        self.recipe, self.steps, self.seed, self.step = recipe, steps, seed, 0
        self._compute = check_precision(precision, device)
        self._device, self._rank, self._preprocess = device, rank or Rank(), preprocess
        self.model: Any = placed(model, device)
        self._optimizer = make_optimizer(parameter_groups(self.model, recipe, trained=trained), recipe)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._compute is torch.float16)
        self._average = {n: v.clone() for n, v in self._floating()} if recipe.average is not None else {}
        self._forward: Any = self.model
        if self._rank.size > 1:
            self._forward = torch.nn.parallel.DistributedDataParallel(self.model)

    def train(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step on this process's share of a batch.

        Args:
            images: (B, 3, h, w) uint8 on the device.
            labels: (B,) int64 on the device.

        Returns:
            On the device, without waiting for it: the mean loss, () float32, and how many images were right before the
            step, () int64 (0 with mixup).
        """
        with exact_arithmetic(self._device):
            return self._train(images, labels)

    def _train(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        key = (self.seed, self.step, self._rank.number)
        torch.manual_seed(int(draw(*key, 0).integers(2**62)))
        rng = draw(*key, 1)
        recipe = self.recipe
        factor = recipe.rate_at(self.step, self.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.rate * factor * group["scale"]
        inputs = self._inputs(shift(images, recipe.shift, rng))
        targets: Tensor = labels
        if recipe.mixup > 0:
            inputs, targets = mix(inputs, functional.one_hot(labels, self.model.num_classes).float(), recipe.mixup, rng)
        with self._autocast():
            logits = self._forward(inputs)
        loss = functional.cross_entropy(logits.float(), targets, label_smoothing=recipe.smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        scaled: Any = self._scaler.scale(loss)  # torch leaves `backward` untyped
        scaled.backward()
        if recipe.clip is not None:
            self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.step += 1
        self._follow()
        right = labels.new_zeros(()) if recipe.mixup > 0 else (logits.argmax(dim=1) == labels).sum()
        return loss.detach(), right

    def test(self, images: Tensor) -> Tensor:
        """(B, K) float32 logits of (B, 3, h, w) uint8 images, by the averaged weights if there are any."""
        weights = {**dict(self.model.state_dict()), **self._average}
        self.model.eval()
        with torch.inference_mode(), exact_arithmetic(self._device), self._autocast():
            logits = torch.func.functional_call(self.model, weights, (self._inputs(images),))
        self.model.train()
        return logits.float()  # type: ignore[no-any-return]

    def weights(self) -> dict[str, Tensor]:
        """The state dict that is tested and kept, on the host."""
        return {name: _host(value) for name, value in {**self.model.state_dict(), **self._average}.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a run is resumed from: tensors on the host, and plain JSON."""
        tensors = {_MODEL + name: _host(value) for name, value in self.model.state_dict().items()}
        tensors |= {_AVERAGE + name: _host(value) for name, value in self._average.items()}
        for index, entries in self._optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                if value is not None:
                    tensors[f"{_OPTIMIZER}{index}.{name}"] = _host(torch.as_tensor(value))
        return tensors, {"step": self.step, "scaler": self._scaler.state_dict()}

    def load(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            IntegrityError: It is of another model.
        """
        own = set(self.model.state_dict())
        found = {name.removeprefix(_MODEL): value for name, value in tensors.items() if name.startswith(_MODEL)}
        if own != set(found):
            raise IntegrityError("the checkpoint is of another model", fix="another --out, or delete the checkpoint")
        self.model.load_state_dict(found)
        for name in self._average:
            self._average[name] = tensors[_AVERAGE + name].to(self._device)
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(_OPTIMIZER):
                index, _, name = key.removeprefix(_OPTIMIZER).partition(".")
                entries.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": entries, "param_groups": groups})
        self._scaler.load_state_dict(dict(plain["scaler"]))
        self.step = int(plain["step"])

    def _inputs(self, images: Tensor) -> Tensor:
        return self._preprocess.normalise(images.contiguous(memory_format=torch.channels_last))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._compute is PRECISIONS["fp32"]:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._compute)

    def _floating(self) -> list[tuple[str, Tensor]]:
        return [(name, value) for name, value in self.model.state_dict().items() if value.is_floating_point()]

    def _follow(self) -> None:
        if self.recipe.average is None:
            return
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))  # short at first, as in TensorFlow
        for name, value in self._floating():
            self._average[name].lerp_(value, 1 - decay)


def _host(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
