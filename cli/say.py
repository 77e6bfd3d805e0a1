"""The one way to the terminal: names of files and classes are data, and nothing in them is obeyed by a terminal."""

from __future__ import annotations

import typer

from cvbench.texts import printable


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines, to stdout or stderr; control characters are written as their codes."""
    typer.echo(printable(text, keep="\n\t"), err=err)
