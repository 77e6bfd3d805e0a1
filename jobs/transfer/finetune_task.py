"""What a process that fine-tunes is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvbench.engine.finetune.recipes import TrainingRecipe
from cvbench.engine.models.specs import BackboneSpec


@dataclass(frozen=True)
class FinetuneTask:
    """All that a process needs; plain values, so that it travels.

    Attributes:
        stem: Path of the results without suffix.
        name: Of the data set, as in a store.
        train: Splits to train on; `val` is tested after every epoch, `test` at the end.
        share: Of the training split, what stands for a validation split; 0 if there is one, or none is needed.
        validate: Whether what validates, a split or that share, is left out of the training.
        rule: How the splits were made, if not by the data set's authors.
        notes: What a reader of the numbers must know.
        partial: Whether unreadable samples may be more than a few.
        identity: What the weights depend on: a checkpoint of another is refused by the driver.
        lineage: What the weights were trained on before, and are now; see `jobs.reading.lineage`.
        trained: Whether the backbone's weights were trained before.
        threads: Of torch; part of a CPU's rounding.
        checkpoint_seconds: Between checkpoints; 0 is after every step.
        cache: Bytes of decoded images that may stay in memory, per process.
    """

    stem: str
    name: str
    dataset: str
    data_root: str | None
    train: tuple[str, ...]
    val: str | None
    test: str
    share: float
    validate: bool
    rule: str
    notes: tuple[str, ...]
    partial: bool
    spec: BackboneSpec
    recipe: TrainingRecipe
    seed: int
    precision: str
    identity: dict[str, Any]
    lineage: tuple[dict[str, Any], ...]
    trained: bool
    threads: int
    decode_threads: int
    checkpoint_seconds: float
    cache: int

    @property
    def weights(self) -> Path:
        """The fine-tuned weights."""
        return self.file("safetensors")

    def file(self, suffix: str) -> Path:
        """A file of the results."""
        path = Path(self.stem)
        return path.with_name(f"{path.name}.{suffix}")
