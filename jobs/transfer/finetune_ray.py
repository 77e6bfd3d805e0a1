"""Fine-tuning on Ray Train: one process per GPU, or several on CPUs, joined by DDP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cvbench.errors import ClusterError, CvbenchError, IncompleteError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.session import RaySession, set_variables
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune_loop import Epoch, run
from cvbench.jobs.transfer.finetune_task import FinetuneTask

MAX_FAILURES = 3
"""How often lost processes are replaced before the run is given up."""
_TURN = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""How Ray Train is told after how long it asks anew for places that do not come: left to itself for ever, silently."""


def train_on_ray(task: FinetuneTask, cluster: Cluster, on_epoch: Callable[[Epoch], None]) -> None:
    """Train and test; if a process is lost, all go on from the checkpoint.

    Raises:
        IncompleteError: Too many samples cannot be read.
        ClusterError: Ray Train gave up, or there were no places for the processes within `cluster.wait`.
        CvbenchError: What a process raised.
    """
    import shutil

    refused = task.file("refused.json")
    refused.unlink(missing_ok=True)
    with RaySession(cluster) as session:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        class Trainer(TorchTrainer):
            """Ray's trainer, but an interrupt stays what it is for every job: Ray's handler would end with code 1."""

            def _register_sigint_handler(self, controller: Any) -> None:
                pass

        gpu = cluster.device == "cuda"
        workers = cluster.actors or 1
        scaling = ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"GPU": 1} if gpu else {"CPU": cluster.threads}
        )
        folder = task.file("ray")  # what Ray Train writes down for itself; all nodes see it, as they see the checkpoint
        # Its tries are counted over the whole run, so each is long: places that come within one cost none.
        turn = max(cluster.wait / (MAX_FAILURES + 1), 1.0)
        limits: dict[str, Any] = {"max_failures": MAX_FAILURES, "controller_failure_limit": MAX_FAILURES}
        trainer = Trainer(
            _process,
            train_loop_config={"task": task},
            scaling_config=scaling,
            run_config=RunConfig(name="run", storage_path=str(folder), failure_config=FailureConfig(**limits)),
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        )
        try:
            with set_variables({_TURN: str(turn)}), _following(task, on_epoch):
                trainer.fit()
        except Exception as error:
            if _never_placed(error):
                raise session.lacking(cluster.wait, workers) from error
            raise _cause(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if refused.is_file():
        said = json.loads(refused.read_text())
        refused.unlink()
        raise IncompleteError(said["what"], **{name: said[name] for name in ("where", "why", "fix")})


def _process(config: dict[str, Any]) -> None:
    """Train in one process of Ray Train."""
    from ray import train
    from ray.train.torch import get_device

    from cvbench.engine.finetune.trainer import Rank

    task: FinetuneTask = config["task"]
    context = train.get_context()
    lines = task.file("progress.jsonl")
    rank = Rank(context.get_world_rank(), context.get_world_size())

    def on_epoch(row: Epoch) -> None:
        with lines.open("a") as file:
            file.write(json.dumps(row) + "\n")

    try:
        run(task, rank, get_device(), on_epoch)
    except IncompleteError as error:  # of every process at once, and of every further attempt: so it is none's failure
        if rank.number == 0:
            checkpoint.replace_file(task.file("refused.json"), json.dumps(error.as_dict()).encode())


class _following:
    """Passes on the rows that a process writes, while Ray Train holds this one."""

    def __init__(self, task: FinetuneTask, on_epoch: Callable[[Epoch], None]) -> None:
        self._path, self._on_epoch = task.file("progress.jsonl"), on_epoch
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
        complete = self._path.read_text().split("\n")[:-1]  # the last may be half written
        for line in complete[self._seen :]:
            self._on_epoch(json.loads(line))
        self._seen = len(complete)


def _never_placed(error: Exception) -> bool:
    """Whether it is that the places of the processes never came."""
    return type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError"


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
