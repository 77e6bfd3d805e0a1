"""What a backbone is made from, whoever makes it: a module, how its parts are called, and what its tokens mean.

A `Maker` gives it, one for each form of names, see `engine.models.makers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cvbench.engine.models.layouts import Digit
from cvbench.engine.models.specs import BackboneSpec


@dataclass(frozen=True)
class TokenOrder:
    """Order in which the tokens of one shape lie.

    Attributes:
        axes: Their number, or those of the axes that they are split in.
        digits: Of these, see `engine.models.layouts.in_rows`.
        after: The module from which on they do; "" from the first.
    """

    axes: tuple[int, ...]
    digits: tuple[Digit, ...]
    after: str = ""


@dataclass(frozen=True)
class Network:
    """A module in eval mode, and how its parts are called.

    Attributes:
        module: Whose submodules can be tapped; calling it gives the logits, if it has any.
        features: (B, 3, h, w) float32 -> whatever `head` and `logits` take.
        head: That -> (B, D), what the classifier reads.
        logits: That -> (B, K), what the classifier says; or whatever ends the network.
        outputs: Which of "head" and "logits" it truly has.
        grid: (rows, columns) of its patches; None if it does not say.
        prefix: Tokens in front of the grid.
        class_token: Whether the first of these is a class token.
        stages: Modules that stand for `blocks` where no usual name does, if there are at least two.
        preprocessing: As timm writes it, see `engine.models.preprocess.preprocess_from_config`.
        blocks: Modules that `blocks` means; empty: as usual names say, see `stages`.
        opens: Whether a module that returns a tuple stands for the first tensor in it.
        notes: What of a file of weights was left out or renamed, in words.
        strides: Of its stages, where every sequence of tokens is known to lie row by row on a grid of such a stride, or
            on that of one of its maps; empty: nothing is known but `grid`.
        orders: Of tokens that lie otherwise.
        own: Whether it is a module of one's own, whose parts may lie in other modules.
        reading: Within it `features` places no hook of its own: a compiled pass is traced so.
    """

    module: Any
    features: Callable[[Tensor], Any]
    head: Callable[[Any], Tensor]
    logits: Callable[[Any], Any]
    outputs: tuple[str, ...]
    grid: tuple[int, int] | None
    prefix: int
    class_token: bool
    stages: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    blocks: tuple[str, ...] = ()
    opens: bool = False
    notes: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    orders: tuple[TokenOrder, ...] = ()
    own: bool = False
    reading: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def device(self) -> torch.device:
        """The device of its weights; the CPU if it has none."""
        return next((parameter.device for parameter in self.module.parameters()), torch.device("cpu"))


class InputOf:
    """Input of a module in a pass, kept by a hook.

    Attributes:
        placed: Whether the hook is.
    """

    def __init__(self) -> None:
        self.placed = False
        self._read: list[Any] = []

    def last(self, default: Any) -> Any:
        """The last input, which is then forgotten; another value if the module did not run."""
        found = self._read[-1] if self._read else default
        self._read.clear()
        return found

    @contextmanager
    def reading(self, module: nn.Module) -> Iterator[None]:
        """Within it the module has the hook."""
        handle = module.register_forward_pre_hook(self._keep)
        self.placed = True
        try:
            yield
        finally:
            handle.remove()
            self.placed = False
            self._read.clear()

    def _keep(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._read.append(inputs[0])


class Maker(Protocol):
    """One source of backbones."""

    def outline(self, spec: BackboneSpec, size: tuple[int, int] | None = None) -> Network:
        """For shapes only, of images of (height, width) or the spec's size: on the meta device where that can be."""

    def build(self, spec: BackboneSpec) -> Network:
        """On the CPU in float32, with its weights, none of which asks for a gradient."""

    def source(self, spec: BackboneSpec) -> dict[str, Any]:
        """Fields of the fingerprint for its code, beside its name and the digest of its weights."""

    def trainable(self, spec: BackboneSpec) -> Any:
        """A module with its weights, (B, 3, h, w) float32 -> (B, K); its `reset_classifier(K)` draws a new last layer.

        Raises:
            UsageError: It cannot be trained here.
        """


def patch_grid(module: Any) -> tuple[int, int] | None:
    """The grid of the first patch embedding that knows it (`patch_embed` in a ViT, `stem` in a mixer)."""
    for part in module.modules():
        grid = getattr(part, "grid_size", None)
        if isinstance(grid, tuple) and len(grid) == 2:
            return grid
    return None


def prefix_tokens(module: Any) -> tuple[int, bool]:
    """Number of tokens in front of the grid, and whether the first is a class token; as timm's models say it."""
    prefix = int(getattr(module, "num_prefix_tokens", 0) or 0)
    return prefix, prefix > 0 and isinstance(getattr(module, "cls_token", None), Tensor)
