"""The page: what each part of it says, and its rendering. The template only lays out what is prepared here."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.claims.judge import RULE, Outcome
from cvbench.jobs.claims.published import study_places
from cvbench.jobs.report import headings
from cvbench.jobs.report.claims import JudgedClaims, by_paper, claim_lines, row_anchors
from cvbench.jobs.report.collect import Item
from cvbench.jobs.report.figures import Picture
from cvbench.jobs.report.finding import finding
from cvbench.jobs.report.headings import BOOKKEEPING, parameters
from cvbench.jobs.report.interactive import NOTHING, Interactive, Live, library, policy, script
from cvbench.jobs.report.lines import Line, lines, number
from cvbench.jobs.report.provenance import Provenance
from cvbench.jobs.results.row import COLUMNS, Row

FEW = 80  # rows that are all put into the page; more are in the tables beside it
SHOWN = 24  # rows of a result without a headline of its own
OPEN = 12  # of those, that are not folded
SPARED = 3  # more than these are folded
_JUDGED = ("similarity", "spectra", "maps", "cam", "tsne")  # whose intervals have a version


@dataclass(frozen=True)
class Block:
    """One result.

    Attributes:
        heading, mark: Data set, split, layers, and what tells it from its siblings; that alone.
        facts: Of what it is.
        unit: What n counts.
        notes, said: What a reader must know before the numbers, and what is said of them below.
        lines: The first of the short table; `more`: what follows; `rest`: all rows if they are few and more than those;
            `total`: how many there are.
        found: One sentence of what is seen.
        live: The interactive form of its figure; None if it has none.
        folded: Whether its figure is, as the chapter shows it with those of others.
        command: What makes it again, cut where a line may break: before options.
        variables: (name, dimensions, shape, values) of a result that no entry can read.
    """

    anchor: str
    heading: str
    mark: str
    facts: str
    run: str
    backbones: tuple[str, ...]
    unit: str
    level: str
    found: str
    picture: Picture | None
    live: Live | None
    folded: bool
    notes: tuple[str, ...]
    said: tuple[str, ...]
    lines: tuple[Line, ...]
    more: tuple[Line, ...]
    rest: tuple[Line, ...]
    total: int
    command: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True)
class Chapter:
    """One analysis with its results; `place`: the figure or table of the reference study that it makes again."""

    anchor: str
    place: str
    title: str
    about: str
    overview: Picture | None
    overview_live: Live | None
    blocks: tuple[Block, ...]


def chapters(
    items: Sequence[Item],
    pictures: Mapping[str, Picture | None],
    live: Interactive = NOTHING,
    anchors: Mapping[Row, str] | None = None,
) -> list[Chapter]:
    """One chapter per analysis in the order of the items, and a last one for the results that no entry can read.

    Args:
        items: As collected.
        pictures: By name of an item, and by analysis for the overview.
        live: The interactive forms of the same.
        anchors: Names of the rows that claims point to; each stands in its result's short table.
    """
    found, named, study = [], anchors or {}, headings.places_of_study(study_places())
    for analysis in dict.fromkeys(item.key.analysis for item in items if item.entry is not None):
        mine = [item for item in items if item.key.analysis == analysis and item.entry is not None]
        entry = mine[0].entry
        assert entry is not None
        blocks = tuple(_blocks(mine, pictures, live, named))
        overview = pictures.get(analysis), live.figures.get(analysis)
        found.append(Chapter(analysis, study.get(analysis, ""), entry.title, entry.about, *overview, blocks))
    raw = [item for item in items if item.entry is None]
    if raw:
        about = (
            "These results are in the store, but this version of cvbench cannot explain them. Their variables are "
            "listed as they are kept."
        )
        blocks = tuple(_blocks(raw, pictures, live, named))
        found.append(Chapter("raw-results", "", "Other results", about, None, None, blocks))
    return found


def render(
    store: str,
    facts: Provenance,
    items: Sequence[Item],
    parts: Sequence[Chapter],
    claims: JudgedClaims,
    live: Interactive = NOTHING,
) -> str:
    """The HTML page, with claims if one of them at least could be judged.

    All that comes from data is escaped, or a block of JSON; nothing runs but the library and the page's own script,
    and nothing is loaded.
    """
    from jinja2 import Environment, StrictUndefined

    here = resources.files("cvbench.jobs.report")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    drawn = any(one.id for one in live.figures.values())
    scripts = [library(), script()] if drawn else []
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["count"] = lambda value: f"{value:,}"
    blocks = [block for chapter in parts for block in chapter.blocks]
    names = [backbone.name for backbone in facts.backbones] or [name for block in blocks for name in block.backbones]
    anchors = {block.run: block.anchor for block in blocks}
    judged = [one for one in claims.outcomes if one.judged]
    template = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        store=store,
        facts=facts,
        chapters=parts,
        style=style,
        policy=policy(style, scripts),
        scripts=scripts,
        sheets=live.sheets,
        marks={block.run: block.mark for block in blocks},
        title=headings.title(list(dict.fromkeys(names)), items),
        counts=_counts(judged, claims.outcomes),
        names=list(dict.fromkeys(names)),
        results=len(blocks),
        numbers=sum(block.total for block in blocks),
        columns=COLUMNS,
        claims=by_paper(claim_lines(judged, anchors, row_anchors(judged))),
        not_run=claim_lines([one for one in claims.outcomes if not one.judged], anchors),
        no_side=claims.unknown,
        rule=RULE,
    )


def _counts(judged: Sequence[Outcome], outcomes: Sequence[Outcome]) -> str:
    """Count how many of the claims hold, and so on, in a sentence."""
    verdicts = [one.verdict.value for one in judged]
    plural = {"holds": "hold", "does not hold": "do not hold"}
    found = [name for name in ("holds", "does not hold", "not resolved") if name in verdicts]
    words = [f"{verdicts.count(name)} {plural.get(name, name)}" for name in found]
    return f"Of {len(outcomes)} verdicts: {', '.join([*words, f'{len(outcomes) - len(judged)} not run'])}."


def _blocks(
    items: Sequence[Item], pictures: Mapping[str, Picture | None], live: Interactive, anchors: Mapping[Row, str]
) -> Iterator[Block]:
    for item, mark in zip(items, headings.marks(items), strict=True):
        attrs = item.result.attrs
        few = len(item.rows) <= FEW
        shown = item.headline if len(item.headline) < len(item.rows) or few else item.headline[:SHOWN]
        claimed = [row for row in item.rows if row in anchors and row not in shown]
        short = lines([*shown, *claimed], anchors)
        first = [line for at, line in enumerate(short) if at < OPEN or line.anchor or len(short) <= OPEN + SPARED]
        yield Block(
            anchor=item.name,
            heading=headings.heading(item, mark),
            mark=mark,
            facts=headings.facts(item),
            run=item.key.path,
            backbones=tuple(headings.backbones(item)),
            unit="n" if item.entry is None else item.entry.unit or "n",
            level=f"{attrs.get('confidence', 0.95):.0%}".replace("%", " %"),
            found=finding(item.headline, None if item.entry is None else item.entry.question),
            picture=pictures.get(item.name),
            live=live.figures.get(item.name),
            folded=item.name in live.joint,
            notes=tuple(_notes(item)),
            said=tuple(_said(item)),
            lines=tuple(first),
            more=tuple(line for line in short if line not in first),
            rest=lines(item.rows) if few and len(short) < len(item.rows) else (),
            total=len(item.rows),
            command=tuple(_phrases(item.command)),
            parameters=tuple((name.replace("_", " "), text) for name, text in parameters(item).items()),
            variables=tuple(_variables(item)) if item.entry is None else (),
        )


def _phrases(command: str) -> Iterator[str]:
    """The command as a shell reads it, each option with its value."""
    phrase: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if word.startswith("--") and phrase:
            yield " ".join(phrase)
            phrase = []
        phrase.append(word)
    if phrase:
        yield " ".join(phrase)


def _said(item: Item) -> list[str]:
    return [] if item.entry is None else item.entry.sentences(item.result, item.rows)


def _notes(item: Item) -> Iterator[str]:
    attrs = item.result.attrs
    if item.problem:
        yield item.problem
    yield from map(str, attrs.get("notes", ()))
    if item.entry is not None and item.entry.caution is not None:
        yield from item.entry.caution(item.result)
    if item.key.analysis in _JUDGED:
        yield from outdated_notes(attrs)
    if item.live:
        yield (
            f"measured during the extraction, of layers that the store does not hold (cvbench extract --analyze "
            f"{item.key.analysis}); the command below needs them (--view {attrs['view']})"
        )
    if item.grown:
        yield (
            f"the store now has {item.grown:,} samples of these layers, this result is of "
            f"{attrs['samples_in_units']:,}: the command below makes a new one of all"
        )


def _variables(item: Item) -> Iterator[tuple[str, str, str, str]]:
    for name, (dims, values) in item.result.data.items():
        yield name, ", ".join(dims), "x".join(map(str, values.shape)) or "one number", _glance(values)
    kept = {name: value for name, value in item.result.attrs.items() if name in BOOKKEEPING and name != "all_taps"}
    for name, value in kept.items():
        yield name, "attribute", "", _cut(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _glance(values: np.ndarray[Any, Any]) -> str:
    """The first values, and from where to where all are."""
    flat = values.ravel()
    more = ", ..." if len(flat) > 6 else ""
    if values.dtype.kind not in "fiu":
        return _cut(", ".join(map(str, flat[:6])) + more)

    def text(value: Any) -> str:
        return number(float(value), 0 if values.dtype.kind in "iu" else 3) if math.isfinite(value) else "undefined"

    finite = flat[np.isfinite(flat)]
    spread = f" (from {text(finite.min())} to {text(finite.max())})" if len(finite) > 1 else ""
    return ", ".join(map(text, flat[:6])) + more + spread


def _cut(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ..."
