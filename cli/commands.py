"""Commands as all groups build them: what is typed is never dropped in silence."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from cvbench.cli.help import HOW, SECTIONS, examples_of, section_of
from cvbench.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


ORDER = ("Arguments", *[*SECTIONS][:1], HOW, *[*SECTIONS][1:])
"""Headings of a help, in this order."""

OF_DRAWS = ("--resamples", "--seed")
"""Options that only commands have which draw at random; earlier versions had them where they had no effect."""


class Command(TyperCommand):
    """A command that refuses an option that takes one value and is given several: the parser would keep the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as any command does, help first; then look at what was typed.

        Raises:
            UsageError: An option with one value is given twice; or one of `OF_DRAWS` that the command lacks.
        """
        typed = list(args)  # the parser takes words off the list
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", None)
            if name not in OF_DRAWS or any(name in param.opts for param in self.params):
                raise
            raise UsageError(
                f"there is no {name}", where=ctx.command_path, why="none of its intervals is drawn", fix="leave it out"
            ) from None
        _, _, order = self.make_parser(ctx).parse_args(args=typed)
        times = Counter(param for param in order if takes_one_value(param))
        for param, count in times.items():
            if count > 1:
                name = max(param.opts, key=len)
                raise UsageError(
                    f"{name} is given {count} times and takes one value", where=ctx.command_path, fix=f"one {name}"
                )
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options in groups: what of, how, where, what is shown."""
        records: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                argument = param.param_type_name == "argument"
                if argument:  # its name says what it is, as that of an option's value does
                    record = (re.sub(r" <[^<>]*>$", "", record[0]), record[1])
                records.setdefault("Arguments" if argument else section_of(param.name), []).append(record)
        for heading in ORDER:
            if heading in records:
                with formatter.section(heading):
                    formatter.write_dl(records.pop(heading))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples to paste."""
        lines = examples_of(" ".join(ctx.command_path.split()[1:]))
        if lines:
            with formatter.section("Examples"):
                formatter.write("".join(f"{'':{formatter.current_indent}}{line}\n" for line in lines))


def takes_one_value(param: Any) -> bool:
    """Whether a parameter is an option with a value of its own, and only one."""
    return param.param_type_name == "option" and not param.is_flag and not param.multiple and not param.count


class Commands(typer.Typer):
    """A group whose commands are `Command`s, with plain help: rich would double the start-up time."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(rich_markup_mode=None, add_completion=False, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Decorate a command as typer does, of the class `Command`."""
        return super().command(name, **{"cls": Command, **settings})


Place = tuple[str, str, str]
"""Module below `cvbench.cli`, the command, function or group there, and its line in the help of its group."""


NO_ALIASES: Mapping[str, str] = MappingProxyType({})


class OnDemand(TyperGroup):
    """Imports and builds a command when it is called: all the options of all commands take longer than the help."""

    places: ClassVar[Mapping[str, Place]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}

    def lines(self) -> dict[str, str]:
        """Name of each command -> its line in the help, in the order of the help."""
        return {name: line for name, (_, _, line) in self.places.items()}

    def build(self, name: str) -> Any:
        """Import and build a command; None if there is none of this name."""
        if name not in self.places:
            return None
        module, attribute, _ = self.places[name]
        return built(name, getattr(importlib.import_module(module), attribute))

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(self.lines())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name; None if there is none."""
        cmd_name = self.aliases.get(cmd_name, cmd_name)
        if cmd_name not in self.commands and (found := self.build(cmd_name)) is not None:
            self.commands[cmd_name] = found
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command as any group does; the error for a misspelt name knows them all."""
        if args and self.get_command(ctx, args[0]) is None:
            for name in self.lines():  # the error names neighbours among those that are there
                self.commands.setdefault(name, Command(name))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of the help, without building any; a line is wrapped where it is too long, never cut."""
        with formatter.section("Commands"):
            formatter.write_dl([*self.lines().items()])


def on_demand(places: Mapping[str, Place], aliases: Mapping[str, str] = NO_ALIASES) -> type[OnDemand]:
    """The class of a group of these commands; an alias is understood and not shown."""
    return type("OnDemand", (OnDemand,), {"places": places, "aliases": aliases})


def built(name: str, found: Any) -> Any:
    """A command from what a module has: a command or a group."""
    if isinstance(found, typer.Typer):
        around = Commands()
        around.add_typer(found, name=name)
        return typer.main.get_group(around).commands[name]
    return found
