"""Help that teaches: every option of every command in a group, and examples that can be pasted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.cli.help import HOW, SECTIONS, examples_of
from cvbench.engine.analyses.cam.methods import METHODS
from cvbench.engine.analyses.maps.colours import WAYS
from cvbench.engine.analyses.maps.kernel import KINDS
from cvbench.engine.analyses.silhouette.options import SPACES
from cvbench.engine.analyses.tsne.backends import LIMITS
from cvbench.engine.finetune.recipes import RECIPES
from cvbench.engine.models.precision import PRECISIONS, STORE_DTYPES
from cvbench.engine.models.views import stored_views
from cvbench.jobs import registry
from cvbench.jobs.analyses.cka import ESTIMATORS
from cvbench.jobs.evaluation.settings import TRANSFORMS
from cvbench.jobs.extraction.rates import CARDS
from cvbench.options import Field
from tests.cli.test_process import COMMANDS


def help_of(words: tuple[str, ...]) -> list[str]:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="cvbench")
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_stands_once_in_a_group(words: tuple[str, ...]) -> None:
    lines = help_of(words)
    headings = [line.rstrip(":") for line in lines if line and not line.startswith((" ", "Usage"))]
    assert {*headings} <= {"Arguments", HOW, "Examples", *SECTIONS}
    for param in COMMANDS[words].params:
        if param.param_type_name == "option":
            name = max(param.opts, key=len)
            assert sum(name in line.split("  ")[1].replace(",", "").split() for line in lines if line[:3] == "  -") == 1
    assert not any(re.search(r"<[a-z\[\]]+>", line.split("  ")[1]) for line in lines if line.startswith("  "))
    assert all(len(line) <= 80 for line in lines), [line for line in lines if len(line) > 80]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_examples_that_it_understands(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = examples_of(" ".join(words))
    assert examples
    for example in examples:
        typed = shlex.split(example.partition(" > ")[0])
        assert tuple(typed[1 : len(words) + 1]) == words
        root: Any = typer.Context(typer.main.get_command(app))
        COMMANDS[words].make_context("cvbench", typed[len(words) + 1 :], parent=root)  # parsed and checked, not run
    assert f"  {examples[0]}" in help_of(words)


def test_the_values_of_a_choice_are_in_the_help() -> None:
    for words, shown in (
        ("extract", "--decoder [fast|pil]"),
        ("extract", "--device [auto|cpu|cuda]"),
        ("analyze cam", "--precision [fp32|bf16|fp16]"),
        ("analyze cka", "--view [auto|maps|pooled|cls|head]"),
        ("transfer probe", "--recipe [clip_benchmark|clip_lbfgs]"),
    ):
        assert any(shown in line for line in help_of(tuple(words.split())))


def forms_of(words: tuple[str, ...]) -> list[Field]:
    return [one for form in getattr(COMMANDS[words], "forms", ()) for one in form.fields()]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_values_that_there_are_are_offered_by_the_shell(words: tuple[str, ...]) -> None:
    for one in forms_of(words):
        context: Any = typer.Context(COMMANDS[words])
        for value in (*one.known, *one.option.such_as):
            (param,) = (param for param in COMMANDS[words].params if one.name in param.opts)
            assert value in [item.value for item in param.shell_complete(context, value[:1])]


def test_the_values_that_are_shown_are_those_that_are_taken() -> None:
    for words, name, taken in (
        (("extract",), "--precision", ("auto", *PRECISIONS)),
        (("extract",), "--dtype", STORE_DTYPES),
        (("extract",), "--view", stored_views()),
        (("plan",), "--card", [card.name for card in CARDS]),
        (("analyze", "cam"), "--precision", PRECISIONS),
        (("analyze", "cam"), "--method", METHODS),
        (("analyze", "cka"), "--estimator", ESTIMATORS),
        (("analyze", "maps"), "--measure", (*KINDS, *WAYS)),
        (("analyze", "silhouette"), "--space", SPACES),
        (("analyze", "tsne"), "--backend", ("auto", *LIMITS)),
        (("eval", "invariance"), "--transform", TRANSFORMS),
        (("transfer", "finetune"), "--recipe", RECIPES),
    ):
        (one,) = (one for one in forms_of(words) if one.name == name)
        assert {*one.known} == {*taken}, name


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("extract --dataset digits --view pooled,logits --view pooled", "views", ("pooled", "logits")),
        ("analyze silhouette --space features,tsne", "spaces", ("features", "tsne")),
        ("analyze silhouette --metric cosine,euclidean", "metrics", ("cosine", "euclidean")),
        ("eval invariance --transform scale,shift", "transforms", ("scale", "shift")),
    ],
)
def test_several_values_may_stand_behind_commas(line: str, key: str, value: tuple[str, ...]) -> None:
    words = tuple(line.split())
    name = words[:1] if words[:1] in COMMANDS else words[:2]
    command = COMMANDS[name]
    context = command.make_context("cvbench", [*words[len(name) :]])
    typed = {one.rstrip("_"): given for one, given in context.params.items()}
    made = [one for form in command.forms for one in (form.made(typed) if form.each else [form.made(typed)])]
    assert [getattr(one, key) for one in made if hasattr(one, key)] == [value]


GROUPS = [(), *[(name,) for name in ("analyze", "eval", "transfer", "results", "store", "runs", "cluster", "datasets")]]
GROUPS += [("models",), ("config",)]


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_each_command_of_a_list_has_one_whole_line(words: tuple[str, ...]) -> None:
    group: Any = typer.main.get_command(app)
    for word in words:
        group = group.get_command(None, word)
    lines = help_of(words)
    for name, summary in group.lines().items():
        assert any(line.split() == [name, *summary.split()] for line in lines), (name, summary)


def test_every_group_is_looked_at() -> None:
    root: Any = typer.main.get_command(app)
    assert {words[0] for words in GROUPS if words} == {
        name for name in root.lines() if hasattr(root.get_command(None, name), "lines")
    }


@pytest.mark.parametrize(("columns", "widest"), [(50, 50), (None, 80), (200, 100)])
def test_help_takes_the_width_of_the_terminal(columns: int | None, widest: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({} if columns is None else {"COLUMNS": str(columns)})
    program = [sys.executable, "-c", "from cvbench.cli import main; main()", "analyze", "--help"]
    told = subprocess.run(program, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout
    assert widest * 0.6 < max(map(len, told.splitlines())) <= widest
    for name, place in registry.places("analyze").items():  # wrapped, not cut
        assert f"{name} {place.line}" in " ".join(told.split())
