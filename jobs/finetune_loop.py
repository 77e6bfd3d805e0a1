"""What every process of a fine-tuning run does: train from the last checkpoint on, test once, keep the weights.

The order of the samples is a function of (seed, epoch), and everything random in a step one of (seed, step, rank). So
a run that was killed goes on to the same weights: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.finetune.augment import draw
from cvbench.engine.finetune.recipes import Recipe
from cvbench.engine.finetune.trainer import Rank, Trainer
from cvbench.engine.geometry import Geometry
from cvbench.engine.metrics.accuracy import mean_per_class
from cvbench.engine.metrics.intervals import Estimate, Options, wilson
from cvbench.engine.specs import BackboneSpec
from cvbench.jobs import checkpoint
from cvbench.jobs.finetune_data import I64, Images

if TYPE_CHECKING:
    import torch

Row = dict[str, float | int | None]
"""A line of the curve: epoch, step, rate, loss, accuracy, val_accuracy."""
TEST_BATCH = 256


@dataclass(frozen=True)
class FinetuneTask:
    """All that a process needs; plain values, so that it travels.

    Attributes:
        stem: Path of the results without suffix.
        train: Splits to train on; `val` is tested after every epoch, `test` at the end.
        identity: What the weights depend on: a checkpoint of another is refused by the driver.
        trained: Whether the backbone's weights were trained before.
        threads: Of torch; part of a CPU's rounding.
        checkpoint_seconds: Between checkpoints; 0 is after every step.
        cache: Bytes of decoded images that may stay in memory, per process.
    """

    stem: str
    dataset: str
    data_root: str | None
    train: tuple[str, ...]
    val: str | None
    test: str
    spec: BackboneSpec
    recipe: Recipe
    seed: int
    precision: str
    identity: dict[str, Any]
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


def run(task: FinetuneTask, rank: Rank, device: torch.device, heard: Callable[[Row], None]) -> None:
    """Train and test; the process of rank 0 writes checkpoints, curve and weights.

    Args:
        task: What to do.
        rank: With several, torch's process group must be up.
        device: Of this process.
        heard: Told of every epoch, on rank 0.
    """
    import torch

    from cvbench.storage.datasets import open_dataset

    torch.set_num_threads(1)  # decoding has threads of its own
    splits = {name: open_dataset(task.dataset, data_root=task.data_root, split=name) for name in _names(task)}
    classes = splits[task.test].classes
    trainer, geometry, total, each, members = _prepare(task, rank, device, splits, len(classes))
    images = {
        role: Images([splits[name] for name in names], geometry, threads=task.decode_threads, cache=task.cache)
        for role, names in (("train", task.train), ("val", (task.val,) if task.val else ()), ("test", (task.test,)))
        if names
    }
    torch.set_num_threads(task.threads)
    curve, sums = _resume(task, trainer)
    saved = time.monotonic()
    while trainer.step < total:
        epoch, at = divmod(trainer.step, each)
        groups = _epoch(task, members, epoch, each)[at : at + total - trainer.step]
        for loaded in images["train"].batches([group[rank.number :: rank.size] for group in groups]):
            loss, right = trainer.train(loaded.images.to(device), loaded.labels.to(device))
            sums = [sums[0] + loss * len(loaded.rows), sums[1] + right, sums[2] + len(loaded.rows)]
            ended = trainer.step % each == 0 or trainer.step == total
            if ended:
                val = _accuracy(trainer, images["val"], rank, device) if "val" in images else None
                curve.append(_row(task.recipe, trainer.step, total, each, sums, val))
                sums = [0.0, 0.0, 0.0]
                if rank.number == 0:
                    heard(curve[-1])
            if rank.number == 0 and trainer.step < total and time.monotonic() - saved >= task.checkpoint_seconds:
                tensors, plain = trainer.state()
                extra = {**plain, "identity": task.identity, "curve": curve, "sums": sums}
                checkpoint.save(task.file("checkpoint.safetensors"), tensors, extra)
                saved = time.monotonic()
    hits = _hits(trainer, images["test"], rank, device)
    if rank.number == 0:
        _keep(task, trainer, curve, hits, images, len(classes))


def _names(task: FinetuneTask) -> list[str]:
    return list(dict.fromkeys([*task.train, *((task.val,) if task.val else ()), task.test]))


def _prepare(
    task: FinetuneTask, rank: Rank, device: torch.device, splits: dict[str, Any], classes: int
) -> tuple[Trainer, Geometry, int, int, I64]:
    """The trainer, the images' geometry, steps in all and per epoch, and the rows to train on."""
    from cvbench.engine.backbones import describe
    from cvbench.engine.finetune.model import trainable

    sizes = [len(splits[name]) for name in task.train]
    members = _members(task, sizes)
    total, each = task.recipe.total(len(members))
    preprocess = describe(task.spec, taps=["*"]).preprocess
    geometry = preprocess.geometry
    if task.recipe.squash:
        geometry = Geometry(
            size=geometry.size, resize=geometry.size, crop="squash", interpolation="bilinear", decoder=geometry.decoder
        )
    model = trainable(task.spec, classes, task.recipe, task.seed)
    trainer = Trainer(
        model,
        preprocess,
        task.recipe,
        steps=total,
        seed=task.seed,
        trained=task.trained,
        device=device,
        precision=task.precision,
        rank=rank,
    )
    return trainer, geometry, total, each, members


def _members(task: FinetuneTask, sizes: list[int]) -> I64:
    """The rows to train on: all, or as many of the first and of the other splits as the recipe's examples say."""
    if task.recipe.examples is None:
        return np.arange(sum(sizes))
    first, rest = task.recipe.examples
    rng = draw(task.seed, 3)
    others = np.arange(sizes[0], sum(sizes))
    if not len(others):  # no validation split: all from the one there is
        first, rest = first + rest, 0
    chosen = [rng.permutation(sizes[0])[:first], rng.permutation(others)[:rest]]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _epoch(task: FinetuneTask, members: I64, epoch: int, each: int) -> list[I64]:
    """The batches of an epoch."""
    order = members[draw(task.seed, 2, epoch).permutation(len(members))]
    return [order[i * task.recipe.batch : (i + 1) * task.recipe.batch] for i in range(each)]


def _resume(task: FinetuneTask, trainer: Trainer) -> tuple[list[Row], list[float]]:
    path = task.file("checkpoint.safetensors")
    if not path.is_file():
        return [], [0.0, 0.0, 0.0]
    tensors, plain = checkpoint.load(path)
    trainer.load(tensors, plain)
    return list(plain["curve"]), list(plain["sums"])


def _row(recipe: Recipe, step: int, total: int, each: int, sums: list[float], val: float | None) -> Row:
    rate = recipe.rate * recipe.rate_at(step - 1, total)
    loss, right, n = sums
    accuracy = None if recipe.mixup > 0 else right / max(n, 1)
    epoch = -(-step // each)
    return {
        "epoch": epoch,
        "step": step,
        "rate": rate,
        "loss": loss / max(n, 1),
        "accuracy": accuracy,
        "val_accuracy": val,
    }


def _hits(trainer: Trainer, images: Images, rank: Rank, device: torch.device) -> NDArray[np.int64]:
    """(n, 2) predicted class + 1 (0: unreadable), and whether the true one is among the first five."""
    import torch

    found = torch.zeros((len(images), 2), dtype=torch.int64)
    mine = np.arange(len(images))[rank.number :: rank.size]
    groups = [mine[at : at + TEST_BATCH] for at in range(0, len(mine), TEST_BATCH)]
    for loaded in images.batches(groups):
        logits = trainer.test(loaded.images.to(device)).cpu()
        five = logits.topk(min(5, logits.shape[1]), dim=1).indices
        rows = torch.from_numpy(loaded.rows)
        found[rows, 0] = logits.argmax(dim=1) + 1
        found[rows, 1] = (five == loaded.labels[:, None]).any(dim=1).long()
    if rank.size > 1:
        everywhere = found.to(device)
        torch.distributed.all_reduce(everywhere)  # each row is of one process
        found = everywhere.cpu()
    return found.numpy()


def _accuracy(trainer: Trainer, images: Images, rank: Rank, device: torch.device) -> float:
    predicted = _hits(trainer, images, rank, device)[:, 0]
    read = predicted > 0
    return float((predicted[read] - 1 == images.labels[read]).mean())


def _keep(
    task: FinetuneTask,
    trainer: Trainer,
    curve: list[Row],
    hits: NDArray[np.int64],
    images: dict[str, Images],
    classes: int,
) -> None:
    """Write the weights with what they are in their header, then let the checkpoint go."""
    read = hits[:, 0] > 0
    labels = images["test"].labels[read]
    right = hits[read, 0] - 1 == labels
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    numbers = {
        "top1": wilson(int(right.sum()), len(right)),
        "top5": wilson(int(hits[read, 1].sum()), len(right)) if classes > 5 else nothing,
        "mean_per_class": mean_per_class(right, labels, Options(seed=task.seed)),
    }
    plain = {
        "identity": task.identity,
        "result": {name: {k: _finite(v) for k, v in asdict(found).items()} for name, found in numbers.items()},
        "interval": "95 %: Wilson's score interval over test samples; mean per class: bootstrap over test samples",
        "classes": classes,
        "trained_on": len(images["train"]),
        "unreadable": [name for part in images.values() for _, name in sorted(part.bad.items())],
        "curve": curve,
        "seed": task.seed,
    }
    checkpoint.save(task.weights, trainer.weights(), plain)
    task.file("checkpoint.safetensors").unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
