"""The numbers of all results as one table, in three formats that say the same. Same rows, same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cvbench.jobs.claims.judge import Outcome
from cvbench.jobs.figures.base import write_whole
from cvbench.jobs.report.collect import Item
from cvbench.jobs.results.document import csv_text, document, parquet_bytes
from cvbench.texts import json_value

STEM = "results"


def shows(folder: Path, items: Sequence[Item]) -> bool:
    """Whether the table in a report's folder has the numbers of these results, all and no others."""
    try:
        written = (folder / f"{STEM}.csv").read_bytes()
    except OSError:
        return False
    return written == csv_text([row for item in items for row in item.rows]).encode()


def written_verdicts(folder: Path) -> list[str]:
    """The verdict of each claim that the table in a report's folder has; none if it cannot be read."""
    try:
        content = json.loads((folder / f"{STEM}.json").read_bytes())
        return [str(one["verdict"]) for one in content["claims"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def write_tables(items: Sequence[Item], folder: Path, claims: Sequence[Outcome] = ()) -> list[Path]:
    """Write `results.parquet`, `results.csv` and `results.json`, see `cvbench.jobs.results.document`.

    The JSON also has `claims`: what papers claim, and the verdicts on it.
    """
    rows = [row for item in items for row in item.rows]
    found = document([(item.result, ()) for item in items if item.entry is not None], rows)
    content = json_value({**found, "claims": [one.as_dict() for one in claims]})
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {"parquet": parquet_bytes(rows), "csv": csv_text(rows).encode(), "json": text.encode()}
    paths = []
    for suffix, data in files.items():
        path = folder / f"{STEM}.{suffix}"
        write_whole(path, data)
        paths.append(path)
    return paths
