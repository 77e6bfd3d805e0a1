"""A YAML file as plain values, each with the line that it stands on; and values put over them by `--set`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import command

At = tuple[str | int, ...]
"""Keys and numbers that lead to a value; "-" in a key stands as "_"."""

MOST_BYTES, MOST_NODES = 2**20, 20_000
"""Of a file, and of what its aliases would spread it to."""
SHORT = {"backbones": "model", "datasets": "dataset"}
"""Lists whose items may be one word -> the key that is meant; in any other list of names it is that of the options."""
NAMED = ("analyses", "evaluations", "transfer")
"""Lists of names with options."""
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"str", "int", "float", "bool", "null"}


@dataclass(frozen=True)
class Document:
    """Content of a study file.

    Attributes:
        value: Dicts, lists, text, numbers, True, False and None.
        places: Where values stand: "study.yaml:12", or the `--set` that gave them.
    """

    file: str
    value: Any
    places: Mapping[At, str]

    def place(self, at: Sequence[str | int]) -> str:
        """Name the line of a value, or of what it would be in."""
        path = tuple(plain(part) for part in at)
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.file)


def plain(key: str | int) -> str | int:
    """A key as options have it in Python.

    >>> plain("image-size"), plain(0)
    ('image_size', 0)
    """
    return key.replace("-", "_") if isinstance(key, str) else key


def read_document(path: str) -> Document:
    """A file, read as `parse` does.

    Raises:
        DataUnavailableError: There is none.
        UsageError: It is too large, no text, or no YAML; with the line.
    """
    try:
        with Path(path).expanduser().open("rb") as handle:
            data = handle.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataUnavailableError(
            "the study cannot be read",
            where=path,
            why=error.strerror,
            fix=f"{command('config init', path)}  # writes one",
        ) from error
    if len(data) > MOST_BYTES:
        raise UsageError("the study is too large", where=path, why=f"more than {MOST_BYTES:,} bytes")
    try:
        return parse(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise UsageError("the study is no text", where=path, why=str(error)) from error


def parse(text: str, file: str) -> Document:
    """The values of a YAML text, and their lines. Nothing in it is run: only plain values are made.

    Raises:
        UsageError: No YAML; a key twice or that is no word; a tag; or more values than a study has.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = file if mark is None else f"{file}:{mark.line + 1}"
        raise UsageError("the study is no YAML", where=where, why=problem or str(error)) from error
    except RecursionError as error:
        raise UsageError("the study is no YAML", where=file, why="it is nested too deeply") from error
    builder = _Builder(file)
    value = {} if node is None else builder.build(node, ())
    return Document(file, value, builder.places)


class _Builder:
    def __init__(self, file: str) -> None:
        self.file, self.places = file, dict[At, str]()
        self._nodes = 0
        self._scalars = yaml.SafeLoader("")

    def build(self, node: Any, at: At) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or len(at) > 20:
            raise UsageError("the study is too large", where=self._line(node), why="its aliases repeat too much")
        self.places.setdefault(at, self._line(node))
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.build(item, (*at, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            return self._scalar(node)
        if isinstance(node, yaml.ScalarNode) and kind == "timestamp":
            return node.value
        raise UsageError(f"a study has no {node.tag}", where=self._line(node), fix="plain text, or text in quotes")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError, KeyError, yaml.YAMLError) as error:  # said to be a number, and is none
            what = f"{node.value[:40]!r} is no {node.tag.removeprefix(_TAG)}"
            raise UsageError(what, where=self._line(node), fix="put text into quotes") from error

    def _mapping(self, node: Any, at: At) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError("a key of the study is no word", where=self._line(key))
            place = (*at, plain(key.value))
            if place in self.places:
                raise UsageError(f"{key.value!r} is given twice", where=f"{self.places[place]} and {self._line(key)}")
            self.places[place] = self._line(key)
            found[key.value] = self.build(inner, place)
        return found

    def _line(self, node: Any) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"


def spread(document: Document) -> Document:
    """With every item of `SHORT` and `NAMED` as a mapping: "cka" is {"cka": {}}, "digits" is {"dataset": "digits"}."""
    if not isinstance(document.value, dict):
        return document
    value = dict(document.value)
    for key in (*SHORT, *NAMED):
        if isinstance(value.get(key), list):
            value[key] = [_whole(key, item) for item in value[key]]
    return Document(document.file, value, document.places)


def _whole(key: str, item: Any) -> Any:
    if isinstance(item, str):
        return {SHORT[key]: item} if key in SHORT else {item: {}}
    if key in NAMED and isinstance(item, dict):
        return {name: {} if options is None else options for name, options in item.items()}
    return item


def override(document: Document, given: Sequence[str]) -> Document:
    """Put "key.path=value" over what the file says; values are YAML. An item of a list goes by its number or name.

    Args:
        document: Spread, see `spread`.
        given: Such as "extract.limit=64", "analyses.cka.view=pooled", "datasets.0.split=test".

    Raises:
        UsageError: Not of this form, or a value is no YAML.
        UnknownNameError: A list has no such item; names the nearest. A key that does not exist is found later.
    """
    value, places = copy.deepcopy(document.value), dict(document.places)
    for text in given:
        path, equals, typed = text.partition("=")
        if not equals or not all(path.split(".")):
            raise UsageError(f"--set {text} is no KEY=VALUE", fix="--set extract.limit=64")
        _put(value, path.split("."), parse(typed, f"--set {path}").value if typed else None, places, f"--set {text}")
    return Document(document.file, value, places)


def _put(value: Any, parts: list[str], new: Any, places: dict[At, str], said: str) -> None:
    at: At = ()
    key: Any
    while True:
        if isinstance(value, list):
            key, parts = _item(value, parts, at, said)
            at = (*at, key)
            if at[0] in NAMED and parts and isinstance(value[key], dict) and len(value[key]) == 1:
                parts = [next(iter(value[key])), *(parts[1:] if parts[0] in value[key] else parts)]
        elif isinstance(value, dict):
            key = next((name for name in value if plain(name) == plain(parts[0])), parts[0])
            at, parts = (*at, plain(key)), parts[1:]
        else:
            raise UsageError(f"{'.'.join(map(str, at))} is a value and has no keys", where=said)
        if not parts:
            for old in [place for place in places if place[: len(at)] == at]:
                del places[old]
            value[key], places[at] = new, said
            return
        if isinstance(value, dict) and value.get(key) is None:
            value[key], places[at] = {}, said
        value = value[key]


def _item(items: list[Any], parts: list[str], at: At, said: str) -> tuple[int, list[str]]:
    """The number of the item that the next parts mean, names with dots in them too, and the parts behind."""
    if parts[0].isdecimal() and int(parts[0]) < len(items):
        return int(parts[0]), parts[1:]
    names = [_name(item) for item in items]
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in names:
            if names.count(name) > 1:
                raise UsageError(f"{name!r} is several items of {at[0]}", where=said, fix="its number, from 0")
            return names.index(name), parts[end:]
    fix = f"0 to {len(items) - 1}, or {', '.join(map(str, names))}" if items else "the list is empty"
    raise _at(UnknownNameError.among(f"item of {'.'.join(map(str, at))}:", parts[0], map(str, names), fix=fix), said)


def _name(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return str(next((item[key] for key in SHORT.values() if key in item), next(iter(item), "")))


def _at(error: UsageError, where: str) -> UsageError:
    error.where = where
    return error
