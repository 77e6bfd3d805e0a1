"""A plan as one compiled function, by `torch.compile`: images in, kept views out.

The function runs the network with the hooks that keep its views, and returns these alone. What comes behind the last
tap that is needed is then of no use to any output, and the compiler drops it: no exception has to leave the network.
The views are part of the graph, so that a mean over positions joins the kernel that writes the activation. Nothing is
written to the network: hooks are made once and registered around each call, as in a pass that is not compiled.

Compiled arithmetic is float32 arithmetic in another order; `engine.models.backbones.Backbone.run` says how far apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from cvbench.engine.models.layouts import TapLayout
from cvbench.engine.models.networks import Network
from cvbench.engine.models.plans import OBSERVED, Plan, Wanted, as_read
from cvbench.engine.models.precision import store_dtype
from cvbench.engine.models.projections import tapped
from cvbench.engine.models.taps import TapTable
from cvbench.engine.models.views import Request, find_view, spatial
from cvbench.errors import ResourceError, UsageError

BACKEND = "inductor"
"""The compiler; its name joins the fingerprint of what it has computed."""
TRITONS = "failed to find c compiler"
"""What Triton says, which compiles the kernels for a card."""
_NUMBER = itertools.count()


@dataclass(frozen=True)
class _Step:
    """One view of one tap: all that is looked up by name is found before the compiler comes."""

    place: int
    view: str
    layout: TapLayout
    apply: Callable[[Tensor, TapLayout, torch.dtype], Tensor]
    dtype: torch.dtype


class _Kept:
    """Values that the steps of one call have kept, by place."""

    def __init__(self) -> None:
        self.values: dict[int, Tensor] = {}

    def take(self, steps: Sequence[_Step], values: Tensor) -> None:
        for step in steps:
            self.values[step.place] = step.apply(as_read(step.view, values, step.layout), step.layout, step.dtype)


class CompiledPlan:
    """One plan of one network; compiled at the first call. To be called by one thread at a time.

    Memory: all that is kept of a batch lives until the call returns, observed maps too.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        modules: Mapping[str, nn.Module],
        table: TapTable,
        plan: Plan,
        dtype: str,
        say: Callable[[str], None],
    ) -> None:
        """Make the hooks and the function; nothing is compiled yet.

        Args:
            name: Of the backbone, for messages.
            network: On its device.
            modules: Its modules by name.
            table: Its taps.
            plan: What to compute.
            dtype: Of the views that have no type of their own.
            say: Told where no one graph holds the network.
        """
        self._name, self._reading, self._say = name, network.reading, say
        self._requests: list[tuple[Request, TapLayout, torch.dtype]] = []
        self._kept = _Kept()
        self._hooks = [
            (modules[table.module_of(tap)], self._hook(table, tap, self._steps(wanted, dtype)))
            for tap, wanted in plan.taps.items()
        ]
        ends = self._steps(plan.logits, dtype), self._steps(plan.head, dtype)
        self._function = _function(network, self._kept, *ends, through_head=plan.taps_in_head)
        self._call: Callable[[Tensor], dict[int, Tensor]] | None = None

    def __call__(self, inputs: Tensor) -> dict[Request, Tensor]:
        """Run the plan on (B, 3, h, w) float32 inputs: the values that it keeps, by request.

        Raises:
            ResourceError: There is no compiler on this machine.
            UsageError: The network cannot be compiled; or a plugin's view gives something else than it says.
        """
        with self._reading(), ExitStack() as hooks:
            for module, hook in self._hooks:
                hooks.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            try:
                found = self._run(inputs)
            finally:
                self._kept.values = {}
        return {request: found[place] for place, (request, _, _) in enumerate(self._requests)}

    def _run(self, inputs: Tensor) -> dict[int, Tensor]:
        if self._call is not None:
            return self._call(inputs)
        try:
            try:
                found = self._compiled(inputs, whole=True)
            except torch._dynamo.exc.Unsupported as error:
                self._say(f"{self._name} is compiled in parts, as no one graph holds it: {_cause(error)}")
                found = self._compiled(inputs, whole=False)
        except Exception as error:  # whatever the compiler, or the compiler of its kernels, raises
            if not _of_compiler(error):
                raise
            raise _refusal(self._name, error) from error
        self._check(found)
        return found

    def _compiled(self, inputs: Tensor, *, whole: bool) -> dict[int, Tensor]:
        compiled: Any = torch.compile(self._function, fullgraph=whole, dynamic=False, backend=BACKEND)
        found: dict[int, Tensor] = compiled(inputs)
        self._call = compiled
        return found

    def _check(self, found: Mapping[int, Tensor]) -> None:
        for place, (request, layout, dtype) in enumerate(self._requests):
            if request.view == OBSERVED:
                continue
            given, expected = tuple(found[place].shape[1:]), tuple(find_view(request.view).shape(layout))
            if given != expected or found[place].dtype is not dtype:
                raise UsageError(
                    f"the view {request.view} gives {found[place].dtype} {given}",
                    why=f"what it says of itself is {dtype} {expected}",
                    fix="its `apply` and its `shape` must agree",
                )

    def _steps(self, wanted: Wanted, dtype: str) -> list[_Step]:
        steps = []
        for request, layout in wanted:
            view = None if request.view == OBSERVED else find_view(request.view)
            stored = store_dtype((view.dtype if view else "") or dtype)
            steps.append(_Step(len(self._requests), request.view, layout, view.apply if view else _observed, stored))
            self._requests.append((request, layout, stored))
        return steps

    def _hook(self, table: TapTable, tap: str, steps: list[_Step]) -> Callable[[nn.Module, Any, Any, Any], None]:
        kept, item = self._kept, table.item_of(tap)

        def hook(module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
            kept.take(steps, tapped(item, module, inputs, named, output))

        return hook


def _observed(values: Tensor, layout: TapLayout, dtype: torch.dtype) -> Tensor:
    return spatial(values, layout).to(dtype, copy=True)


def _function(
    network: Network, kept: _Kept, of_logits: list[_Step], of_head: list[_Step], *, through_head: bool
) -> Callable[[Tensor], dict[int, Tensor]]:
    def run(inputs: Tensor) -> dict[int, Tensor]:
        kept.values = {}
        features = network.features(inputs)
        if of_logits or through_head:
            kept.take(of_logits, network.logits(features))
        if of_head:
            kept.take(of_head, network.head(features))
        return dict(kept.values)

    # What is compiled is kept by code, and hooks are not among what is compared before it is used again: two plans of
    # one network must not share it.
    code = run.__code__.replace(co_name=f"plan_{next(_NUMBER)}")
    own: Any = FunctionType(code, run.__globals__, run.__name__, run.__defaults__, run.__closure__)
    return own  # type: ignore[no-any-return]


def _cause(error: Exception) -> str:
    """Reason of the compiler, without the lines of code that it adds."""
    return str(error).strip().partition("\n")[0][:200]


def _of_compiler(error: Exception) -> bool:
    kinds = (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError)
    if TRITONS in str(error).lower():  # Triton builds what launches a kernel at the first launch, and raises as it is
        return True
    return isinstance(error, kinds) or type(error).__module__.startswith(("torch._inductor", "torch._dynamo", "triton"))


def _refusal(name: str, error: Exception) -> UsageError | ResourceError:
    why = " ".join(str(error).split())[:300]
    lower = " ".join(str(error).split()).lower()
    if TRITONS in lower or ("compiler" in lower and ("not found" in lower or "cpp" in lower)):
        kind, package = ("C", "gcc") if TRITONS in lower else ("C++", "g++")
        return ResourceError(
            f"{name} cannot be compiled: there is no {kind} compiler",
            why=why,
            fix=f"install {package}, or leave --compile out",
        )
    return UsageError(f"{name} cannot be compiled", why=why, fix="leave --compile out")
