"""Fine-tuning on Ray Train: one process per GPU, or several on CPUs, joined by DDP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cvbench.errors import ClusterError, CvbenchError, IncompleteError
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.progress import Listener, silent
from cvbench.jobs.running.session import RaySession, set_variables
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune_loop import Epoch, run
from cvbench.jobs.transfer.finetune_progress import Following, say_begun, say_ended, say_epoch
from cvbench.jobs.transfer.finetune_task import FinetuneTask

MAX_FAILURES = 3
"""How often lost processes are replaced before the run is given up."""
_TURN = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""How Ray Train is told after how long it asks anew for places that do not come: left to itself for ever, silently."""


def train_on_ray(
    task: FinetuneTask, cluster: Cluster, on_epoch: Callable[[Epoch], None], listen: Listener = silent
) -> None:
    """Train and test; if a process is lost, all go on from the checkpoint.

    Args:
        task: What to do.
        cluster: Where; one process per GPU, or `actors` processes on CPUs.
        on_epoch: Told of every epoch, by a thread of its own.
        listen: Told of places that are waited for and of processes that end early, likewise.

    Raises:
        IncompleteError: Too many samples cannot be read.
        ClusterError: Ray Train gave up, or there were no places for the processes within `cluster.wait`.
        CvbenchError: What a process raised.
    """
    import shutil

    refused, workers = task.file("refused.json"), cluster.actors or 1
    refused.unlink(missing_ok=True)
    with RaySession(cluster) as session:
        folder = task.file("ray")  # what Ray Train writes down for itself; all nodes see it, as they see the checkpoint
        # Its tries are counted over the whole run, so each is long: places that come within one cost none.
        turn = max(cluster.wait / (MAX_FAILURES + 1), 1.0)
        trainer = _trainer(task, cluster, workers, str(folder))
        following = Following(task, on_epoch, listen, partial(session.waiting, 0, workers))
        try:
            with set_variables({_TURN: str(turn)}), following:
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


def _trainer(task: FinetuneTask, cluster: Cluster, workers: int, folder: str) -> Any:
    """Ray's trainer of so many processes, which writes into a folder that is its own."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        """Ray's own, but an interrupt stays what it is for every job: Ray's handler would end with code 1."""

        def _register_sigint_handler(self, controller: Any) -> None:
            pass

    class Losses(UserCallback):
        """Passes on which processes ended early, from the process of Ray Train that sees it."""

        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            for rank, error in worker_exceptions.items():
                say_ended(task, rank, error)

    gpu = cluster.device == "cuda"
    needs = {"GPU": 1} if gpu else {"CPU": cluster.threads}
    limits: dict[str, Any] = {"max_failures": MAX_FAILURES, "controller_failure_limit": MAX_FAILURES}
    losses: dict[str, Any] = {"callbacks": [Losses()]}  # Ray's types know callbacks of its first Train only
    return Trainer(
        _process,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker=needs),
        run_config=RunConfig(name="run", storage_path=folder, failure_config=FailureConfig(**limits), **losses),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
    )


def _process(config: dict[str, Any]) -> None:
    """Train in one process of Ray Train."""
    from ray import train
    from ray.train.torch import get_device

    from cvbench.engine.finetune.trainer import Rank

    task: FinetuneTask = config["task"]
    context = train.get_context()
    rank = Rank(context.get_world_rank(), context.get_world_size())
    if rank.number == 0:
        say_begun(task)
    try:
        run(task, rank, get_device(), partial(say_epoch, task))
    except IncompleteError as error:  # of every process at once, and of every further attempt: so it is none's failure
        if rank.number == 0:
            checkpoint.replace_file(task.file("refused.json"), json.dumps(error.as_dict()).encode())


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
