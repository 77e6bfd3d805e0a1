"""`cvbench.run`, `cvbench.reproduce` and `cvbench.status`: a whole study from one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cvbench.api import markup
from cvbench.api.progress import listening
from cvbench.api.stores import Store, open_store
from cvbench.texts import printable

if TYPE_CHECKING:
    import pandas as pd

    from cvbench.api.result import Result
    from cvbench.jobs.study.study import Study as Planned

Values = Mapping[str, Any] | Sequence[str]
"""Values over those of a study file: {"extract.limit": 64}, or ["extract.limit=64"]."""


@dataclass(frozen=True)
class Step:
    """One step of a study.

    Attributes:
        name: Unique in the study.
        state: "done", "partly", "missing", "failed" or "skipped".
        said: In words.
        command: The command line that does the same.
        paths: Results in the store, or files.
        seconds: What it took; None of what was not run now.
        error: Fields of its error, if it failed.
    """

    name: str
    state: str
    said: str
    command: str
    paths: tuple[str, ...] = ()
    seconds: float | None = None
    error: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """A study and the state of its steps.

    Attributes:
        file: The study file.
        url: Path or URL of its store.
        out: Folder of its report.
        steps: In the order in which they run.
    """

    def __init__(self, file: str, url: str, out: str, steps: Sequence[Step]) -> None:
        self.file, self.url, self.out, self.steps = file, url, out, tuple(steps)

    @property
    def done(self) -> bool:
        """Whether every step is done."""
        return all(step.state == "done" for step in self.steps)

    @property
    def store(self) -> Store:
        """The store; there is one as soon as something was extracted."""
        return open_store(self.url)

    @property
    def results(self) -> list[Result]:
        """All results of the store."""
        return self.store.results()

    def to_pandas(self) -> pd.DataFrame:
        """One row for each step."""
        import pandas as pd

        columns = ["name", "state", "said", "seconds", "command"]
        return pd.DataFrame([[getattr(step, name) for name in columns] for step in self.steps], columns=columns)

    def _counts(self) -> str:
        counts: dict[str, int] = {}
        for step in self.steps:
            counts[step.state] = counts.get(step.state, 0) + 1
        return ", ".join(f"{count} {state}" for state, count in counts.items())

    def __repr__(self) -> str:
        return f"Study({self.file!r}: {len(self.steps)} steps, {printable(self._counts())})"

    def _repr_html_(self) -> str:
        rows = [
            (step.state, step.name, step.said, "" if step.seconds is None else f"{step.seconds:.1f} s")
            for step in self.steps
        ]
        told = markup.table(("state", "step", "what", "time"), rows, numbers=("time",))
        return markup.box(f"Study {self.file}: {self._counts()}", told, markup.line(f"store: {self.url}"))


def run(file: str | os.PathLike[str], *, set: Values = (), check: bool = True, progress: bool = False) -> Study:
    """Run a study: all that its file names, only what is missing. The same call again resumes.

    Where it runs is said by the file (`address`, `device`); `set={"address": "none"}` keeps it in this process.

    Args:
        file: A YAML file, see `cvbench config init`.
        set: Values over those of the file: {"extract.limit": 64}, or ["extract.limit=64"].
        check: Raise if a step failed, after all others have ended; else their errors are in `steps`.
        progress: Print how far the work is, to stderr.

    Returns:
        The study, with what became of each step.

    Raises:
        DataUnavailableError: There is no file.
        UsageError: Something is wrong with it; with the line. Nothing has run.
        IncompleteError: Some steps failed, and `check` is set; names each with its error and its command.
    """
    from cvbench.jobs.study.study import read_study

    return _carried_out(read_study(os.fspath(file), words_of(set)), os.fspath(file), check, progress)


def reproduce(
    scale: Literal["smoke", "small", "full"] = "smoke",
    design: Literal["pair", "objectives"] = "pair",
    *,
    data_root: str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    set: Values = (),
    check: bool = True,
    progress: bool = False,
) -> Study:
    """Run the reference study at a scale: every figure and table of it. The same call again resumes.

    Data sets that are not there are left out: their steps fail, with the command that gets them.

    Args:
        scale: smoke: minutes on 2 cores, no download; small: parts of real data sets; full: as in the paper.
        design: pair: the study; objectives: two architectures by five objectives, at full scale.
        data_root: Folder that holds the data sets.
        store: Path or URL of the feature store.
        out: Folder for the store, the weights and the report.
        set: As for `run`.
        check: As for `run`.
        progress: Print how far the work is, to stderr.

    Raises:
        UsageError: A value is wrong. Nothing has run.
        IncompleteError: Some steps failed, and `check` is set; names each with its error and its command.
    """
    from cvbench.jobs.study.reference import reference_study

    places = {
        name: None if place is None else os.fspath(place)
        for name, place in (("data_root", data_root), ("store", store), ("out", out))
    }
    study = reference_study(scale, design, **places, given=words_of(set))
    return _carried_out(study, f"reproduce --scale {scale}", check, progress)


def _carried_out(study: Planned, file: str, check: bool, progress: bool) -> Study:
    from cvbench.jobs.study.outcomes import check_outcomes
    from cvbench.jobs.study.run import run_study

    ended = run_study(study, lambda: listening(progress))
    if check:
        check_outcomes(ended)
    steps = [
        Step(
            one.name,
            one.state,
            f"needs {', '.join(one.because)}" if one.because else str(one.error.get("what", "")) or ", ".join(one.left),
            one.command,
            one.left,
            one.seconds,
            one.error,
        )
        for one in ended
    ]
    return Study(file, study.store, study.out, steps)


def status(file: str | os.PathLike[str], *, set: Values = ()) -> Study:
    """Say what of a study is done, what is missing, and what failed last. Nothing runs.

    Args:
        file: A YAML file, see `cvbench config init`.
        set: As for `run`.

    Raises:
        DataUnavailableError: There is no file.
        UsageError: Something is wrong with it; with the line.
    """
    from cvbench.jobs.study.states import states_of
    from cvbench.jobs.study.study import read_study

    study = read_study(os.fspath(file), words_of(set))
    steps = [
        Step(one.name, one.state, one.words, one.command, one.results, None, one.error) for one in states_of(study)
    ]
    return Study(os.fspath(file), study.store, study.out, steps)


def words_of(values: Values) -> list[str]:
    """The words of `--set`.

    >>> words_of({"extract.limit": 64, "report.pdf": True, "store": "a b.zarr"})
    ['extract.limit=64', 'report.pdf=true', 'store="a b.zarr"']
    """
    if isinstance(values, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return [values] if isinstance(values, str) else list(values)
