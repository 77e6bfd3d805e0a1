"""Commands in this process, as a user types them."""

from __future__ import annotations

import shlex

from typer.testing import CliRunner, Result

from cvbench.cli.app import app
from cvbench.errors import CvbenchError


def run(*words: str) -> Result:
    """The end of a command, in the words behind `cvbench`."""
    return CliRunner().invoke(app, words)


def cli(line: str, *more: str) -> str:
    """The output of a command that is pasted whole, and ends well."""
    done = run(*shlex.split(line)[1:], *more)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def check_refused(result: Result, code: int, said: str) -> None:
    """Refuse an end without that exit code or without these words, be it an error of ours or of the options."""
    if isinstance(result.exception, CvbenchError):
        assert result.exception.exit_code == code
        assert said in str(result.exception)
    else:
        assert result.exit_code == code, result.output
        assert said in result.output
