"""Dataclasses as options: typed, read, and printed again."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any, Literal

import pytest

from cvbench.errors import UsageError
from cvbench.hints import command, option_words
from cvbench.options import (
    BYTES,
    COMMA_SEPARATED,
    NOT,
    ONCE_EACH,
    Option,
    count_or,
    fields_of,
    make_options,
    typed_words,
)


@dataclass(frozen=True)
class Inner:
    seed: Annotated[int, Option("Seed.", least=0)] = 0


@dataclass(frozen=True)
class Outer:
    data: Annotated[str, Option("Data.", "--dataset", "-d")]
    views: Annotated[tuple[str, ...], Option("Views.", "--view", text=ONCE_EACH)] = ("pooled",)
    names: Annotated[tuple[str, ...], Option("Names.", text=COMMA_SEPARATED)] = ()
    maps: Annotated[int | None, Option("Maps.", text=count_or("all"))] = 1024
    limit: Annotated[int | None, Option("Limit.", text=count_or("all", shown=False))] = None
    most: Annotated[int | None, Option("Most.", "--max-bytes", text=BYTES)] = None
    mode: Annotated[Literal["set", "reference"], Option("Mode.")] = "set"
    masked: Annotated[bool, Option("All.", "--all-columns", text=NOT)] = True
    inner: Inner = field(default_factory=Inner)
    cache: int = 3


def test_fields_are_found_with_those_inside() -> None:
    found = {one.name: one for one in fields_of(Outer)}
    assert list(found) == [
        *("--dataset", "--view", "--names", "--maps", "--limit", "--max-bytes", "--mode", "--all-columns", "--seed"),
    ]
    assert found["--dataset"].default is MISSING
    assert (found["--view"].default, found["--maps"].default, found["--limit"].default) == (["pooled"], "1024", None)
    assert (found["--all-columns"].kind, found["--all-columns"].default) == (bool, False)
    assert found["--seed"].path == ("inner", "seed")


TYPED: list[tuple[dict[str, Any], Outer]] = [
    ({"dataset": "a"}, Outer("a")),
    ({"dataset": "a", "view": ["head", "maps", "head"]}, Outer("a", ("head", "maps"))),
    ({"dataset": "a", "names": ["x,y", "z"]}, Outer("a", names=("x", "y", "z"))),
    ({"dataset": "a", "maps": "all", "limit": "64"}, Outer("a", maps=None, limit=64)),
    ({"dataset": "a", "max_bytes": "1.5GB"}, Outer("a", most=1_500_000_000)),
    ({"dataset": "a", "all_columns": True, "mode": "reference"}, Outer("a", masked=False, mode="reference")),
    ({"dataset": "a", "seed": 7}, Outer("a", inner=Inner(7))),
]


@pytest.mark.parametrize(("typed", "options"), TYPED)
def test_what_is_typed_makes_options_and_options_say_what_is_typed(typed: dict[str, Any], options: Outer) -> None:
    assert make_options(Outer, typed) == options
    assert make_options(Outer, typed_words(options)) == options


def test_only_what_differs_is_said() -> None:
    options = Outer("a b", maps=None, masked=False, inner=Inner(7))
    assert command("try", **typed_words(options)) == "cvbench try --dataset 'a b' --maps all --all-columns --seed 7"
    assert option_words(typed_words(Outer("a"))) == ["--dataset", "a"]


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        ("maps", "0", "--maps 0: give a positive number or 'all'"),
        ("limit", "-4", "--limit -4: give a positive number or 'all'"),
        ("limit", "\u00b2", "--limit \u00b2: give a positive number or 'all'"),
        ("max_bytes", "-5GB", "--max-bytes -5GB: give a size such as 20GB"),
        ("max_bytes", "20XB", "--max-bytes 20XB: give a size such as 20GB"),
        ("max_bytes", "infGB", "--max-bytes infGB: give a size such as 20GB"),
    ],
)
def test_a_text_that_cannot_be_read_names_its_option(key: str, typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        make_options(Outer, {"dataset": "a", key: typed})
