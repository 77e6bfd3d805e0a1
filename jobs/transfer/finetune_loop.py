"""What every process of a fine-tuning run does: train from the last checkpoint on, test once, keep the weights.

The order of the samples is a function of (seed, epoch), and everything random in a step one of (seed, step, rank). So
a run that was killed goes on to the same weights: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.finetune.augment import draw
from cvbench.engine.finetune.recipes import TrainingRecipe
from cvbench.engine.finetune.tally import Tally
from cvbench.engine.finetune.trainer import Rank, Trainer
from cvbench.engine.metrics.accuracy import mean_per_class
from cvbench.engine.models.host_copy import Copies, sent
from cvbench.engine.pictures.geometry import Geometry
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import wilson
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune_data import I64, Images, ReadOutcome
from cvbench.jobs.transfer.finetune_samples import Rows, rows_of
from cvbench.jobs.transfer.finetune_task import FinetuneTask

if TYPE_CHECKING:
    import torch

    from cvbench.storage.datasets import Dataset

Epoch = dict[str, float | int | None]
"""A line of the curve: epoch, step, rate, loss, accuracy, val_accuracy."""
TEST_BATCH = 256


def run(task: FinetuneTask, rank: Rank, device: torch.device, on_epoch: Callable[[Epoch], None]) -> None:
    """Train and test; the process of rank 0 writes checkpoints, curve and weights.

    Args:
        task: What to do.
        rank: With several, torch's process group must be up.
        device: Of this process.
        on_epoch: Told of every epoch, on rank 0.

    Raises:
        IncompleteError: Too many samples cannot be read, and `task.partial` is not set.
    """
    import torch

    torch.set_num_threads(1)  # decoding has threads of its own
    splits = _open(task)
    rows = rows_of(task, [splits[name] for name in task.train])
    trainer, geometry = _prepare(task, rank, device, splits, len(rows.train))
    data, copies = _data(task, splits, rows, geometry, str(device)), Copies(str(device))
    torch.set_num_threads(task.threads)
    total, each = task.recipe.total(len(rows.train))
    curve, sums = _resume(task, trainer)
    tally = Tally(device, sums)
    saved = time.monotonic()
    while trainer.step < total:
        epoch, at = divmod(trainer.step, each)
        groups = _epoch(task, rows.train, epoch, each)[at : at + total - trainer.step]
        for loaded in data["train"].images.batches([group[rank.number :: rank.size] for group in groups]):
            tally.add(*trainer.train(copies.up(loaded.images), copies.up(loaded.labels)), len(loaded.rows))
            if trainer.step % each == 0 or trainer.step == total:
                val = _accuracy(trainer, data["val"], rank, copies) if "val" in data else None
                _check_readable(task, data, rank)
                curve.append(_row(task.recipe, trainer.step, total, each, tally.fetch(), val))
                tally = Tally(device)
                if rank.number == 0:
                    on_epoch(curve[-1])
            if rank.number == 0 and trainer.step < total and time.monotonic() - saved >= task.checkpoint_seconds:
                tensors, plain = trainer.state()
                extra = {**plain, "identity": task.identity, "curve": curve, "sums": tally.fetch()}
                checkpoint.save(task.file("checkpoint.safetensors"), tensors, extra)
                saved = time.monotonic()
    hits = _hits(trainer, data["test"], rank, copies)
    _gather_unreadable(data, rank)
    if rank.number == 0:
        _keep(task, trainer, curve, hits, data, len(splits[task.test].classes))


@dataclass(frozen=True, eq=False)
class Used:
    """Some rows of some images: those of a role."""

    images: Images
    rows: I64


def _open(task: FinetuneTask) -> dict[str, Dataset]:
    from cvbench.storage.datasets import open_dataset

    names = dict.fromkeys([*task.train, *((task.val,) if task.val else ()), task.test])
    return {name: open_dataset(task.dataset, data_root=task.data_root, split=name) for name in names}


def _data(
    task: FinetuneTask, splits: dict[str, Dataset], rows: Rows, geometry: Geometry, device: str
) -> dict[str, Used]:
    """The samples of "train", "test" and, if something validates, "val"; decoded already where they fit in memory.

    Raises:
        IncompleteError: Too many of those that are decoded cannot be read.
    """

    def images(names: Sequence[str]) -> Images:
        chosen = [splits[name] for name in names]
        return Images(chosen, geometry, threads=task.decode_threads, cache=task.cache, device=device)

    train = images(task.train)
    data = {"train": Used(train, rows.train)}
    if task.val:
        val = images([task.val])
        data["val"] = Used(val, np.arange(len(val)))
    elif len(rows.held):
        data["val"] = Used(train, rows.held)
    test = images([task.test])
    data["test"] = Used(test, np.arange(len(test)))
    _check_readable(task, data, Rank())  # each process has decoded the same
    return data


def _check_readable(task: FinetuneTask, data: dict[str, Used], rank: Rank) -> None:
    """Refuse splits with too many samples that could not be read: as soon as it is known, and in every process.

    Raises:
        IncompleteError: There are too many, and `task.partial` is not set.
    """
    _gather_unreadable(data, rank)
    if not task.partial:
        for name, outcome in _samples(data).items():
            outcome.check(f"{task.dataset}/{name}")


def _gather_unreadable(data: dict[str, Used], rank: Rank) -> None:
    """Tell every process what any could not read: each has read its own part of the samples."""
    import torch

    for used in data.values() if rank.size > 1 else ():
        found: list[dict[int, str]] = [{}] * rank.size
        torch.distributed.all_gather_object(found, dict(used.images.bad))
        for bad in found:
            used.images.bad.update(bad)


def _samples(data: dict[str, Used]) -> dict[str, ReadOutcome]:
    """Split -> the samples of it that are used, in one role or in two."""
    found: dict[str, ReadOutcome] = {}
    for used in data.values():
        for name, outcome in used.images.read_outcomes(used.rows).items():
            found[name] = found[name].joined(outcome) if name in found else outcome
    return found


def _prepare(
    task: FinetuneTask, rank: Rank, device: torch.device, splits: dict[str, Dataset], samples: int
) -> tuple[Trainer, Geometry]:
    """The trainer, and the images' geometry."""
    from cvbench.engine.finetune.model import trainable
    from cvbench.engine.models.backbones import describe

    preprocess = describe(task.spec, taps=["*"]).preprocess
    geometry = preprocess.geometry
    if task.recipe.squash:
        geometry = Geometry(
            size=geometry.size,
            resize=geometry.size,
            crop="squash",
            interpolation="bilinear",
            decoder=geometry.decoder,
            rules=geometry.rules,
        )
    trainer = Trainer(
        trainable(task.spec, len(splits[task.test].classes), task.recipe, task.seed),
        preprocess,
        task.recipe,
        steps=task.recipe.total(samples)[0],
        seed=task.seed,
        trained=task.trained,
        device=device,
        precision=task.precision,
        rank=rank,
    )
    return trainer, geometry


def _epoch(task: FinetuneTask, members: I64, epoch: int, each: int) -> list[I64]:
    """The batches of an epoch."""
    order = members[draw(task.seed, 2, epoch).permutation(len(members))]
    return [order[i * task.recipe.batch : (i + 1) * task.recipe.batch] for i in range(each)]


def _resume(task: FinetuneTask, trainer: Trainer) -> tuple[list[Epoch], list[float]]:
    path = task.file("checkpoint.safetensors")
    if not path.is_file():
        return [], [0.0, 0.0, 0.0]
    tensors, plain = checkpoint.load(path)
    trainer.load(tensors, plain)
    return list(plain["curve"]), list(plain["sums"])


def _row(recipe: TrainingRecipe, step: int, total: int, each: int, sums: list[float], val: float | None) -> Epoch:
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


def _hits(trainer: Trainer, used: Used, rank: Rank, copies: Copies) -> NDArray[np.int64]:
    """(n, 2) predicted class + 1 (0: unreadable), and whether the true one is among the first five."""
    import torch

    device = torch.device(copies.device)
    found = torch.zeros((len(used.images), 2), dtype=torch.int64, device=device)
    mine = used.rows[rank.number :: rank.size]
    groups = [mine[at : at + TEST_BATCH] for at in range(0, len(mine), TEST_BATCH)]
    for loaded in used.images.batches(groups):
        logits, labels = trainer.test(copies.up(loaded.images)), copies.up(loaded.labels)
        five = logits.topk(min(5, logits.shape[1]), dim=1).indices
        own = torch.stack([logits.argmax(dim=1) + 1, (five == labels[:, None]).any(dim=1).long()], dim=1)
        found.index_copy_(0, sent(loaded.rows, device), own)
    if rank.size > 1:
        torch.distributed.all_reduce(found)  # each row is of one process
    return found.cpu().numpy()[used.rows]


def _accuracy(trainer: Trainer, used: Used, rank: Rank, copies: Copies) -> float:
    predicted = _hits(trainer, used, rank, copies)[:, 0]
    read = predicted > 0
    return float((predicted[read] - 1 == used.images.labels[used.rows][read]).mean())


def _keep(
    task: FinetuneTask,
    trainer: Trainer,
    curve: list[Epoch],
    hits: NDArray[np.int64],
    data: dict[str, Used],
    classes: int,
) -> None:
    """Write the weights with what they are in their header, then let the checkpoint go."""
    read = hits[:, 0] > 0
    labels = data["test"].images.labels[read]
    right = hits[read, 0] - 1 == labels
    numbers = {
        "top1": wilson(int(right.sum()), len(right)),
        "top5": wilson(int(hits[read, 1].sum()), len(right)) if classes > 5 else Estimate(),
        "mean_per_class": mean_per_class(right, labels),
    }
    plain = {
        "identity": task.identity,
        "trained": list(task.lineage),
        "result": {name: {k: _finite(getattr(found, k)) for k in _KEPT} for name, found in numbers.items()},
        "interval": "95 %: Wilson's score interval over test samples; mean per class: the same at its effective size",
        "classes": classes,
        "trained_on": sum(one.n - len(one.unreadable) for one in _samples({"train": data["train"]}).values()),
        "samples": {name: asdict(outcome) for name, outcome in _samples(data).items()},
        "curve": curve,
        "seed": task.seed,
    }
    checkpoint.save(task.weights, trainer.weights(), plain)
    task.file("checkpoint.safetensors").unlink(missing_ok=True)


_KEPT = ("value", "low", "high", "n")
"""What of an estimate stands in the header."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
