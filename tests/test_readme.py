"""The README promises only commands, options, exit codes and folders that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cvbench import errors
from cvbench.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")


def shown_commands() -> list[str]:
    """Each `cvbench ...` line of the README's code blocks, without its comment, and those that `make demo` runs."""
    lines = re.sub(r"\\\n +", "", (ROOT / "README.md").read_text()).splitlines()
    shown = [line.strip().partition(" #")[0].strip() for line in lines if line.startswith("    cvbench ")]
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    for name, value in re.findall(r"^([A-Z]+) = (--.+|transfer .+)$", makefile, flags=re.MULTILINE):
        makefile = makefile.replace(f"$({name})", value)
    return shown + re.findall(r"^\t\$\(BIN\)/(cvbench .+)$", makefile, flags=re.MULTILINE)


def known_options(command: Any) -> set[str]:
    """Every spelling of every option of one command."""
    return {"--help"} | {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}


def find(words: list[str]) -> Any:
    """The command that these words start with; fails if there is none."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        found = command.get_command(typer.Context(command), word)
        assert found is not None, f"no command {word!r}"
        command = found
    assert not hasattr(command, "commands"), "names a group, not a command"
    return command


def test_the_readme_shows_commands() -> None:
    assert len(shown_commands()) >= 10


@pytest.mark.parametrize("line", shown_commands())
def test_a_shown_command_exists_with_its_options(line: str) -> None:
    _, *words = shlex.split(line.replace("...", ""))
    command = find(words)
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used <= known_options(command), sorted(used - known_options(command))


def test_names_that_stay_are_options_of_extract() -> None:
    section = (ROOT / "README.md").read_text().partition("## Options")[2].partition("### Exit codes")[0]
    named = set(re.findall(r"^\| `(--[a-z-]+)`", section, flags=re.MULTILINE))
    promised = "dataset backbone store weights taps view maps limit batch-size precision device data-root"
    assert {f"--{name}" for name in promised.split()} <= named
    assert named <= known_options(find(["extract"]))


def test_exit_codes_are_those_of_the_errors() -> None:
    section = (ROOT / "README.md").read_text().partition("### Exit codes")[2].partition("## ")[0]
    listed = {
        int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, flags=re.MULTILINE) for code in row.split(",")
    }
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.CvbenchError)]
    assert listed == {cls.exit_code for cls in classes} | {0, 130, 143}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_and_folders_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`([\w./-]+(?:\.(?:md|py|yaml|txt)|/))`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "Makefile", "cluster.yaml", "constraints.txt", "pyproject.toml"])
def test_no_home_folder_of_anyone_is_named(document: str) -> None:
    assert re.findall(r"(?<![\w~$}])/(?:home|root|Users|work)/\S*", (ROOT / document).read_text()) == []
