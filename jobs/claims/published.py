"""The claims of papers, read from the data file beside this one, and from files of one's own in the same form."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.claims.claim import Claim

FILE_BYTES = 1 << 20  # of a file of claims: a thousand of them
FIELDS = tuple(field.name for field in fields(Claim))
OF_A_PAPER = ("source", "family")
NEEDED = tuple(field.name for field in fields(Claim) if field.default is MISSING)
_CLAIM = TypeAdapter(Claim)


@cache
def published() -> tuple[Claim, ...]:
    """All, in the order of a report: the reference study's by figure, then those of other papers."""
    name = "published.toml"
    return read_claims(files(__package__).joinpath(name).read_text(encoding="utf-8"), name)


def study_places() -> dict[str, str]:
    """Analysis -> the figure or table of the reference study that it makes again, such as "Fig. 5"; in its order."""
    study = published()[0].source
    places: dict[str, str] = {}
    for claim in published():
        if claim.source == study:
            places.setdefault(claim.analysis, claim.place)
    return places


def read_file(path: str) -> tuple[Claim, ...]:
    """The claims of a file in the form of published.toml.

    Raises:
        UsageError: It cannot be read, or is not of this form: what, and in which claim.
        UnknownNameError: It has a field that claims do not have.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise UsageError(f"a file of claims is at most {FILE_BYTES:,} bytes", where=path)
        return read_claims(data.decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the claims cannot be read", where=path, why=str(error), fix="name a TOML file") from error


def read_claims(text: str, where: str) -> tuple[Claim, ...]:
    """The claims of a text; `where` names it in errors, as `read_file`."""
    try:
        papers = _tables(tomllib.loads(text), "paper", where)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            "this is not TOML", where=where, why=str(error), fix="see jobs/claims/published.toml"
        ) from error
    except RecursionError:
        raise UsageError("the tables are nested too deeply", where=where) from None
    found = tuple(claim for paper in papers for claim in _claims(paper, where))
    for name, times in Counter(claim.id for claim in found).items():
        if times > 1:
            raise UsageError(f"two claims have the id {name!r}", where=where, fix="give each an id of its own")
    return found


def _tables(document: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    tables = document.get(name)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"there is no table [[{name}]]", where=where, fix="see jobs/claims/published.toml")
    return tables


def _claims(paper: dict[str, Any], where: str) -> Iterator[Claim]:
    of_all = {name: paper[name] for name in OF_A_PAPER if name in paper}
    _known(paper, (*OF_A_PAPER, "claim"), where)
    for table in _tables(paper, "claim", where):
        place = f"{where}, claim {table.get('id', '(without an id)')!r}"
        _known(table, FIELDS, place)
        lacking = [name for name in NEEDED if name not in of_all | table]
        if lacking:
            raise UsageError(f"a claim lacks {', '.join(lacking)}", where=place)
        try:
            claim = _CLAIM.validate_python(of_all | table)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = ".".join(map(str, wrong["loc"]))
            raise UsageError(f"{name}: {wrong['msg']}", where=place, why=f"it is {wrong['input']!r}") from error
        if not claim.metric and not claim.missing:
            raise UsageError("a claim needs a metric, or says in `missing` why it has none", where=place)
        yield claim


def _known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            error = UnknownNameError.among("field", name, known)
            error.where = where
            raise error
