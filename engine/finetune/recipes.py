"""How a backbone is fine-tuned, by name; every number that changes the result is in the recipe.

    modern          AdamW, warm-up and half a cosine, label smoothing, drop path, small shifts, gradients clipped;
                    deeper layers at lower rates where the weights are trained already (Bao et al. 2022, BEiT)
    vtab_finetune   SGD with momentum, rate 0.01 divided by 10 at 30, 60 and 90 %, no augmentation, batch 512, 2,500
                    steps (Zhai et al. 2019, VTAB; its full data sets)
    vtab_1k         the same on 1,000 examples (800 of train, 200 of val), batch 64, 1,000 steps, 80 of warm-up; a data
                    set without val has a share of train in its place, where VTAB has one

VTAB takes the examples of TFDS in their order there; ours are drawn by the seed, so the numbers agree and the members
do not. Both VTAB recipes resize without regard to the aspect ratio.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from cvbench.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class TrainingRecipe:
    """Hyperparameters of a training.

    Attributes:
        optimizer: "adamw" or "sgd" (momentum 0.9).
        rate: Peak learning rate, for the batch as it is.
        weight_decay: Of weights; biases, norms and scales have none under "adamw".
        layer_decay: Factor of the rate from one block to the one before; None: 0.75 for trained weights, 1 for random.
        batch: Images of a step, over all processes.
        epochs: Passes over the samples; None: `steps` says.
        steps: Number of steps; ignored if `epochs` is given.
        warmup: Share of the steps in which the rate grows from 0, linearly.
        schedule: "cosine" (to 0), or "steps" (divided by 10 at 30, 60 and 90 % of the steps).
        smoothing: Of the labels.
        drop_path: Rate of the last block; the first has 0, linear between.
        shift: Largest random shift, as a share of the image's edge; the border is repeated.
        mixup: Parameter of the Beta distribution; 0 is off.
        clip: Largest norm of the gradient; None is unlimited.
        average: Decay of the moving average of the weights that is tested and kept; None: the last weights.
        squash: Resize both edges to the size, as VTAB, instead of the backbone's own resize and crop.
        examples: Training and validation samples to draw; None is all.
    """

    name: str
    optimizer: str = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.05
    layer_decay: float | None = None
    batch: int = 64
    epochs: int | None = 30
    steps: int | None = None
    warmup: float = 0.1
    schedule: str = "cosine"
    smoothing: float = 0.1
    drop_path: float = 0.0
    shift: float = 0.0
    mixup: float = 0.0
    clip: float | None = 1.0
    average: float | None = None
    squash: bool = False
    examples: tuple[int, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Every field, as plain JSON."""
        return {**asdict(self), "examples": list(self.examples) if self.examples else None}

    def total(self, samples: int) -> tuple[int, int]:
        """(steps in all, steps of an epoch) for so many samples; what fills no batch of an epoch is left out."""
        each = max(1, samples // self.batch)
        return (self.epochs * each if self.epochs is not None else self.steps or each), each

    def rate_at(self, step: int, steps: int) -> float:
        """Share of the peak rate at a step, 0 <= step < steps.

        >>> recipe("vtab_1k").rate_at(39, 1000), recipe("vtab_1k").rate_at(300, 1000)
        (0.5, 0.1)
        """
        warm = round(self.warmup * steps)
        if step < warm:
            return (step + 1) / warm
        if self.schedule == "steps":
            return float(10.0 ** -sum(step >= round(share * steps) for share in (0.3, 0.6, 0.9)))
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


_VTAB = TrainingRecipe(
    "vtab_finetune",
    optimizer="sgd",
    rate=0.01,
    weight_decay=0.0,
    layer_decay=1.0,
    batch=512,
    epochs=None,
    steps=2500,
    warmup=0.0,
    schedule="steps",
    smoothing=0.0,
    clip=None,
    squash=True,
)
RECIPES = {
    "modern": TrainingRecipe("modern", drop_path=0.05, shift=0.06),
    "vtab_finetune": _VTAB,
    "vtab_1k": replace(_VTAB, name="vtab_1k", batch=64, steps=1000, warmup=0.08, examples=(800, 200)),
}


def recipe(name: str, **changes: Any) -> TrainingRecipe:
    """A recipe by name, with the changes that are not None.

    Raises:
        UnknownNameError: There is none of this name.
        UsageError: A number out of range.
    """
    if name not in RECIPES:
        raise UnknownNameError.among("recipe", name, RECIPES, fix=f"--recipe {', '.join(RECIPES)}")
    made = replace(RECIPES[name], **{key: value for key, value in changes.items() if value is not None})
    for field, low, high in (("rate", 0, 10), ("batch", 1, 10**6), ("drop_path", 0, 0.99), ("shift", 0, 0.5)):
        value = getattr(made, field)
        if not low <= value <= high:
            raise UsageError(f"{field} {value} is out of range", why=f"it goes from {low} to {high}")
    if made.rate == 0:
        raise UsageError("a rate of 0 trains nothing", fix=f"--lr {RECIPES[name].rate:g}")
    if made.epochs is not None and made.epochs < 1:
        raise UsageError(f"--epochs {made.epochs} trains nothing", fix="--epochs 30")
    return made
