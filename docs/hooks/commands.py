"""Writes the page of all commands while the site is built, from the commands: none is typed twice."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from cvbench.cli.app import app

PAGE = "reference/commands.md"
HEAD = """# Commands

Made from the commands' own declarations when this site is built; `cvbench COMMAND --help` prints the same.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page, as MkDocs asks each hook once it has listed the files."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown: a heading for each command, and a table of its options."""
    return HEAD + "".join(_sections("cvbench", typer.main.get_command(app)))


def _sections(name: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    if not hasattr(command, "list_commands"):
        yield f"\n## `{name}`\n\n{_prose(command.help)}\n\n{_table(command)}"
        return
    for word in command.list_commands(context):
        yield from _sections(f"{name} {word}", command.get_command(context, word))


def _table(command: Any) -> str:
    fields = [one for form in getattr(command, "forms", ()) for one in form.fields()]
    choices = {one.name: one.known for one in fields}
    rows = [
        f"| {_names(one)} | {_values(one, choices)} | {_default(one)} | {_cell(getattr(one, 'help', ''))} |"
        for one in command.params
    ]
    return "\n".join(["| option | value | default | |", "|---|---|---|---|", *rows, ""]) if rows else ""


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.name.rstrip('_').upper()}`"
    return "<br>".join(f"`{name}`" for name in sorted([*param.opts, *param.secondary_opts], key=len, reverse=True))


def _values(param: Any, choices: Mapping[str, Sequence[str]]) -> str:
    if getattr(param, "is_flag", False):
        return "switch"
    one_of = next((choices[name] for name in param.opts if choices.get(name)), ())
    said = " or ".join(f"`{word}`" for word in one_of) or _kind(param.type_descriptor.annotation)
    said += f" from {param.min:g}" if param.min is not None else ""
    said += f" to {param.max:g}" if param.max is not None else ""
    return f"{said}, repeat" if param.multiple or param.nargs == -1 else said


def _kind(annotation: Any) -> str:
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if inner:
        return " or ".join(dict.fromkeys(repr(one) if isinstance(one, str) else _kind(one) for one in inner))
    return {int: "whole number", float: "number"}.get(annotation, "text")


def _default(param: Any) -> str:
    if param.required:
        return "must be given"
    value = param.default() if callable(param.default) else param.default
    if value in (None, "", False, (), []):
        return ""
    values = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"`{getattr(one, 'value', one)}`" for one in values)


def _prose(text: str | None) -> str:
    return html.escape(re.sub(r"[ \t]*\n[ \t]*", "\n", (text or "").strip()), quote=False)


def _cell(text: str | None) -> str:
    return _prose(text).replace("|", r"\|").replace("\n", " ").replace("*", r"\*").replace("[", r"\[")
