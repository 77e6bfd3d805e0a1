"""What an analysis or an evaluation is to the command line, to `extract --analyze` and to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cvbench.engine.analyses.base import Layer
from cvbench.engine.analyses.base import Result as Result
from cvbench.engine.analyses.live import LiveAnalysis
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import Row, placed
from cvbench.options import Form

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Interactive(Protocol):
    """The interactive form of a figure: `cvbench.jobs.figures.charts.base.Twin`."""

    def as_dict(self) -> dict[str, Any]: ...


class Kept(Protocol):
    """A result and its path in the store: `Analysed`, or `Evaluated`."""

    @property
    def result(self) -> Result: ...

    @property
    def path(self) -> str: ...

    @property
    def named(self) -> Result:
        """The result whose attributes also have `run` (the path), `dataset`, `split` and `view`, as the report's."""


@dataclass(frozen=True)
class LiveSetting:
    """Facts of an extraction that are known before it begins.

    Attributes:
        shapes: Layer -> (1, height, width, channels) of its maps, in the order of the result.
        inputs: Backbone -> (height, width) of its input in pixels.
        batch: Images per forward pass.
        samples: Covered in all.
    """

    shapes: Mapping[Layer, tuple[int, int, int, int]]
    inputs: Mapping[str, tuple[int, int]]
    batch: int
    samples: int


@dataclass(frozen=True)
class Live:
    """Form of an analysis that is measured while the layers are computed.

    Attributes:
        make: What measures it, see `engine.analyses.live`. A `UsageError` refuses a setting.
        of_classes: Whether its field `classes` takes the class number of each sample, for its intervals.
        wants: What of it needs a grid, for the note on layers without one, which are left out; "": it takes any layer.
    """

    make: Callable[[LiveSetting], LiveAnalysis]
    of_classes: bool = False
    wants: str = ""


@dataclass(frozen=True)
class Entry:
    """One analysis or evaluation.

    Attributes:
        name: As in the store, in the registry, and of its command.
        title: Heading, in the field's words.
        about: What is shown, how to read it, and the source; two to four sentences of plain text.
        rows: Of a result, all its numbers. `result.attrs` also has `run`, `dataset`, `split` and `view`, which the
            rows need not say.
        command: What follows `cvbench` in the command that makes this result again, without `--store`.
        run: Called with what each form makes, and a listener; gives what it kept. None: it has no command of its own.
        forms: The options; empty where the registry says where they stand apart from what is slow to import.
        headline: (result, its rows) -> the few of them that a short table shows, the main ones first; None: all.
        question: What a reader asks of it first; None: the first difference of the main ones is told.
        unit: What n counts, such as "images"; "" where it is not the same for all numbers.
        figure: (result, its rows) -> its figure, drawn with matplotlib; None if a table says all.
        chart: (result, its rows) -> the interactive form of its figure; None if it has none.
        charts: The same of several results of the analysis together, of those that `charted` chooses; None: of none.
        overview: The same of several results of the analysis beside each other; None if there is nothing to compare.
        compared: Of several results those that the overview is of; None: all.
        arrays: Variables and coordinates of a result that no row has, such as points of a map: they go into its JSON.
        points: What the CSV beside the figure has, where this is not the rows.
        said: Sentences on a result, for under its numbers, beyond its attributes `intervals`, `family`, `verdicts` and
            `notes`, which every entry's are shown.
        caution: What a reader must know of a result that an earlier version has kept; None: nothing.
        named_by: Attributes in the name of the figure that `--out` gets, behind data set and split.
        live: If it can be measured while layers are computed.
        unsaid: Keys of options that `command` leaves out, as they change no number: they choose what is drawn or
            written beside it.
    """

    name: str
    title: str
    about: str
    rows: Callable[[Result], Iterable[Row]]
    command: Callable[[Result], list[str]]
    run: Callable[..., Sequence[Kept]] | None = None
    forms: Sequence[Form | type[Any]] = ()
    headline: Callable[[Result, Sequence[Row]], Iterable[Row]] | None = None
    question: Question | None = None
    unit: str = ""
    figure: Callable[[Result, Sequence[Row]], Figure] | None = None
    chart: Callable[[Result, Sequence[Row]], Interactive | None] | None = None
    charts: Callable[[Sequence[Result], Sequence[Row]], Interactive | None] | None = None
    charted: Callable[[Sequence[Result]], Sequence[Result]] | None = None
    overview: Callable[[Sequence[Result], Sequence[Row]], Figure | None] | None = None
    compared: Callable[[Sequence[Result]], Sequence[Result]] | None = None
    arrays: Sequence[str] = ()
    points: Callable[[Result], Iterable[Mapping[str, Any]]] | None = None
    said: Callable[[Result], Iterable[str]] | None = None
    caution: Callable[[Result], list[str]] | None = None
    named_by: Sequence[str] = ()
    live: Live | None = None
    unsaid: Sequence[str] = ()

    def rows_of(self, result: Result) -> list[Row]:
        """All its numbers, each with where it is from."""
        return placed(result, self.rows(result))

    def main_rows(self, result: Result, rows: Sequence[Row]) -> list[Row]:
        """Those of a short table."""
        return list(rows if self.headline is None else self.headline(result, rows))

    def sentences(self, result: Result, rows: Sequence[Row]) -> list[str]:
        """Sentences that stand under the numbers of a result, but for its notes."""
        attrs = result.attrs
        said = [] if self.said is None else list(self.said(result))
        said += [f"intervals: {attrs[key]}" for key in ("intervals", "interval") if isinstance(attrs.get(key), str)]
        family = [attrs["family"]] if "family" in attrs and any(row.verdict for row in rows) else []
        return [*said, *attrs.get("verdicts", ()), *family]
