"""Options are the fields of dataclasses: one declaration gives the command line, its help, and the printed commands.

    @dataclass(frozen=True)
    class Options:
        resamples: Annotated[int, Option("Resamples of the bootstrap.", least=1)] = 2000

A field without an `Option` is for callers from Python only; a field that is a dataclass of its own gives its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

Options = TypeVar("Options")


@dataclass(frozen=True)
class Text:
    """A value that is typed as another: "all" for None, "20GB" for a number of bytes.

    Attributes:
        read: What was typed -> the value. Raises `UsageError`.
        write: The value -> what is typed; None: there is nothing to type, since it is what no option means.
        repeated: Whether a tuple of texts is typed.
    """

    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = str
    repeated: bool = False


@dataclass(frozen=True)
class Option:
    """How a field is typed.

    Attributes:
        help: One sentence.
        name: Such as "--backbone"; "": that of the field.
        short: Such as "-m"; "": none.
        least, most: Bounds of a number.
        variable: Of the environment, which gives the value if nothing is typed; "": none.
        text: If it is typed as another value.
        check: Refuses what is typed before any work; gives the value back.
    """

    help: str
    name: str = ""
    short: str = ""
    least: float | None = None
    most: float | None = None
    variable: str = ""
    text: Text | None = None
    check: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Field:
    """An option of a dataclass.

    Attributes:
        path: Names of the fields that lead to it.
        kind: Its type as typed: bool, int, float, str, one of these or None, or a list of str.
        default: As typed; `MISSING` if it must be given.
    """

    path: tuple[str, ...]
    kind: Any
    option: Option
    default: Any

    @property
    def name(self) -> str:
        """Such as "--image-size"."""
        return self.option.name or "--" + self.path[-1].replace("_", "-")

    @property
    def key(self) -> str:
        """The name as Python has it: "image_size"."""
        return self.name.removeprefix("--").replace("-", "_")

    def value(self, typed: Any) -> Any:
        """What the field becomes."""
        text = self.option.text
        if text is not None:
            return text.read(tuple(typed) if text.repeated else typed) if typed is not None else None
        return tuple(typed) if get_origin(self.kind) is list else typed

    def typed(self, value: Any) -> Any:
        """What gives the field this value."""
        return value if self.option.text is None else self.option.text.write(value)


def fields_of(options: type[Any]) -> Iterator[Field]:
    """The options of a dataclass, those of the dataclasses in it at their place."""
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            if isinstance(hint, type) and is_dataclass(hint):
                for inner in fields_of(hint):
                    yield Field((field.name, *inner.path), inner.kind, inner.option, inner.default)
            continue
        base, *notes = get_args(hint)
        for option in (note for note in notes if isinstance(note, Option)):
            made = Field((field.name,), _kind(base, option), option, MISSING)
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield made if default is MISSING else Field(made.path, made.kind, option, made.typed(default))


def _kind(base: Any, option: Option) -> Any:
    if option.text is not None:
        return list[str] if option.text.repeated else str | None
    return list[str] if get_origin(base) is tuple else base


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
    return _build(options, nested)


def _build(options: type[Options], nested: Mapping[str, Any]) -> Options:
    hints = get_type_hints(options)
    values = {
        name: _build(hints[name], value) if isinstance(value, dict) and is_dataclass(hints[name]) else value
        for name, value in nested.items()
    }
    return options(**values)


def typed_words(options: Any) -> dict[str, Any]:
    """`Field.key` -> what was typed, of all that is not as it would be without: for `hints.command`."""
    found = {}
    for field in fields_of(type(options)):
        value = options
        for name in field.path:
            value = getattr(value, name)
        typed = field.typed(value)
        if typed != field.default:
            found[field.key] = typed
    return found
