"""What an analysis, an evaluation or a transfer gives: one tidy table, the arrays beside it, and the figure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cvbench.api import markup
from cvbench.errors import UsageError
from cvbench.texts import json_value, printable

if TYPE_CHECKING:
    import pandas as pd
    import xarray
    from matplotlib.figure import Figure

    from cvbench.jobs.results.entry import Entry, Kept
    from cvbench.jobs.results.entry import Result as Arrays
    from cvbench.jobs.results.row import Row

_SUFFIXES = (".csv", ".json", ".parquet")


class Rows(Sequence["Row"]):
    """Rows of the one table, in which every number of cvbench stands in the same columns: those of `Row`."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Rows: ...
    def __getitem__(self, at: int | slice) -> Row | Rows:
        return Rows(self._rows[at]) if isinstance(at, slice) else self._rows[at]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """One line for each row, the columns of `Row`; NaN where a number is undefined."""
        import pandas as pd

        from cvbench.jobs.results.row import COLUMNS, NUMBERS, plain

        frame = pd.DataFrame([plain(row) for row in self._rows], columns=list(COLUMNS))
        return frame.astype(dict.fromkeys(NUMBERS, "float64"))

    def __repr__(self) -> str:
        return f"Rows({len(self)} numbers of {len({row.metric for row in self._rows})} metrics)"

    def _repr_html_(self) -> str:
        return markup.box("", self._markup())

    def _markup(self) -> str:
        columns = ("what", "of", "where", "at", "value", "interval", "p", "verdict", "n", "note")
        cells = (
            (
                row.title,
                row.subject,
                row.factor,
                "" if row.at is None else f"{row.at:.4g}",
                _number(row.value),
                "" if row.low is None or row.high is None else f"[{_number(row.low)}, {_number(row.high)}]",
                "" if row.p is None else _number(row.p),
                row.verdict,
                str(row.n or ""),
                row.note,
            )
            for row in self._rows
        )
        return markup.table(columns, cells, numbers=("at", "value", "interval", "p", "n"))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2e}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


@dataclass(frozen=True)
class Part:
    """One result as it is kept, with its rows.

    Attributes:
        entry: How it is shown; None of what this cvbench cannot read, and of a fine-tuning.
        arrays: Labelled arrays and attributes.
        path: In the store, or a file.
        problem: Why there is no entry.
    """

    entry: Entry | None
    arrays: Arrays
    rows: tuple[Row, ...]
    path: str
    command: str
    problem: str = ""

    @property
    def headline(self) -> list[Row]:
        return list(self.rows) if self.entry is None else self.entry.main_rows(self.arrays, self.rows)

    @property
    def sentences(self) -> list[str]:
        return [] if self.entry is None else self.entry.sentences(self.arrays, self.rows)


class Result:
    """A result, or several that one command has made, such as one for each data set.

    `table` has every number; `to_pandas`, `to_xarray`, `figure` and `save` give them in other forms.

    Attributes:
        analysis: Its name, such as "cka".
        command: The command line that makes it.
    """

    def __init__(self, analysis: str, parts: Sequence[Part], command: str, store: str = "") -> None:
        self.analysis, self.command = analysis, command
        self._parts, self._store = tuple(parts), store

    @classmethod
    def of_kept(cls, analysis: str, kept: Iterable[Kept], command: str, store: str) -> Result:
        """Make one from what a command has kept, which need not be of its own entry."""
        from cvbench.jobs.registry import entry_of

        parts = []
        for one in kept:
            entry, arrays = entry_of(one.result.name), one.named
            assert entry is not None
            parts.append(Part(entry, arrays, tuple(entry.rows_of(arrays)), one.path, command))
        return cls(analysis, parts, command, store)

    @property
    def parts(self) -> tuple[Result, ...]:
        """Each result by itself, if the command has kept several."""
        return tuple(Result(one.arrays.name, [one], one.command, self._store) for one in self._parts)

    @property
    def paths(self) -> tuple[str, ...]:
        """Places of the results in the store; of a fine-tuning the file of the weights."""
        return tuple(one.path for one in self._parts)

    @cached_property
    def table(self) -> Rows:
        """Every number: one row each."""
        return Rows(row for one in self._parts for row in one.rows)

    @cached_property
    def headline(self) -> Rows:
        """The few numbers that say the most, the main ones first."""
        return Rows(row for one in self._parts for row in one.headline)

    @property
    def verdicts(self) -> Rows:
        """The numbers that are judged: each has a verdict on whether it may be 0, and mostly an adjusted p."""
        return Rows(row for row in self.table if row.verdict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the numbers must know."""
        notes = [str(note) for one in self._parts for note in one.arrays.attrs.get("notes", ())]
        return tuple(dict.fromkeys([*notes, *(one.problem for one in self._parts if one.problem)]))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Sentences on how the numbers were made and are judged."""
        return tuple(dict.fromkeys(text for one in self._parts for text in one.sentences))

    @property
    def attrs(self) -> dict[str, Any]:
        """Parameters and origin of the result; of several those of the main one, see `to_xarray`."""
        return dict(self._main().arrays.attrs)

    def to_pandas(self) -> pd.DataFrame:
        """`table` as a data frame."""
        return self.table.to_pandas()

    def to_xarray(self) -> xarray.Dataset:
        """The arrays beside the table (matrices, maps, points), with named axes and coordinates.

        Attributes tell the parameters, the data set, and the versions of the packages that made it.

        Raises:
            UsageError: The command has kept several results of its kind: take one of `parts`.
        """
        import xarray

        one = self._main().arrays
        data = {name: (dims, values) for name, (dims, values) in one.data.items()}
        attrs = {**one.attrs, "analysis": one.name, **self._versions()}
        return xarray.Dataset(data, coords=one.coords, attrs=attrs)

    def figure(self) -> Figure:
        """The result as a matplotlib figure; several results of one kind beside each other, where that says more.

        Raises:
            UsageError: There is no figure of it.
        """
        from cvbench.jobs.figures.base import drawn

        own = [one for one in self._parts if one.arrays.name == self.analysis] or self._parts
        if len(own) > 1:
            return self._overview(own)
        (one,) = own
        draw = None if one.entry is None else one.entry.figure
        if draw is None:
            raise UsageError(f"there is no figure of {self.analysis}", why="its table says all", fix=".table")
        return _shown(drawn(lambda: draw(one.arrays, one.rows)), self.analysis)

    def _overview(self, own: Sequence[Part]) -> Figure:
        from cvbench.jobs.figures.base import drawn

        entry = own[0].entry
        overview = None if entry is None else entry.overview
        arrays: Sequence[Arrays] = [one.arrays for one in own]
        if entry is not None and entry.compared is not None:
            arrays = entry.compared(arrays)
        if overview is None or len(arrays) < 2:
            raise UsageError(
                f"there is no figure of {len(own)} results of {self.analysis} together", fix=".parts[0].figure()"
            )
        runs = {str(one.attrs.get("run", "")) for one in arrays}
        rows = [row for one in own for row in one.rows if row.run in runs]
        return _shown(drawn(lambda: overview(arrays, rows)), self.analysis)

    def to_dict(self) -> dict[str, Any]:
        """The document that the command prints with `--format json`: plain values, None where a number is undefined."""
        from cvbench.jobs.results.document import document

        arrays = [(one.arrays, () if one.entry is None else one.entry.arrays) for one in self._parts]
        found = json_value(document(arrays, self.table))
        assert isinstance(found, dict)
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table; the suffix says how: .csv, .json (with parameters and notes) or .parquet.

        Returns:
            The file; one that was there is replaced.

        Raises:
            UsageError: Another suffix.
            ResourceError: It cannot be written.
        """
        from cvbench.jobs.figures.base import cannot_write, write_whole
        from cvbench.jobs.results.document import csv_text, parquet_bytes

        target = Path(path).expanduser()
        if target.suffix == ".csv":
            data = csv_text(self.table).encode(errors="backslashreplace")
        elif target.suffix == ".json":
            data = (json.dumps(self.to_dict(), indent=2) + "\n").encode()
        elif target.suffix == ".parquet":
            data = parquet_bytes(self.table)
        else:
            raise UsageError(
                f"a result cannot be saved as {target.name!r}", fix=f"a name that ends in {', '.join(_SUFFIXES)}"
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(error, target) from error
        write_whole(target, data)
        return target

    def _main(self) -> Part:
        """The one result of the command's own kind."""
        own = [one for one in self._parts if one.arrays.name == self.analysis] or list(self._parts)
        if len(own) != 1:
            where = ", ".join(one.path for one in own)
            raise UsageError(f"these are {len(own)} results of {self.analysis}", where=where, fix=".parts[0]")
        return own[0]

    def _versions(self) -> dict[str, str]:
        """The versions that the store has kept with a result; none of one that is in no store."""
        one = self._main()
        if "versions" in one.arrays.attrs or not self._store:
            return {}
        from cvbench.jobs.report.collect import kept_result

        return {"versions": kept_result(self._store, one.path).attrs["versions"]}

    def __len__(self) -> int:
        """Count the numbers."""
        return len(self.table)

    def __repr__(self) -> str:
        where = dict.fromkeys(f"{row.dataset}/{row.split}" for row in self.table if row.dataset)
        several = f", {len(self._parts)} parts" if len(self._parts) > 1 else ""
        of = printable(", ".join(where)) or "no data set"
        return f"Result({self.analysis!r} of {of}: {len(self)} numbers{several})"

    def _repr_html_(self) -> str:
        titles = dict.fromkeys(one.arrays.name if one.entry is None else one.entry.title for one in self._parts)
        said = [markup.line(text) for text in (*self.sentences, *(f"note: {note}" for note in self.notes))]
        count = markup.line(f"{len(self)} numbers in .table; kept as {', '.join(self.paths)}")
        return markup.box("; ".join(titles), self.headline._markup(), *said, count, markup.code(self.command))


def _shown(figure: Figure | None, analysis: str) -> Figure:
    """The figure; a notebook shows it, whether or not it has set up matplotlib."""
    if figure is None:
        raise UsageError(f"there is nothing to draw of this result of {analysis}", fix=".table")
    figure._repr_png_ = _Png(figure)  # type: ignore[attr-defined]
    return figure


@dataclass(frozen=True, eq=False)
class _Png:
    figure: Figure

    def __call__(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()
