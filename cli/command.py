"""A command of the command line, built from the dataclasses that its job takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, make_dataclass
from typing import Annotated, Any, ClassVar

import typer

from cvbench.cli.commands import Command
from cvbench.options import Field, fields_of, make_options


class OptionsCommand(Command):
    """A command whose options are the fields of dataclasses; `act` gets one instance of each."""

    forms: ClassVar[Sequence[type[Any]]]
    act: ClassVar[Callable[..., Any]]

    def invoke(self, ctx: Any) -> Any:
        """Build what was typed, and run."""
        typed = vars(super().invoke(ctx))
        return type(self).act(*(make_options(form, typed) for form in self.forms))


def add_command(
    app: typer.Typer,
    name: str,
    forms: Sequence[type[Any]],
    act: Callable[..., Any],
    *,
    about: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Give `app` a command.

    Args:
        app: The group.
        name: Of the command.
        forms: Dataclasses of options; of two options of one name the first counts.
        act: Called with an instance of each.
        about: Its help; None: the docstring of `act`.
        defaults: `Field.key` -> default, where it is another than that of the dataclass.
    """
    options: dict[str, Field] = {}
    for form in forms:
        for field in fields_of(form):
            options.setdefault(field.key, field)
    given = defaults or {}
    parts = [(key, _annotated(field), given.get(key, _default(field))) for key, field in options.items()]
    parts.sort(key=lambda part: part[2] is not MISSING)  # what must be given first, as Python asks
    typed = make_dataclass(name, [part[:2] if part[2] is MISSING else part for part in parts])
    kind = type(name, (OptionsCommand,), {"forms": tuple(forms), "act": staticmethod(act)})
    app.command(name, cls=kind, help=about or act.__doc__)(typed)


def _default(field: Field) -> Any:
    return tuple(field.default) if isinstance(field.default, list) else field.default


def _annotated(field: Field) -> Any:
    option = field.option
    names = [field.name] + ([option.short] if option.short else [])
    bounds = {name: at for name, at in (("min", option.least), ("max", option.most)) if at is not None}
    return Annotated[
        field.kind,
        typer.Option(*names, help=option.help, envvar=option.variable or None, callback=option.check, **bounds),
    ]
