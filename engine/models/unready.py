"""Modules as their owners hand them over: compiled, scripted, without memory."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from cvbench.errors import UsageError


def uncompiled(module: nn.Module) -> nn.Module:
    """The module without `torch.compile` around it or its parts: `--compile` compiles what is asked of it."""
    while _is_compiled(module):
        module = module.get_submodule("_orig_mod")
    for part in [*module.modules()]:
        if getattr(part, "_compiled_call_impl", None) is not None:  # by `module.compile()`
            part._compiled_call_impl = None
        for name, child in [*part.named_children()]:
            if _is_compiled(child):
                setattr(part, name, uncompiled(child))
    return module


def _is_compiled(module: nn.Module) -> bool:
    """Whether it is what `torch.compile` makes; told by name, as to import that class takes a second."""
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules


def refuse_unready(module: nn.Module, model: str) -> None:
    """Refuse a module whose parts cannot be read while it runs, or whose weights are not there.

    Args:
        module: Not compiled.
        model: Its name, for messages.

    Raises:
        UsageError: It, or a part, is a script of TorchScript; or a parameter or buffer has no memory.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise UsageError(
                f"{model} is a script, whose parts cannot be read while it runs",
                where=name or None,
                why=f"{type(part).__name__} of torch.jit",
                fix="return the module as it is before torch.jit.script or torch.jit.trace",
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise UsageError(
                f"{model} has parameters without a shape",
                where=name,
                why="lazy modules, such as LazyLinear, take their shapes from the first images",
                fix="run it once before it is returned: module(torch.zeros(1, 3, height, width)), under a fixed seed",
            )
        if tensor.is_meta and not isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise UsageError(
                f"{model} has no weights", where=name, why="they are on the meta device", fix="build it on the CPU"
            )
