"""Seventy birds of which logits are given, and how tests of evaluations read a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.evaluation.options import AccuracyOptions, EvalOptions, ImportOptions
from cvbench.jobs.registry import entry_of
from cvbench.jobs.results.row import CHANCE, Row
from tests.jobs.logits_store import noisy_logits

SHARED = EvalOptions()
DRAWN = IntervalOptions(resamples=100)
PART = replace(SHARED, partial=True)
FAST = AccuracyOptions(SHARED)
BIRDS = ("wren", "crow", "duck", "swan", "gull", "kite", "tern")
LABELS = np.arange(70) % 7
LOGITS = {"good": noisy_logits(LABELS, 7, 3.0), "fair": noisy_logits(LABELS, 7, 1.5, seed=1)}


def rows(result: Result, **wanted: str) -> list[Row]:
    """The rows whose columns are as given; of one backbone, if no second is given, and not what chance gives."""
    entry = entry_of(result.name)
    assert entry is not None
    wanted = {"backbone_b": "", **wanted}
    found = [row for row in entry.rows_of(result) if "factor" in wanted or row.factor != CHANCE]
    return [row for row in found if all(getattr(row, k) == v for k, v in wanted.items())]


def one(result: Result, **wanted: str) -> Row:
    """The one row that is as given."""
    (found,) = rows(result, **wanted)
    return found


def imported(birds: str, path: Path, **changes: Any) -> ImportOptions:
    """Predictions of a file, to be imported as those of a backbone "theirs"."""
    return ImportOptions(str(path), "birds", "theirs", birds, **changes)
