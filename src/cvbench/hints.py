"""The one builder of every command that is printed: to be pasted as it stands, in any shell of the POSIX kind."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping


def command(words: str, *arguments: str, **options: object) -> str:
    """A command of cvbench, each word quoted where a shell would read it otherwise.

    Args:
        words: Of the command, such as "analyze cka".
        arguments: Behind them.
        options: In this order; "_" stands for "-". None, False and nothing are left out, True is a switch, and an
            option with several values is repeated.

    >>> command("extract", dataset="folder:my birds", view=["logits"], image_size=None, partial=True)
    "cvbench extract --dataset 'folder:my birds' --view logits --partial"
    """
    return " ".join(["cvbench", words, *map(shlex.quote, [*arguments, *option_words(options)])])


def option_words(options: Mapping[str, object]) -> list[str]:
    """The words of options, as `command` takes them; not quoted."""
    found: list[str] = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            found.append(option)
        elif isinstance(value, str | int | float) and value is not False:
            found += [option, str(value)]
        elif isinstance(value, Iterable):
            found += [word for one in value for word in (option, str(one))]
    return found
