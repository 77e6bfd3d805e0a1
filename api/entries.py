"""The analyses, evaluations and probes of the registry as functions, those of plugins too."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cvbench.api.calls import Call, forms
from cvbench.api.result import Part, Result
from cvbench.errors import UsageError
from cvbench.hints import command
from cvbench.jobs import registry
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.running.hardware import Hardware

if TYPE_CHECKING:
    from cvbench.jobs.running.progress import Listener

GROUPS = {"analyze": "analyze", "evaluate": "eval", "transfer": "transfer"}
"""Module of cvbench -> group of the command line."""
_RETURNS = "The result, which is kept in the store too; what was computed before is not computed again."


def names(module: str) -> list[str]:
    """Names of the functions of a module, those of plugins last."""
    return [*map(python_name, registry.places(GROUPS[module])), *_others(module)]


def python_name(name: str) -> str:
    """An analysis as Python names it.

    >>> python_name("shape-bias")
    'shape_bias'
    """
    return name.replace("-", "_")


@cache
def call_of(module: str, name: str) -> Call:
    """The call of a module of this name.

    Raises:
        AttributeError: There is none; names the nearest.
        UsageError: That of a plugin cannot be imported.
    """
    places = registry.places(GROUPS[module])
    entry = next((one for one in places if python_name(one) == name), None)
    if entry is not None:
        place = places[entry]
        return Call(name, f"{place.group} {entry}", forms(registry.forms_of(entry)), place.help, _run, Result, _RETURNS)
    if name in (others := _others(module)):
        return others[name]()
    near = difflib.get_close_matches(name, names(module), n=1)
    also = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(names(module))}"
    raise AttributeError(f"module 'cvbench.{module}' has no attribute {name!r}{also}")


@cache
def function(module: str, name: str) -> Callable[..., Any]:
    """The function of a module of this name; that of a plugin that cannot be imported says so when it is called.

    Raises:
        AttributeError: As `call_of`.
    """
    if name.startswith("_"):  # asked for by what looks into any module
        raise AttributeError(f"module 'cvbench.{module}' has no attribute {name!r}")
    try:
        return call_of(module, name).function(f"cvbench.{module}")
    except UsageError as error:
        return _broken(name, error)


def _broken(name: str, error: UsageError) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        raise error

    call.__name__ = call.__qualname__ = name
    call.__doc__ = str(error)
    return call


def _run(call: Call, listen: Listener, *asked: Any) -> Result:
    name = call.words.partition(" ")[2]
    entry = registry.entry_of(name)
    assert entry is not None
    assert entry.run is not None
    asked = tuple(map(_prepared, asked))
    return Result.of_kept(name, entry.run(*asked, listen), pasted(call, asked), _store(asked))


def _prepared(made: Any) -> Any:
    """Options as the job takes them: all cores where it runs in this process, and "digits/test" in its two parts."""
    if isinstance(made, list):
        return [_prepared(one) for one in made]
    if isinstance(made, Hardware) and made.address == "none" and made.threads is None:
        return replace(made, threads=os.cpu_count() or 1)
    if isinstance(made, Selection) and made.dataset and ":" not in made.dataset and "/" in made.dataset:
        dataset, _, split = made.dataset.partition("/")
        if made.split not in (None, split):
            raise UsageError(f"dataset={made.dataset!r} and split={made.split!r} are two splits", fix="give one")
        return replace(made, dataset=dataset, split=split)
    return made


def pasted(call: Call, asked: Iterable[Any]) -> str:
    """The command that does the same, but for where it runs; a line for each split of several."""
    lines: dict[str, list[dict[str, Any]]] = {}
    given = list(zip(call.forms, asked, strict=True))
    for at in range(max(len(made) if form.each else 1 for form, made in given)):
        words: dict[str, Any] = {}
        each: dict[str, Any] = {}
        for form, made in given:
            if form.options is not Hardware:
                said = form.words(made[at] if form.each else made)
                each |= {key: said.pop(key) for key in [form.each] if key in said}
                words |= said
        lines.setdefault(repr(words), []).append({**{key: [value] for key, value in each.items()}, **words})
    alone = [field.key for form in call.forms for field in form.fields() if field.option.alone]
    return "\n".join(_line(call.words, same, alone) for same in lines.values())


def _line(words: str, same: Sequence[dict[str, Any]], alone: Iterable[str]) -> str:
    """One command of options that are the same but for lists of one value."""
    joined = dict(same[0])
    for other in same[1:]:
        joined |= {key: [*joined[key], *value] for key, value in other.items() if joined[key] != value}
    before = [str(joined.pop(key)) for key in alone if key in joined]
    return command(words, *before, **joined)


def _store(asked: Iterable[Any]) -> str:
    for made in asked:
        one = made[0] if isinstance(made, list) else made
        if hasattr(one, "store"):
            return str(one.store)
    return ""


def _others(module: str) -> dict[str, Callable[[], Call]]:
    """Functions that are no entries of the registry."""
    return {"evaluate": {"import_predictions": _import_call}, "transfer": {"finetune": _finetune_call}}.get(module, {})


def _finetune_call() -> Call:
    from cvbench.jobs.transfer.finetune_options import FINETUNE

    about = "Fine-tune a whole backbone on a data set and test it. The same call again resumes."
    returns = "The numbers of the test; `paths` has the file of the weights, `attrs` the curve and all else."
    leading = ("dataset", "backbone", "out")
    return Call("finetune", "transfer finetune", forms(FINETUNE), about, _finetune, Result, returns, leading)


def _finetune(call: Call, listen: Listener, options: Any, hardware: Hardware) -> Result:
    from cvbench.jobs.figures.finetune import draw_curve
    from cvbench.jobs.results.entry import Entry
    from cvbench.jobs.transfer.finetune import finetune, finetune_result, finetune_rows

    report = finetune(options, hardware.cluster(os.cpu_count() or 1), listen)
    words = pasted(call, [options, hardware])
    rows, title = tuple(finetune_rows(report)), f"{report.backbone} on {report.dataset}"
    entry = Entry(
        name="finetune",
        title=f"Fine-tuning: {title}",
        about=call.about,
        rows=lambda result: rows,
        command=lambda result: words.split(),
        figure=lambda result, rows: draw_curve(result.attrs["curve"], title),
    )
    return Result("finetune", [Part(entry, finetune_result(report), rows, report.weights, words)], words)


def _import_call() -> Call:
    from cvbench.api.stores import Store
    from cvbench.jobs.evaluation.options import ImportOptions

    about = "Make the predictions of another tool the logits of a backbone, so that every benchmark can score them."
    leading = ("file", "dataset", "backbone")
    returns = "The store that has them now."
    return Call("import_predictions", "eval import", forms([ImportOptions]), about, _import, Store, returns, leading)


def _import(call: Call, listen: Listener, options: Any) -> Any:
    from cvbench.api.stores import open_store
    from cvbench.jobs.evaluation.predictions import import_predictions

    import_predictions(options, listen)
    return open_store(options.store)
