"""Whether a result is one that a step of a study would keep: of the same layers, and made by the same options.

Options are compared as their dataclasses have them, not as they are typed: a default that is written out, another order
of the options or 0.50 for 0.5 are the same. What a command chooses itself where nothing is said (`Option.settled`) may
be anything, and so may what its results leave out (`Entry.unsaid`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cvbench.errors import CvbenchError
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.reading.selection import is_wanted
from cvbench.jobs.report.collect import Item
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.study.steps import Computation
from cvbench.jobs.study.study import made
from cvbench.options import Field, Form
from cvbench.storage.datasets import key_of_spec
from cvbench.storage.datasets.variant import RESOLUTION

_PLACE = {"store", "dataset", "split", "backbone", "taps", "data_root", "source"}
"""Options that say of what a result is, and where; its layers are compared instead."""
_GUARDS = {"allow_chance"}
"""Options that refuse a result, and change none."""
_ALWAYS_SAID = {"limit", "taps"}
"""Of the options of an extraction a result says only what it depends on; but where this is not said, it is of all."""
_SIZED = f"{RESOLUTION}="
"""How the factor begins of a network that is one at several sizes."""
_NOTHING: tuple[Any, ...] = (None, (), [], "", "auto")

Said = dict[str, Any]
"""Key -> value, as the dataclasses have it."""


def is_of(step: Computation, item: Item) -> bool:
    """Whether a result is one that the step would keep; of an option with a result for each value, of one of these."""
    key, wanted = item.key, _wanted(step)
    its = _said(step, item)
    if its is None:
        return False
    if step.images and all(name != key.dataset or split not in (None, key.split) for name, split in step.images):
        return False
    if not step.images and wanted.get("dataset") and _keys(wanted["dataset"]) != _keys(its.get("dataset") or ()):
        return False
    if wanted.get("backbone") and not _has_backbones(step, item, wanted["backbone"]):
        return False
    if "taps" in wanted and not _has_taps(item, wanted["taps"], its["taps"]):
        return False
    unsaid = {*_PLACE, *_GUARDS, *(() if item.entry is None else item.entry.unsaid)}
    passed_on = _of_extraction(step)
    return all(
        _agrees(one, wanted[one.key], its[one.key])
        for one in _fields(step)
        if one.key not in unsaid
        if one.key not in passed_on or (one.key in its and (one.key in _ALWAYS_SAID or wanted[one.key] not in _NOTHING))
    )


def lacking(step: Computation, items: Sequence[Item]) -> list[str]:
    """Values of an option with a result for each that none of these results of the step is of."""
    found = [its for item in items if (its := _said(step, item)) is not None]
    missing: list[str] = []
    for one in _fields(step):
        if one.option.apart:
            there = {value for its in found for value in its[one.key] or one.option.meant}
            missing += [value for value in _wanted(step)[one.key] or one.option.meant if value not in there]
    return missing


def backbones_of(item: Item) -> set[str]:
    """The stored names of the backbones that a result is of; of one at several sizes, rows say which they are of."""
    named = {str(layer["backbone"]) for layer in _layers(item)}
    return named or {
        f"{name}@{row.factor.removeprefix(_SIZED)}" if row.factor.startswith(_SIZED) else name
        for row in item.rows
        for name in (row.backbone, row.backbone_b)
        if name
    }


def _of_extraction(step: Computation) -> set[str]:
    """Keys of the options that the step's extraction gives."""
    return {one.key for form in step.forms if form.options is ExtractOptions for one in form.fields()}


def _agrees(one: Field, wanted: Any, value: Any) -> bool:
    """Whether a result's value is one that the step asks for."""
    option = one.option
    if option.apart:
        chosen = wanted or option.meant
        return not chosen or {*(value or option.meant)} <= {*chosen}
    if option.settled:
        return wanted in _NOTHING or _same(*(sorted(v) if isinstance(v, tuple) else v for v in (wanted, value)))
    return _same(wanted, value)


def _same(one: Any, two: Any) -> bool:
    """Whether two values are equal, numbers in a text as numbers.

    >>> _same(("0.50", "a"), ("0.5", "a")), _same("0.5", "0.6"), _same(None, 0)
    (True, False, False)
    """
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    if isinstance(one, str) and isinstance(two, str):
        try:
            return one == two or float(one) == float(two)
        except ValueError:
            return False
    return bool(one == two)


def _fields(step: Computation) -> Iterator[Field]:
    """Every option of a step but where it runs."""
    for form in _forms(step):
        yield from form.fields()


def _wanted(step: Computation) -> Said:
    return dict(_values(step.forms, step.asked))


def _said(step: Computation, item: Item) -> Said | None:
    """The options that the command of a result says, of an extraction only those typed; None if it cannot be read."""
    found = _asked(step, item)
    if found is None:
        return None
    typed, asked = found
    unsaid = _of_extraction(step) - _ALWAYS_SAID - typed.keys()
    return {key: value for key, value in _values(_forms(step), asked) if key not in unsaid}


def _asked(step: Computation, item: Item) -> tuple[Said, list[Any]] | None:
    """Values that the command of a result types, and what each form makes of them; None if it cannot be read."""
    try:
        typed = dict(_typed(shlex.split(item.command), list(_fields(step))))
        return typed, [made(form, typed) for form in _forms(step)]
    except (CvbenchError, ValidationError):
        return None


def _forms(step: Computation) -> list[Form]:
    return [form for form in step.forms if form.options is not Hardware]


def _values(forms: Sequence[Form], asked: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Key and value of every option of what each form made, but for where it runs."""
    for form, one in zip(forms, asked, strict=False):
        if form.options is Hardware:
            continue
        for field in form.fields():
            value = one[0] if isinstance(one, list) else one
            for name in field.path:
                value = getattr(value, name)
            yield field.key, [value] if field.key == form.each and value is not None else value


def _typed(words: Sequence[str], fields: Sequence[Field]) -> Iterator[tuple[str, Any]]:
    """Key and value of every option that stands among the words of a command; others are passed over.

    Raises:
        ValidationError: A value is of another type.
    """
    known = {one.name: one for one in fields}
    found: dict[str, list[str]] = {}
    for at, word in enumerate(words):
        if word in known:
            found.setdefault(word, []).append(words[at + 1] if at + 1 < len(words) else "")
    for name, values in found.items():
        one = known[name]
        value: Any = True if one.kind is bool else values if one.kind == list[str] else values[-1]
        yield one.key, TypeAdapter(one.kind).validate_python(value)


def _has_backbones(step: Computation, item: Item, typed: Sequence[str]) -> bool:
    """Whether a result is of the backbones that are wanted.

    A step that loads models itself types other names than the results have, and its result may leave some of them out,
    such as networks without attention: then its command names them all.
    """
    loaded = _loaded(step.asked)
    found = backbones_of(item)
    if loaded is None:
        return {*typed} == found
    asked = _asked(step, item)
    return loaded == found or (asked is not None and "backbone" in asked[0] and loaded == _loaded(asked[1]))


def _loaded(asked: Sequence[Any]) -> set[str] | None:
    """Stored names of the backbones that options of an extraction load; None if there are none."""
    for one in asked:
        if isinstance(one, ExtractOptions):
            with suppress(CvbenchError):  # names that are no model's any more
                return {spec.key for spec in specs_of(one)}
            return set()
    return None


def _keys(specs: str | Iterable[str]) -> set[str]:
    return {*map(key_of_spec, [specs] if isinstance(specs, str) else specs)}


def _has_taps(item: Item, patterns: Sequence[str], said: Sequence[str]) -> bool:
    """Whether a result has the layers that these patterns choose of those that the store has.

    One that has kept what was typed, as it is of some of the layers that are chosen, says it itself.
    """
    if {"options", "command"} & item.result.attrs.keys():
        return {*patterns} == {*said}
    if not patterns:
        return item.live or bool(item.result.attrs.get("all_taps"))
    return all(is_wanted(layer["tap"], patterns) for layer in _layers(item))


def _layers(item: Item) -> list[dict[str, Any]]:
    return [layer for layer in item.result.attrs.get("layers", ()) if isinstance(layer, dict) and "tap" in layer]
