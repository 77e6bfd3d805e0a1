"""Draws a figure in another process, with another hash seed: what it writes must not depend on either."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Result

CODE = """
import importlib, pathlib, pickle, sys
module, name, pickled, target, *formats = sys.argv[1:]
draw = getattr(importlib.import_module(module), name)
draw(pickle.loads(pathlib.Path(pickled).read_bytes()), pathlib.Path(target), formats)
"""


def draw_elsewhere(
    draw: Callable[..., Any], result: Result, target: Path, formats: Sequence[str] = ("svg", "png")
) -> None:
    """`draw(result, target, formats)` there; the result goes as it is, for the engine would import torch to make it."""
    target.parent.mkdir(parents=True)
    pickled = target.parent.parent / f"{target.name}.pickle"
    pickled.write_bytes(pickle.dumps(result))
    words = [draw.__module__, draw.__name__, str(pickled), str(target), *formats]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", CODE, *words], check=True, env=environment)
