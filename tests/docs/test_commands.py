"""Every command that README and docs show is one that the command line takes, with these options and values."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import typer

from cvbench.cli.app import app
from cvbench.errors import CvbenchError, DataUnavailableError
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.options import ExtractOptions, datasets_of, resolved
from cvbench.storage.datasets import key_of_spec
from tests.docs.pages import ROOT, blocks, commands


def made_commands() -> list[str]:
    """Each `cvbench ...` that the Makefile runs, its variables put in."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    for name, value in re.findall(r"^([A-Z]+) = (.+)$", makefile, flags=re.MULTILINE):
        makefile = makefile.replace(f"$({name})", value)
    return re.findall(r"^\t\S*/(cvbench .+)$", makefile, flags=re.MULTILINE)


SHOWN = commands() + [("Makefile", command) for command in made_commands()]


def find(words: list[str]) -> Any:
    """The command that these words start with; fails if there is none."""
    return located(words)[0]


def located(words: list[str]) -> tuple[Any, Any, list[str]]:
    """(the command, the context of its group, the words behind it)."""
    at: Any = typer.main.get_command(app)
    context: Any = typer.Context(at, info_name="cvbench")
    while hasattr(at, "list_commands"):
        assert words, "names a group, not a command"
        found = at.get_command(context, words[0])
        assert found is not None, f"no command {words[0]!r}"
        at, words = found, words[1:]
    return at, context, words


def known_options(command: Any) -> set[str]:
    """Every spelling of every option of one command."""
    return {"--help"} | {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}


def parsed(line: str) -> list[Any]:
    """Parse a line as the command line does, and make what the command would be called with; nothing runs.

    Raises:
        Exception: Whatever the command line would say.
    """
    command, group, words = located(shlex.split(line)[1:])
    if "--help" in words:
        return []
    context = command.make_context(command.name, words, parent=group)
    typed = {key.rstrip("_"): value for key, value in context.params.items()}
    return [form.made(typed) for form in getattr(command, "forms", ())]


def check_names(made: Any) -> None:
    """Look up what was typed: data sets, backbones, views."""
    for one in made if isinstance(made, list) else [made]:
        if isinstance(one, ExtractOptions):
            for dataset in datasets_of([one.dataset]):
                assert key_of_spec(dataset)
                if one.backbones:  # none: those of the store
                    resolved(replace(one, dataset=dataset))
                    with suppress(DataUnavailableError):  # a folder that an earlier block makes
                        specs_of(one)
        elif is_dataclass(one):
            for name in ("dataset", "datasets", "source"):
                value = getattr(one, name, None) if name in {field.name for field in fields(one)} else None
                for spec in [value] if isinstance(value, str) else value or ():
                    assert [key_of_spec(dataset) for dataset in datasets_of([spec])]


def check(line: str) -> None:
    """Fail if the command line would not take this line."""
    for made in parsed(line):
        check_names(made)


def test_commands_are_shown() -> None:
    assert len(SHOWN) >= 40
    shown = {place.partition(":")[0] for place, _ in SHOWN}
    assert shown >= {"README.md", "docs/start.md", "docs/how/analyses.md", "Makefile"}


@pytest.mark.parametrize(("place", "command"), SHOWN, ids=[f"{place} {command[:60]}" for place, command in SHOWN])
def test_a_shown_command_is_one(place: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "wrong",
    [
        "cvbench extrakt --dataset scenes",
        "cvbench extract --dataset scenes --vieww pooled",
        "cvbench extract --dataset scenes --image-size 2",
        "cvbench extract --dataset scenes --limit some",
        "cvbench extract --dataset sceness",
        "cvbench extract --dataset scenes --view pooledd",
        "cvbench extract --dataset scenes --backbone vit_bas",
        "cvbench analyze cka --format jsn",
        "cvbench analyze",
    ],
)
def test_a_wrong_command_is_seen(wrong: str) -> None:
    with pytest.raises(Exception) as seen:  # noqa: PT011
        check(wrong)
    assert isinstance(seen.value, AssertionError | CvbenchError) or hasattr(seen.value, "exit_code")  # click's own


def test_make_targets_exist() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
    shown = {
        words[1]
        for block in blocks()
        if block.language == "sh"
        for command in block.commands()
        if (words := shlex.split(command))[0] == "make"
    }
    assert shown <= targets, shown - targets


def test_extras_that_are_installed_exist() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for block in blocks():
        for extra in re.findall(r"(?:\.|cvbench)\[(\w+)\]", block.code):
            assert f"\n{extra} = [" in text, f"{block.page}: {extra}"
