"""Trial passes of a network of one's own, before anything is kept of it: how it ends, and whether what it gives for an
image is of that image alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.adapted import main_output
from cvbench.errors import UsageError, raise_if_lacking

ROUNDING = 2.0
"""Units in the last place of a layer's largest value by which each module passed may round otherwise: where a kernel
adds in another order, float32 moves by some 2**-22 of it, as compiled passes do (`Backbone.run`)."""
_SAMPLED = 4096  # values of each output that are compared: statistics and draws move nearly all
_ELSEWHERE = ("same device", "meta", "cuda", "cudnn", "hip", "mps", "nvidia")


@dataclass(frozen=True)
class Ending:
    """End of a network.

    Attributes:
        classifier: The linear layer whose output is the network's; "" if none's is.
        matrix: Whether that output is (B, K).
    """

    classifier: str
    matrix: bool


def ending(module: nn.Module, model: str, size: tuple[int, int]) -> Ending:
    """Run a network once, on zeros.

    Args:
        module: On the CPU, in eval mode.
        model: Its name, for messages.
        size: (height, width) of its images, pixels.

    Raises:
        UsageError: It has no forward pass, or none that takes images alone, of this size.
    """
    outputs: dict[str, Any] = {}

    def note(name: str, _part: nn.Module, output: Any) -> None:
        outputs[name] = output

    try:
        with torch.random.fork_rng(devices=[]):
            end = _run(module, torch.zeros((2, 3, *size)), note, (nn.Linear,))
    except Exception as error:  # whatever the code of a stranger raises
        raise_if_lacking(error)
        raise _refused(model, error, size) from error
    matrix = isinstance(end, Tensor) and end.ndim == 2
    return Ending(next((name for name, output in outputs.items() if output is end), ""), matrix)


def check_alone(module: nn.Module, model: str, size: tuple[int, int]) -> None:
    """Refuse a network whose features of an image depend on the images beside it, on chance or on what it ran before.

    One image of noise runs twice, each time beside another; every module's output for it must be the same up to
    `ROUNDING`. The CPU's kernels do the same sums for batches of one shape, so that mostly not a bit differs.

    There is no way in for a network that mixes its batch on purpose, since no batch of ours is one that its maker could
    mean. Images stand side by side as a seed has drawn them; an extraction fills its last batch, and the places of what
    cannot be read, with black images, and what cannot be read may be another the next time; some analyses run it
    again in batches of their own. Its numbers would be of all these, and no fingerprint could say which.

    Args:
        module: On the CPU, in eval mode.
        model: Its name, for messages.
        size: (height, width) of its images, pixels.

    Raises:
        UsageError: One that does; names the first module whose output differs.
    """
    draw = torch.Generator().manual_seed(0)
    image, first, second = (torch.randn((1, 3, *size), generator=draw) for _ in range(3))
    beside = torch.cat([image, second])
    with torch.random.fork_rng(devices=[]):
        try:
            before, after = _sampled(module, torch.cat([image, first])), _sampled(module, beside)
        except Exception as error:  # whatever the code of a stranger raises, of noise and not of zeros
            raise_if_lacking(error)
            raise _refused(model, error, size) from error
        apart = _apart(before, after)
        if apart is None:
            return
        again = _apart(after, _sampled(module, beside))
        if again is not None:
            raise _unsteady(model, again, seeded=_seeded_alike(module, beside))
    raise UsageError(
        f"{model} gives an image other features beside other images",
        where=apart.name or None,
        why=f"{apart.words}: it reckons with the whole batch, where images stand side by side by chance, black ones "
        "among them",
        fix="a forward pass that reads each image alone: batch norms that stay in eval mode, no mean over the batch",
    )


@dataclass(frozen=True)
class _Apart:
    """The first module whose output differs between two passes."""

    name: str
    words: str


@dataclass
class _Sample:
    """Values of one output for the first image."""

    name: str
    kind: str
    training: bool
    values: Tensor  # (n,) float64
    step: float  # a unit in the last place of 1; 0 of whole numbers


@dataclass
class _Samples:
    """Outputs in the order of computation, by module and how often it ran before."""

    found: dict[tuple[str, int], _Sample] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)

    def take(self, name: str, part: nn.Module, output: Any) -> None:
        values = main_output(output)
        if not isinstance(values, Tensor) or values.ndim < 1 or values.shape[0] != 2 or values.numel() == 0:
            return
        flat = values[0].detach().reshape(-1)
        kept = flat[:: max(1, len(flat) // _SAMPLED)].to(torch.float64, copy=True)
        runs, self.runs[name] = self.runs[name], self.runs[name] + 1
        step = torch.finfo(flat.dtype).eps if flat.dtype.is_floating_point else 0.0
        self.found[name, runs] = _Sample(name, type(part).__name__, part.training, kept, step)


def _sampled(module: nn.Module, images: Tensor) -> _Samples:
    samples = _Samples()
    _run(module, images, samples.take, (nn.Module,))
    return samples


def _run(
    module: nn.Module, images: Tensor, see: Callable[[str, nn.Module, Any], None], kinds: tuple[type[nn.Module], ...]
) -> Any:
    """Output of the network; `see` gets (name, module, output) of the modules of these kinds as they run."""

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda part, _inputs, output: see(name, part, output)

    with ExitStack() as hooks, torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, kinds):
                hooks.callback(part.register_forward_hook(watch(name)).remove)
        return main_output(module(images))


def _apart(before: _Samples, after: _Samples) -> _Apart | None:
    """The first output that differs beyond rounding; None if none does."""
    for passed, (key, one) in enumerate(before.found.items(), start=1):
        other = after.found.get(key)
        if other is None or other.values.shape != one.values.shape:
            return _Apart(one.name, f"{_called(one)} runs in another way")
        both = torch.stack([one.values, other.values])
        finite = both[torch.isfinite(both)]
        largest = float(finite.abs().max()) if len(finite) else 0.0
        differences = torch.where(both[0] == both[1], 0.0, (both[0] - both[1]).abs())
        differences = differences[~torch.isnan(both).all(dim=0)].nan_to_num(nan=torch.inf, posinf=torch.inf)
        most = float(differences.max()) if len(differences) else 0.0
        if most > ROUNDING * passed * one.step * largest:
            share = f"by {most / largest:.1g} of its largest value" if 0 < most < torch.inf and largest else ""
            mode = ", which runs in training mode," if one.training else ""
            return _Apart(one.name, f"the output of {_called(one)}{mode} differs {share}".rstrip())
    return None


def _called(sample: _Sample) -> str:
    return f"{sample.name} ({sample.kind})" if sample.name else sample.kind


def _seeded_alike(module: nn.Module, images: Tensor) -> bool:
    """Whether two passes agree that begin with the same state of torch's generator."""
    passes = []
    for _ in range(2):
        torch.manual_seed(0)
        passes.append(_sampled(module, images))
    return _apart(*passes) is None


def _unsteady(model: str, apart: _Apart, *, seeded: bool) -> UsageError:
    source = "it draws random numbers" if seeded else "it keeps something from one call to the next, or draws"
    return UsageError(
        f"{model} gives other features each time it runs",
        where=apart.name or None,
        why=f"{apart.words} for the same images: {source}",
        fix="a forward pass without either: dropout, noise and augmentation in training mode alone",
    )


def _refused(model: str, error: Exception, size: tuple[int, int]) -> UsageError:
    """The error for a network that cannot run, in words for what it lacks."""
    text = " ".join(str(error).split())
    what = f"{model} cannot take images (2, 3, {size[0]}, {size[1]})"
    fix = "a forward pass for (B, 3, height, width) float32; for another size OwnModel(module, size=(height, width))"
    if isinstance(error, NotImplementedError) and "forward" in text:
        what, fix = f"{model} has no forward pass", "a module with forward(images), (B, 3, height, width) float32"
    elif isinstance(error, TypeError) and "required positional argument" in text:
        what = f"the forward pass of {model} wants more than images"
        fix = "a module around it whose forward(images) gives it the rest"
    elif any(word in text.lower() for word in _ELSEWHERE):
        what = f"{model} does not run where it is put"
        fix = "tensors of it as parameters or buffers, which move with it; no device named in its forward pass"
    elif "shape" in text or "size" in text:
        fix = "say what it takes: OwnModel(module, size=(height, width)), or --image-size"
    return UsageError(what, why=f"{type(error).__name__}: {text[:300]}", fix=fix)
