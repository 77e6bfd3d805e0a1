"""A package installed beside cvbench, in a folder of its own, and commands in a process that finds it there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.forks import Start

MAIN = "from cvbench.cli import main; main()"


def install(folder: Path, name: str, files: Mapping[str, str], entry_points: str) -> Path:
    """Write a distribution as an installer leaves it: modules, and beside them their metadata.

    Args:
        folder: Where; made.
        name: Of the distribution.
        files: File name -> text, of its modules.
        entry_points: The text of entry_points.txt.

    Returns:
        The folder, to be put on the path.
    """
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entry_points)
    return folder


class Done(NamedTuple):
    """A command that has ended."""

    returncode: int | None
    stdout: str
    stderr: str


def command(start: Start, beside: Path, *words: str) -> Done:
    """Run the command line in a process that finds what is installed in a folder."""
    process = start(words, _finding(beside))
    out, err = process.communicate(300)
    return Done(process.returncode, out, err)


def python(beside: Path, *words: str, code: str) -> Done:
    """Run code in a new Python that finds what is installed in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **_finding(beside)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _finding(beside: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(beside), *filter(None, [os.environ.get("PYTHONPATH")])])}
