"""The notebooks of docs/ run as they stand, and are kept without outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def test_there_are_two() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    book = read(path)
    nbformat.validate(book)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in book.cells)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    """In a kernel of its own, in an empty folder; an error in a cell ends it."""
    run = [
        sys.executable,
        "-m",
        "jupyter",
        "execute",
        "--output",
        str(tmp_path / "run.ipynb"),
        str(tmp_path / path.name),
    ]
    (tmp_path / path.name).write_bytes(path.read_bytes())
    here = {**os.environ, "CVBENCH_ADDRESS": "none", "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        run, cwd=tmp_path, env=here, capture_output=True, text=True, check=False, timeout=500, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    book = read(tmp_path / "run.ipynb")
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = [kind for cell in code for output in cell.outputs for kind in output.get("data", {})]
    assert "image/png" in shown  # a figure
    assert "text/html" in shown  # a table
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []
