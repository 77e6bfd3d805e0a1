"""Help that teaches: every option of every command in a group, and examples that can be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.cli.help import HOW, SECTIONS, examples_of
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
