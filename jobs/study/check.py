"""Checks of a study that ask this machine and its packages, before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cvbench.engine.models.forms import called
from cvbench.engine.models.specs import key_of
from cvbench.errors import ResourceError, UnknownNameError, UsageError
from cvbench.jobs.study.document import At
from cvbench.jobs.study.study import Study, refuse


def _check_jobs(study: Study) -> None:
    if study.jobs > 1 and (address := study.hardware.settled().address) != "none":
        raise UsageError(
            f"jobs: {study.jobs} is for steps in this machine's processes, and they run on Ray ({address})",
            why="each step has the whole of it, and shares out its own work",
            fix="--set jobs=1, or --set address=none",
        )


def _check_cells(study: Study, cells: Sequence[str]) -> None:
    """Refuse cells of backbones that neither the study nor its store has; a probe is called after its backbone."""
    from cvbench.jobs.extraction.arrays import existing_store
    from cvbench.jobs.running.places import absolute
    from cvbench.jobs.transfer.probe_logits import SUFFIX

    known = {key_of(model).partition("@")[0]: called(model) for model, _, _ in study.backbones}
    if (store := existing_store(absolute(study.store))) is not None:  # imported predictions, say
        known |= {group.backbone.partition("@")[0]: group.backbone for group in store.groups()}
    for cell in cells:
        name = cell.rpartition("=")[0]
        if key_of(name.removesuffix(SUFFIX)).partition("@")[0] not in known:
            raise UnknownNameError.among(
                "backbone of the study in a cell:", name, known.values(), fix=f"one of {', '.join(known.values())}"
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
    for request in study.asked:
        if "cell" in request.options:
            check(request.at, partial(_check_cells, study, request.options["cell"]))
    check(("report", "claims"), partial(own_claims, study.claims))
    check(("device",), partial(resolve_device, study.hardware.device))
    check(("report", "out"), partial(check_folder, study.out))
    check(("jobs",), partial(_check_jobs, study))
    refuse(study.document, problems)
