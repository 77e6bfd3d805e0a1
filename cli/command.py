"""A command of the command line, built from the dataclasses that its job takes."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, make_dataclass, replace
from typing import Annotated, Any, ClassVar

import typer

from cvbench.cli.commands import Command, Commands
from cvbench.options import Field, Option, fields_of, make_options


@dataclass(frozen=True)
class Form:
    """A dataclass of options as one command offers it.

    Attributes:
        options: The dataclass.
        only: The keys of the options offered; empty: all.
        each: Key of an option with one value that may be repeated here: an instance for every value.
        help, defaults: Key -> help or default as typed, where it is another here.
    """

    options: type[Any]
    only: Sequence[str] = ()
    each: str = ""
    help: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> Iterator[Field]:
        """The options offered."""
        for one in fields_of(self.options):
            if not self.only or one.key in self.only:
                option = replace(one.option, help=self.help.get(one.key, one.option.help))
                default = self.defaults.get(one.key, one.default)
                if one.key == self.each:
                    yield replace(one, option=option, kind=list[str], default=[] if default is None else default)
                else:
                    yield replace(one, option=option, default=default)

    def made(self, typed: Mapping[str, Any]) -> Any:
        """The instance; or with `each` a list of them, one of None if nothing was typed."""
        own = {one.key: typed[one.key] for one in self.fields()}
        if not self.each:
            return make_options(self.options, own)
        values = list(dict.fromkeys(own[self.each])) or [None]
        return [make_options(self.options, {**own, self.each: value}) for value in values]


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
    whole = [form if isinstance(form, Form) else Form(form) for form in forms]
    parts = [(_attribute(one.key), _annotated(one), _default(one)) for form in whole for one in form.fields()]
    parts.sort(key=lambda part: part[2] is not MISSING)  # what must be given first, as Python asks
    typed = make_dataclass(name, [part[:2] if part[2] is MISSING else part for part in parts])
    kind = type(name, (FormCommand,), {"forms": tuple(whole), "act": staticmethod(act)})
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
        return Annotated[one.kind, typer.Argument(help=option.help)]
    names = [one.name] + ([option.short] if option.short else [])
    return Annotated[
        one.kind,
        typer.Option(
            *names,
            help=option.help,
            envvar=option.variable or None,
            callback=_checked(option),
            min=option.least,
            max=option.most,
        ),
    ]


def _checked(option: Option) -> Callable[[Any], Any] | None:
    """What the command line calls with a value that it has read, before the command."""
    check = option.check
    if check is None:
        return None

    def checked(value: Any) -> Any:
        if value is not None:
            check(value)
        return value

    return checked
