"""The results of a store one by one: listed, compared, removed with the features that they are of, or alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cvbench.errors import UnknownNameError, UsageError
from cvbench.hints import command
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.results.row import Row, plain
from cvbench.storage.care.remove import RemoveReport, remove
from cvbench.storage.features import FeatureStore
from cvbench.storage.results.outcomes import ResultKey, list_results

__all__ = [
    "Change",
    "Comparison",
    "Listed",
    "RemoveReport",
    "compare",
    "find",
    "listed",
    "remove_places",
    "remove_results",
]


@dataclass(frozen=True)
class Listed:
    """A result in a list.

    Attributes:
        made: When, UTC, as the file system of a local store says; None elsewhere: the store itself keeps no time.
    """

    item: Item
    made: datetime | None

    @property
    def short(self) -> str:
        """Name in commands."""
        return self.item.key.short

    @property
    def main(self) -> Row | None:
        """Its main number."""
        return next(iter(self.item.headline or self.item.rows), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        key, main = self.item.key, self.main
        return {
            "run": key.path,
            "analysis": key.analysis,
            "dataset": key.dataset,
            "split": key.split,
            "digest": key.digest,
            "made": None if self.made is None else self.made.isoformat(),
            "command": self.item.command,
            "numbers": len(self.item.rows),
            "main": None if main is None else plain(main),
            "problem": self.item.problem,
        }


def listed(url: str) -> list[Listed]:
    """All results of a store, in the order of the report.

    Raises:
        IntegrityError: One is damaged.
    """
    store = FeatureStore.open(url)
    if not list_results(store):
        return []
    return [Listed(item, _made(store, item.key)) for item in collect(store, public_url(url))]


def _made(store: FeatureStore, key: ResultKey) -> datetime | None:
    if "://" in store.url:
        return None
    return datetime.fromtimestamp((Path(store.url) / key.marker).stat().st_mtime, UTC).replace(microsecond=0)


def find(url: str, names: Sequence[str]) -> list[Listed]:
    """The results that names mean: the first digits of the digest, or the path in the store.

    Raises:
        UnknownNameError: There is none.
        UsageError: Several begin so.
    """
    there = listed(url)
    found = []
    for name in names:
        fitting = [one for one in there if _is_named(one.item.key, name)]
        if not fitting:
            known = [one.short for one in there]
            raise UnknownNameError.among("result", name, known, fix=command("results ls", store=url))
        if len(fitting) > 1:
            paths = ", ".join(one.item.key.path for one in fitting)
            raise UsageError(f"{len(fitting)} results begin with {name}", where=paths, fix="more of its digits")
        found += fitting
    return list({one.item.key: one for one in found}.values())


def _is_named(key: ResultKey, name: str) -> bool:
    return bool(name) and (key.digest.startswith(name.lower()) or name.rstrip("/") in (key.path, key.name))


@dataclass(frozen=True)
class Change:
    """One number in two results; None where one has no such row, or no number there."""

    row: Row
    first: float | None
    second: float | None

    @property
    def difference(self) -> float | None:
        """The second less the first."""
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two results of one analysis beside each other.

    Attributes:
        settings: Attribute -> its two values, where they differ.
        changes: Every number of either, in the order of the first.
    """

    first: Listed
    second: Listed
    settings: dict[str, tuple[Any, Any]]
    changes: tuple[Change, ...]


_SAID = ("run", "notes", "verdicts", "rows", "backbones", "options", "command", "samples_in_units", "versions")
"""Attributes that are no settings, or are said by others."""


def compare(url: str, first: str, second: str) -> Comparison:
    """Set two results beside each other, number by number.

    Raises:
        UnknownNameError, UsageError: As `find`; or they are of two analyses, or are one.
    """
    found = find(url, [first, second])
    if len(found) < 2:
        raise UsageError("that is the same result twice", where=found[0].item.key.path, fix="two digests")
    one, two = found
    if one.item.key.analysis != two.item.key.analysis:
        raise UsageError(
            f"{one.item.key.analysis} and {two.item.key.analysis} have no numbers in common",
            where=f"{one.item.key.path}, {two.item.key.path}",
            fix="two results of one analysis",
        )
    told = [dict(each.item.result.attrs) for each in found]
    names = [name for name in {**told[0], **told[1]} if name not in _SAID]
    settings = {
        name: (told[0].get(name), told[1].get(name)) for name in names if told[0].get(name) != told[1].get(name)
    }
    return Comparison(one, two, settings, tuple(_changes(one.item.rows, two.item.rows)))


def _changes(first: Sequence[Row], second: Sequence[Row]) -> Iterator[Change]:
    mine, theirs = ({_place(row): row for row in rows} for rows in (first, second))
    for place in {**mine, **theirs}:
        one, two = mine.get(place), theirs.get(place)
        row = one or two
        assert row is not None
        yield Change(row, None if one is None else one.value, None if two is None else two.value)


def _place(row: Row) -> tuple[Any, ...]:
    names = ("backbone", "layer", "backbone_b", "layer_b", "metric", "factor", "kind", "at")
    return tuple(getattr(row, name) for name in names)


def remove_results(url: str, names: Sequence[str], *, dry_run: bool = False) -> RemoveReport:
    """Remove single results. What was measured unit by unit for them stays: the same command has them at once."""
    found = find(url, names)
    return remove(_opened(url, dry_run), [], [one.item.key for one in found], dry_run=dry_run)


def remove_places(url: str, places: Sequence[str], *, dry_run: bool = False) -> RemoveReport:
    """Remove features, and the results that are of them."""
    wanted = [place.strip("/").split("/") for place in places]
    store = FeatureStore.open(url)
    remove(store, places, dry_run=True)  # refuses what is not there before anything is read
    of_them = [one.item.key for one in listed(url) if any(_is_of(one.item, parts) for parts in wanted)]
    return remove(_opened(url, dry_run), places, of_them, dry_run=dry_run)


def _opened(url: str, dry_run: bool) -> FeatureStore:
    return FeatureStore.open(url, mode="r" if dry_run else "r+")


def _is_of(item: Item, place: Sequence[str]) -> bool:
    """Whether a result depends on features at a place, by its layers, its rows, or where it is kept."""
    view = str(item.result.attrs.get("view", ""))
    layers = [layer for layer in item.result.attrs.get("layers", ()) if isinstance(layer, dict) and "tap" in layer]
    known = [(item.key.dataset, item.key.split, layer["backbone"], view, layer["tap"]) for layer in layers]
    if any(list(path[: len(place)]) == list(place) for path in known):
        return True
    named = {(row.dataset, row.split, name) for row in item.rows for name in (row.backbone, row.backbone_b) if name}
    named |= {(item.key.dataset, item.key.split, "")}
    of_rows = any(list(path[: len(place)]) == list(place[:3]) for path in named)
    return of_rows and (len(place) < 4 or (place[3] == view and (len(place) == 4 or not layers)))
