"""Commands as all groups build them: what is typed is never dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from cvbench.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


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


def takes_one_value(param: Any) -> bool:
    """Whether a parameter is an option with a value of its own, and only one."""
    return param.param_type_name == "option" and not param.is_flag and not param.multiple and not param.count


class Commands(typer.Typer):
    """A group whose commands are `Command`s, with plain help: rich would double the start-up time."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(rich_markup_mode=None, add_completion=False, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """As typer's own."""
        return super().command(name, **{"cls": Command, **settings})
