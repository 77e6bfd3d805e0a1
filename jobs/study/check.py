"""Checks of a study that ask this machine and its packages, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cvbench.errors import ResourceError, UsageError
from cvbench.jobs.study.document import At
from cvbench.jobs.study.study import Study, refuse


def _check_jobs(study: Study) -> None:
    if study.jobs > 1 and (address := study.hardware.settled().address) != "none":
        raise UsageError(
            f"jobs: {study.jobs} is for steps in this machine's processes, and they run on Ray ({address})",
            why="each step has the whole of it, and shares out its own work",
            fix="--set jobs=1, or --set address=none",
        )


def check_study(study: Study) -> None:
    """Refuse backbones, claims and a device that do not exist, and a report that is no folder.

    It asks timm, so it takes seconds.

    Raises:
        UsageError: As `read_study`.
    """
    from cvbench.engine.models.devices import resolve_device
    from cvbench.engine.models.specs import resolve_spec
    from cvbench.jobs.report.claims import own_claims
    from cvbench.jobs.running.places import check_folder

    problems: list[UsageError] = []

    def check(at: At, work: Callable[[], object]) -> None:
        try:
            work()
        except UsageError as error:
            error.where = study.document.place(at)
            problems.append(error)
        except ResourceError:  # a GPU or a disk that this machine lacks: the steps say so
            pass

    for number, (model, weights, size) in enumerate(study.backbones):
        check(("backbones", number, "model"), partial(resolve_spec, model, weights=weights, image_size=size))
    check(("report", "claims"), partial(own_claims, study.claims))
    check(("device",), partial(resolve_device, study.hardware.device))
    check(("report", "out"), partial(check_folder, study.out))
    check(("jobs",), partial(_check_jobs, study))
    refuse(study.document, problems)
