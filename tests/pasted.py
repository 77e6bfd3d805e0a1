"""Commands that are shown, pasted and run."""

from __future__ import annotations

import shlex

from typer.testing import CliRunner

from cvbench.cli.app import app


def cli(line: str, *more: str) -> str:
    """What a pasted command prints."""
    done = CliRunner().invoke(app, [*shlex.split(line)[1:], *more])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout
