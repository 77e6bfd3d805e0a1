"""Writes the page of the functions of `cvbench` while the site is built.

They are made from the options of the commands, so that who reads the sources finds them in no file.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import cvbench

PAGE = "reference/functions.md"
HEAD = """# Python: functions

The verbs of the command line, with its options as arguments. Made from the functions themselves when this site is
built; `help(cvbench.extract)` says the same. What they give stands in [Python: classes](python.md).
"""
GROUPS = ("analyze", "evaluate", "transfer")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page, as MkDocs asks each hook once it has listed the files."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown: a heading, the signature and the arguments of each function."""
    return HEAD + "".join(section(name, found) for name, found in functions())


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name, function) of all that is public."""
    for name in cvbench.__all__:
        found = getattr(cvbench, name)
        if callable(found) and not isinstance(found, type):
            yield f"cvbench.{name}", found
    for group in GROUPS:
        module = getattr(cvbench, group)
        for name in dir(module):
            yield f"cvbench.{group}.{name}", getattr(module, name)


def section(name: str, found: Callable[..., Any]) -> str:
    """One function."""
    said = inspect.cleandoc(found.__doc__ or "")
    about, *parts = re.split(r"^(Args|Returns|Raises):$", said, flags=re.MULTILINE)
    told = [f"\n## `{name}`\n\n{_prose(about)}\n"]
    defaults = {one.name: _default(one) for one in inspect.signature(found).parameters.values()}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        if heading == "Returns":
            told.append(f"\n**Returns** {_prose(inspect.cleandoc(text))}\n")
            continue
        rows = [
            f"| `{key}` | {defaults.get(key, '') if heading == 'Args' else ''} | {_cell(line)} |"
            for key, line in _named(text)
        ]
        titles = "| argument | default | |" if heading == "Args" else "| raises | | |"
        told.append("\n".join(["", titles, "|---|---|---|", *rows, ""]))
    return "".join(told)


def _named(text: str) -> Iterator[tuple[str, str]]:
    """(name, what is said) of the indented lines `name: text`, continued lines joined."""
    lines = inspect.cleandoc(text).splitlines()
    joined = re.sub(r"\n\s+", " ", "\n".join(lines))
    for line in filter(None, joined.splitlines()):
        key, _, said = line.partition(": ")
        yield key, said


def _default(one: inspect.Parameter) -> str:
    value = one.default
    if value is inspect.Parameter.empty:
        return "must be given" if one.kind is not inspect.Parameter.VAR_KEYWORD else ""
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value!r}`"


def _prose(text: str) -> str:
    return html.escape(text.strip(), quote=False)


def _cell(text: str) -> str:
    return _prose(text).replace("|", r"\|").replace("*", r"\*").replace("[", r"\[")
