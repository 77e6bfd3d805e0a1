"""`cvbench transfer finetune`: train a whole backbone on a data set, on Ray Train or in this process.

The same command again goes on from the last checkpoint, and does nothing once the weights are there. They go back into
`cvbench extract --weights FILE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.engine.finetune.recipes import TrainingRecipe, recipe
from cvbench.errors import FingerprintMismatchError, UsageError
from cvbench.jobs.reading.completeness import check_complete
from cvbench.jobs.reading.lineage import records, trained
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune_loop import Epoch, run
from cvbench.jobs.transfer.finetune_options import FinetuneOptions
from cvbench.jobs.transfer.finetune_ray import train_on_ray
from cvbench.jobs.transfer.finetune_report import FinetuneReport, finetune_result, finetune_rows, make_report
from cvbench.jobs.transfer.finetune_samples import rows_of
from cvbench.jobs.transfer.finetune_task import FinetuneTask
from cvbench.storage.features.fingerprint import canonical, differences

if TYPE_CHECKING:
    from cvbench.engine.models.specs import BackboneSpec
    from cvbench.storage.datasets import Dataset

__all__ = ["FinetuneOptions", "FinetuneReport", "finetune", "finetune_result", "finetune_rows", "make_task"]

JOB = "transfer finetune"
TRAINING = ("train", "trainval")


def finetune(options: FinetuneOptions, cluster: Cluster, listen: Listener = silent) -> FinetuneReport:
    """Train, test, and keep weights, curve and figure below `options.out`.

    Args:
        options: What to do.
        cluster: "none" trains in this process; else one process per GPU (or `actors` processes on CPUs) on Ray Train.
        listen: Receives progress; with Ray from a thread of its own.

    Raises:
        UsageError: A split without labels, a batch that the processes cannot share, or an unknown name.
        IncompleteError: Fewer samples than published, or too many unreadable ones, and `options.partial` is not set.
        FingerprintMismatchError: The folder holds a run made otherwise; names the fields.
        ClusterError: Ray Train gave up.
    """
    task = make_task(options, cluster)
    done = task.weights.is_file()
    _refuse_other(task)
    if not done:
        train, total = _plan(task)
        listen(Started(JOB, f"{task.spec.key} on {task.dataset}", total, total, 0))
        if cluster.address == "none":
            _here(task, cluster, _epoch_listener(train, listen))
        else:
            train_on_ray(task, cluster, _epoch_listener(train, listen), listen)
        listen(Ended(JOB))
    else:
        listen(Note("the weights are there already; nothing was trained"))
    return make_report(task, done)


def make_task(options: FinetuneOptions, cluster: Cluster) -> FinetuneTask:
    """Resolve names, splits and digests; nothing is trained, but the first weights are loaded for their digest."""
    from cvbench.engine.models.backbones import resolve_spec
    from cvbench.engine.models.forms import recorded
    from cvbench.jobs.extraction.backbones import weights_path
    from cvbench.jobs.extraction.options import absolute_root
    from cvbench.storage.datasets import absolute_spec, dataset_info

    dataset = absolute_spec(options.dataset, data_root=options.data_root)
    root = absolute_root(options.data_root)
    chosen = _recipe(options, cluster.actors or 1)
    share = _share(options, dataset, chosen)
    splits = _splits(options, dataset, root, share)
    notes = _check_counts(options, dataset, splits)
    spec = resolve_spec(
        options.backbone, weights=weights_path(options.weights), image_size=options.image_size, seed=options.seed
    )
    first_weights, said = _first_weights(spec)
    identity = {
        "backbone": recorded(spec.model),
        "image_size": spec.image_size,
        "first_weights": first_weights,
        "data": {name: opened.digest for name, opened in splits.items()},
        "recipe": chosen.as_dict(),
        "seed": options.seed,
        "precision": options.precision,
        "validate": options.validate,
        "held_out": share,
        "processes": cluster.actors or 1,  # shifts, mixup and drop path are drawn by each
    }
    own = options.validate and not share  # a split of its own validates
    name = splits[options.test].name
    seen = {split: opened.digest for split, opened in splits.items() if split != options.test}  # to choose is to see
    return FinetuneTask(
        stem=str(Path(options.out).expanduser().resolve() / f"{spec.key}-{name}"),
        name=name,
        dataset=dataset,
        data_root=root,
        train=tuple(split for split in splits if split != options.test and not (own and split == "val")),
        val="val" if own else None,
        test=options.test,
        share=share,
        validate=options.validate,
        rule=dataset_info(dataset).split_rule,
        notes=(*notes, *said),
        partial=options.partial,
        spec=spec,
        recipe=chosen,
        seed=options.seed,
        precision=options.precision,
        identity=canonical(identity),
        lineage=(*records(spec.weights), trained(name, seen, options.test)),
        trained=options.weights != "random",
        threads=cluster.threads,
        decode_threads=max(2, cluster.threads),
        checkpoint_seconds=options.checkpoint_seconds,
        cache=options.cache,
    )


def _first_weights(spec: BackboneSpec) -> tuple[str, Sequence[str]]:
    """The digest of the weights that training begins with, and what is said of them.

    Raises:
        UsageError: A network of the user's own that cannot be trained.
    """
    from cvbench.engine.models.makers import maker_of
    from cvbench.engine.models.weights import weights_digest

    maker = maker_of(spec)
    if spec.is_own:
        maker.trainable(spec)  # refuses it
    first = maker.build(spec)
    return weights_digest(first.module), first.notes


def _recipe(options: FinetuneOptions, processes: int) -> TrainingRecipe:
    """The recipe with its changes; its batch can be shared by the processes."""
    changes = {"epochs": options.epochs, "batch": options.batch_size, "rate": options.rate}
    chosen = recipe(options.recipe, **changes, average=options.average, mixup=options.mixup)
    if chosen.batch % processes:
        raise UsageError(
            f"a batch of {chosen.batch} cannot be shared by {processes} processes",
            fix=f"--batch-size {-(-chosen.batch // processes) * processes}",
        )
    return chosen


def training_splits(options: FinetuneOptions, dataset: str) -> tuple[str, ...]:
    """The splits to train on, those that validate among them."""
    from cvbench.storage.datasets import dataset_info

    known = dataset_info(dataset).splits
    if options.train:
        return options.train
    return ("trainval",) if "trainval" in known else tuple(name for name in ("train", "val") if name in known)


def _share(options: FinetuneOptions, dataset: str, chosen: TrainingRecipe) -> float:
    """The share of the training split that stands for a validation split, where one is asked for and none is there."""
    from cvbench.storage.datasets import dataset_info

    wanted = options.validate or chosen.examples is not None
    one = training_splits(options, dataset) in [(name,) for name in TRAINING]
    return dataset_info(dataset).held_out if wanted and one else 0.0


def _splits(options: FinetuneOptions, dataset: str, root: str | None, share: float) -> dict[str, Dataset]:
    """The splits to train on and the one to test on, opened."""
    from cvbench.storage.datasets import dataset_info, open_dataset

    names = training_splits(options, dataset)
    if options.test in names:
        raise UsageError(f"{options.test} is both trained and tested on", fix="--train-split and --test-split")
    if not names or (options.validate and not share and not {"train", "val"} <= {*names}):
        raise UsageError(
            f"{dataset} has no split to train on" if not names else f"{dataset} has no train and val to validate with",
            why=f"its splits: {', '.join(dataset_info(dataset).splits)}",
            fix="--train-split NAME --test-split NAME",
        )
    return {name: open_dataset(dataset, data_root=root, split=name) for name in (*names, options.test)}


def _check_counts(options: FinetuneOptions, dataset: str, splits: dict[str, Dataset]) -> list[str]:
    """Refuse splits that are not complete, or say so in notes.

    Raises:
        IncompleteError: One is not, and `options.partial` is not set.
    """
    from cvbench.storage.datasets import locate

    where = str(locate(dataset, data_root=options.data_root) or dataset)
    counts = {name: len(opened) for name, opened in splits.items()}
    found = (check_complete(dataset, name, n, where=where, partial=options.partial) for name, n in counts.items())
    return [note for notes in found for note in notes]


def _refuse_other(task: FinetuneTask) -> None:
    for path in (task.weights, task.file("checkpoint.safetensors")):
        if path.is_file():
            lines = differences(checkpoint.read_plain(path)["identity"], task.identity)
            if lines:
                raise FingerprintMismatchError(
                    f"the folder holds a run made in another way ({', '.join(line.split(':')[0] for line in lines)})",
                    where=str(path),
                    why="; ".join(lines),
                    fix="another --out, or delete the file",
                )


def _plan(task: FinetuneTask) -> tuple[int, int]:
    """Samples of an epoch, and samples in all."""
    from cvbench.storage.datasets import open_dataset

    splits = [open_dataset(task.dataset, data_root=task.data_root, split=name) for name in task.train]
    total, each = task.recipe.total(len(rows_of(task, splits).train))
    return each * task.recipe.batch, total * task.recipe.batch


def _epoch_listener(samples: int, listen: Listener) -> Callable[[Epoch], None]:
    def on_epoch(row: Epoch) -> None:
        parts = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, float)]
        listen(Note(f"epoch {row['epoch']}, step {row['step']}: {', '.join(parts)}"))
        listen(Advanced(JOB, int(row["epoch"] or 0), samples))

    return on_epoch


def _here(task: FinetuneTask, cluster: Cluster, on_epoch: Callable[[Epoch], None]) -> None:
    from cvbench.engine.finetune.trainer import Rank
    from cvbench.engine.models.devices import resolve_device

    run(task, Rank(), resolve_device(cluster.device), on_epoch)
