"""`cvbench transfer finetune`: train a whole backbone on a data set, on Ray Train or in this process.

The same command again goes on from the last checkpoint, and does nothing once the weights are there. They go back into
`cvbench extract --weights FILE`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.engine.finetune.recipes import recipe
from cvbench.errors import ClusterError, CvbenchError, FingerprintMismatchError, UsageError
from cvbench.jobs import checkpoint
from cvbench.jobs.executor import Cluster, RaySession
from cvbench.jobs.finetune_loop import FinetuneTask, Row, run
from cvbench.jobs.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.storage.fingerprint import canonical, differences

if TYPE_CHECKING:
    from cvbench.storage.datasets import Dataset

JOB = "transfer finetune"


@dataclass(frozen=True)
class FinetuneOptions:
    """What to train on what.

    Attributes:
        out: Folder of the results; its files are named after the backbone and the data set.
        weights: "pretrained", "random" or a .safetensors file to begin with.
        recipe: Name of a recipe; `epochs`, `batch_size`, `rate`, `average` and `mixup` change it.
        train: Splits to train on; empty: those of train, trainval and val that the data set has.
        test: Split to test the last weights on, once.
        validate: Leave "val" out of the training and test it after every epoch.
        checkpoint_seconds: Between checkpoints; 0 is after every step.
        cache: Bytes of decoded images to keep in memory, per process.
    """

    dataset: str
    backbone: str
    out: str
    weights: str = "pretrained"
    recipe: str = "modern"
    epochs: int | None = None
    batch_size: int | None = None
    rate: float | None = None
    average: float | None = None
    mixup: float | None = None
    image_size: int | None = None
    seed: int = 0
    precision: str = "fp32"
    train: tuple[str, ...] = ()
    test: str = "test"
    validate: bool = False
    data_root: str | None = None
    checkpoint_seconds: float = 30.0
    cache: int = 2 * 10**9


@dataclass(frozen=True)
class FinetuneReport:
    """What came of it.

    Attributes:
        weights: The file.
        numbers: "top1", "top5", "mean_per_class" -> {"value", "low", "high", "n"}.
        variant: Recipe and splits, as one line.
        curve: A row per epoch.
        done_before: Nothing had to be trained.
        unreadable: Samples left out, each with its reason.
    """

    dataset: str
    backbone: str
    weights: str
    numbers: dict[str, dict[str, float | None]]
    variant: str
    interval: str
    trained_on: int
    curve: list[Row]
    unreadable: list[str]
    files: list[str]
    done_before: bool


def finetune(options: FinetuneOptions, cluster: Cluster, listen: Listener = silent) -> FinetuneReport:
    """Train, test, and keep weights, curve and figure below `options.out`.

    Args:
        options: What to do.
        cluster: "none" trains in this process; else one process per GPU (or `actors` processes on CPUs) on Ray Train.
        listen: Receives progress; with Ray from a thread of its own.

    Raises:
        UsageError: A split without labels, a batch that the processes cannot share, or an unknown name.
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
            _here(task, cluster, _hear(train, listen))
        else:
            _on_ray(task, cluster, _hear(train, listen))
        listen(Ended(JOB))
    return _report(task, done, listen)


def make_task(options: FinetuneOptions, cluster: Cluster) -> FinetuneTask:
    """Resolve names, splits and digests; nothing is trained, but the first weights are loaded for their digest."""
    from cvbench.engine.backbones import resolve_spec
    from cvbench.engine.weights import build_model, weights_digest
    from cvbench.jobs.request import absolute
    from cvbench.storage.datasets import absolute_spec

    dataset = absolute_spec(options.dataset, data_root=options.data_root)
    root = str(Path(options.data_root).expanduser().resolve()) if options.data_root else None
    splits = _splits(options, dataset, root)
    weights = absolute(options.weights) if options.weights.endswith(".safetensors") else options.weights
    spec = resolve_spec(options.backbone, weights=weights, image_size=options.image_size, seed=options.seed)
    changes = {"epochs": options.epochs, "batch": options.batch_size, "rate": options.rate}
    chosen = recipe(options.recipe, **changes, average=options.average, mixup=options.mixup)
    size = cluster.actors or 1
    if chosen.batch % size:
        raise UsageError(
            f"a batch of {chosen.batch} cannot be shared by {size} processes",
            fix=f"--batch-size {-(-chosen.batch // size) * size}",
        )
    first = next(iter(splits.values()))
    identity = {
        "backbone": spec.model,
        "image_size": spec.image_size,
        "first_weights": weights_digest(build_model(spec)),
        "data": {name: opened.digest for name, opened in splits.items()},
        "recipe": chosen.as_dict(),
        "seed": options.seed,
        "precision": options.precision,
        "validate": options.validate,
    }
    name = f"{spec.key}-{first.name}"
    train = [split for split in splits if split != options.test and not (options.validate and split == "val")]
    return FinetuneTask(
        stem=str(Path(options.out).expanduser().resolve() / name),
        dataset=dataset,
        data_root=root,
        train=tuple(train),
        val="val" if options.validate else None,
        test=options.test,
        spec=spec,
        recipe=chosen,
        seed=options.seed,
        precision=options.precision,
        identity=canonical(identity),
        trained=options.weights != "random",
        threads=cluster.threads,
        decode_threads=max(2, cluster.threads),
        checkpoint_seconds=options.checkpoint_seconds,
        cache=options.cache,
    )


def _splits(options: FinetuneOptions, dataset: str, root: str | None) -> dict[str, Dataset]:
    """The splits to train on and the one to test on, opened."""
    from cvbench.storage.datasets import dataset_info, open_dataset

    known = dataset_info(dataset).splits
    names = options.train or tuple(name for name in ("train", "trainval", "val") if name in known)
    if "train" in names and "trainval" in names and not options.train:
        names = ("trainval",)
    if options.test in names:
        raise UsageError(f"{options.test} is both trained and tested on", fix="--train-split and --test-split")
    if not names or (options.validate and not {"train", "val"} <= {*names}):
        raise UsageError(
            f"{dataset} has no split to train on" if not names else f"{dataset} has no train and val to validate with",
            why=f"its splits: {', '.join(known)}",
            fix="--train-split NAME --test-split NAME",
        )
    return {name: open_dataset(dataset, data_root=root, split=name) for name in (*names, options.test)}


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

    n = sum(len(open_dataset(task.dataset, data_root=task.data_root, split=name)) for name in task.train)
    n = sum(task.recipe.examples) if task.recipe.examples else n
    total, each = task.recipe.total(n)
    return each * task.recipe.batch, total * task.recipe.batch


def _hear(samples: int, listen: Listener) -> Callable[[Row], None]:
    def heard(row: Row) -> None:
        parts = [f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, float)]
        listen(Note(f"epoch {row['epoch']}, step {row['step']}: {', '.join(parts)}"))
        listen(Advanced(JOB, int(row["epoch"] or 0), samples))

    return heard


def _here(task: FinetuneTask, cluster: Cluster, heard: Callable[[Row], None]) -> None:
    from cvbench.engine.devices import resolve_device
    from cvbench.engine.finetune.trainer import Rank

    run(task, Rank(), resolve_device(cluster.device), heard)


def _on_ray(task: FinetuneTask, cluster: Cluster, heard: Callable[[Row], None]) -> None:
    """One process per GPU, or `actors` on CPUs, joined by DDP; if one is lost, all go on from the checkpoint."""
    import shutil

    with RaySession(cluster):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = cluster.device == "cuda"
        workers = cluster.actors or 1
        scaling = ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"GPU": 1} if gpu else {"CPU": cluster.threads}
        )
        folder = task.file("ray")  # what Ray Train writes down for itself; all nodes see it, as they see the checkpoint
        trainer = TorchTrainer(
            _process,
            train_loop_config={"task": task},
            scaling_config=scaling,
            run_config=RunConfig(name="run", storage_path=str(folder), failure_config=FailureConfig(max_failures=3)),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        )
        try:
            with _following(task, heard):
                trainer.fit()
        except Exception as error:
            raise _cause(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _process(config: dict[str, Any]) -> None:
    """What Ray Train runs in each process."""
    from ray import train
    from ray.train.torch import get_device

    from cvbench.engine.finetune.trainer import Rank

    task: FinetuneTask = config["task"]
    context = train.get_context()
    lines = task.file("progress.jsonl")
    rank = Rank(context.get_world_rank(), context.get_world_size())

    def heard(row: Row) -> None:
        with lines.open("a") as file:
            file.write(json.dumps(row) + "\n")

    run(task, rank, get_device(), heard)


class _following:
    """Passes on the rows that a process writes, while Ray Train holds this one."""

    def __init__(self, task: FinetuneTask, heard: Callable[[Row], None]) -> None:
        self._path, self._heard = task.file("progress.jsonl"), heard
        self._stop = threading.Event()
        self._seen = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("")
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._pass_on()
        self._path.unlink(missing_ok=True)

    def _follow(self) -> None:
        while not self._stop.wait(0.5):
            self._pass_on()

    def _pass_on(self) -> None:
        whole = self._path.read_text().split("\n")[:-1]  # the last may be half written
        for line in whole[self._seen :]:
            self._heard(json.loads(line))
        self._seen = len(whole)


def _cause(error: BaseException) -> CvbenchError:
    """Our own error if a process raised one, else what Ray Train says."""
    for found in _chain(error):
        if isinstance(found, CvbenchError):
            return found
    return ClusterError(
        "Ray Train gave up",
        why=str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__,
        fix="the same command goes on from the last checkpoint; --address none trains in this process",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "cause", None)]
        failures = getattr(one, "worker_failures", None)
        inner += list(failures.values()) if isinstance(failures, dict) else []
        waiting += [item for item in inner if isinstance(item, BaseException)]


def variant(task_identity: dict[str, Any]) -> str:
    """The recipe and the splits, as one line."""
    made = task_identity["recipe"]
    length = f"{made['epochs']} epochs" if made["epochs"] else f"{made['steps']} steps"
    parts = [made["name"], f"{length}, batch {made['batch']}, rate {made['rate']:g}"]
    *train, test = task_identity["data"]
    if task_identity["validate"]:
        train = [name for name in train if name != "val"]
    parts.append(f"trained on {' + '.join(train)}, the last weights tested on {test}")
    if made["examples"]:
        parts.append("1,000 examples drawn by the seed (not VTAB's members)")
    return "; ".join([*parts, f"seed {task_identity['seed']}", task_identity["precision"]])


def _report(task: FinetuneTask, done: bool, listen: Listener) -> FinetuneReport:
    from cvbench.jobs.figures.finetune import finetune_figure

    plain = checkpoint.read_plain(task.weights)
    line = variant({**plain["identity"], "data": dict.fromkeys([*_ordered(task)])})
    summary = {**plain, "variant": line, "weights": task.weights.name}
    checkpoint.replace_file(task.file("json"), (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    stem = task.file("curve")
    files = finetune_figure(plain["curve"], f"{task.spec.key} on {task.dataset}", stem)
    if done:
        listen(Note("the weights are there already; nothing was trained"))
    return FinetuneReport(
        dataset=task.dataset,
        backbone=task.spec.key,
        weights=str(task.weights),
        numbers={name: plain["result"][name] for name in ("top1", "top5", "mean_per_class")},
        variant=line,
        interval=plain["interval"],
        trained_on=plain["trained_on"],
        curve=plain["curve"],
        unreadable=plain["unreadable"],
        files=[str(path) for path in (task.weights, task.file("json"), *files)],
        done_before=done,
    )


def _ordered(task: FinetuneTask) -> list[str]:
    return [*task.train, *((task.val,) if task.val else ()), task.test]
