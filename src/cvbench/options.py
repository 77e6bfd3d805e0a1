"""Options are the fields of dataclasses: one declaration gives the command line, its help, and the printed commands.

    @dataclass(frozen=True)
    class Options:
        resamples: Annotated[int, Option("Resamples of the bootstrap.", least=1)] = 2000

A field without an `Option` is for callers from Python only; a field that is a dataclass of its own gives its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from dataclasses import field as made_by
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from cvbench.errors import UsageError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Text:
    """A value that is typed as another: "all" for None, "20GB" for a number of bytes.

    Attributes:
        read: What was typed -> the value (of a tuple, the tuple typed). A `ValueError` says what to give.
        write: The value -> what is typed.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


@dataclass(frozen=True)
class Option:
    """Command-line form of a field of an options dataclass.

    Attributes:
        help: One sentence.
        name: Such as "--backbone"; "": that of the field.
        short: Such as "-m"; "": none.
        least, most: Bounds of a number.
        variable: Of the environment, which gives the value if nothing is typed; "": none.
        text: If it is typed as another value.
        check: Refuses what is typed, before any work.
        alone: It is typed without its name, in the order of the fields.
        settled: Where nothing is typed the command chooses, and what it prints to make its result again says what.
        apart: Each of its values gives a result of its own.
        meant: Values that are meant where nothing is typed.
        values: All values of a text that there are, where its type does not name them; who takes it refuses others.
        such_as: Words among the values of a text, which has others.
    """

    help: str
    name: str = ""
    short: str = ""
    least: float | None = None
    most: float | None = None
    variable: str = ""
    text: Text | None = None
    check: Callable[[Any], None] | None = None
    alone: bool = False
    settled: bool = False
    apart: bool = False
    meant: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    such_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Field:
    """An option of a dataclass.

    Attributes:
        path: Names of the fields that lead to it.
        kind: Its type as typed: bool, int, float, str, one of these or None, or a list of str.
        default: As typed; `MISSING` if it must be given.
        choices: The only values of a text, if its type names them.
        base: Its type in the dataclass, without the option.
    """

    path: tuple[str, ...]
    kind: Any
    option: Option
    default: Any
    choices: tuple[str, ...] = ()
    base: Any = None

    @property
    def name(self) -> str:
        """Such as "--image-size"."""
        return self.option.name or "--" + self.path[-1].replace("_", "-")

    @property
    def key(self) -> str:
        """The name as Python has it: "image_size"."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def known(self) -> tuple[str, ...]:
        """All the values there are, if they are known: the help shows them."""
        return self.choices or self.option.values

    def value(self, typed: Any) -> Any:
        """The value of the field for what is typed.

        Raises:
            UsageError: It cannot be read.
        """
        given = tuple(typed) if get_origin(self.kind) is list else typed
        if self.option.text is None or given is None:
            return given
        try:
            return self.option.text.read(given)
        except ValueError as error:
            raise UsageError(f"{self.name} {typed}: {error}") from None

    def typed(self, value: Any) -> Any:
        """The input that gives the field this value: the reverse of `value`."""
        given = value if self.option.text is None else self.option.text.write(value)
        return list(given) if get_origin(self.kind) is list else given


def fields_of(options: Any) -> tuple[Field, ...]:
    """The options of a dataclass, a class, those of the dataclasses in it at their place."""
    return _read(options)


@cache  # annotations are texts, and each is compiled whenever they are read
def _read(options: Any) -> tuple[Field, ...]:
    return tuple(_fields(options))


def _fields(options: Any) -> Iterator[Field]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            if isinstance(hint, type) and is_dataclass(hint):
                for inner in fields_of(hint):
                    yield replace(inner, path=(field.name, *inner.path))
            continue
        base, *notes = get_args(hint)
        for option in (note for note in notes if isinstance(note, Option)):
            choices = get_args(base) if get_origin(base) is Literal else ()
            made = Field((field.name,), _kind(base, option), option, MISSING, choices, base)
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield made if default is MISSING else replace(made, default=made.typed(default))


def _kind(base: Any, option: Option) -> Any:
    if base is bool:
        return bool
    if get_origin(base) is tuple:
        return list[str]
    if get_origin(base) is Literal:
        return str
    return base if option.text is None else str | None


def make_options(options: type[Options], typed: Mapping[str, Any]) -> Options:
    """An instance from what was typed, `Field.key` -> value; what is absent has its default.

    Raises:
        UsageError: A text that cannot be read, or as the dataclass itself refuses it.
    """
    nested: dict[str, Any] = {}
    for field in fields_of(options):
        if field.key in typed:
            inner = nested
            for name in field.path[:-1]:
                inner = inner.setdefault(name, {})
            inner[field.path[-1]] = field.value(typed[field.key])
    made: Options = _build(options, nested)
    return made


@cache
def _hints(options: Any) -> Mapping[str, Any]:
    return get_type_hints(options)


def _build(options: Any, nested: Mapping[str, Any]) -> Any:
    hints = _hints(options)
    values = {
        name: _build(hints[name], value) if isinstance(value, dict) and is_dataclass(hints[name]) else value
        for name, value in nested.items()
    }
    return options(**values)


@dataclass(frozen=True)
class Form:
    """A dataclass of options as one command offers it.

    Attributes:
        options: The dataclass.
        only: The keys of the options offered; empty: all.
        each: Key of an option with one value that may be repeated here: an instance for every value.
        help, defaults, values: Key -> help, default as typed or all values, where they are others here.
    """

    options: type[Any]
    only: Sequence[str] = ()
    each: str = ""
    help: Mapping[str, str] = made_by(default_factory=dict)
    defaults: Mapping[str, Any] = made_by(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = made_by(default_factory=dict)

    def fields(self) -> Iterator[Field]:
        """The options offered."""
        for one in fields_of(self.options):
            if not self.only or one.key in self.only:
                values = self.values.get(one.key, one.option.values)
                option = replace(one.option, help=self.help.get(one.key, one.option.help), values=values)
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

    def words(self, made: Any) -> dict[str, Any]:
        """Key -> what was typed, of the options offered here that are not at their default here: for `hints.command`.

        With `each`, `made` is one instance.
        """
        found = {}
        for one in self.fields():
            value = made
            for name in one.path:
                value = getattr(value, name)
            typed = value if one.key == self.each else one.typed(value)
            if typed != one.default and not (one.key == self.each and typed is None):
                found[one.key] = typed
        return found


def form_of(given: Form | type[Any]) -> Form:
    """A dataclass as the form that offers all of it."""
    return given if isinstance(given, Form) else Form(given)


def typed_words(options: Any) -> dict[str, Any]:
    """`Field.key` -> what was typed, of all that is not as it would be without: for `hints.command`."""
    return Form(type(options)).words(options)


def _read_count(typed: str) -> int:
    if not typed.isdecimal() or int(typed) < 1:  # unlike isdigit, what `int` reads
        raise ValueError("give a positive number")
    return int(typed)


def count_or(word: str, *, shown: bool = True) -> Text:
    """A positive number, or a word for None, which the help shows as the default if `shown`.

    >>> count_or("all").read("all"), count_or("all").read("64"), count_or("all").write(None)
    (None, 64, 'all')
    """

    def read(typed: str) -> int | None:
        try:
            return None if typed == word else _read_count(typed)
        except ValueError as error:
            raise ValueError(f"{error} or {word!r}") from None

    def write(value: int | None) -> str | None:
        if value is None:
            return word if shown else None
        return str(value)

    return Text(read, write)


_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _read_bytes(typed: str) -> int:
    text = typed.strip().upper()
    number = text.rstrip("KMGTB")
    try:
        size = int(float(number) * _BYTES[text[len(number) :]])
    except (KeyError, ValueError, OverflowError):
        size = -1
    if size < 0:
        raise ValueError("give a size such as 20GB")
    return size


BYTES = Text(_read_bytes, lambda value: None if value is None else str(value))
"""A number of bytes, such as "20GB", "1.5TB" or "4096"."""

ONCE_EACH = Text(lambda typed: tuple(dict.fromkeys(typed)), lambda value: list(value))
"""A tuple that has what is repeated once."""

COMMA_SEPARATED = Text(
    lambda typed: tuple(name for text in typed for name in text.split(",")), lambda value: list(value)
)
"""A tuple, of which several may be typed at once."""

NAMES = Text(
    lambda typed: tuple(dict.fromkeys(name for text in typed for name in text.split(","))), lambda value: list(value)
)
"""A tuple that has what is repeated once, of which several may be typed at once."""

NOT = Text(lambda typed: not typed, lambda value: not value)
"""A switch that turns off what is on."""
