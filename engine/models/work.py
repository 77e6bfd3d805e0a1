"""The work of one image's forward pass: counted on shapes, before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Work:
    """Work of one image.

    Attributes:
        flops: Floating-point operations of products and convolutions, a multiply-add counted as two.
        elements: Values that all operations write, those without products too: norms, activations, sums. Small networks
            take as long over these as over their products.
    """

    flops: int
    elements: int


class _Written(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what operations write, but for views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            every = made if isinstance(made, tuple | list) else (made,)
            self.elements += sum(one.numel() for one in every if isinstance(one, torch.Tensor))
        return made


def work_of(module: Any, size: tuple[int, int], device: Any = "cpu") -> Work:
    """Count the work of a network on one image of `size` (height, width); its parameters then need no gradients."""
    module.requires_grad_(False)  # else the counter looks for the graph of an input
    image = torch.zeros((1, 3, *size), device=device)
    with FlopCounterMode(display=False) as products, _Written() as written, torch.inference_mode():
        module(image)
    return Work(int(products.get_total_flops()), written.elements)
