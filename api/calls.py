"""Python functions made from the forms of commands: the same options, with signature and docstring."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, Signature
from typing import Any

from cvbench.api.arguments import Argument
from cvbench.api.progress import listening
from cvbench.errors import CvbenchError, UnknownNameError, UsageError
from cvbench.options import Form, form_of

_PROGRESS = "Print how far the work is, to stderr."
_WIDTH = 112
_OPTION, _OR_OPTION = re.compile(r"--[a-z][a-z-]*"), re.compile(r"\bor (--[a-z][a-z-]*)")


@dataclass(frozen=True)
class Call:
    """One command as a Python function.

    Attributes:
        name: Of the function.
        words: Of the command: "analyze cka".
        forms: Its options.
        about: Its help.
        act: Called with the call, a listener, and what each form makes.
        gives: Class of what comes back.
        returns: The same in a sentence.
        leading: Parameters that may be given by place, first of all.
    """

    name: str
    words: str
    forms: tuple[Form, ...]
    about: str
    act: Callable[..., Any]
    gives: type[Any]
    returns: str
    leading: Sequence[str] = ("store",)
    listens: bool = True

    @cached_property
    def arguments(self) -> dict[str, Argument]:
        """Name -> parameter, those that may be given by place first."""
        found = {one.path[-1]: Argument(one.path[-1], one) for form in self.forms for one in form.fields()}
        first = {name: found[name] for name in self.leading if name in found}
        return first | found

    @cached_property
    def signature(self) -> Signature:
        """The signature, for `inspect.signature` and `help`."""
        parameters = [
            Parameter(
                name,
                Parameter.POSITIONAL_OR_KEYWORD if name in self.leading else Parameter.KEYWORD_ONLY,
                default=one.default,
                annotation=one.kind,
            )
            for name, one in self.arguments.items()
        ]
        if self.listens:
            parameters.append(Parameter("progress", Parameter.KEYWORD_ONLY, default=False, annotation=bool))
        return Signature(parameters, return_annotation=self.gives)

    @cached_property
    def doc(self) -> str:
        """The docstring."""
        helps = {name: one.help for name, one in self.arguments.items()} | (
            {"progress": _PROGRESS} if self.listens else {}
        )
        lines = [
            line
            for name, help in helps.items()
            for line in textwrap.wrap(f"{name}: {help}", _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
        ]
        summary, _, rest = self.about.partition("\n\n")
        more = "\n".join(textwrap.wrap(rest, _WIDTH)) + "\n\n" if rest else ""
        same = f"`cvbench {self.words}` on the command line."
        return "\n".join([summary, "", f"{more}{same}", "", "Args:", *lines, "", "Returns:", f"    {self.returns}", ""])

    def made(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """An instance for each form.

        Raises:
            UsageError: As `Argument.typed`, or as a dataclass refuses its values.
        """
        typed = {
            one.field.key: one.typed(given[name]) if name in given else self._default(one)
            for name, one in self.arguments.items()
        }
        return tuple(form.made(typed) for form in self.forms)

    def _default(self, one: Argument) -> Any:
        return one.typed(None) if one.is_place else one.field.default

    def bound(self, args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Map names to what was given.

        Raises:
            UnknownNameError: There is no such parameter.
            UsageError: One is lacking, or given twice.
        """
        known = self.signature.parameters
        for name in options:
            if name not in known:
                raise self._unknown(name)
        try:
            return dict(self.signature.bind(*args, **options).arguments)
        except TypeError as error:
            raise UsageError(f"{self.name}(): {error}", fix=f"help({self.place})") from None

    @property
    def place(self) -> str:
        """The name in a script, such as "cvbench.analyze.cka"."""
        group, _, name = self.words.rpartition(" ")
        return ".".join(filter(None, ("cvbench", {"eval": "evaluate"}.get(group, group), self.name))) if name else ""

    def _translate(self, error: CvbenchError) -> None:
        """Say options of the command line, which jobs know, in the words of Python too; a command to paste stays."""
        fix = error.fix or ""
        known = {one.field.name: name for name, one in self.arguments.items()}
        pattern = _OR_OPTION if "cvbench " in fix else _OPTION
        found = dict.fromkeys(known[word] for word in pattern.findall(fix) if word in known)
        if found:
            error.fix = f"{fix}; in Python: {', '.join(found)}"

    def _unknown(self, name: str) -> UnknownNameError:
        same = [one.name for one in self.arguments.values() if one.field.key == name]  # as it is typed
        what = f"argument of {self.place}():"
        if same:
            return UnknownNameError(f"unknown {what} {name!r}", did_you_mean=same)
        return UnknownNameError.among(what, name, self.signature.parameters)

    def function(self, module: str) -> Callable[..., Any]:
        """The function, of a module."""

        def call(*args: Any, **options: Any) -> Any:
            given = self.bound(args, options)
            shows = bool(given.pop("progress", False))
            try:
                made = self.made(given)
                with listening(shows) as listen:
                    return self.act(self, listen, *made)
            except CvbenchError as error:
                self._translate(error)
                raise

        call.__name__ = call.__qualname__ = self.name
        call.__module__, call.__doc__ = module, self.doc
        call.__signature__ = self.signature  # type: ignore[attr-defined]
        call.__annotations__ = {name: one.annotation for name, one in self.signature.parameters.items()}
        call.__annotations__["return"] = self.gives
        return call


def forms(given: Sequence[Form | type[Any]]) -> tuple[Form, ...]:
    """Options as forms."""
    return tuple(map(form_of, given))
