"""A package installed beside cvbench, in a folder of its own, and commands in a process that finds it there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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


def command(beside: Path, *words: str, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    """Run the command line, or other code, in a new process that finds what is installed in a folder."""
    path = os.pathsep.join([str(beside), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
