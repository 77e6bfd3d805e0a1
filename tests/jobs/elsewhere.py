"""Draws results as their entries do: here, and in a process with another hash seed, which must change nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.draw import draw
from cvbench.jobs.registry import entry_of

CODE = """
import pathlib, pickle, sys
from tests.jobs.elsewhere import drawn
pickled, target, *formats = sys.argv[1:]
drawn(pickle.loads(pathlib.Path(pickled).read_bytes()), pathlib.Path(target), formats)
"""


def drawn(result: Result, target: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """The figure of a result and its numbers, as files."""
    entry = entry_of(result.name)
    assert entry is not None
    return draw(entry, result, entry.rows_of(result), target, formats)


def draw_elsewhere(result: Result, target: Path, formats: Sequence[str] = ("svg", "png")) -> None:
    """`drawn(result, target, formats)` there; the result goes as it is."""
    target.parent.mkdir(parents=True)
    pickled = target.parent.parent / f"{target.name}.pickle"
    pickled.write_bytes(pickle.dumps(result))
    words = [str(pickled), str(target), *formats]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", CODE, *words], check=True, env=environment, cwd=Path(__file__).parents[2])
