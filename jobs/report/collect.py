"""All results of a store, each with its entry, its rows and the command that makes it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.checks import WITHOUT_GRID, has_extent
from cvbench.errors import CvbenchError, DataUnavailableError, IntegrityError, raise_if_lacking
from cvbench.hints import command
from cvbench.jobs.claims.published import study_places
from cvbench.jobs.registry import ENTRIES, entry_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import stored_result
from cvbench.jobs.results.row import Row, checked
from cvbench.jobs.running.places import absolute
from cvbench.storage.features import FeatureStore, GroupKey, Unit
from cvbench.storage.objects.keys import is_name
from cvbench.storage.results.outcomes import ResultKey, list_results

Stored = Mapping[tuple[GroupKey, str], set[Unit]]
"""(group, tap) -> its committed units."""

_LISTS = ("layers", "notes", "verdicts")
"""Attributes that the page reads of any result."""


@dataclass(frozen=True)
class Item:
    """One result of the store.

    Attributes:
        entry: How it is reported; None if that is not known, which `problem` then explains.
        rows, headline: Its numbers, and the few of the report's table; empty without an entry.
        command: What makes it again, to paste; "" without an entry.
        grown: Samples that the store now has of its layers, if more than the result is of; else 0.
        live: Measured while its layers were computed; the store does not hold them.
    """

    key: ResultKey
    result: Result
    entry: Entry | None
    problem: str = ""
    rows: tuple[Row, ...] = ()
    headline: tuple[Row, ...] = ()
    command: str = ""
    grown: int = 0
    live: bool = False

    @property
    def name(self) -> str:
        """Names its files and its place in the page."""
        key = self.key
        return f"{key.analysis}-{key.dataset}-{key.split}-{key.digest[:8]}"


@contextmanager
def drawing(item: Item) -> Iterator[None]:
    """Name the result if it cannot be drawn.

    Raises:
        IntegrityError: Another version, or somebody else, has put into it what figures do not take.
    """
    try:
        yield
    except CvbenchError:
        raise
    except Exception as error:
        raise_if_lacking(error)
        raise IntegrityError(
            "the figure of a result cannot be drawn",
            where=item.key.path,
            why=f"{type(error).__name__}: {error}",
            fix="use the cvbench that made it, or run its analysis again",
        ) from error


def collect(store: FeatureStore, shown: str) -> list[Item]:
    """Every result of the store, in the order of the reference study's figures, those that it has not in that of
    `ENTRIES`; then by data set, split and digest.

    Memory: all results at once.

    Args:
        store: Opened.
        shown: How commands name it.

    Raises:
        DataUnavailableError: The store holds no result; says what to run first.
        IntegrityError: A result is damaged.
    """
    keys = list_results(store)
    stored = _stored(store)
    if not keys:
        analyse = command("analyze cka", store=shown)
        raise DataUnavailableError(
            "the store holds no results, so there is nothing to report",
            where=shown,
            fix=analyse if stored else f"{command('extract', dataset='digits', store=shown)}  # then {analyse}",
        )
    order = {analysis: at for at, analysis in enumerate(dict.fromkeys([*study_places(), *ENTRIES]))}
    keys.sort(key=lambda key: (order.get(key.analysis, len(order)), key.analysis, key))
    return [_item(store, key, stored, shown) for key in keys]


def has_results(store: FeatureStore) -> bool:
    """Whether the store holds any result."""
    return bool(list_results(store))


def kept_result(url: str, path: str) -> Result:
    """A result of a store by its path, such as "results/digits/test/cka/0123456789abcdef".

    Raises:
        DataUnavailableError: The store holds no such result.
        IntegrityError: It is damaged.
    """
    store = FeatureStore.open(absolute(url))
    key = next((key for key in list_results(store) if key.path == path), None)
    if key is None:
        raise DataUnavailableError("the store holds no such result", where=path)
    return stored_result(store, key)


def public_url(url: str) -> str:
    """The store's path or URL without whatever could be a secret: user, password, query.

    >>> public_url("s3://key:secret@bucket/a.zarr?token=1"), public_url("demo/a.zarr")
    ('s3://bucket/a.zarr', 'demo/a.zarr')
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _stored(store: FeatureStore) -> Stored:
    units: dict[tuple[GroupKey, str], set[Unit]] = {}
    for group in store.groups():
        for commit in store.commits(group):
            for tap in commit.taps:
                units.setdefault((group, tap), set()).add(commit.unit)
    return units


def _item(store: FeatureStore, key: ResultKey, stored: Stored, shown: str) -> Item:
    found = stored_result(store, key)
    wrong = [name for name in _LISTS if not isinstance(found.attrs.get(name, ()), list | tuple)]
    found = replace(found, attrs={name: value for name, value in found.attrs.items() if name not in wrong})
    own = list(_layers(key, found))
    beside = {place for place in stored if place[0] in {group for group, _ in own}}
    result = replace(
        found,
        data=dict(sorted(found.data.items())),  # a zarr group lists its arrays in any order
        attrs={**found.attrs, "all_taps": bool(own) and beside - _without_grid(store, found, beside) == set(own)},
    )
    covered = found.attrs.get("samples_in_units")
    common = set.intersection(*(stored.get(place, set()) for place in own)) if own else set()
    now = sum(len(unit) for unit in common)
    live = bool(own) and not any(place in stored for place in own)
    plain = Item(key, result, None, grown=now if isinstance(covered, int) and now > covered else 0, live=live)
    if wrong:
        return replace(plain, problem=f"what it says as {', '.join(wrong)} is no list")
    try:
        entry = entry_of(key.analysis)
    except CvbenchError as error:  # a package beside cvbench: the other results are not lost
        return replace(plain, problem=f"{error.what}: {error.why}")
    if entry is None:
        return replace(plain, problem="this cvbench, as it is installed, does not know the analysis")
    try:
        rows = tuple(map(checked, entry.rows_of(result)))
        headline = tuple(entry.main_rows(result, rows))
        words = ["cvbench", *entry.command(result), "--store", shown]
    except Exception as error:  # of an older version, say: shown raw, said aloud, and the other results are not lost
        raise_if_lacking(error)
        return replace(plain, problem=f"its entry cannot read it: {type(error).__name__}: {error}")
    return replace(plain, entry=entry, rows=rows, headline=headline, command=shlex.join(words))


def _without_grid(store: FeatureStore, result: Result, places: set[tuple[GroupKey, str]]) -> set[tuple[GroupKey, str]]:
    """Those of the layers that a result of maps leaves out of itself, as they have no spatial extent: it notes that."""
    if not any(str(note).startswith(WITHOUT_GRID) for note in result.attrs.get("notes", ())):
        return set()
    shapes: dict[tuple[GroupKey, str], tuple[int, ...]] = {}
    for group, tap in places:
        with suppress(CvbenchError):  # a damaged array; the reader of its numbers says so
            shapes[group, tap] = store.encoding(group, tap).shape
    return {place for place, shape in shapes.items() if not has_extent(shape)}


def _layers(key: ResultKey, result: Result) -> Iterator[tuple[GroupKey, str]]:
    """Group and tap of each layer of a result, as far as it names them."""
    view, layers = result.attrs.get("view"), result.attrs.get("layers")
    for layer in layers if isinstance(layers, list | tuple) else ():
        names = (layer.get("backbone"), view, layer.get("tap")) if isinstance(layer, dict) else ()
        if names and all(isinstance(name, str) and is_name(name) for name in names):
            yield GroupKey(key.dataset, key.split, layer["backbone"], str(view)), layer["tap"]
