"""A network of another library, called as timm's are: images in; what its classifier reads, and its logits, out.

Its parts keep their own names, so that taps are called as in that library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cvbench.engine.models import fitting
from cvbench.engine.models.checkpoints import Checkpoint, shapes_of
from cvbench.engine.models.networks import InputOf, Network

ADDED = "classifier"
"""Name of the classifier that fine-tuning adds to a network that has none."""


@dataclass(frozen=True)
class End:
    """End of a network.

    Attributes:
        head: (B, D), what a classifier reads or would read.
        logits: (B, K); None without a classifier.
    """

    head: Tensor
    logits: Tensor | None


class Adapted(nn.Module):
    """A module that shares the parts, parameters and buffers of another, under their names.

    Attributes:
        last: Name of the linear layer that gives the logits; "" if there is none.
        size: (height, width) of its images, pixels.
    """

    _inner: nn.Module

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, Tensor], End], classifier: str) -> None:
        """Wrap a module.

        Args:
            inner: The module.
            call: (inner, (B, 3, h, w) float32) -> its end.
            classifier: Name of a linear layer in it whose input is the head; "": the head is what `call` says.
        """
        super().__init__()
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[shared] = inner.__dict__[shared]
        self.__dict__["_inner"] = inner  # not a part: else every name would begin with it
        self._call, self.last, self._added, self.size = call, classifier, False, (224, 224)
        self._input = InputOf()
        self.train(inner.training)

    def end(self, images: Tensor) -> End:
        """Run the network on (B, 3, h, w) float32."""
        if not self.last:
            return self._call(self._inner, images)
        if self._added:
            head = self._call(self._inner, images).head
            logits: Tensor = self.get_submodule(ADDED)(head)
            return End(head, logits)
        if not self._input.placed:
            with self.reading():
                return self.end(images)
        found = self._call(self._inner, images)
        return End(self._input.last(found.head), found.logits)

    def reading(self) -> AbstractContextManager[None]:
        """Within it `end` places no hook to read what the classifier does."""
        own = self.last and not self._added
        return self._input.reading(self.get_submodule(self.last)) if own else nullcontext()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) float32 -> its logits, or its head if it has none."""
        found = self.end(images)
        return found.head if found.logits is None else found.logits

    def train(self, mode: bool = True) -> Adapted:
        """Set the mode of the parts, and of the module that they are of."""
        super().train(mode)
        self._inner.training = mode
        return self

    def reset_classifier(self, classes: int) -> None:
        """Put a new linear classifier of K classes in the place of its own, or behind its head if it has none."""
        if self.last:
            width = int(cast("nn.Linear", self.get_submodule(self.last)).in_features)
        else:
            with torch.no_grad():
                width = self.end(torch.zeros((2, 3, *self.size), device=next(self.parameters()).device)).head.shape[1]
        self._put(width, classes)

    def add_classifier(self, added: AddedHead) -> None:
        """Put the classifier of a file behind the head of a network that has none, without its weights."""
        self._put(added.width, added.classes)

    def _put(self, width: int, classes: int) -> None:
        if not self.last:
            self._added, self.last = True, ADDED
        parent, _, name = self.last.rpartition(".")
        device = next(self.parameters()).device
        setattr(self.get_submodule(parent), name, nn.Linear(width, classes, device=device))


@dataclass(frozen=True)
class AddedHead:
    """The shape of a classifier in a file of weights.

    Attributes:
        width: D.
        classes: K.
        own: Whether it is the network's own, and not one that fine-tuning added.
    """

    width: int
    classes: int
    own: bool


def head_in_file(file: Path, model: nn.Module, classifier: str) -> AddedHead | None:
    """The classifier in a file of weights; None if it holds none.

    Args:
        file: Of the weights.
        model: On the meta device.
        classifier: Name of the model's own, or "".
    """
    last = fitting.fitted(model, Checkpoint(shapes_of(file))).state.get(f"{classifier or ADDED}.weight")
    if last is None or last.ndim != 2:
        return None
    return AddedHead(int(last.shape[1]), int(last.shape[0]), bool(classifier))


def network_of(model: Adapted, *, logits: bool = False, **known: Any) -> Network:
    """The network of an adapted module.

    Args:
        model: The module.
        logits: Whether it has logits though no linear layer gives them.
        known: The fields of `Network` that it does not tell.
    """
    model.size = tuple(known["preprocessing"]["input_size"][1:])
    return Network(
        module=model,
        features=model.end,
        head=lambda found: found.head,
        logits=lambda found: found.logits,
        outputs=("head", "logits") if model.last or logits else ("head",),
        stages=(),
        opens=True,
        reading=model.reading,
        **known,
    )


def final_classifier(model: nn.Module, call: Callable[[nn.Module, Tensor], Any], size: tuple[int, int]) -> str:
    """The linear layer whose output is the logits of a network; "" if none's is.

    Args:
        model: On the meta device.
        call: (model, (B, 3, h, w)) -> its logits (B, K), or None.
        size: (height, width) of its images, pixels.
    """
    outputs: dict[str, Any] = {}
    hooks = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: outputs.update({name: output}))
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    ]
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            end = call(model, torch.zeros((2, 3, *size), device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return next((name for name, output in outputs.items() if output is end), "")


def main_output(found: Any) -> Any:
    """The tensor that a forward pass is about: of a dictionary or dataclass its logits, else its pooled output, else
    its last hidden state; of a tuple the first. Anything else stays.
    """
    if isinstance(found, Tensor):
        return found
    named: Mapping[Any, Any] = {}
    if isinstance(found, Mapping):
        named = found
    elif is_dataclass(found) and not isinstance(found, type):
        named = {field.name: getattr(found, field.name) for field in fields(found)}
    for name in ("logits", "pooler_output", "image_embeds", "last_hidden_state"):
        if isinstance(named.get(name), Tensor):
            return named[name]
    if isinstance(found, list | tuple) and found and isinstance(found[0], Tensor):
        return found[0]
    return found
