"""A command of the command line, built from the dataclasses that its job takes."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Sequence
from dataclasses import MISSING, make_dataclass
from typing import Annotated, Any, ClassVar, get_args

import typer

from cvbench.cli.commands import Command, Commands
from cvbench.cli.completion import completion_of
from cvbench.options import Field, Form, Option, form_of

_LONGEST = 60  # letters of values beside the name of an option: a line of a terminal has 80


class FormCommand(Command):
    """A command whose options are those of its forms; `act` gets what each makes."""

    forms: ClassVar[Sequence[Form]]
    act: ClassVar[Callable[..., Any]]

    def invoke(self, ctx: Any) -> Any:
        """Make what was typed, and run."""
        typed = {key.rstrip("_"): value for key, value in vars(super().invoke(ctx)).items()}
        kind = type(self)
        return kind.act(*(form.made(typed) for form in kind.forms))


def command(name: str, forms: Sequence[Form | type[Any]], act: Callable[..., Any]) -> Any:
    """A command; its help is the docstring of `act`, which is called with an instance of each form."""
    built = [form_of(form) for form in forms]
    parts = [(_attribute(one.key), _annotated(one), _default(one)) for form in built for one in form.fields()]
    parts.sort(key=lambda part: part[2] is not MISSING)  # what must be given first, as Python asks
    typed = make_dataclass(name, [part[:2] if part[2] is MISSING else part for part in parts])
    kind = type(name, (FormCommand,), {"forms": tuple(built), "act": staticmethod(act)})
    alone = Commands()
    alone.command(name, cls=kind, help=act.__doc__)(typed)
    return typer.main.get_command(alone)


def _attribute(key: str) -> str:
    return f"{key}_" if keyword.iskeyword(key) else key


def _default(one: Field) -> Any:
    return tuple(one.default) if isinstance(one.default, list) else one.default


def _annotated(one: Field) -> Any:
    option = one.option
    if option.alone:
        complete = completion_of(one.key, one.known)
        return Annotated[one.kind, typer.Argument(help=option.help, metavar=one.key.upper(), autocompletion=complete)]
    names = [one.name] + ([option.short] if option.short else [])
    return Annotated[
        one.kind,
        typer.Option(
            *names,
            help=option.help,
            metavar=None if one.kind is bool else _metavar(one),
            autocompletion=completion_of(one.key, one.known or option.such_as),
            envvar=option.variable or None,
            callback=_checked(option),
            min=option.least,
            max=option.most,
        ),
    ]


def _metavar(one: Field) -> str:
    """Name the value in the help: the only values there are, N for a number, X for one with a fraction.

    Values that do not fit a line are in the words of the help alone.
    """
    shown = f"[{'|'.join(one.known)}]"
    if one.known and len(shown) <= _LONGEST:
        return shown
    kinds = (one.kind, *get_args(one.kind))
    return "N" if int in kinds else "X" if float in kinds else "TEXT"


def _checked(option: Option) -> Callable[[Any], Any] | None:
    """The callback that checks a value as the command line reads it, before the command runs; None without a check."""
    check = option.check
    if check is None:
        return None

    def checked(value: Any) -> Any:
        if value is not None:
            check(value)
        return value

    return checked
