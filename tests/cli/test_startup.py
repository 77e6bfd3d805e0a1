"""Start-up: help and shell completion answer before anything heavy is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.jobs.registry import ENTRIES
from cvbench.jobs.running.place import may_have_gpu

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "ray",
    "zarr",
    "matplotlib",
    "numpy",
    "xarray",
    "dask",
    "scipy",
    "sklearn",
    "cupy",
)

COMPUTING = ("torch", "torchvision", "timm", "ray", "cupy")
"""What only those commands import that compute on a device."""

EACH = [[place.group, name, "--help"] for name, place in ENTRIES.items() if place.group]

IMPORT = """
import importlib
from cvbench.cli.app import COMMANDS
for module, _, _ in COMMANDS.values():
    importlib.import_module(module)
"""
HELP = """
import sys
sys.argv = ["cvbench", *{arguments!r}]
from cvbench.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
REPORT = "\nimport json, sys\nprint()\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def modules_after(code: str) -> tuple[str, set[str]]:
    """(what a fresh interpreter printed, the top-level modules it had imported at the end)."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed, _, last = done.stdout.rstrip().rpartition("\n")
    return printed, set(json.loads(last))


def test_importing_the_command_line_is_light() -> None:
    _, modules = modules_after(IMPORT)
    assert "cvbench" in modules
    assert modules.isdisjoint(HEAVY), sorted(modules.intersection(HEAVY))


@pytest.mark.parametrize("arguments", [["--help"], ["extract", "--help"], ["analyze", "--help"], *EACH], ids=" ".join)
def test_help_is_light(arguments: list[str]) -> None:
    printed, modules = modules_after(HELP.format(arguments=arguments))
    assert "Usage" in printed
    assert modules.isdisjoint(HEAVY), sorted(modules.intersection(HEAVY))


def test_results_are_read_judged_and_reported_without_torch() -> None:
    of_all = (
        "import cvbench.jobs.report\nfrom cvbench.jobs.registry import ENTRIES, entry_of\nlist(map(entry_of, ENTRIES))"
    )
    _, modules = modules_after(of_all)
    assert "cvbench" in modules
    assert modules.isdisjoint(COMPUTING), sorted(modules.intersection(COMPUTING))


@pytest.mark.skipif(may_have_gpu(), reason="torch is asked for the GPU")
@pytest.mark.parametrize("command", ["analyze cka", "analyze cam --dataset digits", "transfer probe --dataset digits"])
def test_a_store_that_is_not_there_is_said_without_torch(command: str, tmp_path: Path) -> None:
    arguments = [*command.split(), "--store", str(tmp_path / "nowhere.zarr")]
    _, modules = modules_after(HELP.format(arguments=arguments).replace("not stop.code", "stop.code in (2, 3)"))
    assert "cvbench" in modules
    assert modules.isdisjoint(COMPUTING), sorted(modules.intersection(COMPUTING))


def test_the_reader_sees_a_heavy_import() -> None:
    _, modules = modules_after("import numpy")
    assert not modules.isdisjoint(HEAVY)


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("cvbench")
    done = subprocess.run(
        [str(command), "--help"], capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "extract" in done.stdout
    assert "analyze" in done.stdout


@pytest.mark.parametrize(("given", "then"), [(None, "passive"), ("active", "active")])
def test_threads_of_torch_do_not_spin_unless_the_user_says_so(given: str | None, then: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    code = HELP.format(arguments=["--version"]) + "import os; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split()[-1] == then


def test_each_line_of_the_help_is_what_the_command_says_of_itself() -> None:
    groups: list[Any] = [typer.main.get_command(app)]
    for group in groups:
        context: Any = typer.Context(group)
        for name, line in group.lines().items():
            command = group.get_command(context, name)
            assert command.get_short_help_str(1000) in (line, line.partition(". ")[0] + "."), name
            groups += [command] if hasattr(command, "lines") else []
    assert len(groups) == 11


def test_a_misspelt_command_names_its_neighbour() -> None:
    done = CliRunner().invoke(app, ["exctract"])
    assert done.exit_code == 2
    assert "Did you mean 'extract'" in done.output


def test_the_help_builds_no_command_that_is_not_called() -> None:
    _, modules = modules_after(HELP.format(arguments=["--help"]) + "assert 'cvbench.cli.analyze' not in sys.modules")
    assert "cvbench" in modules
