"""What an analysis or an evaluation is to the command line, to `extract --analyze` and to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.live import LiveAnalysis
from cvbench.jobs.results.row import TidyRow
from cvbench.options import Form

Draw = Callable[[Result, Path, Sequence[str]], list[Path]]
"""(result, path without suffix, formats) -> the files written, the CSV last."""


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
    """What is known of an extraction before it begins.

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
    """How an analysis is measured while the layers are computed.

    Attributes:
        make: What measures it, see `engine.analyses.live`. A `UsageError` refuses a setting.
        of_classes: Whether its field `classes` takes the class number of each sample, for its intervals.
    """

    make: Callable[[LiveSetting], LiveAnalysis]
    of_classes: bool = False


@dataclass(frozen=True)
class Entry:
    """One analysis or evaluation.

    Attributes:
        name: As in the store, in the registry, and of its command.
        title: Heading, in the field's words.
        about: What is shown, how to read it, and the source; two to four sentences of plain text.
        rows: Tidy rows of a result. `result.attrs` also has `run`, `dataset`, `split` and `view`.
        command: What follows `cvbench` in the command that makes this result again, without `--store`.
        run: Called with what each form makes, and a listener; gives what it kept. None: it has no command of its own.
        forms: The options; empty where the registry says where they stand apart from what is slow to import.
        figure: Draws it; None if a table says all.
        headline: The few rows that a short table shows; None: all of `rows`.
        overview: Draws several results of the analysis beside each other; no file if there is nothing to compare.
        caution: What a reader must know of a result that an earlier version has kept; None: nothing.
        named_by: Attributes in the name of the figure that `--out` gets, behind data set and split.
        draw: Draws what one command has kept, into a folder; None: `figure`, one by one.
        live: If it can be measured while layers are computed.
    """

    name: str
    title: str
    about: str
    rows: Callable[[Result], Iterator[TidyRow]]
    command: Callable[[Result], list[str]]
    run: Callable[..., Sequence[Kept]] | None = None
    forms: Sequence[Form | type[Any]] = ()
    figure: Draw | None = None
    headline: Callable[[Result], Iterator[TidyRow]] | None = None
    overview: Callable[[Sequence[Result], Path, Sequence[str]], list[Path]] | None = None
    caution: Callable[[Result], list[str]] | None = None
    named_by: Sequence[str] = ()
    draw: Callable[[Sequence[Any], Path], list[Path]] | None = None
    live: Live | None = None
