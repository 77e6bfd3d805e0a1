"""The public API shows hostile names as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import cvbench
from cvbench.api.result import Part
from cvbench.engine.analyses.base import Result as Arrays
from cvbench.jobs.results.row import Row
from tests.markup import HOSTILE, check_markup


def hostile() -> Iterator[tuple[str, Any]]:
    """Objects with names that a page or a terminal would act on."""
    row = Row(backbone=HOSTILE, layer=HOSTILE, metric=HOSTILE, factor=HOSTILE, value=1.0, note=HOSTILE, dataset=HOSTILE)
    arrays = Arrays(HOSTILE, {}, {}, {"notes": [HOSTILE], "run": HOSTILE})
    yield "rows", cvbench.Rows([row] * 30)
    yield "result", cvbench.Result(HOSTILE, [Part(None, arrays, (row,), HOSTILE, HOSTILE, HOSTILE)], HOSTILE)
    step = cvbench.Step(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    yield "study", cvbench.Study(HOSTILE, HOSTILE, HOSTILE, [step])
    yield "plan", cvbench.Plan([], HOSTILE)


@pytest.mark.parametrize(("name", "shown"), list(hostile()), ids=lambda given: given if isinstance(given, str) else "")
def test_hostile_names_are_text(name: str, shown: Any) -> None:
    check_markup(shown._repr_html_())
    assert "\x1b" not in repr(shown)
