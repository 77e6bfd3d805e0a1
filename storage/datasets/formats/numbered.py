"""Shards that carry numbers say themselves which of them are missing.

    train-00000-of-00005.parquet      five, as Hugging Face's libraries and many writers of tar shards name them
    0.tar, 1.tar, and nshards.txt     as many as nshards.txt says
    val-000000.tar, val-000002.tar    one is missing in between

Of a folder, the first two are refused when the data set is opened (`missing`): nobody has chosen a part of it. Where
files are named one by one or by a pattern, and where numbers only have gaps, it is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from cvbench.storage.datasets.formats.shards import Shards
from cvbench.storage.datasets.left_out import SHOWN, LeftOut

COUNT = "nshards.txt"
_OF = re.compile(r"(?P<start>.*?)(?P<number>\d+)-of-(?P<total>\d+)(?P<rest>.*)")
_LAST = re.compile(r"(?P<start>.*?)(?P<number>\d+)(?P<rest>\D*)")


def not_read(shards: Shards, all_of_folder: bool) -> tuple[LeftOut, ...]:
    """Find what is missing of the numbered sets that the shards belong to.

    Args:
        all_of_folder: Whether they are all that a folder holds, not chosen by a person.
    """
    stems = [shard.where.rpartition(".")[0] for shard in shards]
    counted = _by_total(stems) or _by_count(shards, stems)
    if counted:
        return (_entry("missing" if all_of_folder else "shards", *counted),)
    gaps = _gaps(stems)
    return (_entry("shards", *gaps),) if gaps else ()


def _entry(kind: str, count: int, names: Iterable[str]) -> LeftOut:
    return LeftOut(kind, count, tuple(name.rpartition("/")[2] for name in islice(names, SHOWN)))


def _by_total(stems: list[str]) -> tuple[int, Iterator[str]] | None:
    """By the total in their names: how many are missing, and which; None if none is."""
    series: dict[tuple[str, str, int], set[int]] = {}
    for stem in stems:
        if match := _OF.fullmatch(stem):
            key = (match["start"], match["total"], len(match["number"]))
            series.setdefault(key, set()).add(int(match["number"][-18:]))
    count, names = 0, []
    for (start, total, width), numbers in series.items():
        last = int(total[-18:])
        first = 1 if last in numbers and 0 not in numbers else 0
        missing = last - len(numbers)
        if missing > 0 and max(numbers) < last + first:
            count += missing
            names.append(_lacking(range(first, first + last), numbers, start, width, f"-of-{total}"))
    return (count, (name for some in names for name in some)) if count else None


def _by_count(shards: Shards, stems: list[str]) -> tuple[int, Iterator[str]] | None:
    """By the number in nshards.txt beside them."""
    folders = {stem.rpartition("/")[0] for stem in stems}
    beside = shards.beside(COUNT) if len(folders) == 1 else None
    if beside is None or beside[0].rpartition("/")[0] not in folders or not beside[1].strip().isdigit():
        return None
    missing = int(beside[1].strip()[:18]) - len(shards)
    numbers = {int(name) for stem in stems if (name := stem.rpartition("/")[2]).isdecimal() and len(name) < 19}
    names = _lacking(range(missing + len(shards)), numbers, "", 0, "") if len(numbers) == len(shards) else iter(())
    return (missing, names) if missing > 0 else None


def _gaps(stems: list[str]) -> tuple[int, Iterator[str]] | None:
    """Between the smallest and the largest number, where more are there than not: other numbers may mean a date."""
    series: dict[tuple[str, str], set[str]] = {}
    for stem in stems:
        if (match := _LAST.fullmatch(stem)) and len(match["number"]) < 19:
            series.setdefault((match["start"], match["rest"]), set()).add(match["number"])
    count, names = 0, []
    for (start, rest), texts in series.items():
        numbers = set(map(int, texts))
        span = range(min(numbers), max(numbers) + 1)
        missing = len(span) - len(numbers)
        if 0 < missing < len(numbers):
            widths = set(map(len, texts))
            count += missing
            names.append(_lacking(span, numbers, start, widths.pop() if len(widths) == 1 else 0, rest))
    return (count, (name for some in names for name in some)) if count else None


def _lacking(span: range, numbers: set[int], start: str, width: int, rest: str) -> Iterator[str]:
    return (f"{start}{number:0{width}}{rest}" for number in span if number not in numbers)
