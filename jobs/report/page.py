"""The page: what each part of it says, and its rendering. The template only lays out what is prepared here."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np

from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.claims.judge import RULE, Outcome
from cvbench.jobs.report.claims import ClaimLine, JudgedClaims, claim_lines, row_anchors
from cvbench.jobs.report.collect import Item
from cvbench.jobs.report.figures import Picture
from cvbench.jobs.report.finding import finding
from cvbench.jobs.report.interactive import NOTHING, Interactive, Live, library, policy, script
from cvbench.jobs.report.lines import Line, lines, number
from cvbench.jobs.report.provenance import Provenance
from cvbench.jobs.results.row import COLUMNS, DIFFERENCE, Row

FEW = 80  # rows that are all put into the page; more are in the tables beside it
SHOWN = 24  # rows of a result without a headline of its own
KEY_NUMBERS = 3  # rows of a result in the summary
_BOOKKEEPING = {"dataset", "split", "run", "view", "all_taps", "layers", "notes", "undefined", "summary", "labels"}
_JUDGED = ("similarity", "spectra", "maps", "cam", "tsne")  # whose intervals have a version
_BOOKKEEPING |= {"intervals", "interval", "family", "verdicts"}  # said under the numbers
_BOOKKEEPING |= {"space_option"}  # says the same as `space`


@dataclass(frozen=True)
class Block:
    """One result.

    Attributes:
        heading: Data set, split, view, and the parameters in which it differs from its siblings.
        notes, said: What a reader must know before the numbers, and what is said of them below.
        lines: The short table; `rest`: all rows if they are few and more than those; `total`: how many there are.
        key: The lines of the summary: differences between backbones first, since these are what a report is read for.
        found: One sentence of what is seen.
        live: The interactive form of its figure; None if it has none.
        command: What makes it again, cut where a line may break: before options.
        variables: (name, dimensions, shape, values) of a result that no entry can read.
    """

    anchor: str
    heading: str
    run: str
    backbones: tuple[str, ...]
    level: str
    found: str
    picture: Picture | None
    live: Live | None
    notes: tuple[str, ...]
    said: tuple[str, ...]
    lines: tuple[Line, ...]
    key: tuple[Line, ...]
    rest: tuple[Line, ...]
    total: int
    command: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True)
class Chapter:
    """One analysis with its results."""

    anchor: str
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
    found, named = [], anchors or {}
    for analysis in dict.fromkeys(item.key.analysis for item in items if item.entry is not None):
        mine = [item for item in items if item.key.analysis == analysis and item.entry is not None]
        entry = mine[0].entry
        assert entry is not None
        blocks = tuple(_blocks(mine, pictures, live, named))
        overview = pictures.get(analysis), live.figures.get(analysis)
        found.append(Chapter(analysis, entry.title, entry.about, *overview, blocks))
    raw = [item for item in items if item.entry is None]
    if raw:
        about = (
            "These results are in the store, but this version of cvbench cannot explain them. Their variables are "
            "listed as they are kept."
        )
        blocks = tuple(_blocks(raw, pictures, live, named))
        found.append(Chapter("raw-results", "Other results", about, None, None, blocks))
    return found


def render(
    store: str, facts: Provenance, parts: Sequence[Chapter], claims: JudgedClaims, live: Interactive = NOTHING
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
        marks={block.run: block.heading.partition(" · ")[2] for block in blocks},
        counts=_counts(judged, claims.outcomes),
        names=list(dict.fromkeys(names)),
        results=len(blocks),
        numbers=sum(block.total for block in blocks),
        columns=COLUMNS,
        claims=_by_claim(claim_lines(judged, anchors, row_anchors(judged))),
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


def _by_claim(found: Sequence[ClaimLine]) -> list[list[ClaimLine]]:
    """The lines of each claim together, in the order of the claims."""
    groups: dict[tuple[str, str], list[ClaimLine]] = {}
    for line in found:
        groups.setdefault((line.sentence, line.source), []).append(line)
    return list(groups.values())


def _blocks(
    items: Sequence[Item], pictures: Mapping[str, Picture | None], live: Interactive, anchors: Mapping[Row, str]
) -> Iterator[Block]:
    for item, heading in zip(items, _headings(items), strict=True):
        attrs = item.result.attrs
        few = len(item.rows) <= FEW
        shown = item.headline if len(item.headline) < len(item.rows) or few else item.headline[:SHOWN]
        claimed = [row for row in item.rows if row in anchors and row not in shown]
        short = lines([*shown, *claimed], anchors)
        yield Block(
            anchor=item.name,
            heading=heading,
            run=item.key.path,
            backbones=tuple(_backbones(item)),
            level=f"{attrs.get('confidence', 0.95):.0%}".replace("%", " %"),
            found=finding(item.headline, None if item.entry is None else item.entry.question),
            picture=pictures.get(item.name),
            live=live.figures.get(item.name),
            notes=tuple(_notes(item)),
            said=tuple(_said(item)),
            lines=short,
            key=lines(_key(shown))[:KEY_NUMBERS],
            rest=lines(item.rows) if few and len(short) < len(item.rows) else (),
            total=len(item.rows),
            command=tuple(_phrases(item.command)),
            parameters=tuple((name.replace("_", " "), text) for name, text in _parameters(item).items()),
            variables=tuple(_variables(item)) if item.entry is None else (),
        )


def _key(shown: Sequence[Row]) -> list[Row]:
    """Rows for the summary, differences first; what is said of every one of them is left to their section."""
    found = sorted(shown, key=lambda row: row.kind != DIFFERENCE)
    same = len(found) > 1 and len({row.factor for row in found}) == 1
    return [replace(row, factor="") for row in found] if same else found


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


def _headings(items: Sequence[Item]) -> list[str]:
    """Data set, split and view; where several results share these, the parameters that differ; at last the digest."""

    def place(item: Item) -> str:
        view = [f"view {item.result.attrs['view']}"] if "view" in item.result.attrs else []
        name = [] if item.entry is not None else [item.key.analysis]
        return " · ".join([*name, f"{item.key.dataset} / {item.key.split}", *view])

    def marks(item: Item) -> dict[str, str]:
        layers = item.result.attrs.get("layers", ())
        return {**_parameters(item), "layers": f"{len(layers)} of {', '.join(_backbones(item))}"}

    headings = []
    for item in items:
        own = marks(item)
        others = [marks(other) for other in items if place(other) == place(item)]
        differing = [  # the options say the same again, in the words of the command
            name
            for name, text in own.items()
            if name != "options" and any(other.get(name, text) != text for other in others)
        ]
        words = [f"{name.replace('_', ' ')} {own[name]}" for name in differing[:4]]
        headings.append(" · ".join([place(item), *words]))
    return [
        heading if headings.count(heading) == 1 else f"{heading} · {item.key.digest[:8]}"
        for heading, item in zip(headings, items, strict=True)
    ]


def _parameters(item: Item) -> dict[str, str]:
    """The attributes that are plain values, as text."""
    return {
        str(name): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in item.result.attrs.items()
        if name not in _BOOKKEEPING and (_plain(value) or (isinstance(value, list) and all(map(_plain, value))))
    }


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _backbones(item: Item) -> list[str]:
    layers = item.result.attrs.get("layers", ())
    named = [str(layer["backbone"]) for layer in layers if isinstance(layer, dict) and "backbone" in layer]
    return list(dict.fromkeys(named or [row.backbone for row in item.rows]))


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
    kept = {name: value for name, value in item.result.attrs.items() if name in _BOOKKEEPING and name != "all_taps"}
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
