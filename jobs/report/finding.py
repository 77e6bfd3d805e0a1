"""What is seen in one result, as one sentence made of its rows: what they say, and with their verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.report.lines import decimals, number
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, PAIR, VALUE, Row


def finding(rows: Sequence[Row], question: Question | None = None) -> str:
    """The answer to what a reader asks of the analysis; where nothing is asked, or nothing answers, the sentence of the
    first difference of two backbones that is resolved, else of the first that has a verdict; without differences of the
    first number; "" if no number is defined.

    Args:
        rows: The main rows of a result, the main ones first.
        question: Of the entry.

    >>> row = Row(backbone="a", backbone_b="b", metric="top1", kind=DIFFERENCE, value=-0.1, low=-0.2, high=-0.05, n=40)
    >>> finding([Row(backbone="a", metric="top1", value=0.5), row])
    'b is above a in top1, by 0.10 [0.05, 0.20].'
    >>> finding([row], Question("top1", "{more} is right more often than {less}", percent=True))
    'b is right more often than a: top1, difference 10 points [5, 20].'
    >>> finding([Row(metric="effect on top1", factor="objective: text", value=0.5)])  # of no backbone
    'effect on top1 (objective: text) 0.500.'
    """
    if len({row.dataset for row in rows}) > 1:  # then it says which
        rows = [replace(row, factor=", ".join(filter(None, (row.dataset, row.factor)))) for row in rows]
    if question is not None and (said := _answer(rows, question)):
        return said
    known = [row for row in rows if row.value is not None]
    compared = [row for row in known if row.kind == DIFFERENCE and row.backbone_b]
    if compared:
        return _difference(_first(compared))
    plain = [row for row in known if row.kind in (VALUE, PAIR)]
    return _number(plain[0]) if plain else ""


def _first(compared: Sequence[Row], *, widest: bool = False) -> Row:
    """The difference to tell: of the resolved ones, else of those with a verdict, else of all."""
    judged = [row for row in compared if row.verdict]
    found = [row for row in judged if _is_resolved(row)] or judged or compared
    return max(found, key=lambda row: abs(row.value or 0.0)) if widest else found[0]


def _is_resolved(row: Row) -> bool:
    return row.verdict == Verdict.RESOLVED.value


def _answer(rows: Sequence[Row], question: Question) -> str:
    """The answer of the rows that a question is about; "" if there are none."""
    compared = question.differences(rows)
    if not compared:
        own = question.values(rows)
        return _number(own[0]) if own else ""
    found = _first(compared, widest=question.widest)
    ends = question.ends(rows, found)
    if (found.value or 0.0) < 0:
        found, ends = _turned(found), ends and (ends[1], ends[0])
    if found.verdict and not _is_resolved(found):
        said = f"{_of(found, first=True)} and {_of(found)} are not told apart"
        if len(compared) > 1 and question.widest:
            said = f"No difference in {found.metric} is resolved; the widest is of {_place(found.factor)}"
        return f"{said}: {_numbers(found, ends, question)}."
    names = {"more": _of(found, first=True), "less": _of(found), "where": _place(found.factor)}
    own_values = "{more_value}" in question.answer
    if own_values:
        if ends is None:
            return ""
        names |= {f"{name}_value": _value(row, question) for name, row in zip(("more", "less"), ends, strict=True)}
    said = question.answer.format(**names)
    if own_values:
        return f"{said}; difference {_size(found, question)}."
    in_order = ends and (ends if said.index(names["more"]) < said.index(names["less"]) else (ends[1], ends[0]))
    return f"{said}: {_numbers(found, in_order, question)}."


def _turned(row: Row) -> Row:
    """The difference the other way round."""
    low, high = (None if end is None else -end for end in (row.high, row.low))
    turned = replace(row, backbone=row.backbone_b, backbone_b=row.backbone, layer=row.layer_b, layer_b=row.layer)
    return replace(turned, value=-(row.value or 0.0), low=low, high=high)


def _of(row: Row, *, first: bool = False) -> str:
    """One of the two of a difference; its layer only where it is what tells them apart."""
    backbone, layer = (row.backbone, row.layer) if first else (row.backbone_b, row.layer_b)
    return _name(backbone, layer if row.backbone == row.backbone_b else "")


def _place(factor: str) -> str:
    """A factor as words.

    >>> _place("scale=3"), _place("object_blocking")
    ('scale 3', 'object blocking')
    """
    return factor.replace("=", " ").replace("_", " ")


def _numbers(found: Row, ends: tuple[Row, Row] | None, question: Question) -> str:
    """The numbers of both, in their order, and the difference; without them, what it is of."""
    if ends is not None:
        first, second = (_value(row, question) for row in ends)
        return f"{ends[0].metric} {first} against {second}, difference {_size(found, question)}"
    apart = found.backbone != found.backbone_b and found.layer != found.layer_b
    of = [f"{found.layer} and {found.layer_b}"] if apart else []
    of += [] if "{where}" in question.answer or not found.factor else [found.factor]
    inside = f" ({'; '.join(of)})" if of else ""
    return f"{found.metric}, difference {_size(found, question)}{inside}"


def _value(row: Row, question: Question) -> str:
    assert row.value is not None
    return _share(row.value, decimals(row), question, " %")


def _size(row: Row, question: Question) -> str:
    """The difference, its interval and its verdict."""
    assert row.value is not None
    places = decimals(row)
    text = _share(row.value, places, question, " points")
    if row.low is not None and row.high is not None:
        text += f" [{_share(row.low, places, question)}, {_share(row.high, places, question)}]"
    return f"{text}, {row.verdict}" if row.verdict else text


def _share(value: float, places: int, question: Question, unit: str = "") -> str:
    return f"{number(100 * value, max(places - 2, 0))}{unit}" if question.percent else number(value, places)


def _difference(row: Row) -> str:
    assert row.value is not None
    first, second = _name(row.backbone, row.layer), _name(row.backbone_b, row.layer_b)
    low, high, value = row.low, row.high, row.value
    if value < 0:
        first, second, value = second, first, -value
        low, high = (None, None) if low is None or high is None else (-high, -low)
    places, of = decimals(row), f"{row.metric}{f' ({row.factor})' if row.factor else ''}"
    ends = "" if low is None or high is None else f" [{number(low, places)}, {number(high, places)}]"
    if row.verdict and row.verdict != Verdict.RESOLVED.value:
        words = f"{first} and {second} differ in {of} by {number(value, places)}{ends}"
    else:
        words = f"{first} is above {second} in {of}, by {number(value, places)}{ends}"
    return f"{words}: {row.verdict}." if row.verdict else f"{words}."


def _number(row: Row) -> str:
    places = decimals(row)
    known = row.low is not None and row.high is not None
    ends = f" [{number(row.low, places)}, {number(row.high, places)}]" if known else ""
    of = f"{row.metric}{f' ({row.factor})' if row.factor else ''}"
    said = f": {row.verdict}" if row.verdict else ""
    return f"{f'{row.subject}: ' if row.subject else ''}{of} {number(row.value, places)}{ends}{said}."


def _name(backbone: str, layer: str) -> str:
    return f"{backbone}/{layer}" if layer else backbone
