"""What a store has kept: its results, the claims that they bear out, and the report of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cvbench.api import markup
from cvbench.api.progress import listening
from cvbench.api.result import Result
from cvbench.api.stores import Store

if TYPE_CHECKING:
    import pandas as pd

    from cvbench.jobs.claims.judge import Outcome
    from cvbench.jobs.report import Report
    from cvbench.jobs.report.claims import JudgedClaims

StoreLike = str | os.PathLike[str] | Store


def results(
    store: StoreLike = "./cvbench.zarr",
    analysis: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
) -> list[Result]:
    """Read the results that a store has kept, in the order of the report; none of a store that has none.

    Args:
        store: Path, URL, or what `open_store` gives.
        analysis: Only of this analysis, such as "cka"; "shape_bias" and "shape-bias" are the same.
        dataset: Only of this data set; "digits/test" names the split too.
        split: Only of this split.

    Raises:
        DataUnavailableError: There is no store.
        IntegrityError: A result is damaged.
    """
    return Store(os.fspath(store)).results(analysis=analysis, dataset=dataset, split=split)


class Claims:
    """Claims of papers, each as the results of a store answer it.

    Attributes:
        outcomes: One for each number that answers a claim; of a claim that nothing answers one that says why.
        unknown: A sentence on backbones that are on neither side; "" if there are none.
    """

    def __init__(self, judged: JudgedClaims) -> None:
        self._judged = judged
        self.outcomes: tuple[Outcome, ...] = judged.outcomes
        self.unknown = judged.unknown

    @property
    def rule(self) -> str:
        """The rule by which verdicts are made."""
        from cvbench.jobs.claims.judge import RULE

        return RULE

    def to_pandas(self) -> pd.DataFrame:
        """One row for each outcome: claim, source, verdict, value with its interval, adjusted p, and the command."""
        import pandas as pd

        return pd.DataFrame([one.as_dict() for one in self.outcomes])

    def __len__(self) -> int:
        return len(self.outcomes)

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for one in self.outcomes:
            counts[one.verdict.value] = counts.get(one.verdict.value, 0) + 1
        return f"Claims({', '.join(f'{count} {verdict}' for verdict, count in counts.items())})"

    def _repr_html_(self) -> str:
        from cvbench.jobs.report.claims import claim_lines

        lines = claim_lines(self.outcomes, {})
        columns = ("verdict", "claim", "source", "value", "interval", "p", "of", "because")
        rows = [
            (one.verdict, one.sentence, one.source, one.value, one.interval, one.p, one.subject, one.reason)
            for one in sorted(lines, key=lambda one: not one.run)
        ]
        said = [markup.line(self.rule), *([markup.line(self.unknown)] if self.unknown else [])]
        return markup.box(repr(self), markup.table(columns, rows, numbers=("value", "interval", "p")), *said)


def claims(
    store: StoreLike = "./cvbench.zarr", files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = ()
) -> Claims:
    """Judge what papers claim by the results of a store, which is only read. `cvbench claims` prints the same.

    Args:
        store: Path, URL, or what `open_store` gives.
        files: TOML files of claims of your own, judged beside the published ones.

    Raises:
        DataUnavailableError: There is no store, or no result in it; says what to run first.
        UsageError: A file of claims is not of that form.
        IntegrityError: A result is damaged.
    """
    from cvbench.jobs.report.claims import judge_store

    own = [files] if isinstance(files, str | os.PathLike) else files
    return Claims(judge_store(os.fspath(store), [os.fspath(one) for one in own]))


def report(
    store: StoreLike = "./cvbench.zarr",
    out: str | os.PathLike[str] = "report",
    *,
    pdf: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    claims: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
) -> Report:
    """Write all results of a store as one HTML page, the figures as files, and one table of all numbers.

    The page needs no network. The same store gives the same bytes. `cvbench report` does the same.

    Args:
        store: Path, URL, or what `open_store` gives.
        out: Folder for the page, the figures and the tables.
        pdf: Draw every figure as PDF too.
        data_root: Folder with data sets: points of a map then show small pictures of their images.
        claims: TOML files of claims of your own, judged beside the published ones.
        progress: Print notes, to stderr.

    Returns:
        The files: `page`, `figures`, `tables`.

    Raises:
        DataUnavailableError: There is no store, or no result in it; says what to run first.
        UsageError: A file of claims cannot be read.
        ResourceError: The folder cannot be written.
        IncompleteError: The report is written, but some results could not be read and are shown raw.
    """
    from cvbench.jobs.report import complete
    from cvbench.jobs.report import report as write
    from cvbench.jobs.running.places import check_folder

    check_folder(os.fspath(out))
    with listening(progress) as listen:
        root = None if data_root is None else os.fspath(data_root)
        own = [claims] if isinstance(claims, str | os.PathLike) else claims
        files = [os.fspath(one) for one in own]
        made = write(os.fspath(store), os.fspath(out), listen, pdf=pdf, data_root=root, claims=files)
    complete(made)
    return made
