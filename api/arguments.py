"""An option of a command as a parameter of a Python function: its name, type, default, and how a value is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass
from functools import reduce
from inspect import Parameter
from numbers import Integral, Real
from operator import or_
from typing import Any, Literal, get_args, get_origin

from cvbench.api.stores import Store
from cvbench.errors import UnknownNameError, UsageError
from cvbench.options import Field

_ADDRESS = (
    '"none" runs in this process, "local" starts a private Ray, "auto" chooses as the command line does, else the '
    'address of a Ray cluster; default: the variable CVBENCH_ADDRESS, else "none".'
)


@dataclass(frozen=True)
class Argument:
    """A parameter.

    Attributes:
        name: That of the dataclass's field.
        field: The option.
        several: Whether it takes any number of values.
    """

    name: str
    field: Field

    @property
    def several(self) -> bool:
        return get_origin(self.field.kind) is list

    @property
    def is_place(self) -> bool:
        """Whether it says where a job runs: a notebook starts no Ray of its own accord."""
        return self.field.key == "address"

    @property
    def help(self) -> str:
        """One sentence."""
        if self.is_place:
            return _ADDRESS
        return self.field.option.help.replace(" Repeat.", " One or several.")

    @property
    def kind(self) -> Any:
        """Its type, for the signature."""
        base, text = self.field.base, self.field.option.text
        if self.field.key == "store":
            return str | os.PathLike[str] | Store
        if self.several:
            values = str | Sequence[str]
            return values | None if self.default is None else values
        kinds = [kind for kind in get_args(base) or (base,) if kind is not type(None)]
        if get_origin(base) is Literal:
            kinds = [base]
        if text is not None and bool not in kinds:
            kinds.append(str)
        if self.default is None or type(None) in get_args(base):
            kinds.append(type(None))
        return reduce(or_, kinds)

    @property
    def default(self) -> Any:
        """The value if none is given; `Parameter.empty` if one must be."""
        if self.field.default is MISSING:
            return Parameter.empty
        if self.is_place:
            return None
        value = self.field.value(self.field.default)
        return None if self.several and not value else value

    def typed(self, given: Any) -> Any:
        """The input of the command line that means the value.

        Raises:
            UsageError: It is of another type, or the option refuses it.
        """
        if self.is_place and given is None:
            given = os.environ.get("CVBENCH_ADDRESS") or "none"
        typed = self._typed(given)
        if isinstance(typed, int | float) and not isinstance(typed, bool):
            self._within(given, typed)
        if self.field.choices and typed not in self.field.choices:
            raise UnknownNameError.among(f"{self.name}:", str(typed), self.field.choices)
        if self.field.option.check is not None and typed is not None:
            self.field.option.check(typed)
        try:
            self.field.value(typed)
        except UsageError as error:
            raise self._refused(given, error.what.partition(": ")[2] or error.what) from None
        return typed

    def _typed(self, given: Any) -> Any:
        if self.field.key == "store":
            return given.url if isinstance(given, Store) else self._text(given)
        if self.several:
            return self._texts(given)
        base, text = self.field.base, self.field.option.text
        kinds = get_args(base) or (base,)
        if given is None:
            if type(None) in kinds or self.field.default is None:
                return None if text is None else self.field.typed(None)
            raise self._refused(given, f"give a {_name(kinds[0])}")
        if isinstance(given, str) and text is not None and bool not in kinds:
            return given
        if bool in kinds:
            if not isinstance(given, bool):
                raise self._refused(given, "give True or False")
            return self.field.typed(given)
        if int in kinds or float in kinds:
            whole = int in kinds
            if isinstance(given, bool) or not isinstance(given, Integral if whole else Real):
                raise self._refused(given, "give an int" if whole else "give a float")
            number: Any = given  # typeshed's `int` takes no `Real`
            return self.field.typed(int(number) if whole else float(number))
        return self._text(given)

    def _text(self, given: Any) -> str:
        if not isinstance(given, str | os.PathLike):
            raise self._refused(given, "give text")
        return str(os.fspath(given))

    def _texts(self, given: Any) -> list[str]:
        if given is None:
            return []
        if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
            given = [given]
        return [str(one) if isinstance(one, Real) and not isinstance(one, bool) else self._text(one) for one in given]

    def _within(self, given: Any, typed: float) -> None:
        least, most = self.field.option.least, self.field.option.most
        if least is not None and typed < least:
            raise self._refused(given, f"the least is {least:g}")
        if most is not None and typed > most:
            raise self._refused(given, f"the most is {most:g}")

    def _refused(self, given: Any, why: str) -> UsageError:
        return UsageError(f"{self.name}={given!r:.200}: {why}")


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", "value")
