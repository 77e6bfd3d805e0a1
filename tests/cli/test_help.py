"""Help that teaches: every option of every command in a group, and examples that can be pasted."""

from __future__ import annotations

import os
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
from cvbench.jobs import registry
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
    assert not any("<list[str]>" in line or "<int" in line for line in lines if line.startswith("  -"))
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
    assert any("--decoder [fast|pil]" in line for line in help_of(("extract",)))


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
