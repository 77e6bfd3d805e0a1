"""The command that makes the result of an analysis again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.hints import option_words
from cvbench.jobs.reading.options import DEFAULT_STORE, Selection
from cvbench.options import Form, form_of


def command_words(command: str, forms: Sequence[Form | type[Any]], *asked: Any) -> list[str]:
    """The words after `cvbench`: the command, and what makes its first forms give `asked`, defaults left out."""
    words = command.split()
    for form, one in zip(map(form_of, forms), asked, strict=False):  # where it runs is no part of a result
        words += option_words(form.words(one))
    return words


def selection_of(result: Result) -> Selection:
    """The selection that gives the layers of `result` again, in any store.

    One pattern of `--taps` holds for all backbones, so the names of all layers together select exactly these. They are
    left out if `attrs["all_taps"]` says that the result has every layer that the store has.
    """
    attrs = result.attrs
    backbones, taps = (tuple(dict.fromkeys(layer[key] for layer in attrs["layers"])) for key in ("backbone", "tap"))
    place = attrs["dataset"], attrs["split"], backbones, attrs.get("view", "")
    return Selection(DEFAULT_STORE, *place, () if attrs.get("all_taps", False) else taps)


def interval_options(result: Result) -> IntervalOptions:
    """Options of the intervals of `result`, as far as a command says them."""
    return IntervalOptions(**{name: result.attrs[name] for name in ("resamples", "seed") if name in result.attrs})
