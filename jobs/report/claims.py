"""The claims of papers as a store answers them: for its report, and by themselves."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvbench.errors import UsageError
from cvbench.jobs.claims.claim import Claim
from cvbench.jobs.claims.judge import RULE, ClaimVerdict, Outcome, judge_claims
from cvbench.jobs.claims.limits import ResultFacts
from cvbench.jobs.claims.published import published, read_file
from cvbench.jobs.claims.sides import Side, sides_of
from cvbench.jobs.reading.options import DEFAULT_STORE
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.report.lines import decimals, number, p_text
from cvbench.jobs.report.provenance import Provenance, provenance
from cvbench.jobs.results.row import Row
from cvbench.jobs.running.places import absolute
from cvbench.storage.features import FeatureStore


@dataclass(frozen=True)
class JudgedClaims:
    """The outcomes of all claims in a store, and the side of each of its backbones, None where it is not known."""

    outcomes: tuple[Outcome, ...]
    sides: Mapping[str, Side | None]

    @property
    def unknown(self) -> str:
        """A sentence on the backbones that are on no side; "" if there are none."""
        names = [name for name, side in self.sides.items() if side is None]
        return f"on neither side by their names, so left out: {', '.join(names)}" if names else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        claims = [one.as_dict() for one in self.outcomes]
        return {"schema_version": 1, "rule": RULE, "sides": dict(self.sides), "claims": claims}


@dataclass(frozen=True)
class ClaimLine:
    """An outcome as text.

    Attributes:
        expected: What the claim says of the number.
        value, interval, p: "" of what is not run.
        where: Data set, split, the view if the claim is of one, and the factor of the number.
        anchor: The section of its result in the page; "" of what is not run.
        command: What makes its rows; "" if nothing does.
    """

    sentence: str
    estimator: str
    paper: str
    place: str
    published: str
    metric: str
    subject: str
    where: str
    expected: str
    number: float | None
    value: str
    interval: str
    p: str
    verdict: str
    reason: str
    run: str
    anchor: str
    row: str
    command: str

    @property
    def source(self) -> str:
        """The paper, and where in it."""
        return f"{self.paper}, {self.place}"

    @property
    def found(self) -> str:
        """Value and interval."""
        return f"{self.value} [{self.interval.replace(' to ', ', ')}]" if self.interval else self.value


@dataclass(frozen=True)
class Answered:
    """A claim with all its answers.

    Attributes:
        verdicts: Verdict -> how many of the lines have it, in the order in which they are counted above.
        found: Value and interval of the one line, or from which to which value several are.
    """

    lines: tuple[ClaimLine, ...]
    verdicts: tuple[tuple[str, int], ...]
    found: str


def judge_store(store: str, files: Sequence[str] = ()) -> JudgedClaims:
    """Judge all claims by the results of a store, which is only read.

    Raises:
        DataUnavailableError: There is no store, or no result in it; says what to run first.
        IntegrityError: A result is damaged.
    """
    more = own_claims(files)
    opened = FeatureStore.open(absolute(store))
    shown = public_url(store)
    return judge_items(collect(opened, shown), provenance(opened, shown), shown, more)


def own_claims(files: Sequence[str]) -> list[Claim]:
    """The claims of files in the form of jobs/claims/published.toml; their ids are new.

    Raises:
        UsageError: A file cannot be read, is not of that form, or has an id that is there.
    """
    known = {claim.id: "published.toml" for claim in published()}
    found: list[Claim] = []
    for path in files:
        for claim in read_file(path):
            if claim.id in known:
                raise UsageError(
                    f"the claim {claim.id!r} is already in {known[claim.id]}",
                    where=path,
                    fix="give it an id of its own",
                )
            known[claim.id] = path
            found.append(claim)
    return found


def judge_items(items: Sequence[Item], facts: Provenance, shown: str, more: Sequence[Claim] = ()) -> JudgedClaims:
    """Judge all published claims, and `more`, by collected results. `shown`: how commands name the store."""
    rows = [row for item in items for row in item.rows]
    named = dict.fromkeys(name for row in rows for name in (row.backbone, row.backbone_b) if name)
    models = {name: name for name in named} | {one.name: one.model for one in facts.backbones if one.name in named}
    sides = sides_of(models)
    claims = [_in_store(claim, shown) for claim in (*published(), *more)]
    known = {
        item.key.path: ResultFacts(str(item.result.attrs.get("view", "")), tuple(item.result.attrs.get("notes", ())))
        for item in items
    }
    return JudgedClaims(tuple(judge_claims(claims, rows, sides, known)), sides)


def _in_store(claim: Claim, shown: str) -> Claim:
    """The claim with a command that makes its numbers in this store."""
    if not claim.command or shown == DEFAULT_STORE:
        return claim
    return replace(claim, command=f"{claim.command} --store {shlex.quote(shown)}")


def row_anchors(outcomes: Sequence[Outcome]) -> dict[Row, str]:
    """Name the rows that answer claims, as parts of a page that a link goes to."""
    rows = dict.fromkeys(one.row for one in outcomes if one.row is not None)
    return {row: f"row-{number}" for number, row in enumerate(rows, start=1)}


def claim_lines(
    outcomes: Sequence[Outcome], anchors: Mapping[str, str], rows: Mapping[Row, str] | None = None
) -> tuple[ClaimLine, ...]:
    """Write outcomes as text.

    Args:
        outcomes: In the order of the lines.
        anchors: Path of a result -> its section in the page.
        rows: Row -> its name in the page.
    """
    return tuple(_line(one, anchors, rows or {}) for one in outcomes)


def _line(one: Outcome, anchors: Mapping[str, str], rows: Mapping[Row, str]) -> ClaimLine:
    claim, row = one.claim, one.row
    places = 3 if row is None else decimals(row)
    where = "" if row is None else ", ".join(filter(None, (f"{row.dataset}/{row.split}", claim.view, row.factor)))
    known = one.low is not None and one.high is not None
    return ClaimLine(
        sentence=claim.sentence,
        estimator=claim.estimator,
        paper=claim.source,
        place=claim.place,
        published=claim.published,
        metric=claim.metric,
        subject=one.subject,
        where=where,
        expected=f"{'above' if claim.direction > 0 else 'below'} {claim.direction * claim.smallest + 0.0:g}",
        number=one.value,
        value="" if row is None else number(one.value, places),
        interval=f"{number(one.low, places)} to {number(one.high, places)}" if known else "",
        p="" if one.p is None else p_text(one.p),
        verdict=one.verdict.value,
        reason=one.reason,
        run="" if row is None else row.run,
        anchor="" if row is None else anchors.get(row.run, ""),
        row="" if row is None else rows.get(row, ""),
        command=one.command,
    )


def by_paper(found: Sequence[ClaimLine]) -> dict[str, list[Answered]]:
    """Paper -> its claims, each with its lines together, in their order."""
    groups: dict[tuple[str, str, str], list[ClaimLine]] = {}
    for line in found:
        groups.setdefault((line.paper, line.sentence, line.place), []).append(line)
    papers: dict[str, list[Answered]] = {}
    for (paper, _, _), mine in groups.items():
        papers.setdefault(paper, []).append(_answered(mine))
    return papers


def _answered(mine: Sequence[ClaimLine]) -> Answered:
    counts = Counter(line.verdict for line in mine)
    verdicts = tuple((name.value, counts[name.value]) for name in ClaimVerdict if name.value in counts)
    if len(mine) == 1:
        return Answered(tuple(mine), verdicts, mine[0].found)
    ends = sorted((line for line in mine if line.number is not None), key=lambda line: line.number or 0.0)
    spread = f"{ends[0].value} to {ends[-1].value}" if ends else "undefined"
    return Answered(tuple(mine), verdicts, f"{spread}, {len(mine)} answers")
