"""One pass of a network for its shapes: which modules give what, in the order of computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.layouts import Shape
from cvbench.engine.models.networks import Network
from cvbench.engine.models.projections import LETTERS, Projection, Read, grouped, no_projection, projects

BATCH = 2
"""More than one, so that a constant (1, ...) is told from an activation."""


@dataclass
class Trace:
    """Raw shapes of one forward pass, without the modules that ran twice or returned something else.

    Attributes:
        modules: Names of all modules.
        shapes: Tap -> (B, ...), in the order of computation.
        in_head: Those of them that are computed behind the features.
        head_sizes: As `TapTable` has them.
        items: Taps that are not all that a module returns -> (name of the module, how they are read of a call of it).
        repeated: What ran several times.
        apart: What has no tokens of an image as a whole -> why.
    """

    modules: frozenset[str]
    shapes: dict[str, Shape] = field(default_factory=dict)
    in_head: set[str] = field(default_factory=set)
    head_sizes: dict[str, int] = field(default_factory=dict)
    items: dict[str, tuple[str, Read]] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    apart: dict[str, str] = field(default_factory=dict)

    @property
    def returned(self) -> list[str]:
        """The taps that modules return."""
        return [name for name in self.shapes if not isinstance(self.items.get(name, ("", None))[1], Projection)]

    def add(self, name: str, module: str, item: Read, values: Tensor, *, in_head: bool) -> None:
        """One more tap, of a call of this module."""
        if name in self.shapes:
            self.repeated.add(name)
        self.shapes[name] = tuple(values.shape)
        self.items |= {} if item is None else {name: (module, item)}
        if in_head:
            self.in_head.add(name)


def trace_shapes(network: Network, size: tuple[int, int]) -> Trace:
    """Run a network on `BATCH` black images of (height, width) pixels; raises what it raises."""
    names = {module: name for name, module in network.module.named_modules() if name}
    trace = Trace(frozenset(names.values()))
    versions: dict[nn.Module, list[int]] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        versions[module] = [item._version if isinstance(item, Tensor) else 0 for item in inputs]

    def after(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        own = names[module]
        for name, projection in _projections(trace, own, module, inputs, named):
            trace.add(name, own, projection, projection.made(module, inputs, named), in_head=in_head)
        if isinstance(output, Tensor) and output.ndim > 2 and output.shape[0] > BATCH and output.shape[0] % BATCH == 0:
            trace.apart[own] = grouped(tuple(output.shape), BATCH)
        for name, item, values in _activations(own, output, network.opens):
            # An in-place activation returns its input as well, but has changed it.
            handed_on = any(values is i and i._version == v for i, v in zip(inputs, versions[module], strict=True))
            if not handed_on:
                trace.add(name, own, item, values, in_head=in_head)
            elif name in trace.shapes:
                trace.repeated.add(name)

    hooks = [module.register_forward_pre_hook(before) for module in names]
    hooks += [module.register_forward_hook(after, with_kwargs=True) for module in names]
    in_head = False
    with torch.no_grad():  # not inference mode, where tensors have no version
        features = network.features(torch.zeros((BATCH, 3, *size), device=network.device))
        in_head = True
        logits = network.logits(features)
        for hook in hooks:
            hook.remove()
        if "head" in network.outputs:
            trace.head_sizes["head"] = network.head(features).shape[1]
    if "logits" in network.outputs:
        trace.head_sizes["logits"] = logits.shape[1]
    for name in trace.repeated:
        del trace.shapes[name]
    return trace


def _projections(
    trace: Trace, name: str, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> list[tuple[str, Projection]]:
    """Queries, keys and values of a call that can be taps; of those that cannot it is noted why."""
    if not projects(module):
        return []
    parts = {f"{name}.{letter}": Projection(of) for of, letter in enumerate(LETTERS)}
    why = no_projection(module, inputs, named, BATCH)
    if why:
        trace.apart |= dict.fromkeys(parts, why)
        return []
    return [(part, projection) for part, projection in parts.items() if part not in trace.modules]


def _activations(name: str, output: Any, opens: bool) -> list[tuple[str, int | None, Tensor]]:
    """(name, place in the output, tensor) of all that a module returns with the batch in front.

    Args:
        name: Of the module.
        output: What it returns.
        opens: Whether a tuple stands for its first.
    """
    if opens and isinstance(output, tuple):
        output = output[:1]

    def is_one(values: Any) -> bool:
        return isinstance(values, Tensor) and values.ndim > 1 and values.shape[0] == BATCH

    if not isinstance(output, list | tuple):
        return [(name, None, output)] if is_one(output) else []
    places = [place for place, values in enumerate(output) if is_one(values)]
    return [(name if len(places) == 1 else f"{name}.out{place}", place, output[place]) for place in places]
