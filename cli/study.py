"""`cvbench run`, `status` and `config`: a whole study from one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.say import say
from cvbench.options import Option

if TYPE_CHECKING:
    from pathlib import Path

    from cvbench.jobs.study.outcomes import StepOutcome
    from cvbench.jobs.study.reference import Lacking
    from cvbench.jobs.study.states import StepState

SCHEMA = {"schema_version": 1}


@dataclass(frozen=True)
class File:
    """The study file, and values put over it."""

    file: Annotated[str, Option("The study: a YAML file, see `cvbench config init`.", alone=True)]
    set: Annotated[tuple[str, ...], Option("KEY.KEY=VALUE over the file, such as extract.limit=64. Repeat.")] = ()


@dataclass(frozen=True)
class PlanOnly:
    """Switch between running and planning."""

    plan: Annotated[bool, Option("Only say what would be done, and what is there already.", short="-n")] = False
    long: Annotated[bool, Option("For the plan: the command of each step.")] = False


@dataclass(frozen=True)
class Reference:
    """Shipped study to run, and its places."""

    scale: Annotated[
        Literal["smoke", "small", "full"],
        Option("smoke: minutes on 2 cores, no download; small: parts of real data sets; full: as in the paper."),
    ] = "smoke"
    design: Annotated[
        Literal["pair", "objectives"],
        Option("pair: the study; objectives: two architectures by five objectives, at full scale."),
    ] = "pair"
    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None
    store: Annotated[str | None, Option("Path or URL of the feature store.")] = None
    out: Annotated[str | None, Option("Folder for the store, the weights and the report.", short="-o")] = None
    set: Annotated[tuple[str, ...], Option("KEY.KEY=VALUE over the file, such as extract.limit=64. Repeat.")] = ()


def _run(file: File, only: PlanOnly, printed: shared.Printed) -> None:
    """Run a study: all that its file names, only what is missing. The same command again resumes."""
    from cvbench.jobs.study.study import read_study

    study = read_study(file.file, file.set)
    if only.plan:
        _show_plan(study, printed, long=only.long)
        return
    _carry_out(study, printed)


def _reproduce(wanted: Reference, only: PlanOnly, printed: shared.Printed) -> None:
    """Reproduce the reference study, at a scale.

    Every figure and table of it. The same command again resumes.
    """
    from cvbench.jobs.study.reference import lacking, reference_study

    study = reference_study(
        wanted.scale,
        wanted.design,
        data_root=wanted.data_root,
        store=wanted.store,
        out=wanted.out,
        given=wanted.set,
    )
    if only.plan:
        _show_plan(study, printed, long=only.long)
        return
    for one in lacking(study):
        say(f"not there, and left out: {_absent_words(one)}", err=True)
    try:
        _carry_out(study, printed)
    finally:
        if printed.format == "table":
            _show_where_to_look(study)


def _carry_out(study: Any, printed: shared.Printed) -> None:
    from cvbench.cli.display import progress
    from cvbench.jobs.study.outcomes import check_outcomes
    from cvbench.jobs.study.run import run_study

    table = printed.format == "table"
    ended: list[StepOutcome] = []

    def on_end(one: StepOutcome) -> None:
        ended.append(one)
        if table:
            _show_ended(one)

    try:
        run_study(study, progress, on_end)
    finally:  # what is done is said, whatever comes between
        if not table:
            shared.echo_json({**SCHEMA, "store": study.store, "steps": [asdict(one) for one in ended]})
    check_outcomes(ended)


def _status(file: File, printed: shared.Printed) -> None:
    """Say what of a study is done, missing, and what failed last. Nothing runs."""
    from cvbench.jobs.study.states import states_of
    from cvbench.jobs.study.study import read_study

    study = read_study(file.file, file.set)
    found = states_of(study)
    if printed.format == "json":
        _echo(study.store, found)
        return
    for one in found:
        say(f"{one.state:8}  {one.name}: {one.words}")
    for one in found:
        if one.error:
            from cvbench.jobs.study.outcomes import failure_lines

            for line in failure_lines(one.name, one.error, one.command):
                say(line)
    open_steps = sum(one.state != "done" for one in found)
    say(f"{len(found) - open_steps} of {len(found)} steps are done")


run = command("run", [File, PlanOnly, shared.Printed], _run)
reproduce = command("reproduce", [Reference, PlanOnly, shared.Printed], _reproduce)
status = command("status", [File, shared.Printed], _status)


def _show_where_to_look(study: Any) -> None:
    """Say what came of it in a sentence, and where the pictures are; nothing of a study without a report."""
    from pathlib import Path

    from cvbench.hints import command as line
    from cvbench.jobs.report import PAGE

    page = Path(study.out).expanduser() / PAGE
    if not page.is_file():
        return
    say()
    if result := _result(page.parent):
        say(f"Result: {result}")
        say()
    say("What to look at:")
    rows = {
        str(page): "everything on one page: open it in a browser",
        str(page.parent / "figures"): "the figures as SVG and PNG, the numbers behind them as CSV",
        line("claims", store=study.store): "what papers say of the two families, and what these networks say",
        line("store info", store=study.store): "the features, one array per layer",
    }
    for what, text in rows.items():
        say(f"  {what}")
        say(f"      {text}")


def _result(folder: Path) -> str:
    """Count what the report in a folder says of the claims of papers; "" if it judges none."""
    from collections import Counter

    from cvbench.jobs.report.tables import written_verdicts

    found = Counter(written_verdicts(folder))
    said = ", ".join(f"{count} {verdict}" for verdict, count in found.most_common())
    total = sum(found.values())
    return (
        f"of {total} answers to what papers claim of convolutional networks and transformers: {said}." if said else ""
    )


def _show_plan(study: Any, printed: shared.Printed, *, long: bool) -> None:
    """Say what is left in all and what is missing, then each step."""
    from cvbench.jobs.study.reference import lacking
    from cvbench.jobs.study.states import states_of

    found, absent = states_of(study), list(lacking(study))
    if printed.format == "json":
        _echo(study.store, found, absent)
        return
    for text in _plan_sums(found, study.store):
        say(text)
    for missing in absent:
        say(f"not there: {_absent_words(missing)}")
    if absent:
        say("a study takes its data from --set extract.data_root=DIR or CVBENCH_DATA=DIR, too")
    say()
    numbers = {one.name: number for number, one in enumerate(found, start=1)}
    for one in found:
        say(f"{numbers[one.name]:3}  {one.name}: {one.state}; {'; '.join(_plan_words(one, numbers))}")
        if long:
            say(f"     {one.command}")
    if not long:
        say("--long gives the command of each step")


def _absent_words(one: Lacking) -> str:
    named = one.what if one.what.startswith(one.spec) else f"{one.spec}: {one.what}"
    return f"{named}; {one.fix}"


def _plan_words(one: StepState, numbers: dict[str, int]) -> Iterator[str]:
    """Words of a plan on a step: what is there, how long the rest takes, and after which steps it comes."""
    yield one.said
    if one.hours and one.state != "done":
        yield _about(one.hours)
    if one.waits:
        yield f"after {', '.join(str(numbers[name]) for name in one.waits)}"


def _plan_sums(found: Sequence[StepState], store: str) -> Iterator[str]:
    """The first lines of a plan: what is left in all."""
    from cvbench.jobs.running.sizes import counted, human

    left = [one for one in found if one.state != "done"]
    units = sum((one.units_total or 0) - (one.units_done or 0) for one in left)
    size = sum(one.bytes or 0 for one in left)
    yield f"{len(left)} of {len(found)} steps to do; {units} units to extract, {human(size)} to write into {store}"
    hours = [one.hours for one in left if one.hours is not None]
    if hours:
        yield (
            f"{_about(sum(hours))} of extraction and training at the rates that `cvbench plan` assumes; "
            "analyses and evaluations are not reckoned"
        )
    reckoned = [one for one in left if {"extract", "finetune"} & {*one.command.split()[1:3]}]
    unplanned = sum(one.hours is None for one in reckoned)
    if unplanned:
        yield f"{counted(unplanned, 'step')} cannot be planned: `cvbench status` says why"


def _about(hours: float) -> str:
    from cvbench.jobs.running.sizes import duration

    return f"about {duration(hours)}" if hours >= 1 / 3600 else duration(hours)


def _echo(store: str, found: Sequence[StepState], absent: Sequence[Lacking] = ()) -> None:
    missing = {"absent": [asdict(one) for one in absent]} if absent else {}
    shared.echo_json({**SCHEMA, "store": store, "steps": [asdict(one) for one in found], **missing})


def _show_ended(one: StepOutcome) -> None:
    if one.state == "skipped":
        say(f"skipped  {one.name}: needs {', '.join(one.because)}")
        return
    left = one.left if len(one.left) < 2 else (f"{len(one.left)} results",)
    said = one.error.get("what", "") if one.error else "".join(left)
    say(f"{one.state:7}  {one.name}, {one.seconds:.1f} s{': ' if said else ''}{said}")


CONFIG: dict[str, Place] = {
    "schema": (
        "cvbench.cli.study",
        "schema",
        "Print the JSON Schema of a study file, for editors.",
    ),
    "init": (
        "cvbench.cli.study",
        "init",
        "Write a study file with comments, to be changed.",
    ),
}
config = Commands(
    cls=on_demand(CONFIG), no_args_is_help=True, help="Study files: an example, and the schema of their keys."
)


@config.callback()
def group() -> None:
    """Study files: an example, and the schema of their keys."""


@dataclass(frozen=True)
class NewFile:
    """The file that is written."""

    file: Annotated[str, Option("Where to write it; '-' prints it.", alone=True)] = "study.yaml"


def _schema() -> None:
    """Print the JSON Schema of a study file, for editors.

    With the options of the packages that are installed.
    """
    from cvbench.jobs.study.model import study_schema

    shared.echo_json(study_schema())


def _init(new: NewFile) -> None:
    """Write a study file with comments, to be changed. One that is there is not touched."""
    from cvbench.jobs.study.example import example, write_example

    if new.file == "-":
        say(example().rstrip("\n"))
        return
    write_example(new.file)
    say(f"file: {new.file}")
    say(f"next: {_next(new.file)}")


def _next(file: str) -> str:
    from cvbench.hints import command as line

    return line("run", file, plan=True)


schema = command("schema", [], _schema)
init = command("init", [NewFile], _init)
